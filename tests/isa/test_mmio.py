"""Memory accesses beyond RAM: an exit for each, completed by the next run()."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from tests.support import (
    CODE,
    DATA,
    DATA32,
    FLAG_IF,
    FLAG_ZF,
    RAM,
    Event,
    delivered,
    flat32,
    run,
    word32,
)

DEVICE = 0x20_0000


class Device:
    """A few bytes of memory behind MMIO exits, and a record of the accesses."""

    def __init__(self, content: bytes = bytes(64)) -> None:
        self.content = bytearray(content)
        self.accesses: list[tuple[str, int, int]] = []

    def serve(self, vcpu: x86.VCPU) -> str:
        """Run the guest, answering its accesses, to the first other exit."""
        while (reason := run(vcpu)) == "EXIT_MMIO":
            offset, length = vcpu.mmio_address - DEVICE, vcpu.mmio_length
            span = slice(offset, offset + length)
            self.accesses.append(("write" if vcpu.mmio_is_write else "read", offset, length))
            if vcpu.mmio_is_write:
                self.content[span] = vcpu.mmio_data.to_bytes(length, "little")
            else:
                vcpu.mmio_data = int.from_bytes(self.content[span], "little")
        return reason

    def word(self, offset: int = 0) -> int:
        return int.from_bytes(self.content[offset : offset + 4], "little")


@pytest.mark.parametrize(("register", "size"), [("al", 1), ("ah", 1), ("ax", 2), ("eax", 4)])
def test_write(register: str, size: int) -> None:
    vcpu = flat32(f"mov [{DEVICE + 8}], {register}; inc ebx; hlt")
    vcpu.eax, vcpu.ebx = 0x11223344, 0
    assert run(vcpu) == "EXIT_MMIO"
    expected = 0x33 if register == "ah" else 0x11223344 & (1 << 8 * size) - 1
    assert (vcpu.mmio_address, vcpu.mmio_length) == (DEVICE + 8, size)
    assert (vcpu.mmio_is_write, vcpu.mmio_data) == (1, expected)
    assert vcpu.ebx == 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ebx == 1


@pytest.mark.parametrize(("register", "size"), [("al", 1), ("ax", 2), ("eax", 4)])
def test_read_completes_at_the_next_run(register: str, size: int) -> None:
    vcpu = flat32(f"mov {register}, [{DEVICE + 8}]; hlt")
    vcpu.eax = 0x11223344
    assert run(vcpu) == "EXIT_MMIO"
    assert (vcpu.mmio_address, vcpu.mmio_length, vcpu.mmio_is_write) == (DEVICE + 8, size, 0)
    assert vcpu.eax == 0x11223344
    vcpu.mmio_data = 0xFEDCBA98
    assert run(vcpu) == "EXIT_HLT"
    mask = (1 << 8 * size) - 1
    assert vcpu.eax == 0x11223344 & ~mask | 0xFEDCBA98 & mask


@pytest.mark.parametrize(
    ("source", "after", "eax"),
    [
        (f"add [{DEVICE}], eax", 0x105, 5),
        (f"inc dword ptr [{DEVICE}]", 0x101, 5),
        (f"neg dword ptr [{DEVICE}]", 0xFFFFFF00, 5),
        (f"shl dword ptr [{DEVICE}], 4", 0x1000, 5),
        (f"xchg [{DEVICE}], eax", 5, 0x100),
        (f"xadd [{DEVICE}], eax", 0x105, 0x100),
        (f"lock add [{DEVICE}], eax", 0x105, 5),
        (f"lock xadd [{DEVICE}], eax", 0x105, 0x100),
        (f"sub dword ptr [{DEVICE}], 1", 0xFF, 5),
        (f"bts dword ptr [{DEVICE}], 0", 0x101, 5),
        (f"btc [{DEVICE}], eax", 0x120, 5),
        (f"lock btr dword ptr [{DEVICE}], 8", 0, 5),
        (f"shld [{DEVICE}], eax, 4", 0x1000, 5),
        (f"shrd [{DEVICE}], eax, 4", 0x50000010, 5),
    ],
)
def test_read_modify_write(source: str, after: int, eax: int) -> None:
    """Two exits: a read, and a write of what the guest made of the answer."""
    vcpu = flat32(f"{source}; hlt")
    vcpu.eax = 5
    device = Device((0x100).to_bytes(4, "little"))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert device.accesses == [("read", 0, 4), ("write", 0, 4)]
    assert (device.word(), vcpu.eax) == (after, eax)
    assert vcpu.instructions == 2


def test_cmpxchg_that_succeeds_and_one_that_fails() -> None:
    vcpu = flat32(f"cmpxchg [{DEVICE}], ecx; setz bl; cmpxchg [{DEVICE}], ecx; setz bh; hlt")
    vcpu.eax, vcpu.ecx, vcpu.ebx = 0x100, 0x777, 0
    device = Device((0x100).to_bytes(4, "little"))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert device.word() == 0x777
    assert (vcpu.eax, vcpu.ebx) == (0x777, 1)


@pytest.mark.parametrize("lock", ["", "lock "])
def test_cmpxchg8b_that_succeeds_and_one_that_fails(lock: str) -> None:
    vcpu = flat32(f"{lock}cmpxchg8b [{DEVICE}]; jnz over; {lock}cmpxchg8b [{DEVICE}]; over: hlt")
    vcpu.eax, vcpu.edx, vcpu.ebx, vcpu.ecx = 0x100, 0x200, 0x11, 0x22
    device = Device(struct.pack("<2I", 0x100, 0x200))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert bytes(device.content[:8]) == struct.pack("<2I", 0x11, 0x22)
    assert (vcpu.eax, vcpu.edx, vcpu.eflags & FLAG_ZF) == (0x11, 0x22, 0)
    halves = [("read", 0, 4), ("read", 4, 4), ("write", 0, 4), ("write", 4, 4)]
    assert device.accesses == halves * 2


def test_enter_and_leave_in_device_memory() -> None:
    """Five accesses of one instruction, some with the answers of others."""
    vcpu = flat32("enter 8, 3; hlt")
    vcpu.esp, vcpu.ebp = DEVICE + 64, DEVICE + 32
    device = Device()
    device.content[24:32] = struct.pack("<2I", 0x2222, 0x1111)
    assert device.serve(vcpu) == "EXIT_HLT"
    assert (vcpu.ebp, vcpu.esp) == (DEVICE + 60, DEVICE + 64 - 16 - 8)
    assert struct.unpack("<4I", device.content[48:64]) == (DEVICE + 60, 0x2222, 0x1111, DEVICE + 32)
    assert [offset for kind, offset, _ in device.accesses if kind == "write"] == [60, 56, 52, 48]
    assert [offset for kind, offset, _ in device.accesses if kind == "read"] == [28, 24]


def test_a_far_pointer_and_bounds() -> None:
    vcpu = flat32(f"les ecx, [{DEVICE}]; bound ecx, [{DEVICE + 8}]; mov ebx, 1; hlt")
    vcpu.ebx = 0
    device = Device(struct.pack("<IHHii", 7, DATA32, 0, -1, 7))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert (vcpu.ecx, vcpu.es.selector, vcpu.ebx) == (7, DATA32, 1)
    assert device.accesses == [("read", 0, 4), ("read", 4, 2), ("read", 8, 4), ("read", 12, 4)]


def test_compare_only_reads() -> None:
    vcpu = flat32(f"cmp dword ptr [{DEVICE}], 7; setz al; test byte ptr [{DEVICE}], 7; hlt")
    device = Device(b"\x07")
    device.content.extend(bytes(3))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert device.accesses == [("read", 0, 4), ("read", 0, 1)]
    assert vcpu.eax & 0xFF == 1


def test_push_and_pop_of_device_memory() -> None:
    vcpu = flat32(f"push dword ptr [{DEVICE}]; pop dword ptr [{DEVICE + 4}]; hlt")
    top = vcpu.esp
    device = Device(b"abcd" + bytes(4))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert bytes(device.content) == b"abcdabcd"
    assert vcpu.esp == top


def test_stack_in_device_memory() -> None:
    vcpu = flat32("push eax; call next; next: pop ebx; pop ecx; hlt")
    vcpu.esp, vcpu.eax = DEVICE + 64, 0x12345678
    device = Device()
    assert device.serve(vcpu) == "EXIT_HLT"
    assert (vcpu.esp, vcpu.ecx, vcpu.ebx) == (DEVICE + 64, 0x12345678, CODE + 6)
    assert device.accesses == [("write", 60, 4), ("write", 56, 4), ("read", 56, 4), ("read", 60, 4)]


def test_string_from_ram_to_device_and_back() -> None:
    source = f"mov esi, {DATA}; mov edi, {DEVICE}; mov ecx, 3; rep movsd;"
    source += f"mov esi, {DEVICE}; mov edi, {DATA + 0x100}; mov ecx, 12; rep movsb; hlt"
    vcpu = flat32(source)
    vcpu.memory.write(DATA, b"twelve bytes")
    device = Device()
    assert device.serve(vcpu) == "EXIT_HLT"
    assert bytes(device.content[:12]) == b"twelve bytes"
    assert vcpu.memory.read(DATA + 0x100, 12) == b"twelve bytes"
    assert [access for access in device.accesses if access[0] == "write"] == [
        ("write", 4 * n, 4) for n in range(3)
    ]


def test_move_from_device_to_device() -> None:
    """Two accesses of one element, the write with the answer of the read."""
    vcpu = flat32("movsd; hlt")
    vcpu.esi, vcpu.edi = DEVICE, DEVICE + 32
    device = Device(b"wxyz" + bytes(60))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert device.accesses == [("read", 0, 4), ("write", 32, 4)]
    assert bytes(device.content[32:36]) == b"wxyz"


@pytest.mark.parametrize("offset", [1, 2, 3])
def test_access_across_the_end_of_ram(offset: int) -> None:
    """Every byte goes where it belongs, and RAM's part is written once."""
    vcpu = flat32(f"mov [{RAM - offset}], eax; mov ecx, [{RAM - offset}]; hlt")
    vcpu.eax, vcpu.ecx = 0x44332211, 0
    outside: dict[int, int] = {}
    while run(vcpu) == "EXIT_MMIO":
        for n in range(vcpu.mmio_length):
            address = vcpu.mmio_address + n
            assert address >= RAM
            if vcpu.mmio_is_write:
                outside[address] = vcpu.mmio_data >> 8 * n & 0xFF
        if not vcpu.mmio_is_write:
            vcpu.mmio_data = sum(
                outside[vcpu.mmio_address + n] << 8 * n for n in range(vcpu.mmio_length)
            )
    value = b"\x11\x22\x33\x44"
    assert vcpu.memory.read(RAM - offset, offset) == value[:offset]
    assert bytes(outside[RAM + n] for n in range(4 - offset)) == value[offset:]
    assert vcpu.ecx == 0x44332211


