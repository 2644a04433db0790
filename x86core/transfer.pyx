"""Far transfers of control between segments, privilege levels and modes (SDM vol. 3, 5.8; vol. 2, JMP CALL RET IRET)."""
from libc.stdint cimport uint32_t, uint64_t

from x86core.descriptors cimport (CALL_GATE16, CODE, CONFORMING, TASK_GATE, TSS16, Descriptor, dpl_of, gate_offset,
                                  gate_selector, is_code, is_conforming, is_present, is_segment, limit_of,
                                  read_descriptor, system_type)
from x86core.flags cimport set_eflags
from x86core.frames cimport Stack, peek, present_stack, push_to, set_pointer
from x86core.intrinsics cimport atomic_store
from x86core.mmu cimport raise_exception
from x86core.mmu_intent cimport FAULT, faulted
from x86core.paging cimport set_cpl, update_alignment
from x86core.segmentation cimport (check_code_segment, check_stack_segment, has_real_segments, mark_accessed,
                                   set_described, set_real_segment, set_segment, update_context)
from x86core.state cimport (CPU, CS, DS, ES, ESP, EXCEPTION_GP, EXCEPTION_NP, FLAG_AC, FLAG_DF, FLAG_ID, FLAG_IF,
                            FLAG_IOPL, FLAG_NT, FLAG_RF, FLAG_TF, FLAG_VM, FLAGS_ALWAYS, FLAGS_ARITHMETIC, FS, GS, SS)
from x86core.task cimport TASK_CALL, TASK_JUMP, inner_stack, return_to_task, switch_task, switch_through_gate


cdef int go_real(CPU* cpu, uint32_t selector, uint32_t eip) noexcept nogil:
    """In real and virtual-8086 mode. The limit of CS stays."""
    if eip > cpu.segments[CS].limit:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    set_real_segment(cpu, CS, selector)
    cpu.eip = eip
    update_context(cpu)
    return 0


cdef int check_entry(CPU* cpu, uint32_t selector, uint32_t eip, Descriptor* descriptor) noexcept nogil:
    """A direct JMP or CALL to a code segment at the present privilege level; marks its descriptor."""
    if not is_conforming(descriptor) and selector & 3 > cpu.cpl:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    if check_code_segment(cpu, selector, cpu.cpl, EXCEPTION_GP, descriptor):
        return FAULT
    return check_target(cpu, eip, descriptor)


cdef int check_target(CPU* cpu, uint32_t eip, Descriptor* descriptor) noexcept nogil:
    """An offset in a code segment that may be entered; marks its descriptor."""
    if eip > limit_of(descriptor):
        return raise_exception(cpu, EXCEPTION_GP, 0)
    return mark_accessed(cpu, descriptor)


cdef void go(CPU* cpu, uint32_t selector, uint32_t cpl, uint32_t eip, Descriptor* descriptor) noexcept nogil:
    """Be at an address whose descriptor was checked and marked."""
    set_described(cpu, CS, selector & ~<uint32_t>3 | cpl, descriptor)
    set_cpl(cpu, cpl)
    cpu.eip = eip
    update_context(cpu)


cdef int read_target(CPU* cpu, uint32_t selector, Descriptor* descriptor) noexcept nogil:
    if not selector & 0xFFFC:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    return read_descriptor(cpu, selector, EXCEPTION_GP, descriptor)


cdef int check_system_target(CPU* cpu, uint32_t selector, Descriptor* descriptor) noexcept nogil:
    """Whether JMP and CALL may use a gate or TSS."""
    cdef int kind = system_type(descriptor)
    if kind & 7 != TSS16 and kind & 7 != CALL_GATE16 and kind != TASK_GATE or (
            dpl_of(descriptor) < max(cpu.cpl, selector & 3)):
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    if not is_present(descriptor):
        return raise_exception(cpu, EXCEPTION_NP, selector & 0xFFFC)
    return 0


