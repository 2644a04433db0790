"""Real threads, the idle loop that Linux uses, and a count: not one handoff may be lost.

A lost wake leaves its waiter asleep for ever, so the test runs into its timeout and fails; no
watchdog here would help a sleeper along.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest

import x86core as x86
from tests.support import DATA, RAM, Running, flat32

HANDOFFS = 20_000

#: Waits until the doubleword at EDI is ECX: MONITOR, then look, then MWAIT, as Linux's
#: mwait_idle_with_hints does. EBX counts the waits.
AWAIT = """
    idle:
        push ecx
        mov eax, edi
        xor ecx, ecx
        xor edx, edx
        monitor
        pop ecx
        cmp [edi], ecx
        je work
        push ecx
        xor eax, eax
        xor ecx, ecx
        mwait
        pop ecx
        inc ebx
        cmp [edi], ecx
        jne idle
    work:
"""

#: Nine ways to store ECX (or to make the doubleword at ESI equal to it).
STORES = [
    "mov [esi], ecx",
    "xchg [esi], ecx; mov ecx, [esi]",
    "inc dword ptr [esi]",
    "lock inc dword ptr [esi]",
    "mov eax, 1; lock xadd [esi], eax",
    "mov eax, ecx; push edi; mov edi, esi; stosd; pop edi",
    "mov ebp, esp; lea esp, [esi+4]; push ecx; mov esp, ebp",
    "mov eax, [esi]; lock cmpxchg [esi], ecx",
    "push ecx; pop dword ptr [esi]",
]


def player(
    memory: x86.Memory, index: int, mine: int, other: int, store: str, *, first: bool, count: int
) -> x86.VCPU:
    """Sleeps on `mine` until it holds the turn's number, then stores that number to `other`."""
    vcpu = flat32(
        f"""
            mov ecx, 1
        turn:
            {store if first else AWAIT}
            {AWAIT if first else store}
            inc ecx
            cmp ecx, {count}
            jbe turn
            hlt
        """,
        memory=memory,
        index=index,
    )
    vcpu.edi, vcpu.esi, vcpu.ebx = mine, other, 0
    vcpu.mwait_policy = x86.MWAIT_FAULT
    return vcpu


def play(mine: int, other: int, store: str, count: int) -> list[x86.VCPU]:
    memory = x86.Memory(RAM)
    players = [
        player(memory, 0, mine, other, store, first=True, count=count),
        player(memory, 1, other, mine, store, first=False, count=count),
    ]
    with Running(players[0]) as first, Running(players[1]) as second:
        assert (first.exit(), second.exit()) == ("EXIT_HLT", "EXIT_HLT")
    assert memory.read(mine, 4) == memory.read(other, 4) == count.to_bytes(4, "little")
    return players


@pytest.mark.parametrize(
    ("mine", "other"),
    [(DATA, DATA + 64), (DATA, DATA + 0x1000)],
    ids=["two lines of a page", "two pages"],
)
def test_two_vcpus_wake_each_other(mine: int, other: int) -> None:
    players = play(mine, other, STORES[0], HANDOFFS)
    waits = sum(vcpu.stats["mwait_waits"] for vcpu in players)
    wakes = sum(vcpu.stats["wakes_store"] for vcpu in players)
    assert waits > 0, "nobody ever slept, so nothing was tested"
    assert wakes == waits, "every wait was ended by a store, none by anything else"


@pytest.mark.parametrize("store", STORES)
def test_nine_kinds_of_store_hand_over(store: str) -> None:
    play(DATA, DATA + 64, store, 1500)


def test_false_faults_releases_and_handoffs_at_once(memory: x86.Memory) -> None:
    """A third vCPU stores to the same page all the time; its protection comes and goes."""
    players = [
        player(memory, 0, DATA, DATA + 64, STORES[0], first=True, count=4000),
        player(memory, 1, DATA + 64, DATA, STORES[0], first=False, count=4000),
    ]
    noise = flat32(f"again: inc dword ptr [{DATA + 128}]; jmp again", memory=memory, index=2)
    with Running(noise), Running(players[0]) as first, Running(players[1]) as second:
        assert (first.exit(), second.exit()) == ("EXIT_HLT", "EXIT_HLT")
    assert noise.stats["write_faults"] > 0


def test_nine_writers_at_once_and_one_waiter(memory: x86.Memory) -> None:
    """Each writer counts its own doubleword of the line up in its own way; the waiter sees the sum.

    The waiter sleeps unless the nine counters changed since it looked, and ends when all are full.
    """
    count = 300
    waiter = flat32(
        f"""
        idle:
            mov eax, {DATA}
            xor ecx, ecx
            xor edx, edx
            monitor
            xor eax, eax
            mov esi, {DATA}
            mov edx, 9
        sum:
            add eax, [esi]
            add esi, 4
            dec edx
            jnz sum
            cmp eax, {9 * count}
            je out
            cmp eax, ebx
            mov ebx, eax
            jne idle
            xor eax, eax
            mwait
            jmp idle
        out:
            hlt
        """,
        memory=memory,
    )
    waiter.ebx, waiter.mwait_policy = 0, x86.MWAIT_FAULT
    with ExitStack() as stack:
        waiting = stack.enter_context(Running(waiter))
        writing = []
        for number, store in enumerate(STORES):
            pause = "mov edx, 200; rest: dec edx; jnz rest"
            source = f"turn: {store}; {pause}; inc ecx; cmp ecx, {count}; jbe turn; hlt"
            writer = flat32(source, memory=memory, index=1 + number)
            writer.ecx, writer.esi = 1, DATA + 4 * number
            writing.append(stack.enter_context(Running(writer)))
        assert [running.exit() for running in writing] == ["EXIT_HLT"] * 9
        assert waiting.exit() == "EXIT_HLT"
    assert waiter.eax == 9 * count


def test_host_and_vcpu_hand_over(memory: x86.Memory) -> None:
    """The host stores as a device does; the guest answers through a port."""
    source = f"mov ecx, 1; turn: {AWAIT} out 0x80, al; inc ecx; jmp turn"
    vcpu = flat32(source, memory=memory)
    vcpu.edi, vcpu.ebx, vcpu.mwait_policy = DATA, 0, x86.MWAIT_FAULT
    for number in range(1, 300):
        with Running(vcpu) as running:
            if number % 3:
                running.asleep("mwait")
            memory.write(DATA, number.to_bytes(4, "little"))
            assert running.exit() == "EXIT_IO"
            assert vcpu.ecx == number
