"""The numbers, as in Linux include/uapi/linux/kvm.h and, where noted there, the RFC."""

from __future__ import annotations

import pytest

from vmm import kvm


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("KVM_EXIT_UNKNOWN", 0),
        ("KVM_EXIT_IO", 2),
        ("KVM_EXIT_DEBUG", 4),
        ("KVM_EXIT_HLT", 5),
        ("KVM_EXIT_MMIO", 6),
        ("KVM_EXIT_IRQ_WINDOW_OPEN", 7),
        ("KVM_EXIT_SHUTDOWN", 8),
        ("KVM_EXIT_FAIL_ENTRY", 9),
        ("KVM_EXIT_INTR", 10),
        ("KVM_EXIT_INTERNAL_ERROR", 17),
        ("KVM_EXIT_MWAIT", 38),
        ("KVM_EXIT_IO_IN", 0),
        ("KVM_EXIT_IO_OUT", 1),
        ("KVM_MP_STATE_RUNNABLE", 0),
        ("KVM_MP_STATE_UNINITIALIZED", 1),
        ("KVM_MP_STATE_INIT_RECEIVED", 2),
        ("KVM_MP_STATE_HALTED", 3),
        ("KVM_MP_STATE_SIPI_RECEIVED", 4),
        ("KVM_CAP_HLT", 1),
        ("KVM_CAP_NR_VCPUS", 9),
        ("KVM_CAP_MP_STATE", 14),
        ("KVM_CAP_MAX_VCPUS", 66),
        ("KVM_CAP_ENABLE_CAP_VM", 98),
        ("KVM_CAP_CHECK_EXTENSION_VM", 105),
        ("KVM_CAP_MAX_VCPU_ID", 128),
        ("KVM_CAP_IMMEDIATE_EXIT", 136),
        ("KVM_CAP_X86_DISABLE_EXITS", 143),
        ("KVM_X86_DISABLE_EXITS_MWAIT", 1),
        ("KVM_X86_DISABLE_EXITS_HLT", 2),
        ("KVM_X86_DISABLE_EXITS_PAUSE", 4),
        ("KVM_X86_DISABLE_EXITS_CSTATE", 8),
        ("KVM_CAP_X86_USERSPACE_EXITS", 230),
        ("KVM_X86_USERSPACE_EXIT_MWAIT", 1),
        ("KVM_X86_USERSPACE_EXIT_HLT", 2),
        ("KVM_X86_USERSPACE_VALID_EXITS", 3),
    ],
)
def test_number(name: str, number: int) -> None:
    assert getattr(kvm, name) == number


def test_our_own_exit_is_outside_kvms_range() -> None:
    assert kvm.KVM_EXIT_LIMIT > 0xFF
