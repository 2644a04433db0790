from collections.abc import Iterable

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
    @property
    def trace_hash(self) -> int:
        """A hash over the state of each vCPU behind each of its turns; 64 bits."""
    def run(self, until: int) -> tuple[VCPU | None, int]:
        """Go on until a guest time in nanoseconds, or until a vCPU leaves the core; (vCPU, exit reason).

        (None, EXIT_LIMIT): it is that time. (None, EXIT_IDLE): it is not, but every vCPU waits and no deadline is
        ahead; time stands where it was. After an exit the vCPU goes on with what is left of its turn. Python's
        signal handlers run now and then. Raises ValueError unless `until` is in 0..2**60.
        """
