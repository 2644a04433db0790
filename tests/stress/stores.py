"""The kinds of store that hand a token over: every way to touch a line that has a path of its own.

A row's text is executed with EBX = the number to hand over, ES:EDI = the first byte to store to and
the direction flag clear. It may change every register but EBX and ESP. Of the width come `{ptr}`,
`{suffix}`, `{a}` (AL, AX, EAX) and `{b}` (BL, BX, EBX). `{end}` is the linear address behind the
store; `{before}` and `{behind}` are offsets in ES 16 bytes outside the line; `{index}` is the
vCPU's number, for labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Whoever gets this software interrupt puts EBP into ESP and goes on at ESI (tests.stress.guest).
FRAME_VECTOR: Final = 0x80


@dataclass(frozen=True, slots=True)
class Store:
    """A row. `widths` are the bytes that it may store at once."""

    name: str
    text: str
    widths: tuple[int, ...] = (1, 2, 4)
    #: Stores the low bytes of EBX, over EBX - 1, and nothing else: the receiver may look for them.
    carries: bool = True
    #: Covers the whole line and more, wherever EDI points.
    covers: bool = False
    #: Points ESP to the line, where no interrupt may come meanwhile.
    on_stack: bool = False


@dataclass(frozen=True, slots=True)
class Width:
    """How an instruction names an operand of so many bytes."""

    ptr: str
    suffix: str
    a: str
    b: str


WIDTHS: Final = {
    1: Width("byte ptr", "b", "al", "bl"),
    2: Width("word ptr", "w", "ax", "bx"),
    4: Width("dword ptr", "d", "eax", "ebx"),
    # Six and eight bytes have instructions of their own; these name the number's part of them.
    6: Width("dword ptr", "d", "eax", "ebx"),
    8: Width("dword ptr", "d", "eax", "ebx"),
}


def _on_stack(name: str, text: str, *, carries: bool = False, covers: bool = False) -> Store:
    """A row that stores through ESP; the width is that of a push."""
    text = f"mov ebp, esp; mov esp, {{end}}; {text}; mov esp, ebp"
    return Store(name, text, (4,), carries, covers, on_stack=True)


def _other(
    name: str, text: str, widths: tuple[int, ...] = (1, 2, 4), *, covers: bool = False
) -> Store:
    """A row that leaves something else in the line than the number, or what was there before."""
    return Store(name, text, widths, carries=False, covers=covers)


STORES: Final = (
    Store("mov", "mov es:[edi], {b}"),
    Store("inc", "inc {ptr} es:[edi]"),
    Store("add", "mov {a}, 1; add es:[edi], {a}"),
    Store("xchg", "mov {a}, {b}; xchg es:[edi], {a}"),
    Store("cmpxchg", "mov {a}, es:[edi]; cmpxchg es:[edi], {b}"),
    Store("lock inc", "lock inc {ptr} es:[edi]"),
    Store("lock xadd", "mov {a}, 1; lock xadd es:[edi], {a}"),
    Store("lock cmpxchg", "mov {a}, es:[edi]; lock cmpxchg es:[edi], {b}"),
    Store(
        "lock cmpxchg8b",
        "mov eax, es:[edi]; mov edx, es:[edi + 4]; mov ecx, edx; lock cmpxchg8b es:[edi]",
        widths=(8,),
    ),
    Store("stos", "mov {a}, {b}; stos{suffix}"),
    Store("rep stos of one", "mov {a}, {b}; mov ecx, 1; rep stos{suffix}"),
    Store("movs", "push ebx; mov esi, esp; movs{suffix}; pop eax"),
    Store("pop", "push {b}; pop {ptr} es:[edi]", widths=(2, 4)),
    _on_stack("push", "push ebx", carries=True),
    _on_stack("pusha", "pusha"),
    _on_stack("call", "call called{index}; called{index}:"),
    _on_stack(
        "interrupt frame", f"mov esi, offset back{{index}}; int {FRAME_VECTOR}; back{{index}}:"
    ),
    _other("the same value again", "mov {a}, es:[edi]; mov es:[edi], {a}"),
    _other("write, then revert", "not {ptr} es:[edi]; not {ptr} es:[edi]"),
    _other("failed cmpxchg", "mov {a}, es:[edi]; not {a}; cmpxchg es:[edi], {b}"),
    _other("failed lock cmpxchg", "mov {a}, es:[edi]; not {a}; lock cmpxchg es:[edi], {b}"),
    _other("failed lock cmpxchg8b", "mov eax, es:[edi]; not eax; lock cmpxchg8b es:[edi]", (8,)),
    _other("lock or of nothing", "lock or {ptr} es:[edi], 0"),
    _other("lock bts", "lock bts {ptr} es:[edi], 5", (2, 4)),
    _other("lock btc of a far bit", "sub edi, 8; mov eax, 64; lock btc es:[edi], eax", (4,)),
    _other("rol", "rol {ptr} es:[edi], 1"),
    _other("shld", "shld es:[edi], eax, 3", (4,)),
    _other("setz", "setz es:[edi]", (1,)),
    _other("sidt", "sidt es:[edi]", (6,)),
    _other("ins", "mov edx, 0x80; ins{suffix}"),
    _other(
        "rep stosb over the line", "mov edi, {before}; mov ecx, 96; rep stosb", (1,), covers=True
    ),
    _other(
        "rep stosd over the line", "mov edi, {before}; mov ecx, 24; rep stosd", (1,), covers=True
    ),
    _other(
        "rep stosb backward over the line",
        "std; mov edi, {behind}; mov ecx, 96; rep stosb; cld",
        (1,),
        covers=True,
    ),
    _other(
        "rep movsd over the line",
        "mov esi, esp; mov edi, {before}; mov ecx, 24; rep movsd",
        (1,),
        covers=True,
    ),
)

#: What the host and devices do: `Memory.write`.
HOST_WRITE: Final = Store("host write", "", widths=(1, 2, 4))
HOST_WRITE_OVER: Final = Store(
    "host write over the line", "", widths=(1,), carries=False, covers=True
)
