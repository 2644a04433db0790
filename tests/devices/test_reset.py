"""The keyboard controller's reset line and port 92h."""

from __future__ import annotations

import pytest

from vmm.devices import FastReset, GuestReset, KeyboardController, Ports

DATA, COMMAND, FAST_RESET = 0x60, 0x64, 0x92
OUTPUT_FULL, INPUT_FULL = 0x01, 0x02


@pytest.fixture
def ports() -> Ports:
    ports = Ports()
    ports.attach(KeyboardController())
    ports.attach(FastReset())
    return ports


@pytest.mark.parametrize("command", range(0xF0, 0x100, 2))
def test_pulsing_the_reset_line(ports: Ports, command: int) -> None:
    with pytest.raises(GuestReset):
        ports.write(COMMAND, 1, command)


@pytest.mark.parametrize("command", range(0xF1, 0x100, 2))
def test_pulsing_other_lines(ports: Ports, command: int) -> None:
    ports.write(COMMAND, 1, command)


def test_the_output_port(ports: Ports) -> None:
    ports.write(COMMAND, 1, 0xD0)
    assert ports.read(COMMAND, 1) & OUTPUT_FULL
    assert ports.read(DATA, 1) == 0x03, "A20 is on"
    assert not ports.read(COMMAND, 1) & OUTPUT_FULL
    ports.write(COMMAND, 1, 0xD1)
    ports.write(DATA, 1, 0x01)
    ports.write(DATA, 1, 0x00)  # of no command
    ports.write(COMMAND, 1, 0xD1)
    with pytest.raises(GuestReset):
        ports.write(DATA, 1, 0xFE)


def test_a_guest_that_waits_for_it_can_go_on(ports: Ports) -> None:
    assert not ports.read(COMMAND, 1) & INPUT_FULL
    ports.write(COMMAND, 1, 0xAA)
    assert ports.read(COMMAND, 1) & OUTPUT_FULL
    assert ports.read(DATA, 1) == 0x55


def test_port_92(ports: Ports) -> None:
    assert ports.read(FAST_RESET, 1) == 0x02
    ports.write(FAST_RESET, 1, 0x02)
    ports.write(FAST_RESET, 1, 0x00)
    with pytest.raises(GuestReset):
        ports.write(FAST_RESET, 1, 0x03)


def test_every_other_byte_is_harmless(ports: Ports) -> None:
    for command in range(0xF0):
        ports.write(COMMAND, 1, command)
        ports.write(DATA, 1, 0x01)
