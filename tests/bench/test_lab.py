"""The laboratory: its rows say what happened, and it can find a lost wake."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench.lab import BACK_TO_BACK, PACED, POLICIES, LabError, Phase, Row, Settings, measure, run
from bench.lab_report import table

SHORT = Settings(seconds=0.4, handoffs=0)


def text(rows: list[Row]) -> str:
    screen = io.StringIO()
    Console(width=80, file=screen).print(table(rows))
    return screen.getvalue()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_row_for_each_phase(policy: str) -> None:
    progress: list[float] = []
    rows = list(run([policy], SHORT, lambda policy, phase, share: progress.append(share)))
    assert [(row.policy, row.phase) for row in rows] == [
        (policy, BACK_TO_BACK.name),
        (policy, PACED.name),
    ]
    for row in rows:
        assert row.complete
        assert row.lost_wakes == 0
        assert row.handoffs > 0
        assert row.handoffs_per_second == pytest.approx(row.handoffs / row.seconds)
        assert row.wake_latency_p50_ns is not None
        assert row.wake_latency_p99_ns is not None
        assert 0 < row.wake_latency_p50_ns <= row.wake_latency_p99_ns
        assert row.tasks_done > 0
        assert (row.mwait_sleeps > 0) == (policy == "fault")
    assert 0 <= progress[0] <= progress[-1] <= 1


def test_what_sets_the_policies_apart() -> None:
    rows = {policy: measure(policy, PACED, SHORT) for policy in POLICIES}
    assert rows["exit"].mwait_exits > 10 * rows["nop"].mwait_exits > 0  # those that work asked for
    assert rows["nop"].spurious_wakes > 100 * rows["fault"].spurious_wakes
    assert rows["fault"].idle_cpu_share < rows["nop"].idle_cpu_share / 2
    assert rows["fault"].false_faults > 0


def test_fault_goes_on_until_it_has_its_handoffs() -> None:
    settings = Settings(seconds=0.05, handoffs=5000)
    assert measure("fault", BACK_TO_BACK, settings).handoffs >= 5000


def test_a_lost_wake_is_found_and_ended(losing_pair: Path) -> None:
    settings = Settings(seconds=1.5, handoffs=0, tasks_per_second=1)
    row = measure("fault", BACK_TO_BACK, settings, guest=losing_pair)
    # Every handoff but the first ones is lost, and takes the watchdog 100 ms.
    assert 5 <= row.lost_wakes <= 15
    assert row.lost_wakes <= row.handoffs + 1 <= row.lost_wakes + 5


def test_deferred_work_does_not_hide_lost_wakes(losing_pair: Path) -> None:
    settings = Settings(seconds=1.5, handoffs=0, tasks_per_second=200)
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
        instructions_per_handoff=21.34,
        idle_cpu_share=0.0517,
        mwait_exits=123_456_789,
        mwait_sleeps=999,
        write_faults=3001,
        false_faults=1002,
        spurious_wakes=5,
        lost_wakes=lost,
        tasks_done=400,
        task_latency_p50_ns=33_000,
        task_latency_p99_ns=1_200_000,
    )


def test_the_table_shows_every_figure_in_80_columns() -> None:
    shown = text([row(policy, phase) for policy in POLICIES for phase in (BACK_TO_BACK, PACED)])
    for figure in [
        "16.3 µs",
        "21.3",
        "5.2%",
        "123.5 M",
        "3,001",
        "1,002",
        "33.0 µs",
        "1.20 ms",
    ]:
        assert shown.count(figure) == 8, figure
    assert all(policy in shown for policy in POLICIES)
    assert "*" not in shown


def test_the_table_marks_what_ctrl_c_cut_short() -> None:
    shown = text([row("nop", BACK_TO_BACK), row("nop", PACED, complete=False)])
    assert "* stopped by Ctrl-C" in shown
