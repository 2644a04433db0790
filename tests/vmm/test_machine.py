from __future__ import annotations

import dataclasses
import json
import signal
import threading
import time

import pytest

from tests.support import wait_until
from tests.vmm.conftest import WriteGuest
from vmm import LoadError, Machine, Outcome

EXIT_WITH_3 = "mov al, 3\nout 0xF4, al\n"
FOREVER = "l: jmp l\n"

#: Exits with the number of the vCPU, from CPUID leaf 1; vCPUs above the last one wait.
NUMBER = """
    mov eax, 1
    cpuid
    shr ebx, 24
"""


def test_exit_port(guest: WriteGuest) -> None:
    result = Machine.load(guest(EXIT_WITH_3)).run(timeout=5)
    assert result.outcome is Outcome.EXIT_PORT
    assert result.exit_code == 3
    assert result.isa_debug_exit_status == 7
    assert result.explanation.startswith("vCPU 0 wrote 3 to the exit port at 0000:7C0")
    assert result.vcpus[0].exits == {"EXIT_IO": 1}
    assert result.vcpus[0].instructions == 1  # the OUT would be done at the next entry


def test_nothing_runs_after_the_exit_port(guest: WriteGuest) -> None:
    result = Machine.load(guest(EXIT_WITH_3 + "mov al, 'x'\nout 0xE9, al\nhlt\n")).run(timeout=5)
    assert result.console == ""


def test_triple_fault(guest: WriteGuest) -> None:
    source = guest("lidt [empty]\nint 3\nempty: .word 0\n.long 0\n")
    result = Machine.load(source).run(timeout=5)
    assert result.outcome is Outcome.SHUTDOWN
    assert result.explanation.startswith("vCPU 0 triple-faulted at 0000:7C0")
    assert result.vcpus[0].exits == {"EXIT_SHUTDOWN": 1}


def test_a_jump_into_unmapped_memory(guest: WriteGuest) -> None:
    result = Machine.load(guest(".byte 0xEA\n.word 0x10, 0x4000\n"), memory="64K").run(timeout=5)
    assert result.outcome is Outcome.INTERNAL_ERROR
    assert result.explanation == "vCPU 0 has no memory to fetch code from at 4000:0010"


def test_instruction_limit(guest: WriteGuest) -> None:
    result = Machine.load(guest(FOREVER)).run(timeout=5, max_instructions=12345)
    assert result.outcome is Outcome.INSTRUCTION_LIMIT
    assert result.vcpus[0].instructions == 12345
    assert "limit at 0000:7C00" in result.explanation


def test_timeout(guest: WriteGuest) -> None:
    result = Machine.load(guest(FOREVER)).run(timeout=0.1)
    assert result.outcome is Outcome.TIMEOUT
    assert 0.1 <= result.wall_seconds < 0.3
    assert result.explanation == "still running after 0.1 s; vCPU 0 running at 0000:7C00"
    assert result.vcpus[0].instructions > 0
    assert 0 < result.vcpus[0].cpu_seconds <= result.wall_seconds


@pytest.mark.parametrize("hlt", ["block", "exit"])
@pytest.mark.parametrize("vcpus", [1, 3])
def test_all_halted(guest: WriteGuest, hlt: str, vcpus: int) -> None:
    result = Machine.load(guest("cli\nhlt\n"), hlt=hlt, vcpus=vcpus).run(timeout=5)
    assert result.outcome is Outcome.ALL_HALTED
    assert result.explanation.startswith(
        "every started vCPU is halted with interrupts off; vCPU 0 "
    )
    assert [vcpu.instructions for vcpu in result.vcpus] == [2] * vcpus


def test_a_tick_does_not_wake_a_vcpu_that_masks_it(guest: WriteGuest) -> None:
    result = Machine.load(guest("cli\nhlt\n"), tick=100).run(timeout=5)
    assert result.outcome is Outcome.ALL_HALTED


@pytest.mark.parametrize("code", ["sti\nhlt\n", NUMBER + "jz halt\nl: jmp l\nhalt: hlt\n"])
def test_not_all_halted_for_good(guest: WriteGuest, code: str) -> None:
    result = Machine.load(guest(code), vcpus=2).run(timeout=0.2)
    assert result.outcome is Outcome.TIMEOUT
    assert "vCPU 0 in HLT" in result.explanation


def test_ctrl_c(guest: WriteGuest) -> None:
    machine = Machine.load(guest(FOREVER), vcpus=2)
    sent: list[float] = []

    def interrupt() -> None:
        time.sleep(0.1)
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    before = threading.active_count()
    threading.Thread(target=interrupt).start()
    result = machine.run(timeout=10)
    assert time.monotonic() - sent[0] < 0.2
    assert result.outcome is Outcome.INTERRUPTED
    assert result.explanation.startswith("stopped by Ctrl-C; vCPU 0 running at 0000:7C00; vCPU 1 ")
    assert all(vcpu.instructions > 0 for vcpu in result.vcpus)
    assert threading.active_count() <= before


def test_every_vcpu_knows_its_number(guest: WriteGuest) -> None:
    source = guest(
        NUMBER
        + """
        lock or [seen], bx              // vCPU 0 leaves nothing, the others their number
        lock inc word ptr [arrived]
        test ebx, ebx
        jnz stop
        wait: cmp word ptr [arrived], 4
        jne wait
        mov al, [seen]
        out 0xF4, al
        stop: cli
        hlt
        seen: .word 0
        arrived: .word 0
        """
    )
    result = Machine.load(source, vcpus=4).run(timeout=10)
    assert result.exit_code == 0 | 1 | 2 | 3
    assert [vcpu.index for vcpu in result.vcpus] == [0, 1, 2, 3]


