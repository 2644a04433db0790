"""Task switches: TSS descriptors and task gates, 32 and 16 bits (SDM vol. 3, chapter 7)."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.protected.support import (
    ALL,
    CODE3,
    CR0_TS,
    DATA3,
    DIRECTORY,
    FLAG_NT,
    FLAG_VM,
    LDT,
    LDT_AT,
    OTHER_TSS,
    OWN_TASK,
    TASK,
    TASK_GATE,
    TS,
    UPPER,
    access,
    event,
    frame,
    map_page,
    paged,
    protected,
    set_descriptor,
)
from tests.support import (
    CODE,
    CODE32,
    DATA,
    DATA32,
    FLAG_CF,
    FLAG_RF,
    GP,
    NP,
    SS,
    TSS,
    UD,
    Event,
    descriptor,
    pushed_flags,
    run,
    stack_top,
    word32,
)

#: Where the other task begins, and its stack.
OTHER_CODE, OTHER_STACK = 0x5000, 0x9800
TO = ".byte {}; .long 0; .word {}"
JUMP, CALL = TO.format(0xEA, TASK), TO.format(0x9A, TASK)
JUMP_GATE, CALL_GATE = TO.format(0xEA, TASK_GATE), TO.format(0x9A, TASK_GATE)


def task(
    vcpu: x86.VCPU,
    code: bytes = b"\xf4",
    *,
    eflags: int = 2,
    cs: int = CODE32,
    ss: int = DATA32,
    ds: int = DATA32,
    ldt: int = 0,
    cr3: int = 0,
    trap: int = 0,
) -> None:
    """Fill the TSS of the other task, whose general registers are 1000h to 1007h but ESP."""
    general = [0x1000, 0x1001, 0x1002, 0x1003, OTHER_STACK, 0x1005, 0x1006, 0x1007]
    image = struct.pack("<7I", 0, 0, 0, 0, 0, 0, 0)
    image += struct.pack("<3I8I", cr3, OTHER_CODE, eflags, *general)
    image += struct.pack("<6IIHH", ds, cs, ss, ds, 0, 0, ldt, trap, 104)
    vcpu.memory.write(OTHER_TSS, image)
    vcpu.memory.write(OTHER_CODE, code)


@pytest.mark.parametrize("source", [JUMP, CALL, JUMP_GATE, CALL_GATE])
def test_to_another_task(source: str) -> None:
    vcpu = protected(f"stc; {source}", eax=0x11, ebx=0x22, esi=0x33)
    task(vcpu)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.esp, vcpu.ebp) == (OTHER_CODE + 1, OTHER_STACK, 0x1005)
    assert (vcpu.eax, vcpu.ecx, vcpu.edx, vcpu.ebx) == (0x1000, 0x1001, 0x1002, 0x1003)
    assert (vcpu.tr.selector, vcpu.tr.base) == (TASK, OTHER_TSS)
    assert (vcpu.ds.selector, vcpu.fs.selector) == (DATA32, 0)
    assert vcpu.cr0 & CR0_TS
    eip, eflags, eax = struct.unpack("<3I", vcpu.memory.read(TSS + 32, 12))
    assert (eip, eflags & FLAG_CF, eax) == (CODE + 8, FLAG_CF, 0x11)
    nested = source in (CALL, CALL_GATE)
    assert access(vcpu, TASK) & 2, "busy"
    assert bool(access(vcpu, OWN_TASK) & 2) == nested
    assert bool(vcpu.eflags & FLAG_NT) == nested
    assert word32(vcpu.memory, OTHER_TSS) == (OWN_TASK if nested else 0)


def test_there_and_back() -> None:
    """IRET with NT goes back; the second CALL goes on behind it."""
    vcpu = protected(f"{CALL}; {CALL}; hlt", edi=0x77)
    task(vcpu, b"\x40\xcf\xeb\xfc")  # again: inc eax; iret; jmp again
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.edi, vcpu.esp) == (CODE + 15, 0x77, stack_top())
    assert word32(vcpu.memory, OTHER_TSS + 40) == 0x1002
    assert (access(vcpu, TASK), access(vcpu, OWN_TASK)) == (0xE9, 0x8B)
    assert not vcpu.eflags & FLAG_NT
    assert not word32(vcpu.memory, OTHER_TSS + 36) & FLAG_NT, "IRET saves NT cleared"


def test_an_interrupt_through_a_task_gate() -> None:
    vcpu = protected("int 0x40; hlt", cpl=0, eax=0x11)
    task(vcpu, b"\xcf")
    vcpu.memory.write(0x2000 + 0x40 * 8, struct.pack("<HHBBH", 0, TASK, 0, 0x85, 0))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.eax, vcpu.tr.selector) == (CODE + 3, 0x11, OWN_TASK)


def test_an_exception_through_a_task_gate_pushes_its_error_code() -> None:
    vcpu = protected("mov ds, ax", cpl=3, eax=0x1000)
    task(vcpu)
    vcpu.memory.write(0x2000 + GP * 8, struct.pack("<HHBBH", 0, TASK, 0, 0x85, 0))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.cpl, vcpu.esp, frame(vcpu, 1)) == (0, OTHER_STACK - 4, [0x1000])
    assert word32(vcpu.memory, TSS + 32) == CODE, "the faulting instruction"
    assert word32(vcpu.memory, TSS + 76) == CODE3


@pytest.mark.parametrize(
    ("source", "vector", "flags"),
    [
        ("mov ds, ax", GP, FLAG_RF),
        ("ud2", UD, FLAG_RF),
        ("int 0x40", 0x40, 0),
        ("int3", 3, 0),
        ("nop", 1, 0),  # a single step
    ],
)
def test_the_resume_flag_that_is_saved(source: str, vector: int, flags: int) -> None:
    """Set for what is resumed, also through a task gate (SDM vol. 3, 17.3.1.1)."""
    for through in (0x85, 0x8E):
        vcpu = protected(f"{source}; hlt", eax=0x1000, eflags=2 | (vector == 1) << 8)
        task(vcpu)
        if through == 0x85:
            vcpu.memory.write(0x2000 + vector * 8, struct.pack("<HHBBH", 0, TASK, 0, 0x85, 0))
        assert run(vcpu) == "EXIT_HLT"
        saved = word32(vcpu.memory, TSS + 36) if through == 0x85 else pushed_flags(vcpu)
        assert saved & FLAG_RF == flags
        assert not vcpu.eflags & FLAG_RF


@pytest.mark.parametrize(
    ("kind", "limit", "vector"),
    [
        (0x89, 102, TS),  # too short
        (0x8B, 103, GP),  # busy
        (0x69, 103, NP),
        (0x81, 42, TS),
        (0x82, 103, GP),  # an LDT
    ],
)
@pytest.mark.parametrize("source", [JUMP, CALL])
def test_tasks_that_cannot_be_gone_to(source: str, kind: int, limit: int, vector: int) -> None:
    vcpu = protected(source)
    task(vcpu)
    set_descriptor(vcpu, TASK, descriptor(OTHER_TSS, limit, kind))
    assert event(vcpu) == Event(vector, CODE, TASK)
    assert (access(vcpu, TASK), vcpu.tr.selector) == (kind, OWN_TASK)


def test_the_dpl_of_a_task() -> None:
    vcpu = protected(JUMP, cpl=3)
    set_descriptor(vcpu, TASK, descriptor(OTHER_TSS, 103, 0x89))
    assert event(vcpu) == Event(GP, CODE, TASK, cs=CODE3)


@pytest.mark.parametrize(
    ("segments", "vector", "error"),
    [
        ({"cs": 0}, TS, 0),
        ({"cs": DATA32}, TS, DATA32),
        ({"ss": CODE32}, TS, CODE32),
        ({"ss": 0x20}, SS, 0x20),
        ({"ds": 0x1000}, TS, 0x1000),
        ({"ds": 0x20}, NP, 0x20),
        ({"ldt": CODE32}, TS, CODE32),
        ({"ldt": 0x54}, TS, 0x54),
    ],
)
def test_a_bad_selector_is_a_fault_of_the_new_task(
    segments: dict[str, int], vector: int, error: int
) -> None:
    """The handler is a task of its own: the new one may have no stack (SDM vol. 3, 7.3)."""
    vcpu = protected(f"nop; {JUMP}")
    task(vcpu, b"\xf4", **segments)
    third = 0x32000
    image = bytearray(vcpu.memory.read(OTHER_TSS, 104))
    struct.pack_into("<I", image, 32, 0x5100)
    struct.pack_into("<7I", image, 72, DATA32, CODE32, DATA32, DATA32, 0, 0, 0)
    vcpu.memory.write(third, bytes(image))
    vcpu.memory.write(0x5100, b"\xf4")
    set_descriptor(vcpu, LDT, descriptor(third, 103, 0x89))
    vcpu.memory.write(0x2000 + vector * 8, struct.pack("<HHBBH", 0, LDT, 0, 0x85, 0))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.tr.selector, frame(vcpu, 1)) == (LDT, [error])
    assert word32(vcpu.memory, third) == TASK, "called from the new task"
    assert word32(vcpu.memory, OTHER_TSS + 32) == OTHER_CODE, "at its beginning"
    assert word32(vcpu.memory, TSS + 32) == CODE + 8


def test_the_outermost_level() -> None:
    vcpu = protected(JUMP)
    task(vcpu, b"\xfa", cs=CODE3, ss=DATA3, ds=DATA3)
    vcpu.memory.write(OTHER_TSS + 4, struct.pack("<II", 0x8400, DATA32))
    assert event(vcpu) == Event(GP, OTHER_CODE, 0, cs=CODE3)


def test_its_ldt() -> None:
    vcpu = protected(JUMP)
    vcpu.memory.write(LDT_AT + 8, descriptor(DATA, 0xFF, 0x93))
    task(vcpu, b"\xa1\0\0\0\0\xf4", ldt=LDT, ds=0xC)
    vcpu.memory.write(DATA, b"\x2a")
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.ldtr.selector) == (0x2A, LDT)


def test_its_page_directory() -> None:
    second = 0x63000
    vcpu = paged(f"mov eax, [{UPPER}]; {JUMP}")
    map_page(vcpu, UPPER, DATA | ALL)
    vcpu.memory.write(second, vcpu.memory.read(DIRECTORY, 4) + struct.pack("<I", 0x64000 | ALL))
    vcpu.memory.write(0x64000, struct.pack("<I", (DATA + 0x1000) | ALL))
    vcpu.memory.write(DATA + 0x1000, b"\x2a")
    task(vcpu, b"\xa1" + struct.pack("<I", UPPER) + b"\xf4", cr3=second)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.cr3) == (0x2A, second)


def test_the_debug_trap_bit() -> None:
    """#DB before the task's first instruction, with DR6.BT."""
    vcpu = protected(JUMP)
    task(vcpu, trap=1)
    assert event(vcpu) == Event(1, OTHER_CODE)
    vcpu.memory.write(0x5800, b"\x0f\x21\xf0\xf4")  # mov eax, dr6; hlt
    vcpu.eip, vcpu.mp_state = 0x5800, x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax & 0x8000


