"""Seeing what a machine did: where the time went (`Meter`), and when (`Timeline`)."""

from vmm.seeing.live import LiveStatistics, take_samples
from vmm.seeing.meter import Meter
from vmm.seeing.observer import Observer
from vmm.seeing.table import statistics_table
from vmm.seeing.timeline import Timeline
from vmm.seeing.trace_file import TimelineError
from vmm.seeing.views import Views

__all__ = [
    "LiveStatistics",
    "Meter",
    "Observer",
    "Timeline",
    "TimelineError",
    "Views",
    "statistics_table",
    "take_samples",
]
