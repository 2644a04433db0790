"""Numbers as the tables show them."""

from __future__ import annotations

import pytest

from bench.units import count, duration, rounded, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0 ns"),
        (89, "89 ns"),
        (999, "999 ns"),
        (1000, "1.00 µs"),
        (16_240, "16.2 µs"),
        (999_400, "999 µs"),
        (3_456_000, "3.46 ms"),
        (2_500_000_000, "2.50 s"),
    ],
)
def test_duration(value: float | None, text: str) -> None:
    assert duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (7, "7"),
        (1234567, "1,234,567"),
        (123_456_789, "123.5 M"),
        (1234.6, "1,235"),
        (17.26, "17.3"),
    ],
)
def test_count(value: float | None, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (999_999, "999,999"),
        (1_234_567, "1.23 M"),
        (12_345_678, "12.3 M"),
        (167_890_000.5, "168 M"),
        (1_234_567_890, "1,235 M"),
    ],
)
def test_rounded(value: float | None, text: str) -> None:
    assert rounded(value) == text


def test_share() -> None:
    assert share(0.0517) == "5.2%"
