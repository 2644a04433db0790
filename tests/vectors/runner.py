"""Runs captures on the core, one after the other on one vCPU, and says how each went wrong."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import groupby

import capstone
import numpy as np

import x86core as x86
from tests.vectors.moo import Capture, CaptureFile

#: Everything that a real-mode address can reach with A20 on, in whole pages.
RAM = 0x11_0000
#: Where the vectors of the interrupts that a capture does not expect lead: a HLT for each.
_HANDLERS = 0xF_E000
#: More than the longest repeated instruction of a capture needs, exits for ports included.
_LIMIT = 0x2_0000

_GENERAL = {name: f"e{name}" for name in ("ax", "cx", "dx", "bx", "sp", "bp", "si", "di")}
_SEGMENTS = ("es", "cs", "ss", "ds")
_UD = 6


@dataclass(frozen=True, slots=True)
class Failure:
    """A capture that the core answered otherwise than the silicon."""

    capture: Capture
    #: A short name to count by: "#UD: not implemented", "did not halt", "flags", "registers"...
    cause: str
    #: (what, expected, actual) for each part that differs, as text.
    differences: tuple[tuple[str, str, str], ...]

    @property
    def disassembly(self) -> str:
        """The instruction under test, without the HLT behind it."""
        return disassemble(self.capture.code)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the captures of one file went."""

    name: str
    disassembly: str
    passed: int
    failures: tuple[Failure, ...]


def disassemble(code: bytes) -> str:
    """The first instruction of real-mode code in Intel syntax, or its bytes when it is none."""
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_16)
    for _, _, mnemonic, operands in decoder.disasm_lite(code, 0, 1):
        return f"{mnemonic} {operands}".strip()
    return f".byte {code.hex(' ')}"


def _runs(addresses: list[int]) -> list[tuple[int, int]]:
    """First address and length of each contiguous run in ascending addresses."""
    runs = []
    for _, group in groupby(enumerate(addresses), lambda pair: pair[1] - pair[0]):
        members = [address for _, address in group]
        runs.append((members[0], len(members)))
    return runs


