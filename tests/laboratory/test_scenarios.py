"""Scenarios and policies as data: complete, within bounds, and refused by name when unknown."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench.laboratory.guest import GUESTS, image
from bench.laboratory.mailbox import MOST_ENTRY_BYTES, MOST_VCPUS, MOST_WORDS
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.policies import POLICIES, find_policy
from bench.laboratory.scenario import Load, Scenario
from bench.laboratory.scenarios import SCENARIOS, find_scenario
from vmm import HLT_CHOICES, MWAIT_CHOICES, idle_policy
from vmm.asm import BOOT_ADDRESS

DOCUMENTATION = Path(__file__).resolve().parents[2] / "docs" / "laboratory.md"


def extremes(scenario: Scenario) -> list[dict[str, float]]:
    """The defaults, and each parameter at its least and its most."""
    each = [
        {parameter.name: value}
        for parameter in scenario.parameters
        for value in (parameter.minimum, parameter.maximum)
    ]
    return [{}, *each]


def check(load: Load) -> None:
    assert 1 <= load.vcpus <= MOST_VCPUS
    assert 0 <= load.neighbours <= MOST_VCPUS
    assert len(load.words) <= MOST_WORDS
    assert all(isinstance(word, int) and 0 <= word < 1 << 32 for word in load.words)
    if load.deferred is not None:
        assert load.deferred.per_second > 0
        assert 0 < load.deferred.step_ns <= load.deferred.task_ns
    if load.host_writes is not None:
        assert load.host_writes.interval_ns > 0
        assert 0 <= load.host_writes.ring_bytes <= MOST_ENTRY_BYTES
        assert load.host_writes.ring_bytes % 4 == 0


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_load_fits_whatever_the_parameters(scenario: Scenario) -> None:
    for given in extremes(scenario):
        check(scenario.load(scenario.values(given)))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_a_scenario_says_what_it_is(scenario: Scenario) -> None:
    assert scenario.summary.isascii()
    assert scenario.question.endswith("?")
    assert scenario.executors == (scenario.load(scenario.values({})).deferred is not None)
    assert len({parameter.name for parameter in scenario.parameters}) == len(scenario.parameters)
    for parameter in scenario.parameters:
        assert parameter.check(parameter.default) == parameter.default
        assert parameter.summary


def test_every_guest_is_used_and_fits_below_the_parameters() -> None:
    used = {scenario.guest for scenario in SCENARIOS.values()}
    assert used == {source.stem for source in GUESTS.glob("*.S")}
    assert all(BOOT_ADDRESS + len(image(guest)) <= 0x10000 for guest in used)


def test_names_that_nobody_knows_are_refused_with_the_list() -> None:
    with pytest.raises(LaboratoryError, match=r"unknown scenario 'ping' \(known: pingpong, ipi, "):
        find_scenario("ping")
    with pytest.raises(
        LaboratoryError, match=r"unknown policy 'block' .*adaptive, hlt-block, .*hlt-passthrough\)"
    ):
        find_policy("block")
    with pytest.raises(LaboratoryError, match="scenario idle has no parameter 'rate'"):
        SCENARIOS["idle"].values({"rate": 1})


def test_policies_are_those_of_the_vmm() -> None:
    assert [*POLICIES] == [*MWAIT_CHOICES, *(f"hlt-{name}" for name in HLT_CHOICES)]
    for policy in POLICIES.values():
        assert idle_policy(policy.mwait, policy.hlt)
        assert policy.idle_by_hlt == policy.name.startswith("hlt-")


def test_the_documentation_has_every_scenario_and_its_parameters() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|(.*)\|$", DOCUMENTATION.read_text(), re.MULTILINE)
    table = {name: set(re.findall(r"`([a-z_]+)`", row)) for name, row in rows if name in SCENARIOS}
    assert [*table] == [*SCENARIOS]
    for name, scenario in SCENARIOS.items():
        assert table[name] == {parameter.name for parameter in scenario.parameters}, name
