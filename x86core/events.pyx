"""Exceptions and interrupts: through the vector table of real mode or a 32-bit IDT.

The arithmetic flags stand in CPU while an event is delivered, and `eip` is the address to return to.
Each deliver_* returns EXIT_NONE, or EXIT_SHUTDOWN after a triple fault (SDM vol. 3, 6.15).
"""
from libc.stdint cimport uint32_t, uint64_t

from x86core.flags cimport get_eflags
from x86core.intrinsics cimport atomic_store
from x86core.mmu cimport FAULT, INTENT_READ, INTENT_WRITE, faulted, raise_exception, read_linear, write_linear
from x86core.segmentation cimport load_code_segment, segment_address
from x86core.state cimport (CPU, CR0_PE, CS, ESP, EXCEPTION_DB, EXCEPTION_DE, EXCEPTION_DF,
                            EXCEPTION_GP, EXCEPTION_NMI, EXCEPTION_NP, EXCEPTION_PF, EXCEPTION_TS,
                            EXIT_NONE, EXIT_SHUTDOWN, FLAG_AC, FLAG_IF, FLAG_NT, FLAG_RF, FLAG_TF,
                            FLAG_VM, SS)

cdef enum Source:
    SOFTWARE                    # INT n and its kin
    PROCESSOR                   # a fault
    EXTERNAL                    # an interrupt, or a trap between instructions


cdef int push(CPU* cpu, uint32_t* sp, uint32_t value, int size) noexcept nogil:
    """Push below *sp, which is moved; ESP itself is left until the whole frame stands."""
    cdef uint32_t below = (sp[0] - size) & cpu.stack_mask
    cdef uint64_t linear = segment_address(cpu, SS, below, size, INTENT_WRITE)
    if faulted(linear) or write_linear(cpu, <uint32_t>linear, value, size):
        return FAULT
    sp[0] = below
    return 0


cdef int push_frame(CPU* cpu, uint32_t eflags, int size, bint with_error, uint32_t error_code,
                    uint32_t* sp) noexcept nogil:
    if push(cpu, sp, eflags, size) or push(cpu, sp, cpu.segments[CS].selector, size) or (
            push(cpu, sp, cpu.eip, size)):
        return FAULT
    return push(cpu, sp, error_code, size) if with_error else 0


cdef int deliver_real(CPU* cpu, uint32_t vector) noexcept nogil:
    cdef uint32_t sp = cpu.gpr[ESP]
    cdef uint64_t entry
    if vector * 4 + 3 > cpu.idt_limit:
        return raise_exception(cpu, EXCEPTION_GP, vector * 8 + 2)
    entry = read_linear(cpu, cpu.idt_base + vector * 4, 4, INTENT_READ)
    if faulted(entry):
        return FAULT
    if push_frame(cpu, get_eflags(cpu), 2, False, 0, &sp):
        return FAULT
    if load_code_segment(cpu, <uint32_t>entry >> 16, <uint32_t>entry & 0xFFFF):
        return FAULT
    cpu.gpr[ESP] = cpu.gpr[ESP] & ~cpu.stack_mask | sp & cpu.stack_mask
    cpu.eip = <uint32_t>entry & 0xFFFF
    cpu.eflags &= ~<uint32_t>(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF)
    return 0


cdef int deliver_protected(CPU* cpu, uint32_t vector, bint with_error, uint32_t error_code,
                           Source source) noexcept nogil:
    """Through an interrupt or trap gate to a handler at the same privilege level."""
    cdef uint32_t external = 0 if source == SOFTWARE else 1
    cdef uint32_t gate_error = vector * 8 + 2 + external
    cdef uint32_t at = cpu.idt_base + vector * 8
    cdef uint32_t sp = cpu.gpr[ESP]
    cdef uint32_t kind, offset, eflags
    cdef uint64_t low, high
    cdef int size
    if vector * 8 + 7 > cpu.idt_limit:
        return raise_exception(cpu, EXCEPTION_GP, gate_error)
    low = read_linear(cpu, at, 4, INTENT_READ)
    if faulted(low):
        return FAULT
    high = read_linear(cpu, at + 4, 4, INTENT_READ)
    if faulted(high):
        return FAULT
    kind = high >> 8 & 0x1F
    if kind not in (0x06, 0x07, 0x0E, 0x0F):
        return raise_exception(cpu, EXCEPTION_GP, gate_error)
    if not high & 0x8000:
        return raise_exception(cpu, EXCEPTION_NP, gate_error)
    size = 4 if kind & 8 else 2
    offset = low & 0xFFFF
    if size == 4:
        offset |= <uint32_t>high & 0xFFFF0000U
    eflags = get_eflags(cpu)
    if source == PROCESSOR:
        eflags |= FLAG_RF
    if push_frame(cpu, eflags, size, with_error, error_code, &sp):
        return FAULT
    if load_code_segment(cpu, <uint32_t>low >> 16, offset):
        cpu.error_code |= external
        return FAULT
    cpu.gpr[ESP] = cpu.gpr[ESP] & ~cpu.stack_mask | sp & cpu.stack_mask
    cpu.eip = offset
    cpu.eflags &= ~<uint32_t>(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM)
    if not kind & 1:
        cpu.eflags &= ~<uint32_t>FLAG_IF
    return 0


