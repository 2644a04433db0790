"""What happens to vCPUs at random moments, but to none whose wake is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import x86core as x86
from bench.watchdog import Watchdog
from tests.stress.guest import FIRST_VECTOR
from tests.stress.stores import FRAME_VECTOR
from vmm.idle import IdlePolicy

_VECTORS = [vector for vector in range(FIRST_VECTOR, 256) if vector != FRAME_VECTOR]


class Disturber:
    """Does one of `kinds` to one of the vCPUs at each call.

    What it does wakes a sleeper, and would save one whose wake was lost before that is found: so
    it leaves alone whom `watchdogs` doubt.
    """

    def __init__(
        self,
        vcpus: Sequence[tuple[x86.VCPU, Watchdog]],
        kinds: Sequence[str],
        policies: Sequence[IdlePolicy],
        random: Random,
    ) -> None:
        self._vcpus = vcpus
        self._kinds = kinds
        self._policies = policies
        self._random = random

    def __call__(self) -> None:
        vcpu, watchdog = self._random.choice(self._vcpus)
        if watchdog.in_doubt:
            return
        kind = self._random.choice(self._kinds)
        if kind == "kick":
            vcpu.kick()
        elif kind == "immediate_exit":
            vcpu.immediate_exit = 1
        elif kind == "interrupt":
            vcpu.interrupt(self._random.choice(_VECTORS))
        elif kind == "nmi":
            vcpu.nmi()
        elif kind == "window":
            vcpu.request_interrupt_window = 1
        else:
            self._random.choice(self._policies).apply(vcpu)
