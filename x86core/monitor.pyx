"""The address monitor behind MONITOR and MWAIT: armed by protection, woken by the write fault.

Being woken early is legal, so a spurious wake is a cost and a lost wake the only bug. Two orders
keep wakes from being lost; tests/monitor drives each rule.

1. No store of another vCPU passes unseen once a line is armed. A page is armed only when every vCPU
   has dropped its write tag since the page became protected: it answered the shootdown after its
   earlier stores were visible (an exchange drains the store buffer), or it is outside the guest and
   looks at the shootdown number, after an exchange, before it stores again. Until then MONITOR
   leaves the monitor idle and the next MWAIT is a NOP; nobody waits for a remote vCPU.
2. Who arms: line bit, monitor word, then the guest's own look at its flag. Who stores: the store, a
   fence, then the line bit and the monitor words. One of the two sees the other.

A monitor is one word, line and state: IDLE -> ARMED -> WAITING -> TRIGGERED, each step one exchange.

With paging, a store to one of the two table entries that translate the monitored address triggers as well. They are
watched before the monitor is armed and looked at once more after that, which is the second order again.
"""
from libc.stdint cimport uint32_t, uint64_t
from x86core.attention cimport wake
from x86core.intrinsics cimport (atomic_add, atomic_and, atomic_exchange, atomic_load, atomic_or, atomic_store,
                                 atomic_swap_if, likely)
from x86core.recording cimport note
from x86core.shootdown cimport answer_shootdown, everybody_answered, lock_page, shootdown, unlock_page
from x86core.state cimport (CPU, LINE_SIZE, MONITOR_ARMED, MONITOR_IDLE, MONITOR_SCANNED, MONITOR_STATE, MONITOR_TRIGGERED,
                            MONITOR_WAITING, PAGE_ACKNOWLEDGED, PAGE_PROTECTED, PAGE_SIZE, RAM, STORE_LOCKED,
                            STORE_STRING, STORE_WALK, WAKE_STORE, Page)

cdef enum:
    # False faults on a page, since a monitor was last armed there, before giving up its protection is tried.
    RELEASE_AFTER = 64
    # In CPU.monitored_tables beside a line, which may be 0.
    TABLE_LINE = 1


cdef bint protect(CPU* cpu, Page* page) noexcept nogil:
    """Protect a page if it is not yet; True once no vCPU can store there unseen. Under its lock."""
    cdef uint32_t attributes = atomic_load(&page.attributes)
    if likely(attributes & PAGE_ACKNOWLEDGED):
        return True
    if not attributes & PAGE_PROTECTED:
        atomic_or(&page.attributes, PAGE_PROTECTED)
        shootdown(cpu.ram, cpu)
        # The newest number stands for every shootdown up to it, ours included.
        page.protected_at = atomic_load(&cpu.ram.shootdown)
        cpu.stats.page_protections += 1
    if cpu.acknowledged < page.protected_at:
        answer_shootdown(cpu)
    if not everybody_answered(cpu.ram, page.protected_at):
        return False
    atomic_or(&page.attributes, PAGE_ACKNOWLEDGED)
    return True


cdef void monitor_arm(CPU* cpu, uint64_t physical) noexcept nogil:
    """MONITOR: watch the line of a physical address in RAM, instead of any line before."""
    cdef RAM* ram = cpu.ram
    cdef uint64_t line = physical & ~<uint64_t>(LINE_SIZE - 1)
    cdef uint64_t bit = <uint64_t>1 << (physical >> 6 & 63)
    cdef Page* page = &ram.pages[physical >> 12]
    lock_page(page)
    if protect(cpu, page):
        if not atomic_load(&page.monitored_lines) & bit:
            atomic_or(&page.monitored_lines, bit)
        page.false_faults = 0
        atomic_exchange(&ram.monitors[cpu.index], line | MONITOR_ARMED)
        cpu.stats.monitor_arms += 1
    else:
        monitor_disarm(cpu)
        cpu.stats.monitor_unacknowledged += 1
    unlock_page(page)


