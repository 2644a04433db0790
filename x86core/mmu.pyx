"""From linear addresses to RAM and devices: what handlers do when a TLB tag does not match.

A guest access is one host access of its width wherever its bytes are contiguous, so the host's
ordering and aligned atomicity carry over. An access to no RAM is one to a device: the instruction is
given up without a trace, run() returns EXIT_MMIO, and the next run() executes it again with the
answers of the accesses that it has already had (`replay`).
"""
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from x86core.apic cimport apic_holds, apic_read, apic_write
from x86core.apic_registers cimport APIC_ICR_LOW
from x86core.guest_debug cimport hide_watched, notice_access
from x86core.intrinsics cimport atomic_load, atomic_store, likely, unlikely
from x86core.memory cimport after_store
from x86core.paging cimport RIGHT_GLOBAL, RIGHT_LARGE, RIGHT_USER, RIGHT_WRITE, probe, walk
from x86core.rom cimport is_rom, unmirrored
from x86core.state cimport (CPU, DEVICE_ACCESS, EXCEPTION_AC, EXIT_IPI, EXIT_MMIO, EXIT_STORE, LINE_SIZE, MAY_WAKE,
                            MONITOR_IDLE, MONITOR_STATE, NO_EXCEPTION, PAGE_HELD, PAGE_PROTECTED, PAGE_SIZE, RAM,
                            WATCH_READ, WATCH_WRITE, TLBEntry)
from x86core.tlb cimport tag_matches, tag_of_none, tlb_entry, tlb_index, tlb_note

cdef enum:
    OFFSET = PAGE_SIZE - 1


cdef uint64_t translate(CPU* cpu, uint32_t linear, int intent) noexcept nogil:
    """The physical address behind a linear one, or a page fault."""
    cdef int rights
    return translate_page(cpu, linear, intent, &rights)


cdef inline uint64_t translate_page(CPU* cpu, uint32_t linear, int intent, int* rights) noexcept nogil:
    """As translate, with what the TLB may know of the page."""
    if not cpu.paging:
        rights[0] = RIGHT_WRITE | RIGHT_USER
        return unmirrored(cpu.ram, linear)
    return unmirrored(cpu.ram, walk(cpu, linear, intent, rights))


cdef void fill(CPU* cpu, uint32_t linear, uint64_t physical, int rights) noexcept nogil:
    """Enter the page of an address in RAM into the TLB; writable unless somebody watches it."""
    cdef int number = tlb_index(linear)
    cdef TLBEntry* entry = &cpu.tlb[number]
    cdef uint32_t page = linear & ~<uint32_t>OFFSET
    cpu.stats.tlb_misses += 1
    if unlikely(cpu.checks_alignment):
        return
    if not rights & RIGHT_USER and cpu.cpl == 3:
        return                  # found for a system access: not for the program
    entry.read_tag = page
    entry.addend = cpu.ram.bytes + (physical & ~<uint64_t>OFFSET) - page
    if not rights & RIGHT_WRITE or atomic_load(&cpu.ram.pages[physical >> 12].attributes):
        entry.write_tag = tag_of_none(number)
    else:
        entry.write_tag = page
    tlb_note(cpu, number, rights & RIGHT_GLOBAL != 0, not rights & RIGHT_USER)
    if rights & RIGHT_LARGE:
        cpu.large_pages[linear >> 28] |= <uint64_t>1 << (linear >> 22 & 63)
    if unlikely(cpu.watching):
        hide_watched(cpu, entry, linear)


cdef bint device_answered(CPU* cpu, uint64_t* value) noexcept nogil:
    """Whether this device access was answered before the instruction was begun again.

    If not, the caller describes it in kvm_run and the instruction is left.
    """
    if cpu.delivering:
        value[0] = ~<uint64_t>0     # events are delivered whole; no device is behind their frames
        return True
    if cpu.replay_at != cpu.position:
        cpu.replay_at = cpu.position
        cpu.replay_count = 0
        cpu.replay_next = 0
    if cpu.replay_next < cpu.replay_count:
        value[0] = cpu.replay[cpu.replay_next]
        cpu.replay_next += 1
        return True
    cpu.exception = DEVICE_ACCESS
    return False


