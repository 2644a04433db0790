from __future__ import annotations

import pytest

from vmm.loader import LoadError, make_memory, parse_address, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (65536, 65536),
        ("65536", 65536),
        ("64K", 64 << 10),
        ("64k", 64 << 10),
        ("16M", 16 << 20),
        ("16MiB", 16 << 20),
        ("1G", 1 << 30),
        (" 2 M ", 2 << 20),
        ("0", 0),
        ("-4K", -4096),
    ],
)
def test_sizes(text: int | str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "M", "16Q", "0x1000", "1.5M", "16M8", "sixteen"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(LoadError, match="is no size: give bytes"):
        parse_size(text)


def test_memory() -> None:
    assert make_memory("64K").size == 65536


@pytest.mark.parametrize("size", [0, "0", -4096, "-1M", 4095, "5000", "1000000G", 1 << 80, "16Q"])
def test_memory_that_cannot_be_had(size: int | str) -> None:
    with pytest.raises(LoadError, match=f"memory {size}: "):
        make_memory(size)


@pytest.mark.parametrize(
    ("text", "address"), [("0x7C00", 0x7C00), ("31744", 31744), (0, 0), ("0xFFFFF", 0xFFFFF)]
)
def test_addresses(text: int | str, address: int) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "here", "7C00", "0x"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(LoadError, match="is no address"):
        parse_address(text)


@pytest.mark.parametrize("address", [-1, "-1", "0x100000", 1 << 40])
def test_addresses_that_real_mode_does_not_reach(address: int | str) -> None:
    with pytest.raises(LoadError, match="outside the first MiB"):
        parse_address(address)


def test_a_number_too_long_for_python() -> None:
    with pytest.raises(LoadError, match="is no size"):
        parse_size("9" * 5000)
