"""The table in the docs has every row, and what it says of a row is so."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

from x86core.instances import all_instances, instances
from x86core.instruction_table import COLUMNS, HANDLERS, handler_files, markdown
from x86core.isa import ROWS


@cache
def cells() -> list[list[str]]:
    lines = [line for line in markdown().splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def row_of(opcode: str, instruction: str) -> dict[str, str]:
    (found,) = (row for row in cells() if row[:2] == [f"`{opcode}`", instruction])
    return dict(zip(COLUMNS, found, strict=True))


def test_every_row_is_there_once_and_in_order() -> None:
    header, rule, *rows = cells()
    assert header == list(COLUMNS)
    assert set(rule) == {"---"}
    assert [row[:2] for row in rows] == [[f"`{row.opcode}`", row.instruction] for row in ROWS]
    assert all(len(row) == len(COLUMNS) for row in rows)


def test_every_handler_is_in_the_file_that_it_says() -> None:
    sources = {source.name: source.read_text() for source in HANDLERS.glob("*.pyx")}
    for row in ROWS:
        shown = row_of(row.opcode, row.instruction)["handler"]
        for handler in {instance.handler for instance in instances(row)}:
            file = handler_files()[handler]
            assert f"`{handler}` in {file}" in shown
            assert f"cdef inline int {handler}(CPU* cpu" in sources[file]


def test_every_handler_of_a_file_is_in_the_table() -> None:
    """But for those that stand for no opcode."""
    shown = {handler for row in ROWS for handler in {i.handler for i in instances(row)}}
    others = {i.handler for i in all_instances().values()} - shown
    assert set(handler_files()) - others == shown


@pytest.mark.parametrize(
    ("opcode", "instruction", "column", "says"),
    [
        ("01", "ADD Ev,Gv", "handler", "`add` in alu.pyx, `locked_add` in atomic.pyx"),
        ("01", "ADD Ev,Gv", "arithmetic flags", "overwrites"),
        ("01", "ADD Ev,Gv", "prefixes", "LOCK"),
        ("03", "ADD Gv,Ev", "prefixes", ""),
        ("89", "MOV Ev,Gv", "arithmetic flags", "none"),
        ("40+r", "INC Zv", "arithmetic flags", "keeps CF"),
        ("9C", "PUSHF", "arithmetic flags", "may read"),
        ("A4", "MOVS Yb,Xb", "prefixes", "REP"),
        ("AF", "SCAS eAX,Yv", "prefixes", "REPE, REPNE"),
        ("F4", "HLT", "compiled forms", "implied"),
        ("70+c", "Jcc Jb", "compiled forms", "implied; 16 conditions"),
        ("87", "XCHG Ev,Gv", "compiled forms", "rr 16 32; mr 16 32 locked"),
        ("D1/0", "ROL Ev,1", "compiled forms", "ri 16 32; mi 16 32 careful"),
    ],
)
def test_what_it_says(opcode: str, instruction: str, column: str, says: str) -> None:
    assert row_of(opcode, instruction)[column] == says


def test_forms_that_are_fused_and_forms_without_flags() -> None:
    forms = row_of("40+r", "INC Zv")["compiled forms"]
    assert "no flags" in forms
    assert "then jcc" in forms
    assert row_of("89", "MOV Ev,Gv")["compiled forms"].endswith("; then a pair")
    assert "then" not in row_of("88", "MOV Eb,Gb")["compiled forms"]


def test_the_command_prints_it() -> None:
    command = [sys.executable, "-m", "x86core.instruction_table"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == markdown()
    assert done.stderr == ""
