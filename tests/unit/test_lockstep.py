"""vCPUs in turn in virtual time: the same every time, and to the instruction."""

from __future__ import annotations

import threading

import pytest

import x86core as x86
from tests.idle.support import readable
from tests.support import DATA, FLAG_IF, PATIENCE, RAM, flat32, word32

FOREVER = 1 << 60

#: A ring: each vCPU waits in MWAIT until its number comes up, counts, and passes the turn on.
RING = """
    again:
        mov eax, {mine}; xor ecx, ecx; xor edx, edx
        monitor
        cmp dword ptr [{mine}], 0
        jne woken
        mwait
        jmp again
    woken:
        mov dword ptr [{mine}], 0
        inc ebx
        rdtsc
        add edi, eax
        mov dword ptr [{next}], 1
        jmp again
"""


def memory() -> x86.Memory:
    return x86.Memory(RAM, virtual_time=True)


def ring(count: int) -> tuple[x86.Memory, list[x86.VCPU]]:
    ram, vcpus = memory(), []
    for index in range(count):
        mine, following = DATA + 64 * index, DATA + 64 * ((index + 1) % count)
        vcpu = flat32(RING.format(mine=mine, next=following), memory=ram, index=index)
        vcpu.mwait_policy = x86.MWAIT_FAULT
        vcpus.append(vcpu)
    ram.write(DATA, b"\1")
    return ram, vcpus


def timer_guest(count: int) -> x86.VCPU:
    """Arms the APIC timer for `count` ns, then HLTs with interrupts on."""
    vcpu = flat32(
        f"""
            mov dword ptr [0xfee000f0], 0x1ff
            mov dword ptr [0xfee003e0], 0xb
            mov dword ptr [0xfee00320], 0x40
            mov dword ptr [0xfee00380], {count}
            rdtsc
            mov esi, eax
        idle:
            sti
            hlt
            jmp idle
        """,
        memory=memory(),
    )
    vcpu.userspace_exits = 0
    vcpu.memory.write(0x3040, b"\xf4")  # the handler of 40h is HLT, interrupts off
    return vcpu


@pytest.mark.parametrize("turn", [1, 7, 100, 1000])
def test_the_same_twice(turn: int) -> None:
    def once() -> tuple[int, list[int], list[int]]:
        _, vcpus = ring(4)
        lockstep = x86.Lockstep(vcpus, turn)
        assert lockstep.run(100_000) == (None, x86.EXIT_LIMIT)
        assert all(vcpu.ebx > 1 for vcpu in vcpus)
        return lockstep.trace_hash, [v.instructions for v in vcpus], [v.edi for v in vcpus]

    assert once() == once()


def test_another_turn_is_another_trace() -> None:
    hashes = set()
    for turn in (10, 11):
        _, vcpus = ring(2)
        lockstep = x86.Lockstep(vcpus, turn)
        lockstep.run(10_000)
        hashes.add(lockstep.trace_hash)
    assert len(hashes) == 2


def test_time_goes_on_with_instructions() -> None:
    vcpu = flat32("again: rdtsc; jmp again", memory=memory())
    lockstep = x86.Lockstep([vcpu], turn=100)
    assert lockstep.run(5000) == (None, x86.EXIT_LIMIT)
    assert (lockstep.time, vcpu.instructions) == (5000, 5000)
    assert vcpu.eax == 4999


def test_who_waits_lets_time_pass_to_the_deadline() -> None:
    vcpu = timer_guest(1_000_000)
    lockstep = x86.Lockstep([vcpu], turn=100)
    assert lockstep.run(FOREVER) == (None, x86.EXIT_IDLE)
    assert vcpu.stats["irq_injections"] == 1
    assert 1_000_000 <= lockstep.time < 1_000_300
    assert vcpu.instructions < 20


def test_a_running_guest_meets_its_timer_at_the_instruction() -> None:
    moments = set()
    for turn in (1, 10, 333):
        guest = timer_guest(1000)
        source = guest.memory.read(guest.eip, 64)
        guest.memory.write(guest.eip + source.index(b"\xfb\xf4") + 1, b"\x90")  # a NOP for the HLT
        lockstep = x86.Lockstep([guest], turn)
        assert lockstep.run(FOREVER) == (None, x86.EXIT_IDLE)
        moments.add(guest.instructions)
    assert len(moments) == 1


def test_all_wait_and_nothing_is_ahead() -> None:
    vcpu = flat32("sti; hlt", memory=memory())
    vcpu.userspace_exits = 0
    lockstep = x86.Lockstep([vcpu])
    assert lockstep.run(FOREVER) == (None, x86.EXIT_IDLE)
    lockstep.time = 12345
    assert lockstep.run(FOREVER) == (None, x86.EXIT_IDLE)
    assert lockstep.time == 12345
    vcpu.interrupt(0x40)
    assert lockstep.run(20_000) == (None, x86.EXIT_IDLE)
    assert vcpu.stats["irq_injections"] == 1


