"""The file of results: one line of JSON for the header, then one for each finished point.

A line counts once its newline is there, so what a killed process leaves behind is at most one line
cut short at the end, which `recover` takes away. A finished file has its points in the order of the
sweep, and equal results are equal files, byte for byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from bench.laboratory.measures import Measures
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point

FORMAT: Final = "x86core laboratory results"

#: Goes up when a field changes its meaning or goes away.
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Result:
    """A point and what it gave."""

    point: Point
    measures: Measures

    def line(self) -> str:
        """As it stands in the file, with its newline."""
        fields = {"point": self.point.as_dict(), "measures": self.measures.as_dict()}
        return json.dumps(fields, separators=(",", ":")) + "\n"

    @classmethod
    def from_line(cls, text: str) -> Self:
        """The result that a line holds. Raises ValueError, KeyError or TypeError for another."""
        fields = json.loads(text)
        return cls(Point.from_dict(fields["point"]), Measures.from_dict(fields["measures"]))


@dataclass(frozen=True, slots=True)
class Header:
    """What the results are of. `sweep` is the definition as text, `points` how many it has,
    `command` what repeats it, and `environment` where it ran: of virtual time, which is the same
    everywhere, only what has made it.
    """

    sweep: str
    points: int
    command: str
    environment: Mapping[str, Any]

    def unfinished(self, count: int) -> str:
        """What is to be said of so many results; "" when they are all that there will be."""
        if count >= self.points:
            return ""
        return f"not finished: {count:,} of {self.points:,} points; resume it for the others"

    def line(self) -> str:
        """As it stands in the file, with its newline."""
        fields = {
            "format": FORMAT,
            "version": VERSION,
            "sweep": self.sweep,
            "points": self.points,
            "command": self.command,
            "environment": dict(self.environment),
        }
        return json.dumps(fields, separators=(",", ":")) + "\n"


def read_results(path: Path) -> tuple[Header, list[Result]]:
    """A finished file, or one that a sweep is not through with.

    Raises LaboratoryError when it cannot be read, is of another kind or version, or is damaged or
    cut short.
    """
    header, results, whole = _read(path)
    if whole != path.stat().st_size:
        raise LaboratoryError(
            f"{path} is cut short after {len(results)} results: resume its sweep to complete it"
        )
    return header, results


def recover(path: Path) -> tuple[Header, list[Result]]:
    """What a sweep that was killed has finished; a last line cut short is taken off the file.

    Raises LaboratoryError as `read_results` does, but for that line.
    """
    header, results, whole = _read(path)
    if whole != path.stat().st_size:
        os.truncate(path, whole)
    return header, results


def write_results(path: Path, header: Header, results: Iterable[Result]) -> None:
    """Put them into a file, all or nothing. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w") as file:
            file.write(header.line())
            file.writelines(result.line() for result in results)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path) -> tuple[Header, list[Result], int]:
    """Also how many bytes are whole lines."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LaboratoryError(f"cannot read {path}: {error.strerror}") from None
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].decode(errors="replace").splitlines()
    header = _header(path, lines[0] if lines else "")
    results = []
    for number, line in enumerate(lines[1:], 2):
        try:
            results.append(Result.from_line(line))
        except (ValueError, KeyError, TypeError):
            raise LaboratoryError(f"{path} is damaged: line {number} is no result") from None
    return header, results, whole


def _header(path: Path, line: str) -> Header:
    try:
        fields = json.loads(line)
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise LaboratoryError(f"{path} does not hold results of the laboratory")
    if fields.get("version") != VERSION:
        raise LaboratoryError(
            f"{path} has results of version {fields.get('version')!r}, and this program reads"
            f" version {VERSION}: run the sweep again"
        )
    try:
        return Header(fields["sweep"], fields["points"], fields["command"], fields["environment"])
    except KeyError as missing:
        raise LaboratoryError(f"{path} is damaged: its header has no {missing}") from None
