"""A machine with the devices of a PC, as guests use them."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.support import PATIENCE
from tests.vmm.conftest import WriteGuest
from tests.vmm.pc_guests import EXIT, IDLES, on, pic, run
from vmm import LoadError, Machine, Outcome, Result
from vmm.clock import WallClock
from vmm.console import ScriptConsole, StreamConsole


@pytest.mark.parametrize("hertz", [100, 500])
def test_the_timer_interrupts_at_its_rate(guest: WriteGuest, hertz: int) -> None:
    """By the wall's clock: 50 ticks are never early. Late ones that come together are one, so that
    a host which does not schedule us makes it longer; but it does sometimes.
    """
    divisor = 1_193_182 // hertz
    code = (
        pic(0)
        + on(0x20, "on_tick")
        + f"""
        mov al, 'b'
        out 0xE9, al
        mov al, 0x34
        out 0x43, al
        mov al, {divisor & 0xFF}
        out 0x40, al
        mov al, {divisor >> 8}
        out 0x40, al                // the first period begins
        """
        + IDLES["hlt"]
        + """
        on_tick: push ax
        inc word ptr ds:[0x9000]
        cmp word ptr ds:[0x9000], 50
        jne again
        mov al, 'e'
        out 0xE9, al
        xor al, al
        out 0xF4, al
        again: mov al, 0x20
        out 0x20, al
        pop ax
        iret
        """
    )
    path = guest(code)
    expected = 50 * divisor / 1_193_182

    def measured() -> float:
        times: dict[bytes, float] = {}
        result = run(path, console=lambda data: times.setdefault(data, monotonic()))
        assert result.outcome is Outcome.EXIT_PORT
        assert times[b"e"] - times[b"b"] >= expected
        return times[b"e"] - times[b"b"]

    assert any(measured() < 1.1 * expected + 0.01 for _ in range(8))


def test_the_calendar_is_the_hosts(guest: WriteGuest) -> None:
    """The RTC in UTC, as BCD; between two updates."""
    read = "".join(
        f"mov al, {index}\nout 0x70, al\nin al, 0x71\nout 0xE9, al\n"
        for index in (0x32, 9, 8, 7, 4, 2, 0)
    )
    code = (
        "busy: mov al, 0x0A\nout 0x70, al\nin al, 0x71\ntest al, 0x80\njnz busy\n"
        f"{read}xor al, al\n{EXIT}"
    )
    printed = bytearray()
    before = datetime.now(UTC).replace(microsecond=0)
    assert run(guest(code), console=printed.extend).outcome is Outcome.EXIT_PORT
    century, year, *rest = (int(f"{byte:02x}") for byte in printed)
    shown = datetime(century * 100 + year, *rest, tzinfo=UTC)  # type: ignore[arg-type,misc]
    assert before - timedelta(seconds=1) <= shown <= datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("keyboard controller", "mov al, 0xFE\nout 0x64, al\n"),
        ("port 92h", "in al, 0x92\nor al, 1\nout 0x92, al\n"),
        ("output port", "mov al, 0xD1\nout 0x64, al\nmov al, 2\nout 0x60, al\n"),
    ],
)
def test_a_reset_ends_the_run(guest: WriteGuest, name: str, code: str) -> None:
    result = run(guest(f"{code}mov al, 'x'\nout 0xE9, al\n{EXIT}"), vcpus=2)
    assert (result.outcome, result.exit_code, result.console) == (Outcome.RESET, None, ""), name
    assert re.fullmatch(r"vCPU [01] reset the machine at 0000:[0-9A-F]{4}", result.explanation)


@pytest.mark.parametrize("devices", ["pc", "none"])
def test_absent_ports_and_memory_are_open_bus(guest: WriteGuest, devices: str) -> None:
    code = """
        xor bx, bx
        next: mov dx, bx
        call present
        jz skip
        in al, dx
        cmp al, 0xFF
        jne fail
        skip: inc bx
        cmp bx, 0x600               // one by one where a PC has devices, then every 501st
        jb next
        add bx, 500
        jnc next
        mov ax, 0x2000              // behind 128 KiB of RAM
        mov ds, ax
        cmp dword ptr [0x10], 0xFFFFFFFF
        jne fail
        xor al, al
        out 0xF4, al
        fail: mov al, bl
        or al, 1
        out 0xF4, al
        // ZF: a device is at DX.
        present: mov si, offset taken
        another: lodsw
        cmp ax, 0xFFFF
        je absent
        cmp ax, dx
        jne another
        ret
        absent: test ax, ax
        ret
        taken: .word 0xE9, 0xF4
    """
    ports = [0x20, 0x21, *range(0x40, 0x44), 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xA0, 0xA1]
    ports += [*range(0x3F8, 0x400), 0x4D0, 0x4D1]
    taken = f".word {', '.join(map(str, ports))}\n" if devices == "pc" else ""
    result = run(guest(code + taken + ".word 0xFFFF\n"), devices=devices, memory="128K")
    assert result.exit_code == 0


def test_ctrl_a_x_ends_the_run(guest: WriteGuest) -> None:
    """What a terminal does: the console asks for the end."""

    class Leaving(ScriptConsole):
        def connect(self, receive: object, leave: object) -> None:
            assert callable(leave)
            threading.Timer(0.05, leave).start()

    result = run(guest(IDLES["hlt"]), serial=Leaving())
    assert result.outcome is Outcome.INTERRUPTED
    assert "left at the console" in result.explanation


def test_what_is_raised_on_the_clocks_thread_comes_out_of_run(guest: WriteGuest) -> None:
    machine = Machine.load(guest(IDLES["hlt"]), devices="pc")

    def fail() -> None:
        raise RuntimeError("a broken device")

    machine.board.clock.timer(fail).at(0)
    with pytest.raises(RuntimeError, match="a broken device"):
        machine.run(timeout=PATIENCE)
    assert "clock" not in {thread.name for thread in threading.enumerate()}


def test_no_thread_is_left_behind(guest: WriteGuest) -> None:
    before = threading.enumerate()
    assert run(guest("xor al, al\n" + EXIT)).outcome is Outcome.EXIT_PORT
    assert threading.enumerate() == before


def test_who_may_expect_a_pc(guest: WriteGuest) -> None:
    assert Machine.load("hello").board.pc is None
    assert Machine.load("multiboot").board.pc is not None
    assert Machine.load("multiboot", devices="none").board.pc is None
    assert Machine(devices="pc").board.pc is not None


def test_what_cannot_be(guest: WriteGuest) -> None:
    with pytest.raises(LoadError, match=r"unknown devices 'isa' \(known: none, pc\)"):
        Machine(devices="isa")
    with pytest.raises(LoadError, match="--devices pc"):
        Machine(serial=ScriptConsole())


def test_a_flood_of_output_is_kept_in_part(guest: WriteGuest) -> None:
    machine = Machine()
    for _ in range(40):
        machine._print(b"x" * 100_000)
    machine._print(b"end")
    assert len(machine._printed) == 1 << 20
    assert machine._printed.endswith(b"xend")


def test_the_wall_clock_is_the_default() -> None:
    assert isinstance(Machine().board.clock, WallClock)


def test_with_virtual_time_every_run_is_alike() -> None:
    """Serial interrupts and the timer's ticks come at their instructions."""

    def result() -> Result:
        console = ScriptConsole([(b"ends.\n", b"hello\n"), (b"HELLO\n", b"world\n")])
        machine = Machine.load("serial", devices="pc", serial=console, clock="virtual")
        return machine.run(timeout=PATIENCE)

    first, second = result(), result()
    assert first.outcome is Outcome.EXIT_PORT
    assert "HELLO\nWORLD\n\nGood-bye after 500 ticks." in first.console
    assert first.guest_ns is not None
    assert 5e9 < first.guest_ns < 5.1e9, "five seconds of silence"
    assert (first.trace_hash, first.console) == (second.trace_hash, second.console)


