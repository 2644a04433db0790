"""How far the laboratory is, on stderr."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from bench.lab import Phase


@contextmanager
def lab_progress(phases: int) -> Iterator[Callable[[str, Phase, float], None]]:
    """Gives a function that shows which phase runs and how much of it is done, 0 to 1.

    On a terminal that is a bar for all `phases`, elsewhere a line for each as it begins.
    """
    console = Console(stderr=True)
    begun: list[str] = []

    def begin(policy: str, phase: Phase) -> str:
        name = f"{policy}, {phase.name}"
        if name not in begun:
            begun.append(name)
            if not console.is_terminal:
                console.print(f"[{len(begun)}/{phases}] {name}", markup=False, highlight=False)
        return name

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task("", total=phases)

        def show(policy: str, phase: Phase, share: float) -> None:
            name = begin(policy, phase)
            bar.update(task, description=name, completed=len(begun) - 1 + share)

        yield show
