"""Task-state segments: task switches, stacks of inner privilege levels, the I/O permission map (SDM vol. 3, chapter 7)."""
from libc.stdint cimport uint32_t, uint64_t

from x86core.debug_registers cimport DR6_BT, forget_local_breakpoints
from x86core.descriptors cimport (LDT, TSS16, TSS_BUSY, Descriptor, access_of, base_of, gate_selector, is_present,
                                  is_segment, limit_of, read_descriptor, read_system, system_type, write_system)
from x86core.flags cimport get_eflags, set_eflags
from x86core.frames cimport Stack, stack_of
from x86core.intrinsics cimport atomic_store
from x86core.mmu cimport INTENT_WRITE, raise_exception
from x86core.mmu_intent cimport FAULT, faulted
from x86core.monitor cimport monitor_disarm
from x86core.paging cimport flush_translations, probe, set_cpl
from x86core.segmentation cimport (check_code_segment, check_data_segment, check_stack_segment, describe, mark_accessed,
                                   set_described, set_real_segment, set_segment, update_context)
from x86core.state cimport (CPU, CR0_TS, CS, ES, EXCEPTION_GP, EXCEPTION_NP, EXCEPTION_TS, FLAG_NT,
                            FLAG_RF, FLAG_VM, FLAGS_ALWAYS, FLAGS_SETTABLE, FS, GS, LDTR, SS, TR, SegmentCache)

# Offsets in a TSS, of 32 and of 16 bits (SDM vol. 3, figures 7-2 and 7-10).
cdef enum:
    LIMIT32 = 103
    LIMIT16 = 43
    CR3_32 = 28
    EIP32 = 32
    SEGMENTS32 = 72
    LDT32 = 96
    TRAP32 = 100
    IO_MAP32 = 102
    IP16 = 14
    SEGMENTS16 = 34
    LDT16 = 42

ctypedef struct TaskState:
    uint32_t cr3
    uint32_t eip
    uint32_t eflags
    uint32_t gpr[8]
    uint32_t segments[6]
    uint32_t ldt
    bint trap


cdef bint is_32_bit(uint32_t access) noexcept nogil:
    """Whether a TSS is one of 32 bits, by its descriptor's access bits."""
    return access >> 3 & 1


# One field after the other; the first fault ends it.

ctypedef struct Cursor:
    uint32_t at
    int size
    bint failed


cdef uint32_t next_field(CPU* cpu, Cursor* cursor) noexcept nogil:
    cdef uint64_t value
    if cursor.failed:
        return 0
    value = read_system(cpu, cursor.at, cursor.size)
    cursor.at += cursor.size
    if faulted(value):
        cursor.failed = True
        return 0
    return <uint32_t>value


cdef void put_field(CPU* cpu, Cursor* cursor, uint32_t value, int size) noexcept nogil:
    """Store the low `size` bytes of a field."""
    if not cursor.failed:
        cursor.failed = write_system(cpu, cursor.at, value, size) != 0
        cursor.at += cursor.size


cdef int read_task(CPU* cpu, uint32_t base, bint large, TaskState* task) noexcept nogil:
    """All of a TSS that a task switch loads; 0 or FAULT."""
    cdef Cursor cursor
    cdef int number
    cursor.size = 4 if large else 2
    cursor.failed = False
    cursor.at = base + (CR3_32 if large else IP16)
    task.cr3 = next_field(cpu, &cursor) if large else 0
    task.eip = next_field(cpu, &cursor)
    task.eflags = next_field(cpu, &cursor)
    for number in range(8):
        task.gpr[number] = next_field(cpu, &cursor)
    task.segments[FS] = task.segments[GS] = 0
    for number in range(6 if large else 4):
        task.segments[number] = next_field(cpu, &cursor) & 0xFFFF
    task.ldt = next_field(cpu, &cursor) & 0xFFFF
    task.trap = large and next_field(cpu, &cursor) & 1
    return FAULT if cursor.failed else 0


