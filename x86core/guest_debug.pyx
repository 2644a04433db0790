"""Guest debugging: breakpoints and watchpoints at linear addresses, as KVM_SET_GUEST_DEBUG has them.

The VMM leaves a set of them at `debug_next`, from any thread; the vCPU adopts it between two instructions and
decodes anew. A block ends before a breakpoint, and one that begins there has a handler that asks (dispatch.pyx).
A page with a watchpoint gets no TLB tag of that kind, so only the slow path asks. What it finds is a trap, which
follows the instruction at once: the instruction is given up, and executed again in a block of its own.
"""
from operator import index

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from x86core.attention cimport request
from x86core.blocks cimport flush_blocks
from x86core.debug_registers cimport DR6_BS, DR6_ONES, DR7_ONES, data_breakpoints_at, hide_breakpoints
from x86core.intrinsics cimport atomic_exchange, atomic_store
from x86core.paging cimport flush_translations
from x86core.state cimport (ALONE, ATTENTION_DEBUG, CPU, CS, DEBUG_BREAKPOINT, DEBUG_NONE, DEBUG_READ, DEBUG_STEP,
                            DEBUG_WRITE, EXCEPTION_DB, NOT_ALONE, PAGE_SIZE, TLB_ENTRIES, WANTS_ALONE, WATCHED,
                            WATCH_READ, WATCH_WRITE, GuestDebug, TLBEntry, Watchpoint)
from x86core.tlb cimport tag_of_none

#: How many breakpoints and how many watchpoints a vCPU can have.
MAX_BREAKPOINTS = 4096
MAX_WATCHPOINTS = 256

cdef enum:
    NUMBERED = 4                # those that DR6 and DR7 have bits for


cdef uint64_t debug_control(GuestDebug* debug) noexcept:
    """DR7 for the first four of a set. A length that DR7 has no code for is that of the next longer one."""
    cdef uint64_t dr7 = DR7_ONES
    cdef uint32_t number, length
    cdef uint64_t condition
    cdef Watchpoint* watchpoint
    for number in range(min(<uint32_t>NUMBERED, debug.breakpoint_count + debug.watchpoint_count)):
        condition = 0
        if number >= debug.breakpoint_count:
            watchpoint = &debug.watchpoints[number - debug.breakpoint_count]
            length = watchpoint.last - watchpoint.first + 1
            condition = 1 if watchpoint.kind == WATCH_WRITE else 3
            condition |= (0 if length == 1 else 1 if length == 2 else 3 if length <= 4 else 2) << 2
        dr7 |= <uint64_t>2 << 2 * number | condition << (16 + 4 * number)
    return dr7


cdef GuestDebug* make_debug(breakpoints, watchpoints) except NULL:
    """A set of addresses, and of (address, length, WATCH_* bits). Raises ValueError, or MemoryError."""
    cdef GuestDebug* debug
    cdef uint32_t number
    addresses = sorted({index(address) for address in breakpoints})
    ranges = [(index(address), index(length), index(kind)) for address, length, kind in watchpoints]
    if len(addresses) > MAX_BREAKPOINTS or len(ranges) > MAX_WATCHPOINTS:
        raise ValueError(f"{len(addresses)} breakpoints and {len(ranges)} watchpoints are too many; "
                         f"there can be {MAX_BREAKPOINTS} and {MAX_WATCHPOINTS}")
    for address in addresses:
        if not 0 <= address <= 0xFFFFFFFF:
            raise ValueError(f"breakpoint {address:#x} is not in 0..0xffffffff")
    for address, length, kind in ranges:
        if length < 1 or address < 0 or address + length > 1 << 32:
            raise ValueError(f"watchpoint of {length} bytes at {address:#x} is not in 0..0xffffffff")
        if not 1 <= kind <= WATCH_READ | WATCH_WRITE:
            raise ValueError(f"watchpoint kind {kind} is unknown; use WATCH_READ (1), WATCH_WRITE (2) or both")
    debug = <GuestDebug*>malloc(
        sizeof(GuestDebug) + len(addresses) * sizeof(uint32_t) + len(ranges) * sizeof(Watchpoint))
    if debug == NULL:
        raise MemoryError()
    debug.breakpoint_count = len(addresses)
    debug.watchpoint_count = len(ranges)
    debug.watchpoints = <Watchpoint*>(debug + 1)
    debug.breakpoints = <uint32_t*>(debug.watchpoints + debug.watchpoint_count)
    for number in range(debug.breakpoint_count):
        debug.breakpoints[number] = addresses[number]
    for number in range(debug.watchpoint_count):
        address, length, kind = ranges[number]
        debug.watchpoints[number].first = address
        debug.watchpoints[number].last = address + length - 1
        debug.watchpoints[number].kind = kind
    debug.dr7 = debug_control(debug)
    return debug


