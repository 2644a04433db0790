"""The silicon sample on the core, and a planted wrong answer that the runner must find."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.vectors import moo
from tests.vectors.runner import Failure, Runner

_ROOT = Path(__file__).parents[2]
_SAMPLE = Path(os.environ.get("X86_VECTORS", _ROOT / "../shared/vectors/80286-real-mode.tar.xz"))

#: inc ax; hlt at 0010:0050, with AX = FFFFh.
INC_AX = moo.Capture(
    index=0,
    code=b"\x40\xf4",
    initial=moo.State(
        dict.fromkeys(moo.REGISTERS, 0) | {"ax": 0xFFFF, "cs": 0x10, "ip": 0x50, "flags": 0x0003},
        {0x150: 0x40, 0x151: 0xF4},
    ),
    final=moo.State({"ax": 0, "ip": 0x52, "flags": 0x0057}, {}),
    exception=None,
)


def final(**registers: int) -> moo.State:
    return moo.State(INC_AX.final.registers | registers, {})


def test_passes_what_is_right_and_again() -> None:
    runner = Runner()
    assert runner.run_one(INC_AX) is None
    assert runner.run_one(INC_AX) is None


@pytest.mark.parametrize(
    ("wrong", "cause", "what"),
    [
        (final(ax=1), "registers", "ax"),
        (final(ip=0x53), "registers", "ip"),
        (final(flags=0x0056), "flags", "flags"),
        (moo.State(INC_AX.final.registers, {0x8_0000: 1}), "memory", "[80000]"),
    ],
)
def test_finds_a_planted_difference(wrong: moo.State, cause: str, what: str) -> None:
    runner = Runner()
    failure = runner.run_one(replace(INC_AX, final=wrong))
    assert failure is not None
    assert (failure.cause, [name for name, _, _ in failure.differences]) == (cause, [what])
    assert runner.run_one(INC_AX) is None, "the failure left something behind"


def test_undefined_flags_do_not_count() -> None:
    assert Runner().run_one(replace(INC_AX, final=final(flags=0x0056)), flags_mask=0xFFE) is None


@pytest.mark.skipif(
    not _SAMPLE.exists(), reason=f"no captures at {_SAMPLE}; set X86_VECTORS to where they are"
)
def test_sample() -> None:
    runner, passed = Runner(), 0
    failed: list[Failure] = []
    for file in moo.load(_SAMPLE):
        outcome = runner.run(file)
        passed += outcome.passed
        failed += outcome.failures
    assert not failed, f"python -m tests.vectors {_SAMPLE} shows the failures in full"
    assert passed
