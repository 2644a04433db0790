"""Guests: what their files are, checked and turned into what a machine needs. A file per format.

`load_guest` puts one into memory and says how vCPUs start; `describe` only says what it is.
"""

from vmm.loader.errors import LoadError
from vmm.loader.guest import Flat32Start, Format, Guest, RealModeStart, ResetStart, Segment
from vmm.loader.load import describe, load_guest
from vmm.loader.quantities import make_memory, parse_address, parse_size
from vmm.loader.shipped import NEEDS, Needs, shipped_guests, source_of, summary_of
from vmm.loader.source import assemble_file

__all__ = [
    "NEEDS",
    "Flat32Start",
    "Format",
    "Guest",
    "LoadError",
    "Needs",
    "RealModeStart",
    "ResetStart",
    "Segment",
    "assemble_file",
    "describe",
    "load_guest",
    "make_memory",
    "parse_address",
    "parse_size",
    "shipped_guests",
    "source_of",
    "summary_of",
]
