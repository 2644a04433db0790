"""The definition of a sweep: a TOML file that says which points to run.

A file is one or several blocks, and a block is the product of its lists:

    clock = "virtual"                   # or "wall"
    costs = ["bare-metal", "nested"]    # cost tables by name or path; virtual time only
    policies = "all"
    executors = ["vcpu"]
    seconds = 0.5                       # measured for each point, of the clock in use
    repeats = 3

    [[block]]
    scenarios = ["pingpong", "false-sharing"]

    [[block]]
    scenarios = ["bimodal"]
    parameters = { host_cores = [1, 2, 4] }

What stands above the blocks holds for all of them, unless they say else; a file without blocks is
one block. Where a list may stand, so may a single value, and "all" for whatever there is. A point
that several blocks name is run once. The repeats are the outermost: every point is run once before
any is run again, so that a host that grows slower does so for all of them alike.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final

from bench.laboratory.parameter import LaboratoryError, Parameter, complete
from bench.laboratory.point import CLOCKS, Point
from bench.laboratory.scenario import Scenario, check_seconds
from bench.laboratory.sweep.catalogue import Catalogue

#: A sweep of more points than this is a slip.
MOST_POINTS: Final = 100_000

_MOST_REPEATS: Final = 10_000

_SHIPPED: Final = Path(__file__).parent.parent / "sweeps"

_ALL: Final = "all"

#: What a block may say, and what holds when neither it nor the file's head says it.
_DEFAULTS: Final[Mapping[str, Any]] = {
    "scenarios": (),
    "policies": _ALL,
    "executors": "vcpu",
    "clock": "wall",
    "costs": (),
    "parameters": {},
    "seconds": 1.0,
    "repeats": 1,
}


@dataclass(frozen=True, slots=True)
class Sweep:
    """A definition that has been checked. `name` is that of its file, without folders, or that of
    a shipped one. `text` is its source, `points` what it runs, in order and each once, `varied` the
    names of the parameters that it sets. `own_costs` has the cost tables that do not come with the
    laboratory, by name, each with a text that changes with it; `model` is the catalogue's.
    """

    name: str
    text: str
    points: tuple[Point, ...]
    varied: frozenset[str]
    own_costs: Mapping[str, str]
    model: str

    def describe(self, point: Point) -> str:
        """A point as a reader of this sweep tells it from the others."""
        values = (f"{name}={point.parameters[name]:g}" for name in self._names(point))
        parts = (point.scenario, point.policy, point.executor, point.costs, *values)
        return ", ".join((*filter(None, parts), f"repeat {point.repeat}"))

    def _names(self, point: Point) -> list[str]:
        return [name for name in point.parameters if name in self.varied]


def shipped() -> dict[str, Path]:
    """The definitions that come with the laboratory, by name."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.toml"))}


def load(file: str, catalogue: Catalogue) -> Sweep:
    """The sweep that a file defines; `file` is a path, or the name of a shipped one.

    Raises LaboratoryError with the file's name when it cannot be read or names what does not exist.
    """
    path = shipped().get(file, Path(file))
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise LaboratoryError(
            f"cannot read the sweep {file}: {why} (shipped sweeps: {', '.join(shipped())})"
        ) from None
    return parse(file if file in shipped() else path.name, text, catalogue)


def parse(name: str, text: str, catalogue: Catalogue) -> Sweep:
    """The sweep of a definition's text; `name` is for messages. Raises LaboratoryError."""
    try:
        head = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LaboratoryError(f"{name} is no TOML: {error}") from None
    if "block" not in head:
        head = {"block": [head]}
    bodies = head.pop("block")
    if not isinstance(bodies, list) or not all(isinstance(body, dict) for body in bodies):
        raise LaboratoryError(f"{name}: a block is written as [[block]]")
    if not bodies:
        raise LaboratoryError(f"{name} has no block")
    blocks = []
    for number, body in enumerate(bodies, 1):
        where = f"{name}, block {number}" if len(bodies) > 1 else name
        try:
            blocks.append(_Block.of(head, body, catalogue))
        except LaboratoryError as error:
            raise LaboratoryError(f"{where}: {error}") from None
    count = sum(block.count for block in blocks)
    if count > MOST_POINTS:
        raise LaboratoryError(f"{name} has {count:,} points, more than {MOST_POINTS:,}")
    runs = max(block.repeats for block in blocks)
    points = (point for run in range(runs) for block in blocks for point in block.points(run))
    once = {point.key: point for point in points}
    varied = frozenset(parameter for block in blocks for parameter in block.parameters)
    tables = {table: of for block in blocks for table, of in block.costs.items() if of}
    return Sweep(name, text, tuple(once.values()), varied, tables, catalogue.model)