def test_interrupt_at_the_exit_is_taken_after_the_completion() -> None:
    vcpu = flat32(f"mov eax, [{DEVICE}]; nop; hlt")
    vcpu.eflags |= FLAG_IF
    assert run(vcpu) == "EXIT_MMIO"
    vcpu.interrupt(0x40)
    vcpu.mmio_data = 0x99
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x40, CODE + 5)
    assert vcpu.eax == 0x99


def test_interrupt_between_the_two_exits_of_one_instruction_waits() -> None:
    """A read-modify-write is not split by an interrupt: its read is answered but once."""
    vcpu = flat32(f"add [{DEVICE}], eax; nop; hlt")
    vcpu.eflags |= FLAG_IF
    vcpu.eax = 5
    assert run(vcpu) == "EXIT_MMIO"
    vcpu.interrupt(0x40)
    vcpu.mmio_data = 0x30
    assert run(vcpu) == "EXIT_MMIO"
    assert (vcpu.mmio_is_write, vcpu.mmio_data) == (1, 0x35)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(0x40, CODE + 6)


def test_kick_at_the_exit_first_completes_the_access() -> None:
    vcpu = flat32(f"mov eax, [{DEVICE}]; nop; hlt")
    assert run(vcpu) == "EXIT_MMIO"
    vcpu.mmio_data = 0x42
    vcpu.kick()
    assert run(vcpu) == "EXIT_INTR"
    assert (vcpu.eax, vcpu.eip) == (0x42, CODE + 5)


