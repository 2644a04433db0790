"""What a sweep can name, and what measures its points."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.laboratory.measures import Measures
from bench.laboratory.parameter import Parameter
from bench.laboratory.point import Point
from bench.laboratory.scenario import Scenario

#: What turns a point into measures. A function of a module, since other processes import it.
Measure = Callable[[Point], Measures]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """`identify_costs` takes the name of a cost table, or a path to one, and raises LaboratoryError
    when there is none; it gives "" for one that comes with the laboratory, and for another a text
    that changes with it. `check_clock` raises LaboratoryError when what its engine needs is not
    installed. `host_parameters` are those of the host model, of virtual time only, and `model` is a
    text that changes with it and with its guests.
    """

    scenarios: Mapping[str, Scenario]
    policies: Sequence[str]
    executors: Sequence[str]
    host_parameters: Sequence[Parameter]
    model: str
    identify_costs: Callable[[str], str]
    check_clock: Callable[[str], None]
    measure: Measure
