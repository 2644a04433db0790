"""Several processors: started by INIT and start-up IPIs, woken by stores and by interrupts."""

from __future__ import annotations

import os
import re

import pytest
from click.testing import CliRunner

from tests.vmm.conftest import WriteGuest
from vmm import HLT_CHOICES, MWAIT_CHOICES, LoadError, Machine, Outcome, Result
from vmm.cli import cli
from vmm.loader import NEEDS
from vmm.threads import Threads
from x86core import MP_STATE_HALTED

TIMEOUT = 60.0

#: Processor 0 sends all others a start-up IPI, and halts; they do nothing but HLT.
STARTER = """
    #include "protected_mode.inc"
    .code16
    enter_protected_mode
    mov byte ptr ds:[0x8000], 0xF4              // HLT, as all that they execute
    mov dword ptr ds:[0xFEE00300], 0xC4608      // ICR: to all others, SIPI, page 8
    hlt
"""


def run(vcpus: int, idle: str = "fault", hlt: str = "block", start: str = "bootstrap") -> Result:
    machine = Machine.load("smp", vcpus=vcpus, idle=idle, hlt=hlt, start=start)
    result = machine.run(timeout=TIMEOUT)
    assert result.outcome is Outcome.EXIT_PORT, result.explanation
    return result


def check(result: Result) -> None:
    """Every processor was started, and noticed both wakes."""
    vcpus = len(result.vcpus)
    first, *lines = result.console.splitlines()
    assert first == f"processors: {vcpus}"
    assert len(lines) == vcpus - 1
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"cpu (\d+)  woken by store in (\d+) ns  by IPI in (\d+) ns", line)
        assert match, line
        cpu, by_store, by_ipi = map(int, match.groups())
        assert cpu == number
        assert 0 < by_store < 1e9
        assert 0 < by_ipi < 1e9
        assert result.vcpus[cpu].stats["irq_injections"] == 1  # of two wakes only one sent an IPI
    assert result.exit_code == 0


@pytest.mark.parametrize("idle", [name for name in MWAIT_CHOICES if name != "halt"])
def test_each_processor_is_woken_twice(idle: str) -> None:
    check(run(4, idle))


@pytest.mark.parametrize("hlt", HLT_CHOICES)
def test_an_ipi_ends_hlt(hlt: str) -> None:
    check(run(3, hlt=hlt))


@pytest.mark.parametrize("idle", ["fault", "adaptive", "nop"])
def test_more_processors_than_the_host_has(idle: str) -> None:
    check(run(2 * len(os.sched_getaffinity(0)) + 3, idle))


def test_one_processor() -> None:
    check(run(1))


def test_a_store_does_not_wake_a_processor_that_only_halts() -> None:
    result = run(3, "halt")
    assert result.exit_code == 1
    _, *lines = result.console.splitlines()
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(rf"cpu {number}  woken by store: lost  by IPI in \d+ ns", line), line
        assert result.vcpus[number].stats["irq_injections"] == 2  # the first after the lost wake
    assert result.wall_seconds > 2


def test_they_sleep_until_they_are_woken() -> None:
    result = run(4)
    for vcpu in result.vcpus[1:]:
        assert vcpu.stats["wakes_store"] == 1
        assert vcpu.stats["wakes_interrupt"] == 1
        assert vcpu.cpu_seconds < result.wall_seconds / 4


def test_processors_that_begin_by_themselves_are_started_anew() -> None:
    check(run(4, start="all"))


# Which vCPUs begin, in any guest.


def test_application_processors_wait_for_a_start_up_ipi(guest: WriteGuest) -> None:
    machine = Machine.load(guest("l: jmp l\n"), vcpus=3, start="bootstrap")
    result = machine.run(timeout=0.2)
    assert result.outcome is Outcome.TIMEOUT
    assert "vCPU 2 waiting for a start-up IPI at F000:" in result.explanation
    assert [vcpu.waiting for vcpu in result.vcpus] == ["", "start", "start"]
    assert [vcpu.instructions for vcpu in result.vcpus[1:]] == [0, 0]


def test_nobody_is_left_to_start_the_others(guest: WriteGuest) -> None:
    result = Machine.load(guest("cli\nhlt\n"), vcpus=3, start="bootstrap").run(timeout=TIMEOUT)
    assert result.outcome is Outcome.ALL_HALTED
    assert result.vcpus[2].waiting == "start"


def test_the_last_deed_of_a_processor_may_be_a_start_up_ipi(guest: WriteGuest) -> None:
    result = Machine.load(guest(STARTER), vcpus=3, start="bootstrap").run(timeout=TIMEOUT)
    assert result.outcome is Outcome.ALL_HALTED
    assert [vcpu.instructions for vcpu in result.vcpus[1:]] == [1, 1]


def test_a_start_up_ipi_that_is_not_noticed_yet_keeps_the_machine_going() -> None:
    machine = Machine(vcpus=2)
    assert isinstance(machine.runner, Threads)
    machine.vcpus[0].mp_state = MP_STATE_HALTED
    assert machine.runner.all_halted()
    machine.vcpus[1].sipi(8)  # its thread does not run
    assert not machine.runner.all_halted()


def test_deferred_work_reaches_those_that_are_not_started(guest: WriteGuest) -> None:
    machine = Machine.load(guest("l: jmp l\n"), vcpus=2, start="bootstrap")
    done: list[int] = []
    machine.work.submit(lambda: done.append(1))
    result = machine.run(timeout=0.5)
    assert done == [1]
    assert result.vcpus[1].exits["EXIT_INTR"] >= 1
    assert result.vcpus[1].instructions == 0


def test_a_start_that_is_none() -> None:
    with pytest.raises(LoadError, match=r"unknown start 'some' \(known: all, bootstrap\)"):
        Machine.load("hello", start="some")
    result = CliRunner().invoke(cli, ["run", "hello", "--start", "some"])
    assert result.exit_code == 2
    assert "'some' is not one of 'all', 'bootstrap'" in result.stderr


def test_the_command_knows_what_the_guest_needs() -> None:
    assert NEEDS["smp"].vcpus == 4
    result = CliRunner().invoke(cli, ["run", "smp"])
    assert result.exit_code == 0
    assert result.stdout.startswith("processors: 4\ncpu 1  woken by store in ")
    result = CliRunner().invoke(cli, ["run", "smp", "--vcpus", "2"])
    assert result.stdout.startswith("processors: 2\ncpu 1  woken by store in ")
    assert "cpu 2" not in result.stdout


def test_help_names_the_needs_of_shipped_guests() -> None:
    text = " ".join(CliRunner().invoke(cli, ["run", "--help"]).stdout.split())
    assert "[default: 1; 2 for pair, 4 for smp]" in text
    assert "[default: all; bootstrap for smp]" in text
    assert "[default: 0; 10 for idle]" in text