cdef int probe_system(CPU* cpu, uint32_t first, uint32_t last) noexcept nogil:
    """Whether the processor may store to the bytes between two, less than a page apart; 0 or FAULT."""
    cdef int failed
    cpu.system_access = True
    failed = probe(cpu, first, last, INTENT_WRITE)
    cpu.system_access = False
    return failed


cdef void save_task(CPU* cpu, uint32_t eip, uint32_t eflags) noexcept nogil:
    """Put the processor's state into the present TSS, which was probed."""
    cdef bint large = is_32_bit(cpu.segments[TR].access)
    cdef Cursor cursor
    cdef int number
    cursor.size = 4 if large else 2
    cursor.failed = False
    cursor.at = cpu.segments[TR].base + (EIP32 if large else IP16)
    put_field(cpu, &cursor, eip, cursor.size)
    put_field(cpu, &cursor, eflags, cursor.size)
    for number in range(8):
        put_field(cpu, &cursor, cpu.gpr[number], cursor.size)
    for number in range(6 if large else 4):
        put_field(cpu, &cursor, cpu.segments[number].selector, 2)


cdef int set_busy(CPU* cpu, uint32_t at, uint32_t high, bint busy) noexcept nogil:
    cdef uint32_t access = high >> 8 & 0xFF
    return write_system(cpu, at + 5, access | TSS_BUSY if busy else access & ~<uint32_t>TSS_BUSY, 1)


cdef int switch_task(CPU* cpu, uint32_t selector, Descriptor* descriptor, TaskSwitch how, uint32_t eip) noexcept nogil:
    """Go over to the task of a TSS that may be gone to; `eip` is where the present one goes on.

    0; FAULT while the present task goes on; FAULT_IN_TASK when the new one has the exception. The arithmetic flags
    stand in CPU.
    """
    cdef bint large = is_32_bit(access_of(descriptor))
    cdef uint32_t base = base_of(descriptor)
    cdef SegmentCache* old = &cpu.segments[TR]
    cdef uint32_t old_selector = old.selector
    cdef uint32_t eflags = get_eflags(cpu)
    cdef bint nests = how == TASK_CALL or how == TASK_EVENT or how == TASK_FAULT
    cdef bint delivering = cpu.delivering
    cdef Descriptor old_descriptor
    cdef TaskState task
    cdef int failed
    if limit_of(descriptor) < <uint32_t>(LIMIT32 if large else LIMIT16):
        return raise_exception(cpu, EXCEPTION_TS, selector & 0xFFFC)
    if read_descriptor(cpu, old_selector, EXCEPTION_TS, &old_descriptor) or read_task(cpu, base, large, &task):
        return FAULT
    if probe_system(cpu, old.base, old.base + (SEGMENTS32 + 23 if is_32_bit(old.access) else LDT16 - 1)) or (
            nests and probe_system(cpu, base, base + 1)) or probe_system(cpu, descriptor.at, descriptor.at + 7) or (
            probe_system(cpu, old_descriptor.at, old_descriptor.at + 7)):
        return FAULT
    # From here on nothing can fail until the new task is there: not for a device, not for a watchpoint.
    cpu.delivering = True
    if how == TASK_RETURN:
        eflags &= ~<uint32_t>FLAG_NT
    if how == TASK_FAULT:
        eflags |= FLAG_RF
    elif cpu.resume_at != cpu.retired:
        eflags &= ~<uint32_t>FLAG_RF
    save_task(cpu, eip, eflags)
    if not nests:
        set_busy(cpu, old_descriptor.at, old_descriptor.high, False)
    if how != TASK_RETURN:
        set_busy(cpu, descriptor.at, descriptor.high, True)
    if nests:
        write_system(cpu, base, old_selector, 2)
        task.eflags |= FLAG_NT
    set_segment(cpu, TR, selector, base, limit_of(descriptor), access_of(descriptor) | TSS_BUSY)
    failed = load_task(cpu, &task, large)
    cpu.delivering = delivering
    return failed


