"""What whoever runs vCPUs by hand in virtual time needs: their time, and wakes at theirs."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import DATA, RAM, flat32, word32

#: Waits for a store to DATA.
SLEEPER = f"""
        mov eax, {DATA}; xor ecx, ecx; xor edx, edx
    again:
        monitor
        mwait
        inc ebx
        jmp again
"""

#: Five instructions, then a store to the same line, another one, and so on.
WRITER = f"""
        inc ebx; inc ebx; inc ebx; inc ebx; inc ebx
        mov dword ptr [{DATA + 4}], ebx
        inc ebx
        {{second}}
        inc ebx
        hlt
"""

APIC_ICR_LOW = 0xFEE00300


def memory() -> x86.Memory:
    return x86.Memory(RAM, virtual_time=True)


def sleeper(ram: x86.Memory) -> x86.VCPU:
    vcpu = flat32(SLEEPER, memory=ram, index=1)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    assert vcpu.run() == x86.EXIT_IDLE
    return vcpu


def writer(ram: x86.Memory, second: str = "nop") -> x86.VCPU:
    vcpu = flat32(WRITER.format(second=second), memory=ram)
    vcpu.stops_before_wakes = True
    return vcpu


def test_run_ends_before_a_store_that_may_wake() -> None:
    ram = memory()
    waiting = sleeper(ram)
    vcpu = writer(ram)
    assert vcpu.run() == x86.EXIT_STORE
    assert (vcpu.instructions, vcpu.ebx, word32(ram, DATA + 4)) == (5, 5, 0)
    assert not waiting.runnable
    assert vcpu.exit_reason == x86.EXIT_STORE


def test_the_next_run_begins_with_that_store() -> None:
    ram = memory()
    waiting = sleeper(ram)
    vcpu = writer(ram)
    assert vcpu.run() == x86.EXIT_STORE
    assert vcpu.run(1) == x86.EXIT_LIMIT
    assert word32(ram, DATA + 4) == 5
    assert waiting.runnable
    assert vcpu.run() == x86.EXIT_HLT
    assert vcpu.ebx == 7
    assert vcpu.stats["monitor_triggers_vcpu"] == 1


@pytest.mark.parametrize(
    "second",
    [
        f"lock inc dword ptr [{DATA + 8}]",
        f"xchg [{DATA + 8}], eax",
        f"add dword ptr [{DATA + 8}], 1",
        f"mov byte ptr [{DATA + 4000}], 1",
    ],
)
def test_every_store_to_such_a_page_is_one(second: str) -> None:
    ram = memory()
    sleeper(ram)
    vcpu = writer(ram, second)
    assert vcpu.run() == x86.EXIT_STORE
    assert vcpu.run() == x86.EXIT_STORE
    assert vcpu.instructions == 7
    assert vcpu.run() == x86.EXIT_HLT
    assert vcpu.instructions == 10


def test_a_repeated_store_is_one_instruction() -> None:
    ram = memory()
    sleeper(ram)
    vcpu = writer(ram, f"mov edi, {DATA + 64}; mov ecx, 100; rep stosd")
    assert vcpu.run() == x86.EXIT_STORE
    assert vcpu.run() == x86.EXIT_STORE
    assert vcpu.run() == x86.EXIT_HLT
    assert vcpu.ecx == 0


def test_without_a_monitor_stores_are_stores() -> None:
    vcpu = writer(memory())
    assert vcpu.run() == x86.EXIT_HLT


def test_a_store_to_the_line_that_only_itself_monitors_is_made() -> None:
    ram = memory()
    own, other = DATA + 0x1000, DATA
    source = f"""
        mov eax, {own}; monitor; mwait; nop
        mov dword ptr [{own}], 1
        mov dword ptr [{own + 64}], 1
        mov eax, {other}; monitor
        mov dword ptr [{other + 4}], 1
        hlt
    """
    vcpu = flat32(source, memory=ram)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    vcpu.stops_before_wakes, vcpu.own_store_ns = True, 700
    waiting = sleeper(ram)
    assert vcpu.run() == x86.EXIT_IDLE
    vcpu.kick()
    assert vcpu.run() == x86.EXIT_INTR
    began = vcpu.time - vcpu.instructions
    assert vcpu.run() == x86.EXIT_STORE
    assert vcpu.mmio_address == own + 64
    assert vcpu.time - vcpu.instructions - began == 700
    assert vcpu.run() == x86.EXIT_STORE  # the sleeper monitors that line, too
    assert vcpu.mmio_address == other + 4
    assert vcpu.time - vcpu.instructions - began == 700
    assert not waiting.runnable


def test_pages_can_be_named_before_a_vcpu_runs() -> None:
    ram = memory()
    ram.hold_stores(DATA, 4096)
    vcpu = writer(ram)
    assert vcpu.run() == x86.EXIT_STORE
    assert not ram.is_protected(DATA)
    assert vcpu.run() == x86.EXIT_HLT
    with pytest.raises(RuntimeError, match="has run"):
        ram.hold_stores(DATA, 4096)
    with pytest.raises(ValueError, match="guest RAM"):
        ram.hold_stores(RAM, 1)
    sleeper(ram)
    assert ram.is_protected(DATA)


def test_nothing_ends_unless_asked_for() -> None:
    ram = memory()
    sleeper(ram)
    vcpu = writer(ram)
    vcpu.stops_before_wakes = False
    assert vcpu.run() == x86.EXIT_HLT


def test_an_interrupt_of_the_apic_is_held_back() -> None:
    ram = memory()
    target = flat32("sti; hlt; inc ebx", memory=ram, index=1)
    target.userspace_exits = 0
    assert target.run() == x86.EXIT_IDLE
    sender = flat32(
        f"""
            mov dword ptr [{APIC_ICR_LOW + 16}], 0x01000000
            mov dword ptr [{APIC_ICR_LOW}], 0x400
            inc ebx
            hlt
        """,
        memory=ram,
    )
    sender.stops_before_wakes = True
    assert sender.run() == x86.EXIT_IPI
    assert sender.instructions == 1
    assert not target.runnable
    assert sender.run(1) == x86.EXIT_LIMIT
    assert target.runnable


def test_time_set_by_hand_is_that_of_the_next_instruction() -> None:
    vcpu = flat32("rdtsc; mov esi, eax; hlt", memory=memory())
    vcpu.time = 1000
    assert vcpu.run() == x86.EXIT_HLT
    assert vcpu.esi == 1001  # behind RDTSC
    assert vcpu.time == 1003
    for wrong in (1002, (1 << 60) + 1):
        with pytest.raises(ValueError, match="guest time"):
            vcpu.time = wrong


def test_an_instruction_takes_what_the_memory_says() -> None:
    ram = x86.Memory(RAM, virtual_time=True, instruction_ns=7)
    vcpu = flat32("nop; rdtsc; mov esi, eax; hlt", memory=ram)
    assert vcpu.run() == x86.EXIT_HLT
    assert (vcpu.esi, vcpu.time) == (14, 28)
    for wrong in (0, 1_000_001):
        with pytest.raises(ValueError, match="instruction_ns"):
            x86.Memory(RAM, virtual_time=True, instruction_ns=wrong)


def test_wall_time_is_not_set() -> None:
    vcpu = flat32("hlt")
    with pytest.raises(ValueError, match="no virtual time"):
        vcpu.time = vcpu.time + 1_000_000_000


def test_a_deadline_is_that_of_the_wait_under_way() -> None:
    vcpu = flat32(f"mov eax, {DATA}; monitor; mwait; inc ebx; hlt", memory=memory())
    before = vcpu.deadline
    vcpu.mwait_policy, vcpu.mwait_timer_ns = x86.MWAIT_TIMER, 500
    assert vcpu.run() == x86.EXIT_IDLE
    began, deadline = vcpu.time, vcpu.deadline
    assert before is None
    assert deadline is not None
    assert began + 499 <= deadline <= began + 500
    asleep = not vcpu.runnable
    vcpu.time = deadline
    assert asleep
    assert vcpu.runnable
    assert vcpu.run() == x86.EXIT_HLT
    assert (vcpu.ebx, vcpu.deadline) == (1, None)
