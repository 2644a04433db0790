"""The real gdb, driven in batch mode against running machines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gdb.support import PATIENCE, gdb, guest, needs_gdb

pytestmark = needs_gdb

#: Real mode with CS:IP = 0:7C00h, a data segment at 10000h, and a subroutine at 7C20h.
COUNTER = """
        mov ax, 0x1000
        mov ds, ax
        mov cx, 5
again:  inc word ptr [0x10]
        mov bx, [0x20]
        loop again
        mov al, 42
        out 0xf4, al
        hlt
"""
AGAIN = 0x7C08


def test_real_mode(tmp_path: Path) -> None:
    """Breakpoints, steps, watchpoints, registers, memory and 16-bit code, up to the guest's end."""
    with guest(COUNTER, tmp_path) as running:
        (
            code,
            _,
            hit,
            counted,
            stepped,
            _,
            written,
            _,
            _,
            read,
            _,
            changed,
            stored,
            missing,
            end,
        ) = gdb(
            running.server.address.port,
            "x/4i $pc",
            f"break *{AGAIN}",
            "continue",
            "p/x *(short *)0x10010",
            "stepi",
            "watch *(short *)0x10010",
            "continue",
            "delete",
            "rwatch *(short *)0x10020",
            "continue",
            "delete",
            "p $cx = 1",
            "p/x *(int *)0x10040 = 0x12345678",
            "x/x 0x100000",
            "continue",
        )
        result = running.finish()
        memory = running.machine.memory
    assert re.search(r"=> 0x7c00: mov \$0x1000,%ax 0x7c03: mov %ax,%ds 0x7c05: mov \$0x5,%cx", code)
    assert "Breakpoint 1, 0x00007c08" in hit
    assert counted == "$1 = 0x0"
    assert "0x00007c0c" in stepped
    # The breakpoint comes before the next increment, so it is met first.
    assert "Breakpoint 1, 0x00007c08" in written
    assert "Hardware read watchpoint" in read
    assert "Value = 0" in read
    assert "0x00007c10" in read
    assert changed.endswith("= 1")
    assert stored.endswith("0x12345678")
    assert "Cannot access memory at address 0x100000" in missing
    assert "exited with code 052" in end  # gdb says it in octal
    assert result.exit_code == 42
    assert memory.read(0x10040, 4) == b"\x78\x56\x34\x12"


def test_watchpoints_stop_behind_the_access(tmp_path: Path) -> None:
    with guest(COUNTER, tmp_path) as running:
        _, first, second, _, _, third, _ = gdb(
            running.server.address.port,
            "watch *(short *)0x10010",
            "continue",
            "continue",
            "delete",
            "awatch *(char *)0x10021",
            "continue",
            "detach",
        )
    assert "Old value = 0 New value = 1 0x00007c0c" in first
    assert "Old value = 1 New value = 2 0x00007c0c" in second
    assert "Hardware access (read/write) watchpoint" in third
    assert "0x00007c10" in third


def test_a_segment_with_a_base(tmp_path: Path) -> None:
    """$pc is linear; the offset, the selector and the rest are registers of their own."""
    source = """
        ljmp 0x1000, 0
        .org 0x8400
        nop
        inc bx
        hlt
    """
    with guest(source, tmp_path) as running:
        _, hit, registers, code, moved, where = gdb(
            running.server.address.port,
            "hbreak *0x10001",
            "continue",
            "info registers ip cs cs_base cr0",
            "x/i $pc",
            "p $cs = 0x900",
            "p/x $pc",
        )
    assert "Breakpoint 1, 0x00010001" in hit
    assert registers == "ip 0x1 1 cs 0x1000 4096 cs_base 0x10000 65536 cr0 0x10 16"
    assert "inc %bx" in code
    assert moved.endswith("= 2304")
    assert "= 0x9001" in where  # the base of a segment follows in real mode


PROTECTED = """
        cli
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        ljmp 8:entry
        .code32
entry:  mov ax, 16
        mov ds, ax
        mov ss, ax
        mov esp, 0x9000
        call sum
        ud2
sum:    add ecx, 0x12345678
        ret
        .align 8
gdt:    .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdtr:   .word 23
        .long gdt
"""


def test_protected_mode_and_a_triple_fault(tmp_path: Path) -> None:
    """The architecture can be switched, and a vCPU that failed is shown before the guest ends."""
    with guest(PROTECTED, tmp_path) as running:
        _, code, fault, base, end = gdb(
            running.server.address.port,
            "set architecture i386",
            "x/i 0x7c27",
            "continue",
            "p/x $ecx",
            "continue",
        )
    assert "add $0x12345678,%ecx" in code
    assert "SIGSEGV" in fault
    assert base.endswith("= 0x12345678")
    assert "exited normally" in end  # the helper tells no status


