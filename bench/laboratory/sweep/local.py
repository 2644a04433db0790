"""Points on processes of this host."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Generator, Iterable
from contextlib import suppress
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import wait

from bench.laboratory.point import Point
from bench.laboratory.sweep.catalogue import Measure
from bench.laboratory.sweep.outcome import Outcome
from bench.laboratory.sweep.worker import work


class _Worker:
    """A process that measures one point after the other. It dies with this one."""

    def __init__(self, measure: Measure) -> None:
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, measure), daemon=True)
        # Ctrl-C reaches all processes of a terminal. A worker must not die of it before it gets to
        # say that it ignores it, and it inherits the mask. The tracker would end the mask.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def send(self, point: Point) -> None:
        """Give the process a point. Whether it still lives, its outcome says."""
        with suppress(ConnectionError):
            self.connection.send(point)

    def outcome(self, point: Point) -> Outcome:
        """What the process has to say of the point; a failure when it is dead."""
        try:
            outcome: Outcome = self.connection.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode
            how = f"signal {-code}" if code is not None and code < 0 else f"status {code}"
            return Outcome(point, failure=f"its process ended with {how}", broken=True)
        return outcome

    def end(self) -> None:
        """Whatever it is doing."""
        self._process.kill()
        self._process.join()
        self.connection.close()


def run_local(points: Iterable[Point], jobs: int, measure: Measure) -> Generator[list[Outcome]]:
    """The outcomes of the points, as they come, from `jobs` processes. Closing ends them all."""
    waiting = deque(points)
    workers: list[_Worker] = []
    busy: dict[object, tuple[_Worker, Point]] = {}
    try:
        while waiting or busy:
            idle = [worker for worker in workers if worker.connection not in busy]
            while waiting and len(busy) < jobs:
                if not idle:
                    idle.append(_Worker(measure))
                    workers.append(idle[0])
                worker, point = idle.pop(), waiting.popleft()
                busy[worker.connection] = worker, point
                worker.send(point)
            outcomes = []
            for connection in wait([worker.connection for worker, _ in busy.values()]):
                worker, point = busy.pop(connection)
                outcomes.append(worker.outcome(point))
                if outcomes[-1].broken:
                    worker.end()
                    workers.remove(worker)
            yield outcomes
    finally:
        for worker in workers:
            worker.end()
