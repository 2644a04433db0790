"""When a pending interrupt is taken: the shadows of STI, MOV SS and POP SS, and what has none.

SDM vol. 2, STI, MOV and POP; vol. 3, 6.8.3.
"""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import (
    CODE,
    DATA,
    FLAG_IF,
    UD,
    Event,
    delivered,
    flat32,
    real16,
    run,
)

VECTOR = 0x40


@pytest.mark.parametrize(
    ("source", "taken_before"),
    [
        ("sti; nop; nop; hlt", 2),
        ("sti; sti; nop; hlt", 2),
        ("sti; cli; nop; sti; nop; nop; hlt", 5),
        ("sti; jmp next; next: nop; hlt", 3),
        ("sti; inc ecx; nop; hlt", 2),
        ("sti; ret; nop; target: nop; hlt", 3),
        (f"sti; inc dword ptr [{DATA}]; nop; hlt", 7),
        ("sti; push ss; pop ds; hlt", 2),
        ("popf; nop; hlt", 1),
        ("nop; nop; sti; nop; nop; hlt", 4),
    ],
)
def test_pending_interrupt_is_taken(source: str, taken_before: int) -> None:
    """STI holds off interrupts for one instruction, POPF does not."""
    vcpu = flat32(source)
    value = CODE + 3 if "ret" in source else 0x202
    vcpu.esp -= 4
    vcpu.memory.write(vcpu.esp, value.to_bytes(4, "little"))
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, CODE + taken_before)


def test_iret_that_sets_if_has_no_shadow() -> None:
    vcpu = flat32("iret; nop; nop; hlt")
    frame = [CODE + 1, 8, 0x202]
    vcpu.esp -= 12
    vcpu.memory.write(vcpu.esp, b"".join(word.to_bytes(4, "little") for word in frame))
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, CODE + 1)


def test_sti_when_interrupts_are_on_already_has_no_shadow() -> None:
    vcpu = flat32("sti; nop; nop; hlt")
    vcpu.eflags |= FLAG_IF
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, CODE + 1)


def test_the_shadow_of_sti_outlives_an_exit() -> None:
    vcpu = flat32("sti; nop; nop; hlt")
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, CODE + 2)


@pytest.mark.parametrize("source", ["mov ss, ax; nop; nop; hlt", "pop ss; nop; nop; nop; hlt"])
def test_loading_ss_holds_off_interrupts_for_one_instruction(source: str) -> None:
    """So that SS:ESP can be loaded in two steps."""
    vcpu = flat32(source)
    length = 2 if source.startswith("mov") else 1
    vcpu.eax = 0x10
    vcpu.esp -= 4
    vcpu.memory.write(vcpu.esp, b"\x10\0\0\0")
    vcpu.eflags |= FLAG_IF
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    assert vcpu.eip == CODE + length
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, CODE + length + 1)


@pytest.mark.parametrize("source", ["mov ds, ax; nop; nop; hlt", "pop es; nop; nop; nop; hlt"])
def test_loading_another_segment_holds_off_nothing(source: str) -> None:
    vcpu = flat32(source)
    vcpu.eax = 0x10
    vcpu.esp -= 4
    vcpu.memory.write(vcpu.esp, b"\x10\0\0\0")
    vcpu.eflags |= FLAG_IF
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    vcpu.interrupt(VECTOR)
    eip = vcpu.eip
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, eip)


def test_mov_ss_in_real_mode() -> None:
    vcpu = real16("mov ss, ax; mov sp, 0x8000; nop; hlt")
    vcpu.eax = 0x100
    vcpu.eflags |= FLAG_IF
    assert vcpu.run(max_instructions=1) == x86.EXIT_LIMIT
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(VECTOR, 5, cs=0x1000)
    assert vcpu.esp & 0xFFFF == 0x8000 - 6


def test_a_fault_in_the_shadow_comes_first() -> None:
    """STI; UD2 with an interrupt pending: #UD at once, its handler with interrupts off."""
    vcpu = flat32("sti; ud2")
    vcpu.interrupt(VECTOR)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, CODE + 1)


def test_interrupts_come_between_the_turns_of_a_hot_loop() -> None:
    """Linked blocks still look, although the loop, once entered, never leaves them."""
    vcpu = flat32("again: inc ecx; jmp again")
    vcpu.eflags |= FLAG_IF
    assert vcpu.run(max_instructions=100_000) == x86.EXIT_LIMIT
    vcpu.interrupt(VECTOR)
    before = vcpu.instructions
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == VECTOR
    assert vcpu.instructions - before == 1, "only the handler's HLT"
