"""Whatever state a guest makes up, run() ends, and what it leaves can be saved and restored.

Random states around everything that is read from memory: descriptors, gates, TSSs, page tables.
"""

from __future__ import annotations

import random
import struct
import time

import pytest

import x86core as x86
from tests.protected import support
from tests.protected.support import OTHER_TSS, OWN_TASK, TABLE, TASK, TASK_GATE, paged, protected
from tests.support import CODE32, DATA32, GDT, IDT, TSS

#: States of one test, run() calls of a state, and instructions of a call.
STATES, CALLS, LIMIT = 60, 30, 100
#: Seconds after which a call counts as hung.
PATIENCE = 20.0

_SELECTORS = [CODE32, support.CODE1, support.CODE3, support.CONFORMING, support.CODE16]
_TASKS = [TASK, TASK_GATE, OWN_TASK, support.LDT, support.CALL_GATE]
_DATA = [DATA32, support.DATA3, support.DATA1, CODE32, 0, 0xFFFF]
#: Far transfers, returns, loads of segments and control registers, string instructions.
_OPCODES = [
    *(b"\xea", b"\x9a", b"\xcf", b"\xcd", b"\xcb", b"\xca", b"\xcc", b"\x0f\x00", b"\x0f\x01"),
    *(b"\x8e", b"\x0f\xb2", b"\x07", b"\x17", b"\x9d", b"\x60", b"\x61", b"\xc8\0\0\x1f", b"\xff"),
    *(b"\x0f\x22", b"\xf3\xa5", b"\x6c", b"\xe4", b"\xfb", b"\x0f\xc7\x08"),
]
_FLAGS = [2, 0x202, 0x102, 0x3002, 0x4002, 0x40002, 0x20002, 0x60202, 0x10002]


def _code(source: random.Random) -> bytes:
    code = bytearray(source.randbytes(256))
    for _ in range(40):
        opcode = source.choice(_OPCODES)
        if opcode in (b"\xea", b"\x9a"):
            opcode += source.randbytes(4) + struct.pack("<H", source.choice(_TASKS + _SELECTORS))
        at = source.randrange(len(code) - len(opcode))
        code[at : at + len(opcode)] = opcode
    return bytes(code)


def _tables(vcpu: x86.VCPU, source: random.Random) -> None:
    memory = vcpu.memory
    for _ in range(source.randrange(12)):
        at = GDT + source.randrange(0, support.LAST, 8)
        entry = bytearray(memory.read(at, 8) if source.random() < 0.6 else source.randbytes(8))
        entry[source.randrange(8)] = source.randrange(256)
        memory.write(at, bytes(entry))
    for _ in range(source.randrange(60)):
        vector = source.choice([0, 1, 3, 6, 8, 10, 11, 12, 13, 14, 17, source.randrange(256)])
        kind = source.choice([0x85, 0xE5, 0x8E, 0xEE, 0x8F, 0xEF, 0x86, 0x87, 0x8C, 0x0E])
        selector = source.choice(_SELECTORS + _TASKS)
        offset = source.choice([0x3000 + vector, source.randrange(65536)])
        memory.write(IDT + vector * 8, struct.pack("<HHBBH", offset, selector, 0, kind, 0))
    for base in (TSS, OTHER_TSS):
        image = [OWN_TASK, 0x8400, DATA32, 0, 0, 0, 0, support.DIRECTORY]
        image += [source.choice([0x3000, 0x4000, 0x10000]), source.choice(_FLAGS)]
        image += [0, 0, 0, 0, 0x8000 + source.randrange(4), 0, 0, 0]
        image += [source.choice(_DATA) for _ in range(6)] + [0, 0x680000 | source.randrange(2)]
        whole = struct.pack("<26I", *image)
        memory.write(base, whole if source.random() < 0.7 else source.randbytes(104))


def _pages(vcpu: x86.VCPU, source: random.Random) -> None:
    for _ in range(source.randrange(10)):
        entry = source.choice([0, source.getrandbits(32), source.randrange(256) << 12 | 5])
        support.map_page(vcpu, source.randrange(256) << 12, entry)
    for _ in range(source.randrange(3)):
        at = support.DIRECTORY + 4 * source.randrange(1024)
        entry = source.choice([source.getrandbits(32), support.DIRECTORY | 7, TABLE | 7])
        vcpu.memory.write(at, struct.pack("<I", entry))
    vcpu.cr4 = source.choice([0, 0x10, 0x80, 0x9C])


def _registers(vcpu: x86.VCPU, source: random.Random) -> None:
    for name in ("eax", "ebx", "ecx", "edx", "esi", "edi", "ebp", "esp"):
        setattr(
            vcpu, name, source.choice([source.getrandbits(32), source.randrange(0x10000), 0x8001])
        )
    changes = (
        ("eflags", source.choice([*_FLAGS, source.getrandbits(22)])),
        ("cr0", vcpu.cr0 ^ source.choice([1, 0x40000, 0x10000, 0x8000_0000, 8])),
        ("cr3", source.getrandbits(32)),
        ("gdt_limit", source.getrandbits(16)),
        ("idt_limit", source.getrandbits(16)),
        ("gdt_base", source.getrandbits(32)),
        ("idt_base", source.getrandbits(32)),
    )
    for name, value in changes:
        impossible = name == "cr0" and value & 0x8000_0001 == 0x8000_0000
        if source.random() < 0.2 and not impossible:
            setattr(vcpu, name, value)
    for _ in range(source.choice([0, 0, 0, 1, 3])):
        segment = getattr(vcpu, source.choice(["cs", "ss", "ds", "es", "fs", "tr", "ldtr"]))
        part = source.choice(["selector", "base", "limit", "access"])
        bits = 16 if part in ("selector", "access") else 32
        setattr(segment, part, source.getrandbits(bits) >> source.randrange(bits))


def _state(source: random.Random) -> x86.VCPU:
    make = source.choice([protected, paged])
    vcpu = make("nop", cpl=source.choice([0, 1, 3]))
    vcpu.memory.write(vcpu.eip, _code(source))
    _tables(vcpu, source)
    if make is paged:
        _pages(vcpu, source)
    _registers(vcpu, source)
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT | x86.USERSPACE_EXIT_MWAIT
    if source.random() < 0.5:
        vcpu.interrupt(source.randrange(32, 256))
    if source.random() < 0.2:
        vcpu.nmi()
    return vcpu


@pytest.mark.parametrize("seed", range(4))
def test_made_up_states(seed: int) -> None:
    source = random.Random(seed)
    for number in range(STATES):
        vcpu = _state(source)
        for _ in range(CALLS):
            vcpu.restore(vcpu.save())
            before, began = vcpu.instructions, time.monotonic()
            reason = vcpu.run(LIMIT)
            what = f"seed {seed}, state {number}: {x86.EXIT_NAMES[reason]}"
            assert vcpu.instructions - before <= LIMIT, what
            assert time.monotonic() - began < PATIENCE, what
            if reason in (x86.EXIT_SHUTDOWN, x86.EXIT_INTERNAL_ERROR):
                break
            vcpu.mp_state = x86.MP_STATE_RUNNABLE
        vcpu.restore(vcpu.save())


def test_real_mode_set_from_outside_has_no_virtual_8086_mode() -> None:
    vcpu = protected("nop", eflags=support.FLAG_VM | 2)
    assert vcpu.cpl == 3
    vcpu.cr0 &= ~1
    assert (vcpu.cpl, vcpu.eflags & support.FLAG_VM) == (0, 0)
    vcpu.restore(vcpu.save())
