"""Locked operations are atomic between vCPUs on two threads, and plain ones keep the x86 order."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import DATA, Running, flat32, word32

TURNS = 200_000
START = DATA + 0x800

#: Each adds 1 to the doubleword at EDI, or to its low word or byte.
INCREMENTS = {
    "lock xadd": "mov eax, 1; lock xadd [edi], eax",
    "lock xadd word": "mov eax, 1; lock xadd [edi], ax",
    "lock inc": "lock inc dword ptr [edi]",
    "lock inc word": "lock inc word ptr [edi]",
    "lock inc byte": "lock inc byte ptr [edi]",
    "lock add": "lock add dword ptr [edi], 1",
    "lock sub": "lock sub dword ptr [edi], -1",
    "lock adc": "stc; lock adc dword ptr [edi], 0",
    "lock sbb": "stc; lock sbb dword ptr [edi], -2",
    "lock cmpxchg": "mov eax, [edi]; retry: lea edx, [eax+1]; lock cmpxchg [edi], edx; jne retry",
    "lock cmpxchg byte": """
        mov al, [edi]; retry: mov dl, al; inc dl; lock cmpxchg [edi], dl; jne retry
    """,
    "lock cmpxchg8b": """
        mov esi, ecx
        mov eax, [edi]; mov edx, [edi+4]
        retry: mov ebx, eax; mov ecx, edx; add ebx, 1; adc ecx, 0; lock cmpxchg8b [edi]; jne retry
        mov ecx, esi
    """,
    "xchg spin lock": """
        take: mov eax, 1; xchg eax, [edi+64]; test eax, eax; jz taken; pause; jmp take
        taken: mov eax, [edi]; inc eax; mov [edi], eax; mov dword ptr [edi+64], 0
    """,
}
WIDTH = {"word": 2, "byte": 1}


def together(body: str, *, memory: x86.Memory, index: int) -> x86.VCPU:
    """A guest that repeats `body` once both vCPUs are there, and then HLTs."""
    vcpu = flat32(
        f"""
            lock inc dword ptr [{START}]
        meet:
            cmp dword ptr [{START}], 2
            jb meet
        again:
            {body}
            dec ecx
            jnz again
            hlt
        """,
        memory=memory,
        index=index,
    )
    vcpu.ecx, vcpu.edi = TURNS, DATA
    return vcpu


def run_together(bodies: list[str], memory: x86.Memory) -> list[x86.VCPU]:
    vcpus = [together(body, memory=memory, index=index) for index, body in enumerate(bodies)]
    with Running(vcpus[0]) as first, Running(vcpus[1]) as second:
        assert first.exit() == "EXIT_HLT"
        assert second.exit() == "EXIT_HLT"
    return vcpus


@pytest.mark.parametrize("kind", INCREMENTS)
def test_increments_of_two_threads_add_up(memory: x86.Memory, kind: str) -> None:
    run_together([INCREMENTS[kind]] * 2, memory)
    width = WIDTH.get(kind.split()[-1], 4)
    assert word32(memory) == 2 * TURNS % (1 << 8 * width)


@pytest.mark.parametrize("offset", [62, 63])
def test_locked_across_a_cache_line(memory: x86.Memory, offset: int) -> None:
    """A split lock is slow, and atomic."""
    vcpus = [together(INCREMENTS["lock xadd"], memory=memory, index=index) for index in range(2)]
    for vcpu in vcpus:
        vcpu.edi, vcpu.ecx = DATA + offset, 2000
    with Running(vcpus[0]) as first, Running(vcpus[1]) as second:
        assert (first.exit(), second.exit()) == ("EXIT_HLT", "EXIT_HLT")
    assert word32(memory, DATA + offset) == 4000


def test_locked_bits_of_two_threads_do_not_disturb_each_other(memory: x86.Memory) -> None:
    """Each vCPU turns its own bit of one byte over and would see a lost update of the other."""
    body = """
        lock xor byte ptr [edi], {bit}
        lock or byte ptr [edi], {bit}
        test byte ptr [edi], {bit}
        jz lost
        lock and byte ptr [edi], ~{bit}
        test byte ptr [edi], {bit}
        jz kept
        lost: ud2
        kept:
    """
    vcpus = run_together([body.format(bit=1), body.format(bit=0x80)], memory)
    assert [vcpu.ecx for vcpu in vcpus] == [0, 0]
    assert word32(memory) == 0


def test_stores_are_seen_in_order(memory: x86.Memory) -> None:
    """Who sees the second store sees the first: neither stores nor loads pass each other (9.2)."""
    writer = "mov [edi], ecx; mov [edi+64], ecx"
    reader = "mov eax, [edi+64]; mov edx, [edi]; test eax, eax; jz over; cmp edx, eax; jbe over"
    # The writer counts down, so that the first location may only be below the second.
    vcpus = run_together([writer, reader + "; ud2; over:"], memory)
    assert [vcpu.ecx for vcpu in vcpus] == [0, 0]


def test_store_then_load_with_a_locked_operation_between(memory: x86.Memory) -> None:
    """Dekker: with a fence between its store and its load, at most one of two vCPUs sees nothing.

    In each turn both store to their own word and look at the other's; a locked operation is a full
    fence, so that both reading the old value would be a failure. Turns are numbered and met by a
    barrier of two counters, at which MWAIT yields in case both threads share one core.
    """
    body = """
        mov [edi+{mine}], ecx
        lock add dword ptr [esp], 0
        mov eax, [edi+{other}]
        mov [edi+{seen}+ecx*4], eax
        mov [edi+{mine}+8], ecx
        behind: mov edx, 2000
        look: cmp [edi+{other}+8], ecx; jbe met; dec edx; jnz look
        push ecx; xor ecx, ecx; mwait; pop ecx; jmp behind
        met:
    """
    turns = 20_000
    bodies = [
        body.format(mine=0x1000, other=0x2000, seen=0x10000),
        body.format(mine=0x2000, other=0x1000, seen=0x30000),
    ]
    vcpus = [together(b, memory=memory, index=index) for index, b in enumerate(bodies)]
    for vcpu in vcpus:
        vcpu.ecx, vcpu.mwait_policy = turns, x86.MWAIT_YIELD
    memory.write(DATA + 0x1000, b"\xff" * 12)
    memory.write(DATA + 0x2000, b"\xff" * 12)
    with Running(vcpus[0]) as first, Running(vcpus[1]) as second:
        assert (first.exit(), second.exit()) == ("EXIT_HLT", "EXIT_HLT")
    view = memory.view()
    seen = [
        view[DATA + base : DATA + base + 4 * (turns + 1)].view("<u4")[1:]
        for base in (0x10000, 0x30000)
    ]
    turn = range(1, turns + 1)
    blind = [n for n, one, two in zip(turn, *seen, strict=True) if one > n and two > n]
    assert blind == []


def test_xchg_with_memory_is_locked_without_a_prefix(memory: x86.Memory) -> None:
    """A token that two vCPUs take and put back is never doubled."""
    body = """
        take: xor eax, eax; xchg [edi], eax; test eax, eax; jnz got; pause; jmp take
        got: inc dword ptr [edi+64]; mov [edi], eax
    """
    memory.write(DATA, b"\x01\0\0\0")
    run_together([body] * 2, memory)
    assert word32(memory, DATA + 64) == 2 * TURNS
    assert word32(memory) == 1


@pytest.mark.parametrize(
    ("source", "memory_value", "eax", "zero"),
    [
        ("lock cmpxchg [edi], ecx", 5, 5, True),
        ("lock cmpxchg [edi], ecx", 6, 6, False),
        ("cmpxchg [edi], ecx", 5, 5, True),
        ("cmpxchg [edi], ecx", 6, 6, False),
    ],
)
def test_cmpxchg(memory: x86.Memory, source: str, memory_value: int, eax: int, zero: bool) -> None:
    vcpu = flat32(f"{source}; hlt", memory=memory)
    memory.write(DATA, bytes([memory_value]))
    vcpu.eax, vcpu.ecx, vcpu.edi = 5, 9, DATA
    assert vcpu.run() == x86.EXIT_HLT
    assert vcpu.eax == eax
    assert bool(vcpu.eflags & 1 << 6) is zero
    assert word32(memory) == (9 if zero else memory_value)


def test_cmpxchg8b_is_one_access_of_eight_bytes(memory: x86.Memory) -> None:
    """Each vCPU only ever writes both halves equal, and would see a half of the other."""
    body = """
        mov esi, ecx
        mov eax, [edi]; mov edx, eax
        retry: cmp eax, edx; jne torn
        lea ebx, [eax+1]; mov ecx, ebx; lock cmpxchg8b [edi]; jne retry
        mov ecx, esi; jmp whole
        torn: ud2
        whole:
    """
    vcpus = run_together([body] * 2, memory)
    assert [vcpu.ecx for vcpu in vcpus] == [0, 0]
    assert memory.read(DATA, 8) == (2 * TURNS).to_bytes(4, "little") * 2


def test_cmpxchg8b_across_two_pages(memory: x86.Memory) -> None:
    vcpu = flat32("lock cmpxchg8b [edi]; hlt", memory=memory)
    place = DATA + 0x1000 - 3
    memory.write(place, bytes(range(8)))
    vcpu.edi, vcpu.ebx, vcpu.ecx = place, 0x44332211, 0x88776655
    vcpu.edx, vcpu.eax = 0x07060504, 0x03020100
    assert vcpu.run() == x86.EXIT_HLT
    assert memory.read(place - 1, 10) == b"\0\x11\x22\x33\x44\x55\x66\x77\x88\0"
