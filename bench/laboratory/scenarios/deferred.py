"""Deferred work beside a guest that idles between wakes: what the two scenarios share."""

from __future__ import annotations

from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import DeferredLoad, Load, Values


def load(values: Values) -> Load:
    """Two vCPUs that wake each other, and tasks for the VMM."""
    interval_ns = round(1000 * values["interval_us"])
    return Load(
        vcpus=2, words=(interval_ns, int(values["work_units"]), 0, 1), deferred=tasks(values)
    )


def tasks(values: Values) -> DeferredLoad:
    """The deferred work that these parameters say."""
    task_ns, step_ns = round(1000 * values["task_us"]), round(1000 * values["step_us"])
    return DeferredLoad(values["tasks_per_second"], task_ns, min(step_ns, task_ns))


def task_parameters(per_second: float, task_us: float) -> tuple[Parameter, ...]:
    """Those of the deferred work, with these defaults."""
    return (
        Parameter("tasks_per_second", per_second, 0.1, 5000.0, "/s", "submitted to the VMM"),
        Parameter("task_us", task_us, 1.0, 1e6, "us", "that a task takes by itself"),
        Parameter("step_us", 20.0, 1.0, 1e6, "us", "until it can be set aside"),
    )


def parameters(per_second: float, task_us: float) -> tuple[Parameter, ...]:
    """All of them, with these defaults for the deferred work."""
    return (
        *task_parameters(per_second, task_us),
        Parameter("interval_us", 1000.0, 0.0, 4e6, "us", "rest of a woken vCPU before it works"),
        Parameter("work_units", 50, 0, 1_000_000, "", "1,000 instructions each, before the wake"),
    )