def test_with_virtual_time_input_is_a_script() -> None:
    with pytest.raises(LoadError, match="ScriptConsole"):
        Machine(devices="pc", serial=StreamConsole(0), clock="virtual")


@pytest.mark.parametrize("limit", [500, 2000, 5000])
def test_saved_in_the_middle_it_goes_on_bit_for_bit(tmp_path: Path, limit: int) -> None:
    """With what the guest has not had yet of its input still before it."""

    def machine() -> Machine:
        console = ScriptConsole([(b"", b"hello\nwhat a day\n")])
        return Machine.load("serial", devices="pc", serial=console, clock="virtual")

    whole = machine().run(timeout=PATIENCE)
    first = machine()
    head = first.run(PATIENCE, limit)
    assert head.outcome is Outcome.INSTRUCTION_LIMIT
    first.save(tmp_path / "saved")
    tail = Machine.restore(tmp_path / "saved").run(PATIENCE)
    assert (tail.trace_hash, tail.guest_ns) == (whole.trace_hash, whole.guest_ns)
    assert head.console + tail.console == whole.console


def test_a_tick_between_the_run_and_the_save_is_heard(tmp_path: Path) -> None:
    """The controller requests its interrupt while the devices are restored, before the vCPU."""
    first = Machine.load("serial", devices="pc")
    first.run(timeout=0.1)
    sleep(0.03)
    first.save(tmp_path / "saved")
    second = Machine.restore(tmp_path / "saved", serial=ScriptConsole([(b"", b"hello\n\4")]))
    assert second.board.pc is not None
    assert second.board.pc.pic.intr
    assert second.vcpus[0].request_interrupt_window
    assert second.run(PATIENCE).outcome is Outcome.EXIT_PORT


def test_on_wall_time_the_devices_go_on(tmp_path: Path) -> None:
    first = Machine.load("serial", devices="pc")
    assert first.run(timeout=0.5).outcome is Outcome.TIMEOUT
    first.save(tmp_path / "saved")
    second = Machine.restore(tmp_path / "saved", serial=ScriptConsole([(b"", b"hello\n\4")]))
    result = second.run(timeout=PATIENCE)
    assert result.outcome is Outcome.EXIT_PORT
    assert "HELLO\n" in result.console
