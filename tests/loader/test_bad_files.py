"""Files of any name that cannot be read: one message each, at once."""

from __future__ import annotations

import os
import socket
import threading
import tracemalloc
from pathlib import Path

import pytest

from tests.loader.files import Elf, multiboot_flat, written
from vmm.loader import LoadError, describe, load_guest
from x86core import Memory

NAMES = ["guest.bin", "guest.S", "guest.asm", "guest.img", "guest.elf"]


@pytest.mark.parametrize("name", [*NAMES, "guest"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match=rf"cannot read guest .*{name}: No such file"):
        describe(tmp_path / name)


@pytest.mark.parametrize("name", ["guest.bin", "guest.img", "guest.elf"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match=rf"{name} is empty: there is nothing to load"):
        describe(written(tmp_path, b"", name))


@pytest.mark.parametrize("name", [*NAMES, "guest"])
def test_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(LoadError, match=rf"{name}: it is a folder, give a file"):
        describe(tmp_path / name)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", [*NAMES, "guest"])
def test_a_pipe(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(LoadError, match=rf"{name}: it is a pipe, give a file"):
        describe(tmp_path / name)


@pytest.mark.timeout(20)
def test_a_pipe_as_a_module(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "module")
    path = written(tmp_path, multiboot_flat())
    with pytest.raises(LoadError, match=r"cannot read module .*: it is a pipe"):
        load_guest(path, Memory(4 << 20), modules=[f"{tmp_path}/module"])


def test_a_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "guest.bin"))
        with pytest.raises(LoadError, match="cannot read guest"):
            describe(tmp_path / "guest.bin")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_a_device(path: str) -> None:
    with pytest.raises(LoadError, match="it is a device, give a file"):
        describe(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", NAMES)
def test_no_permission(tmp_path: Path, name: str) -> None:
    path = written(tmp_path, b"\xf4", name)
    path.chmod(0)
    with pytest.raises(LoadError, match=r"cannot read guest .*: Permission denied"):
        describe(path)


@pytest.mark.parametrize("name", [*NAMES, ""])
def test_a_name_that_is_too_long(tmp_path: Path, name: str) -> None:
    with pytest.raises(LoadError, match="File name too long"):
        describe(tmp_path / ("x" * 300 + name))


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "guest.bin").symlink_to("guest.bin")
    with pytest.raises(LoadError, match="Too many levels of symbolic links"):
        describe(tmp_path / "guest.bin")


def test_a_file_that_shrinks_while_it_is_loaded(tmp_path: Path) -> None:
    """It may not bring anything else than the message, whenever it happens."""
    path = written(tmp_path, bytes(8 << 20))
    memory = Memory(16 << 20)
    stop = threading.Event()

    def shrink_and_grow() -> None:
        while not stop.is_set():
            os.truncate(path, 4 << 20)
            os.truncate(path, 8 << 20)

    thread = threading.Thread(target=shrink_and_grow)
    thread.start()
    try:
        outcomes = set()
        for _ in range(50):
            try:
                load_guest(path, memory)
                outcomes.add("loaded")
            except LoadError as error:
                assert "cut short" in str(error)  # noqa: PT017 - either outcome will do
                outcomes.add("refused")
    finally:
        stop.set()
        thread.join()
    assert outcomes


@pytest.mark.parametrize(
    "data",
    [
        Elf(count=0xFFFF, program_headers=0).build().ljust(4 << 20, b"\xff"),
        Elf(count=1024, program_headers=0x40).build().ljust(4 << 20, b"\xff"),
    ],
    ids=["65535 headers", "1024 headers"],
)
def test_little_memory_is_taken_for_what_is_refused(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)
    tracemalloc.start()
    try:
        with pytest.raises(LoadError):
            describe(path)
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()