cdef int read_gate_target(CPU* cpu, uint32_t selector, Descriptor* descriptor) noexcept nogil:
    """The code segment of a gate, at this privilege level or an inner one."""
    if read_target(cpu, selector, descriptor):
        return FAULT
    if not is_segment(descriptor) or not is_code(descriptor) or dpl_of(descriptor) > cpu.cpl:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    if not is_present(descriptor):
        return raise_exception(cpu, EXCEPTION_NP, selector & 0xFFFC)
    return 0


cdef int far_jump(CPU* cpu, uint32_t selector, uint32_t eip, uint32_t behind) noexcept nogil:
    """JMP to another segment, through a gate, or to another task; `behind` is the address of the next instruction."""
    cdef Descriptor descriptor, target
    if has_real_segments(cpu):
        return go_real(cpu, selector, eip)
    if read_target(cpu, selector, &descriptor):
        return FAULT
    if is_segment(&descriptor):
        if check_entry(cpu, selector, eip, &descriptor):
            return FAULT
        go(cpu, selector, cpu.cpl, eip, &descriptor)
        return 0
    if check_system_target(cpu, selector, &descriptor):
        return FAULT
    if system_type(&descriptor) & 7 == TSS16:
        return switch_task(cpu, selector, &descriptor, TASK_JUMP, behind)
    if system_type(&descriptor) == TASK_GATE:
        return switch_through_gate(cpu, &descriptor, TASK_JUMP, behind)
    selector = gate_selector(&descriptor)
    eip = gate_offset(&descriptor)
    if read_gate_target(cpu, selector, &target) or check_code_segment(
            cpu, selector, cpu.cpl, EXCEPTION_GP, &target) or check_target(cpu, eip, &target):
        return FAULT
    go(cpu, selector, cpu.cpl, eip, &target)
    return 0


cdef int push_return(CPU* cpu, Stack* stack, uint32_t behind, int size) noexcept nogil:
    return FAULT if push_to(cpu, stack, cpu.segments[CS].selector, size) or push_to(cpu, stack, behind, size) else 0


cdef int far_call(CPU* cpu, uint32_t selector, uint32_t eip, uint32_t behind, int size) noexcept nogil:
    """As far_jump, with the return address on the stack or in the TSS."""
    cdef Descriptor descriptor
    cdef Stack stack
    present_stack(cpu, &stack)
    if has_real_segments(cpu):
        if push_return(cpu, &stack, behind, size) or go_real(cpu, selector, eip):
            return FAULT
        set_pointer(cpu, &stack)
        return 0
    if read_target(cpu, selector, &descriptor):
        return FAULT
    if is_segment(&descriptor):
        if check_entry(cpu, selector, eip, &descriptor) or push_return(cpu, &stack, behind, size):
            return FAULT
        set_pointer(cpu, &stack)
        go(cpu, selector, cpu.cpl, eip, &descriptor)
        return 0
    if check_system_target(cpu, selector, &descriptor):
        return FAULT
    if system_type(&descriptor) & 7 == TSS16:
        return switch_task(cpu, selector, &descriptor, TASK_CALL, behind)
    if system_type(&descriptor) == TASK_GATE:
        return switch_through_gate(cpu, &descriptor, TASK_CALL, behind)
    return call_gate(cpu, &descriptor, behind)


cdef int call_gate(CPU* cpu, Descriptor* gate, uint32_t behind) noexcept nogil:
    cdef uint32_t selector = gate_selector(gate)
    cdef uint32_t eip = gate_offset(gate)
    cdef int size = 4 if system_type(gate) & 8 else 2
    cdef Descriptor target
    cdef Stack stack
    if read_gate_target(cpu, selector, &target):
        return FAULT
    if not is_conforming(&target) and dpl_of(&target) < cpu.cpl:
        return call_inner(cpu, gate, &target, behind, size)
    present_stack(cpu, &stack)
    if check_target(cpu, eip, &target) or push_return(cpu, &stack, behind, size):
        return FAULT
    set_pointer(cpu, &stack)
    go(cpu, selector, cpu.cpl, eip, &target)
    return 0


