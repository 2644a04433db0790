"""What a run of captures came to, for a reader and as data."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.vectors.runner import Failure, Outcome

#: A failure that changed more of memory than this is not listed whole.
_DIFFERENCES = 12


def _failure_lines(failure: Failure) -> list[str]:
    capture = failure.capture
    lines = [
        f"  test {capture.index}: {capture.code.hex(' ')}  {failure.disassembly}",
        "    "
        + " ".join(f"{name}={value:04x}" for name, value in capture.initial.registers.items()),
        f"    {failure.cause}",
    ]
    for what, expected, actual in failure.differences[:_DIFFERENCES]:
        lines.append(f"    {what}: expected {expected}, actual {actual}")
    if (more := len(failure.differences) - _DIFFERENCES) > 0:
        lines.append(f"    and {more} more")
    return lines


def print_report(console: Console, outcomes: list[Outcome], show: int) -> None:
    """A table of the files with failures, the first `show` failures of each, and the sum."""
    failed = [outcome for outcome in outcomes if outcome.failures]
    if failed:
        table = Table("file", "first instruction", "passed", "failed", "causes")
        for outcome in failed:
            causes = Counter(failure.cause for failure in outcome.failures)
            table.add_row(
                outcome.name,
                escape(outcome.disassembly),
                str(outcome.passed),
                str(len(outcome.failures)),
                ", ".join(f"{cause} ({count})" for cause, count in causes.most_common()),
            )
        console.print(table)
    for outcome in failed if show else []:
        console.print(f"{outcome.name}", style="bold")
        for failure in outcome.failures[:show]:
            for line in _failure_lines(failure):
                console.print(line, markup=False, highlight=False)
    passed = sum(outcome.passed for outcome in outcomes)
    total = passed + sum(len(outcome.failures) for outcome in outcomes)
    console.print(
        f"{passed:,} of {total:,} passed, {len(failed)} of {len(outcomes)} files with failures"
    )


def as_data(outcomes: list[Outcome], show: int) -> dict[str, Any]:
    """The same as plain data for JSON."""
    return {
        "passed": sum(outcome.passed for outcome in outcomes),
        "failed": sum(len(outcome.failures) for outcome in outcomes),
        "files": [
            {
                "name": outcome.name,
                "passed": outcome.passed,
                "failed": len(outcome.failures),
                "causes": Counter(failure.cause for failure in outcome.failures),
                "failures": [
                    {
                        "index": failure.capture.index,
                        "bytes": failure.capture.code.hex(),
                        "disassembly": failure.disassembly,
                        "cause": failure.cause,
                        "differences": [
                            {"what": what, "expected": expected, "actual": actual}
                            for what, expected, actual in failure.differences
                        ],
                    }
                    for failure in outcome.failures[:show]
                ],
            }
            for outcome in outcomes
        ],
    }
