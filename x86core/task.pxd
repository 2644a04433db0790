from libc.stdint cimport uint32_t

from x86core.descriptors cimport Descriptor
from x86core.frames cimport Stack
from x86core.state cimport CPU

cdef enum TaskSwitch:
    TASK_JUMP
    TASK_CALL
    TASK_RETURN
    TASK_EVENT                  # through a task gate of the IDT
    TASK_FAULT                  # as it, for an exception whose instruction is to be resumed

# What a step returns when the processor is in the new task already: the exception belongs to that one.
cdef enum:
    FAULT_IN_TASK = -2

cdef int switch_task(CPU* cpu, uint32_t selector, Descriptor* descriptor, TaskSwitch how, uint32_t eip) noexcept nogil
cdef int switch_through_gate(CPU* cpu, Descriptor* gate, TaskSwitch how, uint32_t eip) noexcept nogil
cdef int return_to_task(CPU* cpu, uint32_t eip) noexcept nogil
cdef int inner_stack(CPU* cpu, uint32_t cpl, Stack* stack, uint32_t* selector, Descriptor* descriptor) noexcept nogil
cdef bint may_reach_port(CPU* cpu, uint32_t port, int size) noexcept nogil
