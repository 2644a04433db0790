"""Others on the modelled host: a neighbour's vCPUs, which never idle, and a load of processes."""

from __future__ import annotations

from random import Random
from typing import Final

from bench.laboratory.virtual.clock import Process
from bench.laboratory.virtual.scheduler import Host, HostThread

#: Processes of the load compute for so long at a time, evenly from half to one and a half of it.
_BURST_NS: Final = 1_000_000


class Neighbour(HostThread):
    """A vCPU of another machine that works whenever it has a core."""

    @property
    def work_ns(self) -> int:
        """How long it has worked; up to date after `Host.settle`."""
        return self.cpu_ns - self.switch_ns

    def live(self) -> Process:
        """Work for ever."""
        while True:
            yield from self.compute(self.host.slice_ns)


class LoadProcess(HostThread):
    """A process of the load: it wants `share` of a core, in bursts."""

    def __init__(self, host: Host, share: float, random: Random) -> None:
        super().__init__(host)
        self._share = share
        self._random = random

    def live(self) -> Process:
        """Bursts, with the rest of the time between them; what it was late is lost."""
        while True:
            burst = int(_BURST_NS * (0.5 + self._random.random()))
            began = self.clock.now
            yield from self.compute(burst)
            yield from self.sleep(max(self.clock.now, began + int(burst / self._share)))
