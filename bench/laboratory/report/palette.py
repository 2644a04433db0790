"""The report's colours: a pair for each, on a light ground and on a dark one.

Those of the policies were searched for: with three forms of colour blindness simulated too (as
Machado, Oliveira and Fernandes 2009 do, at full severity) any two of nine can be told apart, and
each stands out from the ground by 3 to 1 (WCAG 2.1, 1.4.11). Markers tell the same as colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Colour:
    """As `#rrggbb`, in small letters."""

    light: str
    dark: str


@dataclass(frozen=True, slots=True)
class Look:
    """How a policy is drawn in every plot, `marker` and `line` in matplotlib's signs."""

    colour: Colour
    marker: str
    line: str
    hollow: bool = False


GROUND: Final = Colour("#fdfdfc", "#15181c")
INK: Final = Colour("#23282e", "#e4e7ea")
FAINT: Final = Colour("#5f6973", "#9aa4ae")
GRID: Final = Colour("#d9dde1", "#353b42")

_MWAIT: Final = {
    "nop": Look(Colour("#a53801", "#c36300"), "v", "--"),
    "yield": Look(Colour("#5c2001", "#ef8575"), "^", "--"),
    "exit": Look(Colour("#488668", "#36fca8"), "s", "-"),
    "passthrough": Look(Colour("#b27db0", "#ebc6ff"), "P", ":"),
    "halt": Look(Colour("#484445", "#7a7475"), "X", ":"),
    "timer": Look(Colour("#8a8813", "#e0bb00"), "D", "-."),
    "scan": Look(Colour("#b744ab", "#a140b3"), "p", "-."),
    "fault": Look(Colour("#428bf6", "#667efd"), "o", "-"),
    "adaptive": Look(Colour("#0a6377", "#5bb5c0"), "*", "-"),
}

#: Ways of HLT have the colour of their next of kin, and hollow markers.
_KIN: Final = {"block": "halt", "poll": "adaptive", "exit": "exit", "passthrough": "passthrough"}
POLICIES: Final[dict[str, Look]] = _MWAIT | {
    f"hlt-{name}": Look(_MWAIT[kin].colour, _MWAIT[kin].marker, ":", hollow=True)
    for name, kin in _KIN.items()
}

#: Of a policy that is none of these.
OTHER: Final = Look(FAINT, "h", "-")

#: Who does deferred work is told by the marker; the colour stays the policy's.
EXECUTORS: Final = {"vcpu": "o", "workers": "s", "helpers": "^"}

#: A map of matplotlib's that rises in lightness alone, so that every eye reads it.
MAP: Final = "cividis"


def look(policy: str) -> Look:
    """How this policy is drawn."""
    return POLICIES.get(policy, OTHER)


def colours() -> list[Colour]:
    """All that a plot may have, but for those of maps."""
    return [INK, FAINT, GRID, *(look.colour for look in POLICIES.values())]
