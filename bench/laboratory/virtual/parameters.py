"""The numbers of the modelled host, which stand beside a scenario's in a point."""

from __future__ import annotations

from typing import Final

from bench.laboratory.parameter import Parameter

#: Their names begin alike, so that no scenario's parameter has one of them.
PREFIX: Final = "host_"

HOST_PARAMETERS: Final = (
    Parameter("host_cores", 0, 0, 4096, "", "physical cores; 0 is one for each thread"),
    Parameter("host_machines", 1, 1, 1024, "", "machines that run the scenario, all measured"),
    Parameter("host_slice_us", 3000.0, 10.0, 1e6, "us", "a thread's time on a core others want"),
    Parameter(
        "host_granularity_us", 1000.0, 0.0, 1e6, "us", "by how much who is woken has had less"
    ),
    Parameter("host_load", 0.0, 0.0, 0.99, "", "share of every core that other processes want"),
    Parameter("host_timer_us", 50.0, 1.0, 1e6, "us", "how long the policy timer sleeps at a time"),
    Parameter(
        "host_quantum_ns",
        2000,
        100,
        10_000_000,
        "ns",
        "a vCPU is executed ahead so far; tenfold when it computes",
    ),
)


def is_of_host(name: str) -> bool:
    """Whether a parameter is the host model's, and not the scenario's."""
    return name.startswith(PREFIX)
