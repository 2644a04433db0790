"""The Python face of a virtual processor: registers, run(), interrupts, what it counts."""
import threading
from operator import index as index_of

cimport cython

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.stdint cimport int64_t, uint32_t, uint64_t

import x86core.handlers.alu
import x86core.handlers.atomic
import x86core.handlers.bits
import x86core.handlers.branch
import x86core.handlers.coprocessor
import x86core.handlers.decimal
import x86core.handlers.flag
import x86core.handlers.frame
import x86core.handlers.idle
import x86core.handlers.far_pointer
import x86core.handlers.interrupt
import x86core.handlers.move
import x86core.handlers.multiply
import x86core.handlers.port
import x86core.handlers.protection
import x86core.handlers.shift
import x86core.handlers.stack
import x86core.handlers.string
import x86core.handlers.system
import x86core.handlers.user_wait
from x86core import translation
from x86core.opcodes import build_tables

from x86core.apic cimport apic_value, post_init
from x86core.apic_timer cimport notice_timer
from x86core.attention cimport post
from x86core.guest_debug cimport make_debug, offer_debug
from x86core.intrinsics cimport NO_LIMIT, atomic_load, atomic_or, atomic_store
from x86core.lifecycle cimport abandon_wait, create_cpu, forget_owner, reset_cpu, start_cpu_flat32, start_cpu_real_mode
from x86core.memory cimport Memory
from x86core.mmu_intent cimport faulted
from x86core.monitor cimport monitor_disarm
from x86core.paging cimport RIGHT_USER, RIGHT_WRITE, inspect
from x86core.registers cimport doubleword, word
from x86core.observed cimport Observed
from x86core.recording cimport begin_run, end_run, mark_exit, note
from x86core.runnable cimport event_pending
from x86core.running cimport complete_access, enter_once, may_enter, note_exit
from x86core.saved_vcpu cimport SavedVCPU, restore_vcpu, save_vcpu
from x86core.saved_vcpu_check cimport check_saved_vcpu
from x86core.state cimport (ATTENTION_INTERRUPT, ATTENTION_KICK, ATTENTION_NMI, ATTENTION_SIPI, CPU, DEBUG_NONE,
                            EXIT_DEBUG, EXIT_FAIL_ENTRY, EXIT_INTR, EXIT_LIMIT, EXIT_SIGNAL, FEATURE_MONITORX,
                            FEATURE_WAITPKG, MAX_VCPUS as VCPU_LIMIT, MONITOR_STATE, MP_STATE_HALTED, MP_STATE_RUNNABLE,
                            PAGE_SIZE, WAKE_INTERRUPT, WAKE_KICK, WAKE_NMI, WAKE_START)
from x86core.wake_fd cimport open_wake_fd, update_wake_fd

cdef enum:
    # On the main thread run() lets Python look for signals after so many instructions, chunks of
    # repeated ones, or nanoseconds asleep.
    SLICE_INSTRUCTIONS = 1 << 23
    SLICE_CHUNKS = 1 << 17
    SLICE_NANOSECONDS = 50000000
    # Deepest host stack, in bytes, of handlers that tail-call; a frame each would pass it in one block.
    TAIL_CALL_STACK = 2048

#: How many vCPUs one memory can have.
MAX_VCPUS = VCPU_LIMIT

cdef dict FEATURES = {"monitorx": FEATURE_MONITORX, "waitpkg": FEATURE_WAITPKG}


build_tables()


# More than any run retires.
cdef object MOST_INSTRUCTIONS = 1 << 60

# Where Python runs signal handlers.
cdef unsigned long main_thread = threading.main_thread().ident


