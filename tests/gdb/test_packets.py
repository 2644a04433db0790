"""Framing of the remote protocol, by the examples and rules of the GDB manual."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vmm.gdb.packets import PACKET_SIZE, Decoder, Signal, frame


def decoded(data: bytes) -> list[bytes | Signal]:
    return list(Decoder().feed(data))


def test_a_packet() -> None:
    assert decoded(b"$qSupported#37") == [b"qSupported"]
    assert frame(b"OK") == b"$OK#9a"
    assert frame(b"") == b"$#00"


def test_what_comes_between() -> None:
    assert decoded(b"+-\x03xyz#00+") == [
        Signal.ACKNOWLEDGED,
        Signal.AGAIN,
        Signal.INTERRUPT,
        Signal.ACKNOWLEDGED,
    ]


def test_an_interrupt_byte_inside_a_packet_is_data() -> None:
    assert decoded(frame(b"X0,1:\x03")) == [b"X0,1:\x03"]


def test_a_packet_that_was_cut_off_by_another() -> None:
    assert decoded(b"$gar$g#67") == [b"g"]
    assert decoded(b"$gar#$g#67") == [b"g"]


def test_damaged_ones() -> None:
    assert decoded(b"$g#68$g#zz$g#67") == [Signal.DAMAGED, Signal.DAMAGED, b"g"]


def test_one_that_is_too_long_is_not_kept() -> None:
    decoder = Decoder()
    for _ in range(5):
        assert list(decoder.feed(b"$" + b"a" * PACKET_SIZE)) == []
        assert list(decoder.feed(b"a" * PACKET_SIZE)) == []
    assert len(vars(decoder)["_payload"]) <= PACKET_SIZE + 1
    assert list(decoder.feed(b"#00$g#67")) == [Signal.DAMAGED, b"g"]


@given(st.lists(st.binary(max_size=200)), st.integers(1, 7))
def test_round_trip_in_pieces(payloads: list[bytes], size: int) -> None:
    data = b"".join(map(frame, payloads))
    decoder = Decoder()
    found: list[bytes | Signal] = []
    for at in range(0, len(data), size):
        found += decoder.feed(data[at : at + size])
    assert found == payloads


@settings(max_examples=300)
@given(st.binary(max_size=500))
def test_anything_is_survived(data: bytes) -> None:
    decoder = Decoder()
    list(decoder.feed(data))
    assert list(decoder.feed(b"#00$g#67"))[-1] == b"g"
