"""A line for each instruction: where, its bytes, what it says, and what it changed.

`Stepper.run` stands in for `VCPU.run` in the vCPU's loop when a trace is asked for, and steps
(`VCPU.single_step`). Without a trace nothing of this is on any path.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator
from operator import attrgetter
from types import ModuleType
from typing import Any, NamedTuple

from vmm import kvm
from vmm.exits import is_32_bit, location
from x86core import EXIT_NAMES, VCPU

#: The longest instruction, in bytes (SDM vol. 2, 2.3.11).
_LONGEST = 15

#: What is compared before and after, and in how many hex digits it is shown. EIP is in each line.
_REGISTERS = {
    **dict.fromkeys(("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"), 8),
    **dict.fromkeys([f"{name}.selector" for name in ("es", "cs", "ss", "ds", "fs", "gs")], 4),
    **dict.fromkeys(("cr0", "cr2", "cr3", "cr4", "gdt_base", "idt_base"), 8),
    **dict.fromkeys(("gdt_limit", "idt_limit"), 4),
}
_read_registers = attrgetter(*_REGISTERS)
_SHOWN = [(name.removesuffix(".selector"), digits) for name, digits in _REGISTERS.items()]

#: EFLAGS from bit 0 up but IOPL (SDM vol. 1, 3.4.3), and exceptions from vector 0 (vol. 3, 6.3.1).
_FLAG_NAMES = "CF - PF - AF - ZF SF TF IF DF OF - - NT - RF - AC - - ID"
_EXCEPTION_NAMES = "#DE #DB NMI #BP #OF #BR #UD #NM #DF - #TS #NP #SS #GP #PF - #MF #AC #MC"

_FLAGS = {name: 1 << bit for bit, name in enumerate(_FLAG_NAMES.split()) if name != "-"}
_FLAGS["IOPL"] = 3 << 12
_EXCEPTIONS = {i: name for i, name in enumerate(_EXCEPTION_NAMES.split()) if name != "-"}


class CapstoneMissingError(Exception):
    """The disassembler is not installed; the message says how to get it."""

    def __init__(self) -> None:
        super().__init__("a trace is disassembled by capstone: pip install 'x86core[trace]'")


class _Step(NamedTuple):
    """One step of one vCPU. It is made into text when it is printed, and not before."""

    order: int  # among those of all vCPUs
    vcpu: int
    number: int  # instructions retired before it
    location: str
    is_32_bit: bool
    eip: int
    length: int  # how far EIP went
    code: bytes  # from EIP on, as they were before it
    registers: tuple[tuple[int, ...], tuple[int, ...]]  # before and after
    eflags: tuple[int, int]
    note: str


class Trace:
    """What is traced of a machine, and where the lines go: `output` gets each, without its end.

    A vCPU's trace begins when it has retired `first` instructions. With `last`, the latest so many
    lines of each vCPU are kept until `finish`, and no others are put out.

    Raises CapstoneMissingError, and ValueError when a number is negative.
    """

    def __init__(self, output: Callable[[str], object], first: int = 0, last: int = 0) -> None:
        if first < 0 or last < 0:
            raise ValueError(f"first and last must be 0 or more, not {first} and {last}")
        capstone = _import_capstone()
        self._disassemblers = [
            capstone.Cs(capstone.CS_ARCH_X86, mode)
            for mode in (capstone.CS_MODE_16, capstone.CS_MODE_32)
        ]
        self._output = output
        self._first = first
        self._last = last
        self._kept: list[deque[_Step]] = []
        self._order = itertools.count()
        self._lock = threading.Lock()  # lines stay whole; capstone takes one thread at a time

    def stepper(self, vcpu: VCPU) -> Stepper:
        """What runs a vCPU in this trace."""
        if not self._last:
            return Stepper(vcpu, self._first, self._order, self._print)
        kept = deque[_Step](maxlen=self._last)
        self._kept.append(kept)
        return Stepper(vcpu, self._first, self._order, kept.append)

    def finish(self) -> None:
        """Put out the lines that were kept, in the order of the steps."""
        for step in sorted(itertools.chain(*self._kept)):
            self._print(step)
        for kept in self._kept:
            kept.clear()

    def _print(self, step: _Step) -> None:
        with self._lock:
            self._output(self._line(step))

    def _line(self, step: _Step) -> str:
        disassembler = self._disassemblers[step.is_32_bit]
        decoded = next(disassembler.disasm_lite(step.code, step.eip, 1), None)
        if decoded is None:
            length, text = step.length if 0 < step.length <= _LONGEST else 1, "(unknown)"
        else:
            _, length, mnemonic, operands = decoded
            text = f"{mnemonic} {operands}".strip()
        effects = [*_changes(step), *([f"=> {step.note}"] if step.note else [])]
        return (
            f"{step.vcpu}  {step.number:>8}  {step.location}  {step.code[:length].hex(' '):<20}"
            f"  {text:<32}  {' '.join(effects)}"
        ).rstrip()


class Stepper:
    """Runs one vCPU step by step."""

    def __init__(
        self, vcpu: VCPU, first: int, order: Iterator[int], record: Callable[[_Step], object]
    ) -> None:
        self._vcpu = vcpu
        self._first = first
        self._order = order
        self._record = record
        self._ram = vcpu.memory.view()

    def run(self, max_instructions: int = 0) -> int:
        """As `VCPU.run`, in steps once the trace has begun. A step is an instruction, an exception
        or interrupt delivered, or an exit before the instruction is finished.
        """
        vcpu = self._vcpu
        start = vcpu.instructions
        while True:
            left = max_instructions and max_instructions - (vcpu.instructions - start)
            untraced = self._first - vcpu.instructions
            vcpu.single_step = untraced <= 0
            if vcpu.single_step:
                reason = self._step(left)
                if reason != kvm.KVM_EXIT_DEBUG:
                    return reason
            else:
                reason = vcpu.run(min(left, untraced) if left else untraced)
                if reason != kvm.KVM_EXIT_LIMIT or (left and untraced >= left):
                    return reason

    def _step(self, max_instructions: int) -> int:
        vcpu = self._vcpu
        number, eip, eflags, at = vcpu.instructions, vcpu.eip, vcpu.eflags, location(vcpu)
        registers, big = _read_registers(vcpu), is_32_bit(vcpu)
        first = vcpu.cs.base + eip & 0xFFFF_FFFF
        code = self._ram[first : first + _LONGEST].tobytes()
        reason = vcpu.run(max_instructions)
        step = _Step(
            order=next(self._order),
            vcpu=vcpu.index,
            number=number,
            location=at,
            is_32_bit=big,
            eip=eip,
            length=vcpu.eip - eip,
            code=code,
            registers=(registers, _read_registers(vcpu)),
            eflags=(eflags, vcpu.eflags),
            note=_note(vcpu, reason, vcpu.instructions != number),
        )
        self._record(step)
        return reason


def _changes(step: _Step) -> Iterator[str]:
    """The registers and flags that are not what they were."""
    for (name, digits), before, after in zip(_SHOWN, *step.registers, strict=True):
        if before != after:
            yield f"{name}={after:0{digits}x}"
    before, after = step.eflags
    for name, bits in _FLAGS.items():
        if (before ^ after) & bits:
            yield f"{name}={(after & bits) // (bits & -bits)}"


def _note(vcpu: VCPU, reason: int, retired: bool) -> str:
    """What a step was, unless it was just an instruction."""
    name = EXIT_NAMES.get(reason, str(reason))
    match reason:
        case kvm.KVM_EXIT_DEBUG:
            return "" if retired else event_name(vcpu.last_event)
        case kvm.KVM_EXIT_IO if vcpu.io_direction == kvm.KVM_EXIT_IO_OUT:
            data = f"{vcpu.io_data:0{2 * vcpu.io_size}x}"
            return f"{name} out port {vcpu.io_port:#x} data {data}"
        case kvm.KVM_EXIT_IO:
            return f"{name} in port {vcpu.io_port:#x} size {vcpu.io_size}"
        case kvm.KVM_EXIT_MMIO if vcpu.mmio_is_write:
            data = f"{vcpu.mmio_data:0{2 * vcpu.mmio_length}x}"
            return f"{name} write {vcpu.mmio_address:#x} data {data}"
        case kvm.KVM_EXIT_MMIO:
            return f"{name} read {vcpu.mmio_address:#x} size {vcpu.mmio_length}"
    return name


def event_name(vector: int) -> str:
    """A vector, with the name of its exception where it has one."""
    return f"vector {vector:#04x} {_EXCEPTIONS.get(vector, '')}".rstrip()


def _import_capstone() -> ModuleType | Any:
    try:
        import capstone
    except ImportError:
        raise CapstoneMissingError from None
    return capstone
