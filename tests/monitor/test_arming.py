"""Between MONITOR and MWAIT: what triggers an armed monitor, and what disarms it."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.monitor.conftest import Sleep, still_asleep
from tests.support import (
    CODE,
    DATA,
    FLAG_IF,
    Running,
    flat32,
    real16,
    run,
    wait_until,
    waiter,
    word32,
)

LINE = DATA
OTHER = DATA + 0x1000
STOP = "out 0x80, al"


def armed(between: str = STOP) -> x86.VCPU:
    """A vCPU that has left the core between its MONITOR and its MWAIT, armed."""
    vcpu = waiter(between)
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", LINE)
    return vcpu


def falls_through(vcpu: x86.VCPU) -> bool:
    """Run to the end without MWAIT having slept."""
    with Running(vcpu) as running:
        reason = running.exit()
    return reason == "EXIT_HLT" and vcpu.stats["mwait_waits"] == 0


def test_states_of_a_monitor() -> None:
    """idle, armed, waiting, triggered, and idle again after MWAIT."""
    vcpu = waiter(STOP)
    assert vcpu.monitor[0] == "idle"
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", LINE)
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert vcpu.monitor == ("waiting", LINE)
        vcpu.memory.write(LINE, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert vcpu.monitor[0] == "idle"


@pytest.mark.parametrize("host", [True, False])
def test_store_between_monitor_and_mwait(host: bool) -> None:
    """The wake that is easiest to lose: MWAIT must not sleep."""
    vcpu = armed()
    if host:
        vcpu.memory.write(LINE + 63, b"\1")
    else:
        writer = flat32(f"mov byte ptr [{LINE + 63}], 1; hlt", memory=vcpu.memory, index=1)
        assert run(writer) == "EXIT_HLT"
        assert writer.stats["monitor_triggers_vcpu"] == 1
    assert vcpu.monitor[0] == "triggered"
    assert falls_through(vcpu)


def test_store_to_another_line_between_monitor_and_mwait() -> None:
    vcpu = armed()
    vcpu.memory.write(LINE + 64, b"\1")
    assert vcpu.monitor == ("armed", LINE)
    with Running(vcpu) as running:
        running.asleep("mwait")


@pytest.mark.parametrize(
    "store",
    [
        f"mov byte ptr [{LINE + 5}], 1",
        f"lock inc dword ptr [{LINE}]",
        f"mov edi, {LINE}; stosd",
        f"mov ebp, esp; mov esp, {LINE + 4}; push eax; mov esp, ebp",
    ],
)
def test_own_store_triggers_the_own_armed_monitor(store: str) -> None:
    assert falls_through(waiter(store))


def test_own_store_to_another_line_does_not() -> None:
    vcpu = waiter(f"mov byte ptr [{LINE + 64}], 1")
    with Running(vcpu) as running:
        running.asleep("mwait")
    assert vcpu.stats["false_faults"] == 1


@pytest.mark.parametrize("address", [OTHER, LINE + 64])
def test_monitor_again_replaces_the_line(sleep: Sleep, memory: x86.Memory, address: int) -> None:
    """A store to the first line no longer wakes, one to the second does."""
    running = sleep(f"mov eax, {address}; monitor; jmp now; now: monitor", address=LINE)
    assert running.vcpu.monitor == ("waiting", address)
    memory.write(LINE, b"\1")
    assert still_asleep(running)
    memory.write(address, b"\1")
    assert running.exit() == "EXIT_HLT"


def test_monitor_again_forgets_a_trigger() -> None:
    """Each MONITOR begins anew: what happened before is what the guest looks at after it."""
    vcpu = waiter(f"mov byte ptr [{LINE}], 1; mov eax, {LINE}; monitor")
    with Running(vcpu) as running:
        running.asleep("mwait")


def test_mwait_without_monitor_does_not_wait() -> None:
    vcpu = flat32("xor eax, eax; xor ecx, ecx; mwait; hlt")
    vcpu.mwait_policy = x86.MWAIT_FAULT
    assert falls_through(vcpu)
    assert vcpu.stats["mwait_instructions"] == 1


def test_mwait_uses_its_monitor_up() -> None:
    """A second MWAIT without a MONITOR in between is a NOP."""
    vcpu = armed(STOP)
    vcpu.memory.write(CODE + 0x800, b"\x0f\x01\xc9\xf4")  # MWAIT; HLT
    vcpu.memory.write(LINE, b"\1")
    assert falls_through(vcpu)
    vcpu.eip, vcpu.ecx, vcpu.mp_state = CODE + 0x800, 0, x86.MP_STATE_RUNNABLE
    assert falls_through(vcpu)
    assert vcpu.stats["mwait_instructions"] == 2


@pytest.mark.parametrize(
    "transfer",
    [
        ".byte 0xea; .long next; .word 8; next:",
        ".byte 0x9a; .long next; .word 8; next: add esp, 8",
        "push 8; push offset next; retf; next:",
        "pushf; push 8; push offset next; iret; next:",
        "int 0x41",
    ],
    ids=["far jmp", "far call", "far ret", "iret", "int"],
)
def test_far_control_transfer_disarms(transfer: str) -> None:
    """SDM vol. 2, MWAIT: a far control transfer between the two must not leave it waiting."""
    vcpu = waiter(transfer)
    vcpu.memory.write(0x3041, b"\xcf")  # the handler of 41h is IRET
    assert falls_through(vcpu)


@pytest.mark.parametrize(
    "transfer", ["jmp next; next:", "call next; next: pop eax", "push offset next; ret; next:"]
)
def test_near_control_transfer_does_not_disarm(transfer: str) -> None:
    with Running(waiter(transfer)) as running:
        running.asleep("mwait")


def test_an_interrupt_between_the_two_disarms() -> None:
    """Its delivery and its IRET are far transfers; the guest's own re-check is then stale."""
    vcpu = armed()
    vcpu.memory.write(0x3041, b"\xcf")
    vcpu.eflags |= FLAG_IF
    vcpu.interrupt(0x41)
    assert falls_through(vcpu)


