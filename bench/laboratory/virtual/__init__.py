"""Virtual time: a modelled host on which real guest code runs. docs/host-model.md says how."""

from __future__ import annotations

from bench.laboratory.measures import Measures
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.virtual.parameters import HOST_PARAMETERS, is_of_host

__all__ = ("HOST_PARAMETERS", "is_of_host", "measure")


def measure(point: Point) -> Measures:
    """Run a point; the same point gives the same measures, wherever and however often.

    All of `host_machines` count as the machine under test. Raises LaboratoryError for what is
    unknown or cannot be, when SimPy is missing, and when a guest goes wrong; AssemblyError when
    there is no assembler.
    """
    try:
        from bench.laboratory.virtual.measuring import Simulation
    except ModuleNotFoundError as error:
        if error.name != "simpy":
            raise
        raise LaboratoryError(
            "virtual time needs SimPy: install it with pip install 'x86core[laboratory]'"
        ) from None
    return Simulation(point).run()
