"""Construction, architectural state and the ways to start a vCPU."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

import x86core as x86
from tests.support import (
    CODE,
    DATA,
    FLAG_CF,
    FLAG_ZF,
    GENERAL,
    RAM,
    Running,
    flat32,
    real16,
    run,
)

SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs")


def test_state_after_reset(memory: x86.Memory) -> None:
    """SDM vol. 3, table 10-1."""
    vcpu = x86.VCPU(memory)
    assert (vcpu.eip, vcpu.eflags, vcpu.cr0) == (0xFFF0, 0x2, 0x60000010)
    assert (vcpu.cr2, vcpu.cr3, vcpu.cr4) == (0, 0, 0)
    assert (vcpu.cs.selector, vcpu.cs.base, vcpu.cs.limit) == (0xF000, 0xFFFF0000, 0xFFFF)
    for name in ("es", "ss", "ds", "fs", "gs"):
        segment = getattr(vcpu, name)
        fields = (segment.selector, segment.base, segment.limit, segment.access)
        assert fields == (0, 0, 0xFFFF, 0x93), name
    assert (vcpu.gdt_base, vcpu.gdt_limit, vcpu.idt_base, vcpu.idt_limit) == (0, 0xFFFF, 0, 0xFFFF)
    # EDX holds the processor's signature; the other general registers are zero.
    assert [getattr(vcpu, name) for name in GENERAL if name != "edx"] == [0] * 7
    assert vcpu.instructions == 0
    assert not any(vcpu.stats.values())


def test_first_vcpu_runs_and_the_others_wait_to_be_started(memory: x86.Memory) -> None:
    first, second = x86.VCPU(memory), x86.VCPU(memory, index=1)
    assert first.mp_state == x86.MP_STATE_RUNNABLE
    assert second.mp_state == x86.MP_STATE_UNINITIALIZED
    second.start_real_mode()
    assert second.mp_state == x86.MP_STATE_RUNNABLE


def test_a_vcpu_that_was_not_started_runs_nothing(memory: x86.Memory) -> None:
    x86.VCPU(memory)
    second = x86.VCPU(memory, index=1)
    with Running(second) as running:
        second.kick()
        assert running.exit() == "EXIT_INTR"
    assert second.instructions == 0
    assert second.mp_state == x86.MP_STATE_UNINITIALIZED


@pytest.mark.parametrize("index", [-1, 1024, 1 << 40])
def test_index_out_of_range(memory: x86.Memory, index: int) -> None:
    with pytest.raises(ValueError, match="1023"):
        x86.VCPU(memory, index=index)


def test_index_taken(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory, index=3)
    with pytest.raises(ValueError, match="3"):
        x86.VCPU(memory, index=vcpu.index)


def test_garbage_collection_of_a_cycle_with_a_vcpu() -> None:
    """The collector clears a vCPU before it frees it. A process of its own, as it may crash."""
    program = """
import gc
import x86core
vcpu = x86core.VCPU(x86core.Memory(1 << 20))
cycle = [vcpu]
cycle.append(cycle)
del vcpu, cycle
gc.collect()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("attribute", ["cs", "kvm_run", "stats", "memory", "wake_fd"])
def test_nothing_that_a_vcpu_handed_out_keeps_it_for_ever(attribute: str) -> None:
    """Each vCPU holds an eventfd until its memory goes, so the descriptors count what is left."""

    def open_descriptors() -> int:
        gc.collect()
        return len(list(Path("/proc/self/fd").iterdir()))

    before = open_descriptors()
    for _ in range(3):
        getattr(x86.VCPU(x86.Memory(RAM)), attribute)
    assert open_descriptors() == before


def test_index_of_a_deleted_vcpu_is_free_again(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory, index=3)
    vcpu.eax, vcpu.eip = 5, 0x1234
    del vcpu
    again = x86.VCPU(memory, index=3)
    assert (again.eax, again.eip) == (0, 0xFFF0)


def test_vcpu_knows_its_memory_and_index(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory, index=254)
    assert vcpu.memory is memory
    assert vcpu.index == 254


def test_start_real_mode(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory)
    vcpu.start_real_mode(cs=0x1234, ip=0x5678)
    assert (vcpu.cs.selector, vcpu.cs.base, vcpu.cs.limit) == (0x1234, 0x12340, 0xFFFF)
    assert vcpu.eip == 0x5678
    assert [getattr(vcpu, name).base for name in SEGMENTS if name != "cs"] == [0] * 5
    assert vcpu.cr0 & 1 == 0


