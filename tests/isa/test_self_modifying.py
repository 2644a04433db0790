"""Self- and cross-modifying code: what was stored is what executes next (SDM vol. 3, 9.1.3).

As on every processor since the P6, the running vCPU needs no jump in between: a store into the code
right ahead takes effect at the next instruction.
"""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import (
    CODE,
    DATA,
    HANDLERS,
    RAM,
    Running,
    flat32,
    real16,
    run,
    wait_until,
    word32,
)

#: Stores of the byte 42h, in AL, to `patch + 1`; EDI and ESI point there and at a 42h.
STORES = {
    "mov": "mov [patch+1], al",
    "mov immediate": "mov byte ptr [patch+1], 0x42",
    "mov dword": "mov dword ptr [patch], 0x90f442b1",
    "add": "add [patch+1], al",
    "xchg": "xchg [patch+1], al",
    "lock xadd": "lock xadd [patch+1], al",
    "lock or": "lock or [patch+1], al",
    "bts": "bts dword ptr [patch+1], 1; bts dword ptr [patch+1], 6",
    "lock btc": "lock btc dword ptr [patch+1], 1; lock btc dword ptr [patch+1], 6",
    "cmpxchg8b": """
        mov eax, [patch]; mov edx, [patch+4]; mov ebx, 0x90f442b1; mov ecx, edx
        lock cmpxchg8b [patch]
    """,
    "enter": "mov esp, offset patch+4; mov ebp, 0x90f442b1; enter 0, 0",
    "stosb": "stosb",
    "movsb": "movsb",
    "rep stosb": "mov ecx, 1; rep stosb",
    "rep movsb": "mov ecx, 1; rep movsb",
    "push": "mov esp, offset patch+4; push 0x90f442b1",
    "pop": "push 0x90f442b1; pop dword ptr [patch]",
    "setc and shl": "stc; setc [patch+1]; shl byte ptr [patch+1]; or byte ptr [patch+1], 0x40",
}


@pytest.mark.parametrize("kind", STORES)
def test_store_just_ahead_in_the_running_block(kind: str) -> None:
    vcpu = flat32(f"cld; {STORES[kind]}; patch: mov cl, 0; hlt")
    patch = vcpu.memory.read(CODE, 64).index(b"\xb1\0\xf4")
    vcpu.memory.write(DATA, b"\x42")
    vcpu.eax, vcpu.esi, vcpu.edi = 0x42, DATA, CODE + patch + 1
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ecx & 0xFF == 0x42


@pytest.mark.parametrize("warm", [0, 1, 100])
def test_store_ahead_in_a_block_that_ran_before(warm: int) -> None:
    """The block is decoded, linked to itself and hot when its code changes: 0 + ... + (n - 1)."""
    vcpu = flat32("again: add eax, 0; inc byte ptr [again+2]; dec ecx; jnz again; hlt")
    vcpu.eax, vcpu.ecx = 0, warm + 3
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == sum(range(warm + 3))


def test_store_behind_takes_effect_at_the_next_turn() -> None:
    vcpu = flat32(
        "again: mov al, 1; add ebx, eax; mov byte ptr [again+1], 7; dec ecx; jnz again; hlt"
    )
    vcpu.eax, vcpu.ebx, vcpu.ecx = 0, 0, 3
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 1 + 7 + 7


