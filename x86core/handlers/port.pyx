"""IN and OUT: exits to userspace, completed when the vCPU is entered again (as in KVM)."""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.debug_registers cimport notice_port
from x86core.mmu cimport device_answered
from x86core.operands cimport *
from x86core.state cimport CPU, EAX, EDX, EXIT_IO, Insn, PORT_DATA_OFFSET
from x86core.task cimport may_reach_port
from x86core.variant cimport *


cdef uint64_t port_access(CPU* cpu, uint32_t port, int bytes, bint out, uint32_t value) noexcept nogil:
    """What a port answers, or a fault with DEVICE_ACCESS until it has. cpu.position must be set."""
    cdef uint64_t answer = 0
    if device_answered(cpu, &answer):
        if unlikely(cpu.dr_ports):
            notice_port(cpu, port, bytes)
        return answer & (~<uint64_t>0 >> (64 - 8 * bytes))
    cpu.access_exit = EXIT_IO
    cpu.run.exit.io.direction = out
    cpu.run.exit.io.size = bytes
    cpu.run.exit.io.port = port
    cpu.run.exit.io.count = 1
    cpu.run.exit.io.data_offset = PORT_DATA_OFFSET
    cpu.port_data[0] = value
    return <uint64_t>FAULT


cdef inline int read_port(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                          uint32_t port) noexcept nogil:
    cdef uint64_t value
    cpu.position = cpu.retired - insn.remaining
    if unlikely(not may_reach_port(cpu, port, size(v))):
        return fault(cpu, insn, result, carries, carry)
    value = port_access(cpu, port, size(v), False, 0)
    if faulted(value):
        return fault(cpu, insn, result, carries, carry)
    set_register(cpu, EAX * 4, <uint32_t>value, v)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int write_port(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v,
                           uint32_t port) noexcept nogil:
    cpu.position = cpu.retired - insn.remaining
    if unlikely(not may_reach_port(cpu, port, size(v))):
        return fault(cpu, insn, result, carries, carry)
    if faulted(port_access(cpu, port, size(v), True, get_register(cpu, EAX * 4, v))):
        return fault(cpu, insn, result, carries, carry)
    return follow_fallthrough(cpu, insn, result, carries, carry)


cdef inline int in_(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return read_port(cpu, insn, result, carries, carry, v, insn.immediate)


cdef inline int in_dx(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return read_port(cpu, insn, result, carries, carry, v, cpu.gpr[EDX] & 0xFFFF)


cdef inline int out(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return write_port(cpu, insn, result, carries, carry, v, insn.immediate)


cdef inline int out_dx(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry, int v) noexcept nogil:
    return write_port(cpu, insn, result, carries, carry, v, cpu.gpr[EDX] & 0xFFFF)


include "port_instances.pxi"
