"""KVM_CHECK_EXTENSION and KVM_ENABLE_CAP: the ioctls' answers and errors."""

from __future__ import annotations

import os
from errno import EINVAL

import pytest

from tests.vmm.conftest import WriteGuest
from vmm import Machine, Outcome, kvm
from x86core import MAX_VCPUS

MWAIT_THEN_END = (
    "mov eax, 0x9000\nxor ecx, ecx\nxor edx, edx\nmonitor\nmwait\nxor al, al\nout 0xF4, al\n"
)


@pytest.mark.parametrize(
    ("capability", "answer"),
    [
        (kvm.KVM_CAP_X86_USERSPACE_EXITS, 3),
        (kvm.KVM_CAP_X86_DISABLE_EXITS, 3),
        (kvm.KVM_CAP_MP_STATE, 1),
        (kvm.KVM_CAP_IMMEDIATE_EXIT, 1),
        (kvm.KVM_CAP_MAX_VCPUS, MAX_VCPUS),
        (kvm.KVM_CAP_NR_VCPUS, min(os.cpu_count() or 1, MAX_VCPUS)),
        (0, 0),  # KVM_CAP_IRQCHIP: there is none
        (99_999, 0),
        (-1, 0),
    ],
)
def test_check_extension(capability: int, answer: int) -> None:
    assert Machine(memory="64K").check_extension(capability) == answer


def test_disable_exits_passes_the_instructions_through_on_every_vcpu() -> None:
    machine = Machine(memory="64K", vcpus=2)
    machine.enable_cap(kvm.KVM_CAP_X86_DISABLE_EXITS, [kvm.KVM_X86_DISABLE_EXITS_HLT])
    assert [vcpu.disable_exits for vcpu in machine.vcpus] == [2, 2]
    # Bits are added, as upstream does: none can be taken back.
    machine.enable_cap(kvm.KVM_CAP_X86_DISABLE_EXITS, [kvm.KVM_X86_DISABLE_EXITS_MWAIT, 0, 0, 0])
    machine.enable_cap(kvm.KVM_CAP_X86_DISABLE_EXITS, [0])
    assert [vcpu.disable_exits for vcpu in machine.vcpus] == [3, 3]


def test_userspace_exits_lets_the_instructions_exit(guest: WriteGuest) -> None:
    machine = Machine.load(guest(MWAIT_THEN_END), idle="nop")
    machine.enable_cap(kvm.KVM_CAP_X86_USERSPACE_EXITS, [kvm.KVM_X86_USERSPACE_EXIT_MWAIT])
    result = machine.run(timeout=10)
    assert result.outcome is Outcome.EXIT_PORT
    assert result.vcpus[0].exits == {"EXIT_IO": 1, "EXIT_MWAIT": 1}


def test_userspace_exits_needs_no_enabling(guest: WriteGuest) -> None:
    """As in the RFC: the byte in kvm_run is obeyed, and can be asked for beforehand."""
    machine = Machine.load(guest(MWAIT_THEN_END), idle="nop")
    (vcpu,) = machine.vcpus
    vcpu.userspace_exits = machine.check_extension(kvm.KVM_CAP_X86_USERSPACE_EXITS)
    assert machine.run(timeout=10).vcpus[0].exits["EXIT_MWAIT"] == 1


def test_both_outlive_deferred_work(guest: WriteGuest) -> None:
    """Work turns intercepts on and off again, back to what has been enabled."""
    machine = Machine.load(guest("l: jmp l\n"))
    machine.enable_cap(kvm.KVM_CAP_X86_USERSPACE_EXITS, [1])
    machine.enable_cap(kvm.KVM_CAP_X86_DISABLE_EXITS, [2])
    machine.work.submit(lambda: None)
    machine.run(timeout=0.1)
    (vcpu,) = machine.vcpus
    assert machine.work.report().done == 1
    assert (vcpu.userspace_exits, vcpu.disable_exits) == (1, 2)


@pytest.mark.parametrize(
    ("capability", "args", "flags", "message"),
    [
        (kvm.KVM_CAP_X86_DISABLE_EXITS, [1], 1, "flags must be 0, not 0x1"),
        (kvm.KVM_CAP_X86_USERSPACE_EXITS, [1], 4, "flags must be 0, not 0x4"),
        (kvm.KVM_CAP_X86_DISABLE_EXITS, [4], 0, "143 has no bits 0x4: it offers 0x3"),
        (kvm.KVM_CAP_X86_USERSPACE_EXITS, [7], 0, "230 has no bits 0x4: it offers 0x3"),
        (kvm.KVM_CAP_X86_USERSPACE_EXITS, [-1], 0, "has no bits"),
        (kvm.KVM_CAP_X86_USERSPACE_EXITS, [1] * 5, 0, "has 4 arguments, not 5"),
        (kvm.KVM_CAP_MP_STATE, [], 0, "capability 14 cannot be enabled"),
        (99_999, [], 0, "capability 99999 cannot be enabled"),
    ],
)
def test_what_cannot_be_enabled(capability: int, args: list[int], flags: int, message: str) -> None:
    machine = Machine(memory="64K")
    with pytest.raises(OSError, match=message) as error:
        machine.enable_cap(capability, args, flags)
    assert error.value.errno == EINVAL
    assert (machine.vcpus[0].userspace_exits, machine.vcpus[0].disable_exits) == (0, 0)


def test_disable_exits_comes_too_late_when_the_vcpus_run(guest: WriteGuest) -> None:
    machine = Machine.load(guest("l: jmp l\n"))
    caught: list[OSError] = []

    def enable() -> None:
        try:
            machine.enable_cap(kvm.KVM_CAP_X86_DISABLE_EXITS, [1])
        except OSError as error:
            caught.append(error)
        machine.enable_cap(kvm.KVM_CAP_X86_USERSPACE_EXITS, [1])

    machine.work.submit(enable)
    machine.run(timeout=0.2)
    assert [error.errno for error in caught] == [EINVAL]
    assert machine.vcpus[0].userspace_exits == 1


def test_mp_state_is_read_and_written_as_by_the_ioctls() -> None:
    (vcpu,) = Machine(memory="64K").vcpus
    vcpu.mp_state = kvm.KVM_MP_STATE_HALTED
    assert vcpu.mp_state == kvm.KVM_MP_STATE_HALTED
    with pytest.raises(ValueError, match="mp_state 9"):
        vcpu.mp_state = 9
