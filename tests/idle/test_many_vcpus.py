"""256 vCPUs that wait on 256 pages, and one that stores to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

import x86core as x86
from tests.support import Running, assembled, flat32, wait_until

SLEEPERS = 256
STORER = SLEEPERS
PAGE = 0x1000
MEMORY = 16 << 20
#: The line of vCPU n is in the page of its number from here on, at an offset of its own.
LINES = 0x200000
SHARED_CODE = 0x100000

#: EDI is the line; the dword there is what the storer has stored last, EBX what was seen last.
SLEEPER = """
again:
    mov eax, edi
    xor ecx, ecx
    xor edx, edx
    monitor
    cmp [edi], ebx
    jne woken
    mwait
    jmp again
woken:
    mov ebx, [edi]
    inc dword ptr [esi]
    jmp again
"""

#: Store EBX to the lines of all sleepers, one after the other.
STORE_TO_ALL = f"""
again:
    xor ecx, ecx
next:
    mov edi, ecx
    shl edi, 12
    mov eax, ecx
    and eax, 63
    shl eax, 6
    lea edi, [edi + eax + {LINES}]
    mov [edi], ebx
    inc ecx
    cmp ecx, {SLEEPERS}
    jb next
    hlt
    jmp again
"""


def line(index: int) -> int:
    return LINES + PAGE * index + 64 * (index % 64)


@pytest.fixture
def sleepers() -> Iterator[list[x86.VCPU]]:
    """All asleep, each on a thread of its own. They count their wakes in [ESI]."""
    memory = x86.Memory(MEMORY)
    memory.write(SHARED_CODE, assembled(SLEEPER, SHARED_CODE, 32))
    with ExitStack() as stack:
        vcpus = []
        for index in range(SLEEPERS):
            vcpu = x86.VCPU(memory, index)
            vcpu.start_flat32(eip=SHARED_CODE)
            vcpu.edi, vcpu.esi, vcpu.ebx = line(index), 4 * index, 0
            vcpu.mwait_policy = x86.MWAIT_FAULT
            stack.enter_context(Running(vcpu))
            vcpus.append(vcpu)
        wait_until(lambda: all(v.monitor[0] == "waiting" for v in vcpus), "all are asleep")
        yield vcpus


def test_all_wake_when_stored_to(sleepers: list[x86.VCPU]) -> None:
    memory = sleepers[0].memory
    counts = memory.view()[: 4 * SLEEPERS].view("<u4")

    def woken(times: int) -> bool:
        return bool((counts == times).all())

    storer = flat32(STORE_TO_ALL, memory=memory, index=STORER)
    for value in range(1, 11):
        storer.mp_state, storer.ebx = x86.MP_STATE_RUNNABLE, value
        assert storer.run() == x86.EXIT_HLT
        wait_until(partial(woken, value), f"all woken, round {value}")
        wait_until(lambda: all(v.monitor[0] == "waiting" for v in sleepers), "asleep again")
    assert storer.stats["monitor_triggers_vcpu"] == 10 * SLEEPERS
    assert storer.stats["false_faults"] == 0


def test_one_store_wakes_one(sleepers: list[x86.VCPU]) -> None:
    memory = sleepers[0].memory
    counts = memory.view()[: 4 * SLEEPERS].view("<u4")

    def woken(index: int) -> bool:
        return bool(counts[index] == 1)

    for index in (0, 1, 100, SLEEPERS - 1):
        memory.write(line(index), b"\1")
        wait_until(partial(woken, index), f"vCPU {index} woken")
    assert counts.sum() == 4
    assert sum(vcpu.stats["wakes_store"] for vcpu in sleepers) == 4