@dataclass(frozen=True, slots=True)
class _Block:
    """A product of lists. With each scenario stand its parameters, complete, in every combination
    of `parameters`, the given ones; with each cost table what `Catalogue.identify_costs` gives.
    """

    scenarios: Sequence[tuple[Scenario, Sequence[Mapping[str, float]]]]
    policies: Sequence[str]
    executors: Sequence[str]
    clock: str
    costs: Mapping[str, str]
    parameters: Mapping[str, Sequence[float]]
    seconds: float
    repeats: int

    @classmethod
    def of(cls, head: Mapping[str, Any], body: Mapping[str, Any], catalogue: Catalogue) -> _Block:
        """What the file's head and a block's own part make together. Raises LaboratoryError."""
        for key in (*head, *body):
            if key not in _DEFAULTS:
                raise LaboratoryError(f"unknown key {key!r} (known: {', '.join(_DEFAULTS)}, block)")
        said = {**_DEFAULTS, **head, **body}
        clock = said["clock"]
        if clock not in CLOCKS:
            raise LaboratoryError(f"unknown clock {clock!r} (known: {', '.join(CLOCKS)})")
        catalogue.check_clock(clock)
        if clock == "wall" and "costs" in body:
            raise LaboratoryError("costs are for the virtual clock only")
        parameters = _parameters({**_table(head), **_table(body)})
        scenarios = []
        for name in _names("scenario", said["scenarios"], catalogue.scenarios):
            scenario = catalogue.scenarios[name]
            if clock not in scenario.clocks:
                clocks = ", ".join(scenario.clocks)
                raise LaboratoryError(f"scenario {name} has no {clock} clock (only {clocks})")
            host = catalogue.host_parameters if clock == "virtual" else ()
            scenarios.append((scenario, _values(scenario, host, parameters)))
        return cls(
            scenarios=scenarios,
            policies=_names("policy", said["policies"], catalogue.policies),
            executors=_names("executor", said["executors"], catalogue.executors),
            clock=clock,
            costs=_costs(said["costs"], catalogue) if clock == "virtual" else {"": ""},
            parameters=parameters,
            seconds=check_seconds(said["seconds"]),
            repeats=_repeats(said["repeats"]),
        )

    @property
    def count(self) -> int:
        """How many points there are, before any is made."""
        each = len(self.policies) * len(self.costs) * self.repeats
        return each * sum(
            len(values) * len(self._executors(scenario)) for scenario, values in self.scenarios
        )

    def points(self, repeat: int) -> Iterator[Point]:
        """The points of a repeat."""
        if repeat >= self.repeats:
            return
        for scenario, every in self.scenarios:
            for costs, values, executor, policy in product(
                self.costs, every, self._executors(scenario), self.policies
            ):
                yield Point(
                    scenario=scenario.name,
                    policy=policy,
                    executor=executor,
                    clock=self.clock,
                    costs=costs,
                    parameters=values,
                    seconds=self.seconds,
                    repeat=repeat,
                )

    def _executors(self, scenario: Scenario) -> Sequence[str]:
        """Where the executor makes no difference, the first one stands for all."""
        return self.executors if scenario.executors else self.executors[:1]


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _names(what: str, value: Any, known: Iterable[str]) -> list[str]:
    """The names in a list, each once. Raises LaboratoryError for an unknown or none at all."""
    listing = list(known)
    if value == _ALL:
        return listing
    names = list(dict.fromkeys(map(str, _listed(value))))
    for name in names:
        if name not in listing:
            raise LaboratoryError(f"unknown {what} {name!r} (known: {', '.join(listing)})")
    if not names:
        raise LaboratoryError(f"names no {what} (known: {', '.join(listing)})")
    return names


def _costs(value: Any, catalogue: Catalogue) -> dict[str, str]:
    tables = {str(name): catalogue.identify_costs(str(name)) for name in _listed(value)}
    if not tables:
        raise LaboratoryError("virtual time needs costs, the names of cost tables")
    return tables


def _table(part: Mapping[str, Any]) -> Mapping[str, Any]:
    table = part.get("parameters", {})
    if not isinstance(table, dict):
        raise LaboratoryError(f"parameters must be a table, not {table!r}")
    return table


def _parameters(table: Mapping[str, Any]) -> dict[str, list[float]]:
    parameters = {name: _listed(value) for name, value in table.items()}
    for name, values in parameters.items():
        if not values:
            raise LaboratoryError(f"parameter {name} has no value")
    return parameters


def _values(
    scenario: Scenario, host: Sequence[Parameter], parameters: Mapping[str, Sequence[float]]
) -> list[dict[str, float]]:
    """Every combination of the parameters' values, complete. Raises LaboratoryError."""
    of_host = {parameter.name for parameter in host}
    known = [parameter.name for parameter in scenario.parameters] + sorted(of_host)
    for name in parameters:
        if name not in known:
            listing = ", ".join(known) or "none"
            raise LaboratoryError(
                f"scenario {scenario.name} has no parameter {name!r} here (known: {listing})"
            )
    if prod(map(len, parameters.values())) > MOST_POINTS:
        raise LaboratoryError(f"the parameters have more than {MOST_POINTS:,} combinations")
    every = []
    for values in product(*parameters.values()):
        given = dict(zip(parameters, values, strict=True))
        own = {name: value for name, value in given.items() if name not in of_host}
        others = {name: value for name, value in given.items() if name in of_host}
        every.append(scenario.values(own) | complete("the host model", host, others))
    return every


def _repeats(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MOST_REPEATS:
        raise LaboratoryError(f"repeats must be in 1..{_MOST_REPEATS}, not {value!r}")
    return value
