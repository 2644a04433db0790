"""Short runs against Unicorn, and proof that the comparison finds what it should."""

from __future__ import annotations

import itertools
import os
from textwrap import indent

import pytest

from tests.differential.agreement import Comparison, Verdict, assert_agree
from tests.differential.campaign import run
from tests.differential.case import Case, case, level3, source
from tests.differential.disassembly import MODES, Mode, disassemble
from tests.differential.generate import Generator
from tests.differential.layout import DATA, EFLAGS, PAGED_REGISTERS
from tests.differential.outcome import Outcome
from tests.differential.shrink import minimal, shrink


@pytest.mark.parametrize("mode", MODES)
def test_no_unexplained_difference(mode: Mode) -> None:
    cases = 1000 if mode == "paged" else 2000
    campaign = run(mode, seed=1, cases=cases)
    assert not campaign.differences, "\n\n".join(map(str, campaign.differences.values()))
    assert campaign.cases == cases
    assert campaign.instructions > 4 * campaign.cases


@pytest.mark.parametrize("mode", MODES)
def test_a_seed_gives_the_same_cases(mode: Mode) -> None:
    first, again, other = ([Generator(mode, seed).case(n) for n in range(30)] for seed in (5, 5, 6))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "subject",
    [
        case("real", "40"),  # inc ax
        case("flat32", "8903", ebx=DATA, eax=0x12345678),  # mov [ebx], eax
        case("flat32", "f7f1", ecx=0),  # div ecx: #DE
        case("real", "cd21"),  # int 0x21
        case("real", "f3aa", ecx=5, edi=0x100),  # rep stosb
        case("real", "e760", eax=0x1234),  # out 0x60, ax
        case("flat32", "9c", eflags=0x8D7),  # pushfd
        case("paged", "0f22d8", eax=0xD3000),  # mov cr3, eax
        case("paged", "8ed8", eax=0xBEEF),  # mov ds, ax: #GP(BEECh)
        level3(
            "9a00000000bb00",
        ),  # lcall 0xbb:0, a gate with parameters
        level3(
            "a300000300",
            memory={0xD10C0: "05000300"},
        ),  # mov [DATA], eax: #PF
    ],
    ids=lambda subject: disassemble(subject.mode, subject.code),
)
def test_agreement(subject: Case) -> None:
    assert_agree(subject)


class Perturbed(Comparison):
    """The core's side comes out wrong in one place after an INC EAX (40)."""

    def __init__(self, mode: Mode, where: str) -> None:
        super().__init__(mode)
        self._where = where
        self._right_run, self._right_step = self.core.run, self.core.step
        self.core.run = self._run_wrong  # type: ignore[method-assign]
        self.core.step = self._step_wrong  # type: ignore[method-assign]

    def _run_wrong(self, limit: int) -> Outcome:
        wrong = b"\x40" in self.core.fetch()
        outcome = self._right_run(limit)
        return self._spoilt(outcome) if wrong else outcome

    def _step_wrong(self) -> Outcome:
        wrong = self.core.fetch()[:1] == b"\x40"
        outcome = self._right_step()
        return self._spoilt(outcome) if wrong else outcome

    def _spoilt(self, outcome: Outcome) -> Outcome:
        if self._where == "memory":
            self.core._memory.write(DATA + 5, bytes((self.core.ram[DATA + 5] ^ 1,)))
            return outcome
        registers = list(outcome.registers)
        registers[PAGED_REGISTERS.index(self._where)] ^= 1
        return outcome._replace(registers=tuple(registers))


@pytest.mark.parametrize(
    ("mode", "where"),
    [
        *itertools.product(MODES, ["edi", "eip", "eflags", "gs", "memory"]),
        *itertools.product(["paged"], ["ss_limit", "tr_access", "cr2"]),
    ],
)
def test_a_planted_difference_is_found_and_shrunk(mode: Mode, where: str) -> None:
    subject = case(
        mode,
        *("b80500", "40", "89d8") if mode == "real" else ("b805000000", "40", "89d8"),
        ebx=7,
        edx=0xFFFF,
    )
    spoilt = Perturbed(mode, where)
    difference = spoilt.compare(subject).difference
    assert difference is not None
    assert difference.cause.startswith("inc")
    assert difference.parts[0][0].split()[0] == where
    smallest = minimal(spoilt, difference)
    assert smallest.case.instructions == (b"\x40",)
    assert indent(source(smallest.case), "    ") in str(smallest)


def test_undefined_flags_are_no_difference() -> None:
    spoilt = Perturbed("real", "eflags")
    assert spoilt.compare(case("real", "40")).difference is not None
    # DIV leaves every flag undefined.
    assert spoilt.compare(case("real", "40", "f7f1", eax=8, ecx=2)).difference is None


def test_shrinking_keeps_what_fails() -> None:
    subject = case("real", "90", "40", "41", "9090", "43", memory={0x100: "01"}, eax=0x12345, ecx=9)
    smallest = shrink(subject, lambda c: b"\x41" in c.instructions and c.registers[0] > 0xFF)
    assert smallest.instructions == (b"\x41",)
    assert smallest.memory == {}
    assert smallest.registers[0] == 0x2345
    assert smallest.registers[1] == 0
    assert smallest.registers[EFLAGS] == 2


class Aborting(Comparison):
    """Takes the process down at case 7 of seed 3, as Unicorn does for LOCK BT of a register."""

    def compare(self, case: Case) -> Verdict:
        if case == Generator(self.mode, 3).case(7):
            os.abort()
        return super().compare(case)


def test_a_case_that_aborts_is_left_out_and_counted() -> None:
    campaign = run("real", seed=3, cases=20, comparison=Aborting)
    assert campaign.cases == 19
    assert campaign.reasons["Unicorn aborts"] == 1


class Raising(Comparison):
    """Goes wrong itself."""

    def compare(self, case: Case) -> Verdict:
        raise ValueError("planted")


def test_any_other_end_of_the_process_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="case 0 of seed 3, real"):
        run("real", seed=3, cases=20, comparison=Raising)
    assert "planted" in capfd.readouterr().err
