"""Random cases, by mode and seed; draft.py and prepared.py say how they are drawn."""

from __future__ import annotations

from random import Random

from tests.differential.case import Case
from tests.differential.catalogue import forms
from tests.differential.disassembly import Mode
from tests.differential.paged_draft import PagedDraft
from tests.differential.prepared import Prepared


class Generator:
    """Draws the cases of a mode, the same ones for the same seed."""

    def __init__(self, mode: Mode, seed: int) -> None:
        self._mode: Mode = mode
        self._seed = seed
        self._forms = forms(mode)

    def case(self, number: int) -> Case:
        """The case with this number."""
        draft = PagedDraft if self._mode == "paged" else Prepared
        return draft(self._mode, Random(self._seed << 40 | number), self._forms).finish()