cdef void offer_debug(CPU* cpu, GuestDebug* debug) noexcept nogil:
    """Leave a set for the vCPU, from any thread; one that it has not adopted yet is forgotten."""
    free(<GuestDebug*>atomic_exchange(&cpu.debug_next, <uint64_t>debug))
    request(cpu, ATTENTION_DEBUG)


cdef void adopt_debug(CPU* cpu) noexcept nogil:
    """Take the set that was left, if there is one, and the debug registers. By the vCPU itself, between blocks."""
    cdef GuestDebug* debug = <GuestDebug*>atomic_exchange(&cpu.debug_next, 0)
    if debug == NULL and not cpu.points_changed:
        return
    if debug != NULL:
        free(cpu.debug)
        cpu.debug = debug
        if debug.breakpoint_count == 0 and debug.watchpoint_count == 0:
            free(debug)
            cpu.debug = NULL
    cpu.points_changed = False
    cpu.watching = cpu.debug != NULL or cpu.dr_execution | cpu.dr_data
    flush_blocks(cpu)
    flush_translations(cpu, True)


cdef void forget_debug(CPU* cpu) noexcept nogil:
    """As without guest debugging. Outside the guest, blocks and TLB are to be flushed behind it."""
    free(cpu.debug)
    free(<GuestDebug*>atomic_exchange(&cpu.debug_next, 0))
    cpu.debug = NULL
    cpu.watching = (cpu.dr_execution | cpu.dr_data) != 0


cdef uint32_t first_at_least(GuestDebug* debug, uint32_t linear) noexcept nogil:
    """The number of the first breakpoint at an address or behind it."""
    cdef uint32_t low = 0
    cdef uint32_t high = debug.breakpoint_count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if debug.breakpoints[middle] < linear:
            low = middle + 1
        else:
            high = middle
    return low


cdef bint is_breakpoint(CPU* cpu, uint32_t linear) noexcept nogil:
    """Whether the VMM has set one at an address."""
    cdef GuestDebug* debug = cpu.debug
    cdef uint32_t number
    if debug == NULL:
        return False
    number = first_at_least(debug, linear)
    return number < debug.breakpoint_count and debug.breakpoints[number] == linear


cdef bint is_passed(CPU* cpu, uint32_t linear) noexcept nogil:
    """Whether a breakpoint is gone over: run() has left right here, or the instruction waits for a device."""
    if cpu.retired == cpu.debug_seen_at and linear == cpu.debug_seen:
        return True
    return cpu.replay_count and cpu.replay_at == cpu.retired


cdef void hide_watched(CPU* cpu, TLBEntry* entry, uint32_t linear) noexcept nogil:
    """Take the tags of watched kinds from a page's TLB entry."""
    cdef uint32_t first = linear & ~<uint32_t>(PAGE_SIZE - 1)
    cdef uint32_t last = first + (PAGE_SIZE - 1)
    cdef uint32_t none = tag_of_none(linear >> 12 & (TLB_ENTRIES - 1))
    cdef uint32_t number
    cdef Watchpoint* watchpoint
    if cpu.dr_data:
        hide_breakpoints(cpu, entry, linear, none)
    if cpu.debug == NULL:
        return
    for number in range(cpu.debug.watchpoint_count):
        watchpoint = &cpu.debug.watchpoints[number]
        if watchpoint.first <= last and watchpoint.last >= first:
            if watchpoint.kind & WATCH_READ:
                entry.read_tag = none
            if watchpoint.kind & WATCH_WRITE:
                entry.write_tag = none


