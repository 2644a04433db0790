"""The programs of a phase's vCPUs, and the vCPUs about to run them.

Through a whole program EBX is the number of the token. DS sees memory as it is; ES, for stores, and
FS, for MONITOR, see it at other offsets.
"""

from __future__ import annotations

import x86core as x86
from tests.stress import layout
from tests.stress.layout import LINE, PAGE
from tests.stress.mailboxes import Mailbox
from tests.stress.plan import FEATURES, Member, Phase
from tests.stress.stores import FRAME_VECTOR, WIDTHS
from tests.support import (
    CODE32,
    DATA32,
    GDT_LIMIT,
    NMI,
    TRAP_GATE,
    assembled,
    descriptor,
    gate,
)
from vmm.asm import assemble

#: Interrupts have the vectors from here on, exceptions those below.
FIRST_VECTOR = 0x20

#: Handlers at multiples of 16: of interrupts, of exceptions, and of the interrupt whose frame is a
#: store, which others may have spoiled since.
_HANDLERS = """
    iretd
    .org 16
    hlt
    .org 32
    mov esp, ebp
    jmp esi
"""
_INTERRUPT, _EXCEPTION, _FRAME = (layout.HANDLERS + 16 * number for number in range(3))

#: Multipliers that make the length of a delay of the token's number; one for each place of a delay.
_REST, _LATE, _BEFORE_LOOK, _BEHIND_LOOK = 0x9E3779B1, 0x27D4EB2F, 0x85EBCA6B, 0xC2B2AE35

#: In the sabotaged guest the gap between the look and MONITOR, longer than it takes to wake a vCPU.
_GAP_BITS = 16


def build(memory: x86.Memory, phase: Phase, *, look_before_monitor: bool) -> dict[int, x86.VCPU]:
    """Fill the memory; the vCPUs by their indexes.

    With `look_before_monitor` the guest makes the mistake that loses wakes.
    """
    guests = [(member, receiver) for member, receiver in phase.handoffs if member.wait != "host"]
    programs = {
        member.index: _program(member, receiver.mailbox, look_before_monitor)
        for member, receiver in guests
    }
    if phase.noisy is not None:
        programs[phase.noisy] = _noise(phase)
    image = assemble(
        ".intel_syntax noprefix\n.code32\n"
        + "".join(f".org {PAGE * index}\n{programs[index]}" for index in sorted(programs)),
        origin=layout.CODE,
    )
    memory.write(layout.CODE, image)
    _write_tables(memory)
    vcpus = {index: _vcpu(memory, index) for index in programs}
    for member, _ in guests:
        vcpus[member.index].es.base = member.store_base
        vcpus[member.index].fs.base = member.monitor_base
    return vcpus


def has_faulted(vcpu: x86.VCPU) -> bool:
    """Whether the guest has stopped in the handler of an exception, and not at its end."""
    return vcpu.eip == _EXCEPTION + 1


def _write_tables(memory: x86.Memory) -> None:
    flat_code, flat_data = descriptor(0, 0xFFFFF, 0xC09B), descriptor(0, 0xFFFFF, 0xC093)
    memory.write(layout.GDT, bytes(8) + flat_code + flat_data)
    handlers = [_INTERRUPT if v >= FIRST_VECTOR or v == NMI else _EXCEPTION for v in range(256)]
    memory.write(layout.IDT, b"".join(gate(handler) for handler in handlers))
    memory.write(layout.IDT + 8 * FRAME_VECTOR, gate(_FRAME, kind=TRAP_GATE))
    memory.write(layout.HANDLERS, assembled(_HANDLERS, layout.HANDLERS, 32))


def _vcpu(memory: x86.Memory, index: int) -> x86.VCPU:
    vcpu = x86.VCPU(memory, index)
    vcpu.features = FEATURES
    vcpu.start_flat32(eip=layout.code_at(index), esp=layout.stack_top(index))
    vcpu.gdt_base, vcpu.gdt_limit = layout.GDT, GDT_LIMIT
    vcpu.idt_base, vcpu.idt_limit = layout.IDT, 256 * 8 - 1
    vcpu.cs.selector, vcpu.ss.selector = CODE32, DATA32
    return vcpu


