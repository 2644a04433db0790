"""What a trace says of each step, and which steps it says it of."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.vmm.conftest import WriteGuest
from vmm import Machine, Result
from vmm.cli import cli
from vmm.loader import load_guest
from vmm.loop import Loop
from vmm.trace import CapstoneMissingError, Trace

EXIT = "mov al, 0\nout 0xF4, al\n"


def traced(
    path: Path | str, first: int = 0, last: int = 0, hlt: str = "block", most: int = 0
) -> tuple[list[str], Result]:
    """The lines with single spaces, and the result; `most` limits the instructions."""
    memory = "2M" if path == "protected" else "1M"
    lines: list[str] = []
    trace = Trace(lambda line: lines.append(" ".join(line.split())), first, last)
    machine = Machine.load(path, memory, 1, "exit", hlt, tick=100, trace=trace)
    return lines, machine.run(timeout=20, max_instructions=most)


def test_a_line_says_where_what_and_what_it_changed(guest: WriteGuest) -> None:
    lines, _ = traced(guest("mov ax, 0x1234\nmov ds, ax\nadd al, 0xCC\nstd\n" + EXIT))
    assert lines == [
        "0 0 0000:7C00 b8 34 12 mov ax, 0x1234 eax=00001234",
        "0 1 0000:7C03 8e d8 mov ds, ax ds=1234",
        "0 2 0000:7C05 04 cc add al, 0xcc eax=00001200 CF=1 PF=1 AF=1 ZF=1",
        "0 3 0000:7C07 fd std DF=1",
        "0 4 0000:7C08 b0 00 mov al, 0",
        "0 5 0000:7C0A e6 f4 out 0xf4, al => EXIT_IO out port 0xf4 data 00",
    ]


def test_it_reads_code_as_the_code_segment_says() -> None:
    lines, _ = traced("protected")
    assert "0 7 0000:7C14 ea 19 7c 08 00 ljmp 8:0x7c19 cs=0008" in lines
    assert "0 18 0008:00007C37 b9 33 00 00 00 mov ecx, 0x33 ecx=00000033" in lines


def test_control_registers_and_tables_are_shown(guest: WriteGuest) -> None:
    lines, _ = traced(
        guest(
            "lgdt [table]\nsmsw ax\nor al, 1\nlmsw ax\n" + EXIT + "table: .word 7\n.long 0x5000\n"
        )
    )
    assert lines[0].endswith("gdt_base=00005000 gdt_limit=0007")
    assert lines[3].endswith("lmsw ax cr0=00000011")


def test_a_repeated_string_instruction_is_one_step(guest: WriteGuest) -> None:
    lines, result = traced(guest("mov cx, 5000\nmov di, 0x8000\nrep stosb\n" + EXIT))
    assert (
        lines[2] == "0 2 0000:7C06 f3 aa rep stosb byte ptr es:[di], al ecx=00000000 edi=00009388"
    )
    assert result.vcpus[0].instructions == 4


def test_an_exception_is_a_step_of_its_own(guest: WriteGuest) -> None:
    code = "mov word ptr [24], offset h\nmov word ptr [26], 0\nud2\nh: mov bl, 7\n"
    lines, result = traced(guest(code + EXIT))
    assert lines[2:4] == [
        "0 2 0000:7C0C 0f 0b ud2 esp=0000fffa => vector 0x06 #UD",
        "0 2 0000:7C0E b3 07 mov bl, 7 ebx=00000007",
    ]
    assert result.vcpus[0].instructions == 4


def test_a_single_step_trap_and_int_n(guest: WriteGuest) -> None:
    """The trap is an event; INT n is an instruction like another."""
    code = (
        "mov sp, 0x7000\nmov word ptr [4], offset h\nmov word ptr [6], 0\n"
        "push 0x102\npopf\nnop\nh: int 1\n"
    )
    lines, _ = traced(guest(code), first=3, most=8)
    assert lines[0].endswith("push 0x102 esp=00006ffe")
    assert lines[1].endswith("popf esp=00007000 TF=1")
    assert lines[2].endswith("90 nop")
    assert lines[3].endswith("int 1 esp=00006ffa TF=0 => vector 0x01 #DB")
    assert lines[4].endswith("cd 01 int 1 esp=00006ff4")


def test_an_interrupt_is_a_step_where_it_was_taken(guest: WriteGuest) -> None:
    code = (
        "mov sp, 0x7000\nmov word ptr [0x80], offset h\nmov word ptr [0x82], 0\nsti\n"
        "w: hlt\njmp w\nh: nop\n"
    )
    lines, _ = traced(guest(code + EXIT))
    assert lines[3].endswith("sti IF=1")
    assert lines[4].endswith("f4 hlt")
    assert re.fullmatch(
        r"0 5 0000:\w{4} eb fd jmp 0x\w+ esp=00006ffa IF=0 => vector 0x20", lines[5]
    )
    assert re.fullmatch(r"0 5 0000:\w{4} 90 nop", lines[6])


def test_exits_appear_where_they_happen(guest: WriteGuest) -> None:
    code = (
        "in ax, 0x40\nmov ax, 0xFFFF\nmov ds, ax\nmov bl, [0x10]\nmov ds:[0xFFFE], cx\n"
        "xor eax, eax\nxor ecx, ecx\nxor edx, edx\nmonitor\nmwait\ncli\nhlt\n"
    )
    lines, _ = traced(guest(code), hlt="exit")
    assert lines[:2] == [
        "0 0 0000:7C00 e5 40 in ax, 0x40 => EXIT_IO in port 0x40 size 2",
        "0 0 0000:7C00 e5 40 in ax, 0x40 eax=0000ffff",
    ]
    assert lines[4].endswith("=> EXIT_MMIO read 0x100000 size 1")
    assert lines[5].endswith("ebx=000000ff")
    assert lines[6].endswith("=> EXIT_MMIO write 0x10ffee data 0000")
    assert sum("mwait" in line and line.endswith("=> EXIT_MWAIT") for line in lines) == 1
    assert sum(line.endswith("hlt => EXIT_HLT") for line in lines) == 1


def test_bytes_that_are_no_instruction(guest: WriteGuest) -> None:
    """#UD without a vector table: the handler is at 0000:0000."""
    lines, _ = traced(guest(".byte 0x0F, 0xFF\n"), most=3)
    assert re.match(r"0 0 0000:7C00 .*esp=0000fffa => vector 0x06 #UD", lines[0])


