"""The Python face of a virtual processor: registers, run(), interrupts, what it counts."""
import threading

import numpy

cimport cython

from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset, strerror
from posix.mman cimport MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, PROT_READ, PROT_WRITE, mmap, munmap

import x86core.handlers.alu
import x86core.handlers.atomic
import x86core.handlers.branch
import x86core.handlers.flag
import x86core.handlers.idle
import x86core.handlers.interrupt
import x86core.handlers.move
import x86core.handlers.multiply
import x86core.handlers.port
import x86core.handlers.shift
import x86core.handlers.stack
import x86core.handlers.string
import x86core.handlers.system
from x86core.decode import build_tables
from x86core.kvm_run import KVM_RUN

from x86core.attention cimport event_pending, interrupt_pending, post, watch_wake_fd
from x86core.blocks cimport blocks_create, flush_blocks
from x86core.dispatch cimport enter
from x86core.flags cimport get_eflags, set_eflags
from x86core.idle cimport enter_guest, leave_guest, resume_wait
from x86core.intrinsics cimport NO_LIMIT, atomic_and, atomic_load, atomic_or, atomic_store, frame_address
from x86core.memory cimport Memory
from x86core.monitor cimport monitor_disarm
from x86core.segmentation cimport set_segment, update_context
from x86core.state cimport *
from x86core.tlb cimport tlb_flush

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int, int)
    int EFD_CLOEXEC, EFD_NONBLOCK

cdef enum:
    # On the main thread run() lets Python look for signals after so many instructions, chunks of
    # repeated ones, or nanoseconds asleep.
    SLICE_INSTRUCTIONS = 1 << 23
    SLICE_CHUNKS = 1 << 17
    SLICE_NANOSECONDS = 50000000
    # Deepest host stack, in bytes, of handlers that tail-call; a frame each would pass it in one block.
    TAIL_CALL_STACK = 2048

    EFLAGS_DEFINED = (FLAGS_ARITHMETIC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_AC
                      | FLAG_ID)

build_tables()


cdef class VCPU

# Where Python runs signal handlers.
cdef long main_thread = threading.main_thread().ident


cdef class Segment:
    """A segment register with its hidden part, live.

    `selector`; `base`; `limit` in bytes, the last valid offset; `access`: the access byte in bits 0-7
    and AVL, L, D/B and G in bits 12-15, as in the second doubleword of a descriptor (SDM vol. 3, 3.4.5).
    """
    cdef VCPU vcpu
    cdef int number

    cdef int change(self, selector, base, limit, access) except -1:
        self.vcpu.check_outside()
        set_segment(self.vcpu.cpu, self.number, selector, base, limit, access)
        update_context(self.vcpu.cpu)
        return 0

    @property
    def selector(self):
        return self.vcpu.cpu.segments[self.number].selector

    @selector.setter
    def selector(self, value):
        self.change(word(value), self.base, self.limit, self.access)

    @property
    def base(self):
        return self.vcpu.cpu.segments[self.number].base

    @base.setter
    def base(self, value):
        self.change(self.selector, doubleword(value), self.limit, self.access)

    @property
    def limit(self):
        return self.vcpu.cpu.segments[self.number].limit

    @limit.setter
    def limit(self, value):
        self.change(self.selector, self.base, doubleword(value), self.access)

    @property
    def access(self):
        return self.vcpu.cpu.segments[self.number].access

    @access.setter
    def access(self, value):
        self.change(self.selector, self.base, self.limit, word(value))

    def __repr__(self):
        return (f"Segment(selector={self.selector:#06x}, base={self.base:#010x}, "
                f"limit={self.limit:#010x}, access={self.access:#06x})")


cdef class Register:
    """A general register of VCPU, by its number in instructions."""
    cdef int number

    def __cinit__(self, int number):
        self.number = number

    def __get__(self, VCPU vcpu, owner):
        return self if vcpu is None else vcpu.cpu.gpr[self.number]

    def __set__(self, VCPU vcpu not None, value):
        vcpu.check_outside()
        vcpu.cpu.gpr[self.number] = doubleword(value)


cdef class SegmentRegister:
    """A segment register of VCPU, by its number in instructions."""
    cdef int number

    def __cinit__(self, int number):
        self.number = number

    def __get__(self, VCPU vcpu, owner):
        cdef Segment segment
        if vcpu is None:
            return self
        segment = Segment.__new__(Segment)
        segment.vcpu = vcpu
        segment.number = self.number
        return segment


