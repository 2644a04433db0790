"""The local APIC: its registers in memory, and the interrupts that it sends (SDM vol. 3, chapter 11).

An xAPIC with six LVT entries. RESET leaves LINT0 open as ExtINT, as firmware and KVM do, so that the VMM's
interrupts reach a guest which knows nothing of the APIC.
"""
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from x86core.apic_registers cimport *
from x86core.apic_timer cimport current_count, notice_timer, set_divisor, set_timer_entry, start_timer
from x86core.attention cimport post
from x86core.interrupts cimport (apic_enabled, apic_software_enabled, end_interrupt, processor_priority, report_error,
                                 request_vector)
from x86core.intrinsics cimport NO_LIMIT, atomic_and, atomic_load, atomic_store
from x86core.recording cimport note
from x86core.state cimport (ATTENTION_INIT, ATTENTION_INTERRUPT, ATTENTION_NMI, ATTENTION_SIPI, CPU, PAGE_SIZE, RAM,
                            WAKE_INTERRUPT, WAKE_NMI, WAKE_START)

cdef enum:
    VERSION = 0x00050014        # an integrated APIC with six LVT entries
    ICR_WRITABLE = 0xCCFFF      # delivery status is read-only

# Delivery modes, where they stand in the ICR.
cdef enum:
    FIXED = 0
    LOWEST_PRIORITY = 0x100
    NMI = 0x400
    INIT = 0x500
    STARTUP = 0x600

cdef enum:
    ICR_LOGICAL = 1 << 11
    ICR_ASSERT = 1 << 14
    ICR_LEVEL = 1 << 15
    SHORTHAND = 3 << 18
    TO_SELF = 1 << 18
    TO_ALL = 2 << 18
    TO_OTHERS = 3 << 18
    BROADCAST = 0xFF
    FLAT_MODEL = 0xF            # DFR, bits 31:28

# Bits of a message's address; its data are as the ICR's low half.
cdef enum:
    MESSAGE_LOGICAL = 1 << 2
    MESSAGE_REDIRECTED = 1 << 3     # to the processor of lowest priority


cdef void reset_apic(CPU* cpu) noexcept nogil:
    """The state after INIT, which leaves alone where the page is, whether there is one, and the APIC ID."""
    cdef int offset
    cdef uint32_t number = apic_register(cpu, APIC_ID)[0]
    memset(cpu.apic.registers, 0, sizeof(cpu.apic.registers))
    for offset in range(4):
        atomic_store(&cpu.apic.irr[offset], 0)
        atomic_store(&cpu.apic.tmr[offset], 0)
        cpu.apic.isr[offset] = 0
    apic_register(cpu, APIC_ID)[0] = number
    apic_register(cpu, APIC_VERSION)[0] = VERSION
    apic_register(cpu, APIC_DFR)[0] = 0xFFFFFFFFU
    apic_register(cpu, APIC_SVR)[0] = 0xFF
    for offset in range(APIC_LVT_TIMER, APIC_LVT_ERROR + 1, 0x10):
        apic_register(cpu, offset)[0] = LVT_MASKED
    apic_register(cpu, APIC_LVT_LINT0)[0] = LVT_EXTINT
    cpu.apic.errors = 0
    cpu.apic.timer_period = 0
    cpu.apic.tsc_deadline = 0
    atomic_store(&cpu.apic.timer_at, NO_LIMIT)


cdef int write_apic_base(CPU* cpu, uint64_t value) noexcept nogil:
    """IA32_APIC_BASE; not 0 when a bit is reserved or RAM lies where the page is to be."""
    cdef uint64_t page = value & 0xFFFFF000U
    if value & ~<uint64_t>(0xFFFFF000U | BASE_ENABLED | BASE_BOOTSTRAP) or page < cpu.ram.size:
        return 1
    if cpu.apic.base & BASE_ENABLED and not value & BASE_ENABLED:
        reset_apic(cpu)
    cpu.apic.base = value & ~<uint64_t>BASE_BOOTSTRAP | cpu.apic.base & BASE_BOOTSTRAP
    return 0


cdef bint apic_holds(CPU* cpu, uint64_t physical) noexcept nogil:
    """Whether an address that is not in RAM belongs to this vCPU's APIC."""
    return apic_enabled(cpu) and physical - (cpu.apic.base & 0xFFFFF000U) < PAGE_SIZE


# Sending.

cdef void post_init(CPU* target) noexcept nogil:
    """INIT. A SIPI from before does not start what INIT stops."""
    atomic_and(&target.attention, ~<uint32_t>ATTENTION_SIPI)
    post(target, ATTENTION_INIT)