cdef int load_task(CPU* cpu, TaskState* task, bint large) noexcept nogil:
    """Become the task; 0, or FAULT_IN_TASK."""
    cdef int number
    cpu.cr0 |= CR0_TS
    monitor_disarm(cpu)
    if cpu.paging and large and task.cr3 != cpu.cr3:
        cpu.cr3 = task.cr3
        flush_translations(cpu, False)
    cpu.eip = task.eip
    set_eflags(cpu, task.eflags & (0xFFFFFFFFU if large else 0xFFFF) & FLAGS_SETTABLE | FLAGS_ALWAYS)
    cpu.resume_at = cpu.retired
    forget_local_breakpoints(cpu)
    for number in range(8):
        # Of a 16-bit TSS the upper halves come as ones: not in the manual, but so it is (test386.asm).
        cpu.gpr[number] = task.gpr[number] if large else 0xFFFF0000U | task.gpr[number]
    for number in range(6):
        set_segment(cpu, number, task.segments[number], 0, 0, 0)
    set_segment(cpu, LDTR, task.ldt, 0, 0, 0)
    set_cpl(cpu, 3 if cpu.eflags & FLAG_VM else task.segments[CS] & 3)
    update_context(cpu)
    # A pending interrupt, or a single step, is seen at once.
    atomic_store(&cpu.stop_at, 0)
    number = load_task_segments(cpu, task)
    update_context(cpu)
    if number:
        return FAULT_IN_TASK
    if cpu.eip > cpu.segments[CS].limit:
        raise_exception(cpu, EXCEPTION_GP, 0)
        return FAULT_IN_TASK
    if task.trap:
        cpu.dr_hits |= DR6_BT
    return 0


cdef int load_task_segments(CPU* cpu, TaskState* task) noexcept nogil:
    cdef Descriptor descriptor
    cdef uint32_t selector
    cdef int number
    if task.ldt & 0xFFFC:
        if task.ldt & 4 or read_descriptor(cpu, task.ldt, EXCEPTION_TS, &descriptor):
            return FAULT if not task.ldt & 4 else raise_exception(cpu, EXCEPTION_TS, task.ldt & 0xFFFC)
        if is_segment(&descriptor) or system_type(&descriptor) != LDT or not is_present(&descriptor):
            return raise_exception(cpu, EXCEPTION_TS, task.ldt & 0xFFFC)
        set_described(cpu, LDTR, task.ldt, &descriptor)
    if cpu.eflags & FLAG_VM:
        for number in range(6):
            set_real_segment(cpu, number, task.segments[number])
        return 0
    selector = task.segments[CS]
    if not selector & 0xFFFC:
        return raise_exception(cpu, EXCEPTION_TS, 0)
    if read_descriptor(cpu, selector, EXCEPTION_TS, &descriptor) or check_code_segment(
            cpu, selector, cpu.cpl, EXCEPTION_TS, &descriptor) or mark_accessed(cpu, &descriptor):
        return FAULT
    set_described(cpu, CS, selector, &descriptor)
    selector = task.segments[SS]
    if check_stack_segment(cpu, selector, cpu.cpl, EXCEPTION_TS, &descriptor) or mark_accessed(cpu, &descriptor):
        return FAULT
    set_described(cpu, SS, selector, &descriptor)
    for number in range(ES, GS + 1):
        selector = task.segments[number]
        if number != CS and number != SS and selector & 0xFFFC:
            if check_data_segment(cpu, selector, EXCEPTION_TS, &descriptor) or mark_accessed(cpu, &descriptor):
                return FAULT
            set_described(cpu, number, selector, &descriptor)
    return 0