def test_exits_between_the_two_do_not_disarm() -> None:
    vcpu = armed(f"{STOP}; mov ebx, [0x200000]")
    assert run(vcpu) == "EXIT_MMIO"
    assert vcpu.monitor == ("armed", LINE)
    with Running(vcpu) as running:
        running.asleep("mwait")


def test_line_beyond_ram_is_never_waited_for() -> None:
    """No store to it can be seen, so a wait would never end."""
    assert falls_through(waiter(address=0x200000))


def test_a_peer_in_the_guest_need_not_have_dropped_its_tags_yet(memory: x86.Memory) -> None:
    """An arm that is not acknowledged leaves the monitor idle, so that MWAIT is a NOP.

    With a peer that runs, the first MONITOR of a page cannot know that the peer has answered; with
    a few fresh pages at least one must show it. Later turns of the idle loop arm.
    """
    # Long comparisons, element by element: it answers only now and then.
    compare = "mov esi, 0x80000; mov edi, 0xc0000; mov ecx, 0x40000; repe cmpsb"
    source = f"cld; again: inc dword ptr [{OTHER}]; {compare}; jmp again"
    peer = flat32(source, memory=memory, index=1)
    source = """
        again:
            xor ecx, ecx
            xor edx, edx
            mov eax, edi
            monitor
            out 0x80, al
            xor eax, eax
            mwait
            jmp again
    """
    vcpu = flat32(source, memory=memory)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    with Running(peer):
        wait_until(lambda: word32(memory, OTHER) > 0, "the peer runs")
        for page in range(16):
            vcpu.edi = 0x40000 + page * 0x1000
            before = vcpu.stats
            assert run(vcpu) == "EXIT_IO"
            after = vcpu.stats
            unacknowledged = after["monitor_unacknowledged"] - before["monitor_unacknowledged"]
            arms = after["monitor_arms"] - before["monitor_arms"]
            assert arms + unacknowledged == 1
            if unacknowledged:
                assert vcpu.monitor[0] == "idle"
                assert run(vcpu) == "EXIT_IO", "MWAIT was a NOP, and the loop came round"
            while vcpu.monitor[0] != "armed":
                assert run(vcpu) == "EXIT_IO"
            vcpu.memory.write(vcpu.edi, b"\1")  # the next MWAIT falls through
    stats = vcpu.stats
    assert stats["monitor_unacknowledged"] > 0
    assert stats["mwait_waits"] == 0


def test_real_mode_uses_ax_and_ds(memory: x86.Memory) -> None:
    """A 16-bit address size takes AX alone, and the segment's base is part of the address."""
    vcpu = real16("xor ecx, ecx; monitor; jmp go; go: monitor; mwait; hlt", memory=memory)
    vcpu.eax, vcpu.ds.selector, vcpu.ds.base = 0xABCD0048, DATA >> 4, DATA
    vcpu.mwait_policy = x86.MWAIT_FAULT
    with Running(vcpu) as running:
        running.asleep("mwait")
        assert vcpu.monitor == ("waiting", DATA + 0x40)
        memory.write(DATA + 0x7F, b"\1")
        assert running.exit() == "EXIT_HLT"


def test_segment_override_and_base(memory: x86.Memory) -> None:
    vcpu = flat32(
        "xor ecx, ecx; .byte 0x64; monitor; jmp go; go: .byte 0x64; monitor; out 0x80, al",
        memory=memory,
    )
    vcpu.eax, vcpu.fs.base = 0x100, OTHER
    vcpu.mwait_policy = x86.MWAIT_FAULT
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", OTHER + 0x100)
