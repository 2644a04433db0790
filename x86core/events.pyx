"""Exceptions and interrupts: through the vector table of real mode, or gates of the IDT.

The arithmetic flags stand in CPU while an event is delivered, and `eip` is the address to return to.
Each deliver_* returns EXIT_NONE, or EXIT_SHUTDOWN after a triple fault (SDM vol. 3, 6.15).
"""
from libc.stdint cimport uint32_t, uint64_t

from x86core.debug_registers cimport DR7_GD
from x86core.descriptors cimport (INTERRUPT_GATE16, TASK_GATE, TRAP_GATE16, Descriptor, dpl_of, gate_offset, gate_selector,
                                  is_present, is_segment, read_system, system_type)
from x86core.flags cimport get_eflags
from x86core.frames cimport Stack, present_stack, push_to, set_pointer
from x86core.intrinsics cimport atomic_store
from x86core.mmu cimport raise_exception
from x86core.mmu_intent cimport FAULT, faulted
from x86core.segmentation cimport set_real_segment, update_context
from x86core.state cimport (CPU, CR0_PE, CS, EXCEPTION_AC, EXCEPTION_DB, EXCEPTION_DE, EXCEPTION_DF, EXCEPTION_GP, EXCEPTION_NMI,
                            EXCEPTION_NP, EXCEPTION_PF, EXCEPTION_TS, EXIT_NONE, EXIT_SHUTDOWN, FLAG_AC, FLAG_IF,
                            FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM, TR)
from x86core.task cimport TASK_EVENT, TASK_FAULT, switch_through_gate
from x86core.transfer cimport enter_handler

cdef enum Source:
    SOFTWARE                    # INT n, INT3, INTO
    PROCESSOR                   # a fault
    EXTERNAL                    # an interrupt, a trap between instructions, INT1


cdef int deliver_real(CPU* cpu, uint32_t vector) noexcept nogil:
    cdef Stack stack
    cdef uint64_t entry
    if vector * 4 + 3 > cpu.idt_limit:
        return raise_exception(cpu, EXCEPTION_GP, vector * 8 + 2)
    entry = read_system(cpu, cpu.idt_base + vector * 4, 4)
    if faulted(entry):
        return FAULT
    present_stack(cpu, &stack)
    if push_to(cpu, &stack, get_eflags(cpu), 2) or push_to(cpu, &stack, cpu.segments[CS].selector, 2) or push_to(
            cpu, &stack, cpu.eip, 2):
        return FAULT
    if <uint32_t>entry & 0xFFFF > cpu.segments[CS].limit:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    set_pointer(cpu, &stack)
    set_real_segment(cpu, CS, <uint32_t>entry >> 16)
    update_context(cpu)
    cpu.eip = <uint32_t>entry & 0xFFFF
    cpu.eflags &= ~<uint32_t>(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF)
    return 0


cdef int deliver_protected(CPU* cpu, uint32_t vector, bint with_error, uint32_t error_code,
                           Source source) noexcept nogil:
    """Through an interrupt, trap or task gate (SDM vol. 3, 6.12); 0, FAULT or FAULT_IN_TASK."""
    cdef uint32_t external = 0 if source == SOFTWARE else 1
    cdef int failed = pass_gate(cpu, vector, with_error, error_code, source)
    if failed and EXCEPTION_TS <= cpu.exception <= EXCEPTION_GP:
        cpu.error_code |= external
    return failed


cdef int pass_gate(CPU* cpu, uint32_t vector, bint with_error, uint32_t error_code, Source source) noexcept nogil:
    cdef uint32_t gate_error = vector * 8 + 2
    cdef Descriptor gate
    cdef uint64_t low, high
    cdef uint32_t eflags
    cdef int kind, failed
    cdef bint resumes
    if vector * 8 + 7 > cpu.idt_limit:
        return raise_exception(cpu, EXCEPTION_GP, gate_error)
    low = read_system(cpu, cpu.idt_base + vector * 8, 4)
    if faulted(low):
        return FAULT
    high = read_system(cpu, cpu.idt_base + vector * 8 + 4, 4)
    if faulted(high):
        return FAULT
    gate.low = <uint32_t>low
    gate.high = <uint32_t>high
    kind = system_type(&gate)
    if is_segment(&gate) or kind != TASK_GATE and kind & 7 != INTERRUPT_GATE16 and kind & 7 != TRAP_GATE16 or (
            source == SOFTWARE and dpl_of(&gate) < cpu.cpl):
        return raise_exception(cpu, EXCEPTION_GP, gate_error)
    if not is_present(&gate):
        return raise_exception(cpu, EXCEPTION_NP, gate_error)
    # Whether RF is set in what is saved: SDM vol. 3, 18.3.1.1. A double fault is an abort, after which nothing resumes.
    resumes = source == PROCESSOR and vector != EXCEPTION_DF or source == EXTERNAL and cpu.repeat_at == cpu.retired
    if kind == TASK_GATE:
        failed = switch_through_gate(cpu, &gate, TASK_FAULT if resumes else TASK_EVENT, cpu.eip)
        if not failed and with_error:
            failed = push_error_code(cpu, error_code)
        return failed
    eflags = get_eflags(cpu)
    if resumes:
        eflags |= FLAG_RF
    elif source == SOFTWARE:
        eflags &= ~<uint32_t>FLAG_RF
    if enter_handler(cpu, gate_selector(&gate), gate_offset(&gate), eflags, 4 if kind & 8 else 2, with_error,
                     error_code):
        return FAULT
    cpu.eflags &= ~<uint32_t>(FLAG_TF | FLAG_NT | FLAG_RF | FLAG_VM)
    if not kind & 1:
        cpu.eflags &= ~<uint32_t>FLAG_IF
    return 0


