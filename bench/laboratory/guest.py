"""Bring a scenario's guest into a machine: the same in wall time and in virtual time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

from bench.laboratory.mailbox import Mailbox
from bench.laboratory.policies import Policy
from bench.laboratory.scenario import Load
from vmm import assemble
from vmm.asm import BOOT_ADDRESS
from x86core import VCPU, Memory

GUESTS: Final = Path(__file__).resolve().parent / "guests"


@cache
def image(name: str) -> bytes:
    """The image of GUESTS/`name`.S, for BOOT_ADDRESS. Raises AssemblyError and OSError."""
    return assemble(GUESTS / f"{name}.S")


def install(
    memory: Memory, vcpus: Sequence[VCPU], guest: str, load: Load, policy: Policy, seed: int
) -> Mailbox:
    """Make `vcpus` of a machine, all that it has, begin a guest that idles as `policy` says.

    Raises LaboratoryError for words that no guest takes, AssemblyError without an assembler.
    """
    mailbox = Mailbox(memory, len(vcpus))
    mailbox.configure(load.words, idle_by_hlt=policy.idle_by_hlt, seed=seed)
    memory.write(BOOT_ADDRESS, image(guest))
    for vcpu in vcpus:
        vcpu.start_real_mode(0, BOOT_ADDRESS)
    return mailbox