cdef uint32_t doubleword(value) except? 0xFFFFFFFF:
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{value} does not fit 32 bits; give a value from 0 to 0xffffffff")
    return value


cdef uint32_t word(value) except? 0xFFFFFFFF:
    if not 0 <= value <= 0xFFFF:
        raise ValueError(f"{value} does not fit 16 bits; give a value from 0 to 0xffff")
    return value


cdef int step_once(CPU* cpu) noexcept nogil:
    """Finish the instruction under way before attention is looked at: EXIT_LIMIT when that was all."""
    cdef int64_t limit_at = cpu.limit_at
    cdef int reason
    cpu.limit_at = cpu.retired + 1
    atomic_store(&cpu.stop_at, cpu.limit_at)
    enter_guest(cpu)
    reason = enter(cpu, NULL, cpu.result, cpu.carries, cpu.carry)
    leave_guest(cpu)
    cpu.limit_at = limit_at
    return reason


cdef int enter_once(CPU* cpu) noexcept nogil:
    """Into the guest and out of it again."""
    cdef int reason
    cpu.stack_top = frame_address()
    if cpu.completes_access:
        cpu.completes_access = False
        if cpu.run.immediate_exit or atomic_load(&cpu.attention):
            reason = step_once(cpu)
            if reason != EXIT_LIMIT:
                return reason
    if cpu.run.immediate_exit:
        return EXIT_INTR
    atomic_store(&cpu.stop_at, cpu.limit_at)
    enter_guest(cpu)
    # After the exchange in enter_guest: what was asked for before stop_at was raised is seen here.
    if (atomic_load(&cpu.attention) or cpu.eflags & FLAG_TF or interrupt_pending(cpu)
            or cpu.run.request_interrupt_window):
        atomic_store(&cpu.stop_at, 0)
    reason = resume_wait(cpu) if cpu.mp_state or cpu.waits_for_store else EXIT_NONE
    if reason == EXIT_NONE:
        reason = enter(cpu, NULL, cpu.result, cpu.carries, cpu.carry)
    leave_guest(cpu)
    return reason


