"""INT INT1 INT3 INTO IRET."""
from libc.stdint cimport int64_t, uint32_t

from x86core.arrival cimport arrive, depart
from x86core.events cimport deliver_software_interrupt
from x86core.flags cimport overflow
from x86core.intrinsics cimport atomic_store
from x86core.operands cimport *
from x86core.state cimport CPU, EXCEPTION_GP, FLAG_IOPL, FLAG_VM, NO_EXCEPTION, Insn
from x86core.transfer cimport interrupt_return
from x86core.variant cimport *


cdef inline int software_interrupt(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry,
                                   uint32_t vector, bint privileged) noexcept nogil:
    depart(cpu, insn, result, carries, carry)
    cpu.eip = next_eip(insn)
    return arrive(cpu, insn, deliver_software_interrupt(cpu, vector, privileged))


cdef inline int int_(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if cpu.eflags & FLAG_VM and cpu.eflags & FLAG_IOPL != FLAG_IOPL:
        return raise_at(cpu, insn, result, carries, carry, EXCEPTION_GP)
    return software_interrupt(cpu, insn, result, carries, carry, insn.immediate, False)


cdef inline int int3(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return software_interrupt(cpu, insn, result, carries, carry, 3, False)


cdef inline int int1(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return software_interrupt(cpu, insn, result, carries, carry, 1, True)


cdef inline int into(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    if overflow(carries, carry):
        return software_interrupt(cpu, insn, result, carries, carry, 4, False)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int iret(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    cdef int failed
    depart(cpu, insn, result, carries, carry)
    failed = interrupt_return(cpu, next_eip(insn), size(v))
    # Even if it faults (SDM vol. 3, 6.7.1), but not if it is only put off.
    if cpu.nmi_blocked and (not failed or cpu.exception < NO_EXCEPTION):
        cpu.nmi_blocked = False
        atomic_store(&cpu.stop_at, 0)   # one may be waiting
    return arrive(cpu, insn, failed)


include "interrupt_instances.pxi"
