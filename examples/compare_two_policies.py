"""Two ways to handle MWAIT, side by side: a yield, and sleep until the write fault.

The guest is the shipped `pair`: one vCPU idles in MONITOR/MWAIT, the other wakes it by a store
every millisecond, and the guest itself measures how long each wake took. Under `yield` an idle vCPU
spins through sched_yield(): quick to notice the store, but it burns a core. Under `fault` it
sleeps, and the store's write fault wakes it. (`python -m bench lab` compares all nine policies.)

    python examples/compare_two_policies.py
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from vmm import MWAIT_CHOICES, Machine

SECONDS = 0.8
INTERVAL_NS = 1_000_000

#: Where `pair` keeps these; the head of its source says so (`python -m vmm examples show pair`).
PARAMETERS, HANDOFFS, LATENCIES, MOST_LATENCIES = 0x10000, 0x11000, 0x100000, 1 << 18


@dataclass(frozen=True)
class Comparison:
    """What one policy came to.

    `idle_cpu` is the waiter's host CPU time over wall time, `wakes` how often a store has woken it.
    """

    policy: str
    handoffs: int
    wake_median_us: float
    idle_cpu: float
    wakes: int


def measure(policy: str, seconds: float = SECONDS) -> Comparison:
    """Run the pair under a policy for so long."""
    machine = Machine.load("pair", memory="2M", vcpus=2, idle=policy)
    machine.memory.write(PARAMETERS, struct.pack("<I", INTERVAL_NS))
    result = machine.run(timeout=seconds)
    ram = machine.memory.view()
    handoffs = int(ram[HANDOFFS:][:4].view("<u4")[0])
    latencies = ram[LATENCIES:][: 4 * min(handoffs, MOST_LATENCIES)].view("<u4")
    waiter = result.vcpus[0]
    return Comparison(
        policy,
        handoffs,
        float(np.median(latencies)) / 1000 if handoffs else float("nan"),
        waiter.cpu_seconds / result.wall_seconds,
        waiter.stats["wakes_store"],
    )


def main() -> None:
    """Compare the two."""
    print("policy  handoffs  wake, median  idle CPU   wakes")
    for policy in ("yield", "fault"):
        found = measure(policy)
        print(
            f"{policy:<7} {found.handoffs:>8} {found.wake_median_us:>10.1f} us"
            f" {found.idle_cpu:>8.1%} {found.wakes:>7}   {MWAIT_CHOICES[policy].summary}"
        )


if __name__ == "__main__":
    main()