cdef void monitor_disarm(CPU* cpu) noexcept nogil:
    atomic_exchange(&cpu.ram.monitors[cpu.index], MONITOR_IDLE)
    forget_tables(cpu)


cdef bint monitor_tables(CPU* cpu, uint64_t directory, uint64_t table) noexcept nogil:
    """Have a store to two entries of the translation tables trigger the monitor that is armed next.

    Without RAM nothing is stored. False while some vCPU could still store there unseen.
    """
    cdef bint first = watch_table(cpu, 0, directory)    # both at once, so that one answer of the others does
    return watch_table(cpu, 1, table) and first


cdef bint watch_table(CPU* cpu, int number, uint64_t physical) noexcept nogil:
    cdef RAM* ram = cpu.ram
    cdef Page* page = &ram.pages[physical >> 12]
    cdef bint protected
    if physical >= ram.size:
        atomic_store(&cpu.monitored_tables[number], 0)
        return True
    lock_page(page)
    protected = protect(cpu, page)
    if protected:
        atomic_or(&page.monitored_lines, <uint64_t>1 << (physical >> 6 & 63))
        page.false_faults = 0
        # From here on the page is not released.
        atomic_store(&cpu.monitored_tables[number], physical & ~<uint64_t>(LINE_SIZE - 1) | TABLE_LINE)
    else:
        cpu.stats.monitor_unacknowledged += 1
    unlock_page(page)
    return protected


cdef inline void forget_tables(CPU* cpu) noexcept nogil:
    if cpu.monitored_tables[0] | cpu.monitored_tables[1]:
        atomic_store(&cpu.monitored_tables[0], 0)
        atomic_store(&cpu.monitored_tables[1], 0)


cdef void monitor_translation_changed(CPU* cpu) noexcept nogil:
    """CR3, INVLPG and the like, of the vCPU itself or of the VMM outside run(): as a store to the tables."""
    cdef uint64_t* monitor = &cpu.ram.monitors[cpu.index]
    cdef uint64_t word = atomic_load(monitor)
    if not cpu.monitored_tables[0] | cpu.monitored_tables[1]:
        return
    while word & MONITOR_STATE in (MONITOR_ARMED, MONITOR_WAITING):
        if atomic_swap_if(monitor, word, word & ~<uint64_t>MONITOR_STATE | MONITOR_TRIGGERED):
            if word & MONITOR_STATE == MONITOR_WAITING:
                wake(cpu)
            break
        word = atomic_load(monitor)
    forget_tables(cpu)


cdef bint monitor_wait_begin(CPU* cpu, uint64_t scanned) noexcept nogil:
    """From ARMED to WAITING; False when the monitor is idle or triggered, and MWAIT is a NOP.

    It is one too when the monitor was armed for the other way of waking: by scans (MONITOR_SCANNED) or not (0).
    """
    cdef uint64_t* monitor = &cpu.ram.monitors[cpu.index]
    cdef uint64_t word = atomic_load(monitor)
    if word & (MONITOR_STATE | MONITOR_SCANNED) != (MONITOR_ARMED | scanned):
        return False
    return atomic_swap_if(monitor, word, word ^ (MONITOR_ARMED ^ MONITOR_WAITING))


cdef uint64_t monitor_wait_end(CPU* cpu) noexcept nogil:
    """To IDLE; the word as it was, in which MONITOR_TRIGGERED says that a store has ended the wait."""
    cdef uint64_t word = atomic_exchange(&cpu.ram.monitors[cpu.index], MONITOR_IDLE)
    forget_tables(cpu)
    return word


cdef void count_trigger(RAM* ram, CPU* writer) noexcept nogil:
    if writer == NULL:
        atomic_add(&ram.host_triggers, 1)
        return
    writer.stats.monitor_triggers_vcpu += 1
    if writer.store_kind == STORE_LOCKED:
        writer.stats.monitor_triggers_locked += 1
    elif writer.store_kind == STORE_STRING:
        writer.stats.monitor_triggers_string += 1
    elif writer.store_kind == STORE_WALK:
        writer.stats.monitor_triggers_walk += 1


