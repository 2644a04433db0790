"""What each privilege level may do (SDM vol. 3, 5.5 to 5.9; vol. 1, 18.5)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.protected.support import (
    CODE1,
    CODE3,
    CR4_TSD,
    DATA3,
    FLAG_IOPL,
    FLAG_VM,
    INNER_STACK,
    event,
    frame,
    protected,
)
from tests.support import (
    CODE,
    DATA,
    DATA32,
    DB,
    FLAG_IF,
    GP,
    TSS,
    Event,
    gate,
    run,
    set_gate,
    stack_top,
)

PRIVILEGED = [
    "hlt",
    "clts",
    "invd",
    "wbinvd",
    "lgdt [eax]",
    "lidt [eax]",
    "lmsw ax",
    "lldt ax",
    "ltr ax",
    "invlpg [eax]",
    "mov eax, cr0",
    "mov cr3, eax",
    "mov eax, dr7",
    "mov dr7, eax",
    "rdmsr",
    "wrmsr",
]


@pytest.mark.parametrize("cpl", [1, 3])
@pytest.mark.parametrize("source", PRIVILEGED)
def test_privileged_instructions(source: str, cpl: int) -> None:
    vcpu = protected(f"nop; {source}", cpl=cpl, eax=DATA)
    code = CODE1 if cpl == 1 else CODE3
    assert event(vcpu) == Event(GP, CODE + 1, 0, cs=code)
    assert vcpu.cpl == 0


@pytest.mark.parametrize("iopl", range(4))
@pytest.mark.parametrize("source", ["cli", "sti", "in al, 0x80", "out 0x80, al"])
def test_the_io_privilege_level(source: str, iopl: int) -> None:
    """The TSS has no I/O permission map: its limit ends before one."""
    vcpu = protected(f"{source}; int 0x40", cpl=1, eflags=iopl << 12 | 2)
    vcpu.memory.write(TSS + 102, b"\x68\0")
    set_gate(vcpu.memory, 0x40, gate(0x3040, kind=0xEE00))
    if iopl == 0:
        assert event(vcpu) == Event(GP, CODE, 0, cs=CODE1)
    elif source[0] in "io":
        assert run(vcpu) == "EXIT_IO"
    else:
        assert event(vcpu).vector == 0x40


@pytest.mark.parametrize(
    ("source", "port", "allowed"),
    [
        ("in al, dx", 3, False),
        ("in al, dx", 4, True),
        ("out dx, al", 15, True),
        ("in ax, dx", 7, True),
        ("in ax, dx", 2, False),
        ("in eax, dx", 0, False),
        ("out dx, eax", 4, True),
        ("in eax, dx", 15, False),  # all four ports count, over the byte's end
        ("insb", 3, False),
        ("outsb", 4, True),
        ("in al, dx", 23, False),  # its byte's successor lies beyond the limit
    ],
)
def test_the_io_permission_map(source: str, port: int, allowed: bool) -> None:
    vcpu = protected(source, cpl=3, edx=port, esi=DATA, edi=DATA)
    vcpu.memory.write(TSS + 102, b"\x68\0")
    vcpu.memory.write(TSS + 104, b"\x0f\0\xff")
    vcpu.memory.write(TSS + 105, b"\0\x04\0")
    vcpu.tr.limit = 106
    if port == 15 and "eax" in source:
        vcpu.memory.write(TSS + 106, b"\x02")
        vcpu.tr.limit = 107
    if allowed:
        assert run(vcpu) == "EXIT_IO"
        assert vcpu.io_port == port
    else:
        assert event(vcpu) == Event(GP, CODE, 0, cs=CODE3)


@pytest.mark.parametrize(("cpl", "flags"), [(0, 0x3200), (1, 0x1200), (3, 0x1000)])
def test_popf_keeps_what_a_level_may_not_change(cpl: int, flags: int) -> None:
    """IOPL is changed at level 0 alone, IF where CPL is not above IOPL; without any fault."""
    vcpu = protected("popf; int 0x40", cpl=cpl, eflags=0x1002)
    vcpu.esp -= 4
    vcpu.memory.write(vcpu.esp, (0x3202 | FLAG_VM).to_bytes(4, "little"))
    set_gate(vcpu.memory, 0x40, gate(0x3040, kind=0xEF00))
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eflags & (0x3200 | FLAG_VM) == flags


@pytest.mark.parametrize("cpl", [0, 3])
def test_rdtsc_is_forbidden_by_cr4_tsd(cpl: int) -> None:
    vcpu = protected("rdtsc; int 0x40", cpl=cpl, cr4=CR4_TSD)
    set_gate(vcpu.memory, 0x40, gate(0x3040, kind=0xEE00))
    assert event(vcpu).vector == (0x40 if cpl == 0 else GP)


def test_an_interrupt_of_an_outer_level_takes_the_inner_stack_and_returns() -> None:
    vcpu = protected("again: inc eax; jmp again", cpl=3, eflags=FLAG_IF | 2)
    outer = vcpu.esp
    vcpu.interrupt(0x50)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.cpl, vcpu.ss.selector, vcpu.esp) == (0, DATA32, INNER_STACK - 20)
    eip, cs, eflags, esp, ss = frame(vcpu, 5)
    assert (cs, eflags & FLAG_IF, esp, ss) == (CODE3, FLAG_IF, outer, DATA3)
    vcpu.memory.write(0x5000, b"\xcf")
    vcpu.eip, vcpu.mp_state = 0x5000, x86.MP_STATE_RUNNABLE
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    assert (vcpu.cpl, vcpu.cs.selector, vcpu.ss.selector) == (3, CODE3, DATA3)
    assert (vcpu.eip, vcpu.esp, vcpu.eflags & FLAG_IF) == (eip, outer, FLAG_IF)


@pytest.mark.parametrize(("dpl", "vector", "error"), [(3, 0x40, None), (0, GP, 0x40 * 8 + 2)])
def test_the_dpl_of_a_gate_counts_for_int_alone(dpl: int, vector: int, error: int | None) -> None:
    vcpu = protected("int 0x40", cpl=3)
    set_gate(vcpu.memory, 0x40, gate(0x3040, kind=0x8E00 | dpl << 13))
    after = 2 if vector == 0x40 else 0
    assert event(vcpu) == Event(vector, CODE + after, error, cs=CODE3)


@pytest.mark.parametrize(("source", "vector"), [(".byte 0xf1", DB), ("int 1", GP)])
def test_int1_asks_its_gate_for_no_privilege_level(source: str, vector: int) -> None:
    vcpu = protected(source, cpl=3)
    set_gate(vcpu.memory, DB, gate(0x3001, kind=0x8E00))
    assert event(vcpu).vector == vector


def test_the_stack_of_the_tss_must_be_one() -> None:
    """A bad SS0: #TS with its selector, at the level of the handler that cannot be entered."""
    vcpu = protected("int 0x40", cpl=3)
    set_gate(vcpu.memory, 0x40, gate(0x3040, kind=0xEE00))
    set_gate(vcpu.memory, 10, gate(0x300A, selector=CODE3 & ~3 | 3))
    vcpu.memory.write(TSS + 8, DATA3.to_bytes(4, "little"))
    assert run(vcpu) == "EXIT_SHUTDOWN"


@pytest.mark.parametrize(("iopl", "delivered"), [(0, False), (FLAG_IOPL, True)])
def test_sti_at_level_3(iopl: int, delivered: bool) -> None:
    vcpu = protected("sti; nop; nop", cpl=3, eflags=iopl | 2)
    vcpu.interrupt(0x50)
    assert event(vcpu).vector == (0x50 if delivered else GP)
    assert vcpu.esp < stack_top()