cdef bint has_error_code(uint32_t vector) noexcept nogil:
    return vector == EXCEPTION_DF or EXCEPTION_TS <= vector <= EXCEPTION_PF or vector == 17


cdef bint is_contributory(uint32_t vector) noexcept nogil:
    return vector == EXCEPTION_DE or EXCEPTION_TS <= vector < EXCEPTION_PF


cdef int deliver_once(CPU* cpu, uint32_t vector, uint32_t error_code, Source source) noexcept nogil:
    # TF is cleared on the way; a step that had begun ends without its trap (SDM vol. 3, 17.3.1.4).
    cpu.trap_at = -1
    if cpu.cr0 & CR0_PE:
        return deliver_protected(cpu, vector, source == PROCESSOR and has_error_code(vector), error_code, source)
    return deliver_real(cpu, vector)


cdef int deliver(CPU* cpu, uint32_t vector, uint32_t error_code, Source source) noexcept nogil:
    """Deliver an event, and in its place whatever exceptions its delivery meets."""
    cdef uint32_t second
    cdef bint double_fault = source == PROCESSOR and vector == EXCEPTION_DF
    cpu.delivering = True
    while deliver_once(cpu, vector, error_code, source):
        if double_fault:
            cpu.delivering = False
            return EXIT_SHUTDOWN
        second = cpu.exception
        if source == PROCESSOR and (
                is_contributory(vector) and is_contributory(second)
                or vector == EXCEPTION_PF and (is_contributory(second) or second == EXCEPTION_PF)):
            double_fault = True
            vector = EXCEPTION_DF
            error_code = 0
        else:
            vector = second
            error_code = cpu.error_code
        source = PROCESSOR
    cpu.delivering = False
    # What the handler's first instruction asks of devices is not what the faulting one asked.
    cpu.replay_at = -1
    cpu.last_event = vector
    # Handlers that fault at once retire nothing, but a run must end all the same.
    cpu.deliveries = cpu.deliveries + 1 if cpu.delivered_at == cpu.retired else 0
    cpu.delivered_at = cpu.retired
    if cpu.retired + cpu.deliveries >= cpu.limit_at:
        atomic_store(&cpu.stop_at, 0)
    if cpu.single_step:
        cpu.limit_at = cpu.retired
        atomic_store(&cpu.stop_at, 0)
    return EXIT_NONE


cdef int deliver_fault(CPU* cpu) noexcept nogil:
    """The exception in cpu.exception."""
    return deliver(cpu, cpu.exception, cpu.error_code, PROCESSOR)


cdef int deliver_software_interrupt(CPU* cpu, uint32_t vector) noexcept nogil:
    """INT n, INT3, INTO. A fault on the way is reported at the instruction: the caller sees FAULT."""
    cdef int result
    cpu.delivering = True
    result = deliver_once(cpu, vector, 0, SOFTWARE)
    cpu.delivering = False
    return result


cdef int deliver_external_interrupt(CPU* cpu, uint32_t vector) noexcept nogil:
    cpu.stats.irq_injections += 1
    return deliver(cpu, vector, 0, EXTERNAL)


cdef int deliver_nmi(CPU* cpu) noexcept nogil:
    cpu.stats.nmi_injections += 1
    return deliver(cpu, EXCEPTION_NMI, 0, EXTERNAL)


cdef int deliver_debug_trap(CPU* cpu) noexcept nogil:
    return deliver(cpu, EXCEPTION_DB, 0, EXTERNAL)
