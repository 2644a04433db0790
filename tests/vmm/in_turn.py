"""A machine of four vCPUs with everything that could make two runs differ: timers, IPIs, MWAIT, a
tick, a serial port whose script answers what the guest says.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.support import (
    CODE32,
    DATA,
    GDT,
    IDT,
    assembled,
    code_address,
    descriptor,
    gate,
    stack_top,
)
from vmm import Machine
from vmm.console import ScriptConsole
from vmm.devices import Serial
from vmm.lockstep import InTurn

VCPUS = 4

#: How often the guest asks before it ends the machine.
ASKED = 30

TICK, SERIAL, TIMER, IPI = 0x20, 0x24, 0x40, 0x50

_LINE = DATA  # 64 bytes for each vCPU: what it waits for in MWAIT
_TICKS = DATA + 0x400  # 4 bytes for each vCPU

#: A number goes round: from the serial port by way of vCPUs 1, 2 and 3 to vCPU 0, which prints it.
_EACH = """
        mov dword ptr [0xfee000f0], 0x1ff
        mov dword ptr [0xfee003e0], 0xb
        mov dword ptr [0xfee00320], 0x20040
        mov dword ptr [0xfee00380], 3000 + 700 * {index}
        xor ebx, ebx
        {begin}
    again:
        cli
        mov eax, {mine}; xor ecx, ecx; xor edx, edx
        monitor
        cmp dword ptr [{mine}], 0
        jne woken
        xor eax, eax
        sti
        mwait
        jmp again
    woken:
        xor edi, edi
        xchg edi, [{mine}]
        sti
        imul ebx, ebx, 31
        add ebx, edi
        add ebx, [{ticks}]
        rdtsc
        add ebx, eax
        mov ecx, 400
    work:
        add ebx, ecx
        dec ecx
        jnz work
        test ebx, 3
        jnz then
        hlt
    then:
        {then}
        jmp again
"""

_FIRST_BEGINS = """
        mov dx, 0x3f9; mov al, 1; out dx, al
        mov dx, 0x3fc; mov al, 8; out dx, al
        xor esi, esi
        mov dx, 0x3f8; mov al, '>'; out dx, al
"""

_FIRST_PRINTS = """
        mov al, bl; and al, 15; add al, 'a'
        out 0xe9, al
        mov dx, 0x3f8; out dx, al
        inc esi
        cmp esi, {asked}
        jae finish
        mov al, '>'; out dx, al
        jmp again
    finish:
        xor eax, eax
        out 0xf4, al
"""

_PASS_ON = """
        or ebx, 1
        mov dword ptr [{next}], ebx
        mov dword ptr [0xfee00310], {target} << 24
        mov dword ptr [0xfee00300], 0x4050
"""

_COUNT = """
        push eax; push ecx
        mov ecx, [0xfee00020]
        shr ecx, 24
        lock inc dword ptr [{counters} + 4 * ecx]
        mov dword ptr [0xfee000b0], 0
        pop ecx; pop eax
        iret
"""

_TAKE_INPUT = """
        push eax; push edx
        xor eax, eax
        mov dx, 0x3f8
        in al, dx
        or eax, 0x100
        mov dword ptr [{line}], eax
        pop edx; pop eax
        iret
"""


def script() -> ScriptConsole:
    """Answers each question of the guest."""
    return ScriptConsole([(b">", bytes([65 + number])) for number in range(ASKED)])


def four_vcpus(console: ScriptConsole, turn: int = 100, **options: object) -> Machine:
    """The machine, ready to run; `options` are those of `Machine`."""
    machine = Machine("1M", VCPUS, clock="virtual", turn=turn, tick=20_000, **options)  # type: ignore[arg-type]
    _wire(machine, console)
    memory = machine.memory
    entries = (bytes(8), descriptor(0, 0xFFFFF, 0xC09B), descriptor(0, 0xFFFFF, 0xC093))
    memory.write(GDT, b"".join(entries))
    handlers = {
        TICK: _COUNT.format(counters=_TICKS),
        SERIAL: _TAKE_INPUT.format(line=_LINE + 64),
        TIMER: _COUNT.format(counters=_TICKS),
        IPI: _COUNT.format(counters=_TICKS + 0x40),
    }
    for vector, source in handlers.items():
        at = 0x4000 + 0x10 * vector
        memory.write(at, assembled(source, at, 32))
        memory.write(IDT + 8 * vector, gate(at, CODE32))
    for index, vcpu in enumerate(machine.vcpus):
        following = (index + 1) % VCPUS
        source = _EACH.format(
            index=index,
            mine=_LINE + 64 * index,
            ticks=_TICKS + 4 * index,
            begin="" if index else _FIRST_BEGINS,
            then=(
                _PASS_ON.format(next=_LINE + 64 * following, target=following)
                if index
                else _FIRST_PRINTS.format(asked=ASKED)
            ),
        )
        memory.write(code_address(index), assembled(source, code_address(index), 32))
        vcpu.start_flat32(code_address(index), stack_top(index))
        vcpu.gdt_base, vcpu.gdt_limit = GDT, 23
        vcpu.idt_base, vcpu.idt_limit = IDT, 0x7FF
    return machine


def restored(path: Path, console: ScriptConsole, serial: Mapping[str, object]) -> Machine:
    """The same machine out of a file."""
    machine = Machine.restore(path)
    _wire(machine, console).restore(serial)
    return machine


def _wire(machine: Machine, console: ScriptConsole) -> Serial:
    assert isinstance(machine.runner, InTurn)

    def interrupt(asserted: bool, /) -> None:
        if asserted:
            machine.interrupt(SERIAL)

    line: Callable[[bool], None] = interrupt
    serial = Serial(machine.clock, line, console.write)
    machine.ports.attach(serial)
    console.connect(serial.receive, lambda: None)
    return serial


def main() -> None:
    """Run it as often as the command line says, and print each trace hash."""
    for _ in range(int(sys.argv[1]) if len(sys.argv) > 1 else 20):
        result = four_vcpus(script()).run(timeout=60)
        print(f"{result.trace_hash:016x} {result.guest_ns} ns {result.console}")


if __name__ == "__main__":
    main()