cdef int call_inner(CPU* cpu, Descriptor* gate, Descriptor* target, uint32_t behind, int size) noexcept nogil:
    """To an inner privilege level, with the parameters copied to its stack."""
    cdef uint32_t cpl = dpl_of(target)
    cdef uint32_t outer = cpu.cpl
    cdef uint32_t eip = gate_offset(gate)
    cdef int count = gate.high & 31
    cdef uint32_t selector = 0
    cdef uint64_t parameters[32]
    cdef Descriptor descriptor
    cdef Stack stack, old
    cdef int number
    present_stack(cpu, &old)
    if inner_stack(cpu, cpl, &stack, &selector, &descriptor) or check_target(cpu, eip, target):
        return FAULT
    for number in range(count):
        parameters[number] = peek(cpu, &old, number * size, size)
        if faulted(parameters[number]):
            return FAULT
    set_cpl(cpu, cpl)
    if push_inner(cpu, &stack, parameters, count, behind, size):
        set_cpl(cpu, outer)
        return FAULT
    set_described(cpu, SS, selector, &descriptor)
    set_pointer(cpu, &stack)
    go(cpu, gate_selector(gate), cpl, eip, target)
    return 0


cdef int push_inner(CPU* cpu, Stack* stack, uint64_t* parameters, int count, uint32_t behind, int size) noexcept nogil:
    cdef int number
    if push_to(cpu, stack, cpu.segments[SS].selector, size) or push_to(cpu, stack, cpu.gpr[ESP], size):
        return FAULT
    for number in range(count - 1, -1, -1):
        if push_to(cpu, stack, <uint32_t>parameters[number], size):
            return FAULT
    return push_return(cpu, stack, behind, size)


# Returns.

cdef void leave_segments(CPU* cpu) noexcept nogil:
    """On the way to an outer level: no data segment stays that it may not have."""
    cdef uint32_t access
    cdef int segment
    for segment in range(ES, GS + 1):
        access = cpu.segments[segment].access
        if segment != CS and segment != SS and access & (CODE | CONFORMING) != CODE | CONFORMING and access >> 5 & 3 < cpu.cpl:
            set_segment(cpu, segment, 0, 0, 0, 0)


cdef int return_to(CPU* cpu, Stack* stack, uint32_t selector, uint32_t eip, int size, uint32_t frame,
                   uint32_t release) noexcept nogil:
    """To the same or an outer level; `frame` is what the return has popped in bytes, `release` what it drops behind that.

    0 or FAULT.
    """
    cdef uint32_t cpl = selector & 3
    cdef uint64_t pointer, segment
    cdef Descriptor code, data
    cdef Stack outer
    if read_target(cpu, selector, &code):
        return FAULT
    if cpl < cpu.cpl:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    if check_code_segment(cpu, selector, cpl, EXCEPTION_GP, &code):
        return FAULT
    if cpl == cpu.cpl:
        if check_target(cpu, eip, &code):
            return FAULT
        stack.pointer += frame + release
        set_pointer(cpu, stack)
        go(cpu, selector, cpl, eip, &code)
        return 0
    pointer = peek(cpu, stack, frame + release, size)
    if faulted(pointer):
        return FAULT
    segment = peek(cpu, stack, frame + release + size, size)
    if faulted(segment):
        return FAULT
    segment &= 0xFFFF
    if check_stack_segment(cpu, <uint32_t>segment, cpl, EXCEPTION_GP, &data) or check_target(
            cpu, eip, &code) or mark_accessed(cpu, &data):
        return FAULT
    set_described(cpu, SS, <uint32_t>segment, &data)
    present_stack(cpu, &outer)
    outer.pointer = <uint32_t>pointer + release
    set_pointer(cpu, &outer)
    go(cpu, selector, cpl, eip, &code)
    leave_segments(cpu)
    update_context(cpu)
    return 0