def test_instruction_becomes_longer() -> None:
    """Where later instructions begin changes, too: 90 90 90 90 90 becomes MOV EAX, imm32."""
    vcpu = flat32("mov byte ptr [patch], 0xb8; patch: nop; nop; nop; nop; nop; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0x90909090


def test_next_instruction_becomes_a_jump() -> None:
    vcpu = flat32("mov word ptr [patch], 0x01eb; patch: nop; nop; inc eax; hlt")
    vcpu.eax = 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0


def test_repeated_store_over_itself_and_what_follows() -> None:
    """The whole REP is one instruction for the purpose: it ends, then the new code runs."""
    vcpu = flat32("rep stosb; inc ebx; inc ebx; inc ebx; inc ebx; hlt")
    vcpu.eax, vcpu.ebx, vcpu.ecx, vcpu.edi = 0x90, 0, 3, CODE + 2
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 1


def test_instruction_across_two_pages_modified_in_either() -> None:
    vcpu = flat32("jmp straddle; .org 0xffd, 0x90; straddle: mov ebx, 0x11111111; hlt")
    assert run(vcpu) == "EXIT_HLT"
    for offset, byte, value in [(0x1001, b"\x22", 0x22111111), (0xFFE, b"\x33", 0x22111133)]:
        vcpu.memory.write(CODE + offset, byte)
        vcpu.start_flat32(eip=CODE, esp=vcpu.esp)
        assert run(vcpu) == "EXIT_HLT"
        assert vcpu.ebx == value


def test_guest_modifies_the_second_page_of_a_straddling_instruction() -> None:
    source = "mov eax, 0; again: mov byte ptr [straddle+4], al; jmp straddle; .org 0xffd, 0x90; "
    source += "straddle: mov ebx, 0x00111111; add edx, ebx; inc eax; cmp eax, 3; jne again; hlt"
    vcpu = flat32(source)
    vcpu.edx = 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.edx == 0x111111 * 3 + 0x3000000


def test_data_beside_code_on_one_page_keeps_the_code() -> None:
    vcpu = flat32(
        "again: inc dword ptr [counter]; dec ecx; jnz again; hlt; .balign 4; counter: .long 0"
    )
    vcpu.ecx = 1000
    assert run(vcpu) == "EXIT_HLT"
    assert word32(vcpu.memory, CODE + 12) == 1000
    assert vcpu.stats["blocks_dropped"] == 0, "bytes that are not code drop no code"


def test_code_written_by_the_guest_is_executed_anew_each_time() -> None:
    """A function rewritten in a page of its own: what a just-in-time compiler does."""
    vcpu = flat32(
        f"""
        again:
            mov byte ptr [{DATA}], 0xb8
            mov [{DATA + 1}], ecx
            mov byte ptr [{DATA + 5}], 0xc3
            mov edx, {DATA}
            call edx
            add ebx, eax
            dec ecx
            jnz again
            hlt
        """
    )
    vcpu.ebx, vcpu.ecx = 0, 50
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == sum(range(51))


def test_code_copied_over_code_by_a_string_operation() -> None:
    vcpu = flat32(
        """
            call victim
            mov esi, offset source
            mov edi, offset victim
            mov ecx, 6
            cld
            rep movsb
            call victim
            hlt
        victim: add ebx, 0x1
            .byte 0x90, 0x90, 0x90
            ret
        source: .byte 0x81, 0xc3, 0x00, 0x01, 0x00, 0x00
        """
    )
    vcpu.ebx = 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 0x101


def test_host_write_drops_decoded_code() -> None:
    vcpu = flat32("mov eax, 1; hlt")
    for value in (1, 2, 3):
        vcpu.memory.write(CODE + 1, bytes([value]))
        vcpu.start_flat32(eip=CODE, esp=vcpu.esp)
        assert run(vcpu) == "EXIT_HLT"
        assert vcpu.eax == value


def test_host_write_reaches_a_guest_that_runs() -> None:
    """Within the loop that the vCPU is in, with nothing else to make it look."""
    vcpu = flat32(f"again: inc dword ptr [{DATA}]; jmp again")
    with Running(vcpu) as running:
        wait_until(lambda: word32(vcpu.memory) > 0, "the guest runs")
        vcpu.memory.write(CODE + 6, b"\xf4")  # JMP becomes HLT
        assert running.exit() == "EXIT_HLT"
    assert vcpu.eip == CODE + 7


def test_one_vcpu_modifies_what_another_executes(memory: x86.Memory) -> None:
    victim = flat32(f"again: inc dword ptr [{DATA}]; jmp again", memory=memory)
    writer = flat32(f"mov byte ptr [{CODE + 6}], 0xf4; hlt", memory=memory, index=1)
    with Running(victim) as running:
        wait_until(lambda: word32(memory) > 0, "the victim runs")
        assert run(writer) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"


def test_one_vcpu_modifies_what_another_has_decoded_and_left(memory: x86.Memory) -> None:
    victim = flat32("again: in al, 0x60; mov bl, 1; jmp again", memory=memory)
    writer = flat32(f"mov byte ptr [{CODE + 3}], 9; hlt", memory=memory, index=1)
    assert [run(victim), run(victim)] == ["EXIT_IO", "EXIT_IO"]
    assert victim.ebx & 0xFF == 1
    assert run(writer) == "EXIT_HLT"
    assert [run(victim), run(victim)] == ["EXIT_IO", "EXIT_IO"]
    assert victim.ebx & 0xFF == 9


def test_code_that_a_vcpu_wrote_before_the_page_held_code(memory: x86.Memory) -> None:
    """The writer has stored to the page and may do so without a check until it becomes code."""
    victim = flat32(f"again: in al, 0x60; mov edx, {DATA}; call edx; jmp again", memory=memory)
    source = f"again: in al, 0x60; mov byte ptr [{DATA + 1}], al; jmp again"
    writer = flat32(source, memory=memory, index=1)
    memory.write(DATA, b"\xb3\x00\xc3")  # MOV BL, 0; RET
    assert run(writer) == "EXIT_IO"
    for value in (1, 2, 3):
        writer.io_data = value
        assert run(writer) == "EXIT_IO"
        assert [run(victim), run(victim)] == ["EXIT_IO", "EXIT_IO"]
        assert victim.ebx & 0xFF == value


def test_a_hot_writer_on_another_thread_is_always_seen(memory: x86.Memory) -> None:
    """Cross-modification at full speed: what executes is never behind what was seen.

    The writer counts the immediate of MOV up and then announces the value in a word; a victim
    that has read the word, and serialized by CPUID, must not execute an older immediate.
    """
    victim = flat32(
        f"""
        again:
            mov esi, [{DATA}]
            xor eax, eax
            cpuid
            .org 0xb, 0x90
            mov edi, 0
            cmp edi, esi
            jb late
            cmp esi, 20000
            jne again
            hlt
        late:
            ud2
        """,
        memory=memory,
    )
    patch = CODE + 0xC
    writer = flat32(
        f"again: inc eax; mov [{patch}], eax; mov [{DATA}], eax; cmp eax, 20000; jne again; hlt",
        memory=memory,
        index=1,
    )
    writer.eax = 0
    with Running(victim) as running, Running(writer) as writing:
        assert writing.exit() == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"
    assert victim.eip < HANDLERS or victim.eip >= CODE, "#UD: an old immediate was executed"
    assert (victim.esi, victim.edi) == (20000, 20000)


def test_real_mode_code_modified_through_another_segment() -> None:
    """CS and DS name the same bytes by other offsets; code is known by its physical address."""
    vcpu = real16("mov byte ptr [patch + 0x101], 0x42; patch: mov cl, 0; hlt")
    vcpu.ds.selector, vcpu.ds.base = 0x0FF0, 0xFF00
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ecx & 0xFF == 0x42


def test_code_up_to_the_last_byte_of_ram(memory: x86.Memory) -> None:
    vcpu = flat32("hlt", memory=memory)
    memory.write(RAM - 4, b"\xb0\x07\x90\xf4")  # MOV AL, 7; NOP; HLT
    vcpu.start_flat32(eip=RAM - 4, esp=vcpu.esp)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.eax & 0xFF) == (RAM, 7)
