"""Interrupts of a PC's devices in a running machine: through the 8259A pair and the I/O APIC."""

from __future__ import annotations

import pytest

from tests.vmm.conftest import WriteGuest
from tests.vmm.pc_guests import EXIT, IDLES, SERIAL, on, pic, run
from vmm import Outcome
from vmm.console import ScriptConsole


@pytest.mark.parametrize("idle", IDLES)
@pytest.mark.parametrize("hlt", ["block", "exit"])
def test_serial_interrupts_through_the_8259a(guest: WriteGuest, idle: str, hlt: str) -> None:
    """Each byte, sent when the one before has been echoed, interrupts; the last one ends."""
    code = (
        pic(4)
        + on(0x24, "on_serial")
        + SERIAL
        + IDLES[idle]
        + """
        on_serial: push ax
        push dx
        mov dx, 0x3F8
        in al, dx
        out dx, al
        cmp al, '.'
        je over
        mov al, 0x20
        out 0x20, al
        pop dx
        pop ax
        iret
        over: xor al, al
        """
        + EXIT
    )
    console = ScriptConsole([(b"", b"a"), (b"a", b"b"), (b"b", b"c"), (b"c", b".")])
    result = run(guest(code), serial=console, hlt=hlt)
    assert (result.outcome, result.console) == (Outcome.EXIT_PORT, "abc.")
    assert console.output == b"abc."
    assert result.vcpus[0].exits["EXIT_IRQ_WINDOW_OPEN"] == 4


#: To 32-bit protected mode with an IDT whose vector 60h is `handler`, the local APIC enabled, and
#: the line of the I/O APIC routed there by the low half of its entry.
IOAPIC = """
    #include "protected_mode.inc"
    .code16
    enter_protected_mode
    mov eax, offset on_serial
    mov word ptr [0x9300], ax
    mov word ptr [0x9302], CODE32
    mov word ptr [0x9304], 0x8E00
    mov word ptr [0x9306], 0
    lidt [idt]
    mov dword ptr ds:[0xFEE000F0], 0x1FF
    mov dword ptr ds:[0xFEE00350], 0x10000
    mov dword ptr ds:[0xFEC00000], 0x19
    mov dword ptr ds:[0xFEC00010], 0
    mov dword ptr ds:[0xFEC00000], 0x18
    mov dword ptr ds:[0xFEC00010], {entry}
"""


@pytest.mark.parametrize(("trigger", "entry"), [("edge", 0x0060), ("level", 0x8060)])
@pytest.mark.parametrize("idle", ["hlt", "busy", "mwait"])
def test_serial_interrupts_through_the_io_apic(
    guest: WriteGuest, idle: str, trigger: str, entry: int
) -> None:
    """One byte for each interrupt. With a level that is enough, whatever waits; an edge needs the
    line to fall, so the handler takes all there is.
    """
    code = (
        IOAPIC.format(entry=entry)
        + SERIAL
        + IDLES[idle]
        + f"""
        on_serial: push eax
        push edx
        next: mov dx, 0x3F8
        in al, dx
        out dx, al
        cmp al, '.'
        je over
        {"mov dx, 0x3FA; in al, dx; test al, 1; jz next" if trigger == "edge" else ""}
        mov dword ptr ds:[0xFEE000B0], 0
        pop edx
        pop eax
        iretd
        over: xor al, al
        {EXIT}
        idt: .word 0x7FF
        .long 0x9000
        """
    )
    path = guest("")
    path.write_text(code)
    console = ScriptConsole([(b"", b"abc"), (b"abc", b"d"), (b"d", b"ef.")])
    result = run(path, serial=console)
    assert (result.outcome, result.console) == (Outcome.EXIT_PORT, "abcdef.")
    assert "EXIT_IRQ_WINDOW_OPEN" not in result.vcpus[0].exits
    # The last one is not ended.
    assert result.vcpus[0].exits.get("EXIT_IOAPIC_EOI", 0) == (6 if trigger == "level" else 0)


def test_the_periodic_interrupt_of_the_clock_comes_through_the_slave(guest: WriteGuest) -> None:
    code = (
        pic(8)
        + on(0x28, "on_clock")
        + "mov al, 0x0B\nout 0x70, al\nmov al, 0x42\nout 0x71, al\n"
        + IDLES["hlt"]
        + """
        on_clock: push ax
        mov al, 0x0C                // until register C is read there is no other
        out 0x70, al
        in al, 0x71
        out 0xE9, al
        inc word ptr ds:[0x9000]
        cmp word ptr ds:[0x9000], 3
        je over
        mov al, 0x20
        out 0xA0, al
        out 0x20, al
        pop ax
        iret
        over: xor al, al
        """
        + EXIT
    )
    printed = bytearray()
    assert run(guest(code), console=printed.extend).outcome is Outcome.EXIT_PORT
    assert len(printed) == 3
    assert all(flags & 0xC0 == 0xC0 for flags in printed), "interrupt request and its reason"


def test_a_request_that_goes_away_is_no_interrupt_or_a_spurious_one(guest: WriteGuest) -> None:
    """INTR falls before the window opens: nothing comes. The guest that polls gets IR 7's level."""
    code = (
        pic(4)
        + on(0x24, "on_any")
        + on(0x27, "on_any")
        + SERIAL
        + """
        mov dx, 0x3F9               // the transmitter is empty: the line rises
        mov al, 2
        out dx, al
        mov al, 0x0A                // IRR of the master
        out 0x20, al
        in al, 0x20
        out 0xE9, al
        xor al, al                  // and falls
        out dx, al
        in al, 0x20
        out 0xE9, al
        sti
        nop
        nop
        cli
        mov al, 'n'
        out 0xE9, al
        xor al, al
        """
        + EXIT
        + "on_any: mov al, 1\nout 0xF4, al\n"
    )
    result = run(guest(code))
    assert (result.exit_code, result.console) == (0, "\x10\0n")
    assert "EXIT_IRQ_WINDOW_OPEN" not in result.vcpus[0].exits


def test_the_tick_and_the_devices_side_by_side(guest: WriteGuest) -> None:
    code = (
        pic(4)
        + on(0x20, "on_tick")
        + on(0x24, "on_serial")
        + SERIAL
        + IDLES["hlt"]
        + """
        on_tick: inc word ptr ds:[0x9000]
        iret
        on_serial: cmp word ptr ds:[0x9000], 3
        jb on_serial_later
        xor al, al
        """
        + EXIT
        + """
        on_serial_later: sti        // the tick, too, comes in here
        jmp on_serial
        """
    )
    result = run(guest(code), serial=ScriptConsole([(b"", b"x")]), tick=200)
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_PORT, 0)


def test_halted_with_interrupts_off_an_nmi_of_the_io_apic_still_comes(guest: WriteGuest) -> None:
    """Line 2, the timer, as NMI: the machine is not at its end."""
    path = guest("")
    path.write_text(
        """
        #include "protected_mode.inc"
        .code16
        enter_protected_mode
        mov eax, offset on_nmi
        mov word ptr [0x9010], ax
        mov word ptr [0x9012], CODE32
        mov word ptr [0x9014], 0x8E00
        mov word ptr [0x9016], 0
        lidt [idt]
        mov dword ptr ds:[0xFEC00000], 0x14
        mov dword ptr ds:[0xFEC00010], 0x400
        sleep: hlt
        jmp sleep
        on_nmi: mov al, 7
        out 0xF4, al
        idt: .word 0x7FF
        .long 0x9000
        """
    )
    assert run(path).exit_code == 7
