"""A device writes into memory and rings a doorbell in the monitored line."""

from __future__ import annotations

from bench.laboratory.mailbox import MOST_ENTRY_BYTES
from bench.laboratory.parameter import Parameter
from bench.laboratory.scenario import HostWrites, Load, Scenario, Values


def _load(values: Values) -> Load:
    interval_ns, words = round(1000 * values["interval_us"]), int(values["ring_words"])
    return Load(vcpus=1, words=(), host_writes=HostWrites(interval_ns, ring_bytes=4 * words))


SCENARIO = Scenario(
    name="io",
    summary="the host writes entries into a ring as a device does, and rings the guest's doorbell",
    question="What does a wake by a device's store cost, without an interrupt?",
    guest="io",
    load=_load,
    parameters=(
        Parameter("interval_us", 1000.0, 50.0, 4e6, "us", "from one entry to the next"),
        Parameter("ring_words", 375, 0, MOST_ENTRY_BYTES // 4, "", "of 4 bytes in each entry"),
    ),
)
