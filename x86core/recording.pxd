from libc.stdint cimport int64_t, uint32_t

from x86core.clock cimport guest_time
from x86core.intrinsics cimport unlikely
from x86core.state cimport CPU, EXIT_INTR, RECORD_ENTRY, RECORD_EXIT, WaitKind, WakeReason

cdef void write_note(CPU* target, CPU* agent, WakeReason cause, uint32_t vector) noexcept nogil
cdef void write_wait(CPU* cpu, WaitKind kind, int64_t began, int64_t ended, int64_t polled,
                     WakeReason cause) noexcept nogil
cdef void write_crossing(CPU* cpu, int kind, int reason, int64_t at) noexcept nogil


cdef inline void note(CPU* target, CPU* agent, WakeReason cause, uint32_t vector) noexcept nogil:
    """Somebody is about to ask for a vCPU; `agent` is NULL for the host. Costs a test while nothing is recorded."""
    if unlikely(target.recorder != NULL):
        write_note(target, agent, cause, vector)


cdef inline void record_wait(CPU* cpu, WaitKind kind, int64_t began, int64_t ended, int64_t polled,
                             WakeReason cause) noexcept nogil:
    """A wait is over."""
    if unlikely(cpu.recorder != NULL):
        write_wait(cpu, kind, began, ended, polled, cause)


cdef inline void record_exit(CPU* cpu, int reason) noexcept nogil:
    """An exit in virtual time, where the VMM takes none."""
    if unlikely(cpu.recorder != NULL):
        write_crossing(cpu, RECORD_EXIT, reason, guest_time(cpu))


cdef inline void begin_run(CPU* cpu) noexcept nogil:
    if unlikely(cpu.timed or cpu.recorder != NULL):
        cpu.entered_at = cpu.left_at = guest_time(cpu)
        if cpu.recorder != NULL:
            write_crossing(cpu, RECORD_ENTRY, 0, cpu.entered_at)


cdef inline void mark_exit(CPU* cpu) noexcept nogil:
    """Out of the guest, and not yet with the GIL, for which other threads may make it wait."""
    if unlikely(cpu.timed or cpu.recorder != NULL):
        cpu.left_at = guest_time(cpu)


cdef inline void end_run(CPU* cpu, int reason) noexcept nogil:
    if unlikely(cpu.timed or cpu.recorder != NULL):
        cpu.stats.run_ns += cpu.left_at - cpu.entered_at
        if cpu.recorder != NULL:
            # A signal handler that raises ends a run() that has no reason of its own.
            write_crossing(cpu, RECORD_EXIT, reason if reason >= 0 else EXIT_INTR, cpu.left_at)
