"""INT INT1 INT3 INTO IRET."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.dispatch cimport spill
from x86core.events cimport deliver_software_interrupt
from x86core.flags cimport overflow, set_eflags
from x86core.intrinsics cimport atomic_store
from x86core.monitor cimport monitor_disarm
from x86core.operands cimport *
from x86core.segmentation cimport load_code_segment
from x86core.state cimport (CPU, ESP, FLAG_AC, FLAG_DF, FLAG_ID, FLAG_IF, FLAG_IOPL, FLAG_NT, FLAG_RF, FLAG_TF,
                            FLAGS_ALWAYS, FLAGS_ARITHMETIC, Insn)
from x86core.variant cimport *


cdef inline int software_interrupt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                                   uint32_t vector) noexcept nogil:
    spill(cpu, result, carries, carry)
    cpu.eip = next_eip(insn)
    if deliver_software_interrupt(cpu, vector):
        return fault(cpu, insn, result, carries, carry)
    monitor_disarm(cpu)
    return jump(cpu, insn, cpu.result, cpu.carries, cpu.carry, cpu.eip)


cdef inline int int_(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return software_interrupt(cpu, insn, result, carries, carry, insn.immediate)


cdef inline int int3(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return software_interrupt(cpu, insn, result, carries, carry, 3)


cdef inline int int1(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return software_interrupt(cpu, insn, result, carries, carry, 1)


cdef inline int into(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if overflow(carries, carry):
        return software_interrupt(cpu, insn, result, carries, carry, 4)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int iret(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef uint32_t writable = (FLAGS_ARITHMETIC | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_IOPL | FLAG_NT)
    cdef uint64_t eip = stack_read(cpu, insn, 0, size(v))
    cdef uint64_t selector, eflags
    if unlikely(faulted(eip)):
        return fault(cpu, insn, result, carries, carry)
    selector = stack_read(cpu, insn, size(v), size(v))
    if unlikely(faulted(selector)):
        return fault(cpu, insn, result, carries, carry)
    eflags = stack_read(cpu, insn, 2 * size(v), size(v))
    if unlikely(faulted(eflags)) or load_code_segment(cpu, <uint32_t>selector & 0xFFFF, <uint32_t>eip):
        return fault(cpu, insn, result, carries, carry)
    set_stack_pointer(cpu, cpu.gpr[ESP] + 3 * size(v))
    if v & WIDTH == W32:
        writable |= FLAG_RF | FLAG_AC | FLAG_ID
    set_eflags(cpu, cpu.eflags & ~writable | <uint32_t>eflags & writable | FLAGS_ALWAYS)
    monitor_disarm(cpu)
    cpu.nmi_blocked = False
    # A pending interrupt, or a single step, is seen at once.
    atomic_store(&cpu.stop_at, 0)
    return jump(cpu, insn, cpu.result, cpu.carries, cpu.carry, <uint32_t>eip)


include "interrupt_instances.pxi"
