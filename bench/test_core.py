"""The core's figures as pytest-benchmark cases: `pytest bench --benchmark-only`."""

from __future__ import annotations

from typing import Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.engines import CoreEngine
from bench.idling import IdleCore, IdleMachine
from bench.loops import LOOPS, PROGRAMS, STRINGS, Loop
from bench.memcpy import HostCopy

_ROUNDS = 3
_EXITS = 200_000

each_loop = pytest.mark.parametrize(
    "loop", [*LOOPS, *PROGRAMS, *STRINGS], ids=lambda loop: loop.name
)


class Idler(Protocol):
    def exits(self, count: int) -> float: ...


@each_loop
def test_loop_x86core(benchmark: BenchmarkFixture, loop: Loop) -> None:
    engine = CoreEngine(loop)
    benchmark.group = f"{loop.name}: {loop.summary}"
    benchmark.pedantic(engine.run, (loop.size,), rounds=_ROUNDS, warmup_rounds=1)
    benchmark.extra_info["instructions"] = engine.instructions
    assert 0.8e8 < engine.instructions < 1.2e8 or loop.string_bytes > 1e8


@each_loop
def test_loop_unicorn(benchmark: BenchmarkFixture, loop: Loop) -> None:
    peer = pytest.importorskip("bench.peer")
    engine = peer.UnicornEngine(loop)
    peer.check_agreement(CoreEngine(loop), engine, loop.size)
    benchmark.group = f"{loop.name}: {loop.summary}"
    benchmark.extra_info["peer"] = True
    benchmark.pedantic(engine.run, (loop.size,), rounds=_ROUNDS)


def test_memcpy_of_the_host(benchmark: BenchmarkFixture) -> None:
    loop = STRINGS[0]
    host = HostCopy(loop.string_bytes // loop.size)
    benchmark.group = f"{loop.name}: {loop.summary}"
    benchmark.extra_info["peer"] = True
    benchmark.pedantic(host.copies, (loop.size,), rounds=_ROUNDS, warmup_rounds=1)


def test_exits_vcpu_run(benchmark: BenchmarkFixture) -> None:
    _time_exits(benchmark, IdleCore())


def test_exits_machine_run(benchmark: BenchmarkFixture) -> None:
    _time_exits(benchmark, IdleMachine())


def test_exits_unicorn(benchmark: BenchmarkFixture) -> None:
    benchmark.extra_info["peer"] = True
    _time_exits(benchmark, pytest.importorskip("bench.peer").IdleUnicorn())


def _time_exits(benchmark: BenchmarkFixture, idler: Idler) -> None:
    benchmark.group = f"{_EXITS:,} idle exits"
    benchmark.pedantic(idler.exits, (_EXITS,), rounds=_ROUNDS, warmup_rounds=1)
