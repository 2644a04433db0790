"""An option that names a file to be written."""

from __future__ import annotations

import os
from pathlib import Path

import click


class NewFile(click.Path):
    """A file that can be put in place, found out before a minute's measurement and not after.

    With a `suffix`, its name has to end so.
    """

    def __init__(self, suffix: str = "") -> None:
        super().__init__(dir_okay=False)
        self._suffix = suffix

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Path:
        """Its path. Fails, as click has it, for a name or a folder that cannot be."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if not path.name.endswith(self._suffix):
            self.fail(f"the name has to end in {self._suffix}, unlike {str(path)!r}", param, ctx)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            self.fail(f"cannot write into the folder {str(path.parent)!r}", param, ctx)
        return path
