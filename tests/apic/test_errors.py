"""What the error status register says, and the interrupt that goes with it (SDM vol. 3, 11.5.3)."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.apic.local_apic import (
    ALL,
    BY_1,
    CURRENT_COUNT,
    DIVIDE,
    EOI,
    ESR,
    FIXED,
    ILLEGAL_REGISTER,
    INIT,
    INITIAL_COUNT,
    LOWEST_PRIORITY,
    LVT_ERROR,
    LVT_TIMER,
    MASKED,
    NMI_MODE,
    OTHERS,
    RECEIVE_ILLEGAL_VECTOR,
    SELF,
    SEND_ILLEGAL_VECTOR,
    enabled,
    interrupt_taken,
    read,
    requested,
    send,
    several,
    write,
)
from tests.support import wait_until

NO_REGISTER = 0x40


def errors(vcpu: x86.VCPU) -> int:
    """What has happened since this was last asked."""
    write(vcpu, ESR, 0)
    return read(vcpu, ESR)


def test_esr_shows_what_was_noted_when_it_was_last_written() -> None:
    vcpu = enabled()
    read(vcpu, NO_REGISTER)
    assert read(vcpu, ESR) == 0
    write(vcpu, ESR, 0)
    send(vcpu, SELF | 3)
    assert read(vcpu, ESR) == ILLEGAL_REGISTER
    write(vcpu, ESR, 0xFFFFFFFF)
    assert read(vcpu, ESR) & ~RECEIVE_ILLEGAL_VECTOR == SEND_ILLEGAL_VECTOR
    write(vcpu, ESR, 0xFFFFFFFF)
    assert read(vcpu, ESR) == 0


@pytest.mark.parametrize("vector", [0, 2, 15])
@pytest.mark.parametrize("mode", [FIXED, LOWEST_PRIORITY])
@pytest.mark.parametrize("shorthand", [0, OTHERS])
def test_an_illegal_vector_is_not_sent(
    memory: x86.Memory, vector: int, mode: int, shorthand: int
) -> None:
    sender, other = several(2, memory)
    send(sender, shorthand | mode | vector, destination=1)
    assert errors(sender) == SEND_ILLEGAL_VECTOR
    assert requested(other) == set()


@pytest.mark.parametrize("command", [OTHERS | NMI_MODE, OTHERS | INIT, SELF | 16, ALL | 16])
def test_what_is_no_error(memory: x86.Memory, command: int) -> None:
    """NMI and INIT need no vector; 16 is the least that is one."""
    sender, _ = several(2, memory)
    send(sender, command)
    assert errors(sender) == 0


@pytest.mark.parametrize("vector", [0, 15])
def test_illegal_vector_of_the_timer(vector: int) -> None:
    """A received illegal vector, 'including one in the local vector table'."""
    vcpu = enabled()
    write(vcpu, DIVIDE, BY_1)
    write(vcpu, LVT_TIMER, vector)
    errors(vcpu)
    write(vcpu, INITIAL_COUNT, 1)
    wait_until(lambda: read(vcpu, CURRENT_COUNT) == 0, "the end of the count")
    assert interrupt_taken(vcpu) is None
    assert requested(vcpu) == set()
    assert errors(vcpu) == RECEIVE_ILLEGAL_VECTOR


def test_error_interrupt() -> None:
    vcpu = enabled()
    write(vcpu, LVT_ERROR, 0x45)
    read(vcpu, NO_REGISTER)
    assert requested(vcpu) == {0x45}
    assert interrupt_taken(vcpu) == 0x45


def test_masked_error_interrupt() -> None:
    vcpu = enabled()
    write(vcpu, LVT_ERROR, MASKED | 0x45)
    read(vcpu, NO_REGISTER)
    assert requested(vcpu) == set()
    assert errors(vcpu) == ILLEGAL_REGISTER


def test_only_a_write_to_esr_rearms_the_error_interrupt() -> None:
    vcpu = enabled()
    write(vcpu, LVT_ERROR, 0x45)
    read(vcpu, NO_REGISTER)
    assert interrupt_taken(vcpu) == 0x45
    write(vcpu, EOI, 0)
    read(vcpu, NO_REGISTER)
    assert requested(vcpu) == set()
    write(vcpu, ESR, 0)
    read(vcpu, NO_REGISTER)
    assert requested(vcpu) == {0x45}
