"""Policy scan: MONITOR keeps a copy of the line, and every VM entry compares the lines of all who sleep.

No page is protected, so a store costs nothing; each entry of any vCPU pays for every sleeper instead, and a value
that was changed and put back before somebody looked is not seen. Between entries the sleeper looks for itself every
mwait_scan_ns, as a host's timer tick would make some vCPU exit. Source: OSDI '26, "What Are You (M)Waiting For",
mwait-proxy.
"""
from libc.stdint cimport uint32_t, uint64_t

from x86core.attention cimport wake
from x86core.intrinsics cimport atomic_add, atomic_exchange, atomic_load, atomic_swap_if, likely
from x86core.runnable cimport line_changed
from x86core.state cimport (CPU, LINE_SIZE, MONITOR_ARMED, MONITOR_SCANNED, MONITOR_STATE, MONITOR_TRIGGERED,
                            MONITOR_WAITING, RAM)


cdef void scan_arm(CPU* cpu, uint64_t physical) noexcept nogil:
    """MONITOR: copy the line of an address in RAM; whoever compares does so once MWAIT waits."""
    cdef uint64_t line = physical & ~<uint64_t>(LINE_SIZE - 1)
    cdef uint64_t* now = <uint64_t*>(cpu.ram.bytes + line)
    cdef int part
    for part in range(8):
        cpu.snapshot[part] = atomic_load(&now[part])
    atomic_exchange(&cpu.ram.monitors[cpu.index], line | MONITOR_SCANNED | MONITOR_ARMED)
    cpu.stats.monitor_arms += 1


cdef void scan_begin(CPU* cpu) noexcept nogil:
    """The vCPU sleeps, or is about to: entries are to look at its line."""
    atomic_add(&cpu.ram.scanned, 1)


cdef void scan_end(CPU* cpu) noexcept nogil:
    atomic_add(&cpu.ram.scanned, -1)


cdef void scan_monitors(CPU* cpu) noexcept nogil:
    """At each VM entry: wake whose line has changed."""
    cdef RAM* ram = cpu.ram
    cdef uint32_t index
    cdef uint64_t word
    if likely(not atomic_load(&ram.scanned)):
        return
    cpu.stats.monitor_scans += 1
    for index in range(<uint32_t>atomic_load(&ram.vcpu_limit)):
        word = atomic_load(&ram.monitors[index])
        if not word & MONITOR_SCANNED or word & MONITOR_STATE != MONITOR_WAITING:
            continue
        cpu.stats.monitor_scanned_lines += 1
        if line_changed(ram.vcpus[index], word & ~<uint64_t>(LINE_SIZE - 1)) and atomic_swap_if(
                &ram.monitors[index], word, word | MONITOR_TRIGGERED):
            wake(ram.vcpus[index])
