"""MOV to and from debug registers (SDM vol. 3, 18.2)."""

from __future__ import annotations

import pytest

from tests.support import CODE, UD, Event, delivered, flat32, real16, run


def written(number: int, value: int, *, read_as: int | None = None) -> int:
    """What is read from a debug register after a value was written to it."""
    other = number if read_as is None else read_as
    modrm = f"{0xC0 | number << 3:#x}", f"{0xC1 | other << 3:#x}"
    vcpu = flat32(f".byte 0x0f, 0x23, {modrm[0]}; .byte 0x0f, 0x21, {modrm[1]}; hlt")
    vcpu.eax, vcpu.ecx = value, 0x77777777
    assert run(vcpu) == "EXIT_HLT"
    return vcpu.ecx


@pytest.mark.parametrize("number", range(4))
def test_addresses_hold_any_value(number: int) -> None:
    assert written(number, 0xDEADBEEF) == 0xDEADBEEF


@pytest.mark.parametrize(("alias", "number"), [(4, 6), (5, 7)])
def test_dr4_and_dr5_are_other_names(alias: int, number: int) -> None:
    """While CR4.DE is 0."""
    assert written(alias, 0xF, read_as=number) == written(number, 0xF)
    assert written(number, 0xF, read_as=alias) == written(number, 0xF)
    assert written(number, 0xF) & 0xF == 0xF


def test_fixed_bits_of_dr6() -> None:
    assert written(6, 0) == 0xFFFF0FF0
    assert written(6, 0xFFFFFFFF) == 0xFFFFEFFF


def test_fixed_bits_of_dr7() -> None:
    assert written(7, 0) == 0x400
    assert written(7, 0xFFFFDFFF) & 0xD400 == 0x400  # GD would be met by the read


def test_values_after_reset() -> None:
    vcpu = flat32("mov eax, dr0; mov ebx, dr3; mov ecx, dr6; mov edx, dr7; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax, vcpu.ebx, vcpu.ecx, vcpu.edx) == (0, 0, 0xFFFF0FF0, 0x400)


def test_mod_says_nothing() -> None:
    """The rm field is a register whatever mod is: no displacement follows (SDM vol. 2, MOV)."""
    vcpu = flat32(".byte 0x0f, 0x23, 0x00; .byte 0x0f, 0x21, 0x83; hlt")
    vcpu.eax = 0x1234
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ebx, vcpu.eip) == (0x1234, CODE + 7)


def test_always_32_bits() -> None:
    vcpu = real16("mov dr1, eax; .byte 0x66; mov ebx, dr1; hlt")
    vcpu.eax, vcpu.ebx = 0x12345678, 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 0x12345678


def test_lock_is_no_way_to_more_registers() -> None:
    vcpu = flat32(".byte 0xf0; mov dr0, eax")
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, CODE)
