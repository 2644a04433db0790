"""Alignment checks (SDM vol. 3, 6.15, interrupt 17).

Judged by the manual: Unicorn raises no #AC.
"""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.protected.support import (
    ALL,
    CODE3,
    DATA3,
    FLAG_VM,
    LDT,
    PF,
    TASK,
    UPPER,
    entry_at,
    event,
    map_page,
    paged,
    protected,
    set_descriptor,
)
from tests.protected.test_tasks import task
from tests.support import (
    AC,
    CODE,
    DATA,
    GDT,
    GP,
    IDT,
    TSS,
    Event,
    assembled,
    descriptor,
    gate,
    run,
    set_gate,
    stack_top,
    word32,
)

CR0_AM, FLAG_AC = 0x40000, 0x40000
BREAK = 0x40
#: Ends code at privilege level 3 by an interrupt.
DONE = "int 0x40"


def checked(source: str, *, cpl: int = 3, **registers: int) -> x86.VCPU:
    """A guest at a privilege level, with alignment checks asked for; INT 40h is open to it."""
    vcpu = protected(source, cpl=cpl, **registers)
    set_gate(vcpu.memory, BREAK, gate(0x3000 + BREAK, kind=0xEE00))
    vcpu.cr0 |= CR0_AM
    vcpu.eflags |= FLAG_AC
    return vcpu


MISALIGNED = [
    *("mov eax, [{0} + 1]", "mov eax, [{0} + 2]", "mov ax, [{0} + 1]", "mov [{0} + 3], ecx"),
    *("movzx eax, word ptr [{0} + 1]", "add [{0} + 2], eax", "add eax, [{0} + 2]"),
    *("inc word ptr [{0} + 1]", "cmp dword ptr [{0} + 1], 0", "not dword ptr [{0} + 2]"),
    *("mov eax, [{0} + 0xFFE]", "mov [{0} + 0xFFF], ax", "mov [{0} + 0xFFD], eax"),
    *("xchg [{0} + 2], eax", "lock xadd [{0} + 1], eax", "lock cmpxchg [{0} + 2], ecx"),
    *("lock inc word ptr [{0} + 1]", "cmpxchg8b [{0} + 4]", "lock cmpxchg8b [{0} + 4]"),
    *("bt dword ptr [{0} + 2], 3", "shl dword ptr [{0} + 2], 1", "mul dword ptr [{0} + 2]"),
    *("push dword ptr [{0} + 2]", "pop dword ptr [{0} + 2]", "bound eax, [{0} + 2]"),
    *("mov ds, [{0} + 1]", "mov [{0} + 1], ds", "lds eax, [{0} + 2]", "les ax, [{0} + 1]"),
    *("call dword ptr [{0} + 2]", "jmp dword ptr [{0} + 1]", "jmp fword ptr [{0} + 2]"),
    *("sgdt [{0}]", "sidt [{0} + 1]", "sldt [{0} + 1]", "str [{0} + 1]", "smsw [{0} + 1]"),
    *("lar eax, word ptr [{0} + 1]", "verr word ptr [{0} + 1]", "arpl [{0} + 1], ax"),
]


@pytest.mark.parametrize("source", MISALIGNED)
def test_misaligned(source: str) -> None:
    """Each is a fault that leaves nothing behind."""
    vcpu = checked(f"nop; {source.format(DATA)}", eax=0x1111)
    before = vcpu.memory.read(DATA, 0x1100)
    assert event(vcpu) == Event(AC, CODE + 1, 0, cs=CODE3)
    assert (vcpu.eax, vcpu.memory.read(DATA, 0x1100)) == (0x1111, before)
    assert word32(vcpu.memory, vcpu.esp + 16) == stack_top()


@pytest.mark.parametrize("size", ["", "w"])
@pytest.mark.parametrize(
    "source", ["push{} eax", "pop{} eax", "pusha{}", "popa{}", "pushf{}", "popf{}", "push{} fs"]
)
def test_a_misaligned_stack(source: str, size: str) -> None:
    source = source.format("d" if not size and "eax" not in source else "")
    if size:
        source = f".byte 0x66; {source.replace('eax', 'ecx')}"
    vcpu = checked(source, esp=stack_top() - 0x101)
    assert event(vcpu) == Event(AC, CODE, 0, cs=CODE3)
    assert word32(vcpu.memory, vcpu.esp + 16) == stack_top() - 0x101


