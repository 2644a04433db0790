from __future__ import annotations

import pytest

from vmm.work.slices import SliceLength

IDLE_NS, BUSY_NS = 2_000, 50_000


def lengths(slices: SliceLength, gaps: list[int], woken: bool = False, now: int = 0) -> list[int]:
    """Of slices that last as long as they may, with so many ns in the guest in between."""
    result = []
    for gap in gaps:
        now += gap
        result.append(slices.begin(now))
        now += result[-1]
        slices.end(now, woken)
    return result


def test_it_grows_while_the_guest_stays_idle_up_to_the_bound() -> None:
    assert lengths(SliceLength(400_000), [IDLE_NS] * 6) == [
        50_000,
        100_000,
        200_000,
        400_000,
        400_000,
        400_000,
    ]


def test_it_shrinks_while_the_guest_is_busy_in_between() -> None:
    slices = SliceLength(400_000)
    lengths(slices, [IDLE_NS] * 4)
    assert lengths(slices, [BUSY_NS] * 6, now=10**9) == [
        200_000,
        100_000,
        50_000,
        25_000,
        20_000,
        20_000,
    ]


def test_a_wake_within_a_slice_shrinks_the_next() -> None:
    slices = SliceLength(400_000)
    lengths(slices, [IDLE_NS] * 4)
    woken = lengths(slices, [BUSY_NS], woken=True, now=10**9)
    assert slices.current_ns < woken[0]


@pytest.mark.parametrize("bound", [1, 19_999, 20_000, 60_000])
def test_no_slice_is_longer_than_the_bound(bound: int) -> None:
    assert max(lengths(SliceLength(bound), [IDLE_NS, BUSY_NS] * 10)) <= bound
