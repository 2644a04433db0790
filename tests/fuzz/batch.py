"""Batches of programs in child processes, so that a crash is survived and can be told of."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Final

from tests.differential.case import Case, source
from tests.differential.disassembly import Mode
from tests.fuzz.guest import Guest, InvariantError
from tests.fuzz.program import programs

#: Programs of one child: enough to make its start cheap, few enough to run again by hand.
BATCH: Final = 20_000
#: Seconds without a finished program after which a child counts as hung.
_PATIENCE: Final = 20.0

_CONTEXT = multiprocessing.get_context("spawn")

#: What a child is given: one program, or seed, batch number and count.
_Work = Case | tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Crash:
    """A program that broke something, and how to meet it again."""

    mode: Mode
    seed: int
    batch: int
    number: int
    what: str
    program: Case
    #: Whether the program does the same as the first one of a new process.
    alone: bool

    def __str__(self) -> str:
        again = "alone as well" if self.alone else "only after the programs before it in its batch"
        return (
            f"{self.what}\n"
            f"  {self.mode}, seed {self.seed}, batch {self.batch}, program {self.number}; {again}\n"
            f"{source(self.program)}"
        )


def _work(
    guest_type: type[Guest],
    mode: Mode,
    work: _Work,
    finished: Synchronized[int],
    answer: Connection,
) -> None:
    """In the child: run the work and answer with the exit reasons, or with what went wrong."""
    guest, reasons = guest_type(mode), Counter[int]()
    for program in [work] if isinstance(work, Case) else programs(mode, *work):
        try:
            reasons[guest.run(program)] += 1
        except InvariantError as error:
            answer.send(str(error))
            return
        finished.value += 1
    answer.send(reasons)


def _run(guest_type: type[Guest], mode: Mode, work: _Work) -> tuple[Counter[int] | str, int]:
    """Run programs in a child: the exit reasons or what went wrong, and how many had finished."""
    finished = _CONTEXT.Value("q", 0, lock=False)
    answer, theirs = _CONTEXT.Pipe(duplex=False)
    child = _CONTEXT.Process(
        target=_work, args=(guest_type, mode, work, finished, theirs), daemon=True
    )
    child.start()
    theirs.close()
    seen, since = -1, time.monotonic()
    try:
        while not answer.poll(0.2):
            if finished.value != seen:
                seen, since = finished.value, time.monotonic()
            elif time.monotonic() - since > _PATIENCE:
                return f"hung for {_PATIENCE:.0f} s", finished.value
        return answer.recv(), finished.value
    except EOFError:
        child.join()
        return _death(child.exitcode or 0), finished.value
    finally:
        child.kill()
        child.join()


def _death(exit_code: int) -> str:
    if exit_code < 0:
        return f"the process died of {signal.Signals(-exit_code).name}"
    return f"the process ended with status {exit_code}"


def run_batch(
    mode: Mode, seed: int, batch: int, count: int, guest_type: type[Guest] = Guest
) -> Counter[int] | Crash:
    """Run a batch in a child process: how often each exit reason came, or the crash."""
    result, finished = _run(guest_type, mode, (seed, batch, count))
    if isinstance(result, Counter):
        return result
    program = next(islice(programs(mode, seed, batch, count), finished, None))
    alone, _ = _run(guest_type, mode, program)
    return Crash(mode, seed, batch, finished, result, program, isinstance(alone, str))


def batches(count: int) -> Iterator[tuple[int, int]]:
    """Number and size of each batch that `count` programs make."""
    for first in range(0, count, BATCH):
        yield first // BATCH, min(BATCH, count - first)
