"""Page tables, rights, accessed and dirty bits, what the TLB may keep (SDM vol. 3, chapter 4)."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.protected.support import (
    ACCESSED,
    ALL,
    CODE3,
    CR0_PG,
    CR0_WP,
    CR4_PGE,
    CR4_PSE,
    DATA3,
    DIRECTORY,
    DIRTY,
    GLOBAL,
    LARGE,
    PF,
    PRESENT,
    UPPER,
    UPPER_TABLE,
    USER,
    WRITABLE,
    event,
    map_page,
    paged,
    protected,
)
from tests.support import ABSENT, CODE, DATA, DF, GP, RAM, Event, real16, run, word32

#: Bits of a page fault's error code.
FOUND, WRITING, FROM_USER, RESERVED = 1, 2, 4, 8

READ, STORE = "mov eax, [ebx]", "mov [ebx], eax"


def page_fault(vcpu: x86.VCPU) -> tuple[int, int]:
    """(error code, CR2) of the page fault at the guest's first instruction."""
    found = event(vcpu)
    assert (found.vector, found.eip) == (PF, CODE)
    assert found.error is not None
    return found.error, vcpu.cr2


@pytest.mark.parametrize("cpl", [0, 3])
@pytest.mark.parametrize("source", [READ, STORE])
def test_a_page_that_is_not_there(source: str, cpl: int) -> None:
    vcpu = paged(source, cpl=cpl, ebx=UPPER + 0x123)
    error = (WRITING if source == STORE else 0) | (FROM_USER if cpl == 3 else 0)
    assert page_fault(vcpu) == (error, UPPER + 0x123)
    assert word32(vcpu.memory, UPPER_TABLE) == 0, "nothing is marked"
    assert word32(vcpu.memory, DIRECTORY + 4) == UPPER_TABLE | ALL


def test_a_page_table_that_is_not_there() -> None:
    assert page_fault(paged(READ, ebx=0x7FFFFFFF)) == (0, 0x7FFFFFFF)


@pytest.mark.parametrize("directory", [0, WRITABLE, USER, WRITABLE | USER])
@pytest.mark.parametrize("table", [0, WRITABLE, USER, WRITABLE | USER])
@pytest.mark.parametrize("protects", [False, True])
@pytest.mark.parametrize("source", [READ, STORE])
@pytest.mark.parametrize("cpl", [0, 1, 3])
def test_rights(cpl: int, source: str, protects: bool, table: int, directory: int) -> None:
    """Both levels must allow it; for a supervisor R/W counts with CR0.WP alone (4.6.1)."""
    vcpu = paged(f"{source}; int3", cpl=cpl, ebx=UPPER)
    vcpu.memory.write(0x2000 + 3 * 8 + 5, b"\xee")
    vcpu.memory.write(DIRECTORY + 4, struct.pack("<I", UPPER_TABLE | PRESENT | directory))
    map_page(vcpu, UPPER, DATA | PRESENT | table)
    if protects:
        vcpu.cr0 |= CR0_WP
    both = directory & table
    allowed = bool(cpl != 3 or both & USER)
    if source == STORE and (cpl == 3 or protects):
        allowed &= bool(both & WRITABLE)
    if allowed:
        assert event(vcpu).vector == 3
        bits = ACCESSED | (DIRTY if source == STORE else 0)
        assert word32(vcpu.memory, UPPER_TABLE) == DATA | PRESENT | table | bits
        assert word32(vcpu.memory, DIRECTORY + 4) == UPPER_TABLE | PRESENT | directory | ACCESSED
    else:
        error = FOUND | (WRITING if source == STORE else 0) | (FROM_USER if cpl == 3 else 0)
        assert page_fault(vcpu) == (error, UPPER)
        assert word32(vcpu.memory, UPPER_TABLE) == DATA | PRESENT | table


