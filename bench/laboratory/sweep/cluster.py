"""Points on a Dask cluster."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Final, Self

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.results import VERSION
from bench.laboratory.sweep.catalogue import Measure
from bench.laboratory.sweep.outcome import Outcome, attempt

if TYPE_CHECKING:
    from distributed import Future

#: How long the scheduler may take to answer, and the cluster to have a worker.
PATIENCE_SECONDS: Final = 5

#: The transport may be missing; the port may not.
_ADDRESS: Final = re.compile(r"(\w+://)?[^\s/]+:\d+")


class Cluster:
    """A connection to a scheduler, whose workers have this program too.

    Raises LaboratoryError when Dask is not installed, the scheduler does not answer, or its workers
    are missing or have another version of this program.
    """

    def __init__(self, address: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise LaboratoryError(
                "a sweep on a Dask cluster needs Dask: pip install .[dask]"
            ) from None
        if not _ADDRESS.fullmatch(address):
            raise LaboratoryError(f"{address!r} is no address: give one as tcp://host:8786")
        try:
            self._client = Client(address, timeout=PATIENCE_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise LaboratoryError(
                f"no Dask scheduler answers at {address}: {error or 'no answer'}"
            ) from None
        try:
            self._check_workers(address)
        except BaseException:
            self._client.close()
            raise

    def _check_workers(self, address: str) -> None:
        try:
            self._client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        except TimeoutError:
            raise LaboratoryError(f"the Dask cluster at {address} has no workers") from None
        try:
            versions = self._client.run(results_version)
        except Exception as error:  # what the workers raise without this program is theirs
            raise LaboratoryError(
                f"the workers of the Dask cluster at {address} cannot run this program: {error}"
            ) from None
        if set(versions.values()) != {VERSION}:
            raise LaboratoryError(
                f"the workers of the Dask cluster at {address} have another version of this program"
            )

    def run(self, points: Iterable[Point], measure: Measure) -> Generator[list[Outcome]]:
        """The outcomes of the points, as they come. Closing cancels those under way."""
        from distributed import as_completed

        futures = {
            self._client.submit(attempt, measure, point, pure=False): point for point in points
        }
        try:
            for batch in as_completed(futures, loop=self._client.loop).batches():
                yield [self._outcome(future, futures.pop(future)) for future in batch]
        finally:
            self._client.cancel(list(futures))

    def _outcome(self, future: Future, point: Point) -> Outcome:
        if future.status == "finished":
            outcome: Outcome = future.result()
            return outcome
        return Outcome(point, failure=f"the cluster lost it: {future.exception()}", broken=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the cluster, which runs on."""
        self._client.close()


def results_version() -> int:
    """The version of results that a worker gives."""
    return VERSION
