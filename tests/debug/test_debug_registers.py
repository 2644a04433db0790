"""The guest's own breakpoints: DR0 to DR7, DR6, RF (SDM vol. 3, 18.2 and 18.3)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import (
    CODE,
    CODE32,
    DATA,
    DB,
    DE,
    DF,
    FLAG_IF,
    FLAG_RF,
    FLAG_TF,
    GP,
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
EXECUTION, WRITE, PORT, ACCESS = range(4)
LENGTH_CODE = {1: 0, 2: 1, 4: 3, 8: 2}
BD, BS, BT = 1 << 13, 1 << 14, 1 << 15
ONES = 0xFFFF0FF0
GD, L0, G0 = 1 << 13, 1, 2
CR4_DE = 8

#: Notes EIP, DR6, ECX and the image of the flags at TRACE, clears DR6, and returns with RF set.
HANDLER = f"""
    handler:
        push eax
        push ebx
        mov ebx, [{TRACE}]
        mov eax, [esp+8]
        mov [{TRACE + 16}+ebx], eax
        mov eax, dr6
        mov [{TRACE + 20}+ebx], eax
        mov [{TRACE + 24}+ebx], ecx
        mov eax, [esp+16]
        mov [{TRACE + 28}+ebx], eax
        add dword ptr [{TRACE}], 16
        xor eax, eax
        mov dr6, eax
        or dword ptr [esp+16], {FLAG_RF}
        pop ebx
        pop eax
        iret
"""


def control(*points: tuple[int, int], enable: int = G0) -> int:
    """DR7 for breakpoints 0, 1 ... of (condition, length)."""
    value = 0
    for number, (condition, length) in enumerate(points):
        value |= enable << 2 * number | (condition | LENGTH_CODE[length] << 2) << 16 + 4 * number
    return value


def set_up(dr7: int, *addresses: int, cr4: int = 0) -> str:
    """Code that sets the debug registers. EAX is lost."""
    lines = [f"mov eax, {address}; mov dr{n}, eax" for n, address in enumerate(addresses)]
    lines += [f"mov eax, {cr4}; mov cr4, eax", f"mov eax, {dr7}; mov dr7, eax"]
    return "; ".join(lines)


def traced(setup: str, source: str, **registers: int) -> list[tuple[int, int, int, int]]:
    """(EIP in the source, DR6 without its ones, ECX, flags) at each #DB until the last HLT."""
    vcpu = flat32(
        f"{setup}; jmp source; .org 0x100, 0x90; source: {source}; hlt; .org 0x200; {HANDLER}"
    )
    set_gate(vcpu.memory, DB, gate(CODE + 0x200))
    for name, value in registers.items():
        setattr(vcpu, name, value)
    while (reason := run(vcpu)) == "EXIT_IO":
        vcpu.io_data = 0x5A
    assert reason == "EXIT_HLT"
    assert CODE + 0x100 < vcpu.eip <= CODE + 0x200
    count = word32(vcpu.memory, TRACE) // 4
    words = [word32(vcpu.memory, TRACE + 16 + 4 * n) for n in range(count)]
    quads = zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True)
    return [(eip - CODE - 0x100, dr6 & ~ONES, ecx, flags) for eip, dr6, ecx, flags in quads]


def hits(setup: str, source: str, **registers: int) -> list[tuple[int, int]]:
    return [(eip, dr6) for eip, dr6, _, _ in traced(setup, source, **registers)]


# For execution.


def test_a_fault_before_the_instruction() -> None:
    found = traced(set_up(control((EXECUTION, 1)), CODE + 0x101), "nop; inc ecx; inc ecx", ecx=5)
    assert [(eip, dr6, ecx) for eip, dr6, ecx, _ in found] == [(1, 1, 5)]
    assert not found[0][3] & FLAG_RF  # alone among faults


@pytest.mark.parametrize("enable", [L0, G0, L0 | G0])
@pytest.mark.parametrize("number", range(4))
def test_each_of_the_four(number: int, enable: int) -> None:
    addresses = [CODE + 0x100 + n for n in range(4)]
    dr7 = enable << 2 * number
    assert hits(set_up(dr7, *addresses), "nop; nop; nop; nop") == [(number, 1 << number)]


def test_without_enable_bits_nothing() -> None:
    addresses = [CODE + 0x100 + n for n in range(4)]
    dr7 = 0x300 | control((EXECUTION, 1), (WRITE, 4), (ACCESS, 4), enable=0)  # LE and GE
    assert hits(set_up(dr7, *addresses), "nop; nop; nop; nop") == []


