"""Events through a 32-bit IDT: gates, error codes, faults in delivery (SDM vol. 3, chapter 6)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import (
    CODE,
    CODE32,
    DATA32,
    DE,
    DF,
    FLAG_IF,
    FLAG_TF,
    GP,
    HANDLERS,
    NP,
    SPARE,
    TRAP_GATE,
    UD,
    Event,
    delivered,
    descriptor,
    flat32,
    gate,
    pushed_flags,
    run,
    set_gate,
    set_spare,
    word32,
)

VECTOR = 0x40


@pytest.mark.parametrize(
    ("source", "vector"), [("int 0x40", 0x40), ("int 0xff", 0xFF), ("int3", 3), ("int 3", 3)]
)
def test_software_interrupt_pushes_the_next_instruction(source: str, vector: int) -> None:
    vcpu = flat32(f"{source}; after:")
    length = 1 if "int3" in source or source == "int 3" else 2
    top = vcpu.esp
    vcpu.eflags = 0x2 | FLAG_IF | 1
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(vector, CODE + length)
    assert vcpu.esp == top - 12
    assert pushed_flags(vcpu) == 0x2 | FLAG_IF | 1


@pytest.mark.parametrize(("kind", "interrupts"), [(0x8E00, 0), (TRAP_GATE, FLAG_IF)])
def test_an_interrupt_gate_masks_interrupts_and_a_trap_gate_does_not(
    kind: int, interrupts: int
) -> None:
    vcpu = flat32("int 0x40")
    set_gate(vcpu.memory, VECTOR, gate(HANDLERS + VECTOR, kind=kind))
    vcpu.eflags |= FLAG_IF
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eflags & (FLAG_IF | FLAG_TF) == interrupts


def test_iret_takes_back_everything() -> None:
    vcpu = flat32("int 0x40; hlt; handler: cld; clc; iret")
    set_gate(vcpu.memory, VECTOR, gate(CODE + 3))
    top = vcpu.esp
    vcpu.eflags = 0x2 | FLAG_IF | 1 << 10 | 1
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.esp) == (CODE + 3, top)
    assert vcpu.eflags == 0x2 | FLAG_IF | 1 << 10 | 1


def test_gate_leads_through_its_code_segment() -> None:
    vcpu = flat32("int 0x40")
    set_spare(vcpu.memory, descriptor(HANDLERS, 0xFFF, 0x409B))
    set_gate(vcpu.memory, VECTOR, gate(0x77, selector=SPARE))
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.cs.selector == SPARE
    assert delivered(vcpu) == Event(0x77, CODE + 2)


@pytest.mark.parametrize(
    ("entry", "vector", "error"),
    [
        (bytes(8), GP, VECTOR * 8 + 2),  # not a gate
        (gate(HANDLERS, kind=0x8900), GP, VECTOR * 8 + 2),  # a TSS is no gate either
        (gate(HANDLERS, kind=0x0E00), NP, VECTOR * 8 + 2),  # not present
        (gate(HANDLERS, selector=0), GP, 0),
        (gate(HANDLERS, selector=0x1000), GP, 0x1000),
        (gate(HANDLERS, selector=DATA32), GP, DATA32),
        (gate(HANDLERS, selector=SPARE), NP, SPARE),
    ],
    ids=["empty", "TSS", "absent", "null CS", "CS beyond GDT", "data as CS", "absent CS"],
)
def test_fault_in_the_delivery_of_a_software_interrupt(
    entry: bytes, vector: int, error: int
) -> None:
    """EIP is that of the INT, and EXT is clear: the program itself asked for it."""
    vcpu = flat32("nop; int 0x40")
    set_spare(vcpu.memory, descriptor(0, 0xFFFFF, 0xC01B))
    set_gate(vcpu.memory, VECTOR, entry)
    top = vcpu.esp
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(vector, CODE + 1, error)
    assert vcpu.esp == top - 16


def test_handler_beyond_the_limit_of_its_segment() -> None:
    vcpu = flat32("int 0x40")
    set_spare(vcpu.memory, descriptor(0, 0xFFF, 0x409B))
    set_gate(vcpu.memory, VECTOR, gate(0x1000, selector=SPARE))
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE, 0)


def test_vector_beyond_the_idt_of_a_software_interrupt() -> None:
    vcpu = flat32("int 0x40")
    vcpu.idt_limit = VECTOR * 8 + 6
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE, VECTOR * 8 + 2)


def test_vector_beyond_the_idt_of_an_external_interrupt_sets_ext() -> None:
    vcpu = flat32("nop; hlt")
    vcpu.idt_limit = VECTOR * 8 + 6
    vcpu.eflags |= FLAG_IF
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE, VECTOR * 8 + 3)


def test_a_benign_exception_whose_gate_is_absent_sets_ext() -> None:
    vcpu = flat32("nop; ud2")
    set_gate(vcpu.memory, UD, gate(HANDLERS + UD, kind=0x0E00))
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(NP, CODE + 1, UD * 8 + 3)


def test_two_contributory_exceptions_are_a_double_fault() -> None:
    """#DE, and #NP in its delivery (SDM vol. 3, table 6-5): #DF with an error code of 0."""
    vcpu = flat32("nop; div ecx")
    vcpu.ecx = 0
    set_gate(vcpu.memory, DE, gate(HANDLERS + DE, kind=0x0E00))
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DF, CODE + 1, 0)


