"""SMSW LMSW CLTS on CR0, SGDT and SIDT, INVLPG, INVD, WBINVD (SDM vol. 2)."""

from __future__ import annotations

import pytest

from tests.isa.faults import expect_fault
from tests.support import CODE, DATA, GP, UD, Event, flat32, real16, run, word32

PE, MP, EM, TS, ET = (1 << bit for bit in range(5))


def test_smsw_to_a_16_bit_register_keeps_the_upper_half() -> None:
    vcpu = flat32("smsw ax; hlt")
    vcpu.cr0 |= MP
    vcpu.eax = 0x12345678
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0x12340000 | PE | MP | ET


def test_smsw_to_a_32_bit_register_is_all_of_cr0() -> None:
    vcpu = flat32("mov cr0, ecx; smsw eax; hlt")
    vcpu.ecx, vcpu.eax = 0x60000011, 0  # CD and NW
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0x60000011


@pytest.mark.parametrize("prefix", ["", ".byte 0x66; "])
def test_smsw_to_memory_is_a_word(prefix: str) -> None:
    vcpu = flat32(f"{prefix}smsw [{DATA}]; hlt")
    vcpu.memory.write(DATA, b"\xff" * 4)
    assert run(vcpu) == "EXIT_HLT"
    assert word32(vcpu.memory) == 0xFFFF0000 | PE | ET


@pytest.mark.parametrize("form", ["ax", f"word ptr [{DATA}]"])
@pytest.mark.parametrize(
    ("before", "operand", "after"),
    [
        (PE | ET, 0xFFFF, PE | MP | EM | TS | ET),
        (PE | ET | MP | EM | TS, 0, PE | ET),  # PE cannot be cleared
        (PE | ET | TS, MP, PE | ET | MP),
    ],
)
def test_lmsw_loads_four_bits(form: str, before: int, operand: int, after: int) -> None:
    vcpu = flat32(f"lmsw {form}; hlt")
    vcpu.cr0 = before
    vcpu.eax = operand
    vcpu.memory.write(DATA, operand.to_bytes(2, "little"))
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.cr0 == after


def test_lmsw_enters_protected_mode() -> None:
    vcpu = real16("mov ax, 1; lmsw ax; mov dx, 0x18; mov ds, dx")
    assert run(vcpu) == "EXIT_SHUTDOWN", "there is no GDT for the selector, and no IDT"
    assert vcpu.cr0 & PE


def test_clts_clears_ts_alone() -> None:
    vcpu = flat32("clts; hlt")
    vcpu.cr0 |= MP | EM | TS
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.cr0 == PE | MP | EM | ET


@pytest.mark.parametrize("name", ["gdt", "idt"])
def test_storing_a_table_register(name: str) -> None:
    vcpu = flat32(f"s{name} [{DATA}]; hlt")
    setattr(vcpu, f"{name}_base", 0x9ABCDEF0)
    setattr(vcpu, f"{name}_limit", 0x5678)
    vcpu.memory.write(DATA, b"\xff" * 8)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA, 8) == b"\x78\x56\xf0\xde\xbc\x9a\xff\xff"


@pytest.mark.parametrize("name", ["gdt", "idt"])
def test_the_operand_size_says_nothing_when_storing(name: str) -> None:
    """All 32 bits of the base, as since the 386."""
    vcpu = flat32(f".byte 0x66; s{name} [{DATA}]; hlt")
    setattr(vcpu, f"{name}_base", 0x9ABCDEF0)
    assert run(vcpu) == "EXIT_HLT"
    assert word32(vcpu.memory, DATA + 2) == 0x9ABCDEF0


@pytest.mark.parametrize("source", ["sgdt [0xffb]", "sidt [0xffb]", "sgdt [0x1000]"])
def test_a_table_register_is_stored_whole_or_not_at_all(source: str) -> None:
    """The last of its six bytes is beyond the limit."""
    vcpu = flat32(source)
    vcpu.ds.base, vcpu.ds.limit = DATA, 0xFFF
    expect_fault(vcpu, Event(GP, CODE, 0))


@pytest.mark.parametrize(
    "source",
    [
        ".byte 0x0f, 0x01, 0xc0",  # SGDT
        ".byte 0x0f, 0x01, 0xcb",  # SIDT
        ".byte 0x0f, 0x01, 0xd0",  # LGDT
        ".byte 0x0f, 0x01, 0xd8",  # LIDT
        ".byte 0x0f, 0x01, 0xe8",  # 0F 01 /5
        ".byte 0x0f, 0x01, 0x28",
        ".byte 0x0f, 0x01, 0xf8",  # INVLPG
        ".byte 0x0f, 0x01, 0xff",
    ],
)
def test_forms_that_do_not_exist(source: str) -> None:
    expect_fault(flat32(source), Event(UD, CODE))


@pytest.mark.parametrize("source", ["invlpg [0xffffffff]", "invlpg [eax]", "invd", "wbinvd"])
def test_what_only_touches_caches(source: str) -> None:
    """INVLPG takes an address and looks at no limit."""
    vcpu = flat32(f"{source}; mov ecx, [{DATA}]; hlt")
    vcpu.memory.write(DATA, b"\x11\x22\x33\x44")
    vcpu.eax, vcpu.ds.limit = 0xFFFFFFFF, DATA + 3
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ecx == 0x44332211
