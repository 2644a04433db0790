"""Where everything lies in a case's memory, and the names and places of its registers.

Physical memory of every case (what a case does not say is `case.background`):

    0x000000  real mode: the interrupt vector table
    0x020000  code; everything around it is HLT, so that a jump astray ends soon
    0x028000  paged: where call gates lead to
    0x030000  data and stacks: fixed random bytes, a HLT in eight
    0x0d0000  paged: the page directory and page tables
    0x0e0000  flat32, paged: IDT, and the GDT 4 KiB behind it; paged: TSS, LDT, stack of handlers
    0x0f0000  256 HLTs: the handler of vector v is the one at 0xf0000 + v
"""

from __future__ import annotations

from typing import Final

#: Everything that a real-mode address can reach, in whole pages.
RAM: Final = 0x11_0000
CODE: Final = 0x2_0000
GATE_TARGETS: Final = 0x2_8000
DATA: Final = 0x3_0000
DATA_END: Final = 0x8_0000
DIRECTORY: Final = 0xD_0000
IDT: Final = 0xE_0000
GDT: Final = 0xE_1000
TSS: Final = 0xE_2000
LDT: Final = 0xE_3000
HANDLER_STACK: Final = 0xE_6000
HANDLERS: Final = 0xF_0000
CODE32, DATA32 = 0x08, 0x10

GENERAL: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SEGMENTS: Final = ("es", "cs", "ss", "ds", "fs", "gs")
REGISTERS: Final = (*GENERAL, *SEGMENTS, "eip", "eflags")
EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI = range(len(GENERAL))
CS, SS, DS, EIP, EFLAGS = (REGISTERS.index(name) for name in ("cs", "ss", "ds", "eip", "eflags"))

#: Behind these, in paged mode: hidden parts of the segment registers, and control registers.
SYSTEM_SEGMENTS: Final = ("ldtr", "tr")
CONTROLS: Final = ("cr0", "cr2", "cr3", "cr4")
PAGED_REGISTERS: Final = (
    *REGISTERS,
    *(f"{segment}_{part}" for segment in SEGMENTS for part in ("base", "limit", "access")),
    *SYSTEM_SEGMENTS,
    *(f"{name}_{part}" for name in SYSTEM_SEGMENTS for part in ("base", "limit", "access")),
    *CONTROLS,
)
#: Of the first hidden part. A segment's are base, limit and access, in this order.
HIDDEN: Final = len(REGISTERS)
LDTR: Final = PAGED_REGISTERS.index("ldtr")
TR: Final = PAGED_REGISTERS.index("tr")
CR0_AT: Final = PAGED_REGISTERS.index("cr0")
CR2_AT, CR3_AT, CR4_AT = CR0_AT + 1, CR0_AT + 2, CR0_AT + 3

AC: Final = 1 << 18
#: CR0.ET, and CR0.EM so that neither side executes what belongs to a coprocessor, MMX or SSE.
CR0: Final = 0x14
HLT: Final = b"\xf4"


def hidden(segment: int) -> int:
    """The index of a segment register's base, its own being `segment`; limit and access follow."""
    return HIDDEN + 3 * (segment - len(GENERAL))
