"""Exits in quick succession, which a timeline shows as one: nobody could read them, or write them
as fast as they come.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from x86core import RECORD_ENTRY, RECORD_EXIT

#: Exits for one reason are together while neither they nor the guest between them take longer, ns.
_QUICK_NS: Final = 50_000

#: So many records are worth putting together.
_LEAST: Final = 32


class Flood(NamedTuple):
    """Exits for one reason: behind `begin`, a record that is no part of it, to `end`, the last.

    An exit is counted where it is over, at the entry behind it.
    """

    begin: int
    end: int
    reason: int
    exits: int
    guest_ns: int
    outside_ns: int


def floods(records: NDArray[np.void]) -> Iterator[Flood]:
    """The floods among the records of a vCPU, in order. Indices are those of records."""
    if len(records) < _LEAST:
        return
    kinds, times, reasons = records["kind"], records["begin"], records["detail"]
    crossing = (kinds == RECORD_ENTRY) | (kinds == RECORD_EXIT)
    alike = np.zeros(len(records), dtype=bool)
    alike[1:] = crossing[1:] & crossing[:-1] & (np.diff(times) < _QUICK_NS)
    alike &= records["lost"] == 0
    alike[2:] &= (kinds[2:] == RECORD_ENTRY) | (reasons[2:] == reasons[:-2])
    # Each is cut where a record is not like those before it.
    cuts = [*np.flatnonzero(~alike).tolist(), len(records)]
    for first, following in itertools.pairwise(cuts):
        if following - first >= _LEAST:
            yield _flood(first, following - 1, kinds, times, reasons)


def _flood(
    begin: int,
    end: int,
    kinds: NDArray[np.void],
    times: NDArray[np.void],
    reasons: NDArray[np.void],
) -> Flood:
    inner = slice(begin + 1, end + 1)
    exits = kinds[inner] == RECORD_EXIT
    lengths = np.diff(times[begin : end + 1])
    return Flood(
        begin=begin,
        end=end,
        reason=int(reasons[inner][exits][-1]),
        exits=int((~exits).sum()),
        guest_ns=int(lengths[exits].sum()),
        outside_ns=int(lengths[~exits].sum()),
    )
