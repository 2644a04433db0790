"""The guests do what their sources say, in virtual time, where it can be reckoned."""

from __future__ import annotations

import struct

import pytest

import x86core as x86
from bench.laboratory.mailbox import STOP_VECTOR, WAKE_VECTOR, Mailbox, latency_of_bin
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.policies import POLICIES
from bench.laboratory.scenarios import SCENARIOS
from tests.laboratory.in_turn import TURN, Guest

MS, SECOND = 10**6, 10**9

#: Scenarios in which vCPUs wake one another by stores, and those in which they need none.
BY_STORES = ("pingpong", "lock-handoff", "bimodal", "overcommit")
BY_INTERRUPTS = ("ipi", "timer-tick")

#: Policies under which a store does not end MWAIT.
DEAF = ("halt",)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_begins_and_goes_on_under_every_policy(scenario: str, policy: str) -> None:
    guest = Guest(scenario, policy, {"hertz": 5000} if scenario == "timer-tick" else {})
    first = guest.run(MS // 10)
    assert guest.mailbox.all_started
    second = guest.run(MS)
    if scenario in BY_STORES:
        assert (second.wakes.sum() > first.wakes.sum()) == (policy not in DEAF)
    elif scenario in BY_INTERRUPTS:
        assert second.wakes.sum() > first.wakes.sum()
    elif scenario in ("idle", "io"):
        assert second.wakes.sum() == 0
    halts, mwaits = guest.stats("halt_exits"), guest.stats("mwait_instructions")
    if scenario != "never-idle":
        assert (halts > 0, mwaits > 0) == (policy.startswith("hlt"), not policy.startswith("hlt"))


@pytest.mark.parametrize("policy", ["fault", "hlt-block"])
def test_an_idle_guest_does_nothing_and_ends_when_told_to(policy: str) -> None:
    guest = Guest("idle", policy, {"vcpus": 3})
    guest.run(MS)
    before = sum(vcpu.instructions for vcpu in guest.vcpus)
    guest.run(SECOND)
    assert sum(vcpu.instructions for vcpu in guest.vcpus) == before
    guest.vcpus[0].interrupt(STOP_VECTOR)
    guest.run(MS)
    assert guest.exits == [x86.EXIT_IO]
    assert (guest.vcpus[0].io_port, guest.vcpus[0].io_data) == (0xF4, 0)


def test_sixty_four_vcpus_wake_each_other() -> None:
    guest = Guest("overcommit", values={"pairs": 32, "work_units": 1})
    wakes = guest.run(MS).wakes
    assert len(wakes) == 64
    assert wakes.min() > 0
    assert wakes.max() - wakes.min() <= 1


def test_the_two_take_turns() -> None:
    guest = Guest("pingpong", values={"interval_us": 10, "work_units": 5})
    sample = guest.run(10 * MS)
    assert abs(int(sample.wakes[0]) - int(sample.wakes[1])) <= 1
    # A turn is the rest and the work, and the little that waking takes.
    assert int(sample.wakes.sum()) == pytest.approx(10 * MS / 15_000, rel=0.05)
    assert int(sample.work.sum()) == pytest.approx(5 * int(sample.wakes.sum()), abs=10)


def test_a_unit_of_work_is_a_thousand_instructions() -> None:
    guest = Guest("never-idle")
    guest.run(MS)
    work, before = int(guest.mailbox.sample().work[0]), guest.vcpus[0].instructions
    guest.run(10 * MS)
    per_unit = (guest.vcpus[0].instructions - before) / (int(guest.mailbox.sample().work[0]) - work)
    assert 1000 <= per_unit <= 1010


@pytest.mark.parametrize(("wake_by", "wakes"), [(0, False), (1, True)])
def test_an_ipi_wakes_what_a_store_does_not(wake_by: int, wakes: bool) -> None:
    guest = Guest("ipi", "halt", {"wake_by": wake_by})
    assert (guest.run(MS).wakes.sum() > 0) == wakes


def test_only_the_ipi_wakes_where_only_ipis_are_to() -> None:
    guest = Guest("ipi", "fault", {"wake_by": 1})
    sample = guest.run(MS)
    assert sample.wakes.sum() > 0
    assert guest.stats("wakes_store") == guest.stats("false_faults") == 0
    assert guest.stats("wakes_interrupt") > 0


def test_stores_beside_the_line_come_at_their_rate_and_wake_nobody() -> None:
    guest = Guest("false-sharing", values={"stores_per_second": 50_000, "interval_us": 4e6})
    guest.run(MS)
    before = guest.mailbox.sample()
    sample = guest.run(100 * MS).since(before)
    assert int(sample.work[2]) == pytest.approx(5000, abs=50)
    assert sample.spurious.sum() == 0
    assert guest.stats("false_faults") > 100
    beside = [
        int.from_bytes(guest.memory.read(address, 4), "little") for address in (0x20080, 0x21080)
    ]
    assert sum(beside) == int(guest.mailbox.sample().work[2])
    assert abs(beside[0] - beside[1]) <= 1


def test_without_stores_the_third_vcpu_idles() -> None:
    guest = Guest("false-sharing", values={"stores_per_second": 0})
    assert guest.run(10 * MS).work.sum() == 0
    with pytest.raises(LaboratoryError, match="0 or at least 1"):
        Guest("false-sharing", values={"stores_per_second": 0.5})


def test_the_lock_goes_round() -> None:
    guest = Guest("lock-handoff", values={"vcpus": 5, "units_with": 2, "units_without": 3})
    work = guest.run(10 * MS).work
    # The lock is never free: 2 us for each holder, and what the handoff takes.
    assert int(work.sum()) == pytest.approx(5 * 10 * MS / 2000, rel=0.15)
    assert int(work.max()) - int(work.min()) <= 5


def test_who_is_alone_with_a_lock_never_idles() -> None:
    guest = Guest("lock-handoff", values={"vcpus": 1})
    sample = guest.run(MS)
    assert sample.work.sum() > 900
    assert guest.stats("mwait_instructions") == 0


def test_ticks_come_at_their_rate_and_as_late_as_the_core_says() -> None:
    guest = Guest("timer-tick", values={"hertz": 1000, "work_units": 10, "vcpus": 3})
    sample = guest.run(100 * MS)
    assert [int(wakes) for wakes in sample.wakes] == pytest.approx([99.5] * 3, abs=0.6)
    assert int(sample.work.sum()) == 10 * int(sample.wakes.sum())
    assert sample.latencies().get_max_value() < 2 * TURN


def gaps(busy_share: float, vcpus: int = 3, seed: int = 0) -> list[float]:
    """The mean ns from one wake to the next, of each vCPU that is woken."""
    guest = Guest(
        "bimodal", values={"vcpus": vcpus, "busy_share": busy_share, "work_units": 0}, seed=seed
    )
    wakes = guest.run(4 * SECOND).wakes
    assert wakes[0] == 0
    return [4 * SECOND / int(count) for count in wakes[1:]]


def test_idle_times_are_as_long_as_their_shares_say() -> None:
    short, long = (10_000 + 200_000) / 2, (MS + 10 * MS) / 2
    busy, idle = gaps(busy_share=0.5)
    assert busy == pytest.approx(0.996 * short + 0.004 * long, rel=0.05)
    assert idle == pytest.approx(0.04 * short + 0.96 * long, rel=0.05)
    assert max(gaps(busy_share=1.0)) < 2 * short


def test_the_seed_decides_when_wakes_come() -> None:
    def wakes(policy: str, seed: int) -> list[int]:
        return [int(count) for count in Guest("bimodal", policy, seed=seed).run(20 * MS).wakes]

    assert wakes("fault", 1) == wakes("fault", 1) == wakes("hlt-block", 1)
    assert len({tuple(wakes("fault", seed)) for seed in range(8)}) > 4


@pytest.mark.parametrize("policy", ["fault", "hlt-block"])
@pytest.mark.parametrize("age", [0, 1, 200, 255, 256, 257, 1000, 54_321, 10**6, 2**32 - 9999])
def test_a_latency_is_counted_to_within_half_a_percent(age: int, policy: str) -> None:
    guest = Guest("io", policy)
    guest.run(5 * SECOND)
    write_entry(guest, guest.turns.time - age)
    least, most = age, age + 150  # the guest takes some instructions to look
    latencies = guest.run(MS).latencies()
    assert latencies.get_total_count() == 1
    assert 0.995 * least - 1 <= latencies.get_max_value() <= 1.005 * most + 1


@pytest.mark.parametrize(("age", "index"), [(2**32 + 5, 3327), (2**40, 3327), (-MS, 0)])
def test_what_does_not_fit_counts_as_the_nearest_that_does(age: int, index: int) -> None:
    guest = Guest("io")
    guest.run(2**41)
    write_entry(guest, guest.turns.time - age)
    bins = guest.run(1000).bins
    assert bins[0, index] == bins.sum() == 1


def test_bins_follow_one_another() -> None:
    middles = [latency_of_bin(index) for index in range(3328)]
    assert middles == sorted(set(middles))
    assert middles[:257] == [*range(256), 257]
    assert middles[-1] == pytest.approx(2**32, rel=0.004)


def write_entry(guest: Guest, stamp: int, words: int = 3) -> None:
    assert guest.mailbox.write_entry(stamp, 4 * words)
    if not guest.vcpus[0].monitor[1]:  # it does not wait in MWAIT
        guest.vcpus[0].interrupt(WAKE_VECTOR)


def test_the_ring_takes_sixteen_entries_and_the_guest_takes_them_in_order() -> None:
    guest = Guest("io")
    guest.run(MS)
    assert [guest.mailbox.write_entry(guest.turns.time, 40) for _ in range(17)] == [
        *[True] * 16,
        False,
    ]
    assert guest.mailbox.entries_waiting(0) == 16
    assert guest.mailbox.need_resched(0)
    sample = guest.run(MS)
    assert (int(sample.wakes[0]), int(sample.work[0])) == (16, 160)
    assert guest.mailbox.entries_waiting(0) == 0
    assert not guest.mailbox.need_resched(0)
    for _ in range(40):
        write_entry(guest, guest.turns.time)
        guest.run(10_000)
    assert int(guest.mailbox.sample().wakes[0]) == 56
    assert guest.exits == []


def test_a_wrong_entry_ends_the_machine_with_status_1() -> None:
    guest = Guest("io")
    guest.run(MS)
    guest.mailbox.write_entry(guest.turns.time, 40)
    guest.memory.write(0x200008, struct.pack("<I", 7))
    guest.run(MS)
    assert guest.exits == [x86.EXIT_IO]
    assert guest.vcpus[0].io_data == 1


@pytest.mark.parametrize("size", [-4, 3, 4084])
def test_an_entry_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(LaboratoryError, match=f"0 to 4080 bytes, a multiple of 4, not {size}"):
        Guest("io").mailbox.write_entry(0, size)


def test_words_that_no_guest_takes_are_refused(memory: x86.Memory) -> None:
    mailbox = Mailbox(x86.Memory(4 << 20), 2)
    for words in ([0] * 17, [1 << 32], [-1]):
        with pytest.raises(LaboratoryError, match="16 words of 32 bits"):
            mailbox.configure(words, idle_by_hlt=False, seed=0)


@pytest.mark.parametrize("policy", ["fault", "hlt-block"])
def test_no_wake_falls_into_a_gap(policy: str) -> None:
    """It comes after each instruction from RESET until the vCPU sleeps, and once it does."""
    for instructions in range(100):
        guest = Guest("idle", policy, {"vcpus": 1}, turn=1)
        guest.run(instructions)
        flags = int.from_bytes(guest.memory.read(0x20000, 4), "little")
        guest.memory.write(0x20000, struct.pack("<I", flags | 1))
        if policy == "hlt-block":
            guest.vcpus[0].interrupt(WAKE_VECTOR)
        assert guest.run(500).wakes[0] == 1, instructions
    assert guest.vcpus[0].waiting


def test_a_wake_is_in_doubt_until_it_is_noticed() -> None:
    guest = Guest("pingpong", "halt")
    guest.run(MS)
    assert [guest.mailbox.need_resched(vcpu) for vcpu in (0, 1)] == [False, True]
    guest.vcpus[1].kick()
    guest.run(MS)
    assert [guest.mailbox.need_resched(vcpu) for vcpu in (0, 1)] == [True, False]
    assert guest.mailbox.wakes(1) == 1
