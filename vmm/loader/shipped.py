"""The guests that come with this package."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from vmm.asm import BOOT_ADDRESS, GUESTS
from vmm.loader.errors import LoadError
from vmm.loader.source import GNU_SUFFIX


@dataclass(frozen=True, slots=True)
class Needs:
    """What a guest needs of its machine: the defaults of the options of `run` of these names."""

    vcpus: int = 1
    start: str = "all"
    devices: str | None = None  # what its format may expect
    input: str | None = None
    tick: float = 0


#: Shipped guests that need something else than most.
NEEDS = {
    "idle": Needs(tick=10),
    "pair": Needs(vcpus=2),
    "serial": Needs(devices="pc", input="-"),
    "smp": Needs(vcpus=4, start="bootstrap"),
}


def shipped_guests() -> list[str]:
    """The names by which the guests of this package can be loaded."""
    return sorted(source.stem for source in GUESTS.glob(f"*{GNU_SUFFIX}"))


def source_of(name: str) -> Path:
    """The source of a shipped guest. Raises LoadError when there is none of that name."""
    if name not in shipped_guests():
        raise LoadError(
            f"there is no guest {name!r} (the shipped ones are: {', '.join(shipped_guests())})"
        )
    return GUESTS / f"{name}{GNU_SUFFIX}"


def summary_of(name: str) -> str:
    """What a shipped guest shows: the first paragraph of its source's head comment.

    Raises LoadError when there is none of that name.
    """
    lines = source_of(name).read_text(encoding="utf-8").splitlines()
    paragraph = itertools.takewhile(lambda line: line.removeprefix("//").strip(), lines)
    return " ".join(line.removeprefix("//").strip() for line in paragraph)


def find(guest: str | Path, at: int | None) -> Path:
    """The file to load: of a shipped guest the best that there is for `at`, or the path itself.

    Raises LoadError when there is neither.
    """
    name, path = str(guest), Path(guest)
    if name not in shipped_guests():
        is_bare = name == path.stem
        if not name or (is_bare and not os.path.lexists(path)):
            raise LoadError(
                f"there is no guest {name!r}: give a file, or the name of a shipped guest"
                f" (those are: {', '.join(shipped_guests())})"
            )
        return path
    source = source_of(name)
    built = source.with_suffix(".bin")
    fresh = built.exists() and built.stat().st_mtime >= source.stat().st_mtime
    return built if fresh and at in (None, BOOT_ADDRESS) else source