@pytest.mark.parametrize(
    "source", ["call .", "ret", "retf", "iretd", "enter 8, 0", "enter 8, 3", "lcall 0x83, 0x10000"]
)
def test_transfers_on_a_misaligned_stack(source: str) -> None:
    vcpu = checked(source, esp=stack_top() - 0x102)
    assert event(vcpu) == Event(AC, CODE, 0, cs=CODE3)


@pytest.mark.parametrize("source", ["lodsd", "stosd", "movsd", "cmpsd", "scasd", "rep movsd"])
@pytest.mark.parametrize("count", [1, 100])
def test_strings(source: str, count: int) -> None:
    """Element by element: the first one of the destination is misaligned, or of the source."""
    registers = {"esi": DATA + 2, "edi": DATA + 0x801, "ecx": count}
    vcpu = checked(source, **registers)
    assert event(vcpu) == Event(AC, CODE, 0, cs=CODE3)
    assert (vcpu.esi, vcpu.edi, vcpu.ecx) == (*[DATA + 2, DATA + 0x801], count)


ALIGNED = [
    *("mov al, [{0} + 1]", "mov ax, [{0} + 2]", "mov eax, [{0} + 4]", "inc byte ptr [{0} + 3]"),
    *("cmpxchg8b [{0} + 8]", "les ax, [{0} + 2]", "lds eax, [{0} + 4]", "lea eax, [{0} + 1]"),
    *("sgdt [{0} + 2]", "sidt [{0} + 6]", "prefetchnta [{0} + 1]", "bound ax, [{0} + 2]"),
    *("xlatb", "mov esi, {0} + 1; mov edi, {0} + 3; mov ecx, 100; rep movsb"),
]


@pytest.mark.parametrize("source", ALIGNED)
def test_aligned(source: str) -> None:
    vcpu = checked(f"{source.format(DATA)}; {DONE}", ebx=DATA)
    assert event(vcpu).vector == BREAK


@pytest.mark.parametrize(
    ("cpl", "cr0", "eflags"),
    [(3, 0, FLAG_AC), (3, CR0_AM, 0), (0, CR0_AM, FLAG_AC), (1, CR0_AM, FLAG_AC)],
)
def test_all_of_am_ac_and_privilege_level_3(cpl: int, cr0: int, eflags: int) -> None:
    vcpu = checked(f"mov eax, [{DATA} + 1]; mov [{DATA} + 2], eax; {DONE}", cpl=cpl)
    vcpu.cr0 = vcpu.cr0 & ~CR0_AM | cr0
    vcpu.eflags = vcpu.eflags & ~FLAG_AC | eflags
    assert event(vcpu).vector == BREAK


#: What stands in the TLB, for stores too, before checks begin.
TOUCH = f"mov eax, [{DATA} + 1]; mov [{DATA} + 1], eax"


@pytest.mark.parametrize("fault", [f"mov eax, [{DATA} + 1]", f"mov [{DATA} + 1], eax"])
def test_popf_turns_it_on_and_off(fault: str) -> None:
    source = f"{TOUCH}; push 0x40002; popfd; {{}}; push 2; popfd; {TOUCH}; {DONE}"
    vcpu = checked(source.format("nop"), eflags=2)
    vcpu.eflags = 2
    assert event(vcpu).vector == BREAK
    vcpu = checked(source.format(fault))
    vcpu.eflags = 2
    at = CODE + len(assembled(f"{TOUCH}; push 0x40002; popfd", CODE, 32))
    assert event(vcpu) == Event(AC, at, 0, cs=CODE3)


def test_popf_of_16_bits_leaves_it() -> None:
    vcpu = checked(f"pushw 2; popfw; mov eax, [{DATA} + 1]")
    assert event(vcpu).vector == AC


