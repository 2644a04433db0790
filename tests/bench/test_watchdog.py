"""The watchdog finds what it is there for, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from bench.watchdog import Watchdog

MS = 1_000_000


@dataclass
class Waiter:
    """A vCPU of which a test says whether it sleeps."""

    asleep: bool = True
    kicks: int = 0

    def kick(self) -> None:
        self.kicks += 1


@dataclass
class Mailbox:
    """A mailbox of which a test says what stands in it."""

    need_resched: bool = True
    handoffs: int = 0
    spurious: int = 0


def watch(waiter: Waiter, mailbox: Mailbox, *times_ms: int) -> Watchdog:
    watchdog = Watchdog(waiter, mailbox)
    for time in times_ms:
        watchdog.look(time * MS)
    return watchdog


def test_a_sleeper_with_its_flag_set_is_lost_after_100_ms_and_kicked() -> None:
    waiter = Waiter()
    watchdog = watch(waiter, Mailbox(), 0, 50, 99)
    assert (watchdog.lost, waiter.kicks) == (0, 0)
    watchdog.look(100 * MS)
    assert (watchdog.lost, waiter.kicks) == (1, 1)


def test_a_wake_is_counted_once() -> None:
    waiter = Waiter()
    watchdog = watch(waiter, Mailbox(), 0, 100, 101, 150, 200)
    assert (watchdog.lost, waiter.kicks) == (1, 1)


def test_a_kick_that_does_not_help_is_repeated() -> None:
    waiter = Waiter()
    watchdog = watch(waiter, Mailbox(), 0, 100, 101, 201)
    assert (watchdog.lost, waiter.kicks) == (2, 2)


def test_time_in_which_the_waiter_gets_no_cpu_does_not_count() -> None:
    waiter = Waiter()
    answers = iter([True] * 10 + [False] * 10)
    watchdog = Watchdog(waiter, Mailbox(), starved=lambda: next(answers))
    for time in range(0, 200, 10):
        watchdog.look(time * MS)
    assert watchdog.lost == 0  # ten times starved, nine times not
    watchdog.look(200 * MS)
    assert (watchdog.lost, waiter.kicks) == (1, 1)


def test_sleeping_with_the_flag_clear_is_what_idle_means() -> None:
    assert watch(Waiter(), Mailbox(need_resched=False), *range(0, 1000, 5)).lost == 0


def test_a_waiter_that_runs_is_not_asleep() -> None:
    assert watch(Waiter(asleep=False), Mailbox(), *range(0, 1000, 5)).lost == 0


def test_progress_starts_the_clock_again() -> None:
    mailbox = Mailbox()
    watchdog = watch(Waiter(), mailbox, 0, 90)
    mailbox.handoffs += 1  # woken in time, and asleep again when the watchdog next looks
    watchdog.look(110 * MS)
    mailbox.spurious += 1
    watchdog.look(200 * MS)
    assert watchdog.lost == 0
    watchdog.look(300 * MS)
    assert watchdog.lost == 1


def test_a_short_wake_between_two_looks_starts_the_clock_again() -> None:
    waiter = Waiter()
    watchdog = watch(waiter, Mailbox(), 0, 90)
    waiter.asleep = False
    watchdog.look(95 * MS)
    waiter.asleep = True
    watchdog.look(110 * MS)
    assert watchdog.lost == 0
