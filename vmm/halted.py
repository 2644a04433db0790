"""When vCPUs can do nothing more, as seen from another thread."""

from __future__ import annotations

import select
from collections.abc import Sequence

from vmm.ending import is_halted_for_good, is_not_started
from x86core import VCPU


def all_halted(vcpus: Sequence[VCPU]) -> bool:
    """Whether each is in HLT with interrupts off, or waits for a start-up IPI, for good.

    From any thread. They run while they are looked at. The last one may have sent an NMI or INIT
    to one that was seen before, and one may take an interrupt, which turns interrupts off, between
    two of its registers. So no instruction may be retired until a second look: then all of what
    that one finds was so at the moment at which it began, and nobody is left to change it.
    """
    before = _look(vcpus)
    return before is not None and _look(vcpus) == before


def _look(vcpus: Sequence[VCPU]) -> list[int] | None:
    """How many instructions each has retired, which is read last; None unless all seem halted."""
    instructions = []
    starting = select.poll()
    for vcpu in vcpus:
        if is_not_started(vcpu):
            starting.register(vcpu.wake_fd, select.POLLIN)
        elif not is_halted_for_good(vcpu):
            return None
        instructions.append(vcpu.instructions)
    # A start-up IPI may have been sent that has not been noticed yet.
    return None if starting.poll(0) else instructions
