"""The APIC's page: what stands where after RESET, what can be written, and by what."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.apic.local_apic import (
    CURRENT_COUNT,
    DFR,
    DIVIDE,
    ENABLED,
    EOI,
    ESR,
    ICR_HIGH,
    ICR_LOW,
    ID,
    ILLEGAL_REGISTER,
    INITIAL_COUNT,
    IRR,
    ISR,
    LDR,
    LVT,
    LVT_ERROR,
    LVT_LINT0,
    LVT_LINT1,
    LVT_PERFORMANCE,
    LVT_THERMAL,
    LVT_TIMER,
    MASKED,
    PAGE,
    PPR,
    SELF,
    SVR,
    TMR,
    TPR,
    TSC_DEADLINE,
    VERSION,
    enabled,
    in_service,
    interrupts_taken,
    read,
    send,
    shown,
    write,
)
from tests.support import RAM, flat32, run

#: A Pentium 4's: version 14h, six LVT entries.
XAPIC = 0x00050014
#: RESET masks every LVT entry; LINT0 is as firmware for a guest that knows no APIC leaves it.
EXTINT = 0x700
AFTER_RESET = {
    ID: 0,
    VERSION: XAPIC,
    TPR: 0,
    PPR: 0,
    LDR: 0,
    DFR: 0xFFFFFFFF,
    SVR: 0xFF,
    ESR: 0,
    ICR_LOW: 0,
    ICR_HIGH: 0,
    LVT_TIMER: MASKED,
    LVT_THERMAL: MASKED,
    LVT_PERFORMANCE: MASKED,
    LVT_LINT0: EXTINT,
    LVT_LINT1: MASKED,
    LVT_ERROR: MASKED,
    INITIAL_COUNT: 0,
    CURRENT_COUNT: 0,
    DIVIDE: 0,
    **{base + 16 * part: 0 for base in (ISR, TMR, IRR) for part in range(8)},
}
#: Bits that keep what is written to them; those of DFR that do not are ones, all others zeros.
WRITABLE = {
    TPR: 0xFF,
    LDR: 0xFF000000,
    DFR: 0xF0000000,
    SVR: 0x1FF,
    ICR_LOW: 0xCCFFF,
    ICR_HIGH: 0xFF000000,
    LVT_TIMER: 0x700FF,
    LVT_THERMAL: 0x107FF,
    LVT_PERFORMANCE: 0x107FF,
    LVT_LINT0: 0x1A7FF,
    LVT_LINT1: 0x1A7FF,
    LVT_ERROR: 0x100FF,
    INITIAL_COUNT: 0xFFFFFFFF,
    DIVIDE: 0xB,
}
#: Of SVR, focus processor checking: a Pentium 4 has none.
UNDEFINED = {SVR: 1 << 9}
READ_ONLY = [VERSION, PPR, ISR, ISR + 0x70, TMR + 0x10, IRR, IRR + 0x70, CURRENT_COUNT]
#: Including LVT CMCI (2F0h), which the version register says is not there.
RESERVED = [0, 0x10, 0x40, 0x70, 0x290, 0x2F0, 0x3A0, 0x3D0, 0x3F0, 0x400, 0xFF0]


@pytest.mark.parametrize("offset", AFTER_RESET, ids=hex)
def test_value_after_reset(offset: int) -> None:
    vcpu = flat32("hlt")
    assert read(vcpu, offset) == AFTER_RESET[offset]
    assert shown(vcpu, offset) == AFTER_RESET[offset]


@pytest.mark.parametrize("index", [0, 1, 100])
def test_id_is_the_number_of_the_vcpu(memory: x86.Memory, index: int) -> None:
    assert read(flat32("hlt", memory=memory, index=index), ID) == index << 24


@pytest.mark.parametrize("offset", WRITABLE, ids=hex)
@pytest.mark.parametrize("value", [0, 0x33333333, 0xCCCCCCCC, 0xFFFFFFFF], ids=hex)
def test_writable_bits(offset: int, value: int) -> None:
    vcpu = enabled()
    write(vcpu, offset, value)
    fixed = ~WRITABLE[offset] & 0xFFFFFFFF if offset == DFR else 0
    written = read(vcpu, offset) & ~UNDEFINED.get(offset, 0)
    assert written == value & WRITABLE[offset] | fixed


@pytest.mark.parametrize("offset", READ_ONLY, ids=hex)
def test_read_only_register(offset: int) -> None:
    vcpu = enabled()
    before = read(vcpu, offset)
    write(vcpu, offset, ~before & 0xFFFFFFFF)
    assert read(vcpu, offset) == before


@pytest.mark.parametrize("offset", RESERVED, ids=hex)
@pytest.mark.parametrize("store", [False, True])
def test_reserved_register_is_an_error(offset: int, store: bool) -> None:
    """It reads as 0 and keeps nothing; ESR bit 7 tells of it."""
    vcpu = enabled()
    if store:
        write(vcpu, offset, 0xFFFFFFFF)
    else:
        assert read(vcpu, offset) == 0
    write(vcpu, ESR, 0)
    assert read(vcpu, ESR) == ILLEGAL_REGISTER
    assert read(vcpu, offset) == 0


def test_reset_undoes_what_was_written() -> None:
    vcpu = enabled()
    for offset in (*WRITABLE, ID):
        write(vcpu, offset, 0x33333333)
    vcpu.reset()
    for offset, value in AFTER_RESET.items():
        assert shown(vcpu, offset) == value, hex(offset)


def test_each_vcpu_has_its_own(memory: x86.Memory) -> None:
    first, second = (flat32("hlt", memory=memory, index=index) for index in range(2))
    write(first, TPR, 0x41)
    write(second, TPR, 0x52)
    assert (read(first, TPR), read(second, TPR)) == (0x41, 0x52)


def test_the_host_sees_the_layout_of_kvm() -> None:
    """KVM_GET_LAPIC: 1024 bytes, of each 16 the first four are the register."""
    vcpu = enabled()
    write(vcpu, TPR, 0x41)
    registers = vcpu.lapic
    assert len(registers) == 1024
    assert registers[TPR : TPR + 16] == b"\x41" + bytes(15)
    assert not any(registers[at] for at in range(1024) if at % 16 >= 4)


# Access in other ways than by MOV of a doubleword.


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (VERSION, 1, 0x14),
        (VERSION + 1, 1, 0),
        (VERSION + 2, 1, 5),
        (VERSION + 3, 1, 0),
        (VERSION, 2, 0x14),
        (VERSION + 2, 2, 5),
        (DFR, 2, 0xFFFF),
    ],
)
def test_loads_of_a_part(offset: int, size: int, value: int) -> None:
    assert read(flat32("hlt"), offset, size) == value


@pytest.mark.parametrize("size", [1, 2, 4])
def test_behind_a_register_there_is_nothing(size: int) -> None:
    """Bytes 4 to 15 of a register: undefined, but the APIC's, so that the VMM is not asked."""
    vcpu = flat32("hlt")
    read(vcpu, SVR + 4, size)
    read(vcpu, SVR + 12, size)
    assert vcpu.stats["mmio_exits"] == 0


