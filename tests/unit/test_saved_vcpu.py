"""A vCPU saved at any moment goes on bit for bit elsewhere, and no damaged state gets in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

import x86core as x86
from tests.support import DATA, IDT, RAM, Running, assembled, flat32, gate, wait_until, waiter

#: Guest time at which a run ends, and between two stops, in ns.
END = 60_000
STEP = 777

#: Waits in MWAIT, TPAUSE and HLT by turns, passes a line on, sends IPIs, has a periodic timer and
#: asks devices.
WORKER = """
        mov dword ptr [0xfee000f0], 0x1ff
        mov dword ptr [0xfee003e0], 0xb
        mov dword ptr [0xfee00320], 0x20040
        mov dword ptr [0xfee00380], {period}
    again:
        cli
        mov eax, {mine}; xor ecx, ecx; xor edx, edx
        monitor
        cmp dword ptr [{mine}], 0
        jne woken
        xor eax, eax
        sti
        mwait
        jmp again
    woken:
        mov dword ptr [{mine}], 0
        inc ebx
        in al, 0x71
        add edi, eax
        mov eax, dword ptr [0xf0000000 + {index} * 8 + 1]
        add edi, eax
        imul edi, edi, 1664525
        mov dword ptr [0xfee00310], {target} << 24
        mov dword ptr [0xfee00300], 0x4050
        test ebx, 1
        jz pass
        sti
        hlt
        rdtsc
        add eax, 3000
        adc edx, 0
        xor ecx, ecx
        tpause ecx
    pass:
        mov esi, {data}; mov ebp, edi
        mov edi, {data} + 0x400 + {index} * 128; mov ecx, 32
        rep stosd
        mov edi, ebp
        mov dword ptr [{next}], 1
        mov dword ptr [{next_but_one}], 1
        jmp again
"""

#: Of the timer (40h) and the IPI (50h); shared by all.
HANDLER = """
        lock inc dword ptr [{counter}]
        mov dword ptr [0xfee000b0], 0
        iret