def test_iret_turns_it_on() -> None:
    source = f"{TOUCH}; push {DATA3}; push 0x8400; push 0x40002; push {CODE3}; push {{}}; iretd"
    length = len(assembled(source.format(CODE), CODE, 32))
    vcpu = checked(f"{source.format(CODE + length)}; mov eax, ss:[{DATA} + 2]", cpl=0)
    vcpu.eflags = 2
    assert event(vcpu) == Event(AC, CODE + length, 0, cs=CODE3)


def test_a_handler_at_level_0_is_free_of_it_and_the_way_back_is_not() -> None:
    vcpu = checked(f"int 0x40; mov eax, [{DATA} + 1]")
    handler = assembled(f"pushad; {TOUCH}; popad; iretd", 0x5000, 32)
    vcpu.memory.write(0x5000, handler)
    set_gate(vcpu.memory, BREAK, gate(0x5000, kind=0xEE00))
    assert event(vcpu) == Event(AC, CODE + 2, 0, cs=CODE3)


def test_a_task_turns_it_on() -> None:
    vcpu = checked(f"{TOUCH}; .byte 0xEA; .long 0; .word {TASK}", cpl=0)
    vcpu.eflags = 2
    code = assembled(f"mov eax, [{DATA} + 1]", 0x5000, 32)
    task(vcpu, code, eflags=FLAG_AC | 2, cs=CODE3, ss=DATA3, ds=DATA3)
    vcpu.memory.write(0x30000 + 4, struct.pack("<II", 0x8400, 0x10))
    assert event(vcpu) == Event(AC, 0x5000, 0, cs=CODE3)


def test_mov_to_cr0_turns_it_on() -> None:
    source = f"mov ecx, cr0; or ecx, 0x40000; mov cr0, ecx; {TOUCH}; push {DATA3}; push 0x8400; "
    source += f"push 0x40002; push {CODE3}; push {{}}; iretd"
    length = len(assembled(source.format(CODE), CODE, 32))
    vcpu = checked(f"{source.format(CODE + length)}; mov eax, ss:[{DATA} + 2]", cpl=0)
    vcpu.cr0 &= ~CR0_AM
    assert event(vcpu) == Event(AC, CODE + length, 0, cs=CODE3)


def test_tables_are_read_at_privilege_level_0() -> None:
    """Descriptors, gates and the TSS may lie anywhere."""
    vcpu = checked(f"mov ecx, {DATA3}; mov fs, ecx; lar edx, ecx; verr cx; {DONE}")
    memory = vcpu.memory
    for base, length, to in ((GDT, 0x100, 0x41001), (IDT, 0x800, 0x42003), (TSS, 104, 0x43001)):
        memory.write(to, memory.read(base, length))
    vcpu.gdt_base, vcpu.idt_base, vcpu.tr.base = 0x41001, 0x42003, 0x43001
    assert event(vcpu).vector == BREAK
    assert vcpu.fs.selector == DATA3


def test_the_stack_of_an_inner_level_may_be_misaligned() -> None:
    vcpu = checked(DONE)
    vcpu.memory.write(TSS + 4, struct.pack("<I", 0x8401))
    assert event(vcpu).vector == BREAK
    assert vcpu.esp == 0x8401 - 20


@pytest.mark.parametrize("limit", [3, 4])
def test_the_limit_comes_first(limit: int) -> None:
    vcpu = checked("mov eax, fs:[1]")
    vcpu.fs.base, vcpu.fs.limit, vcpu.fs.access = DATA, limit, 0x40F3
    assert event(vcpu) == Event(GP if limit == 3 else AC, CODE, 0, cs=CODE3)


def test_the_linear_address_counts() -> None:
    vcpu = checked(f"mov eax, fs:[3]; mov eax, fs:[0]; {DONE}")
    vcpu.fs.base, vcpu.fs.limit, vcpu.fs.access = DATA + 1, 0xFF, 0x40F3
    assert event(vcpu) == Event(AC, CODE + 6, 0, cs=CODE3)


