"""BT and its kin with a bit offset in a register: a bit string around the address.

SDM vol. 1, 3.1.1.9 "Bit(BitBase, BitOffset)": offsets from -2 Gbits to 2 Gbits - 1.
"""

from __future__ import annotations

import pytest

from tests.isa.faults import expect_fault, small
from tests.support import CODE, DATA, FLAG_CF, GP, Event, flat32, real16, run

#: By instruction: whether it changes a bit that is 0, and one that is 1.
CHANGES = {"bt": (False, False), "bts": (True, False), "btr": (False, True), "btc": (True, True)}


@pytest.mark.parametrize("name", [*CHANGES, "lock bts", "lock btr", "lock btc"])
@pytest.mark.parametrize("bit", [0, 1])
@pytest.mark.parametrize("offset", [0, 7, 31, 32, 1000, 0x40001, -1, -8, -33, -0x80000])
def test_a_bit_far_from_the_address(name: str, bit: int, offset: int) -> None:
    vcpu = flat32(f"{name} [edi], ecx; hlt")
    base = DATA + 0x20000
    place = base + (offset >> 3)
    background = 0x00 if bit else 0xFF
    vcpu.memory.write(DATA, bytes([background]) * 0x30000)
    vcpu.memory.write(place, bytes([background ^ 1 << (offset & 7)]))
    before = vcpu.memory.view().copy()
    vcpu.edi, vcpu.ecx = base, offset & 0xFFFFFFFF
    vcpu.eflags = 0x2 | (1 - bit)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eflags & FLAG_CF == bit
    if CHANGES[name.removeprefix("lock ")][bit]:
        before[place] ^= 1 << (offset & 7)
    assert (vcpu.memory.view() == before).all()


@pytest.mark.parametrize(
    ("offset", "place"), [(0x7FFF, 0xFFF), (0x8000, -0x1000), (0xFFFF, -1), (15, 1), (16, 2)]
)
def test_16_bit_offsets_are_signed(offset: int, place: int) -> None:
    vcpu = flat32("bts [edi], cx; hlt")
    vcpu.edi, vcpu.ecx = DATA + 0x2000, 0x12340000 | offset
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA + 0x2000 + place, 1) == bytes([1 << (offset & 7)])


@pytest.mark.parametrize(("offset", "bit"), [(0, 0), (31, 31), (32, 0), (255, 31)])
def test_an_immediate_stays_within_the_operand(offset: int, bit: int) -> None:
    vcpu = flat32(f".byte 0x0f, 0xba, 0x2f, {offset}; hlt")  # BTS dword ptr [EDI], offset
    vcpu.edi = DATA
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA, 8) == (1 << bit).to_bytes(8, "little")


@pytest.mark.parametrize("offset", [5, 37, 0xFFFFFFE5])
def test_of_a_register_modulo_its_width(offset: int) -> None:
    vcpu = flat32("btc eax, ecx; hlt")
    vcpu.eax, vcpu.ecx = 0, offset
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 1 << 5


def test_the_address_of_the_word_wraps_in_16_bits() -> None:
    vcpu = real16("bts [di], ax; hlt")
    vcpu.edi, vcpu.eax = 0xFFFE, 16
    vcpu.ds.selector, vcpu.ds.base = DATA >> 4, DATA
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA, 1) == b"\x01"


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("offset", [0x1000 * 8, -8 * 4])
def test_a_bit_beyond_the_limit(name: str, offset: int) -> None:
    """The word that holds the bit counts, not the one that is addressed."""
    vcpu = flat32(f"{name} [edi], ecx")
    small(vcpu.ds)
    expect_fault(vcpu, Event(GP, CODE, 0), edi=0, ecx=offset & 0xFFFFFFFF)
