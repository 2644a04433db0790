from typing import Any

from numpy.typing import NDArray

class Mailbox:
    """The words that a sleeper and its waker share, and the latencies of so many wakes in nanoseconds."""

    def __init__(self, wakes: int) -> None: ...
    @property
    def latencies(self) -> NDArray[Any]: ...
    def sleep_through(self, by_futex: bool) -> None:
        """Be woken as often as the mailbox says: asleep in the kernel, or spinning."""
    def wake_through(self, by_futex: bool, interval: int) -> None:
        """Wake the other thread as often, each time `interval` nanoseconds after it waits again."""
