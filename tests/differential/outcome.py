"""How a side stopped, in terms that both sides share."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Stop(Enum):
    """Why it stopped."""

    HALT = "halted"
    EXCEPTION = "took an exception or software interrupt"
    OUTSIDE = "accessed memory outside RAM"
    FETCH = "fetched instructions outside RAM"
    SHUTDOWN = "shut down"
    LIMIT = "reached the instruction limit"
    OTHER = "stopped for a reason that no case should give"


#: In place of a register that was lost before it could be read: as good as any.
UNKNOWN: Final = -1


class Outcome(NamedTuple):
    """Where a side stopped and with what in its registers.

    After an exception the registers are those at delivery, before anything was pushed: EIP is what
    the handler would return to.
    """

    stop: Stop
    #: Of the exception or interrupt; -1 without one.
    vector: int
    #: In the order of `case.register_names`.
    registers: tuple[int, ...]
    #: Port outputs: (port, bytes, value), in order.
    outputs: tuple[tuple[int, int, int], ...]
    #: Error code of the exception; 0 without one, and in modes that do not compare it.
    error: int = 0
