from typing import Any

from numpy.typing import NDArray

def look_ns(turns: int) -> float:
    """Nanoseconds for each turn of a loop that looks at a word and pauses."""

def yield_ns(turns: int) -> float:
    """Nanoseconds for each of so many sched_yield()."""

class Mailbox:
    """The words that a sleeper and its waker share; of so many wakes the latencies in nanoseconds, and how long the
    calls that woke by a futex took.
    """

    def __init__(self, wakes: int) -> None: ...
    @property
    def latencies(self) -> NDArray[Any]: ...
    @property
    def calls(self) -> NDArray[Any]: ...
    def sleep_through(self, by_futex: bool) -> None:
        """Be woken as often as the mailbox says: asleep in the kernel, or spinning."""
    def wake_through(self, by_futex: bool, interval: int) -> None:
        """Wake the other thread as often, each time `interval` nanoseconds after it waits again."""

class Handoffs:
    """A token that two threads pass to and fro, so many times each; both sleep in a futex in between."""

    def __init__(self, times: int) -> None: ...
    def play(self, me: int) -> float:
        """Take the token and pass it on, as thread 0 or 1; nanoseconds for each handoff, two to a round."""