def test_a_16_bit_task() -> None:
    vcpu = protected(f"{CALL}; hlt", eax=0xAAAA1111)
    image = struct.pack("<7H", 0, 0, 0, 0, 0, 0, 0)
    image += struct.pack("<10H", OTHER_CODE, 2, 1, 2, 3, 4, OTHER_STACK, 6, 7, 8)
    image += struct.pack("<5H", DATA32, CODE32, DATA32, DATA32, 0)
    vcpu.memory.write(OTHER_TSS, image)
    vcpu.memory.write(OTHER_CODE, b"\x90\xf4\xcf")
    set_descriptor(vcpu, TASK, descriptor(OTHER_TSS, 43, 0x81))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.eax & 0xFFFF, vcpu.edi & 0xFFFF) == (OTHER_CODE + 2, 1, 8)
    assert (vcpu.fs.selector, vcpu.gs.selector) == (0, 0)
    assert word32(vcpu.memory, OTHER_TSS) & 0xFFFF == OWN_TASK
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.eax) == (CODE + 8, 0xAAAA1111)
    assert struct.unpack("<H", vcpu.memory.read(OTHER_TSS + 14, 2)) == (OTHER_CODE + 3,)


def test_a_task_in_virtual_8086_mode() -> None:
    vcpu = protected(JUMP)
    task(vcpu, eflags=FLAG_VM | 2, cs=0x500, ss=0x900, ds=0x2000)
    vcpu.memory.write(OTHER_TSS + 4, struct.pack("<II", 0x8400, DATA32))
    vcpu.memory.write(OTHER_TSS + 32, bytes(4))
    vcpu.memory.write(0x5000, b"\xf4")
    assert event(vcpu) == Event(GP, 0, 0, cs=0x500)