cdef int switch_through_gate(CPU* cpu, Descriptor* gate, TaskSwitch how, uint32_t eip) noexcept nogil:
    """To the task that a task gate names."""
    cdef uint32_t selector = gate_selector(gate)
    cdef Descriptor descriptor
    if selector & 4:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    if read_descriptor(cpu, selector, EXCEPTION_GP, &descriptor):
        return FAULT
    if is_segment(&descriptor) or system_type(&descriptor) & ~8 != TSS16:
        return raise_exception(cpu, EXCEPTION_GP, selector & 0xFFFC)
    if not is_present(&descriptor):
        return raise_exception(cpu, EXCEPTION_NP, selector & 0xFFFC)
    return switch_task(cpu, selector, &descriptor, how, eip)


cdef int return_to_task(CPU* cpu, uint32_t eip) noexcept nogil:
    """IRET with NT set: to the task that the present one was called from."""
    cdef uint64_t link = read_system(cpu, cpu.segments[TR].base, 2)
    cdef uint32_t selector
    cdef Descriptor descriptor
    if faulted(link):
        return FAULT
    selector = <uint32_t>link
    if selector & 4:
        return raise_exception(cpu, EXCEPTION_TS, selector & 0xFFFC)
    if read_descriptor(cpu, selector, EXCEPTION_TS, &descriptor):
        return FAULT
    if is_segment(&descriptor) or system_type(&descriptor) & ~8 != TSS16 | TSS_BUSY:
        return raise_exception(cpu, EXCEPTION_TS, selector & 0xFFFC)
    if not is_present(&descriptor):
        return raise_exception(cpu, EXCEPTION_NP, selector & 0xFFFC)
    return switch_task(cpu, selector, &descriptor, TASK_RETURN, eip)


cdef int inner_stack(CPU* cpu, uint32_t cpl, Stack* stack, uint32_t* selector, Descriptor* descriptor) noexcept nogil:
    """The stack that the TSS has for a privilege level; 0 or FAULT."""
    cdef SegmentCache* tss = &cpu.segments[TR]
    cdef bint large = is_32_bit(tss.access)
    cdef uint32_t offset = cpl * 8 + 4 if large else cpl * 4 + 2
    cdef uint64_t pointer, segment
    cdef SegmentCache register
    if not tss.selector & 0xFFFC or offset + (5 if large else 3) > tss.limit:
        return raise_exception(cpu, EXCEPTION_TS, tss.selector & 0xFFFC)
    pointer = read_system(cpu, tss.base + offset, 4 if large else 2)
    if faulted(pointer):
        return FAULT
    segment = read_system(cpu, tss.base + offset + (4 if large else 2), 2)
    if faulted(segment):
        return FAULT
    selector[0] = <uint32_t>segment
    if check_stack_segment(cpu, selector[0], cpl, EXCEPTION_TS, descriptor) or mark_accessed(cpu, descriptor):
        return FAULT
    describe(&register, selector[0], base_of(descriptor), limit_of(descriptor), access_of(descriptor))
    stack_of(stack, &register, <uint32_t>pointer, selector[0] & 0xFFFC)
    return 0


cdef bint may_reach_port(CPU* cpu, uint32_t port, int size) noexcept nogil:
    """Whether IOPL or the TSS's I/O permission map allows an access; a fault is noted if not."""
    cdef SegmentCache* tss = &cpu.segments[TR]
    cdef uint64_t map_at, bits
    if not cpu.eflags & FLAG_VM and cpu.cpl <= cpu.eflags >> 12 & 3:
        return True
    if tss.selector & 0xFFFC and is_32_bit(tss.access) and tss.limit >= LIMIT32:
        map_at = read_system(cpu, tss.base + IO_MAP32, 2)
        if faulted(map_at):
            return False
        map_at += port >> 3
        if map_at + 1 <= tss.limit:
            bits = read_system(cpu, tss.base + <uint32_t>map_at, 2)
            if faulted(bits):
                return False
            if not bits >> (port & 7) & ((1 << size) - 1):
                return True
    raise_exception(cpu, EXCEPTION_GP, 0)
    return False
