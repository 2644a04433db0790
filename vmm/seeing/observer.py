"""Who looks on while a machine runs, and what of the machine is looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from x86core import VCPU, Memory

if TYPE_CHECKING:
    from vmm.seeing.meter import Meter

#: Told of each piece of work that was done: its name, and when that began and ended, in ns of the
#: host's monotonic clock; on the thread that did it.
TaskObserver = Callable[[str, int, int], object]

#: Makes another handler of an exit's handler.
Wrap = Callable[[int, Callable[[], None]], Callable[[], None]]


class ObservedLoop(Protocol):
    """The loop of a vCPU."""

    @property
    def vcpu(self) -> VCPU:
        """What it runs."""

    @property
    def exits(self) -> dict[int, int]:
        """How many of each reason."""

    def observe(self, wrap: Wrap) -> None:
        """Have each exit handled by what `wrap` makes of the handler for its reason."""


class ObservedWork(Protocol):
    """The deferred work."""

    @property
    def observers(self) -> list[TaskObserver]:
        """Who is told of what was done."""


class ObservedMachine(Protocol):
    """A machine, for those who look on."""

    @property
    def memory(self) -> Memory:
        """Its RAM."""

    @property
    def vcpus(self) -> Sequence[VCPU]:
        """Its vCPUs."""

    @property
    def loops(self) -> Sequence[ObservedLoop]:
        """A loop for each."""

    @property
    def meter(self) -> Meter:
        """Where the time goes, if that is measured."""

    @property
    def work(self) -> ObservedWork:
        """Its deferred work."""

    def fail(self, failure: BaseException) -> None:
        """End the run, and have `failure` come out of it."""


class Observer(Protocol):
    """Looks on while a machine runs."""

    def watch(self, machine: ObservedMachine) -> AbstractContextManager[object]:
        """Entered before the vCPUs' threads start, and left when they are gone."""
