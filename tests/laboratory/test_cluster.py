"""Sweeps on a Dask cluster: results as on this host, and clear words when there is none."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.laboratory import engines
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.results import read_results
from bench.laboratory.sweep.cluster import Cluster
from bench.laboratory.sweep.definition import parse
from bench.laboratory.sweep.local import run_local
from bench.laboratory.sweep.run import Ran, run
from tests.laboratory.fake import REFUSED, Watcher, measure, sweep

distributed = pytest.importorskip("distributed")

TEXT = 'clock = "virtual"\ncosts = "cheap"\nscenarios = ["alpha", "beta"]\nrepeats = 3\n'


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two worker processes."""
    with distributed.LocalCluster(
        n_workers=2, processes=True, threads_per_worker=1, dashboard_address=":0", protocol="tcp"
    ) as cluster:
        yield cluster.scheduler_address


def test_results_are_those_of_this_host(address: str, tmp_path: Path) -> None:
    swept = sweep(TEXT)
    here, there = tmp_path / "here", tmp_path / "there"
    run(swept, here, partial(run_local, jobs=1, measure=measure), Watcher())
    with Cluster(address) as cluster:
        runner = partial(cluster.run, measure=measure)
        with pytest.raises(KeyboardInterrupt):
            run(swept, there, runner, Watcher(patience=4))
        kept = len(read_results(there)[1])
        assert kept >= 4
        assert run(swept, there, runner, Watcher()) == Ran(kept, len(swept.points) - kept, 0)
    assert there.read_bytes() == here.read_bytes()


def test_points_that_fail(address: str, tmp_path: Path) -> None:
    swept = sweep(TEXT.replace(', "beta"', "") + f"parameters = {{ fate = [0, {REFUSED}] }}\n")
    watcher = Watcher()
    with Cluster(address) as cluster:
        ran = run(swept, tmp_path / "results", partial(cluster.run, measure=measure), watcher)
    assert ran == Ran(0, 9, 9)
    failures = {outcome.failure for outcome in watcher.ended if outcome.result is None}
    assert failures == {"the guest went wrong"}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.laboratory.sweep.cluster.PATIENCE_SECONDS", 1)


@pytest.mark.usefixtures("impatient")
def test_nobody_answers() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))  # and does not listen
        start = time.monotonic()
        with pytest.raises(LaboratoryError, match="no Dask scheduler answers at"):
            Cluster(f"tcp://127.0.0.1:{unheard.getsockname()[1]}")
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("address", ["", "x", "tcp://", "tcp://127.0.0.1:port", "tcp://:", "a b:1"])
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(LaboratoryError, match="is no address: give one as tcp://host:8786"):
        Cluster(address)


def test_an_unknown_transport() -> None:
    with pytest.raises(LaboratoryError, match="no Dask scheduler answers at pigeon://x:1: unknown"):
        Cluster("pigeon://x:1")


@pytest.mark.usefixtures("impatient")
def test_a_cluster_without_workers() -> None:
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0", protocol="tcp") as cluster,
        pytest.raises(LaboratoryError, match="has no workers"),
    ):
        Cluster(cluster.scheduler_address)


def test_dask_is_not_installed(tmp_path: Path) -> None:
    code = "import sys; sys.modules['distributed'] = None\n"
    code += "from bench.laboratory.sweep.cluster import Cluster; Cluster('tcp://127.0.0.1:1')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "LaboratoryError: a sweep on a Dask cluster needs Dask: pip install" in done.stderr


def test_real_points_of_virtual_time(address: str, tmp_path: Path) -> None:
    text = (
        'clock = "virtual"\ncosts = "nested"\nscenarios = "bimodal"\npolicies = ["exit", "fault"]\n'
    )
    swept = parse("small.toml", text + "seconds = 0.002\nrepeats = 2\n", engines.catalogue())
    here, there = tmp_path / "here", tmp_path / "there"
    run(swept, here, partial(run_local, jobs=1, measure=engines.measure), Watcher())
    with Cluster(address) as cluster:
        run(swept, there, partial(cluster.run, measure=engines.measure), Watcher())
    assert len(read_results(there)[1]) == 4
    assert there.read_bytes() == here.read_bytes()