cdef int push_error_code(CPU* cpu, uint32_t error_code) noexcept nogil:
    """Onto the stack of the task that an exception has gone to."""
    cdef Stack stack
    present_stack(cpu, &stack)
    if push_to(cpu, &stack, error_code, 4 if cpu.segments[TR].access & 8 else 2):
        return FAULT
    set_pointer(cpu, &stack)
    return 0


cdef bint has_error_code(uint32_t vector) noexcept nogil:
    return vector == EXCEPTION_DF or EXCEPTION_TS <= vector <= EXCEPTION_PF or vector == EXCEPTION_AC


cdef bint is_contributory(uint32_t vector) noexcept nogil:
    return vector == EXCEPTION_DE or EXCEPTION_TS <= vector < EXCEPTION_PF


cdef int deliver_once(CPU* cpu, uint32_t vector, uint32_t error_code, Source source) noexcept nogil:
    if vector == EXCEPTION_PF and source == PROCESSOR:
        cpu.cr2 = cpu.fault_address
    # TF is cleared on the way; a step that had begun ends without its trap (SDM vol. 3, 17.3.1.4).
    cpu.trap_at = -1
    if cpu.cr0 & CR0_PE:
        return deliver_protected(cpu, vector, source == PROCESSOR and has_error_code(vector), error_code, source)
    return deliver_real(cpu, vector)


cdef int deliver(CPU* cpu, uint32_t vector, uint32_t error_code, Source source) noexcept nogil:
    """Deliver an event, and in its place whatever exceptions its delivery meets.

    #AC makes no double fault, and a handler at privilege level 3 whose stack is misaligned raises it at each attempt.
    A processor tries for ever, deaf to every event but RESET; here it is shut down.
    """
    cdef bint misaligned = source == PROCESSOR and vector == EXCEPTION_AC
    cdef uint32_t second
    cdef bint double_fault = source == PROCESSOR and vector == EXCEPTION_DF
    cpu.delivering = True
    while deliver_once(cpu, vector, error_code, source):
        second = cpu.exception
        if double_fault or misaligned and second == EXCEPTION_AC:
            cpu.delivering = False
            return EXIT_SHUTDOWN
        misaligned = misaligned or second == EXCEPTION_AC
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
    cpu.repeat_at = -1
    if vector == EXCEPTION_DB:
        cpu.dr[7] &= ~<uint32_t>DR7_GD  # so that the handler can use the debug registers
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


cdef int deliver_software_interrupt(CPU* cpu, uint32_t vector, bint privileged) noexcept nogil:
    """INT n, INT3, INTO; privileged: INT1, of which the gate asks no privilege level (SDM vol. 2, INT1).

    A fault on the way is reported at the instruction: the caller sees FAULT.
    """
    cdef int result
    cpu.delivering = True
    result = deliver_once(cpu, vector, 0, EXTERNAL if privileged else SOFTWARE)
    cpu.delivering = False
    return result


cdef int deliver_external_interrupt(CPU* cpu, uint32_t vector) noexcept nogil:
    cpu.stats.irq_injections += 1
    return deliver(cpu, vector, 0, EXTERNAL)


cdef int deliver_nmi(CPU* cpu) noexcept nogil:
    cpu.stats.nmi_injections += 1
    return deliver(cpu, EXCEPTION_NMI, 0, EXTERNAL)


cdef int deliver_debug_exception(CPU* cpu) noexcept nogil:
    """A trap between instructions, or the fault of a breakpoint for execution: alone among faults it leaves RF as it is."""
    return deliver(cpu, EXCEPTION_DB, 0, EXTERNAL)