cdef bint is_held_back(CPU* cpu) noexcept nogil:
    """Whether run() is to be left before an instruction that may wake another vCPU: it is not the first one.

    The delivery of an event is no instruction.
    """
    return cpu.stops_before_wakes and cpu.position != cpu.entered_retired and not cpu.delivering


cdef bint is_own(CPU* cpu, uint64_t physical, uint32_t attributes) noexcept nogil:
    """Whether a store goes to the line that this vCPU alone monitors; what it takes is added to the time."""
    cdef uint64_t line = physical & ~<uint64_t>(LINE_SIZE - 1)
    cdef uint64_t word
    cdef uint32_t index
    if line != cpu.watched_line:
        return False
    for index in range(<uint32_t>atomic_load(&cpu.ram.vcpu_limit)):
        word = atomic_load(&cpu.ram.monitors[index])
        if index != cpu.index and word & MONITOR_STATE != MONITOR_IDLE and word & ~<uint64_t>(LINE_SIZE - 1) == line:
            return False
    if attributes & PAGE_PROTECTED and cpu.ram.virtual_time:
        cpu.virtual_base += cpu.own_store_ns
        atomic_store(&cpu.stop_at, 0)       # a timer is nearer than it was
    return True


cdef uint64_t access_apic(CPU* cpu, uint32_t offset, uint32_t value, int size, bint write) noexcept nogil:
    """An access to the local APIC's page, at the time of this very instruction."""
    cdef int64_t retired = cpu.retired
    cpu.retired = cpu.position      # of the whole block until here, which would put virtual time ahead
    if not write:
        value = apic_read(cpu, offset, size)
    elif size == 4:
        apic_write(cpu, offset, value)
    cpu.retired = retired
    return value


cdef uint64_t access_device(CPU* cpu, uint64_t physical, uint32_t value, int size, bint write) noexcept nogil:
    """A memory-mapped access: its value, or FAULT while the VMM has not answered it."""
    cdef uint64_t answer = 0
    if apic_holds(cpu, physical):
        if write and physical & OFFSET == APIC_ICR_LOW and is_held_back(cpu):
            return <uint64_t>raise_exception(cpu, MAY_WAKE, EXIT_IPI)
        return access_apic(cpu, physical & OFFSET, value, size, write)
    if device_answered(cpu, &answer):
        return answer & (~<uint64_t>0 >> (64 - 8 * size))
    cpu.access_exit = EXIT_MMIO
    cpu.run.exit.mmio.phys_addr = physical
    cpu.run.exit.mmio.len = size
    cpu.run.exit.mmio.is_write = write
    (<uint64_t*>cpu.run.exit.mmio.data)[0] = value
    return <uint64_t>FAULT


cdef uint64_t read_physical(CPU* cpu, uint64_t physical, int size) noexcept nogil:
    """Up to 4 bytes that lie in one page."""
    cdef uint64_t value = 0
    cdef int byte
    if physical + size > cpu.ram.size:
        return access_device(cpu, physical, 0, size, False)
    for byte in range(size):
        value |= <uint64_t>cpu.ram.bytes[physical + byte] << 8 * byte
    return value


cdef inline bint is_stored(RAM* ram, uint64_t physical, int size) noexcept nogil:
    """Whether a store to bytes in one page changes them: those of RAM that is no ROM."""
    return physical + size <= ram.size and not is_rom(ram, physical)


cdef bint write_device(CPU* cpu, uint64_t physical, uint32_t value, int size) noexcept nogil:
    """Store a part to a device if it belongs to one, or to ROM; whether that waits for the VMM."""
    if is_stored(cpu.ram, physical, size) or cpu.system_access and physical + size <= cpu.ram.size:
        return False                # what the processor itself marks in ROM is lost: no device waits for it
    return faulted(access_device(cpu, physical, value, size, True))


cdef void store_part(CPU* cpu, uint64_t physical, uint32_t value, int size) noexcept nogil:
    """Store up to 4 bytes that lie in one page, if that is RAM. after_store must follow it."""
    cdef int byte
    if is_stored(cpu.ram, physical, size):
        for byte in range(size):
            cpu.ram.bytes[physical + byte] = <uint8_t>(value >> 8 * byte)