def test_a_fault_in_the_delivery_of_a_double_fault_shuts_down() -> None:
    vcpu = flat32("nop; div ecx")
    vcpu.ecx = 0
    for vector in (DE, DF):
        set_gate(vcpu.memory, vector, bytes(8))
    assert run(vcpu) == "EXIT_SHUTDOWN"
    assert vcpu.eip == CODE + 1
    assert vcpu.exit_reason == x86.EXIT_SHUTDOWN


@pytest.mark.parametrize("source", ["ud2", "int 0x40", "div ecx", "mov ds, eax"])
def test_without_an_idt_everything_is_a_triple_fault(source: str) -> None:
    vcpu = flat32(source)
    vcpu.eax, vcpu.ecx = 0xFFF8, 0
    vcpu.idt_limit = 0
    assert run(vcpu) == "EXIT_SHUTDOWN"


def test_shutdown_is_not_left_by_running_again() -> None:
    """Only a reset ends it; the vCPU must not go on somewhere."""
    vcpu = flat32("ud2; inc eax; hlt")
    vcpu.idt_limit, vcpu.eax = 0, 0
    assert run(vcpu) == "EXIT_SHUTDOWN"
    assert run(vcpu) == "EXIT_SHUTDOWN"
    assert vcpu.eax == 0


def test_no_room_on_the_stack_for_the_frame_shuts_down() -> None:
    """#SS in the delivery of each: the stack wraps below 0 of a segment that ends before."""
    vcpu = flat32("ud2")
    vcpu.ss.limit, vcpu.esp = 0xFFFF, 4
    assert run(vcpu) == "EXIT_SHUTDOWN"


@pytest.mark.parametrize("flags", [0x2, 0x2 | 1, 0x2 | 1 << 6 | 1 << 11])
def test_delivery_keeps_arithmetic_flags(flags: int) -> None:
    vcpu = flat32("int 0x40")
    vcpu.eflags = flags
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eflags == flags
    assert pushed_flags(vcpu) == flags


@pytest.mark.parametrize(
    ("frame", "vector", "error"),
    [
        ([CODE, 0, 2], GP, 0),
        ([CODE, 0x1000, 2], GP, 0x1000),
        ([CODE, DATA32, 2], GP, DATA32),
        ([CODE, SPARE, 2], NP, SPARE),
    ],
)
def test_iret_to_a_bad_segment(frame: list[int], vector: int, error: int) -> None:
    vcpu = flat32("nop; iret")
    set_spare(vcpu.memory, descriptor(0, 0xFFFFF, 0xC01B))
    vcpu.esp -= 12
    top = vcpu.esp
    vcpu.memory.write(top, b"".join(word.to_bytes(4, "little") for word in frame))
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(vector, CODE + 1, error)
    assert vcpu.esp == top - 16
    assert [word32(vcpu.memory, top + 4 * n) for n in range(3)] == frame


def test_16_bit_iret_in_32_bit_code() -> None:
    vcpu = flat32(".byte 0x66, 0xcf")
    vcpu.esp -= 6
    top = vcpu.esp
    vcpu.memory.write(top, (0x3055).to_bytes(2, "little") + bytes([CODE32, 0, 0x03, 0x02]))
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.esp, vcpu.eflags) == (0x3056, top + 6, 0x203)
