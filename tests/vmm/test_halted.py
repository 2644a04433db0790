"""When vCPUs count as halted for good, also when they change while they are looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from vmm.halted import all_halted
from x86core import EXIT_LIMIT, MP_STATE_HALTED, MP_STATE_UNINITIALIZED, VCPU, Memory

_IF = 1 << 9


class Watched:
    """A vCPU to which something happens when a register of it is first read."""

    def __init__(self, vcpu: VCPU, register: str, happens: Callable[[], object]) -> None:
        self._vcpu = vcpu
        self._register = register
        self._happens = happens

    def __getattr__(self, name: str) -> object:
        if name == self._register:
            self._register = ""
            self._happens()
        return getattr(self._vcpu, name)


def halted(count: int) -> list[VCPU]:
    """vCPUs that have retired CLI and HLT; behind that stand HLTs, for an NMI and for a start."""
    memory = Memory(1 << 16)
    memory.write(8, b"\x00\x20\x00\x00")  # vector 2
    memory.write(0x1000, b"\xfa" + b"\xf4" * 0x1FFF)
    vcpus = [VCPU(memory, index) for index in range(count)]
    for vcpu in vcpus:
        vcpu.start_real_mode(0, 0x1000)
        vcpu.userspace_exits = 2
        vcpu.run()
        assert vcpu.mp_state == MP_STATE_HALTED
    return vcpus


def watched(vcpu: VCPU, register: str, happens: Callable[[], object]) -> VCPU:
    return cast(VCPU, Watched(vcpu, register, happens))


def test_halted_or_not_started() -> None:
    vcpus = halted(2)
    vcpus.append(VCPU(vcpus[0].memory, 2))
    assert vcpus[2].mp_state == MP_STATE_UNINITIALIZED
    assert all_halted(vcpus)


@pytest.mark.parametrize("change", ["interruptible", "nmi", "init", "sipi", "running"])
def test_not_halted(change: str) -> None:
    vcpus = halted(2)
    vcpus.append(VCPU(vcpus[0].memory, 2))
    if change == "interruptible":
        vcpus[1].eflags |= _IF
    elif change == "nmi":
        vcpus[1].nmi()
    elif change == "init":
        vcpus[1].init()
    elif change == "sipi":
        vcpus[2].sipi(1)
    else:
        vcpus[1].start_real_mode(0, 0x1000)
    assert not all_halted(vcpus)


@pytest.mark.parametrize("message", [VCPU.nmi, VCPU.init])
def test_the_last_one_wakes_another_and_halts(message: Callable[[VCPU], None]) -> None:
    first, last = halted(2)
    assert not all_halted([first, watched(last, "mp_state", lambda: message(first))])


def test_woken_and_halted_again_while_another_is_looked_at() -> None:
    first, last = halted(2)

    def nmi() -> None:
        first.nmi()
        first.run()
        assert first.mp_state == MP_STATE_HALTED

    assert not all_halted([first, watched(last, "mp_state", nmi)])
    assert all_halted([first, last])


@pytest.mark.parametrize("register", ["eflags", "mp_state", "instructions"])
def test_an_interrupt_between_two_registers_of_one(register: str) -> None:
    """It halts with interrupts on, and is found in the handler, with interrupts off."""
    (vcpu,) = halted(1)
    vcpu.eflags |= _IF
    vcpu.memory.write(0x2000, b"\xeb\xfe")

    def interrupt() -> None:
        vcpu.interrupt(2)
        assert vcpu.run(3) == EXIT_LIMIT
        assert not vcpu.eflags & _IF

    assert not all_halted([watched(vcpu, register, interrupt)])
