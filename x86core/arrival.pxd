"""What handlers of far transfers begin and end with. Each far transfer disarms the monitor (SDM vol. 3, 8.10.4)."""
from libc.stdint cimport int64_t, uint32_t

from x86core.dispatch cimport fault_behind, spill
from x86core.monitor cimport monitor_disarm
from x86core.operands cimport fault, jump, unlikely
from x86core.state cimport CPU, Insn
from x86core.task cimport FAULT_IN_TASK


cdef inline void depart(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    """Put the processor's state where a transfer finds it."""
    spill(cpu, result, carries, carry)
    cpu.position = cpu.retired - insn.remaining


cdef inline int arrive(CPU* cpu, Insn* insn, int failed) noexcept nogil:
    """Go on where a transfer has led, or report its fault."""
    if unlikely(failed == FAULT_IN_TASK):
        return fault_behind(cpu, insn)
    if unlikely(failed):
        return fault(cpu, insn, cpu.result, cpu.carries, cpu.carry)
    monitor_disarm(cpu)
    return jump(cpu, insn, cpu.result, cpu.carries, cpu.carry, cpu.eip)
