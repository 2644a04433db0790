"""The live struct kvm_run: the layout of `linux/kvm.h`, and the attributes over it."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import DATA, flat32, run

OFFSETS = {
    "request_interrupt_window": (0, 1),
    "immediate_exit": (1, 1),
    "userspace_exits": (2, 1),
    "exit_reason": (8, 4),
    "ready_for_interrupt_injection": (12, 1),
    "if_flag": (13, 1),
    "flags": (14, 2),
    "cr8": (16, 8),
    "apic_base": (24, 8),
}


@pytest.mark.parametrize("field", OFFSETS)
def test_layout(memory: x86.Memory, field: str) -> None:
    fields = x86.VCPU(memory).kvm_run.dtype.fields
    assert fields is not None
    dtype, offset = fields[field][:2]
    assert (offset, dtype.itemsize) == OFFSETS[field]


@pytest.mark.parametrize(
    "field", ["request_interrupt_window", "immediate_exit", "userspace_exits", "mwait_policy"]
)
def test_attribute_and_record_are_one(memory: x86.Memory, field: str) -> None:
    vcpu = x86.VCPU(memory)
    record = vcpu.kvm_run
    setattr(vcpu, field, 1)
    assert record[field] == 1
    record[field] = 0
    assert getattr(vcpu, field) == 0


def test_switch_set_through_the_record_works() -> None:
    vcpu = flat32("hlt")
    vcpu.userspace_exits = 0
    vcpu.kvm_run["userspace_exits"] = x86.USERSPACE_EXIT_HLT
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.kvm_run["exit_reason"] == x86.EXIT_HLT


def test_record_stays_valid_when_its_vcpu_is_gone() -> None:
    record = flat32("hlt").kvm_run
    assert record["userspace_exits"] == x86.USERSPACE_EXIT_HLT


@pytest.mark.parametrize(("source", "flag"), [("sti; nop; hlt", 1), ("hlt", 0)])
def test_if_flag_after_an_exit(source: str, flag: int) -> None:
    vcpu = flat32(source)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.kvm_run["if_flag"] == flag
    assert vcpu.kvm_run["ready_for_interrupt_injection"] == flag


def test_io_details_lie_where_kvm_puts_them() -> None:
    """From offset 32: u8 direction, u8 size, u16 port, u32 count, u64 data_offset; data there."""
    vcpu = flat32("mov dx, 0x3f8; mov ax, 0x1234; out dx, ax; hlt")
    assert run(vcpu) == "EXIT_IO"
    raw = vcpu.kvm_run.tobytes()
    assert raw[32] == x86.EXIT_IO_OUT
    assert raw[33] == 2
    assert raw[34:36] == (0x3F8).to_bytes(2, "little")
    assert raw[36:40] == (1).to_bytes(4, "little")
    offset = int.from_bytes(raw[40:48], "little")
    assert raw[offset : offset + 2] == b"\x34\x12"


def test_mmio_details_lie_where_kvm_puts_them() -> None:
    """u64 phys_addr, u8 data[8], u32 len, u8 is_write at offset 32."""
    vcpu = flat32("mov dword ptr [0x200004], 0x44332211; hlt")
    assert run(vcpu) == "EXIT_MMIO"
    raw = vcpu.kvm_run.tobytes()
    assert raw[32:40] == (0x200004).to_bytes(8, "little")
    assert raw[40:44] == b"\x11\x22\x33\x44"
    assert raw[48:52] == (4).to_bytes(4, "little")
    assert raw[52] == 1


def test_exit_names_are_the_numbers_of_the_kvm_api() -> None:
    expected = {2: "IO", 5: "HLT", 6: "MMIO", 7: "IRQ_WINDOW_OPEN", 8: "SHUTDOWN"}
    expected |= {9: "FAIL_ENTRY", 10: "INTR", 17: "INTERNAL_ERROR", 38: "MWAIT", 0x100: "LIMIT"}
    for number, name in expected.items():
        assert x86.EXIT_NAMES[number] == f"EXIT_{name}"
        assert getattr(x86, f"EXIT_{name}") == number


def test_stats_are_a_fresh_dict_that_counts_exits() -> None:
    vcpu = flat32(f"out 0x80, al; mov al, [0x200000]; mov al, [{DATA}]; hlt")
    before = vcpu.stats
    assert [run(vcpu) for _ in range(3)] == ["EXIT_IO", "EXIT_MMIO", "EXIT_HLT"]
    after = vcpu.stats
    changes = {name: after[name] - before[name] for name in after}
    assert before["exits"] == 0
    assert changes["exits"] == 3
    assert (changes["io_exits"], changes["mmio_exits"], changes["halt_exits"]) == (1, 1, 1)
