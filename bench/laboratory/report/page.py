"""The report's page: one HTML document that needs nothing beside itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.laboratory.report import palette
from bench.laboratory.report.comparison import NOISY, Cell, Comparison, comparison, exits
from bench.laboratory.report.drawing import Plot, dark_rules
from bench.laboratory.report.plots import KINDS, Kind
from bench.laboratory.report.sections import Section, in_order
from bench.laboratory.results import Header
from bench.laboratory.statistics import CONFIDENCE, NOISY_SHARE, Summary
from bench.units import NOTHING, duration
from vmm.idle import MWAIT_CHOICES

#: Says in the page's head that a report made it; `folder` knows reports by it.
GENERATOR: Final = "x86core laboratory report"

_HERE: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Part:
    """What the page has of a section."""

    name: str
    scenario: str
    where: str
    question: str
    table: Comparison
    exits: Comparison
    plots: Sequence[Plot]


@dataclass(frozen=True, slots=True)
class _Overview:
    where: str
    table: Comparison


def draw(sections: Sequence[Section]) -> tuple[dict[str, list[Plot]], list[Kind]]:
    """The plots of each section by its name, and the kinds that the results have no data for."""
    plots: dict[str, list[Plot]] = {section.name: [] for section in sections}
    missing = []
    for kind in KINDS:
        made = {section.name: kind.draw(section) for section in sections}
        if not any(made.values()):
            missing.append(kind)
        for name, found in made.items():
            plots[name] += found
    return plots, missing


def page(
    header: Header,
    sections: Sequence[Section],
    plots: Mapping[str, Sequence[Plot]],
    missing: Sequence[Kind],
    questions: Mapping[str, str],
) -> str:
    """The document. `questions` say by its name what a scenario answers."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=lambda name: name == "page.html",
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    style = templates.get_template("style.css").render(vars(palette), dark_rules=dark_rules())
    summaries = [one for section in sections for one in section.summaries]
    parts = [
        Part(
            name=section.name,
            scenario=section.scenario,
            where=section.where,
            question=questions.get(section.scenario, ""),
            table=comparison(section),
            exits=exits(section),
            plots=plots[section.name],
        )
        for section in sections
    ]
    return templates.get_template("page.html").render(
        generator=GENERATOR,
        style=style,
        parts=parts,
        overviews=_overviews(sections),
        missing=missing,
        points=sum(len(one.repeats) for one in summaries),
        groups=len(summaries),
        lost=sum(one.lost_wakes for one in summaries),
        too_noisy=sum(bool(one.noisy) for one in summaries),
        noisy=NOISY,
        noisy_share=f"{NOISY_SHARE:.0%}",
        confidence=f"{CONFIDENCE:.0%}",
        command=header.command,
        wall=any(section.clock == "wall" for section in sections),
        unfinished=header.unfinished(sum(len(one.repeats) for one in summaries)),
        sweep=header.sweep,
        environment={name: one for name, one in header.environment.items() if name != "command"},
        class_of=_class_of,
    )


def _class_of(policy: str) -> str:
    """The class that gives a policy's swatch its colour."""
    if policy not in palette.POLICIES:
        return ""
    return f"policy-{policy}{' hollow' if palette.POLICIES[policy].hollow else ''}"


def _overviews(sections: Sequence[Section]) -> list[_Overview]:
    """A table for each clock and cost table: scenarios down, policies across."""
    clocks: dict[str, list[Section]] = {}
    for section in sections:
        clocks.setdefault(section.where, []).append(section)
    made = []
    for where, found in clocks.items():
        policies = in_order((name for one in found for name in one.policies), MWAIT_CHOICES)
        rows = []
        for section in found:
            at = section.by_policy(section.at_reference())
            cells = [_brief(at, policy) for policy in policies]
            rows.append([Cell(section.scenario), *cells])
        made.append(_Overview(where, Comparison(["scenario", *policies], 1, rows, "")))
    return made


def _brief(at: Mapping[str, Summary], policy: str) -> Cell:
    one = at.get(policy)
    if one is None:
        return Cell(NOTHING)
    cores = f"{one.mean('cpu_cores') or 0.0:.2f}"
    return Cell(duration(one.mean("wake_latency")), cores, alarm=one.lost_wakes > 0)
