"""What the laboratory really has: its scenarios, and an engine for each clock."""

from __future__ import annotations

from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from bench.laboratory import virtual, wall
from bench.laboratory.costs import as_toml, load_preset, preset_names
from bench.laboratory.measures import Measures
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.policies import POLICIES
from bench.laboratory.scenarios import SCENARIOS
from bench.laboratory.sweep.catalogue import Catalogue
from vmm import EXECUTORS, AssemblyError
from vmm.asm import assemble

_HERE: Final = Path(__file__).parent

#: What a result in virtual time comes from.
_MODEL: Final = (
    *("guest.py", "mailbox.py", "measures.py", "policies.py", "scenario.py"),
    *("virtual/*.py", "guests/*", "scenarios/*.py", "costs/presets/*.toml"),
)


def catalogue() -> Catalogue:
    """All that there is."""
    return Catalogue(
        scenarios=SCENARIOS,
        policies=tuple(POLICIES),
        executors=tuple(EXECUTORS),
        host_parameters=virtual.HOST_PARAMETERS,
        model=digest_of_model(),
        identify_costs=identify_costs,
        check_clock=check_clock,
        measure=measure,
    )


def digest_of_model() -> str:
    """Of the sources that virtual results come from, the core's apart: alike on every host."""
    digest = sha256()
    for path in sorted(path for name in _MODEL for path in _HERE.glob(name)):
        digest.update(path.relative_to(_HERE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def measure(point: Point) -> Measures:
    """Run the point on the clock that it names. Raises LaboratoryError."""
    return {"wall": wall.measure, "virtual": virtual.measure}[point.clock](point)


def check_clock(clock: str) -> None:
    """As `Catalogue.check_clock`: virtual time needs SimPy, and all guests an assembler."""
    if clock == "virtual" and find_spec("simpy") is None:
        raise LaboratoryError("virtual time needs SimPy: pip install 'x86core[laboratory]'")
    try:
        assemble("nop\n")
    except AssemblyError as error:
        raise LaboratoryError(str(error)) from None


def identify_costs(name: str) -> str:
    """As `Catalogue.identify_costs`: a digest of a table's costs and their sources."""
    preset = load_preset(name)
    return "" if name in preset_names() else sha256(as_toml(preset).encode()).hexdigest()[:16]
