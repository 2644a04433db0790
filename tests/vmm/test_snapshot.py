"""Saved machines go on bit for bit; files are whole or not there, and bad ones are refused."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vmm.conftest import WriteGuest
from vmm import Machine, Outcome, SnapshotError
from vmm.snapshot import VERSION

TIMEOUT = 20.0

#: Bytes before the description.
HEADER = 64

COUNTER = "mov dx, 0xe9; l: inc ebx; mov eax, ebx; test bx, 0xff; jnz l; out dx, al; jmp l\n"

#: Handles the tick, and counts in both places.
TICKING = """
    xor ax, ax
    mov ds, ax
    mov word ptr [0x80], offset tick
    mov word ptr [0x82], ax
l:  inc ebx
    sti
    hlt
    jmp l
tick:
    inc ecx
    iret
"""


def saved(path: Path, *, clock: str = "virtual", limit: int = 5000, guest: Path) -> Machine:
    """A machine that has run for a while, in a file."""
    tick = 1000 if clock == "virtual" else 0
    machine = Machine.load(guest, "1M", 2, clock=clock, tick=tick)
    machine.run(TIMEOUT, limit)
    machine.save(path)
    return machine


@pytest.fixture
def good(guest: WriteGuest, tmp_path: Path) -> bytes:
    saved(tmp_path / "good", guest=guest(COUNTER))
    return (tmp_path / "good").read_bytes()


@pytest.mark.parametrize("code", [COUNTER, TICKING])
@pytest.mark.parametrize("limit", [1, 100, 3333, 9999])
def test_it_goes_on_bit_for_bit(guest: WriteGuest, tmp_path: Path, code: str, limit: int) -> None:
    def machine() -> Machine:
        return Machine.load(guest(code), "1M", 3, clock="virtual", tick=1000, turn=100)

    whole = machine().run(TIMEOUT, 10_000)
    first = machine()
    head = first.run(TIMEOUT, limit)
    first.save(tmp_path / "saved")
    second = Machine.restore(tmp_path / "saved")
    tail = second.run(TIMEOUT, 10_000)
    assert (tail.trace_hash, tail.guest_ns) == (whole.trace_hash, whole.guest_ns)
    assert head.console + tail.console == whole.console
    for a, b in zip(whole.vcpus, tail.vcpus, strict=True):
        assert (a.instructions, a.location) == (b.instructions, b.location)
        assert a.stats["irq_injections"] == b.stats["irq_injections"]


def test_saved_twice_is_the_same_file(guest: WriteGuest, tmp_path: Path) -> None:
    saved(tmp_path / "a", guest=guest(TICKING))
    Machine.restore(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_machine_on_wall_time_goes_on(guest: WriteGuest, tmp_path: Path) -> None:
    machine = Machine.load(guest(TICKING), "1M", 2, tick=1000, idle="adaptive", hlt="exit")
    assert machine.run(timeout=0.1).outcome is Outcome.TIMEOUT
    machine.save(tmp_path / "saved")
    other = Machine.restore(tmp_path / "saved")
    assert other.loops[1].policy == machine.loops[1].policy
    assert other.memory.time >= machine.memory.time - 10**12
    before = other.vcpus[0].ecx
    assert before == machine.vcpus[0].ecx > 0
    result = other.run(timeout=0.3)
    assert result.outcome is Outcome.TIMEOUT
    assert other.vcpus[0].ecx > before


def test_who_slept_in_mwait_is_woken_by_a_store(guest: WriteGuest, tmp_path: Path) -> None:
    code = """
        xor ax, ax; mov ds, ax
        mov eax, 0x2000; xor ecx, ecx; xor edx, edx
    l:  monitor
        cmp byte ptr [0x2000], 0
        jne woken
        mwait
        mov eax, 0x2000
        jmp l
    woken:
        mov al, 5
        out 0xf4, al
    """
    machine = Machine.load(guest(code), "1M", clock="virtual")
    assert machine.run(TIMEOUT).outcome is Outcome.ALL_HALTED
    machine.save(tmp_path / "saved")
    other = Machine.restore(tmp_path / "saved")
    assert other.vcpus[0].monitor == ("waiting", 0x2000)
    other.memory.write(0x2000, b"\1")
    result = other.run(TIMEOUT)
    assert result.exit_code == 5
    assert result.vcpus[0].stats["wakes_store"] == 1


def test_not_while_it_runs(guest: WriteGuest, tmp_path: Path) -> None:
    machine = Machine.load(guest("out 0x80, al; l: jmp l\n"), clock="virtual")
    errors: list[str] = []

    class Saver:
        ports = (0x80,)

        def read(self, port: int) -> int:
            return 0

        def write(self, port: int, value: int) -> None:
            with pytest.raises(RuntimeError, match="the machine runs"):
                machine.save(tmp_path / "saved")
            errors.append("refused")

    machine.ports.attach(Saver())
    machine.run(TIMEOUT, 10)
    assert errors == ["refused"]
    assert not (tmp_path / "saved").exists()


def test_a_big_machine_is_quick(tmp_path: Path) -> None:
    machine = Machine("256M", 4, clock="virtual")
    content = os.urandom(16 << 20)
    machine.memory.write(100 << 20, content)
    spent = []
    for _ in range(3):  # the best of them: a busy host takes longer now and then
        start = time.process_time()
        machine.save(tmp_path / "big")
        other = Machine.restore(tmp_path / "big")
        spent.append(time.process_time() - start)
        assert other.memory.read(100 << 20, 16 << 20) == content
    assert (tmp_path / "big").stat().st_size < 17 << 20
    assert min(spent) < 1


def test_a_failed_save_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "saved"
    path.write_bytes(b"before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SnapshotError, match=r"cannot save the machine in .*: No space left"):
        Machine("1M").save(path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_no_such_place(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="cannot save the machine"):
        Machine("1M").save(tmp_path / "none" / "saved")
    with pytest.raises(SnapshotError, match="cannot read"):
        Machine.restore(tmp_path / "none")
    with pytest.raises(SnapshotError, match="cannot read"):
        Machine.restore(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"", "is not a saved machine"),
        (lambda data: b"ELF" + data[3:], "is not a saved machine"),
        (lambda data: data[:20], "cut off"),
        (lambda data: data[:50], "cut off"),
        (lambda data: data[:-1], "cut off"),
        (lambda data: data + b"\0", "damaged"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "damaged"),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "damaged"),
        (lambda data: data[:8] + struct.pack("<I", VERSION + 1) + data[12:], "is of version 2"),
    ],
)
def test_a_bad_file_says_what_is_wrong(
    good: bytes, tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    path = tmp_path / "bad"
    path.write_bytes(change(good))
    with pytest.raises(SnapshotError, match=message):
        Machine.restore(path)


def restored(path: Path) -> tuple[Machine | None, str]:
    """The machine, or why there is none. Any other exception fails the test."""
    try:
        return Machine.restore(path), ""
    except SnapshotError as error:
        return None, str(error)


def sealed(data: bytes) -> bytes:
    """The same with a checksum that is right: damage that nobody would call damage."""
    digest = hashlib.sha256(data[:32] + data[HEADER:]).digest()
    return data[:32] + digest + data[HEADER:]


def described(data: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """The same with another description."""
    size = struct.unpack_from("<I", data, 12)[0]
    description = json.loads(data[HEADER : HEADER + size])
    change(description)
    text = json.dumps(description).encode()
    header = data[:12] + struct.pack("<I", len(text)) + data[16:HEADER]
    return sealed(header + text + data[HEADER + size :])


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=5),
    seal=st.booleans(),
)
def test_damage_gives_one_error_or_a_machine_that_runs(
    good: bytes, tmp_path: Path, flips: list[tuple[int, int]], seal: bool
) -> None:
    bad = bytearray(good)
    for position, value in flips:
        bad[position % len(bad)] = value
    data = sealed(bytes(bad)) if seal else bytes(bad)
    path = tmp_path / "bad"
    path.write_bytes(data)
    machine, refusal = restored(path)
    if machine is None:
        assert str(path) in refusal
    else:
        assert seal or data == good
        machine.run(TIMEOUT, machine.vcpus[0].instructions + 100)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_description_gives_one_error_or_a_machine(
    good: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    def change(description: dict[str, object]) -> None:
        name = data.draw(st.sampled_from(sorted(description)))
        part = description[name]
        if isinstance(part, list) and part and isinstance(part[0], dict):
            part = part[0]
        if isinstance(part, dict):
            part[data.draw(st.sampled_from(sorted(part)))] = data.draw(VALUES)
        else:
            description[name] = data.draw(VALUES)

    path = tmp_path / "bad"
    path.write_bytes(described(good, change))
    machine, refusal = restored(path)
    if machine is None:
        assert "holds no machine" in refusal
    else:
        machine.save(tmp_path / "again")


def test_deep_json_is_no_machine(good: bytes, tmp_path: Path) -> None:
    size = struct.unpack_from("<I", good, 12)[0]
    text = b"[" * 100_000
    data = good[:12] + struct.pack("<I", len(text)) + good[16:HEADER] + text + good[HEADER + size :]
    path = tmp_path / "bad"
    path.write_bytes(sealed(data))
    with pytest.raises(SnapshotError, match="its description is no JSON"):
        Machine.restore(path)


def test_a_page_outside_ram(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad"
    path.write_bytes(described(good, lambda description: description.update(memory=4096)))
    with pytest.raises(SnapshotError, match=r"page \d+ is not in RAM"):
        Machine.restore(path)
