"""Virtual-8086 mode without VME (SDM vol. 3, chapter 20)."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.protected.support import (
    CODE3,
    CONFORMING,
    FLAG_IOPL,
    FLAG_VM,
    INNER_STACK,
    enter,
    frame,
    protected,
)
from tests.support import (
    CODE32,
    DATA32,
    FLAG_IF,
    GP,
    HANDLERS,
    SS,
    TSS,
    UD,
    assembled,
    gate,
    run,
    set_gate,
)

#: Paragraphs of code, data and stack.
CODE_SEGMENT, DATA_SEGMENT, STACK_SEGMENT = 0x1800, 0x2000, 0x0800
BREAK = 0x40


def virtual(source: str, *, iopl: int = 0, eflags: int = 2, **registers: int) -> x86.VCPU:
    """A vCPU in virtual-8086 mode at the start of `source`."""
    vcpu = protected("hlt")
    vcpu.memory.write(CODE_SEGMENT << 4, assembled(source, 0, 16))
    vcpu.eflags = eflags | FLAG_VM | iopl << 12
    segments = {
        "cs": CODE_SEGMENT,
        "ss": STACK_SEGMENT,
        "ds": DATA_SEGMENT,
        "es": DATA_SEGMENT,
        "fs": 0x1111,
        "gs": 0x2222,
    }
    for name, selector in segments.items():
        segment = getattr(vcpu, name)
        segment.selector, segment.base, segment.limit, segment.access = (
            selector,
            selector << 4,
            0xFFFF,
            0xF3,
        )
    vcpu.eip, vcpu.esp = 0, 0x800
    for name, value in registers.items():
        setattr(vcpu, name, value)
    assert vcpu.cpl == 3
    return vcpu


def stopped(vcpu: x86.VCPU) -> tuple[int, int | None, int]:
    """(vector, error code, IP) of the event in whose handler the vCPU stops."""
    assert run(vcpu) == "EXIT_HLT"
    vector = vcpu.eip - HANDLERS - 1
    has_error = vector in (8, 10, 11, 12, 13, 14)
    words = frame(vcpu, 2)
    return (vector, words[0], words[1]) if has_error else (vector, None, words[0])


def test_an_interrupt_saves_the_segments_and_the_way_back() -> None:
    vcpu = virtual("nop; int 0x40; nop", iopl=3, eflags=FLAG_IF | 2)
    set_gate(vcpu.memory, BREAK, gate(HANDLERS + BREAK, kind=0xEE00))
    assert stopped(vcpu) == (BREAK, None, 3)
    assert (vcpu.cpl, vcpu.cs.selector, vcpu.ss.selector) == (0, CODE32, DATA32)
    assert not vcpu.eflags & (FLAG_VM | FLAG_IF)
    assert vcpu.esp == INNER_STACK - 36
    eip, cs, eflags, esp, ss, es, ds, fs, gs = frame(vcpu, 9)
    assert (eip, cs, esp, ss) == (3, CODE_SEGMENT, 0x800, STACK_SEGMENT)
    assert eflags & (FLAG_VM | FLAG_IF | FLAG_IOPL) == FLAG_VM | FLAG_IF | FLAG_IOPL
    assert (es, ds, fs, gs) == (DATA_SEGMENT, DATA_SEGMENT, 0x1111, 0x2222)
    assert [s.selector for s in (vcpu.ds, vcpu.es, vcpu.fs, vcpu.gs)] == [0, 0, 0, 0]
    vcpu.memory.write(0x5000, b"\xcf")
    vcpu.eip, vcpu.mp_state = 0x5000, x86.MP_STATE_RUNNABLE
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    assert (vcpu.eip, vcpu.esp, vcpu.cpl) == (3, 0x800, 3)
    assert (vcpu.cs.base, vcpu.gs.base) == (CODE_SEGMENT << 4, 0x22220)
    assert vcpu.eflags & FLAG_VM


@pytest.mark.parametrize(
    "source", ["cli", "sti", "pushf", "popf", "int 0x40", "iret", "pushfd", "popfd", "iretd"]
)
def test_what_depends_on_iopl(source: str) -> None:
    assert stopped(virtual(source, iopl=2)) == (GP, 0, 0)
    vcpu = virtual(f"{source}; nop; nop; int3", iopl=3)
    for vector in (3, BREAK):
        set_gate(vcpu.memory, vector, gate(HANDLERS + vector, kind=0xEE00))
    back = struct.pack("<III" if source == "iretd" else "<HHH", 2, CODE_SEGMENT, 2)
    vcpu.memory.write((STACK_SEGMENT << 4) + 0x800, back)
    assert stopped(vcpu)[0] == (BREAK if source == "int 0x40" else 3)


@pytest.mark.parametrize("source", ["int3", "into"])
def test_int3_and_into_do_not_depend_on_iopl(source: str) -> None:
    vcpu = virtual(source, iopl=0, eflags=0x802)
    for vector in (3, 4):
        set_gate(vcpu.memory, vector, gate(HANDLERS + vector, kind=0xEE00))
    assert stopped(vcpu) == (3 if source == "int3" else 4, None, 1)


@pytest.mark.parametrize("source", ["hlt", "mov eax, cr0", "lmsw ax", "clts", "lgdt [0]"])
def test_privileged_instructions(source: str) -> None:
    assert stopped(virtual(source, iopl=3)) == (GP, 0, 0)


@pytest.mark.parametrize("source", ["sldt ax", "lar ax, ax", "arpl ax, ax", "ltr ax", "verr ax"])
def test_instructions_of_protected_mode(source: str) -> None:
    assert stopped(virtual(source, iopl=3)) == (UD, None, 0)


@pytest.mark.parametrize("iopl", [0, 3])
@pytest.mark.parametrize("allowed", [False, True])
def test_ports_depend_on_the_map_alone(iopl: int, allowed: bool) -> None:
    vcpu = virtual("in al, 4", iopl=iopl)
    vcpu.memory.write(TSS + 102, b"\x68\0" + (b"\0\0" if allowed else b"\x10\0"))
    vcpu.tr.limit = 105
    if allowed:
        assert run(vcpu) == "EXIT_IO"
    else:
        assert stopped(vcpu) == (GP, 0, 0)


def test_segments_are_paragraphs() -> None:
    """Loaded without any descriptor; far jumps, too."""
    vcpu = virtual("mov ax, 0x3000; mov es, ax; mov ax, es:[2]; .byte 0xea; .word 0; .word 0x1900")
    vcpu.memory.write(0x30002, b"\x34\x12")
    vcpu.memory.write(0x19000, b"\xcc")
    set_gate(vcpu.memory, 3, gate(HANDLERS + 3, kind=0xEE00))
    assert stopped(vcpu) == (3, None, 1)
    assert (vcpu.eax & 0xFFFF, frame(vcpu, 2)[1]) == (0x1234, 0x1900)


@pytest.mark.parametrize(("source", "vector"), [("mov ax, [0xFFFF]", GP), ("pop ax", SS)])
def test_the_limit_of_64_kib(source: str, vector: int) -> None:
    assert stopped(virtual(source, esp=0xFFFF)) == (vector, 0, 0)


@pytest.mark.parametrize("selector", [CONFORMING, CODE3])
def test_a_handler_must_be_at_level_0(selector: int) -> None:
    """#GP with the handler's selector; from virtual-8086 mode nothing else will do."""
    vcpu = virtual("int 0x40", iopl=3)
    set_gate(vcpu.memory, BREAK, gate(HANDLERS + BREAK, selector=selector, kind=0xEE00))
    assert stopped(vcpu) == (GP, selector & ~3, 0)


