"""What cost tables are made of, as pytest-benchmark cases: the probes of `bench calibrate`."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.laboratory.costs.calibration import FITS, PROBES, Probe

_ROUNDS = 5

#: What the probes have timed so far, in seconds. A probe times less than all it does.
_timed = [0.0]


def probe_clock() -> float:
    return _timed[0]


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
@pytest.mark.benchmark(timer=probe_clock, group="costs")
def test_probe(benchmark: BenchmarkFixture, probe: Probe) -> None:
    benchmark.extra_info["scheduled"] = probe.scheduled
    benchmark.extra_info["costs"] = [name for name, fit in FITS.items() if probe.name in fit.probes]
    with probe.ready() as turn:

        def timed() -> None:
            _timed[0] += turn() / 1e9

        benchmark.pedantic(timed, rounds=_ROUNDS, warmup_rounds=1)
