"""A flood of two seconds; `make flood` has one of a minute."""

from __future__ import annotations

import pytest

from tests.flood.campaign import Findings, flood
from tests.flood.guest import BODIES
from vmm.devices import PIT
from vmm.seeing.trace_file import TraceFile


def test_the_vmm_stands_it() -> None:
    findings = flood(2.0, seed=1, slice_seconds=0.4)
    assert findings.problems == []
    assert set(findings.machines) == set(BODIES)
    assert min(findings.exits[name] for name in ("EXIT_IO", "EXIT_MMIO", "EXIT_MWAIT")) > 0
    assert {"timeout", "reset", "exit-port"} & set(findings.outcomes)
    assert findings.printed > 1000
    assert findings.timeline_bytes > 10_000


def test_a_device_that_raises_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise IndexError("a broken device")

    monkeypatch.setattr(PIT, "write", fail)
    findings = flood(0.2, seed=1, slice_seconds=0.2, only="devices")
    assert any("a broken device" in problem for problem in findings.problems)


def test_a_timeline_that_is_cut_off_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TraceFile, "finish", lambda *_, **__: None)
    monkeypatch.setattr("tests.flood.campaign._held", lambda: (0, 0))
    assert any("not valid" in problem for problem in flood(0.1, 1, 0.1, "exits").problems)


def test_what_never_ends_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.flood.campaign.GRACE_SECONDS", -1.0)
    assert any("late" in problem for problem in flood(0.1, 1, 0.1, "exits").problems)


def test_what_grows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.flood.campaign.MOST_GROWTH", -(1 << 40))
    assert Findings().problems == []
    assert any("has grown" in problem for problem in flood(0.1, 1, 0.1, "exits").problems)