def test_two_at_one_address() -> None:
    dr7 = control((EXECUTION, 1), (EXECUTION, 1))
    assert hits(set_up(dr7, CODE + 0x100, CODE + 0x100), "nop") == [(0, 3)]


def test_in_a_loop_each_time_and_in_the_middle_of_a_decoded_block() -> None:
    source = "mov ecx, 3; again: nop; inc edx; loop again"
    found = traced(set_up(control((EXECUTION, 1)), CODE + 0x106), source)
    assert [(eip, ecx) for eip, _, ecx, _ in found] == [(6, 3), (6, 2), (6, 1)]


def test_without_rf_it_comes_again() -> None:
    """The handler leaves RF as it was pushed: the same fault at once."""
    setup = set_up(control((EXECUTION, 1)), CODE + 0x100)
    handler = "handler: dec ecx; jz enough; iret; enough: hlt"
    vcpu = flat32(f"{setup}; jmp source; .org 0x100, 0x90; source: nop; hlt; .org 0x200; {handler}")
    set_gate(vcpu.memory, DB, gate(CODE + 0x200))
    vcpu.ecx = 3
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ecx, vcpu.eip > CODE + 0x200) == (0, True)


def test_rf_holds_for_one_instruction() -> None:
    dr7 = control((EXECUTION, 1), (EXECUTION, 1))
    setup = set_up(dr7, CODE + 0x100, CODE + 0x101)
    assert hits(setup, "nop; nop") == [(0, 1), (1, 2)]


def test_rf_is_gone_behind_it() -> None:
    """An interrupt there has RF 0 in its image."""
    vcpu = flat32(
        f"push {FLAG_RF | 2}; push {CODE32}; push offset next; iret; next: nop; sti; nop; nop"
    )
    vcpu.interrupt(0x40)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == 0x40
    assert pushed_flags(vcpu) == FLAG_IF | 2


def test_the_vmm_sees_rf_as_long_as_it_holds() -> None:
    source = f"push {FLAG_RF | 2}; push {CODE32}; push offset next; iret; next: nop; nop; hlt"
    vcpu = flat32(source)
    flags = [vcpu.eflags & FLAG_RF for _ in range(6) if vcpu.run(max_instructions=1)]
    assert flags == [0, 0, 0, FLAG_RF, 0, 0]


def test_a_fault_of_the_resumed_instruction_keeps_rf() -> None:
    vcpu = flat32(f"push {FLAG_RF | 2}; push {CODE32}; push offset next; iret; next: ud2")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == UD
    assert pushed_flags(vcpu) & FLAG_RF


def test_a_double_fault_saves_rf_as_it_is() -> None:
    """It is an abort, and nothing resumes (SDM vol. 3, 18.3.1.1)."""
    vcpu = flat32("div ecx")
    vcpu.ecx = 0
    set_gate(vcpu.memory, DE, bytes(8))
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == DF
    assert not pushed_flags(vcpu) & FLAG_RF


def test_not_behind_a_load_of_ss() -> None:
    setup = set_up(control((EXECUTION, 1)), CODE + 0x102)
    assert hits(setup, "mov ss, ebx; nop; nop", ebx=0x10) == []


def test_a_repeated_string_instruction_has_it_once() -> None:
    setup = set_up(control((EXECUTION, 1)), CODE + 0x100)
    found = traced(setup, "rep stosb", ecx=500, edi=DATA)
    assert [(eip, ecx) for eip, _, ecx, _ in found] == [(0, 500)]


