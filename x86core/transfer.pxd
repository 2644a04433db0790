from libc.stdint cimport uint32_t

from x86core.state cimport CPU

# Each moves CPU to the target, EIP too: 0, FAULT, or FAULT_IN_TASK (task.pxd). The arithmetic flags stand in CPU.
cdef int far_jump(CPU* cpu, uint32_t selector, uint32_t eip, uint32_t behind) noexcept nogil
cdef int far_call(CPU* cpu, uint32_t selector, uint32_t eip, uint32_t behind, int size) noexcept nogil
cdef int far_return(CPU* cpu, int size, uint32_t release) noexcept nogil
cdef int interrupt_return(CPU* cpu, uint32_t behind, int size) noexcept nogil
cdef void pop_eflags(CPU* cpu, uint32_t eflags, int size, uint32_t cpl, uint32_t also) noexcept nogil
cdef int enter_handler(CPU* cpu, uint32_t selector, uint32_t eip, uint32_t eflags, int size, bint with_error,
                       uint32_t error_code) noexcept nogil