#: Linear C0000000h is physical 10000h, the page behind it is 30000h, and then there is none.
PAGED = """
        cli
        lgdt [gdtr]
        mov eax, cr0
        or al, 1
        mov cr0, eax
        ljmp 8:entry
        .code32
entry:  mov ax, 16
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov esp, 0x9000
        mov edi, 0x21000
        mov eax, 3
table:  stosd
        add eax, 0x1000
        cmp edi, 0x22000
        jne table
        mov dword ptr [0x20000], 0x21003
        mov dword ptr [0x20C00], 0x22003
        mov dword ptr [0x22000], 0x10003
        mov dword ptr [0x22004], 0x30003
        mov esi, offset upper
        mov edi, 0x10100
        mov ecx, 16
        rep movsb
        mov eax, 0x20000
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        mov eax, 0xC0000100
        call eax
        mov al, 42
        out 0xf4, al
        hlt
upper:  inc dword ptr ds:[0xC0000FFE]
        ret
        .align 16
gdt:    .quad 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF
gdtr:   .word 23
        .long gdt
"""


def test_linear_addresses_of_a_paged_guest(tmp_path: Path) -> None:
    """Code, memory and watchpoints are where the page tables have them."""
    with guest(PAGED, tmp_path) as running:
        _, _, hit, code, stored, missing, unstored, _, watched, read, across, end = gdb(
            running.server.address.port,
            "set architecture i386",
            "hbreak *0xC0000100",
            "continue",
            "x/2i $pc",
            "p/x *(int *)0xC0000FFE = 0x41424344",
            "x/x 0xC0002000",
            "p *(int *)0xC0001FFE = 1",
            "watch *(int *)0xC0000FFE",
            "continue",
            "p/x *(int *)0xC0000FFE",
            "x/2xb 0xC0001FFF",
            "continue",
        )
        result = running.finish()
        memory = running.machine.memory
    assert "Breakpoint 1, 0xc0000100" in hit
    assert re.search(r"=> 0xc0000100: incl 0xc0000ffe 0xc0000106: ret", code)
    assert stored.endswith("0x41424344")
    assert "Cannot access memory at address 0xc0002000" in missing
    assert "Cannot access memory at address 0xc0001ffe" in unstored
    assert "New value = 1094861637" in watched
    assert read.endswith("0x41424345")
    assert "Cannot access memory at address 0xc0002000" in across
    assert "exited with code 052" in end
    assert result.exit_code == 42
    assert (memory.read(0x10FFE, 2), memory.read(0x30000, 2)) == (b"\x45\x43", b"\x42\x41")


PAIR = """
        mov eax, 1
        cpuid
        shr ebx, 24
        jnz second
first:  inc dword ptr [0x500]
        jmp first
second: inc dword ptr [0x600]
        jmp second
"""


def test_several_vcpus(tmp_path: Path) -> None:
    """Threads are vCPUs; all of them stop together, and one can be stepped alone."""
    with guest(PAIR, tmp_path, vcpus=2) as running:
        _, hit, threads, _, _, before, _, after, told = gdb(
            running.server.address.port,
            "break *0x7c15",
            "continue",
            "info threads",
            "delete",
            "set scheduler-locking on",
            "p *(int *)0x500",
            "stepi 20",
            "p *(int *)0x500",
            "monitor info vcpus",
        )
    assert 'Thread 2 "vCPU 1"' in threads
    assert 'Thread 1 "vCPU 0"' in threads
    assert "hit Breakpoint 1" in hit
    assert before.split()[-1] == after.split()[-1]
    assert told.count("runnable at 0000:7C") == 2


def test_interrupt(tmp_path: Path) -> None:
    """^C at a guest that runs for ever, and one that sleeps."""
    with guest("sti; again: hlt; jmp again", tmp_path) as running:
        done = subprocess.run(
            [
                *("gdb", "-q", "-nx", "-nh", "-batch"),
                *("-ex", f"target remote :{running.server.address.port}"),
                *("-ex", "python import threading, os, signal"),
                *(
                    "-ex",
                    "python threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()",
                ),
                *("-ex", "continue", "-ex", "info threads"),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    assert "SIGINT" in done.stdout, done.stderr
    assert "halted" in done.stdout


def test_stepping_is_not_drawn_into_interrupt_handlers(tmp_path: Path) -> None:
    source = """
        cli
        mov word ptr [0x20 * 4], offset handler
        mov word ptr [0x20 * 4 + 2], 0
        sti
again:  inc bx
        jmp again
handler: iret
    """
    with guest(source, tmp_path, tick=500) as running:
        _, hit, *places = gdb(
            running.server.address.port, "tbreak *0x7c0f", "continue", *["stepi"] * 12
        )
    assert "0x00007c0f" in hit
    assert {re.findall(r"0x0000(7c..)", place)[0] for place in places} == {"7c0e", "7c0f"}


def test_detach_lets_the_guest_go_on_and_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "guest.S"
    path.write_text(f".intel_syntax noprefix\n.code16\n{COUNTER}\n")
    command = [sys.executable, "-m", "vmm", "run", str(path), "--gdb", "0", "--timeout", "30"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        match = re.fullmatch(r"waiting for gdb: target remote 127\.0\.0\.1:(\d+)\n", line)
        assert match, line
        _, hit, left = gdb(int(match[1]), f"break *{AGAIN}", "continue", "detach")
        assert "Breakpoint 1" in hit
        assert "detached" in left
        assert process.wait(PATIENCE) == 42


@pytest.mark.parametrize("place", ["nowhere", "70000", "-1", ":", ":1", "127.0.0.1:", "x:y"])
def test_a_bad_place_is_misuse(place: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vmm", "run", "hello", f"--gdb={place}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert "give PORT or HOST:PORT" in done.stderr