def test_a_read_marks_accessed_and_the_first_store_dirty() -> None:
    vcpu = paged("mov eax, [ebx]; int3; mov [ebx], eax; hlt", ebx=UPPER)
    vcpu.memory.write(0x3003, b"\xcf")
    map_page(vcpu, UPPER, DATA | ALL)
    assert vcpu.run(max_instructions=3) == x86.EXIT_LIMIT
    assert word32(vcpu.memory, UPPER_TABLE) == DATA | ALL | ACCESSED
    assert run(vcpu) == "EXIT_HLT"
    assert word32(vcpu.memory, UPPER_TABLE) == DATA | ALL | ACCESSED | DIRTY


def test_a_read_modify_write_faults_as_a_write() -> None:
    vcpu = paged("add dword ptr [ebx], 1", cpl=3, ebx=UPPER)
    map_page(vcpu, UPPER, DATA | PRESENT | USER)
    assert page_fault(vcpu) == (FOUND | WRITING | FROM_USER, UPPER)


@pytest.mark.parametrize("cpl", [0, 3])
def test_tables_and_stacks_of_the_processor_are_read_as_a_supervisor(cpl: int) -> None:
    """GDT, IDT, TSS and the inner stack belong to level 0 alone; the program may not read them."""
    vcpu = paged("mov es, ax; int3; mov eax, [ebx]", cpl=cpl, eax=CODE3, ebx=0x1000)
    vcpu.memory.write(0x2000 + 3 * 8 + 5, b"\xee")
    vcpu.memory.write(0x3003, b"\xcf")
    for page in (0x1000, 0x2000, 0x3000):
        map_page(vcpu, page, page | PRESENT | WRITABLE)
    if cpl == 0:
        assert vcpu.run(max_instructions=4) == x86.EXIT_LIMIT
        return
    found = event(vcpu)
    assert (found.vector, found.error) == (PF, FOUND | FROM_USER)
    assert (vcpu.cr2, vcpu.es.selector) == (0x1000, CODE3)


def test_a_supervisors_translation_does_not_serve_level_3() -> None:
    """IRET to level 3: what the kernel had read there just before faults."""
    vcpu = paged(
        f"""
            mov eax, [{UPPER}]
            mov [{UPPER}], eax
            push {DATA3}
            push 0x8f00
            push 2
            push {CODE3}
            push offset user
            iret
        user:
            mov eax, [{UPPER}]
        """
    )
    vcpu.ds.selector, vcpu.ds.access = DATA3, 0xC0F3
    map_page(vcpu, UPPER, DATA | PRESENT | WRITABLE)
    found = event(vcpu)
    assert (found.vector, found.error, vcpu.cr2) == (PF, FOUND | FROM_USER, UPPER)


@pytest.mark.parametrize("page", [0, 63, 64, 199])
def test_none_of_many_supervisors_translations_serves_level_3(page: int) -> None:
    at = UPPER + page * 0x1000
    vcpu = paged(
        f"""
            mov ebx, {UPPER}
        next:
            mov [ebx], eax
            add ebx, 0x1000
            cmp ebx, {UPPER + 200 * 0x1000}
            jb next
            push {DATA3}
            push 0x8f00
            push 2
            push {CODE3}
            push offset user
            iret
        user:
            mov eax, [{at}]
        """
    )
    vcpu.ds.selector, vcpu.ds.access = DATA3, 0xC0F3
    for number in range(200):
        map_page(vcpu, UPPER + number * 0x1000, DATA | PRESENT | WRITABLE)
    found = event(vcpu)
    assert (found.vector, found.error, vcpu.cr2) == (PF, FOUND | FROM_USER, at)


# Large pages.