cdef bint accept(CPU* target, uint32_t mode, uint32_t vector, bint level) noexcept nogil:
    """What an interrupt message does at the processor that it is for; whether it does anything."""
    cdef bint accepted
    if mode == FIXED or mode == LOWEST_PRIORITY:
        if not apic_software_enabled(target):
            return False
        accepted = request_vector(target, vector, level)
        post(target, ATTENTION_INTERRUPT)
        return accepted
    if mode == NMI:
        post(target, ATTENTION_NMI)
    elif mode == INIT:
        post_init(target)
    elif mode == STARTUP:
        atomic_store(&target.sipi_vector, vector)
        post(target, ATTENTION_SIPI)
    else:
        return False                # SMI, and ExtINT, whose controller is at LINT0
    return True


cdef void note_message(CPU* target, CPU* sender, uint32_t mode, uint32_t vector) noexcept nogil:
    """Before the target accepts it: who has sent it. `sender` is NULL for the host."""
    if mode == FIXED or mode == LOWEST_PRIORITY:
        note(target, sender, WAKE_INTERRUPT, vector)
    elif mode == NMI:
        note(target, sender, WAKE_NMI, 0)
    else:
        note(target, sender, WAKE_START, 0)


cdef bint is_addressed(CPU* target, uint32_t destination, bint logical) noexcept nogil:
    cdef uint32_t name
    if destination == BROADCAST:
        return True
    if not logical:
        # An index beyond what 8 bits can say is nobody's physical address.
        return target.index < BROADCAST and apic_register(target, APIC_ID)[0] >> 24 == destination
    name = apic_register(target, APIC_LDR)[0] >> 24
    if apic_register(target, APIC_DFR)[0] >> 28 == FLAT_MODEL:
        return name & destination != 0
    return name >> 4 == destination >> 4 and name & destination & 0xF != 0


cdef bint is_target(CPU* sender, CPU* target, uint32_t command, uint32_t destination) noexcept nogil:
    cdef uint32_t shorthand = command & SHORTHAND
    if not apic_enabled(target):
        return False
    if shorthand == TO_SELF:
        return target == sender
    if shorthand == TO_ALL:
        return True
    if shorthand == TO_OTHERS:
        return target != sender
    return is_addressed(target, destination, command & ICR_LOGICAL != 0)


cdef void send(CPU* cpu, uint32_t command) noexcept nogil:
    """A write to the ICR's low half."""
    cdef uint32_t destination = apic_register(cpu, APIC_ICR_HIGH)[0] >> 24
    cdef uint32_t mode = command & LVT_MODE
    if mode == INIT and not command & ICR_ASSERT and command & ICR_LEVEL:
        return                      # the de-assert of old processors, without effect since the Pentium 4
    if command & 0xFF < 16 and (mode == FIXED or mode == LOWEST_PRIORITY):
        report_error(cpu, SEND_ILLEGAL_VECTOR)
        return
    distribute(cpu.ram, cpu, command & ~<uint32_t>ICR_LEVEL, destination)       # between processors all are edges


cdef int send_message(RAM* ram, uint32_t address, uint32_t data) noexcept nogil:
    """A message-signalled interrupt, from any thread: how many processors accept it (SDM vol. 3, 11.11)."""
    cdef uint32_t command = data & (0xFF | LVT_MODE | ICR_LEVEL)
    if command & LVT_MODE == STARTUP:
        return 0                    # reserved here
    if command & LVT_MODE == FIXED and address & MESSAGE_REDIRECTED:
        command |= LOWEST_PRIORITY
    if address & MESSAGE_LOGICAL:
        command |= ICR_LOGICAL
    return distribute(ram, NULL, command, address >> 12 & 0xFF)


cdef int distribute(RAM* ram, CPU* sender, uint32_t command, uint32_t destination) noexcept nogil:
    """A message to whom it is for, `command` as in the ICR's low half; how many accept it."""
    cdef uint32_t mode = command & LVT_MODE
    cdef uint32_t vector = command & 0xFF
    cdef bint level = command & ICR_LEVEL != 0
    cdef int accepted = 0
    cdef CPU* chosen = NULL
    cdef CPU* target
    cdef uint32_t index
    for index in range(<uint32_t>atomic_load(&ram.vcpu_limit)):
        target = ram.vcpus[index]
        if target == NULL or not target.owned or not is_target(sender, target, command, destination):
            continue
        if mode != LOWEST_PRIORITY:
            note_message(target, sender, mode, vector)
            accepted += accept(target, mode, vector, level)
        elif apic_software_enabled(target) and (
                chosen == NULL or processor_priority(target) < processor_priority(chosen)):
            chosen = target
    if chosen != NULL:
        note_message(chosen, sender, mode, vector)
        accepted += accept(chosen, mode, vector, level)
    return accepted


# The registers.

cdef uint32_t vector_word(uint64_t* vectors, uint32_t offset) noexcept nogil:
    """One of the eight registers that show 256 bits."""
    cdef uint32_t part = offset >> 4 & 7
    return <uint32_t>(atomic_load(&vectors[part >> 1]) >> 32 * (part & 1))