def test_an_exit_names_its_vcpu_and_its_turn_goes_on() -> None:
    ram = memory()
    first = flat32("again: jmp again", memory=ram, index=0)
    second = flat32("mov al, 7; out 0x80, al; again: jmp again", memory=ram, index=1)
    lockstep = x86.Lockstep([first, second], turn=50)
    assert lockstep.run(FOREVER) == (second, x86.EXIT_IO)
    assert (second.io_port, second.io_data) == (0x80, 7)
    with pytest.raises(ValueError, match="a round is under way"):
        lockstep.time = 1000
    assert lockstep.run(100) == (None, x86.EXIT_LIMIT)
    assert [first.instructions, second.instructions] == [100, 100]


def test_a_vcpu_alone_leaves_instead_of_waiting() -> None:
    vcpu = flat32("sti; hlt", memory=memory())
    vcpu.userspace_exits = 0
    assert vcpu.run() == x86.EXIT_IDLE
    assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert vcpu.waiting == "hlt"


def test_hlt_that_exits_does_so_once_and_lets_the_others_run() -> None:
    ram = memory()
    sleeper = flat32("mov dword ptr [0xfee000f0], 0x1ff; sti; hlt", memory=ram, index=0)
    sleeper.userspace_exits = x86.USERSPACE_EXIT_HLT
    sender = flat32(
        """
            mov ecx, 500
        later:
            dec ecx
            jnz later
            mov dword ptr [0xfee00310], 0
            mov dword ptr [0xfee00300], 0x40
        again:
            jmp again
        """,
        memory=ram,
        index=1,
    )
    lockstep = x86.Lockstep([sleeper, sender], turn=50)
    assert lockstep.run(5000) == (sleeper, x86.EXIT_HLT)
    assert (sleeper.mp_state, sleeper.last_event) == (x86.MP_STATE_HALTED, -1)
    assert lockstep.run(5000) == (sleeper, x86.EXIT_HLT)  # of the interrupt's handler
    assert (sleeper.last_event, sleeper.stats["halt_exits"]) == (0x40, 2)
    assert lockstep.run(5000) == (None, x86.EXIT_LIMIT)
    assert sender.instructions == 5000


@pytest.mark.parametrize("turn", [1, 10, 333, 1000, 100_000])
@pytest.mark.parametrize("beside_another", [False, True])
def test_who_waits_goes_on_at_its_deadline_whatever_the_turn(
    turn: int, beside_another: bool
) -> None:
    vcpu = timer_guest(400)
    busy = flat32("again: jmp again", memory=vcpu.memory, index=1)
    vcpu.memory.write(0x3040, b"\x0f\x31\xf4")  # RDTSC; HLT
    lockstep = x86.Lockstep([busy, vcpu] if beside_another else [vcpu], turn)
    assert lockstep.run(2000)[0] is None
    due = (
        vcpu.esi - 2 + 400
    )  # RDTSC tells the time behind itself, the timer began at its instruction
    assert vcpu.eax == due + 1


def test_wake_fd_tells_who_waits() -> None:
    vcpu = flat32("sti; hlt", memory=memory())
    vcpu.userspace_exits = 0
    assert readable(vcpu.wake_fd)
    assert x86.Lockstep([vcpu]).run(FOREVER) == (None, x86.EXIT_IDLE)
    assert not readable(vcpu.wake_fd)
    vcpu.interrupt(0x40)
    assert readable(vcpu.wake_fd)


def test_a_timer_does_not_wake_who_waits_to_be_started() -> None:
    vcpu = timer_guest(400)
    lockstep = x86.Lockstep([vcpu], turn=10)
    lockstep.run(20)
    vcpu.mp_state = x86.MP_STATE_INIT_RECEIVED
    vcpu.eflags |= FLAG_IF
    kick = threading.Timer(PATIENCE, vcpu.kick)  # or it would look for ever
    kick.start()
    assert lockstep.run(FOREVER) == (None, x86.EXIT_IDLE)
    kick.cancel()


def test_a_store_wakes_across_turns() -> None:
    ram, vcpus = ring(3)
    x86.Lockstep(vcpus, 64).run(50_000)
    turns = [vcpu.ebx for vcpu in vcpus]
    assert max(turns) - min(turns) <= 1
    assert sum(word32(ram, DATA + 64 * index) for index in range(3)) <= 1
    assert all(vcpu.stats["wakes_store"] > 1 for vcpu in vcpus)


@pytest.mark.parametrize("turn", [0, -1, 1 << 31])
def test_no_such_turn(turn: int) -> None:
    with pytest.raises(ValueError, match="turn"):
        x86.Lockstep([flat32("hlt", memory=memory())], turn)


def test_what_cannot_run_in_turn() -> None:
    with pytest.raises(ValueError, match="no vCPUs"):
        x86.Lockstep([])
    with pytest.raises(ValueError, match="virtual_time=True"):
        x86.Lockstep([flat32("hlt")])
    with pytest.raises(ValueError, match="one memory"):
        x86.Lockstep([flat32("hlt", memory=memory()), flat32("hlt", memory=memory(), index=1)])
    with pytest.raises(ValueError, match="guest time"):
        x86.Lockstep([flat32("hlt", memory=memory())]).run(-1)