@pytest.mark.parametrize("extension", [False, True])
def test_4_mib_pages(extension: bool) -> None:
    """PS counts with CR4.PSE; else the entry names a page table."""
    vcpu = paged(
        "mov eax, [ebx]; mov [ebx + 4], eax; hlt", ebx=UPPER + DATA, cr4=CR4_PSE if extension else 0
    )
    vcpu.memory.write(DATA, b"\x78\x56\x34\x12")
    vcpu.memory.write(DIRECTORY + 4, struct.pack("<I", ALL | LARGE))
    if extension:
        assert run(vcpu) == "EXIT_HLT"
        assert word32(vcpu.memory, DATA + 4) == 0x12345678
        assert word32(vcpu.memory, DIRECTORY + 4) == ALL | LARGE | ACCESSED | DIRTY
    else:
        vcpu.memory.write(DATA >> 10, bytes(4))
        assert page_fault(vcpu) == (0, UPPER + DATA)


def test_reserved_bits_of_a_large_page() -> None:
    vcpu = paged(READ, ebx=UPPER, cr4=CR4_PSE)
    vcpu.memory.write(DIRECTORY + 4, struct.pack("<I", ALL | LARGE | 0x2000))
    assert page_fault(vcpu) == (FOUND | RESERVED, UPPER)


def test_invlpg_forgets_all_of_a_large_page() -> None:
    vcpu = paged(
        f"mov eax, [{UPPER + 0x20000}]; mov dword ptr [{DIRECTORY + 4}], 0; invlpg [{UPPER}];"
        f"mov eax, [{UPPER + 0x20000}]",
        cr4=CR4_PSE,
    )
    vcpu.memory.write(DIRECTORY + 4, struct.pack("<I", ALL | LARGE))
    found = event(vcpu)
    assert (found.vector, vcpu.cr2) == (PF, UPPER + 0x20000)


def test_invlpg_forgets_a_global_large_page_that_has_outlived_cr3() -> None:
    vcpu = paged(
        f"mov edx, {UPPER + 0x20000}; mov eax, [edx]; mov dword ptr [{DIRECTORY + 4}], 0;"
        f"mov eax, cr3; mov cr3, eax; mov eax, [edx]; inc esi; invlpg [{UPPER}]; mov eax, [edx]",
        cr4=CR4_PSE | CR4_PGE,
    )
    vcpu.memory.write(DIRECTORY + 4, struct.pack("<I", ALL | LARGE | GLOBAL))
    found = event(vcpu)
    assert (found.vector, vcpu.cr2, vcpu.esi) == (PF, UPPER + 0x20000, 1)


def test_invlpg_of_a_small_page_leaves_large_ones_of_other_regions() -> None:
    """As a processor may, and a kernel's large pages are not to be looked up again each time."""
    large = UPPER + 0x401000
    vcpu = paged(
        f"mov eax, [{large}]; mov ecx, 100; again: invlpg [{UPPER}]; mov eax, [{UPPER}];"
        f"add ebx, [{large}]; dec ecx; jnz again; {CHANGE}; invlpg [{UPPER}];"
        f"mov edx, [{UPPER}]; hlt",
        cr4=CR4_PSE,
    )
    vcpu.memory.write(DIRECTORY + 8, struct.pack("<I", ALL | LARGE))
    vcpu.memory.write(OTHER, b"\x02")
    map_page(vcpu, UPPER, DATA | ALL)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.edx == 2
    assert 100 < vcpu.stats["tlb_misses"] < 120


# What is kept, and forgotten.

OTHER = DATA + 0x1000
CHANGE = f"mov dword ptr [{UPPER_TABLE}], {OTHER | ALL}"


@pytest.mark.parametrize(
    ("forget", "flags", "forgotten"),
    [
        (f"invlpg [{UPPER}]", 0, True),
        (f"invlpg [{UPPER}]", GLOBAL, True),
        ("mov eax, cr3; mov cr3, eax", 0, True),
        ("mov eax, cr3; mov cr3, eax", GLOBAL, False),
        ("mov eax, cr4; xor eax, 0x80; mov cr4, eax", GLOBAL, True),
        ("mov eax, cr0; xor eax, 0x10000; mov cr0, eax", GLOBAL, True),
    ],
)
def test_forgetting(forget: str, flags: int, forgotten: bool) -> None:
    vcpu = paged(f"mov eax, [{UPPER}]; {CHANGE}; {forget}; mov ebx, [{UPPER}]; hlt", cr4=CR4_PGE)
    vcpu.memory.write(DATA, b"\x01")
    vcpu.memory.write(OTHER, b"\x02")
    map_page(vcpu, UPPER, DATA | ALL | flags)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == (2 if forgotten else 1)