class Runner:
    """One vCPU and its RAM, put back to the same state after each capture."""

    def __init__(self) -> None:
        self._memory = x86.Memory(RAM)
        self._vcpu = x86.VCPU(self._memory)
        self._background = np.zeros(RAM, np.uint8)
        table = b"".join(struct.pack("<HH", v, _HANDLERS >> 4) for v in range(256))
        self._background[: len(table)] = np.frombuffer(table, np.uint8)
        self._background[_HANDLERS : _HANDLERS + 256] = 0xF4
        self._memory.write(0, self._background.tobytes())
        self._ram = self._memory.view()
        self._expected = self._background.copy()

    def run(self, file: CaptureFile) -> Outcome:
        """Run every capture of a file."""
        failures = []
        for capture in file.captures:
            failure = self.run_one(capture, file.flags_mask)
            if failure is not None:
                failures.append(failure)
        first = file.captures[0].code if file.captures else b""
        return Outcome(
            file.name, disassemble(first), len(file.captures) - len(failures), tuple(failures)
        )

    def run_one(self, capture: Capture, flags_mask: int = 0xFFF) -> Failure | None:
        """Run a capture; None when every register, byte and defined flag is as captured."""
        self._enter(capture)
        reason = self._run_to_halt()
        differences = self._registers_that_differ(capture, flags_mask)
        self._expect_memory(capture, flags_mask)
        cause = self._cause(capture, reason, differences)
        same = np.array_equal(self._ram.view(np.uint64), self._expected.view(np.uint64))
        if not same:
            changed = [int(address) for address in np.flatnonzero(self._ram != self._expected)]
            differences += self._bytes_that_differ(changed)
            cause = cause or "memory"
        self._restore(capture, [] if same else changed)
        return Failure(capture, cause, tuple(differences)) if cause else None

    def _enter(self, capture: Capture) -> None:
        vcpu, registers = self._vcpu, capture.initial.registers
        self._store(capture.initial.memory)
        vcpu.start_real_mode(cs=registers["cs"], ip=registers["ip"])
        for name, extended in _GENERAL.items():
            setattr(vcpu, extended, registers[name])
        for name in _SEGMENTS:
            segment = getattr(vcpu, name)
            segment.selector = registers[name]
            segment.base = registers[name] << 4
        vcpu.eflags = registers["flags"] & 0xFFF | 2
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT

    def _run_to_halt(self) -> int:
        """The exit that ended the run; ports are answered with ones on the way."""
        vcpu, limit = self._vcpu, self._vcpu.instructions + _LIMIT
        while vcpu.instructions < limit:
            reason = vcpu.run(max_instructions=_LIMIT)
            if reason != x86.EXIT_IO:
                return reason
            if vcpu.io_direction == x86.EXIT_IO_IN:
                vcpu.io_data = (1 << 8 * vcpu.io_size) - 1
        return x86.EXIT_LIMIT

    def _store(self, contents: dict[int, int]) -> None:
        for address, length in _runs(sorted(contents)):
            data = bytes(contents[address + i] for i in range(length))
            self._memory.write(address, data)
            self._expected[address : address + length] = np.frombuffer(data, np.uint8)

    def _expect_memory(self, capture: Capture, flags_mask: int) -> None:
        for address, value in capture.final.memory.items():
            self._expected[address] = value
        if capture.pushed_flags is not None:
            # Bits that the instruction leaves undefined may be anything in the pushed word as well.
            where = list(capture.pushed_flags)
            mask = np.frombuffer((flags_mask & 0xFFF).to_bytes(2, "little"), np.uint8)
            self._expected[where] = self._expected[where] & mask | self._ram[where] & ~mask

    def _registers_that_differ(self, capture: Capture, mask: int) -> list[tuple[str, str, str]]:
        vcpu = self._vcpu
        expected = capture.initial.registers | capture.final.registers
        actual = {name: getattr(vcpu, extended) for name, extended in _GENERAL.items()}
        actual |= {name: getattr(vcpu, name).selector for name in _SEGMENTS}
        differences = [
            (name, f"{expected[name]:04x}", f"{actual[name]:04x}")
            for name in actual
            if actual[name] != expected[name]
        ]
        if vcpu.eip & 0xFFFF != expected["ip"]:
            differences.append(("ip", f"{expected['ip']:04x}", f"{vcpu.eip:04x}"))
        mask &= 0xFFF
        if (vcpu.eflags ^ expected["flags"]) & mask:
            differences.append(
                ("flags", f"{expected['flags'] & mask:04x}", f"{vcpu.eflags & mask:04x}")
            )
        return differences

    def _bytes_that_differ(self, addresses: list[int]) -> list[tuple[str, str, str]]:
        return [
            (
                f"[{first:05x}]",
                self._expected[where].tobytes().hex(),
                self._ram[where].tobytes().hex(),
            )
            for first, length in _runs(addresses)
            for where in [slice(first, first + length)]
        ]

    def _cause(
        self, capture: Capture, reason: int, differences: list[tuple[str, str, str]]
    ) -> str | None:
        if reason != x86.EXIT_HLT:
            return f"did not halt: {x86.EXIT_NAMES[reason]}"
        stopped = self._vcpu.cs.base + self._vcpu.eip - 1
        vector = stopped - _HANDLERS
        if 0 <= vector < 256 and stopped not in capture.initial.memory:
            return "#UD: not implemented" if vector == _UD else f"took exception {vector}"
        if {name for name, _, _ in differences} == {"flags"}:
            return "flags"
        return "registers" if differences else None

    def _restore(self, capture: Capture, changed: list[int]) -> None:
        touched = {*capture.initial.memory, *capture.final.memory, *changed}
        for first, length in _runs(sorted(touched)):
            where = slice(first, first + length)
            self._memory.write(first, self._background[where].tobytes())
            self._expected[where] = self._background[where]
