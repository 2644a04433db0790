"""The report's folder: there whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.report.page import GENERATOR

#: All that a report may have; the plots are in a folder of their own.
PAGE: Final = "index.html"
CSV: Final = "results.csv"
PARQUET: Final = "results.parquet"
PLOTS: Final = "plots"


def check(path: Path) -> None:
    """Whether a report may be put there: in a new or empty folder, or in place of another report.

    Raises LaboratoryError when something else stands there, which nobody may lose.
    """
    target = path.resolve()
    if target == Path.cwd() or target in Path.cwd().parents:
        raise LaboratoryError(f"{path} is the folder that this runs in: give the report its own")
    if target.exists() and not target.is_dir():
        raise LaboratoryError(f"{path} is not a folder")
    try:
        foreign = _foreign(target) if target.exists() else None
    except OSError as error:
        raise LaboratoryError(f"cannot read the folder {path}: {error.strerror}") from None
    if foreign is not None:
        raise LaboratoryError(
            f"{path} holds {foreign}, which is no part of a report: choose another folder,"
            " or clear this one"
        )
    existing = next(parent for parent in target.parents if parent.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise LaboratoryError(f"cannot write into the folder {existing}")


def put(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write a report into a temporary folder, and put that in place of `path`.

    The former report stays until the new one is whole. Raises LaboratoryError as `check` does, what
    `fill` raises, and OSError.
    """
    check(path)
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        fill(new)
        check(path)  # again: filling took its time
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise
    finally:
        shutil.rmtree(temporary)


def _foreign(folder: Path) -> str | None:
    """The name of something in a folder that no report has put there, or None."""
    names = sorted(entry.name for entry in folder.iterdir())
    others = [name for name in names if name not in {PAGE, CSV, PARQUET, PLOTS}]
    if others:
        return others[0]
    index = folder / PAGE
    if names and (PAGE not in names or GENERATOR not in index.read_text(errors="replace")[:2000]):
        return names[0]
    plots = folder / PLOTS
    if plots.is_dir():
        strange = (entry.name for entry in sorted(plots.iterdir()) if entry.suffix != ".svg")
        return next((f"{PLOTS}/{name}" for name in strange), None)
    return None
