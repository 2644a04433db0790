"""Why a machine ends, said once, and when a vCPU can do nothing more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vmm import kvm
from vmm.result import Outcome
from x86core import VCPU

_EFLAGS_IF = 1 << 9

_NOT_STARTED = (kvm.KVM_MP_STATE_UNINITIALIZED, kvm.KVM_MP_STATE_INIT_RECEIVED)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the machine ends, and what each vCPU waited for just before."""

    outcome: Outcome
    explanation: str
    exit_code: int | None
    waiting: tuple[str, ...]
    failure: BaseException | None


class Ending:
    """Ends a machine when it is called, from any thread; of several reasons the first one counts.

    `stop` has everything come to a stop. `ended` is set from then on.
    """

    def __init__(self, vcpus: Sequence[VCPU], stop: Callable[[], object]) -> None:
        self._vcpus = vcpus
        self._stop = stop
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self.reason: Reason | None = None

    def __call__(
        self,
        outcome: Outcome,
        explanation: str,
        exit_code: int | None = None,
        failure: BaseException | None = None,
    ) -> None:
        """End it. `failure` is the caller's of `Machine.run`."""
        with self._lock:
            if self.reason is None:
                waiting = tuple(vcpu.waiting for vcpu in self._vcpus)
                self.reason = Reason(outcome, explanation, exit_code, waiting, failure)
        self._stop()
        self.ended.set()


def is_not_started(vcpu: VCPU) -> bool:
    """Whether it waits for a start-up IPI."""
    return vcpu.mp_state in _NOT_STARTED


def is_halted_for_good(vcpu: VCPU) -> bool:
    """Whether it is in HLT with interrupts off."""
    # In this order: while it is halted its flags do not change.
    return not vcpu.eflags & _EFLAGS_IF and vcpu.mp_state == kvm.KVM_MP_STATE_HALTED
