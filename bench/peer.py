"""Unicorn, the emulator library that the core is measured beside: an optional extra."""

from __future__ import annotations

import threading
from itertools import repeat
from time import perf_counter

import unicorn
from unicorn import x86_const

from bench.engines import (
    ARITHMETIC_FLAGS,
    CR0_PG,
    CR4_PSE,
    REGISTERS,
    CoreEngine,
    EngineError,
    State,
)
from bench.loops import CODE_ADDRESS, PAGE_DIRECTORY, RAM_SIZE, Loop, image

VERSION: str = unicorn.__version__

_REGISTER_NUMBERS = [getattr(x86_const, f"UC_X86_REG_{name.upper()}") for name in REGISTERS]

_SEGMENT_NUMBERS = [
    getattr(x86_const, f"UC_X86_REG_{name}") for name in ("ES", "SS", "DS", "FS", "GS")
]

_HLT_LENGTH = 1

#: Unicorn forgets a stop that comes before its start, so it is told again.
_STOP_AGAIN_SECONDS = 0.005

#: No program gets here; Unicorn wants an address at which to stop.
_NOWHERE = RAM_SIZE


def _emulator(name: str, mode: int = unicorn.UC_MODE_32, page_size: int = 0) -> unicorn.Uc:
    emulator = unicorn.Uc(unicorn.UC_ARCH_X86, mode)
    emulator.mem_map(0, RAM_SIZE)
    emulator.mem_write(0, image(name, page_size))
    if page_size:
        emulator.reg_write(x86_const.UC_X86_REG_CR3, PAGE_DIRECTORY)
        emulator.reg_write(x86_const.UC_X86_REG_CR4, CR4_PSE)
        paged = emulator.reg_read(x86_const.UC_X86_REG_CR0) | CR0_PG
        emulator.reg_write(x86_const.UC_X86_REG_CR0, paged)
    return emulator


class UnicornEngine:
    """`Uc.emu_start` until it stops at HLT."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._emulator = self._new_emulator()

    def _new_emulator(self) -> unicorn.Uc:
        mode = unicorn.UC_MODE_16 if self._loop.real_mode else unicorn.UC_MODE_32
        return _emulator(self._loop.name, mode, self._loop.page_size)

    def run(self, size: int) -> float:
        """Start over with `size` in ECX and run until HLT; the seconds that it took."""
        return self._run(self._emulator, size)

    def state(self) -> State:
        """The guest's state now."""
        read = self._emulator.reg_read
        return State(
            registers=tuple(read(number) for number in _REGISTER_NUMBERS),
            flags=read(x86_const.UC_X86_REG_EFLAGS) & ARITHMETIC_FLAGS,
            memory=bytes(self._emulator.mem_read(0, RAM_SIZE)),
        )

    def address_after(self, size: int, count: int) -> int:
        """EIP after exactly `count` instructions of the program."""
        # Code that was translated for running freely would not be counted: a new emulator.
        emulator = self._new_emulator()
        self._run(emulator, size, count)
        return int(emulator.reg_read(x86_const.UC_X86_REG_EIP))

    def _run(self, emulator: unicorn.Uc, size: int, count: int = 0) -> float:
        start_values = {"ecx": size, "esp": self._loop.stack_top}
        for name, number in zip(REGISTERS, _REGISTER_NUMBERS, strict=True):
            emulator.reg_write(number, start_values.get(name, 0))
        if self._loop.real_mode:
            for number in _SEGMENT_NUMBERS:
                emulator.reg_write(number, 0)
        seconds: list[float] = []
        failures: list[Exception] = []

        done = threading.Event()

        def emulate() -> None:
            start = perf_counter()
            try:
                emulator.emu_start(CODE_ADDRESS, _NOWHERE, count=count)
            except unicorn.UcError as failure:
                failures.append(failure)
            seconds.append(perf_counter() - start)
            done.set()

        # Not on this thread: Python handles Ctrl-C here, and only between two calls into C. And not
        # join() to wait: up to Python 3.12, an interrupted join takes the thread for ended.
        thread = threading.Thread(target=emulate, name="unicorn")
        thread.start()
        try:
            done.wait()
        finally:
            while not done.wait(_STOP_AGAIN_SECONDS):
                emulator.emu_stop()
            thread.join()
        if failures:
            raise EngineError(f"Unicorn stopped with: {failures[0]}")
        return seconds[0]


def check_agreement(core: CoreEngine, peer: UnicornEngine, size: int) -> None:
    """Run the program on both and compare what it leaves and how many instructions it takes.

    Unicorn does not count, but can stop after a given number: one instruction less than the core
    has retired must leave it just before the HLT, which no program here passes. A string
    instruction with REP is one instruction to the core; to Unicorn, so is each repetition, and then
    the end. Raises EngineError.
    """
    core.run(size)
    peer.run(size)
    different = core.state().differences(peer.state())
    if different:
        raise EngineError(f"x86core and Unicorn disagree on {', '.join(different)}")
    halt = core.vcpu.eip - _HLT_LENGTH
    repetitions = core.loop.repetitions * size
    if peer.address_after(size, core.instructions - 1 + repetitions) != halt:
        raise EngineError(f"Unicorn does not take the core's {core.instructions:,} instructions")


class IdleUnicorn:
    """`Uc.emu_start` over and over on a guest that does nothing but HLT.

    Unicorn has no idle exit that could be asked for, but HLT ends emu_start. The address to go on
    from is known, so no register is read for it: what is counted is the call alone.
    """

    def __init__(self) -> None:
        self._emulator = _emulator("hlt")

    def exits(self, count: int) -> float:
        """Enter the guest and come back so often; the seconds that it took."""
        start_at = self._emulator.emu_start
        self._emulator.reg_write(x86_const.UC_X86_REG_EBX, count)
        start = perf_counter()
        start_at(CODE_ADDRESS, _NOWHERE)
        after_halt = self._emulator.reg_read(x86_const.UC_X86_REG_EIP)
        for _ in repeat(None, count - 1):
            start_at(after_halt, _NOWHERE)
        seconds = perf_counter() - start
        if self._emulator.reg_read(x86_const.UC_X86_REG_EBX) != 1:
            raise EngineError("Unicorn came back for something else than HLT")
        return seconds
