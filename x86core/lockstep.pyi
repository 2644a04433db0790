from collections.abc import Iterable, Mapping

from x86core.vcpu import VCPU

#: The longest turn, in instructions.
MOST_TURN: int

class Lockstep:
    """Runs vCPUs of one memory with virtual time, `turn` instructions each at a time.

    Raises ValueError when there are none, when they are not all of one memory, when that has not virtual time, or
    when the turn is not in 1..2**30.
    """

    def __init__(self, vcpus: Iterable[VCPU], turn: int = 1000) -> None: ...
    time: int
    max_instructions: int
    @property
    def now(self) -> int:
        """Guest time in nanoseconds of the vCPU whose turn it is: in the middle of its turn later than `time`."""
    @property
    def trace_hash(self) -> int:
        """A hash over the state of each vCPU at each exit and behind each turn but those spent waiting; 64 bits."""
    def stop(self) -> None:
        """Make the run() under way, or else the next one, return (None, EXIT_INTR) between two turns.

        From any thread; never lost. No vCPU takes notice of it.
        """
    def save(self) -> dict[str, int]:
        """What it knows beside its vCPUs, as ints in a dict that `restore` takes: whose turn it is, time, hash."""
    def restore(self, state: Mapping[str, int]) -> None:
        """Go on where another one was saved; the vCPUs are restored by themselves.

        Raises ValueError, and changes nothing, when that is not the state of one with as many vCPUs.
        """
    def run(self, until: int) -> tuple[VCPU | None, int]:
        """Go on until a guest time in nanoseconds, or until a vCPU leaves the core; (vCPU, exit reason).

        (None, EXIT_LIMIT): it is that time. (None, EXIT_IDLE): it is not, but every vCPU waits and no deadline is
        ahead; time stands where it was. (None, EXIT_INTR): stop() was called. After an exit the vCPU goes on with
        what is left of its turn. Python's signal handlers run now and then. Raises ValueError unless `until` is in
        0..2**60.
        """
