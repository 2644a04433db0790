"""A short run of the fuzzer, and proof that it would see a crash."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.differential.case import Case, case, source
from tests.differential.disassembly import MODES, Mode
from tests.fuzz.batch import Crash, run_batch
from tests.fuzz.guest import Guest, InvariantError
from tests.fuzz.program import programs


@pytest.mark.parametrize("mode", MODES)
def test_any_bytes_are_a_guest(mode: Mode) -> None:
    result = run_batch(mode, seed=1, batch=0, count=3000)
    assert isinstance(result, Counter), str(result)
    assert sum(result.values()) == 3000


@pytest.mark.parametrize("mode", MODES)
def test_a_seed_gives_the_same_programs(mode: Mode) -> None:
    first, again = (list(programs(mode, 7, 3, 50)) for _ in range(2))
    assert first == again
    assert first != list(programs(mode, 8, 3, 50))


class DyingGuest(Guest):
    """Kills its process at the third program."""

    def run(self, program: Case) -> int:
        if self.finished == 2:
            os.abort()
        return super().run(program)


class LyingGuest(Guest):
    """Finds something wrong with the fifth program."""

    def run(self, program: Case) -> int:
        if self.finished == 4:
            raise InvariantError("planted")
        return super().run(program)


@pytest.mark.parametrize(
    ("guest_type", "number", "what"),
    [(DyingGuest, 2, "the process died of SIGABRT"), (LyingGuest, 4, "planted")],
)
def test_a_crash_is_told_with_its_bytes(guest_type: type[Guest], number: int, what: str) -> None:
    crash = run_batch("real", seed=1, batch=0, count=10, guest_type=guest_type)
    assert isinstance(crash, Crash)
    assert (crash.number, crash.what, crash.alone) == (number, what, False)
    assert crash.program == list(programs("real", 1, 0, 10))[number]
    assert source(crash.program) in str(crash)


def test_a_program_that_halts() -> None:
    assert Guest("real").run(case("real", "f4")) == 5
