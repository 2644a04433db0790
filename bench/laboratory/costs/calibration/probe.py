"""One thing that is timed; costs are made of what several give."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from bench.affinity import pinned

#: Times what it is for, once; ns for each piece of it.
Turn = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Probe:
    """`prepare` sets up what `summary` describes; what it gives may be called over and over.

    `one_cpu`: all of it stays on one CPU of the host. `scheduled`: the host's scheduler has a part
    in it, so that it varies more from run to run than what a thread does by itself.
    """

    name: str
    summary: str
    prepare: Callable[[], AbstractContextManager[Turn]]
    one_cpu: bool = True
    scheduled: bool = False

    @contextmanager
    def ready(self) -> Iterator[Turn]:
        """What times it, on the CPUs that it is to be timed on.

        Raises EngineError when a guest goes wrong, vmm.AssemblyError without an assembler.
        """
        with pinned() if self.one_cpu else nullcontext(), self.prepare() as turn:
            yield turn
