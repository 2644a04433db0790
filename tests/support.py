"""What the core's tests share: small guests, the events that stop them, threads that cannot hang.

Physical memory of every test guest:

    0x00000  real-mode interrupt vector table
    0x01000  GDT      0x02000  IDT      0x02C00  TSS, with a stack for privilege level 0
    0x03000  256 HLTs: the handler of vector v is the one at 0x3000 + v
    0x08000  stacks, 2 KiB for each vCPU
    0x10000  code, 4 KiB for each vCPU
    0x20000  the test's data
"""

from __future__ import annotations

import functools
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import pytest

import x86core as x86
from vmm.asm import assemble

RAM = 1 << 20
GDT = 0x1000
IDT = 0x2000
TSS = 0x2C00
HANDLERS = 0x3000
STACKS = 0x8000
CODE = 0x10000
DATA = 0x20000

#: Selectors: flat code and data, 4 KiB of data at DATA, data that is not present, one for a test.
CODE32, DATA32, SMALL, ABSENT, SPARE = 0x08, 0x10, 0x18, 0x20, 0x28
GDT_LIMIT = SPARE + 7

DE, DB, NMI, BP, OF, UD, DF, NP, SS, GP, AC = 0, 1, 2, 3, 4, 6, 8, 11, 12, 13, 17
_PUSHES_ERROR_CODE = {DF, 10, NP, SS, GP, 14, AC}

FLAG_CF, FLAG_ZF, FLAG_TF, FLAG_IF, FLAG_RF = 1 << 0, 1 << 6, 1 << 8, 1 << 9, 1 << 16
GENERAL = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")

INTERRUPT_GATE, TRAP_GATE = 0x8E00, 0x8F00

#: A guest that should stop by itself and has not after so many instructions never will.
INSTRUCTIONS = 10_000_000
#: Seconds after which something that should have happened counts as lost.
PATIENCE = 10.0


@functools.cache
def assembled(source: str, origin: int, bits: int) -> bytes:
    """The image of a few lines in Intel syntax."""
    return assemble(f".intel_syntax noprefix\n.code{bits}\n{source}\n", origin=origin)


def descriptor(base: int, limit: int, access: int) -> bytes:
    """A GDT entry; `limit` in bytes, or in pages with bit 15 of `access` (see `Segment.access`)."""
    return struct.pack(
        "<HHBBBB",
        limit & 0xFFFF,
        base & 0xFFFF,
        base >> 16 & 0xFF,
        access & 0xFF,
        access >> 8 & 0xF0 | limit >> 16 & 0xF,
        base >> 24,
    )


def gate(offset: int, selector: int = CODE32, kind: int = INTERRUPT_GATE) -> bytes:
    """An IDT entry; `kind` is its second doubleword's low half."""
    return struct.pack("<HHHH", offset & 0xFFFF, selector, kind, offset >> 16)


def code_address(index: int = 0) -> int:
    """Where the code of a vCPU's guest begins."""
    return CODE + 0x1000 * index


def stack_top(index: int = 0) -> int:
    """The initial ESP of a vCPU's guest."""
    return STACKS + 0x800 * (index + 1)


def flat32(source: str, *, memory: x86.Memory | None = None, index: int = 0) -> x86.VCPU:
    """A vCPU at the start of `source`, in flat 32-bit protected mode with a GDT and an IDT.

    It leaves the core at each HLT, so every event that the guest does not handle itself ends run().
    """
    memory = x86.Memory(RAM) if memory is None else memory
    vcpu = x86.VCPU(memory, index=index)
    memory.write(code_address(index), assembled(source, code_address(index), 32))
    entries = (
        bytes(8),
        descriptor(0, 0xFFFFF, 0xC09B),
        descriptor(0, 0xFFFFF, 0xC093),
        descriptor(DATA, 0xFFF, 0x4093),
        descriptor(0, 0xFFFFF, 0xC013),
        bytes(8),
    )
    memory.write(GDT, b"".join(entries))
    memory.write(IDT, b"".join(gate(HANDLERS + vector) for vector in range(256)))
    memory.write(HANDLERS, b"\xf4" * 256)
    vcpu.start_flat32(eip=code_address(index), esp=stack_top(index))
    vcpu.gdt_base, vcpu.gdt_limit = GDT, GDT_LIMIT
    vcpu.idt_base, vcpu.idt_limit = IDT, 256 * 8 - 1
    memory.write(TSS + 4, struct.pack("<II", stack_top(index) - 0x400, DATA32))
    vcpu.tr.selector, vcpu.tr.base, vcpu.tr.limit, vcpu.tr.access = SPARE + 8, TSS, 103, 0x8B
    vcpu.cs.selector = CODE32
    for segment in (vcpu.ss, vcpu.ds, vcpu.es, vcpu.fs, vcpu.gs):
        segment.selector = DATA32
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
    return vcpu


