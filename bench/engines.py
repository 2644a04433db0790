"""What runs a program and is timed: the core. `bench.peer` has the same for Unicorn."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import x86core
from bench.loops import CODE_ADDRESS, PAGE_DIRECTORY, RAM_SIZE, Loop, image

#: CF, PF, AF, ZF, SF and OF.
ARITHMETIC_FLAGS = 0x8D5

#: Bits of CR0 and CR4: paging, and large pages.
CR0_PG, CR4_PSE = 0x80000000, 0x10

REGISTERS = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip")


class EngineError(RuntimeError):
    """An engine did not do what its program asks for."""


@dataclass(frozen=True, slots=True)
class State:
    """What the guest is left with: registers in the order of REGISTERS, flags, all of RAM."""

    registers: tuple[int, ...]
    flags: int
    memory: bytes

    def differences(self, other: State) -> list[str]:
        """The names of what is not the same."""
        pairs = zip(REGISTERS, self.registers, other.registers, strict=True)
        different = [name for name, mine, yours in pairs if mine != yours]
        if self.flags != other.flags:
            different.append("flags")
        if self.memory != other.memory:
            different.append("memory")
        return different


class CoreEngine:
    """`x86core.VCPU.run` until it exits on HLT."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        memory = x86core.Memory(RAM_SIZE)
        memory.write(0, image(loop.name, loop.page_size))
        self.vcpu = x86core.VCPU(memory)
        self.vcpu.userspace_exits = x86core.USERSPACE_EXIT_HLT
        self.instructions = 0  # retired in the last run

    def run(self, size: int) -> float:
        """Start over with `size` in ECX and run until HLT; the seconds that it took."""
        vcpu = self.vcpu
        if self.loop.real_mode:
            vcpu.start_real_mode(0, CODE_ADDRESS)
        else:
            vcpu.start_flat32(CODE_ADDRESS)
        if self.loop.page_size:
            vcpu.cr3, vcpu.cr4 = PAGE_DIRECTORY, CR4_PSE
            vcpu.cr0 |= CR0_PG
        vcpu.esp = self.loop.stack_top
        for register in ("eax", "edx", "ebx", "ebp", "esi", "edi"):
            setattr(vcpu, register, 0)
        vcpu.ecx = size
        before = vcpu.instructions
        start = perf_counter()
        reason = vcpu.run()
        seconds = perf_counter() - start
        self.instructions = vcpu.instructions - before
        if reason != x86core.EXIT_HLT:
            raise EngineError(f"x86core stopped with {x86core.EXIT_NAMES[reason]}, not at HLT")
        return seconds

    def state(self) -> State:
        """The guest's state now."""
        vcpu = self.vcpu
        return State(
            registers=tuple(getattr(vcpu, name) for name in REGISTERS),
            flags=vcpu.eflags & ARITHMETIC_FLAGS,
            memory=vcpu.memory.read(0, RAM_SIZE),
        )