def test_in_real_mode_at_the_linear_address() -> None:
    setup = f"mov eax, {CODE + 0x80}; mov dr0, eax; mov eax, 2; mov dr7, eax; jmp far_away"
    vcpu = real16(f"{setup}; .org 0x80; far_away: inc cx; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DB, 0x80, cs=CODE >> 4)


# For data.


@pytest.mark.parametrize(
    ("condition", "instruction", "met"),
    [
        (WRITE, "mov [esi], eax", True),
        (WRITE, "mov eax, [esi]", False),
        (WRITE, "inc dword ptr [esi]", True),
        (WRITE, "lock inc dword ptr [esi]", True),
        (WRITE, "cmp dword ptr [esi], 1", False),
        (WRITE, "stosd", True),
        (WRITE, "push dword ptr [ebx]", False),
        (ACCESS, "mov [esi], eax", True),
        (ACCESS, "mov eax, [esi]", True),
        (ACCESS, "cmp dword ptr [esi], 1", True),
        (ACCESS, "lodsd", True),
        (ACCESS, "push dword ptr [esi]", True),
        (ACCESS, "xchg [esi], eax", True),
        (ACCESS, "lea eax, [esi]", False),
    ],
)
def test_a_trap_behind_the_access(condition: int, instruction: str, met: bool) -> None:
    setup = set_up(control((condition, 4)), DATA)
    found = traced(setup, f"{instruction}; behind: nop", esi=DATA, edi=DATA, ebx=DATA + 64)
    vcpu = flat32(f"{instruction}; hlt")
    assert run(vcpu) == "EXIT_HLT"
    length = vcpu.eip - CODE - 1
    assert [(eip, dr6) for eip, dr6, _, _ in found] == ([(length, 1)] if met else [])
    assert not any(flags & FLAG_RF for *_, flags in found)


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("size", ["byte", "word", "dword"])
def test_any_byte_in_common(length: int, size: str) -> None:
    width = {"byte": 1, "word": 2, "dword": 4}[size]
    base = DATA + 0x40
    for offset in range(-5, 6):
        setup = set_up(control((WRITE, length)), base)
        found = hits(setup, f"mov {size} ptr [esi], 1", esi=base + offset)
        assert bool(found) == (-width < offset < length), offset


def test_the_address_is_aligned_by_the_length() -> None:
    setup = set_up(control((WRITE, 4)), DATA + 3)
    assert len(hits(setup, "mov byte ptr [esi], 1", esi=DATA)) == 1


def test_across_two_pages() -> None:
    setup = set_up(control((WRITE, 1)), DATA + 0x1000)
    assert len(hits(setup, "mov dword ptr [esi], 1", esi=DATA + 0xFFE)) == 1


def test_accesses_beside_it_on_the_page_are_done_and_not_met() -> None:
    setup = set_up(control((ACCESS, 4)), DATA + 0x100)
    source = "mov ecx, 60; again: mov [esi+ecx*4], ecx; add eax, [esi+ecx*4]; loop again"
    assert hits(setup, source, esi=DATA) == []


def test_each_element_of_a_repetition() -> None:
    """RF is set in the image while more are to come."""
    setup = set_up(control((WRITE, 4)), DATA + 4)
    found = traced(setup, "rep stosb", ecx=12, edi=DATA)
    assert [(eip, ecx) for eip, _, ecx, _ in found] == [(0, 7), (0, 6), (0, 5), (0, 4)]
    assert all(flags & FLAG_RF for *_, flags in found)


def test_the_last_element_ends_the_instruction() -> None:
    found = traced(set_up(control((WRITE, 4)), DATA), "rep stosb; nop", ecx=1, edi=DATA)
    assert [(eip, ecx, flags & FLAG_RF) for eip, _, ecx, flags in found] == [(2, 0, 0)]


def test_several_and_a_step_at_once() -> None:
    dr7 = control((WRITE, 4), (ACCESS, 1), (WRITE, 1))
    setup = set_up(dr7, DATA, DATA + 1, DATA + 8)
    source = f"push {FLAG_TF | 2}; popf; mov [esi], eax; mov eax, [esi+1]; nop"
    found = hits(setup, source, esi=DATA)
    assert found[0] == (8, BS | 3)
    assert found[1][1] == BS | 2


def test_a_fault_loses_it() -> None:
    """Only what is finished traps: the second operand is beyond the segment's limit."""
    vcpu = flat32(f"{set_up(control((ACCESS, 4)), DATA)}; mov ax, 0x18; mov es, ax; movsd; hlt")
    vcpu.esi, vcpu.edi = DATA, 0x2000
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == GP


def test_behind_a_load_of_ss_it_waits() -> None:
    setup = set_up(control((ACCESS, 2)), DATA)
    source = f"mov word ptr [{DATA + 16}], 0; mov ss, [esi]; nop; nop"
    vcpu_setup = f"mov word ptr [{DATA}], 0x10; {setup}"
    assert hits(vcpu_setup, source, esi=DATA) == [(12, 1)]


def test_the_frame_of_an_event_meets_it_too() -> None:
    """The trap comes before the first instruction of the other handler."""
    vcpu = flat32(f"{set_up(control((WRITE, 4)), 0x87F8)}; nop; int 0x40")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == DB
    assert delivered(vcpu).eip == 0x3040


# For ports.


@pytest.mark.parametrize(
    ("instruction", "port", "met"),
    [
        ("out 0x80, al", 0x80, True),
        ("in al, 0x80", 0x80, True),
        ("out 0x81, al", 0x80, False),
        ("in ax, 0x7F", 0x80, True),
        ("in eax, dx", 0x80, True),
        ("insb", 0x80, True),
        ("outsb", 0x80, True),
    ],
)
def test_a_port(instruction: str, port: int, met: bool) -> None:
    registers = {"edx": 0x80, "esi": DATA, "edi": DATA}
    setup = set_up(control((PORT, 1)), port, cr4=CR4_DE)
    found = hits(setup, f"{instruction}; nop", **registers)
    assert [dr6 for _, dr6 in found] == [1] * met
    assert hits(set_up(control((PORT, 1)), port), f"{instruction}; nop", **registers) == []


def test_a_port_each_element() -> None:
    setup = set_up(control((PORT, 1)), 0x80, cr4=CR4_DE)
    found = traced(setup, "rep insb; nop", ecx=3, edx=0x80, edi=DATA)
    assert [(eip, ecx) for eip, _, ecx, _ in found] == [(0, 2), (0, 1), (2, 0)]


# The registers themselves.


@pytest.mark.parametrize("access", ["mov eax, dr0", "mov dr3, eax", "mov eax, dr7", "mov dr6, eax"])
def test_general_detect(access: str) -> None:
    vcpu = flat32(f"mov eax, {GD}; mov dr7, eax; {access}; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DB, CODE + 8)
    assert pushed_flags(vcpu) & FLAG_RF
    vcpu.memory.write(CODE + 0x800, bytes.fromhex("0f21f0 0f21fb f4"))  # EAX = DR6, EBX = DR7
    vcpu.eip, vcpu.mp_state = CODE + 0x800, x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == ONES | BD
    assert vcpu.ebx == 0x400  # GD is clear, so that the handler could read this


@pytest.mark.parametrize("modrm", [0xE0, 0xE8])
def test_dr4_and_dr5_with_debugging_extensions(modrm: int) -> None:
    source = f"mov eax, {CR4_DE}; mov cr4, eax; .byte 0x0f, 0x21, {modrm}; hlt"
    vcpu = flat32(source)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, CODE + 8)


def test_bits_of_dr6_stay_until_they_are_cleared() -> None:
    vcpu = flat32(
        f"{set_up(control((WRITE, 4)), DATA)}; mov eax, {BS}; mov dr6, eax; mov [esi], eax"
    )
    vcpu.esi = DATA
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == DB
    vcpu.memory.write(CODE + 0x800, bytes.fromhex("0f21f0 f4"))
    vcpu.eip, vcpu.mp_state = CODE + 0x800, x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == ONES | BS | 1


def test_a_single_step_says_so() -> None:
    assert hits("nop", f"push {FLAG_TF | 2}; popf; nop; nop")[0] == (7, BS)


def test_they_survive_saving() -> None:
    """And a trap that is due when the machine is saved comes in the restored one."""
    source = (
        f"{set_up(control((WRITE, 4), (EXECUTION, 1)), DATA, CODE + 0x80)}; jmp on; .org 0x70; on:"
    )
    vcpu = flat32(f"{source}; mov [esi], eax; .org 0x80, 0x90; nop; hlt")
    vcpu.esi = DATA
    assert vcpu.run(max_instructions=10) == x86.EXIT_LIMIT
    memory = x86.Memory(vcpu.memory.size)
    memory.write(0, vcpu.memory.read(0, vcpu.memory.size))
    other = x86.VCPU(memory)
    other.restore(vcpu.save())
    assert run(other) == "EXIT_HLT"
    assert delivered(other) == Event(DB, CODE + 0x72)


def test_init_clears_them() -> None:
    vcpu = flat32(f"{set_up(control((EXECUTION, 1)), CODE + 0x100)}; jmp on; .org 0x100; on: hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == DB
    vcpu.start_flat32(CODE + 0x100, 0x9000)
    vcpu.memory.write(CODE + 0x100, b"\xf4")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 0x101


def test_beside_those_of_a_debugger() -> None:
    """The VMM's first, and then the guest's own at the same instruction."""
    setup = set_up(control((EXECUTION, 1)), CODE + 0x80)
    vcpu = flat32(f"{setup}; jmp on; .org 0x80, 0x90; on: nop; hlt")
    vcpu.set_guest_debug([CODE + 0x80], [])
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.eip == CODE + 0x80
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DB, CODE + 0x80)
    vcpu.set_guest_debug([], [])
    vcpu.eip, vcpu.mp_state = CODE + 0x80, x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(DB, CODE + 0x80)


def test_an_iret_that_faults_lets_nmis_through() -> None:
    """SDM vol. 3, 6.7.1."""
    vcpu = flat32("nop; push 2; push 0; push 0; iret; hlt")
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == 2
    vcpu.eip, vcpu.mp_state = CODE + 1, x86.MP_STATE_RUNNABLE
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == 2
    assert delivered(vcpu).eip == 0x3000 + GP  # before the first instruction of the other handler