cdef inline bint concerns(CPU* cpu, uint64_t word, uint64_t line) noexcept nogil:
    """Whether a store to a line triggers a monitor: it watches the line, or its address is translated by it."""
    if word & MONITOR_STATE not in (MONITOR_ARMED, MONITOR_WAITING):
        return False
    return word & ~<uint64_t>MONITOR_STATE == line or line | TABLE_LINE in (
        atomic_load(&cpu.monitored_tables[0]), atomic_load(&cpu.monitored_tables[1]))


cdef bint trigger(RAM* ram, CPU* writer, uint64_t line) noexcept nogil:
    """Trigger every monitor that a line concerns and wake who waits; whether there was one."""
    cdef uint32_t index
    cdef uint64_t word
    cdef bint found = False
    for index in range(<uint32_t>atomic_load(&ram.vcpu_limit)):
        word = atomic_load(&ram.monitors[index])
        while concerns(ram.vcpus[index], word, line):
            note(ram.vcpus[index], writer, WAKE_STORE, 0)
            if not atomic_swap_if(&ram.monitors[index], word, word & ~<uint64_t>MONITOR_STATE | MONITOR_TRIGGERED):
                word = atomic_load(&ram.monitors[index])
                continue
            found = True
            count_trigger(ram, writer)
            if word & MONITOR_STATE == MONITOR_WAITING:
                wake(ram.vcpus[index])
            break                   # a monitor armed since then is for stores to come
    return found


cdef bint is_table(CPU* cpu, uint64_t page) noexcept nogil:
    """Whether a monitored address is translated by an entry in a page."""
    cdef uint64_t table
    cdef int number
    if cpu == NULL:
        return False
    for number in range(2):
        table = atomic_load(&cpu.monitored_tables[number])
        if table & TABLE_LINE and table - page < PAGE_SIZE:
            return True
    return False


cdef void release(RAM* ram, CPU* writer, Page* page) noexcept nogil:
    """Give up the protection of a page on which nothing is armed."""
    cdef uint64_t physical = <uint64_t>(page - ram.pages) * PAGE_SIZE
    cdef uint32_t index
    cdef uint64_t word
    if atomic_exchange(&page.lock, 1):
        return                      # somebody arms there at this moment
    page.false_faults = 0
    for index in range(<uint32_t>atomic_load(&ram.vcpu_limit)):
        word = atomic_load(&ram.monitors[index])
        if (word & MONITOR_STATE in (MONITOR_ARMED, MONITOR_WAITING) and word - physical < PAGE_SIZE
                or is_table(ram.vcpus[index], physical)):
            unlock_page(page)
            return
    atomic_store(&page.monitored_lines, 0)
    atomic_and(&page.attributes, ~<uint32_t>(PAGE_PROTECTED | PAGE_ACKNOWLEDGED))
    writer.stats.page_releases += 1
    unlock_page(page)


cdef void monitor_store(RAM* ram, CPU* writer, uint64_t physical, uint64_t size) noexcept nogil:
    """What a visible store sets off in the monitors; a full fence stands between the two.

    `writer` is NULL for the host and for devices. The bytes lie in one page.
    """
    cdef Page* page = &ram.pages[physical >> 12]
    cdef uint64_t first = physical >> 6 & 63
    cdef uint64_t last = (physical + size - 1) >> 6 & 63
    cdef uint64_t touched = (~<uint64_t>0 << first) & (~<uint64_t>0 >> (63 - last))
    cdef uint64_t lines = atomic_load(&page.monitored_lines) & touched
    cdef uint64_t line
    cdef bint found = False
    if lines:
        for line in range(first, last + 1):
            if lines >> line & 1:
                found |= trigger(ram, writer, (physical & ~<uint64_t>(PAGE_SIZE - 1)) + line * LINE_SIZE)
    if writer != NULL:
        writer.stats.write_faults += 1
        if not found:
            writer.stats.false_faults += 1
            if atomic_add(&page.false_faults, 1) >= RELEASE_AFTER:
                release(ram, writer, page)