def real16(source: str, *, memory: x86.Memory | None = None, index: int = 0) -> x86.VCPU:
    """A vCPU at the start of `source` in real mode, CS = 0x1000 and the other segments 0."""
    memory = x86.Memory(RAM) if memory is None else memory
    vcpu = x86.VCPU(memory, index=index)
    memory.write(code_address(index), assembled(source, 0x1000 * index, 16))
    memory.write(0, b"".join(struct.pack("<HH", v, HANDLERS >> 4) for v in range(256)))
    memory.write(HANDLERS, b"\xf4" * 256)
    vcpu.start_real_mode(cs=CODE >> 4, ip=0x1000 * index)
    vcpu.esp = stack_top(index)
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
    return vcpu


def waiter(
    between: str = "",
    *,
    address: int = DATA,
    extensions: int = 0,
    memory: x86.Memory | None = None,
    index: int = 0,
) -> x86.VCPU:
    """A vCPU that monitors `address`, executes `between`, MWAITs, and after the wake HLTs.

    It executes MONITOR twice, in two blocks: the first on a page only has the page protected.
    """
    source = f"""
        mov eax, {address}
        xor ecx, ecx
        xor edx, edx
        monitor
        jmp arm
    arm:
        monitor
        mov ecx, {extensions}
        {between}
        mwait
        hlt
    """
    vcpu = flat32(source, memory=memory, index=index)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    return vcpu


def run(vcpu: x86.VCPU) -> str:
    """Enter the guest; the name of the exit. A guest that loops for ever ends with EXIT_LIMIT."""
    return x86.EXIT_NAMES[vcpu.run(max_instructions=INSTRUCTIONS)]


@dataclass(frozen=True)
class Event:
    """An exception or interrupt as its handler finds it; `eip` is what IRET would return to."""

    vector: int
    eip: int
    error: int | None = None
    cs: int = CODE32


def delivered(vcpu: x86.VCPU) -> Event:
    """The event in whose handler, a HLT, the vCPU has stopped."""
    vector = vcpu.cs.base + vcpu.eip - HANDLERS - 1
    assert 0 <= vector < 256, f"stopped at eip {vcpu.eip:#x}, which is not in an event handler"
    if not vcpu.cr0 & 1:
        ip, cs, _ = struct.unpack("<3H", vcpu.memory.read(vcpu.ss.base + vcpu.esp, 6))
        return Event(vector, ip, cs=cs)
    error, frame = None, vcpu.ss.base + vcpu.esp
    if vector in _PUSHES_ERROR_CODE:
        (error,) = struct.unpack("<I", vcpu.memory.read(frame, 4))
        frame += 4
    eip, cs = struct.unpack("<II", vcpu.memory.read(frame, 8))
    return Event(vector, eip, error, cs & 0xFFFF)


def pushed_flags(vcpu: x86.VCPU) -> int:
    """The EFLAGS image of the event in whose handler the protected-mode vCPU has stopped."""
    depth = 12 if delivered(vcpu).error is not None else 8
    return word32(vcpu.memory, vcpu.ss.base + vcpu.esp + depth)


def set_gate(memory: x86.Memory, vector: int, entry: bytes) -> None:
    """Replace one entry of the IDT."""
    memory.write(IDT + 8 * vector, entry)


def set_spare(memory: x86.Memory, entry: bytes) -> None:
    """Fill the descriptor of the selector SPARE."""
    memory.write(GDT + SPARE, entry)


def word32(memory: x86.Memory, address: int = DATA) -> int:
    """The doubleword at a physical address."""
    return int.from_bytes(memory.read(address, 4), "little")


def wait_until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Return as soon as `condition` holds; fail the test when not within so many seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {patience} s: {what}")
        time.sleep(0.0001)


#: An environment in which Python has no thread but those that it is told to start.
NO_OTHER_THREADS = os.environ | {"OPENBLAS_NUM_THREADS": "1"}


def has_threads(process: subprocess.Popen[str], count: int) -> bool:
    """Whether a process that was given NO_OTHER_THREADS has started so many beside its first."""
    return len(list(Path(f"/proc/{process.pid}/task").iterdir())) > count


class Running:
    """A vCPU inside run() on a thread of its own; leaving the `with` block takes it out again."""

    def __init__(self, vcpu: x86.VCPU) -> None:
        self.vcpu = vcpu
        self._reason = -1
        self._thread = threading.Thread(target=self._enter, daemon=True)

    def _enter(self) -> None:
        self._reason = self.vcpu.run()

    def __enter__(self) -> Running:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread.is_alive():
            self.vcpu.kick()
        self._thread.join(PATIENCE)
        if self._thread.is_alive() and error is None:
            pytest.fail(f"vCPU {self.vcpu.index} does not leave run() when kicked")

    def exit(self) -> str:
        """The name of the exit; fails the test when the guest does not stop by itself."""
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            pytest.fail(f"vCPU {self.vcpu.index} still runs, waiting: {self.vcpu.waiting!r}")
        return x86.EXIT_NAMES[self._reason]

    def asleep(self, where: str) -> None:
        """Return once the vCPU blocks in the core, `where` being 'hlt' or 'mwait'."""
        wait_until(lambda: self.vcpu.waiting == where, f"vCPU {self.vcpu.index} asleep in {where}")

    def cpu_time(self) -> float:
        """Seconds of host CPU that the thread has used."""
        assert self._thread.ident is not None
        return time.clock_gettime(time.pthread_getcpuclockid(self._thread.ident))