def test_iret_to_a_task_that_is_not_busy() -> None:
    vcpu = protected("iret", eflags=FLAG_NT | 2)
    vcpu.memory.write(TSS, struct.pack("<I", TASK))
    assert event(vcpu) == Event(TS, CODE, TASK)


def test_a_tss_that_is_not_there_faults_before_anything_is_saved() -> None:
    vcpu = paged(JUMP)
    task(vcpu)
    map_page(vcpu, OTHER_TSS, 0)
    before = vcpu.memory.read(TSS, 104)
    found = event(vcpu)
    assert (found.vector, vcpu.cr2 & ~0xFFF, vcpu.tr.selector) == (14, OTHER_TSS, OWN_TASK)
    assert vcpu.memory.read(TSS, 104) == before
    assert (access(vcpu, TASK), access(vcpu, OWN_TASK)) == (0xE9, 0x8B)


@pytest.mark.parametrize("at", [TSS + 40, TSS + 72, OTHER_TSS, 0x1000 + OWN_TASK + 5])
def test_a_watchpoint_on_what_a_switch_stores(at: int) -> None:
    """The switch is whole, and left behind once (nothing of it can be given up)."""
    vcpu = protected(f"{CALL}; hlt", eax=0x11)
    task(vcpu)
    vcpu.set_guest_debug(watchpoints=[(at, 1, x86.WATCH_WRITE)])
    while run(vcpu) == "EXIT_DEBUG":
        assert vcpu.debug_exit[1] == at
    assert vcpu.eip == OTHER_CODE + 1
    assert word32(vcpu.memory, TSS + 40) == 0x11
    assert struct.unpack("<6I", vcpu.memory.read(TSS + 72, 24)) == (
        DATA32,
        CODE32,
        DATA32,
        DATA32,
        DATA32,
        DATA32,
    )


def test_a_task_state_outside_ram_is_delivered_without_a_device() -> None:
    """Of the present task: what cannot be taken back asks no device."""
    vcpu = protected(f"{JUMP}")
    task(vcpu)
    vcpu.tr.base = 0xF0000000
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.eax) == (OTHER_CODE + 1, 0x1000)
    assert not vcpu.stats["mmio_exits"]