def test_interrupt_wakes_the_vcpu_that_it_is_for(guest: WriteGuest) -> None:
    source = guest(
        """
        mov word ptr [0x21 * 4], offset handler
        mov word ptr [0x21 * 4 + 2], 0
        sti
        idle: hlt
        jmp idle
        """
        + "handler:\n"
        + NUMBER
        + "mov al, bl\nout 0xF4, al\n"
    )
    machine = Machine.load(source, vcpus=2)

    def interrupt() -> None:
        wait_until(lambda: all(vcpu.waiting for vcpu in machine.vcpus), "both asleep")
        machine.interrupt(0x21, vcpu=1)

    host = threading.Thread(target=interrupt)
    host.start()
    result = machine.run(timeout=10)
    host.join()
    assert result.exit_code == 1
    assert [vcpu.wakes for vcpu in result.vcpus][1] >= 1


def test_interrupt_of_a_vector_or_vcpu_that_is_none() -> None:
    machine = Machine()
    with pytest.raises(ValueError, match="256"):
        machine.interrupt(256)
    with pytest.raises(IndexError):
        machine.interrupt(0x20, vcpu=1)


def test_console_text_and_its_sink(guest: WriteGuest) -> None:
    shown: list[bytes] = []
    code = "".join(f"mov al, {byte}\nout 0xE9, al\n" for byte in "ü!\n".encode()) + EXIT_WITH_3
    result = Machine.load(guest(code), console=shown.append).run(timeout=5)
    assert result.console == "ü!\n"
    assert b"".join(shown) == "ü!\n".encode()


def test_console_text_that_is_no_text(guest: WriteGuest) -> None:
    result = Machine.load(guest("mov al, 0xFF\nout 0xE9, al\n" + EXIT_WITH_3)).run(timeout=5)
    assert result.console == "\N{REPLACEMENT CHARACTER}"


def test_a_device_that_fails_fails_the_run(guest: WriteGuest) -> None:
    class Broken:
        ports = range(0x300, 0x301)

        def read(self, port: int) -> int:
            raise ZeroDivisionError("broken device")

        def write(self, port: int, value: int) -> None:
            pass

    machine = Machine.load(guest("mov dx, 0x300\nin al, dx\n" + FOREVER), vcpus=2)
    machine.ports.attach(Broken())
    with pytest.raises(ZeroDivisionError, match="broken device"):
        machine.run(timeout=5)


def test_a_machine_filled_by_hand() -> None:
    machine = Machine(memory=64 << 10)
    machine.memory.write(0x1000, b"\xb0\x05\xe6\xf4")  # MOV AL, 5; OUT F4h, AL
    machine.vcpus[0].start_flat32(eip=0x1000, esp=0x9000)
    assert machine.run(timeout=5).exit_code == 5


def test_a_machine_runs_once(guest: WriteGuest) -> None:
    machine = Machine.load(guest(EXIT_WITH_3))
    machine.run(timeout=5)
    with pytest.raises(RuntimeError, match="runs once"):
        machine.run()


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_no_timeout(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0"):
        Machine().run(timeout=timeout)


def test_no_limit() -> None:
    with pytest.raises(ValueError, match="max_instructions must be in 0"):
        Machine().run(max_instructions=-1)


@pytest.mark.parametrize("vcpus", [0, -1, 1025])
def test_how_many_vcpus(vcpus: int) -> None:
    with pytest.raises(LoadError, match="1 to 1024 vCPUs"):
        Machine(vcpus=vcpus)


def test_where_a_guest_starts(guest: WriteGuest) -> None:
    """In the first 64 KiB at 0:at, above in the segment of its first byte."""
    code = "push cs\npop ax\ncmp ax, 0x1234\njne low\nmov al, 1\nlow: out 0xF4, al\n"
    assert Machine.load(guest(code), at=0x9000).run(timeout=5).exit_code == 0
    assert Machine.load(guest(code), at=0x12345).run(timeout=5).exit_code == 1


def test_the_result_is_frozen_and_goes_through_json(guest: WriteGuest) -> None:
    result = Machine.load(guest("mov al, 'A'\nout 0xE9, al\n" + EXIT_WITH_3), vcpus=1).run(
        timeout=5
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.console = ""  # type: ignore[misc]
    loaded = json.loads(json.dumps(result.as_dict()))
    assert loaded["outcome"] == "exit-port"
    assert loaded["exit_code"] == 3
    assert loaded["isa_debug_exit_status"] == 7
    assert loaded["console"] == "A"
    assert loaded["vcpus"][0]["exits"] == {"EXIT_IO": 2}
    assert loaded["work"]["done"] == 0


def test_features_are_offered_by_every_vcpu() -> None:
    machine = Machine(vcpus=2, features=("waitpkg",))
    assert [vcpu.features for vcpu in machine.vcpus] == [("waitpkg",), ("waitpkg",)]
    with pytest.raises(ValueError, match=r"unknown feature 'avx' \(known: monitorx, waitpkg\)"):
        Machine(features=("avx",))
