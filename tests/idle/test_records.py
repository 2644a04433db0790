"""Records of what a vCPU did: which wait, what ended it, who that was and when."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from numpy.typing import NDArray

import x86core as x86
from tests.idle.support import (
    HLT_LOOP,
    HLT_WAITS,
    MWAIT_LOOP,
    VECTOR,
    leave_by_signal,
    looping,
    mwait_guest,
)
from tests.support import DATA, NMI, RAM, Running, delivered, flat32, wait_until

#: Room for so many that nobody has taken.
ROOM = 32768
#: Instructions of a block, which virtual time counts when it begins.
BLOCK = 32


def waits(vcpu: x86.VCPU) -> list[np.void]:
    """The records of waits that nobody has taken yet."""
    return [record for record in vcpu.take_records() if record["kind"] < x86.RECORD_ENTRY]


def one_wait(vcpu: x86.VCPU) -> np.void:
    (record,) = waits(vcpu)
    assert record["lost"] == 0
    assert record["begin"] <= record["end"] <= vcpu.time
    assert 0 <= record["polled"] <= record["end"] - record["begin"]
    return record


def while_asleep(vcpu: x86.VCPU, deed: object) -> None:
    """Run the vCPU on a thread, and do something to it once it waits; it leaves run() then."""
    assert callable(deed)
    with Running(vcpu):
        wait_until(lambda: bool(vcpu.waiting), "asleep")
        deed()
        wait_until(lambda: not vcpu.waiting, "awake")


def test_nothing_is_recorded_unless_somebody_wants_it() -> None:
    vcpu = mwait_guest("fault")
    while_asleep(vcpu, lambda: vcpu.memory.write(DATA, b"\1"))
    assert not vcpu.recorded
    assert len(vcpu.take_records()) == vcpu.records_lost == 0
    assert vcpu.times["guest"] == 0
    assert vcpu.stats["run_ns"] == 0


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("fault", x86.MWAIT_FAULT),
        ("adaptive", x86.MWAIT_ADAPTIVE),
        ("passthrough", x86.POLICY_PASSTHROUGH),
    ],
)
def test_a_store_of_the_host(name: str, policy: int) -> None:
    vcpu = mwait_guest(name)
    vcpu.recorded = True
    moments: list[int] = []

    def store() -> None:
        moments.append(vcpu.time)
        vcpu.memory.write(DATA, b"\1")
        moments.append(vcpu.time)

    while_asleep(vcpu, store)
    record = one_wait(vcpu)
    assert record["kind"] == x86.RECORD_MWAIT
    assert record["policy"] == policy
    assert record["cause"] == x86.WAKE_STORE
    assert record["agent"] == x86.AGENT_HOST
    assert record["begin"] <= moments[0] <= record["asked_at"] <= moments[1]
    assert record["asked_at"] <= record["end"]
    whole = record["end"] - record["begin"]
    assert record["polled"] == (whole if name == "passthrough" else 0)


def test_a_store_of_another_vcpu() -> None:
    vcpu = mwait_guest("fault", index=2)
    other = flat32(f"mov dword ptr [{DATA}], 1; hlt", memory=vcpu.memory, index=1)
    vcpu.recorded = True
    while_asleep(vcpu, other.run)
    record = one_wait(vcpu)
    assert (record["cause"], record["agent"]) == (x86.WAKE_STORE, 1)
    assert record["begin"] <= record["asked_at"] <= record["end"]


def test_who_compares_lines_does_not_know_who_stored() -> None:
    vcpu = mwait_guest("scan")
    other = flat32("hlt", memory=vcpu.memory, index=1)
    vcpu.recorded = True

    def store_and_enter() -> None:
        vcpu.memory.write(DATA, b"\1")
        other.run()

    while_asleep(vcpu, store_and_enter)
    record = one_wait(vcpu)
    assert (record["cause"], record["agent"]) == (x86.WAKE_STORE, x86.AGENT_UNKNOWN)
    assert record["asked_at"] == -1


@pytest.mark.parametrize("name", HLT_WAITS)
def test_an_interrupt_of_the_host(name: str) -> None:
    vcpu = looping(HLT_LOOP, hlt=name)
    vcpu.recorded = True
    with Running(vcpu):
        for number in range(3):
            wait_until(lambda: vcpu.waiting == "hlt", "asleep")
            vcpu.interrupt(VECTOR + number)
            wait_until(lambda n=number: vcpu.stats["halt_wakeup"] > n, "woken")  # type: ignore[misc]
    records = waits(vcpu)
    for number, record in enumerate(records[:3]):
        assert (record["kind"], record["cause"]) == (x86.RECORD_HLT, x86.WAKE_INTERRUPT)
        assert record["detail"] == VECTOR + number
        assert record["agent"] == x86.AGENT_HOST
        assert record["begin"] <= record["asked_at"] <= record["end"]
        assert (
            record["policy"]
            == {
                "block": x86.HLT_BLOCK,
                "poll": x86.HLT_POLL,
                "passthrough": x86.POLICY_PASSTHROUGH,
            }[name]
        )
    if len(records) == 4:  # else the kick came before HLT
        assert (records[3]["cause"], records[3]["agent"]) == (x86.WAKE_KICK, x86.AGENT_HOST)


def test_an_nmi() -> None:
    vcpu = mwait_guest("halt")
    vcpu.recorded = True
    while_asleep(vcpu, vcpu.nmi)
    record = one_wait(vcpu)
    assert delivered(vcpu).vector == NMI
    assert (record["cause"], record["agent"]) == (x86.WAKE_NMI, x86.AGENT_HOST)
    assert record["begin"] <= record["asked_at"] <= record["end"]


def test_an_ipi() -> None:
    memory = x86.Memory(RAM)
    enable = "mov dword ptr [0xfee000f0], 0x1ff"
    send = f"mov dword ptr [0xfee00310], 0x2000000; mov dword ptr [0xfee00300], {VECTOR}"
    sender = flat32(f"{enable}; {send}; hlt", memory=memory, index=1)
    vcpu = flat32(f"{enable}; xor ecx, ecx; sti; mwait; hlt", memory=memory, index=2)
    vcpu.mwait_policy = x86.MWAIT_HALT
    vcpu.recorded = True
    while_asleep(vcpu, sender.run)
    record = one_wait(vcpu)
    assert (record["cause"], record["detail"]) == (x86.WAKE_INTERRUPT, VECTOR)
    assert record["agent"] == 1
    assert record["begin"] <= record["asked_at"] <= record["end"]


def test_the_vcpus_own_timer() -> None:
    vcpu = flat32(
        f"""
            mov dword ptr [0xfee000f0], 0x1ff
            mov dword ptr [0xfee003e0], 0xb
            mov dword ptr [0xfee00320], {VECTOR}
            mov dword ptr [0xfee00380], 2000000
            sti
            mwait
            hlt
        """
    )
    vcpu.mwait_policy = x86.MWAIT_HALT
    vcpu.recorded = True
    vcpu.run()
    record = one_wait(vcpu)
    assert (record["cause"], record["detail"]) == (x86.WAKE_INTERRUPT, VECTOR)
    assert (record["agent"], record["asked_at"]) == (x86.AGENT_TIMER, -1)


def test_a_slice_that_is_over() -> None:
    vcpu = mwait_guest("timer")
    vcpu.mwait_timer_ns = 1_000_000
    vcpu.recorded = True
    vcpu.run()
    record = one_wait(vcpu)
    assert (record["cause"], record["agent"]) == (x86.WAKE_LIMIT, x86.AGENT_UNKNOWN)
    assert record["policy"] == x86.MWAIT_TIMER
    assert record["end"] - record["begin"] >= 1_000_000


def test_a_kick_and_a_request() -> None:
    for deed, cause in (("kick", x86.WAKE_KICK), ("immediate_exit", x86.WAKE_REQUEST)):
        vcpu = mwait_guest("fault")
        vcpu.recorded = True

        def do(vcpu: x86.VCPU = vcpu, deed: str = deed) -> None:
            if deed == "kick":
                vcpu.kick()
            else:
                vcpu.immediate_exit = 1

        while_asleep(vcpu, do)
        record = one_wait(vcpu)
        assert (record["cause"], record["agent"]) == (cause, x86.AGENT_HOST)
        assert record["begin"] <= record["asked_at"] <= record["end"]


def test_the_wait_for_a_start() -> None:
    memory = x86.Memory(RAM)
    vcpu = x86.VCPU(memory, index=1)
    memory.write(0x8000, b"\xf4")
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
    vcpu.recorded = True
    while_asleep(vcpu, lambda: vcpu.sipi(8))
    record = one_wait(vcpu)
    assert (record["kind"], record["cause"]) == (x86.RECORD_START, x86.WAKE_START)
    assert record["begin"] <= record["asked_at"] <= record["end"]
    assert vcpu.times["start"] == record["end"] - record["begin"]


def test_entries_and_exits() -> None:
    vcpu = flat32("again: out 0x80, al; jmp again")
    vcpu.recorded = True
    for _ in range(3):
        vcpu.run()
    records = vcpu.take_records()
    assert list(records["kind"]) == [x86.RECORD_ENTRY, x86.RECORD_EXIT] * 3
    assert set(records["detail"][1::2]) == {x86.EXIT_IO}
    assert (np.diff(records["begin"]) >= 0).all()
    assert (records["begin"] == records["end"]).all()


def test_a_run_that_a_signal_handler_ends() -> None:
    vcpu = looping(HLT_LOOP)
    vcpu.recorded = True
    leave_by_signal(vcpu)
    records = vcpu.take_records()
    assert list(records["kind"]) == [x86.RECORD_ENTRY, x86.RECORD_EXIT], "the wait goes on"
    assert records["detail"][1] == x86.EXIT_INTR
    assert vcpu.waiting_since is not None


def test_what_finds_no_room_is_counted() -> None:
    vcpu = looping(MWAIT_LOOP, mwait="exit")
    vcpu.recorded = True
    for _ in range(ROOM):
        vcpu.run()
    assert vcpu.records_lost == ROOM
    assert len(vcpu.take_records()) == ROOM
    vcpu.run()
    entry, leave = vcpu.take_records()
    assert (entry["lost"], leave["lost"]) == (ROOM, 0)
    vcpu.recorded = True
    assert (vcpu.records_lost, len(vcpu.take_records())) == (0, 0)


def test_records_are_taken_beside_the_guest() -> None:
    """None is lost, doubled or out of order, other than those that say so."""
    vcpu = looping(MWAIT_LOOP, mwait="exit")
    vcpu.recorded = True
    runs = 60_000

    def enter() -> None:
        for _ in range(runs):
            vcpu.run()

    thread = threading.Thread(target=enter)
    thread.start()
    taken: list[NDArray[np.void]] = []
    while thread.is_alive():
        taken.append(vcpu.take_records())
        thread.join(0.0002)  # who never lets go of the interpreter's lock has it for 5 ms at a time
    taken.append(vcpu.take_records())
    records = np.concatenate(taken)
    assert len(records) + vcpu.records_lost == 2 * runs
    assert (np.diff(records["begin"]) >= 0).all()
    whole = records["lost"][1:] == 0
    assert (np.diff(records["kind"].astype(int))[whole] != 0).all()


def test_virtual_time() -> None:
    """The same every time; stores are told by the time of who stored."""

    def once() -> list[tuple[int, ...]]:
        memory = x86.Memory(RAM, virtual_time=True)
        sleeper = mwait_guest("fault", memory=memory, index=0)
        storer = flat32(
            f"mov ecx, 5000; wait: loop wait; mov dword ptr [{DATA}], 1; again: jmp again",
            memory=memory,
            index=1,
        )
        for vcpu in (sleeper, storer):
            vcpu.recorded = True
        lockstep = x86.Lockstep([sleeper, storer], turn=100)
        assert lockstep.run(100_000) == (sleeper, x86.EXIT_HLT)
        record, leave = sleeper.take_records()
        assert (leave["kind"], leave["detail"]) == (x86.RECORD_EXIT, x86.EXIT_HLT)
        assert (record["cause"], record["agent"]) == (x86.WAKE_STORE, 1)
        assert 5000 <= record["asked_at"] <= 5002 + BLOCK
        assert record["asked_at"] <= record["end"] <= 5200
        return [tuple(record.tolist()), tuple(leave.tolist())]

    assert once() == once()


def test_times_add_up() -> None:
    vcpu = looping(HLT_LOOP)
    vcpu.timed = True
    before = vcpu.time
    with Running(vcpu):
        wait_until(lambda: vcpu.times["hlt_sleep"] > 20_000_000, "20 ms asleep, seen from outside")
        vcpu.interrupt(VECTOR)
        wait_until(lambda: vcpu.stats["halt_wakeup"] == 1, "woken")
    times = vcpu.times
    wall = vcpu.time - before
    assert times["hlt_sleep"] >= 20_000_000
    assert sum(times.values()) == vcpu.stats["run_ns"] <= wall
    assert times["mwait_sleep"] == times["mwait_poll"] == times["start"] == 0


def test_a_busy_guest_is_in_the_guest() -> None:
    vcpu = flat32("again: jmp again")
    vcpu.timed = True
    with Running(vcpu):
        wait_until(lambda: vcpu.times["guest"] > 10_000_000, "10 ms in the guest")
        with pytest.raises(RuntimeError, match="run"):
            vcpu.timed = False
    assert sum(vcpu.times.values()) == vcpu.times["guest"] == vcpu.stats["run_ns"]
