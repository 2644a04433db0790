"""The wake benchmark measures what it says; its promises are for a quiet host."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import x86core as x86
from bench import wake
from bench.bare import Mailbox
from bench.cli import cli

QUICK = wake.Settings(repeats=1, wakes=200, turns=20_000, waiters=8)


def test_every_figure() -> None:
    rows = list(wake.run(QUICK))
    assert len(rows) == len({row.name for row in rows}) == 5
    assert all(row.value > 0 and row.reference > 0 for row in rows)


@pytest.mark.parametrize("by_futex", [True, False])
def test_the_bare_host_wakes(by_futex: bool) -> None:
    assert 0 < wake.bare_wake_ns(by_futex, 100, 1000) < 50_000_000


def test_a_mailbox_has_a_latency_for_each_wake() -> None:
    assert Mailbox(7).latencies.shape == (7,)


def test_waiters_wait_and_leave() -> None:
    with wake.waiting(3) as memory:
        assert memory.vcpus == 3
    assert isinstance(memory, x86.Memory)


def test_bounds() -> None:
    most = wake.Row("", 13.0, "ns", "", 10.0, 1.3)
    least = wake.Row("", 97.0, "M/s", "", 100.0, 0.98, at_least=True)
    assert most.within
    assert not least.within


def test_json_and_exit_status() -> None:
    done = CliRunner().invoke(cli, ["wake", "--json", "--repeats", "1", "--waiters", "4"])
    figures = json.loads(done.stdout)["figures"]
    assert done.exit_code == (0 if all(figure["within"] for figure in figures) else 1)
    assert [figure["unit"] for figure in figures] == ["ns", "ns", "ns", "ns", "M/s"]


def test_help_has_an_example() -> None:
    assert "python -m bench wake" in CliRunner().invoke(cli, ["wake", "--help"]).output
