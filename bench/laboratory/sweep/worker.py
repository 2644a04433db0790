"""A process that measures points for a sweep."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

from bench.laboratory.point import Point
from bench.laboratory.sweep.catalogue import Measure
from bench.laboratory.sweep.outcome import attempt


def work(connection: Connection, measure: Measure) -> None:
    """Measure the points that come in and send their outcomes, until the sweep is over or dead."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep ends its workers itself
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    points: SimpleQueue[Point] = SimpleQueue()
    Thread(target=_receive, args=(connection, points), name="points", daemon=True).start()
    while True:
        outcome = attempt(measure, points.get())
        with suppress(ConnectionError):  # the sweep is gone, and so is this process at once
            connection.send(outcome)


def _receive(connection: Connection, points: SimpleQueue[Point]) -> None:
    """Also in the middle of a point, the end of the sweep's process is the end of this one."""
    while True:
        try:
            points.put(connection.recv())
        except (EOFError, ConnectionError):
            os._exit(0)