def test_start_real_mode_defaults_to_a_boot_sector(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory)
    vcpu.start_real_mode()
    assert (vcpu.cs.selector, vcpu.cs.base, vcpu.eip) == (0, 0, 0x7C00)


def test_start_flat32(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory)
    vcpu.start_flat32(eip=0x8000, esp=0x7000)
    assert (vcpu.eip, vcpu.esp, vcpu.eflags) == (0x8000, 0x7000, 0x2)
    assert vcpu.cr0 & 0x80000001 == 1
    for name in SEGMENTS:
        segment = getattr(vcpu, name)
        assert (segment.base, segment.limit) == (0, 0xFFFFFFFF), name
        assert segment.access & 0x4000, f"{name} is not a 32-bit segment"


@pytest.mark.parametrize("name", [*GENERAL, "eip", "cr2", "cr3", "gdt_base", "idt_base"])
def test_32_bit_registers_hold_32_bits(memory: x86.Memory, name: str) -> None:
    vcpu = x86.VCPU(memory)
    setattr(vcpu, name, 0xFEDC8000)
    assert getattr(vcpu, name) == 0xFEDC8000
    for value in (-1, 1 << 32):
        with pytest.raises(ValueError, match="32 bits"):
            setattr(vcpu, name, value)
    assert getattr(vcpu, name) == 0xFEDC8000


@pytest.mark.parametrize("name", SEGMENTS)
def test_segment_fields_are_writable(memory: x86.Memory, name: str) -> None:
    segment = getattr(x86.VCPU(memory), name)
    values = {"selector": 0x10, "base": 0x12345, "limit": 0xABC, "access": 0x4093}
    for field, value in values.items():
        setattr(segment, field, value)
    assert {field: getattr(segment, field) for field in values} == values


def test_guest_uses_a_segment_base_set_from_outside() -> None:
    vcpu = flat32("mov eax, fs:[4]; hlt")
    vcpu.memory.write(DATA + 4, b"\x01\x02\x03\x04")
    vcpu.fs.base = DATA
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0x04030201


def test_guest_uses_registers_set_from_outside_and_the_host_sees_the_results() -> None:
    vcpu = flat32("add eax, ecx; xchg edx, ebx; lea esi, [edi+ebp*4]; hlt")
    vcpu.eax, vcpu.ecx, vcpu.edx, vcpu.ebx = 1, 2, 3, 4
    vcpu.edi, vcpu.ebp = 0x100, 0x10
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.edx, vcpu.ebx, vcpu.esi) == (3, 4, 3, 0x140)
    assert vcpu.eip == CODE + len(b"\x01\xc8\x87\xda\x8d\x34\xaf\xf4")


@pytest.mark.parametrize("flag", [FLAG_CF, FLAG_ZF])
def test_guest_uses_flags_set_from_outside(flag: int) -> None:
    vcpu = flat32("setc al; setz ah; hlt")
    vcpu.eflags = 0x2 | flag
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax & 0xFFFF == (1 if flag == FLAG_CF else 0x100)


def test_eflags_reads_what_the_guest_computed() -> None:
    """7Fh + 1 = 80h: SF, OF and AF set; CF, ZF and PF clear."""
    vcpu = flat32("mov al, 0x7f; add al, 1; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eflags == 0x2 | 1 << 4 | 1 << 7 | 1 << 11


def test_reserved_bit_1_of_eflags_is_always_set(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory)
    vcpu.eflags = 0
    assert vcpu.eflags == 0x2


def test_restart_after_an_exit() -> None:
    vcpu = real16("inc ax; hlt")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.start_real_mode(cs=CODE >> 4, ip=0)
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    vcpu.eax = 41
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 42


def test_code_outside_ram_cannot_be_fetched(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory)
    vcpu.start_flat32(eip=RAM + 0x1000)
    assert run(vcpu) == "EXIT_INTERNAL_ERROR"
    assert vcpu.internal_error == 1
    assert vcpu.eip == RAM + 0x1000


def test_code_that_runs_off_the_end_of_ram(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory)
    memory.write(RAM - 3, b"\x40\x40\x40")  # inc eax, three times
    vcpu.start_flat32(eip=RAM - 3)
    vcpu.eax = 0
    assert run(vcpu) == "EXIT_INTERNAL_ERROR"
    assert (vcpu.eip, vcpu.eax, vcpu.instructions) == (RAM, 3, 3)
