"""The command line: `python -m bench sweep`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.sweep.catalogue import Catalogue
from bench.laboratory.sweep.cluster import Cluster
from bench.laboratory.sweep.definition import Sweep, load, shipped
from bench.laboratory.sweep.local import run_local
from bench.laboratory.sweep.progress import sweep_progress
from bench.laboratory.sweep.run import Ran, Runner, run
from vmm.output import BadInput

#: As a shell reports a process that SIGINT ended.
_INTERRUPTED = 130

#: More processes than this are a slip.
_MOST_JOBS = 1024


@click.command("sweep", epilog=f"Sweeps that come with it: {', '.join(shipped())}.")
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="RESULTS",
    required=True,
    help="The file for the results; what it holds of this sweep is not run again.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, _MOST_JOBS),
    metavar="N",
    help="Processes that run points. The default is one for each core in virtual time, and one in"
    " all when points are measured in wall time, since they disturb one another.",
)
@click.option(
    "--dask",
    "address",
    metavar="ADDRESS",
    help="Run the points on the Dask cluster whose scheduler is there, as tcp://host:8786. Its"
    " workers need this program too.",
)
@click.pass_context
def sweep_command(
    context: click.Context, file: str, output: Path, jobs: int | None, address: str | None
) -> None:
    """Run the points that FILE defines, and put what they give into one file.

    FILE is a path, or the name of a sweep that comes with the laboratory. A sweep that was stopped
    or killed goes on where it was: the same command runs what is missing. Exit status 1 when points
    failed, 130 after Ctrl-C.

    \b
    Examples:
      python -m bench sweep quick -o quick.jsonl
      python -m bench sweep host --jobs 4 -o host.jsonl
      python -m bench sweep mine.toml --dask tcp://10.0.0.7:8786 -o mine.jsonl
      python -m bench report quick.jsonl -o report
    """
    if jobs is not None and address is not None:
        raise click.UsageError("--jobs is for processes of this host, not for --dask", context)
    try:
        catalogue = everything()
        sweep = load(file, catalogue)
        if address is None:
            ran = run_sweep(context, sweep, output, on_this_host(sweep, catalogue, jobs))
        else:
            ran = _run_on_cluster(context, sweep, output, address, catalogue)
    except LaboratoryError as error:
        raise BadInput(str(error)) from None
    before = f", {ran.before} were finished before" if ran.before else ""
    click.echo(f"{output}: {ran.measured} points measured, {ran.failed} failed{before}")
    context.exit(1 if ran.failed else 0)


def everything() -> Catalogue:
    """All that the laboratory has. Imported here, since it takes the most part of a second."""
    from bench.laboratory.engines import catalogue

    return catalogue()


def on_this_host(sweep: Sweep, catalogue: Catalogue, jobs: int | None) -> Runner:
    """Runs points on processes of this host; says so on stderr when they disturb one another."""
    wall = any(point.clock == "wall" for point in sweep.points)
    if jobs is None:
        jobs = 1 if wall else len(os.sched_getaffinity(0))
    if wall and jobs > 1:
        click.echo(
            f"Warning: {jobs} points at a time in wall time disturb one another: their figures are"
            " not those of a quiet host.",
            err=True,
        )
    return partial(run_local, jobs=jobs, measure=catalogue.measure)


def run_sweep(context: click.Context, sweep: Sweep, output: Path, runner: Runner) -> Ran:
    """Run it with its progress on stderr. Raises LaboratoryError, and leaves with status 130 after
    Ctrl-C.
    """
    try:
        with sweep_progress(sweep) as progress:
            return run(sweep, output, runner, progress)
    except KeyboardInterrupt:
        click.echo(
            f"Stopped. {output} keeps what is finished: the same command goes on from there.",
            err=True,
        )
        context.exit(_INTERRUPTED)
    except OSError as error:
        raise click.ClickException(f"cannot write {output}: {error.strerror}") from None


def _run_on_cluster(
    context: click.Context, sweep: Sweep, output: Path, address: str, catalogue: Catalogue
) -> Ran:
    if any(point.clock == "wall" for point in sweep.points):
        raise LaboratoryError(
            f"{sweep.name} has points in wall time, which measure the host that they run on: a"
            " cluster takes those of virtual time only"
        )
    with Cluster(address) as cluster:
        return run_sweep(context, sweep, output, partial(cluster.run, measure=catalogue.measure))
