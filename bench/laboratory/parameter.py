"""The numbers that a scenario or a host model takes, and their bounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite


class LaboratoryError(ValueError):
    """What was asked for does not exist or cannot be: one clear message, for whoever asked."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number with a name. `unit` is "" for a count; a default that is an int wants ints."""

    name: str
    default: float
    minimum: float
    maximum: float
    unit: str
    summary: str

    def check(self, value: float) -> float:
        """`value`, if it may stand here. Raises LaboratoryError."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise LaboratoryError(f"{self.name} must be a number, not {value!r}")
        if isinstance(self.default, int) and value != int(value):
            raise LaboratoryError(f"{self.name} must be a whole number, not {value}")
        if not self.minimum <= value <= self.maximum:
            unit = f" {self.unit}" if self.unit else ""
            raise LaboratoryError(
                f"{self.name} must be in {self.minimum:g}..{self.maximum:g}{unit}, not {value:g}"
            )
        return type(self.default)(value)


def complete(
    owner: str, parameters: Iterable[Parameter], given: Mapping[str, float]
) -> dict[str, float]:
    """Every parameter's value, in the order in which they are declared: the given ones, checked,
    and the defaults of the others.

    `owner` names whose they are in messages. Raises LaboratoryError for a name that is not there,
    with those that are, and for a value that cannot be.
    """
    known = {parameter.name: parameter for parameter in parameters}
    for name in given:
        if name not in known:
            names = ", ".join(known) or "none"
            raise LaboratoryError(f"{owner} has no parameter {name!r} (known: {names})")
    try:
        return {
            name: parameter.check(given.get(name, parameter.default))
            for name, parameter in known.items()
        }
    except LaboratoryError as error:
        raise LaboratoryError(f"{owner}: {error}") from None