cdef uint32_t apic_value(CPU* cpu, uint32_t offset) noexcept nogil:
    """The register at an offset, without what a read by the guest sets off."""
    if offset == APIC_PPR:
        return processor_priority(cpu)
    if offset == APIC_CURRENT_COUNT:
        return current_count(cpu)
    if offset == APIC_EOI:
        return 0
    if APIC_ISR <= offset < APIC_TMR:
        return vector_word(cpu.apic.isr, offset)
    if APIC_TMR <= offset < APIC_IRR:
        return vector_word(cpu.apic.tmr, offset)
    if APIC_IRR <= offset < APIC_ESR:
        return vector_word(cpu.apic.irr, offset)
    return apic_register(cpu, offset)[0]


cdef bint is_register(uint32_t offset) noexcept nogil:
    return (offset in (APIC_ID, APIC_VERSION) or APIC_TPR <= offset <= APIC_ESR
            or APIC_ICR_LOW <= offset <= APIC_CURRENT_COUNT or offset == APIC_DIVIDE)


cdef uint32_t apic_read(CPU* cpu, uint32_t offset, int size) noexcept nogil:
    """A load of 1, 2 or 4 bytes from the page. Only the first 4 bytes of each 16 are a register."""
    cdef uint32_t value = 0
    notice_timer(cpu)
    if not is_register(offset & 0xFF0):
        report_error(cpu, ILLEGAL_REGISTER)
        atomic_store(&cpu.stop_at, 0)
    elif offset & 15 < 4:
        value = apic_value(cpu, offset & 0xFF0) >> 8 * (offset & 3)
    return <uint32_t>(value & (<uint64_t>0xFFFFFFFFU >> (32 - 8 * size)))


cdef void write_entry(CPU* cpu, uint32_t offset, uint32_t value) noexcept nogil:
    """An LVT entry. While the APIC is disabled by software its mask cannot be cleared."""
    cdef uint32_t writable = LVT_MASKED | 0xFF
    if offset == APIC_LVT_TIMER:
        writable |= TIMER_MODE
    elif offset == APIC_LVT_LINT0 or offset == APIC_LVT_LINT1:
        writable |= LVT_MODE | 0xA000
    elif offset != APIC_LVT_ERROR:
        writable |= LVT_MODE
    value &= writable
    if not apic_software_enabled(cpu):
        value |= LVT_MASKED
    if offset == APIC_LVT_TIMER:
        set_timer_entry(cpu, value)
    else:
        apic_register(cpu, offset)[0] = value


cdef void write_spurious(CPU* cpu, uint32_t value) noexcept nogil:
    cdef bint was_enabled = apic_software_enabled(cpu)
    cdef int offset
    apic_register(cpu, APIC_SVR)[0] = value & 0x3FF
    if was_enabled and not value & SVR_ENABLED:
        for offset in range(APIC_LVT_TIMER, APIC_LVT_ERROR + 1, 0x10):
            apic_register(cpu, offset)[0] |= LVT_MASKED


cdef void apic_write(CPU* cpu, uint32_t offset, uint32_t value) noexcept nogil:
    """A store of 4 bytes to a register; one anywhere else in the page does nothing but note an error."""
    notice_timer(cpu)               # it was due under the settings before
    if offset == APIC_EOI:
        end_interrupt(cpu)
    elif offset == APIC_TPR:
        apic_register(cpu, offset)[0] = value & 0xFF
    elif offset == APIC_ID or offset == APIC_LDR:
        apic_register(cpu, offset)[0] = value & 0xFF000000U
    elif offset == APIC_DFR:
        apic_register(cpu, offset)[0] = value | 0x0FFFFFFF
    elif offset == APIC_SVR:
        write_spurious(cpu, value)
    elif offset == APIC_ESR:
        apic_register(cpu, offset)[0] = cpu.apic.errors
        cpu.apic.errors = 0
    elif offset == APIC_ICR_LOW:
        apic_register(cpu, offset)[0] = value & ICR_WRITABLE
        send(cpu, value & ICR_WRITABLE)
    elif offset == APIC_ICR_HIGH:
        apic_register(cpu, offset)[0] = value & 0xFF000000U
    elif APIC_LVT_TIMER <= offset <= APIC_LVT_ERROR and offset & 15 == 0:
        write_entry(cpu, offset, value)
    elif offset == APIC_INITIAL_COUNT:
        start_timer(cpu, value)
    elif offset == APIC_DIVIDE:
        set_divisor(cpu, value & 0xB)
    elif not is_register(offset):
        report_error(cpu, ILLEGAL_REGISTER)
    # Priorities, masks or the timer may have changed: look again before the next block.
    atomic_store(&cpu.stop_at, 0)
