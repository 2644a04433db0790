from __future__ import annotations

import pytest

from tests.vmm.conftest import WriteGuest
from vmm import Machine, Outcome
from vmm.devices import DebugConsole, DebugExit, GuestExit, Ports

CONSOLE, EXIT = 0xE9, 0xF4


class Latches:
    """Four ports that keep what was written to them, and the order in which that happened."""

    ports = range(0x300, 0x304)

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}

    def read(self, port: int) -> int:
        return self.bytes[port]

    def write(self, port: int, value: int) -> None:
        self.bytes[port] = value


def test_a_wide_access_is_one_per_byte_from_the_lowest_port() -> None:
    ports, latches = Ports(), Latches()
    ports.attach(latches)
    ports.write(0x300, 4, 0x44332211)
    assert list(latches.bytes.items()) == [
        (0x300, 0x11),
        (0x301, 0x22),
        (0x302, 0x33),
        (0x303, 0x44),
    ]
    assert ports.read(0x300, 4) == 0x44332211
    assert ports.read(0x301, 2) == 0x3322


@pytest.mark.parametrize(("size", "value"), [(1, 0xFF), (2, 0xFFFF), (4, 0xFFFFFFFF)])
def test_an_absent_port_reads_all_ones(size: int, value: int) -> None:
    assert Ports().read(0x300, size) == value


def test_a_write_to_an_absent_port_is_ignored() -> None:
    Ports().write(0x300, 4, 0x12345678)


def test_an_access_that_a_device_answers_in_part() -> None:
    ports, latches = Ports(), Latches()
    ports.attach(latches)
    ports.write(0x2FF, 2, 0xAABB)
    assert latches.bytes == {0x300: 0xAA}
    assert ports.read(0x2FF, 2) == 0xAAFF


def test_a_port_belongs_to_one_device() -> None:
    ports = Ports()
    ports.attach(Latches())
    with pytest.raises(ValueError, match="port 0x300 is taken"):
        ports.attach(Latches())


def test_debug_console() -> None:
    printed = bytearray()
    ports = Ports()
    ports.attach(DebugConsole(printed.extend))
    ports.write(CONSOLE, 1, ord("A"))
    ports.write(CONSOLE, 1, ord("B"))
    assert printed == b"AB"
    assert ports.read(CONSOLE, 1) == 0xE9


def test_debug_exit() -> None:
    ports = Ports()
    ports.attach(DebugExit())
    assert ports.read(EXIT, 1) == 0
    with pytest.raises(GuestExit) as raised:
        ports.write(EXIT, 1, 42)
    assert raised.value.code == 42


def test_a_guest_finds_the_console_and_the_open_bus(guest: WriteGuest) -> None:
    result = Machine.load(
        guest(
            """
            in al, 0xE9
            cmp al, 0xE9
            jne fail
            mov dx, 0x300
            in al, dx
            cmp al, 0xFF
            jne fail
            in ax, dx
            cmp ax, 0xFFFF
            jne fail
            in eax, dx
            cmp eax, 0xFFFFFFFF
            jne fail
            out dx, eax
            mov al, 7
            out 0xF4, al
            fail: mov al, 1
            out 0xF4, al
            """
        )
    ).run(timeout=5)
    assert (result.outcome, result.exit_code) == (Outcome.EXIT_PORT, 7)
    assert result.vcpus[0].exits == {"EXIT_IO": 6}


def test_a_device_of_ones_own_answers_a_guest(guest: WriteGuest) -> None:
    machine = Machine.load(
        guest(
            """
            mov dx, 0x300
            mov eax, 0x44332211
            out dx, eax
            inc dx
            in ax, dx
            out 0xE9, al
            mov al, ah
            out 0xE9, al
            out 0xF4, al
            """
        )
    )
    machine.ports.attach(Latches())
    assert machine.run(timeout=5).console == "\x22\x33"


def test_memory_outside_ram_reads_all_ones_and_ignores_writes(guest: WriteGuest) -> None:
    result = Machine.load(
        guest(
            """
            mov ax, 0x2000                  // the segment begins where 128 KiB of RAM end
            mov ds, ax
            mov dword ptr [0x10], 0
            mov eax, dword ptr [0x10]
            cmp eax, 0xFFFFFFFF
            jne fail
            mov bl, byte ptr [0x10]
            cmp bl, 0xFF
            jne fail
            xor al, al
            out 0xF4, al
            fail: mov al, 1
            out 0xF4, al
            """
        ),
        memory="128K",
    ).run(timeout=5)
    assert result.exit_code == 0
    assert result.vcpus[0].exits == {"EXIT_IO": 1, "EXIT_MMIO": 3}
