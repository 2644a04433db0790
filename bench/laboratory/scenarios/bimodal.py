"""Idle times as they are: short ones and long ones.

The shares are those of "What Are You (M)Waiting For" (OSDI 2026): of the idle times of busy vCPUs
99.6 % are below 200 us, of those of idle vCPUs 96 % above 1 ms.
"""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_VCPUS
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import Load, Scenario, Values

#: From how much to how much the two kinds go, in ns.
_SHORT = (10_000, 200_000)
_LONG = (1_000_000, 10_000_000)


def _load(values: Values) -> Load:
    vcpus = int(values["vcpus"])
    busy = round(values["busy_share"] * (vcpus - 1))
    if_busy, if_not = values["short_share_busy"], 1 - values["long_share_idle"]
    shares = (_fraction(if_busy), _fraction(if_not))
    times = (_SHORT[0], _SHORT[1] - _SHORT[0], _LONG[0], _LONG[1] - _LONG[0])
    return Load(vcpus=vcpus, words=(int(values["work_units"]), busy, *shares, *times))


def _fraction(share: float) -> int:
    """Of 2^32, as it fits in a word."""
    return min(round(share * 2**32), 2**32 - 1)


SCENARIO = Scenario(
    name="bimodal",
    summary="vCPU 0 wakes the others after 10 to 200 us if they are busy, after 1 to 10 ms if not",
    question="Which way to idle suits short and long waits alike?",
    guest="bimodal",
    load=_load,
    parameters=(
        Parameter("vcpus", 4, 2, MOST_VCPUS, "", "of which number 0 wakes the others"),
        Parameter("busy_share", 1 / 3, 0.0, 1.0, "", "of the woken vCPUs that are busy"),
        Parameter("work_units", 20, 0, 1000, "", "of 1,000 instructions after each wake"),
        Parameter("short_share_busy", 0.996, 0.0, 1.0, "", "of the idle times of a busy vCPU"),
        Parameter("long_share_idle", 0.96, 0.0, 1.0, "", "of the idle times of any other"),
    ),
)