@pytest.mark.parametrize("forget", [f"invlpg [{UPPER}]", "mov eax, cr3; mov cr3, eax"])
@pytest.mark.parametrize("call", ["mov ecx, 0x400000; call ecx", f"call {UPPER}"])
def test_decoded_code_is_forgotten_with_its_translation(call: str, forget: str) -> None:
    """Of direct jumps between pages, too, which are linked."""
    vcpu = paged(
        f"mov esi, 20; again: {call}; dec esi; jnz again; mov edx, ebx;"
        f"{CHANGE}; {forget}; {call}; hlt"
    )
    vcpu.memory.write(DATA, b"\x43\xc3")  # inc ebx; ret
    vcpu.memory.write(OTHER, b"\x83\xc3\x64\xc3")  # add ebx, 100; ret
    map_page(vcpu, UPPER, DATA | ALL)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.edx, vcpu.ebx) == (20, 120)


def test_code_is_modified_through_another_linear_address() -> None:
    vcpu = paged(f"call {UPPER}; mov byte ptr [{DATA + 1}], 0x4b; call {UPPER}; hlt")
    vcpu.memory.write(DATA, b"\x90\x43\xc3")  # nop; inc ebx (later dec ebx); ret
    map_page(vcpu, UPPER, DATA | ALL)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 0


# Accesses that straddle pages, and instructions that do.

BOUNDARY = UPPER + 0x1000


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("mov eax, [ebx]", 0),
        ("mov [ebx], eax", WRITING),
        ("xchg [ebx], eax", WRITING),
        ("add [ebx], eax", WRITING),
        ("lock inc dword ptr [ebx]", WRITING),
        ("shld [ebx], eax, 1", WRITING),
        ("btc dword ptr [ebx], 31", WRITING),
        ("cmpxchg8b [ebx]", WRITING),
        ("sgdt [ebx]", WRITING),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_a_straddling_access_faults_before_any_part(source: str, error: int, first: bool) -> None:
    """CR2 is the first byte that cannot be reached, and the page that can be is not marked."""
    vcpu = paged(source, ebx=BOUNDARY - 2, eax=0xFFFFFFFF)
    map_page(vcpu, UPPER + (0x1000 if first else 0), DATA | ALL)
    assert page_fault(vcpu) == (error, BOUNDARY - 2 if first else BOUNDARY)
    assert word32(vcpu.memory, UPPER_TABLE + (4 if first else 0)) == DATA | ALL
    assert vcpu.memory.read(DATA, 0x1000) == bytes(0x1000)
    assert vcpu.eax == 0xFFFFFFFF


@pytest.mark.parametrize("size", [2, 4])
def test_instruction_fetches_fault_at_the_right_byte(size: int) -> None:
    """An instruction begins on the last bytes of a page, and goes on where none is."""
    vcpu = paged("nop", eip=BOUNDARY - size)
    map_page(vcpu, UPPER, DATA | ALL)
    vcpu.memory.write(DATA + 0x1000 - size, b"\xb8\x01\x02\x03"[:size])
    found = event(vcpu)
    assert (found.vector, found.eip, found.error, vcpu.cr2) == (PF, BOUNDARY - size, 0, BOUNDARY)
    assert vcpu.instructions == 1, "the HLT alone"


