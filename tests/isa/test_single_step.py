"""EFLAGS.TF: a trap after each instruction, and after each element of a repeated one.

SDM vol. 3, 18.3.1.4 (single-step), 6.8.3 (loads of SS); vol. 2, INT1.
"""

from __future__ import annotations

import pytest

from tests.support import (
    CODE,
    DATA,
    DB,
    FLAG_TF,
    UD,
    Event,
    delivered,
    flat32,
    gate,
    pushed_flags,
    real16,
    run,
    set_gate,
    word32,
)

TRACE = DATA + 0x8000

#: Notes the EIP that it would return to, EDI and ECX, at TRACE.
TRACER = f"""
    handler:
        push eax
        push ebx
        mov ebx, [{TRACE}]
        mov eax, [esp+8]
        mov [{TRACE + 16}+ebx], eax
        mov [{TRACE + 20}+ebx], edi
        mov [{TRACE + 24}+ebx], ecx
        add dword ptr [{TRACE}], 12
        pop ebx
        pop eax
        iret
"""


def stepped(source: str, **registers: int) -> list[tuple[int, int, int]]:
    """(EIP relative to the code, EDI, ECX) at each single-step trap until HLT."""
    vcpu = flat32(f"{source}; hlt; .org 0x100, 0x90; {TRACER}")
    set_gate(vcpu.memory, DB, gate(CODE + 0x100))
    for name, value in registers.items():
        setattr(vcpu, name, value)
    vcpu.eflags |= FLAG_TF
    assert run(vcpu) == "EXIT_HLT"
    assert CODE < vcpu.eip < CODE + 0x100
    count = word32(vcpu.memory, TRACE) // 4
    words = [word32(vcpu.memory, TRACE + 16 + 4 * n) for n in range(count)]
    return [
        (eip - CODE, edi, ecx)
        for eip, edi, ecx in zip(words[::3], words[1::3], words[2::3], strict=True)
    ]


def places(source: str, **registers: int) -> list[int]:
    return [eip for eip, _, _ in stepped(source, **registers)]


def test_after_each_instruction() -> None:
    assert places("nop; inc edx; mov eax, 5; jmp next; nop; next: nop") == [1, 2, 7, 10, 11]


@pytest.mark.parametrize("operation", ["stosb", "stosd", "movsb", "lodsw", "repe scasb"])
def test_after_each_element(operation: str) -> None:
    """EIP stays at the instruction until the last element is done."""
    source = operation if operation.startswith("rep") else f"rep {operation}"
    size = {"b": 1, "w": 2, "d": 4}[operation[-1]]
    length = 3 if size == 2 else 2
    moves = operation != "lodsw"
    found = stepped(source, ecx=3, edi=DATA, esi=DATA + 0x100, eax=0)
    assert found == [
        ((length if done == 3 else 0), DATA + done * size * moves, 3 - done) for done in (1, 2, 3)
    ]


def test_a_count_of_0_is_one_step() -> None:
    assert stepped("rep movsb; nop", ecx=0, edi=DATA) == [(2, DATA, 0), (3, DATA, 0)]


def test_a_long_repetition_is_stepped_whole() -> None:
    """Not done page by page."""
    found = stepped("rep stosb", ecx=1000, edi=DATA, eax=0x55)
    assert [edi - DATA for _, edi, _ in found] == list(range(1, 1001))


@pytest.mark.parametrize("load", ["mov ss, ax", "pop ss"])
def test_a_load_of_ss_holds_off_the_trap(load: str) -> None:
    """So that no handler runs between it and the load of ESP."""
    source = f"push eax; {load}; nop; nop"
    length = 1 + (2 if load.startswith("mov") else 1)
    assert places(source, eax=0x10) == [1, length + 1, length + 2]


@pytest.mark.parametrize("load", ["mov ds, ax", "pop es", "lss esp, [esi]"])
def test_other_loads_do_not(load: str) -> None:
    vcpu_code = f"push eax; {load}; nop"
    length = {"mov ds, ax": 2, "pop es": 1, "lss esp, [esi]": 3}[load]
    # ESI points at 00000010:00010100, a stack pointer in the code that is stored below the handler.
    source = f"{vcpu_code}; hlt; .org 0x80, 0x90; .long {CODE + 0x4000}; .word 0x10"
    assert places(source, eax=0x10, esi=CODE + 0x80) == [1, 1 + length, 2 + length]


def test_the_trap_after_popf_comes_one_instruction_later() -> None:
    """TF counts as it was when the instruction began (vol. 3, 18.3.1.4)."""
    vcpu = flat32("push 0x102; popf; nop; nop; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DB, CODE + 7)


def test_a_popf_that_clears_tf_is_itself_still_a_step() -> None:
    assert places("push 2; popf; nop; nop") == [2, 3]


def test_a_software_interrupt_clears_tf_and_loses_its_own_trap() -> None:
    vcpu = flat32("int 0x40; nop")
    vcpu.eflags |= FLAG_TF
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x40, CODE + 2)
    assert pushed_flags(vcpu) & FLAG_TF


def test_a_fault_comes_without_a_trap() -> None:
    vcpu = flat32("ud2")
    vcpu.eflags |= FLAG_TF
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, CODE)


def test_icebp_is_a_debug_trap() -> None:
    """INT1: vector 1, and what follows it is returned to."""
    vcpu = flat32(".byte 0xf1; nop")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DB, CODE + 1)
    assert pushed_flags(vcpu) == 2


def test_icebp_in_real_mode() -> None:
    vcpu = real16(".byte 0xf1; nop")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DB, 1, cs=CODE >> 4)
