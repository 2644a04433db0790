import numpy as np
from numpy.typing import NDArray

from x86core.run_area import RunArea

class Observed(RunArea):
    """What can be seen of a vCPU while it runs, and from any thread."""

    timed: bool
    recorded: bool
    time: int
    """Guest time in nanoseconds: since the memory was made, or virtual.

    Outside run() virtual time may be set forward, as a Lockstep does. Raises ValueError for a time that is past, or
    above 2**60, and in wall time.
    """
    @property
    def deadline(self) -> int | None:
        """Guest time at which the wait under way ends by itself, by a timer or a time limit; None: never, or no wait.

        From any thread.
        """
    @property
    def runnable(self) -> bool:
        """Whether run() would not wait: what `wake_fd` shows. From any thread."""
    @property
    def waiting_since(self) -> int | None:
        """Guest time at which the wait under way began, None when there is none. From any thread."""
    @property
    def times(self) -> dict[str, int]:
        """Nanoseconds since RESET by what the vCPU did, a wait or run() under way included. From any thread.

        'guest' (0 unless `timed`, or in virtual time), and asleep or spinning in HLT and MWAIT: 'hlt_sleep',
        'hlt_poll', 'mwait_sleep', 'mwait_poll'; 'start': waiting for INIT or SIPI.
        """
    @property
    def records_lost(self) -> int:
        """How many records found no room since `recorded` was set, because nobody took those before."""
    def take_records(self) -> NDArray[np.void]:
        """What was recorded since the last call, an array of dtype RECORD, in the order of `end`. From any thread."""
