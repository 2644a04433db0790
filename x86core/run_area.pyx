"""struct kvm_run of a vCPU as Python sees it: the live structure, and its fields as plain attributes.

The attributes may be written from any thread, and a vCPU that waits takes note of them at once. What is
stored into the structure behind its back (`kvm_run`) counts from the next entry or idle instruction on.
"""
from operator import index

import numpy

from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.kvm_run import KVM_RUN

from x86core.attention cimport post
from x86core.memory cimport Memory
from x86core.recording cimport note
from x86core.registers cimport Registers, doubleword
from x86core.state cimport (ATTENTION_RUN, DISABLE_EXITS_HLT, DISABLE_EXITS_MWAIT, HLT_POLICIES, MWAIT_POLICIES,
                            PAGE_SIZE, USERSPACE_EXIT_HLT, USERSPACE_EXIT_MWAIT, WAKE_REQUEST, KvmRun)

cdef object MOST_NANOSECONDS = 10**12


cdef int64_t nanoseconds(str name, value) except -1:
    value = index(value)
    if not 0 <= value <= MOST_NANOSECONDS:
        raise ValueError(f"{name} {value} is not in 0..{MOST_NANOSECONDS} nanoseconds")
    return value


cdef int64_t factor(str name, value) except -1:
    value = index(value)
    if not 0 <= value <= 1000000:
        raise ValueError(f"{name} {value} is not in 0..1000000")
    return value


