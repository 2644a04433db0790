"""The six modes of an 8254 counter: the data sheet's waveforms, and a model of single pulses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.devices.pit_model import Model
from vmm.devices.pit_counter import Counter


def control(mode: int, access: int = 3, *, bcd: bool = False) -> int:
    return access << 4 | mode << 1 | bcd


def is_up(counter: Counter) -> bool:
    return counter.out


def waveform(counter: Counter, pulses: int, begin: int = 0) -> tuple[str, list[int]]:
    """OUT and the counting element behind each of the next pulses."""
    out, values = "", []
    for pulse in range(begin + 1, begin + pulses + 1):
        counter.advance(pulse)
        out += "_^"[counter.out]
        values.append(counter.read())
    return out, values


#: Mode, count, and from the pulse that loads it on what OUT and the low byte of the count are.
FIGURES = [
    (0, 4, "____^^^", [4, 3, 2, 1, 0, 0xFF, 0xFE]),
    (2, 3, "^^_^^_^", [3, 2, 1, 3, 2, 1, 3]),
    (3, 4, "^^__^^__", [4, 2, 4, 2, 4, 2, 4, 2]),
    (3, 5, "^^^__^^^__", [4, 2, 0, 4, 2, 4, 2, 0, 4, 2]),
    (4, 3, "^^^_^^", [3, 2, 1, 0, 0xFF, 0xFE]),
]


@pytest.mark.parametrize(("mode", "count", "out", "values"), FIGURES)
def test_software_triggered_modes(mode: int, count: int, out: str, values: list[int]) -> None:
    counter = Counter(gate=True)
    counter.set_control(control(mode, access=1))
    assert counter.out == (mode != 0), "the control word sets OUT, without a pulse"
    counter.write(count)
    assert waveform(counter, len(out)) == (out, values)


@pytest.mark.parametrize(
    ("mode", "count", "out", "values"),
    [(1, 3, "___^^", [3, 2, 1, 0, 0xFF]), (5, 3, "^^^_^", [3, 2, 1, 0, 0xFF])],
)
def test_hardware_triggered_modes(mode: int, count: int, out: str, values: list[int]) -> None:
    counter = Counter(gate=False)
    counter.set_control(control(mode, access=1))
    counter.write(count)
    assert waveform(counter, 5)[0] == "^^^^^", "without a trigger"
    counter.set_gate(True)
    assert waveform(counter, len(out), begin=5) == (out, values)
    counter.set_gate(False)
    counter.set_gate(True)
    assert waveform(counter, len(out), begin=10) == (out, values)


def test_a_one_shot_is_triggered_again_in_its_pulse() -> None:
    counter = Counter(gate=False)
    counter.set_control(control(1, access=1))
    counter.write(3)
    counter.set_gate(True)
    assert waveform(counter, 2) == ("__", [3, 2])
    counter.set_gate(False)
    counter.set_gate(True)
    assert waveform(counter, 4, begin=2) == ("___^", [3, 2, 1, 0])


def test_mode_0_with_the_gate_low_waits() -> None:
    counter = Counter(gate=False)
    counter.set_control(control(0, access=1))
    counter.write(3)
    assert waveform(counter, 3) == ("___", [3, 3, 3]), "it is loaded all the same"
    counter.set_gate(True)
    assert waveform(counter, 4, begin=3) == ("__^^", [2, 1, 0, 0xFF])


def test_mode_0_stops_between_the_bytes_of_a_new_count() -> None:
    counter = Counter(gate=True)
    counter.set_control(control(0))
    counter.write(4)
    counter.write(0)
    counter.advance(10)
    assert is_up(counter)
    counter.write(2)
    assert not is_up(counter), "at once"
    counter.advance(20)
    counter.latch_count()
    assert counter.read() | counter.read() << 8 == (4 - 9) & 0xFFFF
    counter.write(0)
    counter.advance(22)
    assert not is_up(counter)
    counter.advance(23)
    assert is_up(counter)


@pytest.mark.parametrize(
    ("mode", "out", "values"), [(2, "^^^_^", [4, 3, 2, 1, 4]), (3, "^^__^", [4, 2, 4, 2, 4])]
)
def test_the_gate_stops_and_restarts_the_periodic_modes(
    mode: int, out: str, values: list[int]
) -> None:
    counter = Counter(gate=True)
    counter.set_control(control(mode, access=1))
    counter.write(4)
    counter.advance(4)
    assert not is_up(counter)
    counter.set_gate(False)
    assert is_up(counter), "at once"
    assert waveform(counter, 3, begin=4)[0] == "^^^"
    counter.set_gate(True)
    assert waveform(counter, 5, begin=7) == (out, values)


@pytest.mark.parametrize(
    ("mode", "out", "values"),
    [(2, "^^_^_^", [3, 2, 1, 2, 1, 2]), (3, "^_^_^_", [2, 2, 2, 2, 2, 2])],
)
def test_a_new_count_begins_with_the_next_period(mode: int, out: str, values: list[int]) -> None:
    counter = Counter(gate=True)
    counter.set_control(control(mode, access=1))
    counter.write(4)
    counter.advance(1)
    counter.write(2)
    assert waveform(counter, 6, begin=1) == (out, values)


@pytest.mark.parametrize(("bcd", "modulus"), [(False, 65_536), (True, 10_000)])
@pytest.mark.parametrize("mode", range(6))
def test_a_count_of_0_is_the_highest(mode: int, bcd: bool, modulus: int) -> None:
    counter = Counter(gate=False)
    counter.set_control(control(mode, bcd=bcd))
    counter.write(0)
    counter.write(0)
    counter.set_gate(True)
    counter.advance(1)
    edge = 1 + (modulus // 2 if mode == 3 else modulus) + (mode in (4, 5))
    assert counter.next_edge() == edge
    before = counter.rises
    counter.advance(edge - 1)
    assert counter.rises == before
    counter.advance(edge)
    assert counter.rises == before + (mode != 3)
    assert counter.out == (mode != 3)


def test_bcd() -> None:
    counter = Counter(gate=True)
    counter.set_control(control(2, bcd=True))
    counter.write(0x00)
    counter.write(0x10)  # 1,000
    counter.advance(2)
    assert (counter.read(), counter.read()) == (0x99, 0x09)
    counter.advance(1 + 990)
    assert (counter.read(), counter.read()) == (0x10, 0x00)


def test_a_rate_of_one_stands_still() -> None:
    """The data sheet forbids it; whatever becomes of it, nothing runs away."""
    for mode in (2, 3):
        counter = Counter(gate=True)
        counter.set_control(control(mode, access=1))
        counter.write(1)
        counter.advance(10**12)
        assert counter.next_edge() is None
        assert counter.rises <= 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("control"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("count"), st.integers(0, 0x20), st.integers(0, 3)),
        st.tuples(st.just("half"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("gate"), st.booleans(), st.just(0)),
        st.tuples(st.just("pulses"), st.integers(1, 40), st.just(0)),
    ),
    max_size=20,
)


@settings(deadline=None, max_examples=500)
@given(STEPS)
def test_it_is_where_single_pulses_lead(steps: list[tuple[str, int, int]]) -> None:
    counter, model = Counter(gate=True), Model(gate=True)
    now = 0
    counter.set_control(control(0))
    model.control(0, False)
    begun = None
    for what, value, extra in steps:
        if what == "control":
            counter.set_control(control(value, bcd=bool(extra)))
            model.control(value, bool(extra))
            begun = None
        elif what == "count":
            low = value if begun is None else begun
            if low == 1 and extra == 0 and model.mode in (2, 3):
                continue  # illegal
            if begun is None:
                counter.write(low)
                model.first_byte()
            counter.write(extra)
            model.write(
                extra * 100 + (low >> 4) * 10 + (low & 0xF) if model.bcd else extra << 8 | low
            )
            begun = None
        elif what == "half" and begun is None:
            counter.write(value)
            model.first_byte()
            begun = value
        elif what == "gate":
            counter.set_gate(bool(value))
            model.set_gate(bool(value))
        elif what == "pulses":
            now += value
            counter.advance(now)
            for _ in range(value):
                model.pulse()
        counter.latch_count()
        element = counter.read() | counter.read() << 8
        shown = int(str(model.element % model.modulus), 16) if model.bcd else model.element
        assert (counter.out, counter.rises) == (model.out, model.rises)
        assert element == shown & 0xFFFF
        check_next_edge(counter, now)


def check_next_edge(counter: Counter, now: int) -> None:
    """Up to the pulse that it names OUT does not change, but for the pulse of a strobe."""
    edge = counter.next_edge()
    ahead = Counter(gate=True)
    ahead.restore(counter.save())
    if edge is None:
        ahead.advance(now + 100_000)
        assert ahead.rises == counter.rises
        return
    assert edge > now
    ahead.advance(edge - 1)
    assert ahead.rises == counter.rises
    ahead.advance(edge)
    assert ahead.rises > counter.rises or ahead.out != counter.out