cdef int far_return(CPU* cpu, int size, uint32_t release) noexcept nogil:
    """RET to another segment, dropping so many bytes behind the address."""
    cdef Stack stack
    cdef uint64_t eip, selector
    present_stack(cpu, &stack)
    eip = peek(cpu, &stack, 0, size)
    if faulted(eip):
        return FAULT
    selector = peek(cpu, &stack, size, size)
    if faulted(selector):
        return FAULT
    selector &= 0xFFFF
    if has_real_segments(cpu):
        if go_real(cpu, <uint32_t>selector, <uint32_t>eip):
            return FAULT
        stack.pointer += 2 * size + release
        set_pointer(cpu, &stack)
        return 0
    return return_to(cpu, &stack, <uint32_t>selector, <uint32_t>eip, size, 2 * size, release)


cdef void pop_eflags(CPU* cpu, uint32_t eflags, int size, uint32_t cpl, uint32_t also) noexcept nogil:
    """Take over the bits of EFLAGS that a privilege level may change, and `also` these."""
    cdef uint32_t writable = FLAGS_ARITHMETIC | FLAG_TF | FLAG_DF | FLAG_NT
    if cpl == 0:
        writable |= FLAG_IOPL
    if cpl <= cpu.eflags >> 12 & 3:
        writable |= FLAG_IF
    if size == 4:
        writable |= FLAG_AC | FLAG_ID | also
    set_eflags(cpu, cpu.eflags & ~writable | eflags & writable | FLAGS_ALWAYS)
    cpu.resume_at = cpu.retired
    # A pending interrupt, or a single step, is seen at once.
    atomic_store(&cpu.stop_at, 0)
    update_alignment(cpu)


cdef int interrupt_return(CPU* cpu, uint32_t behind, int size) noexcept nogil:
    """IRET, also to another task and to virtual-8086 mode."""
    cdef uint32_t cpl = cpu.cpl
    cdef uint64_t eip, selector, eflags
    cdef Stack stack
    if not has_real_segments(cpu) and cpu.eflags & FLAG_NT:
        return return_to_task(cpu, behind)
    if cpu.eflags & FLAG_VM and cpu.eflags & FLAG_IOPL != FLAG_IOPL:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    present_stack(cpu, &stack)
    eip = peek(cpu, &stack, 0, size)
    if faulted(eip):
        return FAULT
    selector = peek(cpu, &stack, size, size)
    if faulted(selector):
        return FAULT
    eflags = peek(cpu, &stack, 2 * size, size)
    if faulted(eflags):
        return FAULT
    selector &= 0xFFFF
    if has_real_segments(cpu):
        if go_real(cpu, <uint32_t>selector, <uint32_t>eip):
            return FAULT
        stack.pointer += 3 * size
        set_pointer(cpu, &stack)
    elif eflags & FLAG_VM and cpl == 0 and size == 4:
        return return_to_virtual8086(cpu, &stack, <uint32_t>selector, <uint32_t>eip, <uint32_t>eflags)
    elif return_to(cpu, &stack, <uint32_t>selector, <uint32_t>eip, size, 3 * size, 0):
        return FAULT
    pop_eflags(cpu, <uint32_t>eflags, size, cpl, FLAG_RF)
    return 0


