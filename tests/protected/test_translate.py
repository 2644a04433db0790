"""VCPU.translate: the page tables as KVM_TRANSLATE tells of them (SDM vol. 3, 4.3)."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.protected.support import (
    ALL,
    CR0_PG,
    CR4_PSE,
    DIRECTORY,
    LARGE,
    PRESENT,
    UPPER,
    UPPER_TABLE,
    USER,
    WRITABLE,
    entry_at,
    map_page,
    paged,
    protected,
)
from tests.support import CODE, DATA, RAM, Running, flat32, wait_until, word32

NOWHERE = (0xFFFF_FFFF_FFFF_FFFF, False, False, False)


@pytest.mark.parametrize("linear", [0, CODE + 1, RAM, 0xFFFF_FFFF])
def test_without_paging_everything_leads_to_itself(linear: int) -> None:
    assert protected("hlt").translate(linear) == (linear, True, True, True)


@pytest.mark.parametrize("directory", range(8))
@pytest.mark.parametrize("table", range(8))
@pytest.mark.parametrize("cpl", [0, 3])
def test_the_rights_of_both_entries(directory: int, table: int, cpl: int) -> None:
    vcpu = paged("hlt", cpl=cpl)
    vcpu.memory.write(DIRECTORY + 4, struct.pack("<I", UPPER_TABLE | directory))
    map_page(vcpu, UPPER + 0x3000, 0xABCDE000 | table)
    both = directory & table
    expected = (0xABCDE123, True, bool(both & WRITABLE), bool(both & USER))
    assert vcpu.translate(UPPER + 0x3123) == (expected if both & PRESENT else NOWHERE)


def test_it_is_a_translation_and_marks_nothing() -> None:
    vcpu = paged("hlt")
    map_page(vcpu, UPPER, DATA | ALL)
    before = vcpu.memory.read(0, RAM), vcpu.cr2
    found = vcpu.translate(UPPER + 8)
    assert isinstance(found, x86.Translation)
    assert (found.physical_address, found.valid) == (DATA + 8, True)
    assert not vcpu.translate(UPPER + 0x1000).valid
    assert (vcpu.memory.read(0, RAM), vcpu.cr2) == before


def test_large_pages() -> None:
    vcpu = paged("hlt")
    vcpu.memory.write(DIRECTORY + 4 * 0x300, struct.pack("<I", 0x12400000 | LARGE | PRESENT | USER))
    vcpu.cr4 |= CR4_PSE
    assert vcpu.translate(0xC0345678) == (0x12745678, True, False, True)
    vcpu.memory.write(DIRECTORY + 4 * 0x300, struct.pack("<I", 0x12401000 | LARGE | ALL))
    assert vcpu.translate(0xC0345678) == NOWHERE, "a reserved bit"


def test_a_directory_that_maps_itself() -> None:
    vcpu = paged("hlt")
    vcpu.memory.write(DIRECTORY + 0xFFC, struct.pack("<I", DIRECTORY | PRESENT | WRITABLE))
    assert vcpu.translate(0xFFFFF004) == (DIRECTORY + 4, True, True, False)
    assert vcpu.translate(0xFFC00000 + 0x20 * 4) == (entry_at(0x20000), True, True, False)


def test_what_the_tlb_still_has_does_not_count() -> None:
    """The tables are asked: KVM walks them, too."""
    vcpu = paged(f"mov eax, [{UPPER}]; jmp .")
    map_page(vcpu, UPPER, DATA | ALL)
    vcpu.run(2)
    map_page(vcpu, UPPER, 0)
    assert vcpu.translate(UPPER) == NOWHERE
    vcpu.cr0 &= ~CR0_PG
    assert vcpu.translate(UPPER) == (UPPER, True, True, True)
    assert word32(vcpu.memory, entry_at(UPPER)) == 0


@pytest.mark.parametrize("linear", [-1, 1 << 32])
def test_what_is_no_linear_address(linear: int) -> None:
    with pytest.raises(ValueError, match="does not fit 32 bits"):
        protected("hlt").translate(linear)


def test_only_outside_the_guest() -> None:
    vcpu = flat32(f"inc dword ptr [{DATA}]; jmp .")
    with Running(vcpu):
        wait_until(lambda: word32(vcpu.memory) != 0, "the guest runs")
        with pytest.raises(RuntimeError, match="in run"):
            vcpu.translate(0)