cdef uint64_t read_straddling(CPU* cpu, uint32_t linear, int size, int intent) noexcept nogil:
    cdef int low_size = PAGE_SIZE - (linear & OFFSET)
    cdef uint64_t low_page, high_page, low, high
    if probe(cpu, linear, linear + size - 1, intent):
        return <uint64_t>FAULT
    low_page = translate(cpu, linear, intent)
    if faulted(low_page):
        return low_page
    high_page = translate(cpu, linear + low_size, intent)
    if faulted(high_page):
        return high_page
    if likely(high_page == low_page + low_size and high_page + size - low_size <= cpu.ram.size):
        return load_from(cpu.ram.bytes + low_page, size)
    low = read_physical(cpu, low_page, low_size)
    if faulted(low):
        return low
    high = read_physical(cpu, high_page, size - low_size)
    if faulted(high):
        return high
    return low | high << 8 * low_size


cdef inline bint is_misaligned(CPU* cpu, uint32_t linear, int size) noexcept nogil:
    """Whether an access is the program's, and faults with #AC, which is noted then (SDM vol. 3, table 6-7).

    An instruction's parts are looked at one by one: of a far pointer the offset and the selector.
    """
    if not cpu.checks_alignment or cpu.system_access or not linear & (size - 1):
        return False
    raise_exception(cpu, EXCEPTION_AC, 0)
    return True


cdef int probe_linear(CPU* cpu, uint32_t linear, int size, int intent) noexcept nogil:
    """Whether an access would find no fault; 0 or FAULT. Nothing is marked."""
    cdef TLBEntry* entry = tlb_entry(cpu, linear)
    if likely(tag_matches(entry.write_tag if intent == INTENT_WRITE else entry.read_tag, linear, size)):
        return 0
    return FAULT if is_misaligned(cpu, linear, size) else probe(cpu, linear, linear + size - 1, intent)


cdef uint64_t read_linear(CPU* cpu, uint32_t linear, int size, int intent) noexcept nogil:
    """1, 2 or 4 bytes from a linear address; `faulted` tells a fault from a value."""
    cdef TLBEntry* entry = tlb_entry(cpu, linear)
    cdef uint64_t physical
    cdef int rights
    if likely(tag_matches(entry.read_tag, linear, size)):
        return load_from(entry.addend + linear, size)
    if unlikely(cpu.watching) and notice_access(cpu, linear, size, WATCH_READ):
        return <uint64_t>FAULT
    if unlikely(is_misaligned(cpu, linear, size)):
        return <uint64_t>FAULT
    if unlikely((linear & OFFSET) + size > PAGE_SIZE):
        return read_straddling(cpu, linear, size, intent)
    physical = translate_page(cpu, linear, intent, &rights)
    if faulted(physical):
        return physical
    if unlikely(physical + size > cpu.ram.size):
        return access_device(cpu, physical, 0, size, False)
    fill(cpu, linear, physical, rights)
    return load_from(cpu.ram.bytes + physical, size)


cdef uint8_t* locate_store(CPU* cpu, uint32_t linear, int size) noexcept nogil:
    """Where a store of these bytes goes in one host access; finish_store must follow it.

    NULL with NO_EXCEPTION when there is no such place (a device, pages that are not contiguous),
    NULL with an exception when the guest may not store there, or not yet.
    """
    cdef RAM* ram = cpu.ram
    cdef int rights
    cdef uint64_t physical, last
    cdef uint32_t attributes
    if unlikely(is_misaligned(cpu, linear, size)):
        return NULL
    if unlikely((linear & OFFSET) + size > PAGE_SIZE) and probe(cpu, linear, linear + size - 1, INTENT_WRITE):
        return NULL
    physical = translate_page(cpu, linear, INTENT_WRITE, &rights)
    if faulted(physical):
        return NULL
    if unlikely(cpu.watching) and notice_access(cpu, linear, size, WATCH_WRITE):
        return NULL
    last = physical + size - 1
    if (linear & OFFSET) + size > PAGE_SIZE:
        last = translate(cpu, (linear | OFFSET) + 1, INTENT_WRITE)
        if faulted(last):
            return NULL
        last += (linear + size - 1) & OFFSET
    cpu.exception = NO_EXCEPTION
    if last != physical + size - 1 or last >= ram.size or is_rom(ram, physical) or is_rom(ram, last):
        return NULL
    fill(cpu, linear, physical, rights)
    attributes = atomic_load(&ram.pages[physical >> 12].attributes) | atomic_load(&ram.pages[last >> 12].attributes)
    if unlikely(attributes & (PAGE_PROTECTED | PAGE_HELD)) and is_held_back(cpu) and not is_own(cpu, physical, attributes):
        cpu.run.exit.mmio.phys_addr = physical
        cpu.run.exit.mmio.len = size
        cpu.run.exit.mmio.is_write = True
        raise_exception(cpu, MAY_WAKE, EXIT_STORE)
        return NULL
    cpu.store_physical = physical
    cpu.store_watched = attributes & ~<uint32_t>PAGE_HELD != 0
    return ram.bytes + physical