TPR_ADDRESS = PAGE + TPR


@pytest.mark.parametrize(
    ("source", "tpr", "eax"),
    [
        ("xchg [edi], eax", 0x52, 0x41),
        ("add [edi], eax", 0x93, 0x52),
        ("lock add [edi], eax", 0x93, 0x52),
        ("sub dword ptr [edi], 0x11", 0x30, 0x52),
        ("inc dword ptr [edi]", 0x42, 0x52),
        ("neg dword ptr [edi]", 0xBF, 0x52),
        ("xadd [edi], eax", 0x93, 0x41),
        ("mov ecx, eax; mov eax, 0x41; cmpxchg [edi], ecx", 0x52, 0x41),
        ("cmpxchg [edi], ecx", 0x41, 0x41),
        ("bts dword ptr [edi], 1", 0x43, 0x52),
        ("shl dword ptr [edi], 1", 0x82, 0x52),
        ("stosd", 0x52, 0x52),
        ("mov esi, edi; lodsd", 0x41, 0x41),
        ("push dword ptr [edi]; pop eax", 0x41, 0x41),
        ("push eax; pop dword ptr [edi]", 0x52, 0x52),
        ("mov ecx, 3; rep stosd", 0x52, 0x52),
    ],
)
def test_other_instructions(source: str, tpr: int, eax: int) -> None:
    """What reads and writes memory reads and writes a register, and needs no exit."""
    vcpu = flat32(f"{source}; hlt")
    write(vcpu, TPR, 0x41)
    exits = vcpu.stats["exits"]
    vcpu.edi, vcpu.eax, vcpu.ecx = TPR_ADDRESS, 0x52, 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["exits"] == exits + 1
    assert (shown(vcpu, TPR), vcpu.eax) == (tpr, eax)


def test_an_instruction_that_waits_for_a_device_stores_to_the_apic_once() -> None:
    """MOVS from a device: begun twice, but the EOI that it stores is one."""
    vcpu = enabled("movsd; hlt")
    for vector in (0x41, 0x52):
        send(vcpu, SELF | vector)
        interrupts_taken(vcpu, end=False)
    assert in_service(vcpu) == {0x41, 0x52}
    vcpu.esi, vcpu.edi, vcpu.eip, vcpu.mp_state = RAM, PAGE + EOI, 0x10000, x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_MMIO"
    assert in_service(vcpu) == {0x41, 0x52}
    assert run(vcpu) == "EXIT_HLT"
    assert in_service(vcpu) == {0x41}


@pytest.mark.parametrize("address", [PAGE - 4, PAGE + 0x1000])
def test_beside_the_page_are_devices(address: int) -> None:
    vcpu = flat32("mov eax, [edi]; hlt")
    vcpu.edi = address
    assert run(vcpu) == "EXIT_MMIO"
    assert vcpu.mmio_address == address


def test_there_are_no_instructions_in_it() -> None:
    vcpu = flat32("jmp eax")
    vcpu.eax = PAGE
    assert run(vcpu) == "EXIT_INTERNAL_ERROR"
    assert vcpu.eip == PAGE


# Software disable (bit 8 of SVR).


@pytest.mark.parametrize("offset", LVT, ids=hex)
def test_disabling_masks_every_entry(offset: int) -> None:
    vcpu = enabled()
    write(vcpu, offset, 0x40)
    write(vcpu, SVR, 0xFF)
    assert read(vcpu, offset) == MASKED | 0x40
    write(vcpu, SVR, ENABLED | 0xFF)
    assert read(vcpu, offset) == MASKED | 0x40, "enabling unmasks nothing"


@pytest.mark.parametrize("offset", LVT, ids=hex)
def test_while_disabled_nothing_can_be_unmasked(offset: int) -> None:
    vcpu = flat32("hlt")
    write(vcpu, offset, 0x40)
    assert read(vcpu, offset) == MASKED | 0x40


def test_disabling_keeps_the_timer_mode() -> None:
    vcpu = enabled()
    write(vcpu, LVT_TIMER, TSC_DEADLINE | 0x40)
    write(vcpu, SVR, 0xFF)
    assert read(vcpu, LVT_TIMER) == MASKED | TSC_DEADLINE | 0x40
