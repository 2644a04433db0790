"""All vCPUs in turn on one host thread, in virtual time: the same guest runs the same way every time.

Each vCPU runs for a fixed number of instructions, which take a fixed time each, from the time at which the round
began. When all of them wait, time goes on to the first deadline. Source: the house plan, section 4.
"""
from operator import index as index_of

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint64_t

from x86core.clock cimport set_virtual_time
from x86core.flags cimport get_eflags
from x86core.intrinsics cimport NO_LIMIT
from x86core.runnable cimport next_deadline
from x86core.running cimport complete_access, enter_once, may_enter, note_exit
from x86core.state cimport CPU, EXIT_FAIL_ENTRY, EXIT_IDLE, EXIT_LIMIT, EXIT_SIGNAL, MAX_VCPUS
from x86core.vcpu cimport VCPU

cdef enum:
    ROUNDS_BETWEEN_SIGNALS = 1024

#: The longest turn, in instructions.
MOST_TURN = 1 << 30


cdef inline uint64_t mixed(uint64_t hash, uint64_t value) noexcept nogil:
    hash = (hash ^ value) * 0x9E3779B97F4A7C15U
    return hash ^ hash >> 29


cdef class Lockstep:
    """Runs vCPUs of one memory with virtual time, `turn` instructions each at a time.

    Raises ValueError when there are none, when they are not all of one memory, when that has not virtual time, or
    when the turn is not in 1..2**30.
    """
    cdef tuple owners
    cdef CPU* cpus[MAX_VCPUS]
    cdef int count
    cdef int position           # whose turn it is
    cdef int64_t turn
    cdef int64_t left           # instructions of that turn
    cdef int64_t round_at       # guest time at which the round began
    cdef bint active            # somebody has run in this round
    cdef uint64_t hash

    def __init__(self, vcpus, turn=1000):
        cdef VCPU vcpu
        turn = index_of(turn)
        if not 1 <= turn <= MOST_TURN:
            raise ValueError(f"a turn of {turn} instructions is not in 1..{MOST_TURN}")
        self.owners = tuple(vcpus)
        if not self.owners:
            raise ValueError("there are no vCPUs to run in turn")
        for vcpu in self.owners:
            if vcpu.memory is not (<VCPU>self.owners[0]).memory:
                raise ValueError("the vCPUs are not all of one memory")
            if not vcpu.cpu.ram.virtual_time:
                raise ValueError("the memory has no virtual time: make it with Memory(size, virtual_time=True)")
            self.cpus[self.count] = vcpu.cpu
            self.count += 1
        self.turn = self.left = turn
        self.hash = 0xCBF29CE484222325U

    @property
    def time(self):
        """Guest time at which the present round began, in nanoseconds.

        It may be set forward between two rounds, while every vCPU waits. Raises ValueError otherwise.
        """
        return self.round_at

    @time.setter
    def time(self, value):
        cdef int64_t time_at
        value = index_of(value)
        if not self.round_at <= value <= 1 << 60:
            raise ValueError(f"guest time {value} is not in {self.round_at}..{1 << 60} nanoseconds")
        if self.position or self.left != self.turn:
            raise ValueError("a round is under way: time goes on with its instructions")
        time_at = value
        self.round_at = time_at

    @property
    def trace_hash(self):
        """A hash over the state of each vCPU behind each of its turns; 64 bits."""
        return self.hash

    def run(self, until):
        """Go on until a guest time in nanoseconds, or until a vCPU leaves the core; (vCPU, exit reason).

        (None, EXIT_LIMIT): it is that time. (None, EXIT_IDLE): it is not, but every vCPU waits and no deadline is
        ahead; time stands where it was. After an exit the vCPU goes on with what is left of its turn. Python's
        signal handlers run now and then. Raises ValueError unless `until` is in 0..2**60.
        """
        cdef int64_t until_at
        cdef int reason = EXIT_SIGNAL
        until = index_of(until)
        if not 0 <= until <= 1 << 60:
            raise ValueError(f"guest time {until} is not in 0..{1 << 60} nanoseconds")
        until_at = until
        while reason == EXIT_SIGNAL:
            with nogil:
                reason = self.go_on(until_at)
            PyErr_CheckSignals()
        if reason == EXIT_LIMIT or reason == EXIT_IDLE:
            return None, reason
        return self.owners[self.position], reason

    cdef int go_on(self, int64_t until) noexcept nogil:
        cdef int rounds = 0
        cdef int reason
        cdef int64_t deadline
        while True:
            if self.position == 0 and self.left == self.turn:
                if self.round_at >= until:
                    return EXIT_LIMIT
                rounds += 1
                if rounds > ROUNDS_BETWEEN_SIGNALS:
                    return EXIT_SIGNAL
            while self.position < self.count:
                reason = self.take_turn(self.cpus[self.position])
                if reason != EXIT_LIMIT and reason != EXIT_IDLE:
                    return reason
                self.position += 1
                self.left = self.turn
            self.position = 0
            if self.active:
                self.round_at += self.turn * self.cpus[0].ram.instruction_ns
                self.active = False
                continue
            deadline = self.first_deadline()
            if deadline == NO_LIMIT:
                return EXIT_IDLE
            self.round_at = min(max(deadline, self.round_at), until)

    cdef int64_t first_deadline(self) noexcept nogil:
        cdef int64_t deadline = NO_LIMIT
        cdef int number
        for number in range(self.count):
            deadline = min(deadline, next_deadline(self.cpus[number]))
        return deadline

    cdef int take_turn(self, CPU* cpu) noexcept nogil:
        cdef int64_t before = cpu.retired
        cdef int64_t begun = self.round_at + (self.turn - self.left) * cpu.ram.instruction_ns
        cdef int reason
        cdef int number
        set_virtual_time(cpu, begun)
        if not may_enter(cpu):
            return EXIT_FAIL_ENTRY
        cpu.in_run = True
        if cpu.access_exit:
            complete_access(cpu)
        cpu.park_nanoseconds = -1
        cpu.chunks = 0
        cpu.chunks_at = NO_LIMIT
        cpu.limit_at = cpu.retired + self.left
        reason = enter_once(cpu)
        cpu.in_run = False
        if cpu.retired != before or reason != EXIT_IDLE:
            self.active = True
        self.left -= cpu.retired - before
        if cpu.delivered_at == cpu.retired:
            self.left -= cpu.deliveries
        if reason == EXIT_LIMIT or reason == EXIT_IDLE:
            self.hash = mixed(mixed(mixed(self.hash, cpu.index), cpu.retired), cpu.eip)
            for number in range(8):
                self.hash = mixed(self.hash, cpu.gpr[number])
            self.hash = mixed(self.hash, get_eflags(cpu))
        else:
            note_exit(cpu, reason)
        return reason