cdef void finish_store(CPU* cpu, int size) noexcept nogil:
    """Follows the store to what locate_store returned."""
    cdef int low_size
    if likely(not cpu.store_watched):
        return
    low_size = PAGE_SIZE - (cpu.store_physical & OFFSET)
    if low_size >= size:
        after_store(cpu.ram, cpu, cpu.store_physical, size)
    else:
        after_store(cpu.ram, cpu, cpu.store_physical, low_size)
        after_store(cpu.ram, cpu, cpu.store_physical + low_size, size - low_size)


cdef int write_scattered(CPU* cpu, uint32_t linear, uint64_t value, int size) noexcept nogil:
    """A store of up to 8 bytes that is no single host access; 0 or FAULT.

    Devices come first, since the instruction may have to wait for them. Monitors and code come last: who wakes
    finds all of it. Both pages are looked up once: their tables may change under way.
    """
    cdef int low_size = min(PAGE_SIZE - <int>(linear & OFFSET), size)
    cdef uint64_t low = translate(cpu, linear, INTENT_WRITE)
    cdef uint64_t high = 0
    cdef uint64_t physical
    cdef int step, done, part
    if faulted(low):
        return FAULT
    if low_size < size:
        high = translate(cpu, linear + low_size, INTENT_WRITE)
        if faulted(high):
            return FAULT
    for step in range(3):
        done = 0
        while done < size:
            part = min(4 - (done & 3), (low_size if done < low_size else size) - done)
            physical = low + done if done < low_size else high + (done - low_size)
            if step == 0:
                if write_device(cpu, physical, <uint32_t>(value >> 8 * done), part):
                    return FAULT
            elif step == 1:
                store_part(cpu, physical, <uint32_t>(value >> 8 * done), part)
            elif is_stored(cpu.ram, physical, part):
                after_store(cpu.ram, cpu, physical, part)
            done += part
    return 0


cdef int write_linear(CPU* cpu, uint32_t linear, uint32_t value, int size) noexcept nogil:
    """Store 1, 2 or 4 bytes at a linear address; 0 or FAULT."""
    cdef TLBEntry* entry = tlb_entry(cpu, linear)
    cdef uint8_t* at
    if likely(tag_matches(entry.write_tag, linear, size)):
        store_to(entry.addend + linear, value, size)
        return 0
    at = locate_store(cpu, linear, size)
    if likely(at != NULL):
        store_to(at, value, size)
        finish_store(cpu, size)
        return 0
    if cpu.exception != NO_EXCEPTION:
        return FAULT
    return write_scattered(cpu, linear, value, size)


cdef uint8_t* locate_span(CPU* cpu, uint32_t linear, int intent) noexcept nogil:
    """Host address of a byte if the rest of its page may be accessed directly, else NULL.

    Never faults: NULL says to go element by element.
    """
    cdef TLBEntry* entry = tlb_entry(cpu, linear)
    cdef uint64_t physical
    cdef int rights
    if not tag_matches(entry.read_tag, linear, 1) or (
            intent == INTENT_WRITE and not tag_matches(entry.write_tag, linear, 1)):
        physical = translate_page(cpu, linear, intent, &rights)
        if faulted(physical) or physical >= cpu.ram.size:
            return NULL
        fill(cpu, linear, physical, rights)
        if not tag_matches(entry.write_tag if intent == INTENT_WRITE else entry.read_tag, linear, 1):
            return NULL
    return entry.addend + linear