"""


class Saved(NamedTuple):
    """A board that is not running."""

    vcpus: list[bytes]
    lockstep: dict[str, int]
    pages: dict[int, bytes]
    asked: int


@dataclass
class Board:
    """Four vCPUs in turn, and a device whose answers depend on how often it was asked."""

    turn: int
    policy: int
    memory: x86.Memory = field(default_factory=lambda: x86.Memory(RAM, virtual_time=True))
    asked: int = 0

    def __post_init__(self) -> None:
        self.vcpus = []
        for index in range(4):
            source = WORKER.format(
                index=index,
                mine=DATA + 64 * index,
                next=DATA + 64 * ((index + 1) % 4),
                next_but_one=DATA + 64 * ((index + 2) % 4),
                target=(index + 1) % 4,
                period=900 + 100 * index,
                data=DATA,
            )
            vcpu = flat32(source, memory=self.memory, index=index)
            vcpu.features = ("waitpkg",)
            vcpu.mwait_policy = self.policy
            vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT if index == 3 else 0
            self.vcpus.append(vcpu)
        for vector in (0x40, 0x50):
            at = 0x5000 + vector
            self.memory.write(at, assembled(HANDLER.format(counter=DATA + 0x800 + vector), at, 32))
            self.memory.write(IDT + 8 * vector, gate(at))
        self.memory.write(DATA, b"\1")
        self.lockstep = x86.Lockstep(self.vcpus, self.turn)

    def go_on(self, until_time: int) -> bool:
        """To the next exit, or to a time; whether there was an exit."""
        vcpu, reason = self.lockstep.run(until_time)
        if vcpu is None:
            assert reason == x86.EXIT_LIMIT
            return False
        self.answer(vcpu, reason)
        return True

    def answer(self, vcpu: x86.VCPU, reason: int) -> None:
        if reason == x86.EXIT_HLT:
            return
        self.asked += 1
        answer = self.asked * 2654435761 & 0xFFFFFFFF
        if reason == x86.EXIT_IO:
            vcpu.io_data = answer
        else:
            assert reason == x86.EXIT_MMIO
            vcpu.mmio_data = answer

    def finish(self) -> tuple[object, ...]:
        while self.lockstep.time < END:
            self.go_on(END)
        return (
            self.lockstep.trace_hash,
            self.lockstep.save(),
            self.asked,
            self.memory.read(0, RAM),
            [vcpu.lapic for vcpu in self.vcpus],
            [(vcpu.instructions, vcpu.stats["irq_injections"]) for vcpu in self.vcpus],
        )

    def saved(self) -> Saved:
        pages = {int(n): self.memory.read(int(n) * 4096, 4096) for n in self.memory.pages_in_use()}
        return Saved([v.save() for v in self.vcpus], self.lockstep.save(), pages, self.asked)

    def restored(self, saved: Saved) -> Board:
        other = Board(self.turn, self.policy, asked=saved.asked)
        other.memory.write(0, bytes(RAM))
        for number, page in saved.pages.items():
            other.memory.write(number * 4096, page)
        for vcpu, state in zip(other.vcpus, saved.vcpus, strict=True):
            vcpu.restore(state)
            assert vcpu.save() == state
        other.lockstep.restore(saved.lockstep)
        return other


@pytest.mark.parametrize(
    ("turn", "policy"),
    [
        (1, x86.MWAIT_FAULT),
        (13, x86.MWAIT_FAULT),
        (50, x86.MWAIT_SCAN),
        (100, x86.MWAIT_ADAPTIVE),
        (1000, x86.MWAIT_TIMER),
    ],
)
def test_saved_at_any_stop_it_goes_on_bit_for_bit(turn: int, policy: int) -> None:
    board = Board(turn, policy)
    states = []
    while board.lockstep.time < END:
        board.go_on(min(board.lockstep.time + STEP, END))
        states.append(board.saved())
    end = board.finish()
    assert all(vcpu.ebx > 3 for vcpu in board.vcpus)
    assert all(vcpu.stats["irq_injections"] > 3 for vcpu in board.vcpus)
    for state in random.Random(turn).sample(states, 12):
        assert board.restored(state).finish() == end
    assert Board(turn, policy).finish() == end  # nor did the stops change anything


def test_an_instruction_limit_cuts_a_turn_and_it_goes_on() -> None:
    board = Board(100, x86.MWAIT_FAULT)
    for limit in range(50, 400, 37):
        board.lockstep.max_instructions = limit
        vcpu, reason = board.lockstep.run(END)
        while reason != x86.EXIT_LIMIT:
            assert vcpu is not None
            board.answer(vcpu, reason)
            vcpu, reason = board.lockstep.run(END)
        assert vcpu is not None
        assert vcpu.instructions == limit
        board = board.restored(board.saved())
    assert board.finish() == Board(100, x86.MWAIT_FAULT).finish()


def test_stop_ends_a_run_and_changes_nothing() -> None:
    board = Board(100, x86.MWAIT_FAULT)
    for _ in range(20):
        board.lockstep.stop()
        assert board.lockstep.run(END) == (None, x86.EXIT_INTR)
        board.go_on(END)
    assert board.finish() == Board(100, x86.MWAIT_FAULT).finish()


def test_on_wall_time_who_was_kicked_out_of_hlt_waits_on_elsewhere() -> None:
    first = flat32("sti; hlt; inc ebx; cli; hlt")
    first.userspace_exits = 0
    with Running(first) as running:
        running.asleep("hlt")
        first.kick()
        assert running.exit() == "EXIT_INTR"
    memory = x86.Memory(RAM)
    memory.write(0, first.memory.read(0, RAM))
    second = x86.VCPU(memory)
    second.restore(first.save())
    assert second.mp_state == x86.MP_STATE_HALTED
    with Running(second) as running:
        running.asleep("hlt")
        second.interrupt(0x40)
        wait_until(lambda: second.last_event == 0x40, "the interrupt to wake it")


@pytest.mark.parametrize("policy", [x86.MWAIT_FAULT, x86.MWAIT_SCAN])
def test_a_store_wakes_who_was_restored_asleep(policy: int) -> None:
    memory = x86.Memory(RAM, virtual_time=True)
    sleeper = waiter(memory=memory)
    sleeper.mwait_policy = policy
    assert sleeper.run() == x86.EXIT_IDLE
    assert sleeper.monitor == ("waiting", DATA)
    copy = x86.Memory(RAM, virtual_time=True)
    copy.write(0, memory.read(0, RAM))
    other = x86.VCPU(copy)
    other.restore(sleeper.save())
    assert other.monitor == ("waiting", DATA)
    assert other.run() == x86.EXIT_IDLE
    copy.write(DATA + 8, b"x")
    assert other.run() == x86.EXIT_HLT
    assert other.stats["wakes_store"] == 1


def test_an_armed_monitor_sees_the_store_behind_the_restore() -> None:
    memory = x86.Memory(RAM, virtual_time=True)
    source = f"mov eax, {DATA}; xor ecx, ecx; xor edx, edx; monitor; mwait; hlt"
    vcpu = flat32(source, memory=memory)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    vcpu.run(4)
    assert vcpu.monitor == ("armed", DATA)
    vcpu.restore(vcpu.save())
    assert vcpu.monitor == ("armed", DATA)
    memory.write(DATA, b"x")
    assert vcpu.run() == x86.EXIT_HLT
    assert vcpu.stats["mwait_fallthroughs"] == 1


def test_an_exit_is_answered_after_the_restore() -> None:
    vcpu = flat32("in eax, 0x10; mov ebx, eax; hlt")
    assert vcpu.run() == x86.EXIT_IO
    memory = x86.Memory(RAM)
    memory.write(0, vcpu.memory.read(0, RAM))
    other = x86.VCPU(memory)
    other.restore(vcpu.save())
    assert (other.exit_reason, other.io_port, other.io_size) == (x86.EXIT_IO, 0x10, 4)
    other.io_data = 0x12345678
    assert other.run() == x86.EXIT_HLT
    assert other.ebx == 0x12345678


def test_wall_time_goes_on_from_the_saved_moment() -> None:
    memory = x86.Memory(RAM)
    memory.time = 10**15
    assert 10**15 <= memory.time < 10**15 + 10**12
    with pytest.raises(ValueError, match="each vCPU's own"):
        _ = x86.Memory(RAM, virtual_time=True).time
    with pytest.raises(ValueError, match="guest time -1"):
        memory.time = -1


def test_pages_in_use() -> None:
    memory = x86.Memory(RAM)
    assert list(memory.pages_in_use()) == []
    memory.write(0x1FFF, b"\1\2")
    memory.write(RAM - 1, b"\1")
    memory.write(0x5000, bytes(4096))
    assert list(memory.pages_in_use()) == [1, 2, 255]


def test_only_the_same_vcpu() -> None:
    memory = x86.Memory(RAM)
    with pytest.raises(ValueError, match="that of vCPU 1, not 0"):
        x86.VCPU(memory).restore(x86.VCPU(memory, 1).save())


def test_not_while_it_runs() -> None:
    vcpu = flat32("again: jmp again")
    with Running(vcpu):
        wait_until(lambda: vcpu.instructions > 0, "the guest to run")
        with pytest.raises(RuntimeError, match="kick it"):
            vcpu.save()
        vcpu.kick()


def test_every_flipped_bit_is_refused_or_harmless() -> None:
    """What is taken runs; what is refused leaves the vCPU as it was."""
    board = Board(50, x86.MWAIT_FAULT)
    for _ in range(10):
        board.go_on(END)
    vcpu = board.vcpus[1]
    good = vcpu.save()
    chance = random.Random(1)
    refused = clear = 0
    for _ in range(1500):
        bad = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        try:
            vcpu.restore(bytes(bad))
        except ValueError as error:
            refused += 1
            clear += "not the state of a vCPU: " in str(error)
            continue
        vcpu.run(50)
        vcpu.restore(good)
        assert vcpu.save() == good
    assert refused == clear > 100


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000])
def test_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"it has {size} bytes"):
        x86.VCPU(x86.Memory(RAM)).restore(bytes(size))


@pytest.mark.parametrize(
    "change",
    [{"left": 101}, {"position": 4}, {"turn": 0}, {"time": -1}, {"active": "1"}, {"more": 1}],
)
def test_no_state_of_a_lockstep(change: dict[str, object]) -> None:
    lockstep = Board(100, x86.MWAIT_FAULT).lockstep
    before = lockstep.save()
    with pytest.raises(ValueError, match="not the state of a Lockstep"):
        lockstep.restore(before | change)  # type: ignore[arg-type]
    assert lockstep.save() == before
