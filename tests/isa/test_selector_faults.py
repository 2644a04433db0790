"""Loading segment registers and using segments of a wrong type (SDM vol. 3, 5.4 to 5.8)."""

from __future__ import annotations

import pytest

from tests.isa.faults import expect_fault
from tests.support import (
    ABSENT,
    CODE,
    CODE32,
    DATA,
    DATA32,
    GDT,
    GP,
    NP,
    SPARE,
    SS,
    Event,
    delivered,
    descriptor,
    flat32,
    run,
    set_spare,
)


@pytest.mark.parametrize(
    ("register", "selector", "vector", "error"),
    [
        ("ds", 0x1000, GP, 0x1000),  # beyond the GDT
        ("ds", 0x1003, GP, 0x1000),  # RPL is no part of the error code
        ("es", 0x14, GP, 0x14),  # no LDT
        ("fs", ABSENT, NP, ABSENT),
        ("ss", ABSENT, SS, ABSENT),
        ("ss", 0, GP, 0),
        ("ss", CODE32, GP, CODE32),
        ("ss", DATA32 | 3, GP, DATA32),  # RPL is not CPL
        ("ds", SPARE, GP, SPARE),  # an empty descriptor is a system type
    ],
)
@pytest.mark.parametrize("source", ["mov {}, ax", "pop {}"])
def test_bad_selector(source: str, register: str, selector: int, vector: int, error: int) -> None:
    vcpu = flat32(source.format(register))
    vcpu.memory.write(vcpu.esp - 4, selector.to_bytes(4, "little"))
    expect_fault(vcpu, Event(vector, CODE, error), eax=selector, esp=vcpu.esp - 4)
    assert getattr(vcpu, register).selector == DATA32


@pytest.mark.parametrize(
    ("register", "access"),
    [("ds", 0xC099), ("ss", 0xC091), ("ds", 0x0082)],
    ids=["execute-only code", "read-only stack", "system segment"],
)
def test_descriptor_of_a_wrong_type(register: str, access: int) -> None:
    vcpu = flat32(f"mov {register}, ax")
    set_spare(vcpu.memory, descriptor(0, 0xFFFFF, access))
    expect_fault(vcpu, Event(GP, CODE, SPARE), eax=SPARE)


@pytest.mark.parametrize("transfer", ["jmp", "call"])
@pytest.mark.parametrize(
    ("selector", "access", "vector", "error"),
    [
        (0, 0, GP, 0),
        (0x1000, 0, GP, 0x1000),
        (DATA32, 0, GP, DATA32),
        (SPARE, 0xC01B, NP, SPARE),  # not present
        (SPARE, 0x409B, GP, 0),  # target beyond the limit
        (SPARE, 0xC0FB, GP, SPARE),  # DPL is not CPL
    ],
)
def test_far_transfer(transfer: str, selector: int, access: int, vector: int, error: int) -> None:
    opcode = {"jmp": 0xEA, "call": 0x9A}[transfer]
    vcpu = flat32(f".byte {opcode}; .long {CODE + 0x100}; .word {selector}")
    set_spare(vcpu.memory, descriptor(0, 0xFFF, access))
    expect_fault(vcpu, Event(vector, CODE, error))


@pytest.mark.parametrize(
    ("source", "segment", "access"),
    [
        (f"mov [{DATA}], eax", "ds", 0xC091),  # read-only data
        (f"inc dword ptr [{DATA}]", "ds", 0xC091),
        (f"mov cs:[{DATA}], eax", "ds", 0xC093),  # code is never writable
        (f"mov eax, [{DATA}]", "ds", 0xC099),  # execute-only
        ("mov eax, [0xFFC]", "ds", 0x4097),  # expand-down: valid above its limit
        ("mov eax, [0xFFF]", "ds", 0x4097),
        ("mov [0xFFFE], eax", "ds", 0x0097),  # and below 64 KiB unless B is set
    ],
)
def test_segment_type(source: str, segment: str, access: int) -> None:
    vcpu = flat32(source)
    getattr(vcpu, segment).access = access
    if access & 0x4:
        getattr(vcpu, segment).limit = 0xFFF
    expect_fault(vcpu, Event(GP, CODE, 0))


def test_expand_down_segment_is_valid_above_its_limit() -> None:
    vcpu = flat32("mov eax, [0x1000]; hlt")
    vcpu.ds.access, vcpu.ds.limit = 0x4097, 0xFFF
    vcpu.memory.write(0x1000, b"\x78\x56\x34\x12")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eax == 0x12345678


def test_null_selector_loads_but_cannot_be_used() -> None:
    vcpu = flat32("mov ds, eax; mov ecx, [0x100]")
    vcpu.eax, vcpu.ecx = 0, 0x77
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE + 2, 0)
    assert (vcpu.ds.selector, vcpu.ecx) == (0, 0x77)


def test_segment_load_sets_the_accessed_bit() -> None:
    vcpu = flat32("mov ds, eax; mov ecx, [4]; hlt")
    set_spare(vcpu.memory, descriptor(DATA, 0xFFF, 0x4092))
    vcpu.memory.write(DATA + 4, b"\x01\x02\x03\x04")
    vcpu.eax = SPARE
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.ecx == 0x04030201
    assert vcpu.memory.read(GDT + SPARE + 5, 1) == b"\x93"
    assert (vcpu.ds.base, vcpu.ds.limit, vcpu.ds.access) == (DATA, 0xFFF, 0x4093)
