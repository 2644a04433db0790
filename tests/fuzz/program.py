"""The random programs: pure noise, and sequences that mean something with a few bits changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from tests.differential.case import Case, default_registers
from tests.differential.disassembly import Mode
from tests.differential.generate import Generator
from tests.differential.layout import CODE, EFLAGS, EIP

_NOISE_BYTES = 64
#: Sequences that mutants are made from; each gives many.
_SEEDLINGS = 64


def programs(mode: Mode, seed: int, batch: int, count: int) -> Iterator[Case]:
    """`count` programs, the same ones for the same seed and batch number."""
    random = Random(seed << 40 | batch << 8 | 0xFF)
    generator = Generator(mode, random.getrandbits(32))
    seedlings = [generator.case(number) for number in range(min(count, _SEEDLINGS))]
    for _ in range(count):
        if random.random() < 0.5:
            noise = random.randbytes(random.randint(1, _NOISE_BYTES))
            yield Case(mode, (noise,), _state(mode, random))
        else:
            yield _mutant(seedlings[int(random.random() * len(seedlings))], random)


def _state(mode: Mode, random: Random) -> tuple[int, ...]:
    """General registers and flags at random, the segments and EIP as the mode needs them."""
    registers = list(default_registers(mode))
    if random.random() < 0.7:
        for number in range(8):
            registers[number] = random.getrandbits(random.choice((4, 8, 16, 17, 20, 32)))
    if random.random() < 0.1:
        # Across the end of a page.
        registers[EIP] = (0 if mode == "real" else CODE) + 0x2000 - random.randint(1, 16)
    registers[EFLAGS] = random.getrandbits(22) & 0x24_7FD5 | 2
    return tuple(registers)


def _mutant(case: Case, random: Random) -> Case:
    code = bytearray(b"".join(case.instructions))
    for _ in range(random.randint(1, 4)):
        place, kind = random.randrange(len(code) or 1), random.random()
        if kind < 0.3 or not code:
            code.insert(place, random.choice(b"\x66\x67\xf0\xf2\xf3\x26\x64\x0f"))
        elif kind < 0.6:
            code[place] ^= 1 << random.randrange(8)
        elif kind < 0.8:
            code[place] = random.getrandbits(8)
        else:
            del code[place]
    return replace(case, instructions=(bytes(code),))
