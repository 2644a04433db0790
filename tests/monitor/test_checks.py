"""What MONITOR and MWAIT refuse, and what a policy makes of MWAIT (SDM vol. 2, MONITOR, MWAIT)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.isa.faults import expect_fault, small
from tests.support import (
    CODE,
    CODE32,
    DATA,
    DATA32,
    GP,
    SS,
    UD,
    Event,
    Running,
    delivered,
    flat32,
    real16,
    run,
    waiter,
)


@pytest.mark.parametrize("ecx", [1, 2, 0x80000000])
def test_monitor_supports_no_extension(ecx: int) -> None:
    expect_fault(flat32("monitor"), Event(GP, CODE, 0), eax=DATA, ecx=ecx)


@pytest.mark.parametrize("ecx", [2, 3, 0x80000000])
def test_mwait_supports_one_extension(ecx: int) -> None:
    expect_fault(flat32("mwait"), Event(GP, CODE, 0), ecx=ecx)


@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_YIELD, x86.MWAIT_FAULT])
def test_the_checks_of_mwait_come_before_any_policy(policy: int) -> None:
    vcpu = flat32("mwait")
    vcpu.mwait_policy = policy
    vcpu.userspace_exits |= x86.USERSPACE_EXIT_MWAIT
    expect_fault(vcpu, Event(GP, CODE, 0), ecx=2)
    assert vcpu.stats["mwait_exits"] == 0


@pytest.mark.parametrize("opcode", [0xC8, 0xC9])
@pytest.mark.parametrize("prefix", [0xF0])
def test_lock_prefix_is_undefined(opcode: int, prefix: int) -> None:
    vcpu = flat32(f".byte {prefix}, 0x0f, 0x01, {opcode}")
    expect_fault(vcpu, Event(UD, CODE), eax=DATA, ecx=0)


def test_monitor_checks_the_segment_limit_as_a_byte_read() -> None:
    """The last byte of the segment will do, although the line reaches beyond it."""
    vcpu = flat32("monitor; hlt")
    small(vcpu.ds)
    vcpu.eax, vcpu.ecx = 0xFFF, 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 4
    vcpu = flat32("monitor")
    small(vcpu.ds)
    expect_fault(vcpu, Event(GP, CODE, 0), eax=0x1000, ecx=0)


def test_monitor_through_ss_raises_a_stack_fault() -> None:
    vcpu = flat32(".byte 0x36; monitor")
    small(vcpu.ss)
    expect_fault(vcpu, Event(SS, CODE, 0), eax=0x1000, ecx=0, esp=0x800)


def test_monitor_of_a_null_segment() -> None:
    vcpu = flat32("mov ds, ecx; monitor")
    vcpu.eax, vcpu.ecx = DATA, 0
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE + 2, 0)


def test_monitor_of_an_execute_only_segment() -> None:
    vcpu = flat32(".byte 0x2e; monitor")
    vcpu.cs.access = 0xC099
    expect_fault(vcpu, Event(GP, CODE, 0), eax=DATA, ecx=0)


def test_monitor_with_a_16_bit_address_stays_in_64_kib() -> None:
    vcpu = flat32(".byte 0x67; monitor; jmp go; go: .byte 0x67; monitor; out 0x80, al")
    vcpu.mwait_policy = x86.MWAIT_FAULT
    vcpu.eax, vcpu.ecx = 0x00058123, 0
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", 0x8100)


def test_monitor_beyond_64_kib_in_real_mode() -> None:
    """With a 32-bit address size the offset can pass the limit of the segment."""
    vcpu = real16(".byte 0x67; monitor")
    vcpu.eax, vcpu.ecx = 0x10000, 0
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, 0, cs=0x1000)


@pytest.mark.parametrize("source", ["monitor", "mwait"])
def test_only_privilege_level_0_may(source: str) -> None:
    vcpu = flat32(source)
    vcpu.cs.selector, vcpu.cs.access = CODE32 | 3, 0xC0FB
    vcpu.ss.selector, vcpu.ss.access = DATA32 | 3, 0xC0F3
    vcpu.eax, vcpu.ecx = DATA, 0
    assert run(vcpu) == "EXIT_HLT"
    event = delivered(vcpu)
    assert (event.vector, event.eip) == (UD, CODE)


def test_refused_instructions_arm_nothing() -> None:
    vcpu = waiter("out 0x80, al; mov ecx, 1; monitor")
    assert run(vcpu) == "EXIT_IO"
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == GP
    assert vcpu.stats["monitor_arms"] + vcpu.stats["monitor_unacknowledged"] == 2


def test_hints_do_not_matter() -> None:
    """MONITOR's EDX and MWAIT's EAX are hints; any value is accepted."""
    vcpu = flat32("monitor; mov eax, 0xfffffff0; mwait; hlt")
    vcpu.eax, vcpu.ecx, vcpu.edx = DATA, 0, 0xFFFFFFFF
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["mwait_instructions"] == 1


@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_YIELD])
def test_policies_that_do_not_wait(policy: int) -> None:
    vcpu = waiter()
    vcpu.mwait_policy = policy
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    stats = vcpu.stats
    assert (stats["mwait_instructions"], stats["mwait_waits"], stats["mwait_exits"]) == (1, 0, 0)


@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_YIELD, x86.MWAIT_FAULT])
def test_exit_to_userspace_leaves_the_vcpu_runnable(policy: int) -> None:
    """The RFC's KVM_EXIT_MWAIT, whatever the policy: the next run() goes on after MWAIT."""
    vcpu = waiter()
    vcpu.mwait_policy = policy
    vcpu.userspace_exits |= x86.USERSPACE_EXIT_MWAIT
    assert run(vcpu) == "EXIT_MWAIT"
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert (vcpu.stats["mwait_exits"], vcpu.stats["mwait_waits"]) == (1, 0)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["mwait_instructions"] == 1


def test_switch_is_read_at_each_mwait() -> None:
    """Set for one entry and clear for the next, as the reply in the thread asks."""
    source = f"again: mov eax, {DATA}; xor ecx, ecx; monitor; xor eax, eax; mwait; jmp again"
    vcpu = flat32(source)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    for _ in range(3):
        vcpu.userspace_exits = x86.USERSPACE_EXIT_MWAIT
        assert run(vcpu) == "EXIT_MWAIT"
        vcpu.userspace_exits = 0
        with Running(vcpu) as running:
            running.asleep("mwait")
            vcpu.userspace_exits = x86.USERSPACE_EXIT_MWAIT
            vcpu.memory.write(DATA, b"\1")
            assert running.exit() == "EXIT_MWAIT"


def test_hlt_switch_and_mwait_switch_are_independent() -> None:
    vcpu = waiter()
    vcpu.userspace_exits = x86.USERSPACE_EXIT_MWAIT
    assert run(vcpu) == "EXIT_MWAIT"
    with Running(vcpu) as running:
        running.asleep("hlt")


def test_unknown_policy_is_refused() -> None:
    vcpu = flat32("mwait")
    with pytest.raises(ValueError, match="policy"):
        vcpu.mwait_policy = 77
