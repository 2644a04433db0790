"""The instruction limit of run() and the count of retired instructions."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import CODE, DATA, Running, flat32, run

COUNT_FOR_EVER = "again: inc eax; jmp again"


@pytest.mark.parametrize("limit", [1, 2, 3, 31, 32, 33, 1000, 100_001])
def test_limit_is_exact(limit: int) -> None:
    vcpu = flat32(COUNT_FOR_EVER)
    vcpu.eax = 0
    assert vcpu.run(max_instructions=limit) == x86.EXIT_LIMIT
    assert vcpu.instructions == limit
    assert vcpu.eax == (limit + 1) // 2
    assert vcpu.exit_reason == x86.EXIT_LIMIT


def test_single_steps_visit_every_instruction() -> None:
    """Also across a fused compare and branch, and between the parts of a straight line."""
    vcpu = flat32("mov ecx, 2; again: cmp ecx, 9; je out; dec ecx; jnz again; out: hlt")
    eips = []
    while vcpu.run(max_instructions=1) == x86.EXIT_LIMIT:
        eips.append(vcpu.eip - CODE)
    assert eips == [5, 8, 10, 11, 5, 8, 10, 11, 13]
    assert vcpu.exit_reason == x86.EXIT_HLT
    assert vcpu.instructions == 10


def test_no_limit_runs_to_the_exit() -> None:
    vcpu = flat32("mov ecx, 100000; again: dec ecx; jnz again; hlt")
    assert vcpu.run() == x86.EXIT_HLT
    assert vcpu.instructions == 1 + 2 * 100_000 + 1


@pytest.mark.parametrize("limit", [-1, 1 << 64])
def test_bad_limit_is_refused(limit: int) -> None:
    vcpu = flat32("hlt")
    with pytest.raises((ValueError, OverflowError)):
        vcpu.run(max_instructions=limit)
    assert vcpu.instructions == 0


def test_limit_that_the_exit_comes_before() -> None:
    vcpu = flat32("nop; nop; hlt")
    assert vcpu.run(max_instructions=1000) == x86.EXIT_HLT
    assert vcpu.instructions == 3


def test_limit_beyond_32_bits_is_not_cut() -> None:
    vcpu = flat32("nop; hlt")
    assert vcpu.run(max_instructions=1 << 32) == x86.EXIT_HLT


def test_a_repeated_string_operation_is_one_instruction() -> None:
    vcpu = flat32(f"mov edi, {DATA}; mov ecx, 5000; cld; rep stosb; hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.instructions == 5


def test_a_faulting_instruction_is_not_retired() -> None:
    vcpu = flat32("nop; ud2")
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.instructions == 2, "the NOP and the handler's HLT"


def test_the_count_goes_on_after_a_kick() -> None:
    vcpu = flat32(COUNT_FOR_EVER)
    with Running(vcpu):
        pass
    seen = vcpu.instructions
    assert vcpu.run(max_instructions=10) == x86.EXIT_LIMIT
    assert vcpu.instructions == seen + 10
