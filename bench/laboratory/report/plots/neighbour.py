"""What another machine loses of its work beside this one."""

from __future__ import annotations

from bench.laboratory.report.drawing import Plot, canvas, to_svg
from bench.laboratory.report.palette import INK, look
from bench.laboratory.report.sections import Section


def neighbour(section: Section) -> list[Plot]:
    """A bar for each policy and executor; nothing when there are fewer than two to compare."""
    shown = [
        (one, loss)
        for one in section.at_reference()
        if (loss := one.figures.get("neighbour_loss")) is not None
    ]
    if len(shown) < 2:
        return []
    name, title = f"{section.name}-neighbour", "Work that the neighbour loses"
    several = len(section.executors) > 1
    with canvas(1.0 + 0.25 * len(shown)) as (figure, axes):
        axes.barh(
            range(len(shown)),
            [100 * loss.mean for _, loss in shown],
            xerr=[100 * (loss.half_width or 0) for _, loss in shown],
            color=[look(one.point.policy).colour.light for one, _ in shown],
            capsize=2.5,
            height=0.6,
            error_kw={"elinewidth": 1, "ecolor": INK.light},
        )
        labels = [
            f"{one.point.policy}, {one.point.executor}" if several else one.point.policy
            for one, _ in shown
        ]
        axes.set_yticks(range(len(shown)), labels)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("loss against having the host to itself (%)")
        svg = to_svg(figure, name, title)
    return [Plot(name, title, "Below zero is noise: no neighbour gains by company.", svg)]
