"""Cost tables as TOML: those that come with the package, and those that `calibrate` writes.

A table is `name`, `summary`, and for each field of `CostTable` a `[costs.FIELD]` with `ns` and
`source`: where the number comes from, and if it is derived or assumed, how.
"""

from __future__ import annotations

import json
import os
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Final

from bench.laboratory.costs.table import COSTS, CostTable, Preset
from bench.laboratory.parameter import LaboratoryError

_SUFFIX: Final = ".toml"
_FOLDER: Final = resources.files("bench.laboratory.costs") / "presets"


def preset_names() -> tuple[str, ...]:
    """The tables that come with the package, by name."""
    names = (entry.name for entry in _FOLDER.iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)))


def load_preset(name: str) -> Preset:
    """The preset of this name or, for a name that ends in .toml, the table in that file.

    Raises LaboratoryError for one that is not there, cannot be read, or is not a whole table.
    """
    if name.endswith(_SUFFIX):
        return _parse(name, _read(Path(name)))
    if name not in preset_names():
        known = ", ".join(preset_names())
        raise LaboratoryError(
            f"unknown cost table {name!r}: choose from {known}, or give a file that ends in .toml"
        )
    return _parse(name, (_FOLDER / f"{name}{_SUFFIX}").read_text())


def load_costs(name: str) -> CostTable:
    """The costs alone; `name` and what is raised as for `load_preset`."""
    return load_preset(name).costs


def as_toml(preset: Preset) -> str:
    """The text from which the same preset is read again."""
    lines = [f"name = {_string(preset.name)}", f"summary = {_string(preset.summary)}"]
    for cost in COSTS:
        lines += [
            "",
            f"[costs.{cost.name}]  # {cost.summary}",
            f"ns = {getattr(preset.costs, cost.name):g}",
            f"source = {_string(preset.sources[cost.name])}",
        ]
    return "\n".join(lines) + "\n"


def write_preset(path: Path, preset: Preset) -> None:
    """Put it into a file, all or nothing. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(as_toml(preset))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _string(text: str) -> str:
    """As a basic string of TOML, of which JSON's are a part but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise LaboratoryError(f"cannot read the cost table {path}: {reason}") from None


def _parse(origin: str, text: str) -> Preset:
    try:
        contents = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LaboratoryError(f"cost table {origin}: not TOML: {error}") from None
    try:
        _refuse_unknown(contents, ("name", "summary", "costs"), "key")
        table = _get(contents, "costs", dict)
        _refuse_unknown(table, tuple(cost.name for cost in COSTS), "cost")
        costs: dict[str, float] = {}
        sources: dict[str, str] = {}
        for cost in COSTS:
            if cost.name not in table:
                raise LaboratoryError(f"the cost {cost.name!r} is missing ({cost.summary})")
            costs[cost.name], sources[cost.name] = _entry(table, cost.name)
            cost.check(costs[cost.name])
        name, summary = _get(contents, "name", str), _get(contents, "summary", str)
    except LaboratoryError as error:
        raise LaboratoryError(f"cost table {origin}: {error}") from None
    return Preset(name, summary, CostTable(**costs), sources)


def _entry(table: dict[str, Any], name: str) -> tuple[float, str]:
    try:
        entry = _get(table, name, dict)
        _refuse_unknown(entry, ("ns", "source"), "key")
        value = _get(entry, "ns", (int, float))
        return float(value), _get(entry, "source", str)
    except LaboratoryError as error:
        raise LaboratoryError(f"costs.{name}: {error}") from None


def _get(table: dict[str, Any], key: str, kind: type | tuple[type, ...]) -> Any:
    if key not in table:
        raise LaboratoryError(f"{key!r} is missing")
    value = table[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "a table" if kind is dict else "a text" if kind is str else "a number"
        raise LaboratoryError(f"{key!r} must be {wanted}, not {value!r}")
    return value


def _refuse_unknown(table: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    for key in table:
        if key not in known:
            raise LaboratoryError(f"unknown {what} {key!r} (known: {', '.join(known)})")
