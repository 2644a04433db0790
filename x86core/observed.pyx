"""Where a vCPU's time goes, and the records of what it did, as Python sees them."""
from operator import index as index_of

import numpy

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from x86core import records as layout

from x86core.clock cimport guest_time, set_virtual_time
from x86core.hostmemory cimport reserve
from x86core.intrinsics cimport NO_LIMIT, atomic_load, atomic_store
from x86core.run_area cimport RunArea
from x86core.runnable cimport is_runnable, is_waiting_state, next_deadline
from x86core.state cimport CPU, MP_STATE_HALTED, RECORDS, Record, Recorder, Statistics


cdef int64_t at_least_0(int64_t value) noexcept:
    return value if value > 0 else 0


cdef class Observed(RunArea):
    """What can be seen of a vCPU while it runs, and from any thread."""

    @property
    def time(self):
        """Guest time in nanoseconds: since the memory was made, or virtual.

        Outside run() virtual time may be set forward, as a Lockstep does. Raises ValueError for a time that is past,
        or above 2**60, and in wall time.
        """
        return guest_time(self.cpu)

    @time.setter
    def time(self, value):
        cdef int64_t now = guest_time(self.cpu)
        self.check_outside()
        value = index_of(value)
        if not self.cpu.ram.virtual_time:
            raise ValueError("the memory has no virtual time: make it with Memory(size, virtual_time=True)")
        if not now <= value <= 1 << 60:
            raise ValueError(f"guest time {value} is not in {now}..{1 << 60} nanoseconds")
        set_virtual_time(self.cpu, value)

    @property
    def deadline(self):
        """Guest time at which the wait under way ends by itself, by a timer or a time limit; None: never, or no wait.

        From any thread.
        """
        cdef int64_t deadline = next_deadline(self.cpu) if is_waiting_state(self.cpu) else NO_LIMIT
        return None if deadline == NO_LIMIT else deadline

    @property
    def runnable(self):
        """Whether run() would not wait: what `wake_fd` shows. From any thread."""
        return is_runnable(self.cpu)

    @property
    def timed(self):
        """Whether the time in run() is counted (`stats["run_ns"]`, `times`). Two looks at the clock for each run()."""
        return self.cpu.timed

    @timed.setter
    def timed(self, value):
        self.check_outside()
        self.cpu.timed = bool(value)

    @property
    def waiting_since(self):
        """Guest time at which the wait under way began, None when there is none. From any thread."""
        cdef int64_t began = atomic_load(&self.cpu.wait_began)
        return None if began == NO_LIMIT else began

    @property
    def times(self):
        """Nanoseconds since RESET by what the vCPU did, a wait or run() under way included. From any thread.

        'guest' (0 unless `timed`, or in virtual time), and asleep or spinning in HLT and MWAIT: 'hlt_sleep',
        'hlt_poll', 'mwait_sleep', 'mwait_poll'; 'start': waiting for INIT or SIPI.
        """
        cdef CPU* cpu = self.cpu
        cdef Statistics* stats = &cpu.stats
        cdef int64_t now = guest_time(cpu)
        cdef int64_t began = atomic_load(&cpu.wait_began)
        cdef int64_t inside = stats.run_ns
        cdef int64_t waited, polled
        cdef dict times = {
            "guest": 0,
            "hlt_sleep": stats.halt_wait_ns,
            "hlt_poll": stats.halt_poll_success_ns + stats.halt_poll_fail_ns + stats.halt_passthrough_ns,
            "mwait_sleep": stats.mwait_wait_ns,
            "mwait_poll": stats.mwait_poll_success_ns + stats.mwait_poll_fail_ns + stats.mwait_passthrough_ns,
            "start": stats.start_wait_ns,
        }
        if began != NO_LIMIT:
            waited = at_least_0(now - began)
            polled = min(waited, cpu.wait_poll)
            if cpu.in_mwait or cpu.mp_state == MP_STATE_HALTED:
                name = "mwait" if cpu.in_mwait else "hlt"
                times[name + "_poll"] += polled
                times[name + "_sleep"] += waited - polled
            else:
                times["start"] += waited
        if cpu.ram.virtual_time:
            times["guest"] = cpu.retired * cpu.ram.instruction_ns
        elif cpu.timed:
            if cpu.in_run:
                inside += at_least_0(now - cpu.entered_at)
            times["guest"] = at_least_0(inside - sum(times.values()))
        return times

    @property
    def recorded(self):
        """Whether waits, entries and exits are recorded, for `take_records`. It takes up to two megabytes.

        Setting it throws away what was not taken. Raises MemoryError.
        """
        return self.cpu.recorder != NULL

    @recorded.setter
    def recorded(self, value):
        cdef Recorder* recorder
        self.check_outside()
        if not value:
            self.cpu.recorder = NULL
            return
        # Once made it stays: a thread that has just seen it may be about to write a note.
        if self.cpu.recorder_memory == NULL:
            self.cpu.recorder_memory = <Recorder*>reserve(sizeof(Recorder))
        recorder = self.cpu.recorder_memory
        recorder.dropped = 0
        atomic_store(&recorder.lost, 0)
        atomic_store(&recorder.taken, recorder.written)
        self.cpu.recorder = recorder

    @property
    def records_lost(self):
        """How many records found no room since `recorded` was set, because nobody took those before."""
        return 0 if self.cpu.recorder_memory == NULL else atomic_load(&self.cpu.recorder_memory.lost)

    def take_records(self):
        """What was recorded since the last call, an array of dtype RECORD, in the order of `end`. From any thread."""
        cdef Recorder* recorder = self.cpu.recorder_memory
        cdef uint64_t written, taken, first, count
        cdef unsigned char[::1] out
        if recorder == NULL:
            return numpy.empty(0, dtype=layout.RECORD)
        taken = recorder.taken
        written = atomic_load(&recorder.written)
        count = written - taken
        records = numpy.empty(count, dtype=layout.RECORD)
        if count:
            out = records.view(numpy.uint8)
            first = min(count, RECORDS - taken % RECORDS)
            memcpy(&out[0], &recorder.records[taken % RECORDS], first * sizeof(Record))
            if count > first:
                memcpy(&out[first * sizeof(Record)], &recorder.records[0], (count - first) * sizeof(Record))
            atomic_store(&recorder.taken, written)
        return records