def test_memory_operand_of_a_jump() -> None:
    vcpu = flat32(f"jmp dword ptr [{DEVICE}]; .org 0x20, 0x90; hlt")
    device = Device((CODE + 0x20).to_bytes(4, "little"))
    assert device.serve(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 0x21


def test_ram_in_between_is_not_slowed_into_exits() -> None:
    vcpu = flat32(f"mov eax, [{DEVICE}]; mov [{DATA}], eax; hlt")
    device = Device(b"\x01\x02\x03\x04")
    assert device.serve(vcpu) == "EXIT_HLT"
    assert word32(vcpu.memory) == 0x04030201
    assert vcpu.stats["mmio_exits"] == 1


def test_cmpxchg8b_over_the_end_of_ram_stores_once_the_device_has_answered() -> None:
    vcpu = flat32(
        f"""
            mov eax, 0x11111111; mov edx, 0x22222222
            mov ebx, 0x33333333; mov ecx, 0x44444444
            lock cmpxchg8b [{RAM - 4}]
            hlt
        """
    )
    vcpu.memory.write(RAM - 4, b"\x11" * 4)
    assert vcpu.run() == x86.EXIT_MMIO
    assert (vcpu.mmio_is_write, vcpu.mmio_address, vcpu.mmio_length) == (0, RAM, 4)
    vcpu.mmio_data = 0x22222222
    assert vcpu.run() == x86.EXIT_MMIO
    assert (vcpu.mmio_is_write, vcpu.mmio_address, vcpu.mmio_data) == (1, RAM, 0x44444444)
    assert word32(vcpu.memory, RAM - 4) == 0x11111111
    assert vcpu.run() == x86.EXIT_HLT
    assert word32(vcpu.memory, RAM - 4) == 0x33333333
    assert vcpu.eflags & FLAG_ZF