def test_a_triple_fault_is_the_last_line(guest: WriteGuest) -> None:
    lines, result = traced(guest("lidt [z]\nnop\nint 3\nz: .long 0, 0\n"), last=2)
    assert result.outcome == "shutdown"
    assert [line.split(maxsplit=3)[3] for line in lines] == ["90 nop", "cc int3 => EXIT_SHUTDOWN"]


LOOP = "mov cx, 1000\nl: inc bx\nloop l\n" + EXIT


def test_from_some_instruction_on(guest: WriteGuest) -> None:
    lines, result = traced(guest(LOOP), first=1999)
    assert [line.split()[1] for line in lines] == ["1999", "2000", "2001", "2002"]
    assert "inc bx ebx=000003e8" in lines[0]
    assert result.vcpus[0].instructions == 2002
    assert result.vcpus[0].exits == {"EXIT_IO": 1}


def test_the_last_ones(guest: WriteGuest) -> None:
    every, _ = traced(guest(LOOP))
    last, _ = traced(guest(LOOP), last=7)
    assert len(every) == 2003
    assert last == every[-7:]
    assert traced(guest(LOOP), first=2000, last=7)[0] == every[2000:]
    assert traced(guest(LOOP), first=5000)[0] == []


def test_the_instruction_limit_counts_as_without_a_trace(guest: WriteGuest) -> None:
    for first in (0, 90, 100, 200):
        lines: list[str] = []
        machine = Machine.load(guest(LOOP), "1M", trace=Trace(lines.append, first))
        result = machine.run(timeout=20, max_instructions=100)
        assert result.outcome == "instruction-limit"
        assert result.vcpus[0].instructions == 100
        assert len(lines) == max(0, 100 - first)


@pytest.mark.parametrize("last", [0, 50])
def test_each_vcpu_has_its_lines_in_its_order(last: int) -> None:
    lines: list[str] = []
    machine = Machine.load("pair", "2M", vcpus=2, trace=Trace(lines.append, first=100, last=last))
    machine.run(timeout=0.3)
    for vcpu in "01":
        numbers = [int(line.split()[1]) for line in lines if line.split()[0] == vcpu]
        assert numbers == sorted(numbers)
        assert len(numbers) == last or not last
        assert numbers[0] == 100 or last


@pytest.mark.parametrize("name", ["hello", "idle", "protected"])
def test_a_guest_does_the_same_when_it_is_traced(name: str) -> None:
    plain = Machine.load(name, "2M", tick=200).run(timeout=20)
    lines, result = traced(name)
    assert len(lines) >= result.vcpus[0].instructions
    assert result.console == plain.console
    assert result.exit_code == plain.exit_code == 0
    if name != "idle":
        assert result.vcpus[0].instructions == plain.vcpus[0].instructions
        assert result.vcpus[0].exits == plain.vcpus[0].exits


def test_without_a_trace_the_loop_enters_the_vcpu_itself() -> None:
    machine = Machine("1M")
    load_guest("hello", machine.memory, None)
    (loop,) = machine.loops
    assert isinstance(loop, Loop)
    assert loop._enter == loop.vcpu.run
    assert not loop.vcpu.single_step


@pytest.mark.parametrize("numbers", [(-1, 0), (0, -1)])
def test_negative_numbers(numbers: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        Trace(print, *numbers)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["run", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.stdout, result.stderr


def test_the_command_line_traces_to_stderr() -> None:
    status, stdout, stderr = run("hello", "--trace")
    assert (status, stdout) == (0, "Hello from real mode!\n")
    assert stderr.startswith("0         0  0000:7C00  31 c0                 xor ax, ax")
    assert "\nexit-port after" in stderr


@pytest.mark.parametrize(
    ("options", "first", "count"),
    [
        (["--trace-last", "3"], 115, 3),
        (["--trace-from", "115"], 115, 3),
        (["--trace", "--trace-from", "116", "--trace-last", "9"], 116, 2),
    ],
)
def test_its_options(options: list[str], first: int, count: int) -> None:
    status, _, stderr = run("hello", *options)
    lines = stderr.partition("exit-port after")[0].splitlines()
    assert status == 0
    assert int(lines[0].split()[1]) == first
    assert len(lines) == count


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--trace-from", "-1"], "-1 is not in the range x>=0"),
        (["--trace-last", "0"], "0 is not in the range x>=1"),
        (["--trace-last", "all"], "'all' is not a valid integer"),
    ],
)
def test_misuse(options: list[str], says: str) -> None:
    status, stdout, stderr = run("hello", *options)
    assert (status, stdout) == (2, "")
    assert says in stderr


def test_without_capstone_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "capstone", None)
    with pytest.raises(CapstoneMissingError):
        Trace(print)
    status, stdout, stderr = run("hello", "--trace")
    assert (status, stdout) == (2, "")
    assert "pip install 'x86core[trace]'" in stderr
    assert stderr.count("Error: ") == 1
    assert run("hello")[0] == 0
