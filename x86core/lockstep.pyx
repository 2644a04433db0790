"""All vCPUs in turn on one host thread, in virtual time: the same guest runs the same way every time.

Each vCPU runs for a fixed number of instructions, which take a fixed time each, from the time at which the round
began. Who waits goes on at its own deadline; when all wait, time goes on to the first. Source: the house plan,
section 4.
"""
from operator import index as index_of

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.clock cimport guest_time, set_virtual_time
from x86core.flags cimport get_eflags
from x86core.intrinsics cimport NO_LIMIT, atomic_exchange, atomic_load, atomic_store
from x86core.recording cimport record_exit
from x86core.runnable cimport is_runnable, next_deadline
from x86core.running cimport complete_access, enter_once, may_enter, note_exit
from x86core.state cimport (CPU, EXIT_DEBUG, EXIT_FAIL_ENTRY, EXIT_IDLE, EXIT_INTR, EXIT_LIMIT, EXIT_SIGNAL,
                            MAX_VCPUS)
from x86core.vcpu cimport VCPU
from x86core.wake_fd cimport update_wake_fd

cdef enum:
    # Instructions between two looks for signals, and for how many of them a turn without any counts.
    SLICE_INSTRUCTIONS = 1 << 22
    IDLE_TURN = 64
    # Why run() ends, beside the exit reasons.
    REASON_TURN_CUT = -4        # a vCPU has retired as many instructions as it may
    REASON_STOPPED = -5

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
    cdef int64_t most           # instructions that a vCPU may retire
    cdef int64_t unchecked      # instructions since Python last looked for signals
    cdef uint32_t stopping      # set by any thread

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
        self.most = NO_LIMIT

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
        """A hash over the state of each vCPU at each exit and behind each turn but those spent waiting; 64 bits."""
        return self.hash

    @property
    def now(self):
        """Guest time in nanoseconds of the vCPU whose turn it is: in the middle of its turn later than `time`."""
        if self.left == self.turn:
            return self.round_at
        return guest_time(self.cpus[self.position])

    @property
    def max_instructions(self):
        """The value of `VCPU.instructions` at which run() ends with that vCPU and EXIT_LIMIT; 0 for no limit.

        A turn that is cut short so goes on when the limit is raised. Raises ValueError unless it is in 0..2**60.
        """
        return 0 if self.most == NO_LIMIT else self.most

    @max_instructions.setter
    def max_instructions(self, value):
        value = index_of(value)
        if not 0 <= value <= 1 << 60:
            raise ValueError(f"max_instructions {value} is not in 0..{1 << 60}; 0 is no limit")
        self.most = value if value else NO_LIMIT

    def stop(self):
        """Make the run() under way, or else the next one, return (None, EXIT_INTR) between two turns.

        From any thread; never lost. No vCPU takes notice of it.
        """
        atomic_store(&self.stopping, 1)

    def save(self):
        """What it knows beside its vCPUs, as ints in a dict that `restore` takes: whose turn it is, time, hash."""
        return {"turn": self.turn, "position": self.position, "left": self.left, "time": self.round_at,
                "active": int(self.active), "trace_hash": self.hash}

    def restore(self, state):
        """Go on where another one was saved; the vCPUs are restored by themselves.

        Raises ValueError, and changes nothing, when that is not the state of one with as many vCPUs.
        """
        cdef dict values = dict(state)
        most = {"turn": MOST_TURN, "position": self.count - 1, "left": MOST_TURN, "time": 1 << 60, "active": 1,
                "trace_hash": (1 << 64) - 1}
        if set(values) != set(most):
            raise ValueError(f"not the state of a Lockstep: see {', '.join(sorted(set(values) ^ set(most)))}")
        for name, value in values.items():
            if type(value) is not int or not 0 <= value <= most[name]:
                raise ValueError(f"not the state of a Lockstep: {name} {value!r} is not in 0..{most[name]}")
        if not values["left"] <= values["turn"] or not values["turn"]:
            raise ValueError(f"not the state of a Lockstep: {values['left']} are left of {values['turn']}")
        self.turn = values["turn"]
        self.position = values["position"]
        self.left = values["left"]
        self.round_at = values["time"]
        self.active = values["active"]
        self.hash = values["trace_hash"]

    def run(self, until):
        """Go on until a guest time in nanoseconds, or until a vCPU leaves the core; (vCPU, exit reason).

        (None, EXIT_LIMIT): it is that time. (None, EXIT_IDLE): it is not, but every vCPU waits and no deadline is
        ahead; time stands where it was. (None, EXIT_INTR): stop() was called. After an exit the vCPU goes on with
        what is left of its turn. Python's signal handlers run now and then. Raises ValueError unless `until` is in
        0..2**60.
        """
        cdef int64_t until_at
        cdef int reason = EXIT_SIGNAL
        until = index_of(until)
        if not 0 <= until <= 1 << 60:
            raise ValueError(f"guest time {until} is not in 0..{1 << 60} nanoseconds")
        until_at = until
        while reason == EXIT_SIGNAL:
            self.unchecked = 0
            with nogil:
                reason = self.go_on(until_at)
            if reason == EXIT_SIGNAL:
                PyErr_CheckSignals()    # only here, or an exit could be lost
        if reason == REASON_TURN_CUT:
            return self.owners[self.position], EXIT_LIMIT
        if reason == EXIT_LIMIT or reason == EXIT_IDLE:
            return None, reason
        if reason == REASON_STOPPED:
            return None, EXIT_INTR
        return self.owners[self.position], reason

    cdef int go_on(self, int64_t until) noexcept nogil:
        cdef int reason
        cdef int64_t deadline
        while True:
            if self.position == 0 and self.left == self.turn and self.round_at >= until:
                self.show_time()
                return EXIT_LIMIT
            if self.position == 0 and self.left == self.turn and self.all_wait():
                # The round begins at the deadline itself, wherever a run was stopped before.
                deadline = self.first_deadline()
                if deadline != NO_LIMIT and deadline > self.round_at:
                    self.round_at = min(deadline, until)
                    continue
            while self.position < self.count:
                if self.unchecked >= SLICE_INSTRUCTIONS:
                    return EXIT_SIGNAL
                if atomic_load(&self.stopping):
                    atomic_exchange(&self.stopping, 0)
                    return REASON_STOPPED
                reason = self.take_turn(self.cpus[self.position])
                if reason == EXIT_IDLE and self.goes_on(self.cpus[self.position]):
                    continue
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
                self.show_time()
                return EXIT_IDLE
            self.round_at = min(max(deadline, self.round_at), until)

    cdef void show_time(self) noexcept nogil:
        """Between two rounds it is the same time for all, those included whose turn was long ago."""
        cdef int number
        for number in range(self.count):
            set_virtual_time(self.cpus[number], self.round_at)

    cdef bint all_wait(self) noexcept nogil:
        """At the beginning of a round: whether nobody would go on now."""
        cdef CPU* cpu
        cdef int number
        for number in range(self.count):
            cpu = self.cpus[number]
            set_virtual_time(cpu, self.round_at)
            if is_runnable(cpu):
                return False
        return True

    cdef bint goes_on(self, CPU* cpu) noexcept nogil:
        """Whether who waits has a deadline before its turn is over; then the turn goes on there."""
        cdef int64_t now = guest_time(cpu)
        cdef int64_t deadline = next_deadline(cpu)
        cdef int64_t skipped            # instructions
        if deadline <= now or deadline == NO_LIMIT:
            return False
        skipped = (deadline - now + cpu.ram.instruction_ns - 1) // cpu.ram.instruction_ns
        if skipped >= self.left:
            return False
        self.left -= skipped
        set_virtual_time(cpu, now + skipped * cpu.ram.instruction_ns)
        return True

    cdef int64_t first_deadline(self) noexcept nogil:
        cdef int64_t deadline = NO_LIMIT
        cdef int number
        for number in range(self.count):
            deadline = min(deadline, next_deadline(self.cpus[number]))
        return deadline

    cdef int take_turn(self, CPU* cpu) noexcept nogil:
        cdef int64_t before = cpu.retired
        cdef int64_t end = min(before + self.left, self.most)
        cdef bint steps = cpu.single_step and before < end
        cdef int reason
        if before >= self.most:
            return REASON_TURN_CUT
        if self.left == self.turn:
            set_virtual_time(cpu, self.round_at)
        if not may_enter(cpu):
            return EXIT_FAIL_ENTRY
        cpu.in_run = True
        if cpu.access_exit:
            complete_access(cpu)
        cpu.park_nanoseconds = -1
        cpu.chunks = 0
        cpu.chunks_at = NO_LIMIT
        cpu.limit_at = before + 1 if steps else end
        reason = enter_once(cpu)
        cpu.in_run = False
        update_wake_fd(cpu)
        if cpu.retired != before or reason != EXIT_IDLE:
            self.active = True
        self.left -= cpu.retired - before
        self.unchecked += cpu.retired - before + IDLE_TURN
        if cpu.delivered_at == cpu.retired:
            self.left -= cpu.deliveries
        self.left = max(self.left, 0)
        if reason == EXIT_LIMIT and steps:
            reason = EXIT_DEBUG
        if reason == EXIT_LIMIT and self.left and cpu.retired >= self.most:
            return REASON_TURN_CUT
        # Who only waits adds nothing: how often it is asked is no matter of the guest. Nor is a debugger.
        if reason != EXIT_DEBUG and (cpu.retired != before or reason != EXIT_IDLE):
            self.mix(cpu, reason)
        if reason != EXIT_LIMIT and reason != EXIT_IDLE:
            note_exit(cpu, reason)
            record_exit(cpu, reason)
        return reason

    cdef void mix(self, CPU* cpu, int reason) noexcept nogil:
        """Make the state of a vCPU, and why it stopped, part of the hash."""
        cdef int number
        self.hash = mixed(mixed(mixed(mixed(self.hash, cpu.index), reason), cpu.retired), cpu.eip)
        for number in range(8):
            self.hash = mixed(self.hash, cpu.gpr[number])
        self.hash = mixed(self.hash, get_eflags(cpu))
