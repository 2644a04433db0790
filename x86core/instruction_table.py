"""The instruction table as a page of the docs, in Markdown: `python -m x86core.instruction_table`.

All of it is read from isa.py, from what instances.py makes of it and from the sources of the
handlers, so that it tells what is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from x86core.generate import BODY
from x86core.instances import Instance, fused_pairs, instances
from x86core.isa import ROWS
from x86core.row import Row

HANDLERS = Path(__file__).parent / "handlers"

INTRODUCTION = """\
# Instructions

Made by `python -m x86core.instruction_table` from `x86core/isa.py`, which explains how opcodes and
operands are written.

**Arithmetic flags**: what the instruction does to CF, PF, AF, ZF, SF and OF, as far as it matters
for leaving out their computation. *none*: it neither reads nor writes them; *overwrites*: nothing
is left of those before it; *keeps CF*: the same but for CF or, with a count of 0, all of them;
*may read*: anything else.

**Prefixes**: those with a meaning beyond operand size, address size and segment. LOCK needs the
destination in memory.

**Compiled forms**: the functions that the handler is compiled to. First its operands: `r` register,
`m` memory, `i` immediate, *implied* when it need not tell. Then operand widths in bits, where there
is a choice. Then how memory is reached: *flat*, *flat_indexed* and *segmented* are quick, give up
on anything unusual, and go to *careful*; *locked* is atomic. *no flags*: also without the flags
that nobody reads. *then*: also together with these instructions behind it; *a pair*: with most that
need only registers, or a load with the store behind it.
"""

COLUMNS = ("opcode", "instruction", "handler", "arithmetic flags", "prefixes", "compiled forms")

FLAGS = {"quiet": "none", "writes": "overwrites", "carry": "keeps CF"}


@cache
def handler_files() -> dict[str, str]:
    """The file in x86core/handlers/ of each handler."""
    return {
        handler: source.name
        for source in sorted(HANDLERS.glob("*.pyx"))
        for handler in BODY.findall(source.read_text())
    }


@cache
def _followers() -> dict[Instance, list[str]]:
    """What may be fused with each instance."""
    followers: dict[Instance, list[str]] = {}
    for first, _, fused in fused_pairs():
        names = followers.setdefault(first, [])
        name = fused.behind if "jcc" in fused.behind else "a pair"
        if name not in names:
            names.append(name)
    return followers


def handlers(row: Row) -> str:
    """Function and file of the row's handler, and of its locked one."""
    names = dict.fromkeys(instance.handler for instance in instances(row))
    return ", ".join(f"`{name}` in {handler_files()[name]}" for name in names)


def arithmetic_flags(row: Row) -> str:
    """What the row does to them."""
    return next((text for name, text in FLAGS.items() if name in row.properties), "may read")


def prefixes(row: Row) -> str:
    """LOCK and the repeat prefixes, where they may stand."""
    if "string" in row.properties:
        return "REPE, REPNE" if row.mnemonic in ("CMPS", "SCAS") else "REP"
    return "LOCK" if "lock" in row.properties else ""


def compiled_forms(row: Row) -> str:
    """The functions that the row may become: by operands, those of all widths together."""
    return "; ".join(_compiled_forms(row))


def _compiled_forms(row: Row) -> Iterator[str]:
    found = list(instances(row))
    for form in dict.fromkeys(instance.form for instance in found):
        those = [instance for instance in found if instance.form == form]
        parts = [form or "implied"]
        parts += dict.fromkeys(str(instance.width) for instance in those if instance.width)
        parts += dict.fromkeys(_access(instance) for instance in those if instance.access)
        yield " ".join(parts)
    if any(instance.dead for instance in found):
        yield "no flags"
    if row.has_condition:
        yield "16 conditions"
    behind = dict.fromkeys(name for instance in found for name in _followers().get(instance, ()))
    if behind:
        yield "then " + ", ".join(behind)


def _access(instance: Instance) -> str:
    return "locked" if instance.handler.startswith("locked_") else instance.access


def markdown() -> str:
    """The whole page."""
    lines = [INTRODUCTION, _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for row in ROWS:
        cells = (handlers(row), arithmetic_flags(row), prefixes(row), compiled_forms(row))
        lines.append(_line((f"`{row.opcode}`", row.instruction, *cells)))
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(markdown(), end="")