def _program(member: Member, receiver: Mailbox, look_before_monitor: bool) -> str:
    """Wait for the token, pass it on, until STOP; the first member begins by passing it on."""
    index = member.index
    wait = _spin(member) if member.wait == "spin" else _idle(member, look_before_monitor)
    noise = f"""
        mov     ecx, {member.noise}
    noise{index}:
        inc     dword ptr [{member.noise_at}]
        dec     ecx
        jnz     noise{index}
    """
    return f"""
        mov     ebx, {0 if member.first else 1}
        {f"jmp pass_on{index}" if member.first else ""}
    turn{index}:
        {_delay(f"late{index}", member.late_bits, _LATE)}
        {wait}
        mov     [{layout.received_at(index)}], ebx
    pass_on{index}:
        {"inc ebx" if member.first else ""}
        push    dword ptr [{layout.STOP}]   // whoever gets this token sees STOP too
        {noise if member.noise else ""}
        {_delay(f"rest{index}", member.rest_bits, _REST)}
        .rept {member.window}
        lock inc dword ptr [esp - 64]
        .endr
        {_store(member, receiver)}
        mov     [{layout.sent_at(index)}], ebx
        {"" if member.first else "inc ebx"}
        pop     eax
        test    eax, eax
        jz      turn{index}
        hlt
    """


def _idle(member: Member, look_before_monitor: bool) -> str:
    """The shape of Linux's idle loop: MONITOR, look, MWAIT."""
    index, idle = member.index, member.idle
    look = _look(member) + f"; je received{index}"
    monitor = _monitor(member, member.mailbox.line)
    if look_before_monitor:
        steps = [look, _delay(f"gap{index}", _GAP_BITS, _BEHIND_LOOK), monitor]
    else:
        steps = [
            monitor,
            _delay(f"before_look{index}", member.dawdle_bits, _BEFORE_LOOK),
            look,
            _delay(f"behind_look{index}", member.dawdle_bits, _BEHIND_LOOK),
        ]
    return f"""
    idle{index}:
        {idle.before_monitor}
        {f"lock or byte ptr [{member.mailbox.line}], 0" if member.polling else ""}
        {_monitor(member, member.decoy) if member.decoy is not None else ""}
        {"; ".join(steps)}
        {idle.operands}
        {idle.mwait}
        {idle.after_mwait}
        {look}
        inc     dword ptr [{layout.spurious_at(index)}]
        jmp     idle{index}
    received{index}:
    """


def _spin(member: Member) -> str:
    return f"spin{member.index}: pause; {_look(member)}; jne spin{member.index}"


def _look(member: Member) -> str:
    """ZF tells whether the token is there."""
    box = member.mailbox
    width = WIDTHS[box.flag_width]
    return f"cmp {width.ptr} [{box.flag}], {width.b}"


def _monitor(member: Member, address: int) -> str:
    offset = (address - member.monitor_base) % 2**32
    fs = ".byte 0x64"
    return f"mov eax, {offset}; xor ecx, ecx; xor edx, edx; {fs}; {member.idle.monitor}"


def _store(member: Member, box: Mailbox) -> str:
    """The token's number goes to the flag, if that is elsewhere; then the store that must wake."""
    width = WIDTHS[box.width]
    store = box.store.text.format(
        ptr=width.ptr,
        suffix=width.suffix,
        a=width.a,
        b=width.b,
        end=box.at + box.width,
        before=(box.line - 16 - member.store_base) % 2**32,
        behind=(box.line + LINE + 15 - member.store_base) % 2**32,
        index=member.index,
    )
    flag = f"mov [{box.flag}], ebx" if box.flag != box.at else ""
    return f"{flag}; mov edi, {(box.at - member.store_base) % 2**32}; {store}"


def _delay(label: str, bits: int, multiplier: int) -> str:
    """1 to 2^bits turns of an empty loop, another number for each token; none for 0 bits."""
    if not bits:
        return ""
    return f"""
        imul    eax, ebx, {multiplier}
        shr     eax, {32 - bits}
        inc     eax
    {label}:
        dec     eax
        jnz     {label}
    """


def _noise(phase: Phase) -> str:
    stores = "; ".join(
        f"inc dword ptr [{page + layout.NOISE_BY_VCPUS + 60}]" for page in phase.pages
    )
    return f"""
    turn{phase.noisy}:
        inc     ebx
        {stores}
        {_delay(f"rest{phase.noisy}", 11, _REST)}
        cmp     dword ptr [{layout.STOP}], 0
        je      turn{phase.noisy}
        hlt
    """
