"""Read-only memory: seen twice, where RESET begins, and not changed by the guest."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import assembled, run

TOP = 1 << 32
SIZE = 64 << 10

#: What real mode has at F000:FFF0; the program is at F000:0.
RESET_VECTOR = 0xFFF0
JUMP = "jmp 0xF000:0"


def rom_vcpu(source: str, size: int = SIZE) -> x86.VCPU:
    """A vCPU at RESET, with a 16-bit program at F000:0000 in ROM. DS is F000h once it says so."""
    memory = x86.Memory(2 << 20)
    memory.rom = size
    memory.write(0xF0000, assembled(source, 0, 16))
    memory.write(0xF0000 + RESET_VECTOR, assembled(JUMP, 0, 16))
    vcpu = x86.VCPU(memory)
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
    return vcpu


def through_mmio(vcpu: x86.VCPU) -> list[tuple[int, int, int]]:
    """Run to HLT: (address, length, data) of each store to no RAM."""
    stores = []
    while (reason := run(vcpu)) == "EXIT_MMIO":
        assert vcpu.mmio_is_write
        stores.append((vcpu.mmio_address, vcpu.mmio_length, vcpu.mmio_data))
    assert reason == "EXIT_HLT"
    return stores


def test_a_processor_begins_below_4_gib() -> None:
    vcpu = rom_vcpu("hlt")
    assert (vcpu.cs.base + vcpu.eip, vcpu.cs.selector) == (0xFFFF_FFF0, 0xF000)
    assert vcpu.run(1) == x86.EXIT_LIMIT
    assert (vcpu.cs.base + vcpu.eip, vcpu.cs.selector) == (0xF0000, 0xF000)
    assert run(vcpu) == "EXIT_HLT"


@pytest.mark.parametrize("size", [4096, SIZE, x86.MAX_ROM])
def test_it_is_the_same_in_both_places(size: int) -> None:
    vcpu = rom_vcpu("hlt", size)
    content = bytes(range(1, 9)) * (size // 8)
    vcpu.memory.write(x86.ROM_END - size, content)
    for offset in (0, 1, size // 2, size - 4):
        vcpu.start_flat32(0x1000)
        address = TOP - size + offset
        vcpu.memory.write(0x1000, assembled(f"mov eax, [{address}]; hlt", 0x1000, 32))
        assert run(vcpu) == "EXIT_HLT"
        assert vcpu.eax.to_bytes(4, "little") == content[offset : offset + 4]


def test_below_the_mirror_there_is_none() -> None:
    vcpu = rom_vcpu("hlt")
    vcpu.start_flat32(0x1000)
    vcpu.memory.write(0x1000, assembled(f"mov eax, [{TOP - SIZE - 2}]; hlt", 0x1000, 32))
    assert run(vcpu) == "EXIT_MMIO"
    assert (vcpu.mmio_address, vcpu.mmio_length) == (TOP - SIZE - 2, 2)
    vcpu.mmio_data = 0xFFFF
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == int.from_bytes(vcpu.memory.read(0xF0000, 2), "little") << 16 | 0xFFFF


@pytest.mark.parametrize(
    "store",
    [
        "mov word ptr [0x100], 0x1234",
        "lock xor word ptr [0x100], 0x0660",
        "mov di, 0x100; mov ax, 0x1234; stosw",
        "mov ax, 0x1234; xchg [0x100], ax",
    ],
)
def test_a_store_changes_nothing_and_leaves_the_guest(store: str) -> None:
    vcpu = rom_vcpu(f"mov ax, cs; mov ds, ax; mov es, ax; {store}; mov bx, [0x100]; hlt")
    vcpu.memory.write(0xF0100, b"\x54\x14")
    assert through_mmio(vcpu) == [(0xF0100, 2, 0x1234)]
    assert vcpu.ebx == 0x1454
    assert vcpu.memory.read(0xF0100, 2) == b"\x54\x14"


def test_a_store_that_begins_in_ram_changes_that() -> None:
    vcpu = rom_vcpu("hlt")
    vcpu.start_flat32(0x1000)
    vcpu.memory.write(0xEFFFE, b"\x99\x99\x88\x88")
    code = assembled(f"mov dword ptr [{0xEFFFE}], 0x44332211; hlt", 0x1000, 32)
    vcpu.memory.write(0x1000, code)
    assert through_mmio(vcpu) == [(0xF0000, 2, 0x4433)]
    assert vcpu.memory.read(0xEFFFE, 4) == b"\x11\x22\x88\x88"


def test_string_stores_beside_it_stay_fast_and_right() -> None:
    vcpu = rom_vcpu("hlt")
    vcpu.start_flat32(0x1000)
    source = f"mov edi, {0xEF000}; mov ecx, 1026; mov eax, 0x5A5A5A5A; rep stosd; hlt"
    vcpu.memory.write(0x1000, assembled(source, 0x1000, 32))
    before = vcpu.memory.read(0xF0000, 8)
    assert through_mmio(vcpu) == [(0xF0000, 4, 0x5A5A5A5A), (0xF0004, 4, 0x5A5A5A5A)]
    assert vcpu.memory.read(0xEF000, 4096) == b"\x5a" * 4096
    assert vcpu.memory.read(0xF0000, 8) == before


def test_the_host_fills_it_and_code_is_decoded_anew() -> None:
    vcpu = rom_vcpu("inc cx; hlt")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.memory.write(0xF0000, assembled("inc dx; hlt", 0, 16))
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    vcpu.eip, vcpu.ecx, vcpu.edx = 0, 0, 0
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ecx, vcpu.edx) == (0, 1)


def test_it_may_become_ram_again() -> None:
    vcpu = rom_vcpu("mov ax, cs; mov ds, ax; mov word ptr [0x100], 0x1234; hlt")
    assert through_mmio(vcpu)
    vcpu.memory.rom = 0
    assert vcpu.memory.rom == 0
    vcpu.mp_state, vcpu.eip = x86.MP_STATE_RUNNABLE, 0
    assert through_mmio(vcpu) == []
    assert vcpu.memory.read(0xF0100, 2) == b"\x34\x12"
    vcpu.reset()
    assert run(vcpu) == "EXIT_INTERNAL_ERROR"  # nothing is at the reset vector


@pytest.mark.parametrize("size", [-4096, 1, 4097, x86.MAX_ROM + 4096])
def test_a_size_that_no_rom_has(size: int) -> None:
    with pytest.raises(ValueError, match=r"is not a multiple of 4096 bytes up to 131072"):
        x86.Memory(1 << 20).rom = size


def test_there_has_to_be_room_for_it() -> None:
    with pytest.raises(ValueError, match="a ROM ends at 1048576 bytes, and RAM has 524288"):
        x86.Memory(512 << 10).rom = 4096