def test_an_instruction_in_two_pages_that_do_not_follow_each_other() -> None:
    vcpu = paged("nop", eip=BOUNDARY - 3)
    map_page(vcpu, UPPER, DATA | ALL)
    map_page(vcpu, BOUNDARY, 0x40000 | ALL)
    vcpu.memory.write(DATA + 0xFFD, b"\xb8\x78\x56")
    vcpu.memory.write(0x40000, b"\x34\x12\xf4")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0x12345678


def test_enter_faults_as_its_last_store_would() -> None:
    """SDM vol. 2, ENTER: a page fault for a write with the final stack pointer."""
    vcpu = paged("enter 0x2000, 0", esp=UPPER + 0x3000, ebp=0x1111)
    map_page(vcpu, UPPER + 0x2000, DATA | ALL)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.last_event, vcpu.cr2, vcpu.ebp) == (PF, UPPER + 0xFFC, 0x1111)
    assert vcpu.esp == UPPER + 0x3000 - 16
    assert struct.unpack("<II", vcpu.memory.read(DATA + 0xFF0, 8)) == (WRITING, CODE)


@pytest.mark.parametrize(
    ("source", "missing"),
    [("pusha", BOUNDARY - 4), ("enter 0, 3", BOUNDARY - 8), ("enter 0, 4", DATA + 0x1FFC)],
)
def test_instructions_of_many_pushes_fault_before_the_first(source: str, missing: int) -> None:
    """On the way down the stack, or where ENTER reads the frame pointers: nothing is pushed."""
    vcpu = paged(source, cpl=3, esp=BOUNDARY + 8, ebp=DATA + 0x2008)
    reads = missing < UPPER
    map_page(vcpu, BOUNDARY, 0x40000 | ALL)
    map_page(vcpu, UPPER, 0x41000 | ALL if reads else 0)
    if reads:
        map_page(vcpu, DATA + 0x1000, 0)
    assert page_fault(vcpu) == (FROM_USER | (0 if reads else WRITING), missing)
    assert vcpu.memory.read(0x40000, 0x2000) == bytes(0x2000)
    marks = (word32(vcpu.memory, UPPER_TABLE + 4 * page) for page in (0, 1))
    assert not any(entry & (ACCESSED | DIRTY) for entry in marks)


def test_enter_reads_what_it_has_just_pushed() -> None:
    """The frame pointers may lie where it pushes them."""
    vcpu = paged("enter 0, 3; hlt", esp=DATA + 0x100, ebp=DATA + 0x100)
    assert run(vcpu) == "EXIT_HLT"
    pushed = struct.unpack("<4I", vcpu.memory.read(DATA + 0xF0, 16))
    assert pushed == (DATA + 0xFC, DATA + 0x100, DATA + 0x100, DATA + 0x100)


def test_rep_movs_stops_at_the_page_that_is_missing() -> None:
    vcpu = paged("rep movsb", esi=DATA, edi=UPPER, ecx=0x2000)
    map_page(vcpu, UPPER, 0x40000 | ALL)
    vcpu.memory.write(DATA, bytes(range(256)) * 16)
    assert page_fault(vcpu) == (WRITING, BOUNDARY)
    assert (vcpu.ecx, vcpu.esi, vcpu.edi) == (0x1000, DATA + 0x1000, BOUNDARY)
    assert vcpu.memory.read(0x40000, 0x1000) == vcpu.memory.read(DATA, 0x1000)


def test_rep_stos_goes_through_pages_in_any_order() -> None:
    vcpu = paged("rep stosd; hlt", edi=UPPER + 2, eax=0x11223344, ecx=0x7FF)
    map_page(vcpu, UPPER, 0x42000 | ALL)
    map_page(vcpu, BOUNDARY, 0x40000 | ALL)
    assert run(vcpu) == "EXIT_HLT"
    expected = bytes(2) + struct.pack("<I", 0x11223344) * 0x7FF + bytes(2)
    assert vcpu.memory.read(0x42000, 0x1000) + vcpu.memory.read(0x40000, 0x1000) == expected