cdef class RunArea(Registers):
    """What a vCPU shares with whoever runs it."""

    @property
    def kvm_run(self):
        """A structured array of shape () and dtype KVM_RUN over the live struct kvm_run."""
        cdef RunPage page
        if self.run_record is None:
            page = RunPage()
            page.memory = self.memory
            page.run = self.cpu.run
            self.run_record = numpy.frombuffer(page, dtype=KVM_RUN)[0:1].reshape(())
        return self.run_record

    @property
    def userspace_exits(self):
        """USERSPACE_EXIT_* bits: which idle instructions leave run(). Read at each of them."""
        return self.cpu.run.userspace_exits

    @userspace_exits.setter
    def userspace_exits(self, value):
        value = index(value)
        if value & ~(USERSPACE_EXIT_MWAIT | USERSPACE_EXIT_HLT):
            raise ValueError(f"userspace_exits {value:#x} has unknown bits; only MWAIT (1) and HLT (2) exist")
        self.cpu.run.userspace_exits = value

    @property
    def disable_exits(self):
        """DISABLE_EXITS_* bits: which idle instructions are passed through, whatever else is asked of them.

        KVM_CAP_X86_DISABLE_EXITS as a switch for each entry, as A. Graf's reply to the RFC wishes. Read at each of
        them.
        """
        return self.cpu.run.disable_exits

    @disable_exits.setter
    def disable_exits(self, value):
        value = index(value)
        if value & ~(DISABLE_EXITS_MWAIT | DISABLE_EXITS_HLT):
            raise ValueError(f"disable_exits {value:#x} has unknown bits; only MWAIT (1) and HLT (2) exist")
        self.cpu.run.disable_exits = value

    @property
    def mwait_policy(self):
        """MWAIT_*: what MWAIT does when it neither leaves run() nor is passed through. Read at each MWAIT."""
        return self.cpu.run.mwait_policy

    @mwait_policy.setter
    def mwait_policy(self, value):
        value = index(value)
        if not 0 <= value < MWAIT_POLICIES:
            raise ValueError(f"mwait_policy {value} is unknown; use one of MWAIT_*, 0 to {MWAIT_POLICIES - 1}")
        self.cpu.run.mwait_policy = value

    @property
    def hlt_policy(self):
        """HLT_*: what HLT does when it neither leaves run() nor is passed through. Read at each HLT."""
        return self.cpu.run.hlt_policy

    @hlt_policy.setter
    def hlt_policy(self, value):
        value = index(value)
        if not 0 <= value < HLT_POLICIES:
            raise ValueError(f"hlt_policy {value} is unknown; use HLT_BLOCK (0) or HLT_POLL (1)")
        self.cpu.run.hlt_policy = value

    @property
    def immediate_exit(self):
        """While it is not 0, run() returns EXIT_INTR: on entry, and at once when it is set during a run()."""
        return self.cpu.run.immediate_exit

    @immediate_exit.setter
    def immediate_exit(self, value):
        note(self.cpu, NULL, WAKE_REQUEST, 0)
        self.cpu.run.immediate_exit = 1 if value else 0
        post(self.cpu, ATTENTION_RUN)

    @property
    def request_interrupt_window(self):
        """When not 0, run() returns EXIT_IRQ_WINDOW_OPEN as soon as the guest would take an interrupt."""
        return self.cpu.run.request_interrupt_window

    @request_interrupt_window.setter
    def request_interrupt_window(self, value):
        note(self.cpu, NULL, WAKE_REQUEST, 0)
        self.cpu.run.request_interrupt_window = 1 if value else 0
        post(self.cpu, ATTENTION_RUN)

    @property
    def exit_reason(self):
        """What the last run() returned."""
        return self.cpu.run.exit_reason

    # How long idle instructions poll, and the slices of those that look again. All are nanoseconds or factors.

    @property
    def halt_poll_ns(self):
        """The most that HLT under HLT_POLL and MWAIT under MWAIT_ADAPTIVE spin before they sleep; 0 is never."""
        return self.cpu.halt_poll_ns

    @halt_poll_ns.setter
    def halt_poll_ns(self, value):
        self.cpu.halt_poll_ns = nanoseconds("halt_poll_ns", value)

    @property
    def halt_poll_ns_grow(self):
        """What the window is multiplied by when a wait was short; 0 is never."""
        return self.cpu.halt_poll_ns_grow

    @halt_poll_ns_grow.setter
    def halt_poll_ns_grow(self, value):
        self.cpu.halt_poll_ns_grow = factor("halt_poll_ns_grow", value)

    @property
    def halt_poll_ns_grow_start(self):
        """The least window that is not 0."""
        return self.cpu.halt_poll_ns_grow_start

    @halt_poll_ns_grow_start.setter
    def halt_poll_ns_grow_start(self, value):
        self.cpu.halt_poll_ns_grow_start = nanoseconds("halt_poll_ns_grow_start", value)

    @property
    def halt_poll_ns_shrink(self):
        """What the window is divided by when a wait was long; 0 makes it 0."""
        return self.cpu.halt_poll_ns_shrink

    @halt_poll_ns_shrink.setter
    def halt_poll_ns_shrink(self, value):
        self.cpu.halt_poll_ns_shrink = factor("halt_poll_ns_shrink", value)

    @property
    def mwait_timer_ns(self):
        """How long MWAIT under MWAIT_TIMER sleeps at a time."""
        return self.cpu.mwait_timer_ns

    @mwait_timer_ns.setter
    def mwait_timer_ns(self, value):
        self.cpu.mwait_timer_ns = nanoseconds("mwait_timer_ns", value)

    @property
    def mwait_scan_ns(self):
        """How often a sleeper under MWAIT_SCAN looks at its line itself when no vCPU enters."""
        return self.cpu.mwait_scan_ns

    @mwait_scan_ns.setter
    def mwait_scan_ns(self, value):
        self.cpu.mwait_scan_ns = nanoseconds("mwait_scan_ns", value)

    # The exit.

    @property
    def io_direction(self):
        """EXIT_IO_IN or EXIT_IO_OUT."""
        return self.cpu.run.exit.io.direction

    @property
    def io_size(self):
        """Bytes of the port access: 1, 2 or 4."""
        return self.cpu.run.exit.io.size

    @property
    def io_port(self):
        return self.cpu.run.exit.io.port

    @property
    def io_data(self):
        """The value written to the port; for IN, set what is read before the next run()."""
        return <uint32_t>self.cpu.port_data[0]

    @io_data.setter
    def io_data(self, value):
        self.cpu.port_data[0] = doubleword(value)

    @property
    def mmio_address(self):
        """Physical address of the access."""
        return self.cpu.run.exit.mmio.phys_addr

    @property
    def mmio_length(self):
        """Bytes of the access: 1 to 4."""
        return self.cpu.run.exit.mmio.len

    @property
    def mmio_is_write(self):
        return self.cpu.run.exit.mmio.is_write

    @property
    def mmio_data(self):
        """The value written; for a read, set what is read before the next run()."""
        return <uint32_t>(<uint64_t*>self.cpu.run.exit.mmio.data)[0]

    @mmio_data.setter
    def mmio_data(self, value):
        (<uint64_t*>self.cpu.run.exit.mmio.data)[0] = doubleword(value)

    @property
    def eoi_vector(self):
        """The vector that EXIT_IOAPIC_EOI tells the end of."""
        return self.cpu.run.exit.eoi.vector

    @property
    def internal_error(self):
        """Suberror of EXIT_INTERNAL_ERROR: 1 when there is no RAM to fetch instructions from."""
        return self.cpu.run.exit.internal.suberror


cdef class RunPage:
    """The buffer behind VCPU.kvm_run. It holds the memory, which owns it, and not the vCPU."""
    cdef Memory memory
    cdef KvmRun* run
    cdef Py_ssize_t shape[1]

    def __cinit__(self):
        self.shape[0] = 2 * PAGE_SIZE

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        buffer.buf = self.run
        buffer.format = b"B"
        buffer.internal = NULL
        buffer.itemsize = 1
        buffer.len = self.shape[0]
        buffer.ndim = 1
        buffer.obj = self
        buffer.readonly = 0
        buffer.shape = self.shape
        buffer.strides = NULL
        buffer.suboffsets = NULL
