"""What a run of a point gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

from hdrh.histogram import HdrHistogram

from bench.laboratory.fields import checked

#: Latencies are kept from 1 ns to an hour with three significant digits.
_LONGEST_NS: Final = 3600 * 10**9
_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class Measures:
    """Counts over `seconds` of the clock in use, of the machine under test unless it says else.

    `guest_work` counts the units of work that the guest's program does beside idling. Latencies
    are histograms of ns in HdrHistogram's compressed text form (`histogram` reads them), "" when
    there was nothing to measure: `wake_latency` from the waking store or interrupt until the guest
    has noticed, `task_latency` from the submission of a deferred task to its end. `exits` are by
    KVM's name. `cpu_seconds` is host CPU time of the machine's threads, its workers' included.

    `neighbour_work` is the work per second of another machine beside this one, `neighbour_alone`
    that which it does with the host to itself; both None without a neighbour.
    """

    seconds: float
    guest_work: int = 0
    wakes: int = 0
    lost_wakes: int = 0
    spurious_wakes: int = 0
    instructions: int = 0
    wake_latency: str = ""
    task_latency: str = ""
    tasks_done: int = 0
    exits: Mapping[str, int] = field(default_factory=dict)
    sleeps: int = 0
    write_faults: int = 0
    false_faults: int = 0
    cpu_seconds: float = 0.0
    neighbour_work: float | None = None
    neighbour_alone: float | None = None

    @property
    def neighbour_loss(self) -> float | None:
        """The share of its work that the neighbour loses, 0 to 1."""
        if self.neighbour_work is None or not self.neighbour_alone:
            return None
        return 1 - self.neighbour_work / self.neighbour_alone

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return values | {"exits": dict(self.exits)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The measures that `as_dict` gave. Raises TypeError for other fields or types."""
        return cls(**checked(cls, values))


def new_histogram() -> HdrHistogram:
    """An empty histogram of ns, of the one shape that all results have."""
    return HdrHistogram(1, _LONGEST_NS, _DIGITS)


def encode(latencies_ns: Iterable[int]) -> str:
    """The text form of these latencies; "" when there are none."""
    histogram = new_histogram()
    for latency in latencies_ns:
        histogram.record_value(min(max(int(latency), 1), _LONGEST_NS))
    return encode_histogram(histogram)


def encode_histogram(histogram: HdrHistogram) -> str:
    """The text form of a histogram; "" when it is empty."""
    return histogram.encode().decode("ascii") if histogram.get_total_count() else ""


def histogram(text: str) -> HdrHistogram:
    """The histogram of a text form. Raises what hdrh raises for a damaged one."""
    return HdrHistogram.decode(text) if text else new_histogram()