# Control registers, and faults on the way to a handler.


@pytest.mark.parametrize(
    ("register", "value", "fault"),
    [
        ("cr0", CR0_PG, True),  # without PE
        ("cr0", 0x20000011, True),  # NW without CD
        ("cr4", 0x20, True),  # PAE is not there
        ("cr4", 0x1, True),  # VME is not there
        ("cr4", CR4_PSE | CR4_PGE | 0x0C, False),
    ],
)
def test_control_registers(register: str, value: int, fault: bool) -> None:
    vcpu = protected(f"mov {register}, eax; int3", eax=value)
    found = event(vcpu)
    assert found == (Event(GP, CODE, 0) if fault else Event(3, CODE + 4))
    vcpu = protected("nop")
    if fault:
        with pytest.raises(ValueError, match=register.upper()):
            setattr(vcpu, register, value)
    else:
        setattr(vcpu, register, value)
        assert getattr(vcpu, register) == value


def test_cr0_pg_in_real_mode() -> None:
    vcpu = real16("mov cr0, eax")
    vcpu.eax = CR0_PG | 0x10
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.cr0 & CR0_PG, vcpu.last_event) == (0, GP)


def test_a_fault_while_a_page_fault_is_delivered() -> None:
    """A double fault (SDM vol. 3, table 6-5): the handler's segment is not one of code."""
    vcpu = paged(READ, ebx=UPPER + 5)
    vcpu.memory.write(0x2000 + PF * 8, struct.pack("<HHHH", 0x300E, ABSENT, 0x8E00, 0))
    found = event(vcpu)
    assert (found.vector, found.error, vcpu.cr2) == (DF, 0, UPPER + 5)


def test_cr2_is_written_when_the_fault_is_delivered_alone() -> None:
    """INT 14 is no page fault."""
    vcpu = paged("int 14", cr2=0x1234)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.cr2 == 0x1234


def test_beyond_ram_is_the_bus() -> None:
    """A page outside RAM is a device's; tables outside RAM read as all ones."""
    vcpu = paged("mov eax, [ebx]", ebx=UPPER + 8)
    map_page(vcpu, UPPER, 0xF0000000 | ALL)
    assert run(vcpu) == "EXIT_MMIO"
    assert vcpu.mmio_address == 0xF0000008
    vcpu = paged("mov eax, [ebx]", ebx=UPPER)
    vcpu.memory.write(DIRECTORY + 4, struct.pack("<I", RAM * 2 | ALL))
    assert run(vcpu) == "EXIT_MMIO"
    assert vcpu.mmio_address == 0xFFFFF000


def test_a_paged_vcpu_is_saved_and_restored() -> None:
    vcpu = paged("again: inc dword ptr [ebx]; jmp again", cpl=3, ebx=UPPER)
    map_page(vcpu, UPPER, DATA | ALL)
    assert vcpu.run(max_instructions=20) == x86.EXIT_LIMIT
    state, cr0 = vcpu.save(), vcpu.cr0
    vcpu.start_flat32(eip=0, esp=0)
    map_page(vcpu, UPPER, OTHER | ALL)
    vcpu.restore(state)
    assert (vcpu.cpl, vcpu.cr3, vcpu.cr0) == (3, DIRECTORY, cr0)
    assert vcpu.run(max_instructions=20) == x86.EXIT_LIMIT
    assert (word32(vcpu.memory, DATA), word32(vcpu.memory, OTHER)) == (10, 10)


def test_a_watchpoint_is_at_a_linear_address() -> None:
    vcpu = paged(f"mov [{DATA}], eax; mov [{UPPER}], eax; hlt")
    map_page(vcpu, UPPER, DATA | ALL)
    vcpu.set_guest_debug(watchpoints=[(UPPER, 4, x86.WATCH_WRITE)])
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("write", UPPER)
    assert run(vcpu) == "EXIT_HLT"
