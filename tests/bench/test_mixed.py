"""The large program: always the same, and as large in each round as it claims to be."""

from __future__ import annotations

from collections import Counter

import pytest

from bench import mixed
from bench.loops import CODE_ADDRESS, RAM_SIZE, STACK_TOP, code

FILLING_INSTRUCTIONS = 6


def test_a_seed_gives_one_program() -> None:
    assert mixed.source(1) == mixed.source(1) != mixed.source(2)


def test_each_round_is_wide() -> None:
    unicorn = pytest.importorskip("unicorn")
    x86_const = pytest.importorskip("unicorn.x86_const")
    rounds = 2
    emulator = unicorn.Uc(unicorn.UC_ARCH_X86, unicorn.UC_MODE_32)
    emulator.mem_map(0, RAM_SIZE)
    emulator.mem_write(CODE_ADDRESS, code("mixed"))
    emulator.reg_write(x86_const.UC_X86_REG_ESP, STACK_TOP)
    emulator.reg_write(x86_const.UC_X86_REG_ECX, rounds)
    instructions: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    for kind, seen in ((unicorn.UC_HOOK_CODE, instructions), (unicorn.UC_HOOK_BLOCK, blocks)):
        emulator.hook_add(
            kind,
            lambda _emulator, address, _size, seen: seen.update([address]),
            user_data=seen,
        )
    emulator.emu_start(CODE_ADDRESS, RAM_SIZE)
    # Nothing in a round runs twice: the only loop is the one that fills the data before.
    assert sum(count > rounds for count in instructions.values()) == FILLING_INSTRUCTIONS
    assert sum(count == rounds for count in instructions.values()) >= 20_000
    assert sum(count == rounds for count in blocks.values()) > 1_000