@cython.no_gc_clear                 # __dealloc__ needs the memory, which owns the structure
cdef class VCPU:
    """One virtual processor on a guest memory. Its state is first that after RESET (SDM vol. 3, 10.1).

    `index` is its number and local APIC ID. The one with index 0 is RUNNABLE, others are UNINITIALIZED
    until a start_*. Raises ValueError when the index is not in 0..254 or is taken.
    Registers may be read and written while the vCPU is out of run().
    """
    cdef CPU* cpu
    cdef readonly Memory memory
    cdef object run_record

    def __cinit__(self, Memory memory not None, index=0):
        cdef CPU* cpu
        if not 0 <= index < MAX_VCPUS:
            raise ValueError(f"vCPU index {index} is not in 0..{MAX_VCPUS - 1}")
        self.memory = memory
        cpu = memory.ram.vcpus[<int>index]
        if cpu == NULL:
            cpu = create(memory.ram, index)
        elif cpu.owned:
            raise ValueError(f"this memory already has a vCPU with index {index}; take another index")
        cpu.owned = True
        self.cpu = cpu
        self.reset()

    def __dealloc__(self):
        if self.cpu != NULL:
            monitor_disarm(self.cpu)
            # The structure stays with the memory: other vCPUs may be looking at it.
            self.cpu.owned = False

    cdef int check_outside(self) except -1:
        if self.cpu.in_run:
            raise RuntimeError(f"vCPU {self.cpu.index} is in run(); kick it and wait for run() to return")
        return 0

    def reset(self):
        """The state after RESET: real mode, CS:EIP at the reset vector FFFFFFF0h."""
        cdef CPU* cpu = self.cpu
        cdef int number
        self.check_outside()
        memset(cpu.gpr, 0, sizeof(cpu.gpr))
        cpu.gpr[EDX] = 0x611
        set_eflags(cpu, FLAGS_ALWAYS)
        cpu.eip = 0xFFF0
        cpu.cr0 = CR0_CD | CR0_NW | CR0_ET
        cpu.cr2 = cpu.cr3 = cpu.cr4 = 0
        cpu.gdt_base = cpu.idt_base = 0
        cpu.gdt_limit = 0xFFFF
        cpu.idt_limit = 0xFFFF
        for number in range(SEGMENTS):
            set_segment(cpu, number, 0, 0, 0xFFFF, 0x82 if number >= LDTR else 0x93)
        set_segment(cpu, CS, 0xF000, 0xFFFF0000U, 0xFFFF, 0x93)
        cpu.mp_state = MP_STATE_UNINITIALIZED if cpu.index else MP_STATE_RUNNABLE
        cpu.retired = 0
        cpu.shadow = cpu.trap_at = cpu.replay_at = -1
        cpu.access_exit = 0
        cpu.waits_for_store = cpu.completes_access = False
        cpu.nmi_pending = cpu.nmi_blocked = False
        atomic_and(&cpu.attention, ATTENTION_KICK)      # a kick is never lost
        for number in range(4):
            cpu.interrupts[number] = 0
        memset(&cpu.stats, 0, sizeof(cpu.stats))
        monitor_disarm(cpu)
        tlb_flush(cpu)
        flush_blocks(cpu)
        update_context(cpu)

    def start_real_mode(self, cs=0, ip=0x7C00):
        """RUNNABLE in real mode at cs:ip, with the other segments 0, as a boot sector begins.

        Raises ValueError unless both fit 16 bits.
        """
        cdef CPU* cpu = self.cpu
        cdef int number
        cdef uint32_t selector = word(cs)
        cdef uint32_t offset = word(ip)
        self.reset()
        for number in range(ES, GS + 1):
            set_segment(cpu, number, 0, 0, 0xFFFF, 0x93)
        set_segment(cpu, CS, selector, selector << 4, 0xFFFF, 0x93)
        cpu.cr0 = CR0_ET
        cpu.idt_limit = 0x3FF
        cpu.eip = offset
        cpu.mp_state = MP_STATE_RUNNABLE
        update_context(cpu)

    def start_flat32(self, eip=0x100000, esp=0x9000):
        """RUNNABLE in 32-bit protected mode, every segment from 0 to 4 GiB, interrupts off.

        There is neither GDT nor IDT until the guest loads them. Raises ValueError unless both fit 32 bits.
        """
        cdef CPU* cpu = self.cpu
        cdef int number
        cdef uint32_t at = doubleword(eip)
        cdef uint32_t stack = doubleword(esp)
        self.reset()
        cpu.cr0 = CR0_PE | CR0_ET
        for number in range(ES, GS + 1):
            set_segment(cpu, number, 0x10, 0, 0xFFFFFFFFU, 0xC093)
        set_segment(cpu, CS, 0x08, 0, 0xFFFFFFFFU, 0xC09B)
        cpu.gdt_limit = cpu.idt_limit = 0
        cpu.eip = at
        cpu.gpr[ESP] = stack
        cpu.mp_state = MP_STATE_RUNNABLE
        update_context(cpu)

    def run(self, max_instructions=0):
        """Enter the guest; return the exit reason, one of EXIT_*.

        max_instructions: after how many retired instructions to return EXIT_LIMIT; 0 for no limit. A
        repeated string instruction counts once, when it is finished. An EXIT_IO or EXIT_MMIO of
        the call before is completed first. The GIL is released; on the main thread Python's signal
        handlers run, so that Ctrl-C raises KeyboardInterrupt.
        Raises ValueError for a negative limit, RuntimeError when run() is under way.
        """
        cdef CPU* cpu = self.cpu
        cdef int64_t limit = max_instructions
        cdef int64_t budget_at
        cdef bint sliced
        cdef int reason
        if limit < 0:
            raise ValueError(f"max_instructions {limit} is negative; give 0 for no limit")
        if cpu.in_run:
            raise RuntimeError(f"vCPU {cpu.index} is already in run()")
        cpu.in_run = True
        budget_at = cpu.retired + limit if limit and limit < NO_LIMIT - cpu.retired else NO_LIMIT
        if cpu.notify:
            atomic_store(&cpu.notify, 0)
        if cpu.access_exit:
            complete_access(cpu)
        sliced = PyThread_get_thread_ident() == main_thread
        cpu.park_nanoseconds = SLICE_NANOSECONDS if sliced else -1
        cpu.chunks_at = SLICE_CHUNKS if sliced else NO_LIMIT
        try:
            while True:
                cpu.limit_at = budget_at
                cpu.chunks = 0
                if sliced and budget_at - cpu.retired > SLICE_INSTRUCTIONS:
                    cpu.limit_at = cpu.retired + SLICE_INSTRUCTIONS
                with nogil:
                    reason = enter_once(cpu)
                if reason != EXIT_SIGNAL and (reason != EXIT_LIMIT or cpu.retired >= budget_at):
                    break
                PyErr_CheckSignals()
        finally:
            cpu.in_run = False
        if cpu.mp_state == MP_STATE_HALTED:
            watch_wake_fd(cpu)
        cpu.stats.exits += 1
        if reason == EXIT_IO:
            cpu.stats.io_exits += 1
        elif reason == EXIT_MMIO:
            cpu.stats.mmio_exits += 1
        cpu.run.exit_reason = reason
        cpu.run.if_flag = cpu.eflags & FLAG_IF != 0
        cpu.run.ready_for_interrupt_injection = (
            cpu.run.if_flag and cpu.shadow != cpu.retired and not interrupt_pending(cpu))
        return reason

    def interrupt(self, vector):
        """Make a maskable external interrupt pending; the highest vector is taken first.

        From any thread. Raises ValueError unless the vector is in 0..255.
        """
        cdef int number
        if not 0 <= vector <= 255:
            raise ValueError(f"interrupt vector {vector} is not in 0..255")
        number = vector
        atomic_or(&self.cpu.interrupts[number >> 6], <uint64_t>1 << (number & 63))
        post(self.cpu, ATTENTION_INTERRUPT)

    def nmi(self):
        """Make a non-maskable interrupt pending, from any thread."""
        post(self.cpu, ATTENTION_NMI)

    def kick(self):
        """Make the run() under way, or else the next one, return EXIT_INTR. From any thread; never lost."""
        post(self.cpu, ATTENTION_KICK)

    @property
    def index(self):
        """Number of the vCPU in its machine, and local APIC ID."""
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
        """An eventfd that polls readable once a vCPU that left run() HALTED is runnable again."""
        return self.cpu.wake_fd

    @property
    def waiting(self):
        """'hlt' or 'mwait' while it blocks in the core, else ''. From any thread."""
        return ("", "hlt", "mwait")[<int>atomic_load(&self.cpu.waiting)]

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
        if value not in (MP_STATE_RUNNABLE, MP_STATE_UNINITIALIZED, MP_STATE_HALTED):
            raise ValueError(f"mp_state {value} is none that a vCPU can be put into here; use 0, 1 or 3")
        self.cpu.mp_state = value

    @property
    def host_stack(self):
        """Deepest host stack that the guest has used, in bytes: small while every handler tail-calls."""
        return self.cpu.stack_depth

    # kvm_run: the structure, and its hot fields as plain attributes.

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
        if value & ~(USERSPACE_EXIT_MWAIT | USERSPACE_EXIT_HLT):
            raise ValueError(f"userspace_exits {value:#x} has unknown bits; only MWAIT (1) and HLT (2) exist")
        self.cpu.run.userspace_exits = value

    @property
    def mwait_policy(self):
        """MWAIT_*: what MWAIT does when it does not leave run(). Read at each MWAIT."""
        return self.cpu.run.mwait_policy

    @mwait_policy.setter
    def mwait_policy(self, value):
        if value not in (MWAIT_NOP, MWAIT_YIELD, MWAIT_FAULT):
            raise ValueError(f"mwait_policy {value} is unknown; use MWAIT_NOP, MWAIT_YIELD or MWAIT_FAULT")
        self.cpu.run.mwait_policy = value

    @property
    def immediate_exit(self):
        """When not 0, run() returns EXIT_INTR on entry."""
        return self.cpu.run.immediate_exit

    @immediate_exit.setter
    def immediate_exit(self, value):
        self.cpu.run.immediate_exit = 1 if value else 0

    @property
    def request_interrupt_window(self):
        """When not 0, run() returns EXIT_IRQ_WINDOW_OPEN as soon as the guest would take an interrupt."""
        return self.cpu.run.request_interrupt_window

    @request_interrupt_window.setter
    def request_interrupt_window(self, value):
        self.cpu.run.request_interrupt_window = 1 if value else 0

    @property
    def exit_reason(self):
        """What the last run() returned."""
        return self.cpu.run.exit_reason

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
    def internal_error(self):
        """Suberror of EXIT_INTERNAL_ERROR: 1 when there is no RAM to fetch instructions from."""
        return self.cpu.run.exit.internal.suberror

    # Registers.

    eax = Register(EAX)
    ecx = Register(ECX)
    edx = Register(EDX)
    ebx = Register(EBX)
    esp = Register(ESP)
    ebp = Register(EBP)
    esi = Register(ESI)
    edi = Register(EDI)
    es = SegmentRegister(ES)
    cs = SegmentRegister(CS)
    ss = SegmentRegister(SS)
    ds = SegmentRegister(DS)
    fs = SegmentRegister(FS)
    gs = SegmentRegister(GS)

    @property
    def eip(self):
        """Offset in CS of the next instruction; at an EXIT_IO or EXIT_MMIO, of the one under way."""
        return self.cpu.eip

    @eip.setter
    def eip(self, value):
        self.check_outside()
        self.cpu.eip = doubleword(value)
        self.cpu.access_exit = 0        # what was under way is given up
        self.cpu.replay_at = -1

    @property
    def eflags(self):
        return get_eflags(self.cpu)

    @eflags.setter
    def eflags(self, value):
        self.check_outside()
        set_eflags(self.cpu, doubleword(value) & EFLAGS_DEFINED | FLAGS_ALWAYS)

    @property
    def cr0(self):
        return self.cpu.cr0

    @cr0.setter
    def cr0(self, value):
        self.check_outside()
        if value & CR0_PG:
            raise ValueError("CR0.PG cannot be set: there is no paging")
        self.cpu.cr0 = doubleword(value) | CR0_ET
        update_context(self.cpu)

    @property
    def cr2(self):
        return self.cpu.cr2

    @cr2.setter
    def cr2(self, value):
        self.cpu.cr2 = doubleword(value)

    @property
    def cr3(self):
        return self.cpu.cr3

    @cr3.setter
    def cr3(self, value):
        self.check_outside()
        self.cpu.cr3 = doubleword(value)
        tlb_flush(self.cpu)

    @property
    def cr4(self):
        return self.cpu.cr4

    @property
    def gdt_base(self):
        return self.cpu.gdt_base

    @gdt_base.setter
    def gdt_base(self, value):
        self.cpu.gdt_base = doubleword(value)

    @property
    def gdt_limit(self):
        return self.cpu.gdt_limit

    @gdt_limit.setter
    def gdt_limit(self, value):
        self.cpu.gdt_limit = word(value)

    @property
    def idt_base(self):
        return self.cpu.idt_base

    @idt_base.setter
    def idt_base(self, value):
        self.cpu.idt_base = doubleword(value)

    @property
    def idt_limit(self):
        return self.cpu.idt_limit

    @idt_limit.setter
    def idt_limit(self, value):
        self.cpu.idt_limit = word(value)

    def __repr__(self):
        return (f"VCPU(index={self.index}, cs:eip={self.cs.selector:04x}:{self.eip:08x}, "
                f"mp_state={self.mp_state})")


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


