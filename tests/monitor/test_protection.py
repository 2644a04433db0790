"""Write protection of monitored pages: false faults, stickiness, release."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import x86core as x86
from tests.monitor.conftest import Sleep, still_asleep
from tests.support import DATA, Running, code_address, flat32, run, waiter, word32

LINE = DATA
BESIDE = DATA + 0x800
MANY = 5000

GuestStores = Callable[..., x86.VCPU]


def stores(memory: x86.Memory, address: int, index: int = 9) -> x86.VCPU:
    """A vCPU that stores ECX times to one address."""
    source = f"again: inc dword ptr [{address}]; dec ecx; jnz again; hlt"
    return flat32(source, memory=memory, index=index)


def restart(vcpu: x86.VCPU) -> None:
    """Back to the first instruction of its guest, with its counters as they are."""
    vcpu.eip, vcpu.mp_state = code_address(vcpu.index), x86.MP_STATE_RUNNABLE


def test_false_fault_is_counted_and_nobody_woken(sleep: Sleep, guest_stores: GuestStores) -> None:
    running = sleep()
    writer = guest_stores(f"mov byte ptr [{BESIDE}], 1; mov byte ptr [{LINE + 64}], 1")
    stats = writer.stats
    assert (stats["write_faults"], stats["false_faults"]) == (2, 2)
    assert stats["monitor_triggers_vcpu"] == 0
    assert still_asleep(running)


def test_a_hit_is_a_write_fault_and_no_false_one(sleep: Sleep, guest_stores: GuestStores) -> None:
    running = sleep()
    writer = guest_stores(f"mov byte ptr [{LINE}], 1")
    assert running.exit() == "EXIT_HLT"
    stats = writer.stats
    assert (stats["write_faults"], stats["false_faults"]) == (1, 0)
    assert stats["monitor_triggers_vcpu"] == 1


def test_stores_to_other_pages_are_not_faults(sleep: Sleep, guest_stores: GuestStores) -> None:
    running = sleep()
    writer = guest_stores(f"mov byte ptr [{DATA + 0x1000}], 1; mov byte ptr [{DATA - 1}], 1")
    assert writer.stats["write_faults"] == 0
    assert still_asleep(running)


def test_protection_outlives_the_wake(memory: x86.Memory) -> None:
    """Arming the same page again protects nothing anew and needs no acknowledgement."""
    vcpu = waiter(memory=memory)
    for turn in range(1, 6):
        with Running(vcpu) as running:
            running.asleep("mwait")
            memory.write(LINE, b"\1")
            assert running.exit() == "EXIT_HLT"
        stats = vcpu.stats
        assert stats["page_protections"] == 1
        assert stats["page_releases"] == 0
        assert stats["mwait_waits"] == turn
        restart(vcpu)
    assert vcpu.stats["monitor_unacknowledged"] <= 1


def test_protection_covers_every_line_of_its_page(memory: x86.Memory) -> None:
    vcpu = waiter(f"mov eax, {DATA + 0xFC0}; monitor", memory=memory)
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert vcpu.monitor == ("waiting", DATA + 0xFC0)
        assert vcpu.stats["page_protections"] == 1
        assert vcpu.stats["monitor_unacknowledged"] <= 1


def test_false_faults_with_nothing_armed_release_the_page(memory: x86.Memory) -> None:
    """A page that nobody monitors any more must not cost its writers for ever."""
    vcpu = waiter(memory=memory)
    with Running(vcpu) as running:
        running.asleep("mwait")
        memory.write(LINE, b"\1")
        assert running.exit() == "EXIT_HLT"
    writer = stores(memory, BESIDE)
    writer.ecx = MANY
    assert run(writer) == "EXIT_HLT"
    first = writer.stats
    assert first["page_releases"] == 1
    assert 0 < first["write_faults"] < MANY / 2
    restart(writer)
    writer.ecx = MANY
    assert run(writer) == "EXIT_HLT"
    assert writer.stats["write_faults"] == first["write_faults"], "now a store is just a store"
    assert word32(memory, BESIDE) == 2 * MANY


@pytest.mark.parametrize("asleep", [True, False])
def test_a_page_with_an_armed_monitor_is_never_released(memory: x86.Memory, asleep: bool) -> None:
    """However many false faults there are, the one store that counts is seen."""
    vcpu = waiter("" if asleep else "out 0x80, al", memory=memory)
    writer = stores(memory, BESIDE)
    writer.ecx = MANY
    if not asleep:
        assert run(vcpu) == "EXIT_IO"
        assert run(writer) == "EXIT_HLT"
        assert writer.stats["page_releases"] == 0
        assert writer.stats["false_faults"] == MANY
        memory.write(LINE, b"\1")
        assert vcpu.monitor[0] == "triggered"
        assert run(vcpu) == "EXIT_HLT"
        return
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert run(writer) == "EXIT_HLT"
        assert writer.stats["page_releases"] == 0
        assert writer.stats["false_faults"] == MANY
        assert still_asleep(running)
        last = flat32(f"mov byte ptr [{LINE}], 1; hlt", memory=memory, index=8)
        assert run(last) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"


def test_a_released_page_can_be_armed_again(memory: x86.Memory) -> None:
    """Whoever has stored there without a check since the release is caught again."""
    vcpu = waiter(memory=memory)
    writer = stores(memory, LINE)
    for _ in range(3):
        with Running(vcpu) as running:
            running.asleep("mwait")
            writer.ecx = 1
            assert run(writer) == "EXIT_HLT"
            assert running.exit() == "EXIT_HLT"
        restart(writer)
        writer.ecx = MANY
        assert run(writer) == "EXIT_HLT"
        restart(writer)
        restart(vcpu)
    assert writer.stats["page_releases"] == 3
    assert vcpu.stats["page_protections"] == 3
    assert vcpu.stats["wakes_store"] == 3


def test_own_false_faults_are_counted_too() -> None:
    vcpu = waiter(f"mov byte ptr [{BESIDE}], 1; mov byte ptr [{BESIDE}], 2; out 0x80, al")
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor[0] == "armed"
    assert vcpu.stats["false_faults"] == 2


def test_code_on_a_monitored_page(memory: x86.Memory) -> None:
    """Two reasons to take a page's write tags: self-modification and wakes both still work."""
    vcpu = waiter(memory=memory)
    code = b"\xb0\x01\xf4"  # MOV AL, 1; HLT
    memory.write(BESIDE, code)
    runner = flat32("nop", memory=memory, index=1)
    with Running(vcpu) as running:
        running.asleep("mwait")
        for value in (1, 2, 3):
            runner.start_flat32(eip=BESIDE, esp=runner.esp)
            assert run(runner) == "EXIT_HLT"
            assert runner.eax & 0xFF == value
            source = f"inc byte ptr [{BESIDE + 1}]; hlt"
            assert run(flat32(source, memory=memory, index=1 + value)) == "EXIT_HLT"
        assert still_asleep(running)
        assert run(flat32(f"inc byte ptr [{LINE}]; hlt", memory=memory, index=8)) == "EXIT_HLT"
        assert running.exit() == "EXIT_HLT"