@cython.no_gc_clear                 # __dealloc__ needs the memory, which owns the structure
cdef class VCPU(Observed):
    """One virtual processor on a guest memory. Its state is first that after RESET (SDM vol. 3, 10.1).

    `index` is its number; its low 8 bits are the local APIC ID. The one with index 0 is RUNNABLE, others are UNINITIALIZED
    until a start_*, or a start-up IPI. Raises ValueError when the index is not in 0..1023 or is taken.
    Registers may be read and written while the vCPU is out of run().
    """
    def __cinit__(self, Memory memory not None, index=0):
        cdef CPU* cpu
        index = index_of(index)
        if not 0 <= index < VCPU_LIMIT:
            raise ValueError(f"vCPU index {index} is not in 0..{VCPU_LIMIT - 1}")
        self.memory = memory
        cpu = memory.ram.vcpus[<int>index]
        if cpu == NULL:
            cpu = create_cpu(memory.ram, index)
        elif cpu.owned:
            raise ValueError(f"this memory already has a vCPU with index {index}; take another index")
        cpu.owned = True
        self.cpu = cpu
        forget_owner(cpu)
        self.reset()

    def __dealloc__(self):
        if self.cpu != NULL:
            monitor_disarm(self.cpu)
            # The structure stays with the memory: other vCPUs may be looking at it.
            self.cpu.owned = False

    def reset(self):
        """The state after RESET: real mode, CS:EIP at the reset vector FFFFFFF0h."""
        self.check_outside()
        reset_cpu(self.cpu)

    def save(self):
        """All of its state but the contents of RAM, as bytes that `restore` takes.

        An exit under way, a wait in HLT or MWAIT, an armed monitor, pending events, counters and parameters are
        part of it. Raises RuntimeError while it is in run().
        """
        cdef SavedVCPU saved
        self.check_outside()
        save_vcpu(self.cpu, &saved)
        return PyBytes_FromStringAndSize(<char*>&saved, sizeof(saved))

    def restore(self, state):
        """Go on as the vCPU of this number that was saved, in this machine or another one with the same RAM.

        Raises ValueError, and changes nothing, for bytes that are no state of such a vCPU; RuntimeError while it is
        in run().
        """
        cdef bytes data = bytes(state)
        cdef const SavedVCPU* saved
        self.check_outside()
        if len(data) != sizeof(SavedVCPU):
            raise ValueError(f"not the state of a vCPU: it has {len(data)} bytes, not {sizeof(SavedVCPU)}")
        saved = <const SavedVCPU*>PyBytes_AsString(data)
        check_saved_vcpu(self.cpu, saved)
        restore_vcpu(self.cpu, saved)

    def start_real_mode(self, cs=0, ip=0x7C00):
        """RUNNABLE in real mode at cs:ip, with the other segments 0, as a boot sector begins.

        Raises ValueError unless both fit 16 bits.
        """
        cdef uint32_t selector = word(cs)
        cdef uint32_t offset = word(ip)
        self.check_outside()
        start_cpu_real_mode(self.cpu, selector, offset)

    def start_flat32(self, eip=0x100000, esp=0x9000):
        """RUNNABLE in 32-bit protected mode, every segment from 0 to 4 GiB, interrupts off.

        There is neither GDT nor IDT until the guest loads them. Raises ValueError unless both fit 32 bits.
        """
        cdef uint32_t at = doubleword(eip)
        cdef uint32_t stack = doubleword(esp)
        self.check_outside()
        start_cpu_flat32(self.cpu, at, stack)

    def run(self, max_instructions=0):
        """Enter the guest; return the exit reason, one of EXIT_*.

        max_instructions: after how many retired instructions to return EXIT_LIMIT; 0 for no limit. A
        repeated string instruction counts once, when it is finished; exceptions in a row, between which nothing
        retires, count as instructions from the second on. An EXIT_IO or EXIT_MMIO of
        the call before is completed first. The GIL is released; on the main thread Python's signal
        handlers run, so that Ctrl-C raises KeyboardInterrupt. No limit bounds a guest that sleeps in HLT or
        MWAIT: `kick` does.
        Raises ValueError for a limit below 0 or above 2**60, RuntimeError when run() is under way.
        """
        cdef CPU* cpu = self.cpu
        cdef int64_t limit
        cdef int64_t budget_at, end_at
        cdef bint sliced
        cdef int reason
        max_instructions = index_of(max_instructions)
        if not 0 <= max_instructions <= MOST_INSTRUCTIONS:
            raise ValueError(f"max_instructions {max_instructions} is not in 0..{MOST_INSTRUCTIONS}; 0 is no limit")
        limit = max_instructions
        if cpu.in_run:
            raise RuntimeError(f"vCPU {cpu.index} is already in run()")
        budget_at = cpu.retired + limit if limit else NO_LIMIT
        end_at = cpu.retired + 1 if cpu.single_step else budget_at
        if not may_enter(cpu):
            return EXIT_FAIL_ENTRY
        cpu.in_run = True
        if cpu.access_exit:
            complete_access(cpu)
        sliced = PyThread_get_thread_ident() == main_thread
        cpu.park_nanoseconds = SLICE_NANOSECONDS if sliced else -1
        cpu.chunks_at = SLICE_CHUNKS if sliced else NO_LIMIT
        begin_run(cpu)
        reason = EXIT_INTR
        try:
            while True:
                cpu.limit_at = end_at
                cpu.chunks = 0
                if sliced and end_at - cpu.retired > SLICE_INSTRUCTIONS:
                    cpu.limit_at = cpu.retired + SLICE_INSTRUCTIONS
                with nogil:
                    reason = enter_once(cpu)
                    mark_exit(cpu)
                if cpu.delivered_at == cpu.retired:
                    budget_at -= cpu.deliveries
                    end_at -= cpu.deliveries
                if reason != EXIT_SIGNAL and (reason != EXIT_LIMIT or cpu.retired >= budget_at or cpu.single_step):
                    break
                PyErr_CheckSignals()
        finally:
            cpu.in_run = False
            end_run(cpu, reason)
            update_wake_fd(cpu)
        if reason == EXIT_LIMIT and cpu.retired < budget_at:
            reason = EXIT_DEBUG
        note_exit(cpu, reason)
        return reason

    def translate(self, linear):
        """Where a linear address leads, as KVM_TRANSLATE has it: a Translation. Marks nothing and raises no page fault.

        Raises ValueError unless it fits 32 bits, RuntimeError while the vCPU is in run().
        """
        cdef uint32_t address = doubleword(linear)
        cdef uint64_t physical
        cdef int rights
        self.check_outside()
        physical = inspect(self.cpu, address, &rights)
        if faulted(physical):
            return translation.Translation(translation.NOWHERE, False, False, False)
        return translation.Translation(
            physical, True, rights & RIGHT_WRITE != 0, rights & RIGHT_USER != 0)

    def interrupt(self, vector):
        """Make a maskable external interrupt pending; the highest vector is taken first.

        From any thread. Raises ValueError unless the vector is in 0..255.
        """
        cdef int number
        vector = index_of(vector)
        if not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector} is not in 0..255")
        number = vector
        note(self.cpu, NULL, WAKE_INTERRUPT, number)
        atomic_or(&self.cpu.interrupts[number >> 6], <uint64_t>1 << (number & 63))
        post(self.cpu, ATTENTION_INTERRUPT)

    def nmi(self):
        """Make a non-maskable interrupt pending, from any thread."""
        note(self.cpu, NULL, WAKE_NMI, 0)
        post(self.cpu, ATTENTION_NMI)

    def kick(self):
        """Make the run() under way, or else the next one, return EXIT_INTR. From any thread; never lost."""
        note(self.cpu, NULL, WAKE_KICK, 0)
        post(self.cpu, ATTENTION_KICK)

    def init(self):
        """Send INIT, from any thread: vCPU 0 begins at the reset vector again, any other waits for `sipi`."""
        note(self.cpu, NULL, WAKE_START, 0)
        post_init(self.cpu)

    def sipi(self, vector):
        """Send a start-up IPI, from any thread: a vCPU that waits for it begins at vector * 4096 in real mode.

        Raises ValueError unless the vector is in 0..255.
        """
        vector = index_of(vector)
        if not 0 <= vector <= 255:
            raise ValueError(f"start-up vector {vector} is not in 0..255")
        note(self.cpu, NULL, WAKE_START, 0)
        atomic_store(&self.cpu.sipi_vector, <uint32_t>vector)
        post(self.cpu, ATTENTION_SIPI)

    @property
    def index(self):
        """Number of the vCPU in its machine."""
        return self.cpu.index

    @property
    def instructions(self):
        """Instructions retired since RESET."""
        return self.cpu.retired

    @property
    def stats(self):
        """Counters since RESET, a new dict at each read."""
        cdef dict stats = self.cpu.stats
        stats["monitor_triggers_host"] = atomic_load(&self.cpu.ram.host_triggers)
        return stats

    @property
    def wake_fd(self):
        """A file descriptor that polls readable exactly while the vCPU is runnable: run() would not wait.

        For select, poll, epoll and asyncio; there is nothing to read from it. From any thread. From its first use
        on each wait costs two system calls more. Raises OSError when the host has no descriptors left.
        """
        open_wake_fd(self.cpu)
        return self.cpu.wake_fd

    @property
    def features(self):
        """What CPUID offers besides the usual, a tuple of names: 'monitorx', 'waitpkg'. RESET leaves it alone."""
        return tuple(name for name, bit in FEATURES.items() if self.cpu.features & bit)

    @features.setter
    def features(self, names):
        self.check_outside()
        unknown = sorted(set(names) - set(FEATURES))
        if unknown:
            raise ValueError(f"unknown feature {unknown[0]!r} (known: {', '.join(FEATURES)})")
        self.cpu.features = sum(FEATURES[name] for name in set(names))

    @property
    def lapic(self):
        """The local APIC's registers as KVM_GET_LAPIC has them: 1024 bytes, a register in each 16."""
        cdef uint32_t offset
        if not self.cpu.in_run:
            notice_timer(self.cpu)
        return b"".join(apic_value(self.cpu, offset).to_bytes(16, "little") for offset in range(0, 1024, 16))

    @property
    def waiting(self):
        """'hlt', 'mwait' or 'start' while it blocks in the core, else ''. From any thread."""
        return ("", "hlt", "mwait", "start")[<int>atomic_load(&self.cpu.waiting)]

    @property
    def monitor(self):
        """(state, line): 'idle', 'armed', 'waiting' or 'triggered', and the line's physical address."""
        cdef uint64_t monitor = atomic_load(&self.memory.ram.monitors[self.cpu.index])
        return ("idle", "armed", "waiting", "triggered")[<int>(monitor & MONITOR_STATE)], monitor & ~<uint64_t>63

    @property
    def mp_state(self):
        """MP_STATE_*: RUNNABLE again as soon as what ends HLT is pending. From any thread."""
        if self.cpu.mp_state == MP_STATE_HALTED and event_pending(self.cpu, False):
            return MP_STATE_RUNNABLE
        return self.cpu.mp_state

    @mp_state.setter
    def mp_state(self, value):
        self.check_outside()
        if value not in range(MP_STATE_RUNNABLE, MP_STATE_HALTED + 1):
            raise ValueError(f"mp_state {value} is none that a vCPU can be put into here; use 0, 1, 2 or 3")
        abandon_wait(self.cpu)
        self.cpu.mp_state = value
        update_wake_fd(self.cpu)

    @property
    def host_stack(self):
        """Deepest host stack that the guest has used, in bytes: small while every handler tail-calls."""
        return self.cpu.stack_depth

    @property
    def single_step(self):
        """When True, run() returns EXIT_DEBUG after one instruction or one event delivered.

        As KVM_GUESTDBG_SINGLESTEP. After an event it stands at the handler, and `instructions` has not moved.
        """
        return self.cpu.single_step

    @single_step.setter
    def single_step(self, value):
        self.check_outside()
        self.cpu.single_step = bool(value)

    @property
    def block_interrupts(self):
        """When True, single_step delivers neither interrupts nor NMIs: they stay pending.

        As KVM_GUESTDBG_BLOCKIRQ.
        """
        return self.cpu.block_interrupts

    @block_interrupts.setter
    def block_interrupts(self, value):
        self.check_outside()
        self.cpu.block_interrupts = bool(value)

    @property
    def stops_before_wakes(self):
        """When True, run() returns before an instruction, other than its first, that may wake another vCPU.

        EXIT_STORE before a store to a page on which a monitor was armed, or that `Memory.hold_stores` names;
        `mmio_address` says where. EXIT_IPI before a command to the local APIC's ICR. So whoever runs vCPUs by turns
        in virtual time can have each at its very time. A store to the line that this vCPU alone monitors wakes
        nobody and is made. RESET leaves it alone, and `save` leaves it out.
        """
        return self.cpu.stops_before_wakes

    @stops_before_wakes.setter
    def stops_before_wakes(self, value):
        self.check_outside()
        self.cpu.stops_before_wakes = bool(value)

    @property
    def own_store_ns(self):
        """Guest time that a store to its own monitored line takes, with `stops_before_wakes`: the write fault's.

        In virtual time, in nanoseconds. Raises ValueError unless it is in 0..2**40.
        """
        return self.cpu.own_store_ns

    @own_store_ns.setter
    def own_store_ns(self, value):
        self.check_outside()
        value = index_of(value)
        if not 0 <= value <= 1 << 40:
            raise ValueError(f"own_store_ns {value} is not in 0..{1 << 40}")
        self.cpu.own_store_ns = value

    def set_guest_debug(self, breakpoints=(), watchpoints=()):
        """Leave run() with EXIT_DEBUG at breakpoints and behind accesses; replaces what was set before.

        breakpoints: linear addresses of instructions, each of which is left before it is executed, unless run()
        has left with EXIT_DEBUG right there before. Guest memory is not changed for them.
        watchpoints: (linear address, length in bytes, WATCH_READ | WATCH_WRITE). run() is left behind the instruction,
        the element of a repeated one, or the event whose access meets one. Accesses by other vCPUs, devices and the
        host do not count, nor does fetching instructions.
        As KVM_SET_GUEST_DEBUG with KVM_GUESTDBG_USE_HW_BP, but for the numbers. From any thread: a vCPU in the guest
        takes it over at its next block. RESET leaves it alone.
        Raises ValueError for what is not in the linear address space, for an unknown kind, and for more than
        4096 breakpoints or 256 watchpoints.
        """
        offer_debug(self.cpu, make_debug(breakpoints, watchpoints))

    @property
    def debug_exit(self):
        """Why run() returned EXIT_DEBUG: ('step', 'breakpoint', 'read' or 'write', linear address); ('', 0) else.

        The address is that of the instruction, or the first one of the access that is watched.
        """
        if self.cpu.debug_cause == DEBUG_NONE:
            return "", 0
        return ("", "step", "breakpoint", "read", "write")[<int>self.cpu.debug_cause], self.cpu.debug_address

    @property
    def last_event(self):
        """Vector of the exception or interrupt delivered last, -1 since RESET. INT n and its kin are none."""
        return self.cpu.last_event

    def __repr__(self):
        return (f"VCPU(index={self.index}, cs:eip={self.cs.selector:04x}:{self.eip:08x}, "
                f"mp_state={self.mp_state})")


def check_tail_calls():
    """Refuse a build whose handlers do not end in tail calls: its stack would grow with the guest.

    Raises ImportError, with what to do.
    """
    memory = Memory(PAGE_SIZE)
    memory.write(0, b"\x40\x4b\x41\x51\x59" * 200 + b"\xeb\xfe")
    vcpu = VCPU(memory)
    vcpu.start_real_mode(0, 0)
    vcpu.run(2000)
    if vcpu.host_stack > TAIL_CALL_STACK:
        raise ImportError(
            f"x86core was built without sibling-call optimisation (host stack grew to {vcpu.host_stack} bytes); "
            "build it with gcc and -O2, as setup.py does")
