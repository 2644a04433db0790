"""A stack while a frame is pushed to it or read from it, before the processor has gone over to it."""
from libc.stdint cimport uint32_t, uint64_t

from x86core.mmu cimport raise_exception, read_linear, write_linear
from x86core.mmu_intent cimport FAULT, INTENT_READ, INTENT_WRITE
from x86core.descriptors cimport DEFAULT32
from x86core.segmentation cimport holds
from x86core.state cimport CPU, ESP, EXCEPTION_SS, SS, SegmentCache

ctypedef struct Stack:
    SegmentCache segment
    uint32_t pointer
    uint32_t mask               # FFFFh or FFFFFFFFh
    uint32_t error_code         # of #SS


cdef inline void stack_of(Stack* stack, SegmentCache* segment, uint32_t pointer, uint32_t error_code) noexcept nogil:
    stack.segment = segment[0]
    stack.pointer = pointer
    stack.mask = 0xFFFFFFFFU if segment.access & DEFAULT32 else 0xFFFF
    stack.error_code = error_code


cdef inline void present_stack(CPU* cpu, Stack* stack) noexcept nogil:
    stack_of(stack, &cpu.segments[SS], cpu.gpr[ESP], 0)


cdef inline int push_to(CPU* cpu, Stack* stack, uint32_t value, int size) noexcept nogil:
    """0 or FAULT; the pointer moves only when the value is there."""
    cdef uint32_t below = (stack.pointer - size) & stack.mask
    if not holds(&stack.segment, below, size, INTENT_WRITE):
        return raise_exception(cpu, EXCEPTION_SS, stack.error_code)
    if write_linear(cpu, stack.segment.base + below, value, size):
        return FAULT
    stack.pointer = stack.pointer & ~stack.mask | below
    return 0


cdef inline uint64_t peek(CPU* cpu, Stack* stack, uint32_t displacement, int size) noexcept nogil:
    """What lies this far above the pointer; `faulted` tells a fault."""
    cdef uint32_t offset = (stack.pointer + displacement) & stack.mask
    if not holds(&stack.segment, offset, size, INTENT_READ):
        return <uint64_t>raise_exception(cpu, EXCEPTION_SS, stack.error_code)
    return read_linear(cpu, stack.segment.base + offset, size, INTENT_READ)


cdef inline void set_pointer(CPU* cpu, Stack* stack) noexcept nogil:
    """Make the stack's pointer the processor's."""
    cpu.gpr[ESP] = cpu.gpr[ESP] & ~stack.mask | stack.pointer & stack.mask
