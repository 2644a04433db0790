"""A figure of matplotlib's as SVG that stands in a page, in light and dark."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Any, Final

from bench.laboratory.report.palette import FAINT, GRID, INK, Look, colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

#: Inches. So narrow that the letters stay readable when a telephone shows it whole.
WIDTH: Final = 4.6

#: From this ratio of the largest to the smallest value up, an axis is logarithmic.
DECADES: Final = 20

_STYLE: Final[Any] = {  # which keys there are differs between matplotlib's releases
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "x86core",  # equal results are equal files
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.color": INK.light,
    "axes.labelcolor": INK.light,
    "axes.edgecolor": FAINT.light,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID.light,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT.light,
    "ytick.color": FAINT.light,
    "xtick.labelcolor": INK.light,
    "ytick.labelcolor": INK.light,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.6,
    "lines.markersize": 5.5,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """`name` is the file's, without its suffix; `svg` is an element for a page."""

    name: str
    title: str
    caption: str
    svg: str

    @property
    def file(self) -> str:
        """The same as a document, which turns dark where its reader's desktop is."""
        head, rest = self.svg.split(">", 1)
        style = f"@media (prefers-color-scheme: dark) {{ {dark_rules(rest)} }}"
        return f'{head} xmlns="http://www.w3.org/2000/svg"><style>{style}</style>{rest}\n'


@contextmanager
def canvas(height: float = 3.2) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure with one pair of axes, `height` inches high."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def to_svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an element of a page. Its ids all begin with `name`."""
    text = StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    for pattern, replacement in _TIDYING:
        svg = re.sub(pattern, replacement, svg, flags=re.DOTALL)
    svg = re.sub("<[^>]*>", _shortened, svg)  # within tags only: what stands outside is read
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{_escaped(title)}"', 1)


#: What a page has no use for: namespaces, ids that nothing refers to, and
#: the style of markers where they are defined, which would win over that of each use.
_TIDYING: Final = (
    (r"<metadata>.*?</metadata>", ""),
    (r"<style.*?</style>", ""),
    (r"<defs>\s*</defs>", ""),
    (r'(<defs>\s*<path [^>]*?) style="[^"]*"/>', r"\1/>"),
    (r' xmlns(?::xlink)?="[^"]*"', ""),
    ("xlink:href", "href"),
    (r'<g id="[^"]*"', "<g"),
    (r' transform="rotate\(-0 [^"]*"', ""),
    (r">\s+<", ">\n<"),
    (r"\s+$", ""),
)


def _shortened(tag: re.Match[str]) -> str:
    """A tag with hundredths of a point at most, and without spaces around the letters of paths."""
    return re.sub(r"[ \n]+([LMCQz]) ", r"\1", re.sub(r"(\.\d\d)\d+", r"\1", tag[0]))


def dark_rules(within: str | None = None) -> str:
    """CSS that gives the colours of plots their dark form: all, or those that a text has."""
    pairs = dict.fromkeys((colour.light, colour.dark) for colour in colours())
    return " ".join(
        f'svg [style*="{what}: {light}"] {{ {what}: {dark} !important }}'
        for light, dark in pairs
        for what in ("fill", "stroke")
        if within is None or f"{what}: {light}" in within
    )


def scale(axis: Axis, values: Iterable[float], unit: str) -> None:
    """Logarithmic where the values span decades, otherwise from 0; ticks with prefixes and unit.

    Zeros beside decades get a linear piece below the smallest value. The axis spans the values;
    intervals that reach further are cut off.
    """
    from matplotlib.ticker import (
        EngFormatter,
        FixedLocator,
        FuncFormatter,
        LogLocator,
        NullLocator,
    )

    known = list(values)
    positive = [value for value in known if value > 0]
    axes = axis.axes
    name = "x" if axis is axes.xaxis else "y"
    limits: Callable[..., Any] = getattr(axes, f"set_{name}lim")
    set_scale: Callable[..., Any] = getattr(axes, f"set_{name}scale")
    if positive and max(positive) >= DECADES * min(positive):
        beyond = (max(positive) / min(positive)) ** 0.06
        if len(positive) < len(known):
            low, high = floor(log10(min(positive))), ceil(log10(max(positive)))
            set_scale("symlog", linthresh=10.0**low, linscale=0.5)
            limits(0, max(positive) * beyond)
            step = max(1, (high - low) // 5)
            axis.set_major_locator(
                FixedLocator([0, *(10.0**n for n in range(low, high + 1, step))])
            )
        else:
            set_scale("log")
            limits(min(positive) / beyond, max(positive) * beyond)
            if max(positive) < 1000 * min(positive):
                axis.set_major_locator(LogLocator(subs=(1, 3)))
        axis.set_minor_locator(NullLocator())
    elif positive:
        limits(min(0, 1.08 * min(known)), 1.08 * max(known))
    axis.set_major_formatter(EngFormatter(unit=unit) if unit else FuncFormatter(_plain))


def _plain(value: float, _: int) -> str:
    """Thousands and millions with their letters, small numbers as they are."""
    for letter, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:g} {letter}"
    return f"{value:g}"


def strokes(look: Look) -> dict[str, Any]:
    """Colour, line and marker, as matplotlib's lines take them."""
    return {
        "color": look.colour.light,
        "linestyle": look.line,
        "marker": look.marker,
        "markerfacecolor": "none" if look.hollow else look.colour.light,
    }


def points(
    axes: Axes,
    look: Look,
    x: Sequence[float],
    y: Sequence[float],
    reach: tuple[Sequence[float], Sequence[float]],
    **style: Any,
) -> None:
    """A line with markers, and with error bars that `reach` so far to each side of `x` and `y`.

    `style` wins over that of the look, in the words of matplotlib's lines.
    """
    across, up = (list(values) if any(values) else None for values in reach)
    drawn = strokes(look) | {"capsize": 2.5, "elinewidth": 1} | style
    _, caps, bars = axes.errorbar(x, y, xerr=across, yerr=up, **drawn)
    for part in (*caps, *bars):
        part.set_alpha(0.6)


def legend(figure: Figure, looks: Mapping[str, Look]) -> None:
    """Below the axes, so that it hides nothing; the figure grows by it."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **strokes(look)) for look in looks.values()]
    rows = -(-len(looks) // 3)
    figure.set_figheight(figure.get_figheight() + 0.19 * rows)
    figure.legend(handles, list(looks), loc="outside lower center", ncols=min(3, len(looks)))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