def test_popf_changes_neither_vm_nor_iopl() -> None:
    vcpu = virtual("popfd; int3", iopl=3)
    set_gate(vcpu.memory, 3, gate(HANDLERS + 3, kind=0xEE00))
    vcpu.memory.write((STACK_SEGMENT << 4) + 0x800, (0x202).to_bytes(4, "little"))
    assert stopped(vcpu)[0] == 3
    assert frame(vcpu, 3)[2] & (FLAG_VM | FLAG_IOPL | FLAG_IF) == FLAG_VM | FLAG_IOPL | FLAG_IF


@pytest.mark.parametrize("cpl", [0, 3])
def test_iret_enters_it_from_level_0_alone(cpl: int) -> None:
    source = f"""
        push 0x2222; push 0x1111; push {DATA_SEGMENT}; push {DATA_SEGMENT}
        push {STACK_SEGMENT}; push 0x800; push {FLAG_VM | 2}
        push {CODE_SEGMENT if cpl == 0 else CODE3}; push 0; iret
    """
    vcpu = protected(source)
    enter(vcpu, cpl)
    vcpu.memory.write(CODE_SEGMENT << 4, b"\xcc")
    vcpu.memory.write(0, b"\xcc")
    set_gate(vcpu.memory, 3, gate(HANDLERS + 3, kind=0xEE00))
    assert stopped(vcpu)[0] == 3
    eip, cs, eflags = frame(vcpu, 3)
    assert eip == 1
    if cpl == 0:
        assert (cs, eflags & FLAG_VM) == (CODE_SEGMENT, FLAG_VM)
    else:
        assert (cs, eflags & FLAG_VM) == (CODE3, 0)


def test_monitor_and_mwait_are_of_level_0() -> None:
    assert stopped(virtual("monitor", iopl=3)) == (UD, None, 0)


def test_the_vm_flag_needs_protected_mode() -> None:
    vcpu = x86.VCPU(x86.Memory(1 << 20))
    vcpu.eflags = FLAG_VM | 2
    assert (vcpu.eflags & FLAG_VM, vcpu.cpl) == (0, 0)