cdef int notice_access(CPU* cpu, uint32_t linear, int size, uint32_t kind) noexcept nogil:
    """Before an access on the slow path: 0 to go on with it, or -1 with the exception WATCHED."""
    cdef uint64_t last = <uint64_t>linear + size - 1
    cdef uint32_t hits = data_breakpoints_at(cpu, linear, size, kind) if cpu.dr_data else 0
    cdef uint32_t number
    cdef Watchpoint* watchpoint
    if hits:
        if begin_watched(cpu):
            return -1
        cpu.dr_hits |= hits
    if cpu.debug == NULL:
        return 0
    for number in range(cpu.debug.watchpoint_count):
        watchpoint = &cpu.debug.watchpoints[number]
        if not watchpoint.kind & kind or watchpoint.first > last or watchpoint.last < linear:
            continue
        if begin_watched(cpu):
            return -1
        if not cpu.watch_hit:
            cpu.watch_hit = kind
            cpu.watch_address = max(linear, watchpoint.first)
    return 0


cdef int begin_watched(CPU* cpu) noexcept nogil:
    """The instruction is to be looked at behind its end: 0 if it may go on, or -1 with the exception WATCHED.

    Events are delivered whole, and what the processor itself does with tables in the middle of an instruction is not
    begun again.
    """
    atomic_store(&cpu.stop_at, 0)
    if cpu.alone != ALONE and not cpu.delivering and not cpu.system_access:
        cpu.alone = WANTS_ALONE
        cpu.exception = WATCHED
        return -1
    return 0


cdef bint begin_alone(CPU* cpu) noexcept nogil:
    """Between instructions: whether the next one is to be a block of its own."""
    cpu.alone = ALONE if cpu.alone == WANTS_ALONE else NOT_ALONE
    return cpu.alone == ALONE


cdef void take_watch_hit(CPU* cpu) noexcept nogil:
    """Behind an instruction that met a watchpoint: that is why run() is left."""
    cpu.debug_cause = DEBUG_READ if cpu.watch_hit == WATCH_READ else DEBUG_WRITE
    cpu.debug_address = cpu.watch_address
    cpu.watch_hit = 0


cdef uint64_t numbered(CPU* cpu) noexcept nogil:
    """The bit of DR6 for what was met, 0 when it is not among the first four."""
    cdef GuestDebug* debug = cpu.debug
    cdef uint32_t number = NUMBERED
    cdef uint32_t kind = WATCH_READ if cpu.debug_cause == DEBUG_READ else WATCH_WRITE
    cdef uint32_t position
    cdef Watchpoint* watchpoint
    if debug == NULL:
        return 0
    if cpu.debug_cause == DEBUG_BREAKPOINT:
        number = first_at_least(debug, cpu.debug_address)
    else:
        for position in range(debug.watchpoint_count):
            watchpoint = &debug.watchpoints[position]
            if watchpoint.kind & kind and watchpoint.first <= cpu.debug_address <= watchpoint.last:
                number = debug.breakpoint_count + position
                break
    return <uint64_t>1 << number if number < NUMBERED else 0


cdef void describe_debug_exit(CPU* cpu) noexcept nogil:
    """EXIT_DEBUG in struct kvm_run. A breakpoint right there is passed by the next run()."""
    cdef uint32_t pc = cpu.segments[CS].base + cpu.eip
    cdef uint64_t dr6 = DR6_ONES
    if cpu.debug_cause == DEBUG_NONE:
        cpu.debug_cause = DEBUG_STEP
        cpu.debug_address = pc
        dr6 |= DR6_BS
    else:
        dr6 |= numbered(cpu)
    cpu.run.exit.debug.exception = EXCEPTION_DB
    cpu.run.exit.debug.pc = pc
    cpu.run.exit.debug.dr6 = dr6
    cpu.run.exit.debug.dr7 = DR7_ONES if cpu.debug == NULL else cpu.debug.dr7
    cpu.debug_seen_at = cpu.retired
    cpu.debug_seen = pc
