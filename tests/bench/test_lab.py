"""The laboratory: its rows say what happened, and it can find a lost wake."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from bench.lab import (
    BACK_TO_BACK,
    PACED,
    PHASES,
    POLICIES,
    QUIET,
    LabError,
    Phase,
    Row,
    Settings,
    measure,
    run,
)
from bench.lab_report import WIDEST, tables

SHORT = Settings(seconds=0.25, quiet_seconds=0.4, handoffs=0)

#: Policies under which MWAIT always sleeps, and never.
SLEEP = ("halt", "timer", "scan", "fault")
DO_NOT_SLEEP = ("nop", "yield", "exit", "passthrough")


def text(rows: list[Row]) -> str:
    screen = io.StringIO()
    Console(width=WIDEST, file=screen).print(tables(rows))
    return screen.getvalue()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_row_for_each_phase(policy: str) -> None:
    progress: list[float] = []
    rows = list(run([policy], SHORT, lambda policy, phase, share: progress.append(share)))
    assert [(row.policy, row.phase) for row in rows] == [(policy, phase.name) for phase in PHASES]
    for row in rows:
        assert row.complete
        assert (row.lost_wakes > 0) == (policy == "halt")
        assert row.handoffs > 0
        assert row.handoffs_per_second == pytest.approx(row.handoffs / row.seconds)
        assert row.wake_latency_p50_ns is not None
        assert row.wake_latency_p99_ns is not None
        assert 0 < row.wake_latency_p50_ns <= row.wake_latency_p99_ns
        if policy in SLEEP:
            assert row.mwait_sleeps > 0
        elif policy in DO_NOT_SLEEP:
            assert row.mwait_sleeps == 0
    assert rows[1].tasks_done > 0
    assert rows[2].tasks_done == 0
    assert rows[2].handoffs <= QUIET.at_once
    assert 0 <= progress[0] <= progress[-1] <= 1


def test_what_sets_the_policies_apart() -> None:
    rows = {policy: measure(policy, PACED, SHORT) for policy in ("nop", "exit", "fault")}
    assert rows["exit"].mwait_exits > 10 * rows["nop"].mwait_exits > 0  # those that work asked for
    assert rows["nop"].spurious_wakes > 100 * rows["nop"].handoffs
    assert rows["fault"].idle_cpu_share < rows["nop"].idle_cpu_share / 2
    assert rows["fault"].false_faults > 0


@pytest.mark.parametrize("policy", ["fault", "adaptive"])
def test_who_sleeps_until_the_store_costs_next_to_nothing_when_nobody_wakes(policy: str) -> None:
    # On a busy host it may turn round for a while before the waker, which does not run, has
    # answered the first shootdown.
    rows = (measure(policy, QUIET, SHORT) for _ in range(5))
    assert any(row.idle_cpu_share < 0.01 for row in rows)


def test_adaptive_polls_in_vain_before_it_sleeps() -> None:
    rows = (measure("adaptive", QUIET, SHORT) for _ in range(5))
    assert any(
        row.mwait_polls_successful < row.mwait_polls_attempted and row.mwait_sleeps for row in rows
    )


def test_scan_and_timer_look_again_and_again() -> None:
    for policy in ("scan", "timer"):
        row = measure(policy, PACED, SHORT)
        assert row.lost_wakes == 0
        assert row.mwait_sleeps > row.handoffs / 2


@pytest.mark.parametrize("policy", ["passthrough", "fault", "adaptive"])
def test_who_could_lose_a_wake_goes_on_until_it_has_its_handoffs(policy: str) -> None:
    row = measure(policy, BACK_TO_BACK, Settings(seconds=0.05, handoffs=2000))
    assert row.handoffs >= 2000 or row.seconds > 0.4  # it gives up after 0.5 s
    row = measure(policy, BACK_TO_BACK, Settings(seconds=0.05, handoffs=10**9))
    assert row.seconds > 0.4
    assert row.lost_wakes == 0


@pytest.mark.parametrize("policy", ["passthrough", "fault", "adaptive"])
def test_a_lost_wake_is_found_and_ended(losing_pair: Path, policy: str) -> None:
    settings = Settings(seconds=0.7, handoffs=0, tasks_per_second=1)
    row = measure(policy, BACK_TO_BACK, settings, guest=losing_pair)
    # Every handoff but the first ones is lost, and takes the watchdog 100 ms or more.
    assert 2 <= row.lost_wakes <= row.seconds / 0.1
    assert row.lost_wakes <= row.handoffs + 1 <= row.lost_wakes + 5


def test_deferred_work_does_not_hide_lost_wakes(losing_pair: Path) -> None:
    settings = Settings(seconds=1.0, handoffs=0, tasks_per_second=200)
    row = measure("fault", BACK_TO_BACK, settings, guest=losing_pair)
    # While work is queued MWAIT exits. But whenever this guest sleeps, its flag is set already.
    assert row.mwait_exits > 0
    assert row.lost_wakes > 1
    assert row.mwait_sleeps - 1 <= row.lost_wakes <= row.mwait_sleeps


def test_the_same_guest_loses_nothing_where_mwait_does_not_sleep(losing_pair: Path) -> None:
    row = measure("nop", BACK_TO_BACK, SHORT, guest=losing_pair)
    assert row.lost_wakes == 0
    assert row.handoffs > 0
    assert row.mwait_sleeps == 0


def test_a_guest_that_goes_wrong_gives_no_row(tmp_path: Path) -> None:
    guest = tmp_path / "wrong.S"
    guest.write_text(
        '#include "protected_mode.inc"\n.code16\nenter_protected_mode\n.byte 0x0F, 0xFF\n'
    )
    with pytest.raises(LabError, match=r"policy fault, 1 ms apart: .*triple-faulted"):
        measure("fault", PACED, SHORT, guest=guest)


def row(policy: str, phase: Phase, lost: int = 0, complete: bool = True) -> Row:
    return Row(
        policy=policy,
        phase=phase.name,
        complete=complete,
        seconds=2.0,
        handoffs=1000,
        handoffs_per_second=500.0,
        wake_latency_p50_ns=None,
        wake_latency_p99_ns=16_300,
        instructions=43_210_000,
        instructions_per_handoff=43_210.0,
        idle_cpu_share=0.0517,
        mwait_exits=123_456_789,
        mwait_sleeps=999,
        mwait_polls_attempted=70,
        mwait_polls_successful=60,
        write_faults=3001,
        false_faults=1002,
        spurious_wakes=5,
        lost_wakes=lost,
        tasks_done=400,
        task_latency_p50_ns=33_000,
        task_latency_p99_ns=1_200_000,
    )


def test_a_table_for_each_phase_shows_its_figures() -> None:
    shown = text([row(policy, phase) for policy in POLICIES for phase in PHASES])
    blocks = shown.strip().split("\n\n")
    assert [block.splitlines()[0] for block in blocks] == [
        "Back to back",
        "1 ms apart",
        "Nobody wakes",
    ]
    figures = [
        ["1,000", "500", "-", "16.3 µs", "5.2%", "999", "1,002", "0"],
        ["1,000", "-", "16.3 µs", "5.2%", "123 M", "5", "0", "33.0 µs"],
        ["5.2%", "21.6 M", "123 M", "999", "5", "0"],
    ]
    for block, expected in zip(blocks, figures, strict=True):
        lines = [re.split(r"  +", line.strip()) for line in block.splitlines()[-len(POLICIES) :]]
        assert lines == [[policy, *expected] for policy in POLICIES]
    assert max(map(len, shown.splitlines())) <= 80
    assert "*" not in shown


def test_the_largest_numbers_are_shown_whole() -> None:
    large = replace(
        row("passthrough", BACK_TO_BACK, complete=False),
        handoffs=999_999,
        handoffs_per_second=999_999.0,
        mwait_sleeps=999_999,
        false_faults=999_999,
        lost_wakes=999_999,
        wake_latency_p50_ns=12_345,
        idle_cpu_share=1.0,
    )
    shown = text([large])
    assert shown.count("999,999") == 5
    assert all(figure in shown for figure in ("passthrough*", "12.3 µs", "16.3 µs", "100.0%"))


def test_the_table_marks_what_ctrl_c_cut_short() -> None:
    shown = text([row("nop", BACK_TO_BACK), row("yield", BACK_TO_BACK, complete=False)])
    assert "\nnop " in shown
    assert "\nyield* " in shown
    assert "\n* stopped by Ctrl-C" in shown