cdef void complete_access(CPU* cpu) noexcept:
    """Take the answer to an EXIT_IO or EXIT_MMIO, for when the instruction is executed again."""
    cdef uint64_t answer = cpu.port_data[0]
    if cpu.access_exit == EXIT_MMIO:
        answer = (<uint64_t*>cpu.run.exit.mmio.data)[0]
    cpu.access_exit = 0
    cpu.completes_access = True
    cpu.replay_next = 0
    if cpu.replay_count < REPLAY_ENTRIES:
        cpu.replay[cpu.replay_count] = answer
        cpu.replay_count += 1


cdef CPU* create(RAM* ram, int index) except NULL:
    """The structure of a vCPU, which lives as long as its memory. Raises MemoryError or OSError."""
    cdef CPU* cpu = <CPU*>mmap(NULL, sizeof(CPU), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    cdef void* run = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if cpu == MAP_FAILED or run == MAP_FAILED:
        raise MemoryError("the host has no memory left for a vCPU")
    cpu.ram = ram
    cpu.index = index
    cpu.run = <KvmRun*>run
    cpu.port_data = <uint64_t*>(<uint8_t*>run + PORT_DATA_OFFSET)
    cpu.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if cpu.wake_fd < 0:
        munmap(run, 2 * PAGE_SIZE)
        munmap(cpu, sizeof(CPU))
        raise OSError(errno, f"no eventfd for vCPU {index}: {strerror(errno).decode()}")
    blocks_create(cpu)
    cpu.acknowledged = atomic_load(&ram.shootdown)
    ram.vcpus[index] = cpu
    if ram.vcpu_limit <= <uint32_t>index:
        atomic_store(&ram.vcpu_limit, index + 1)
    return cpu


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
