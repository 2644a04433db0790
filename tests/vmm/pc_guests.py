"""Pieces of guests of a PC, in Intel syntax for real mode."""

from __future__ import annotations

from tests.support import PATIENCE
from vmm import Machine, Result

#: Both 8259A: vectors from 20h and 28h, the lines in `mask` (master) and `slave_mask` closed.
PIC = """
    cli
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, 0x7C00
    mov al, 0x11
    out 0x20, al
    out 0xA0, al
    mov al, 0x20
    out 0x21, al
    mov al, 0x28
    out 0xA1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xA1, al
    mov al, 1
    out 0x21, al
    out 0xA1, al
    mov al, {mask}
    out 0x21, al
    mov al, {slave_mask}
    out 0xA1, al
"""

SERIAL = """
    mov dx, 0x3FC               // modem control: OUT2
    mov al, 0x0B
    out dx, al
    mov dx, 0x3F9               // interrupt when data have come
    mov al, 1
    out dx, al
"""

#: End with the byte in AL.
EXIT = "out 0xF4, al\nhlt_for_ever: cli\nhlt\njmp hlt_for_ever\n"

IDLES = {
    "hlt": "wait: sti\nhlt\njmp wait\n",
    "busy": "sti\nwait: jmp wait\n",
    "mwait": """
        mov eax, 0x9000
        xor ecx, ecx
        xor edx, edx
        sti
        wait: monitor
        mwait
        jmp wait
    """,
    # Wakes for a masked interrupt, and lets it in afterwards.
    "mwait-masked": """
        mov eax, 0x9000
        xor edx, edx
        wait: cli
        xor ecx, ecx
        monitor
        inc ecx
        mwait
        sti
        nop
        jmp wait
    """,
}


def pic(*lines: int) -> str:
    """Initialize the pair and open these lines."""
    opened = sum(1 << line for line in lines) | (4 if any(line >= 8 for line in lines) else 0)
    return PIC.format(mask=0xFF & ~opened, slave_mask=0xFF & ~(opened >> 8))


def on(vector: int, handler: str) -> str:
    return f"mov word ptr [{vector * 4}], offset {handler}\nmov word ptr [{vector * 4 + 2}], 0\n"


def run(path: object, **settings: object) -> Result:
    settings = {"devices": "pc", **settings}
    return Machine.load(str(path), **settings).run(timeout=PATIENCE)  # type: ignore[arg-type]
