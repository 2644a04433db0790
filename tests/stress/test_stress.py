"""A short run of the stress tool, and proof that it would see a lost wake."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result

from tests.stress.__main__ import main
from tests.stress.campaign import Settings, Tally, run
from tests.stress.layout import LAYOUTS
from tests.stress.plan import CHANGING, DISTURBANCES, IDLES, LOSING, draw
from tests.stress.stores import STORES
from vmm import MWAIT_CHOICES

POLICIES = [name for name in MWAIT_CHOICES if name not in LOSING]


def ignore(phase: int, handoffs: int, lost: int) -> None:
    """No progress to be shown."""


def stress(**options: object) -> Result:
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return CliRunner().invoke(main, [*arguments, "--json"], catch_exceptions=False)


@pytest.mark.parametrize(("seed", "vcpus"), [(1, 4), (2, 9)])
def test_no_wake_is_lost(seed: int, vcpus: int) -> None:
    done = stress(seconds=4, seed=seed, vcpus=vcpus)
    result = json.loads(done.stdout)
    assert (done.exit_code, result["incidents"]) == (0, [])
    assert result["lost"] == 0
    assert result["handoffs"] > 2000
    assert result["waits"] > 500, "nobody ever waited, so nothing was tested"


def test_a_lost_wake_is_found_and_told() -> None:
    done = stress(seconds=3, seed=1, patience=200, sabotage="look-before-monitor")
    result = json.loads(done.stdout)
    assert done.exit_code == 1
    assert result["lost"] >= 1
    first = result["incidents"][0]
    assert first["what"].startswith("lost wake: vCPU ")
    assert "mwait" in {vcpu["waiting"] for vcpu in first["vcpus"]}
    assert result["by"]["policy"].get("nop", {"lost": 0})["lost"] == 0


def test_a_phase_can_be_met_again() -> None:
    tally = Tally()
    run(Settings(seconds=1.5, seed=1, phase=3), tally, ignore)
    assert tally.phases >= 2
    assert [len(tally.broken_down[each]) for each in ("policy", "layout")] == [1, 1]


def test_a_seed_gives_the_same_phases() -> None:
    first, again = ([draw(5, n, 8, 2, POLICIES) for n in range(50)] for _ in range(2))
    assert first == again
    assert first != [draw(6, n, 8, 2, POLICIES) for n in range(50)]


def test_the_phases_have_everything() -> None:
    phases = [draw(0, n, 8, 2, POLICIES) for n in range(500)]
    members = [member for phase in phases for ring in phase.rings for member in ring]
    assert {phase.layout for phase in phases} == set(LAYOUTS)
    assert {phase.disturbance for phase in phases} == set(DISTURBANCES)
    assert {phase.policy for phase in phases} == {*POLICIES, CHANGING}
    assert {member.mailbox.store.name for member in members} >= {store.name for store in STORES}
    assert {member.idle for member in members} == set(IDLES)
    assert {member.wait for member in members} == {"idle", "spin", "host"}
    assert any(member.mailbox.at == member.mailbox.flag for member in members)
    undisturbed = [phase for phase in phases if phase.disturbance == "none"]
    assert len(undisturbed) > len(phases) / 2


@pytest.mark.parametrize("index", range(100))
def test_mailboxes_do_not_get_in_each_others_way(index: int) -> None:
    """Where the numbers stand in the monitored lines, no two share a byte."""
    phase = draw(3, index, 32, 2, POLICIES)
    boxes = [member.mailbox for ring in phase.rings for member in ring]
    taken = [byte for box in boxes for byte in range(box.flag, box.flag + box.flag_width)]
    assert len(taken) == len(set(taken))
    for box in boxes:
        assert box.store.covers or box.at + box.width > box.line
        assert box.at < box.line + 64
        assert box.flag == box.at or not box.line <= box.flag < box.line + 64


@pytest.mark.parametrize(
    ("option", "value"),
    [("seconds", 0), ("vcpus", 1), ("vcpus", 33), ("seed", -1), ("sabotage", "x"), ("patience", 0)],
)
def test_bad_input(option: str, value: object) -> None:
    done = stress(**{option: value})
    assert done.exit_code == 2
    assert f"--{option}" in done.stderr
    assert "Traceback" not in done.stderr