@pytest.mark.parametrize(("offset", "entry", "vector"), [(4, 0, PF), (2, 0, AC), (2, ALL, AC)])
def test_it_comes_before_the_page_fault_and_marks_nothing(
    offset: int, entry: int, vector: int
) -> None:
    vcpu = paged(f"mov [{UPPER} + {offset}], eax", cpl=3)
    vcpu.cr0 |= CR0_AM
    vcpu.eflags |= FLAG_AC
    map_page(vcpu, UPPER, entry and DATA | entry)
    assert event(vcpu).vector == vector
    assert word32(vcpu.memory, entry_at(UPPER)) == (entry and DATA | entry)


def test_virtual_8086_mode() -> None:
    vcpu = protected("hlt")
    vcpu.cr0 |= CR0_AM
    vcpu.memory.write(0x18000, assembled("mov al, [1]; mov ax, [1]", 0, 16))
    vcpu.eflags = FLAG_VM | FLAG_AC | 2
    for segment, at in ((vcpu.cs, 0x1800), (vcpu.ss, 0x800), (vcpu.ds, DATA >> 4)):
        segment.selector, segment.base, segment.limit, segment.access = at, at << 4, 0xFFFF, 0xF3
    vcpu.eip = 0
    assert event(vcpu) == Event(AC, 3, 0, cs=0x1800)


def test_an_ldt_through_a_task_with_checks() -> None:
    """Loading a task's segments is no access of the task."""
    vcpu = checked(f".byte 0xEA; .long 0; .word {TASK}", cpl=0)
    set_descriptor(vcpu, LDT, descriptor(0x31001, 0xF, 0x82))
    vcpu.memory.write(0x31001 + 8, descriptor(DATA, 0xFF, 0xF3))
    set_gate(vcpu.memory, BREAK, gate(0x3000 + BREAK, kind=0xEE00))
    task(vcpu, b"\xcd\x40", eflags=FLAG_AC | 2, cs=CODE3, ss=DATA3, ds=0xF, ldt=LDT)
    vcpu.memory.write(0x30000 + 4, struct.pack("<II", 0x8400, 0x10))
    assert event(vcpu).vector == BREAK


def test_a_restored_vcpu_checks_too() -> None:
    vcpu = checked(f"nop; mov eax, [{DATA} + 1]")
    assert vcpu.run(1) == x86.EXIT_LIMIT
    other = protected(f"{TOUCH}; hlt", cpl=3)
    assert other.run(1) == x86.EXIT_LIMIT
    other.memory.write(CODE, vcpu.memory.read(CODE, 16))
    other.restore(vcpu.save())
    assert event(other) == Event(AC, CODE + 1, 0, cs=CODE3)
    other.reset()
    assert other.run(1) == x86.EXIT_INTERNAL_ERROR, "there is no ROM"


@pytest.mark.parametrize("event_source", ["mov eax, [0x20001]", "ud2", DONE])
def test_a_handler_whose_stack_is_misaligned(event_source: str) -> None:
    """A processor tries to deliver #AC for ever, since it makes no double fault; run() ends."""
    vcpu = checked(event_source, esp=stack_top() - 0x101)
    for vector in (6, BREAK, AC):
        set_gate(vcpu.memory, vector, gate(0x3000 + vector, CODE3, 0xEE00))
    assert run(vcpu) == "EXIT_SHUTDOWN"


def test_faults_that_lead_to_each_other() -> None:
    """#AC has no gate, and the page fault's handler no aligned stack."""
    vcpu = paged("mov eax, [0x20001]", cpl=3, esp=stack_top() - 0x101)
    vcpu.cr0 |= CR0_AM
    vcpu.eflags |= FLAG_AC
    vcpu.idt_base = 0x51000 - 8 * (PF + 1)
    vcpu.memory.write(0x51000 - 8, gate(0x3000 + PF, CODE3, 0xEE00))
    map_page(vcpu, 0x51000, 0)
    assert run(vcpu) == "EXIT_SHUTDOWN"


def test_an_external_interrupt_on_a_misaligned_stack_is_a_fault() -> None:
    vcpu = checked("nop; jmp .", esp=stack_top() - 0x101)
    vcpu.eflags |= 0x200
    set_gate(vcpu.memory, BREAK, gate(0x3000 + BREAK, CODE3, 0xEE00))
    vcpu.interrupt(BREAK)
    assert event(vcpu) == Event(AC, CODE, 0, cs=CODE3)
