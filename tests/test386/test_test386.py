"""test386.asm whole, where TEST386 names a checkout; and that its judge can tell what is wrong."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test386.program import CheckoutError, Run, assemble, run

GOOD = Run(0, (0x00, 0x01, 0xEE, 0xFF), "all-halted", b"daa 1\ndas 2\n", b"daa 1\ndas 2\n")


@pytest.mark.skipif("TEST386" not in os.environ, reason="TEST386 names no checkout of test386.asm")
@pytest.mark.timeout(1300)
def test_it_passes(tmp_path: Path) -> None:
    checkout = Path(os.environ["TEST386"])
    result = run(assemble(checkout, tmp_path), checkout)
    assert list(result.failures()) == []
    assert result.lines == 44_926


def test_a_good_run_has_no_failure() -> None:
    assert list(GOOD.failures()) == []


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (replace(GOOD, status=124), "status 124, its last POST code FF"),
        (replace(GOOD, codes=(0, 0x11, 0xEE)), "last POST code EE"),
        (replace(GOOD, codes=()), "last POST code none"),
        (replace(GOOD, codes=(0, 0, 0xEE, 0xFF)), "came twice"),
        (replace(GOOD, codes=(0, 0xFF)), "POST EE, .* never came"),
        (replace(GOOD, printed=b"daa 1\ndas 3\n"), "line 2 .* is 'das 2', and printed was 'das 3'"),
        (replace(GOOD, printed=b"daa 1\n"), "line 2 .* is 'das 2', and printed was ''"),
        (replace(GOOD, printed=b"daa 1\ndas 2\nx"), "line 3 .* is '', and printed was 'x'"),
    ],
)
def test_the_judge_sees(bad: Run, message: str) -> None:
    assert re.search(message, "\n".join(bad.failures()))


def test_a_folder_that_is_no_checkout(tmp_path: Path) -> None:
    with pytest.raises(CheckoutError, match=r"is no checkout of test386\.asm"):
        assemble(tmp_path, tmp_path / "out")


def test_a_configuration_of_another_version(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "configuration.asm").write_text("POST_PORT equ 0x80\n")
    with pytest.raises(CheckoutError, match="sets LPT_PORT 0 times, not once"):
        assemble(tmp_path, tmp_path / "out")