cdef int return_to_virtual8086(CPU* cpu, Stack* stack, uint32_t selector, uint32_t eip, uint32_t eflags) noexcept nogil:
    cdef uint64_t popped[6]
    cdef int number
    for number in range(6):         # ESP, SS, ES, DS, FS, GS
        popped[number] = peek(cpu, stack, 12 + 4 * number, 4)
        if faulted(popped[number]):
            return FAULT
    if eip > 0xFFFF:
        return raise_exception(cpu, EXCEPTION_GP, 0)
    pop_eflags(cpu, eflags, 4, 0, FLAG_RF | FLAG_VM)
    set_real_segment(cpu, CS, selector)
    set_real_segment(cpu, SS, <uint32_t>popped[1] & 0xFFFF)
    set_real_segment(cpu, ES, <uint32_t>popped[2] & 0xFFFF)
    set_real_segment(cpu, DS, <uint32_t>popped[3] & 0xFFFF)
    set_real_segment(cpu, FS, <uint32_t>popped[4] & 0xFFFF)
    set_real_segment(cpu, GS, <uint32_t>popped[5] & 0xFFFF)
    cpu.gpr[ESP] = <uint32_t>popped[0]
    cpu.eip = eip
    set_cpl(cpu, 3)
    update_context(cpu)
    return 0


# Into handlers of interrupts and exceptions.

cdef int enter_handler(CPU* cpu, uint32_t selector, uint32_t eip, uint32_t eflags, int size, bint with_error,
                       uint32_t error_code) noexcept nogil:
    """Through an interrupt or trap gate, with the frame on the handler's stack; 0 or FAULT. EIP is the return address."""
    cdef Descriptor target
    cdef Stack stack
    if read_gate_target(cpu, selector, &target):
        return FAULT
    if not is_conforming(&target) and dpl_of(&target) < cpu.cpl:
        return enter_inner(cpu, selector, eip, eflags, size, with_error, error_code, &target)
    if cpu.eflags & FLAG_VM:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    present_stack(cpu, &stack)
    if check_target(cpu, eip, &target) or push_frame(cpu, &stack, eflags, size, with_error, error_code):
        return FAULT
    set_pointer(cpu, &stack)
    go(cpu, selector, cpu.cpl, eip, &target)
    return 0


cdef int push_frame(CPU* cpu, Stack* stack, uint32_t eflags, int size, bint with_error,
                    uint32_t error_code) noexcept nogil:
    if push_to(cpu, stack, eflags, size) or push_return(cpu, stack, cpu.eip, size):
        return FAULT
    return push_to(cpu, stack, error_code, size) if with_error else 0


cdef int enter_inner(CPU* cpu, uint32_t selector, uint32_t eip, uint32_t eflags, int size, bint with_error,
                     uint32_t error_code, Descriptor* target) noexcept nogil:
    cdef uint32_t cpl = dpl_of(target)
    cdef uint32_t outer = cpu.cpl
    cdef bint from_virtual8086 = cpu.eflags & FLAG_VM != 0
    cdef uint32_t stack_selector = 0
    cdef Descriptor descriptor
    cdef Stack stack
    cdef bint failed
    cdef int segment
    if from_virtual8086 and cpl:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    if inner_stack(cpu, cpl, &stack, &stack_selector, &descriptor) or check_target(cpu, eip, target):
        return FAULT
    set_cpl(cpu, cpl)
    failed = False
    if from_virtual8086:
        failed = push_to(cpu, &stack, cpu.segments[GS].selector, size) or push_to(
            cpu, &stack, cpu.segments[FS].selector, size) or push_to(
            cpu, &stack, cpu.segments[DS].selector, size) or push_to(cpu, &stack, cpu.segments[ES].selector, size)
    if failed or push_to(cpu, &stack, cpu.segments[SS].selector, size) or push_to(
            cpu, &stack, cpu.gpr[ESP], size) or push_frame(cpu, &stack, eflags, size, with_error, error_code):
        set_cpl(cpu, outer)
        return FAULT
    if from_virtual8086:
        for segment in range(ES, GS + 1):
            if segment != CS and segment != SS:
                set_segment(cpu, segment, 0, 0, 0, 0)
        cpu.eflags &= ~<uint32_t>FLAG_VM
    set_described(cpu, SS, stack_selector, &descriptor)
    set_pointer(cpu, &stack)
    go(cpu, selector, cpl, eip, target)
    return 0
