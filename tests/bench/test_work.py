"""The benchmark of deferred work measures what it says; how good it is depends on the host."""

from __future__ import annotations

import json

from click.testing import CliRunner

from bench import work
from bench.cli import cli
from vmm import EXECUTORS

QUICK = work.Settings(seconds=0.3, tasks_per_second=200)


def test_every_row() -> None:
    rows = list(work.run(QUICK))
    assert {(row.guest, row.policy, row.executor) for row in rows} == {
        (guest, policy, executor)
        for guest, policies in {"idle": work.POLICIES, "noisy": ["-"]}.items()
        for policy in policies
        for executor in (work.NONE, *EXECUTORS)
    }
    for row in rows:
        assert (row.wakes > 0) == (row.guest == "idle") == (row.wake_p50_ns is not None)
        assert (row.tasks > 0) == (row.executor != work.NONE) == (row.work_share > 0)
        held = row.guest == "idle" and row.executor in ("vcpu", "helpers")
        assert held or row.held_p50_ns is None


def test_json() -> None:
    arguments = ["work", "--json", "--executor", "vcpu", "--seconds", "0.2"]
    done = CliRunner().invoke(cli, arguments)
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    assert {row["executor"] for row in document["rows"]} == {"none", "vcpu"}
    assert document["environment"]["command"].startswith("python -m bench work --executor vcpu")


def test_table() -> None:
    done = CliRunner().invoke(cli, ["work", "--executor", "workers", "--seconds", "0.2"])
    assert done.exit_code == 0
    assert "noisy" in done.output
    assert "Longest slice 400" in done.output
