"""What came of a point."""

from __future__ import annotations

from dataclasses import dataclass

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.results import Result
from bench.laboratory.sweep.catalogue import Measure


@dataclass(frozen=True, slots=True)
class Outcome:
    """The point's result, or else `failure` says why there is none.

    `broken` is True when the engine went wrong in a way of which nobody knows what it left behind.
    """

    point: Point
    result: Result | None = None
    failure: str = ""
    broken: bool = False


def attempt(measure: Measure, point: Point) -> Outcome:
    """Measure the point; never raises, so that one point cannot end a sweep."""
    try:
        result = Result(point, measure(point))
        result.line()  # what cannot be written is a failure of this point
    except LaboratoryError as error:
        return Outcome(point, failure=str(error))
    except Exception as error:  # whatever it is, it belongs to this point
        return Outcome(point, failure=f"{type(error).__name__}: {error}", broken=True)
    return Outcome(point, result)
