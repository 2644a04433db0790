"""The beginnings of a vCPU: its structure, the state after RESET, the two ways to start one."""
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset, strerror

from x86core.blocks cimport blocks_create, flush_blocks
from x86core.flags cimport set_eflags
from x86core.hostmemory cimport release, reserve
from x86core.intrinsics cimport atomic_and, atomic_load, atomic_store
from x86core.monitor cimport monitor_disarm
from x86core.msr cimport MISC_ENABLE_MONITOR
from x86core.segmentation cimport set_segment, update_context
from x86core.state cimport (ATTENTION_KICK, CPU, CR0_CD, CR0_ET, CR0_NW, CR0_PE, CS, EDX, ES, ESP, FLAGS_ALWAYS, GS,
                            LDTR, MP_STATE_RUNNABLE, MP_STATE_UNINITIALIZED, PAGE_SIZE, PORT_DATA_OFFSET, RAM,
                            SEGMENTS, KvmRun)
from x86core.tlb cimport tlb_flush

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int, int)
    int EFD_CLOEXEC, EFD_NONBLOCK


cdef CPU* create_cpu(RAM* ram, int index) except NULL:
    """The structure of a vCPU, which lives as long as its memory. Raises MemoryError or OSError."""
    cdef CPU* cpu = <CPU*>reserve(sizeof(CPU))
    cdef void* run = reserve(2 * PAGE_SIZE)
    cpu.ram = ram
    cpu.index = index
    cpu.run = <KvmRun*>run
    cpu.port_data = <uint64_t*>(<uint8_t*>run + PORT_DATA_OFFSET)
    cpu.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    if cpu.wake_fd < 0:
        release(run, 2 * PAGE_SIZE)
        release(cpu, sizeof(CPU))
        raise OSError(errno, f"no eventfd for vCPU {index}: {strerror(errno).decode()}")
    blocks_create(cpu)
    cpu.acknowledged = atomic_load(&ram.shootdown)
    ram.vcpus[index] = cpu
    if ram.vcpu_limit <= <uint32_t>index:
        atomic_store(&ram.vcpu_limit, index + 1)
    return cpu


cdef void reset_cpu(CPU* cpu) noexcept:
    """Real mode at the reset vector; counters and whatever was under way are gone. A kick stays."""
    cdef int number
    memset(cpu.gpr, 0, sizeof(cpu.gpr))
    cpu.gpr[EDX] = 0x611
    set_eflags(cpu, FLAGS_ALWAYS)
    cpu.eip = 0xFFF0
    cpu.cr0 = CR0_CD | CR0_NW | CR0_ET
    cpu.cr2 = cpu.cr3 = cpu.cr4 = 0
    memset(cpu.dr, 0, sizeof(cpu.dr))
    cpu.dr[6] = 0xFFFF0FF0U
    cpu.dr[7] = 0x400
    cpu.misc_enable = MISC_ENABLE_MONITOR
    cpu.tsc_offset = 0
    cpu.gdt_base = cpu.idt_base = 0
    cpu.gdt_limit = 0xFFFF
    cpu.idt_limit = 0xFFFF
    for number in range(SEGMENTS):
        set_segment(cpu, number, 0, 0, 0xFFFF, 0x82 if number >= LDTR else 0x93)
    set_segment(cpu, CS, 0xF000, 0xFFFF0000U, 0xFFFF, 0x93)
    cpu.mp_state = MP_STATE_UNINITIALIZED if cpu.index else MP_STATE_RUNNABLE
    cpu.retired = 0
    cpu.shadow = cpu.trap_shadow = cpu.trap_at = cpu.replay_at = -1
    cpu.access_exit = 0
    cpu.waits_for_store = cpu.completes_access = False
    cpu.nmi_pending = cpu.nmi_blocked = False
    cpu.last_event = -1
    atomic_and(&cpu.attention, ATTENTION_KICK)      # a kick is never lost
    for number in range(4):
        cpu.interrupts[number] = 0
    memset(&cpu.stats, 0, sizeof(cpu.stats))
    monitor_disarm(cpu)
    tlb_flush(cpu)
    flush_blocks(cpu)
    update_context(cpu)


cdef void start_cpu_real_mode(CPU* cpu, uint32_t selector, uint32_t offset) noexcept:
    """At selector:offset, as a boot sector begins."""
    cdef int number
    reset_cpu(cpu)
    for number in range(ES, GS + 1):
        set_segment(cpu, number, 0, 0, 0xFFFF, 0x93)
    set_segment(cpu, CS, selector, selector << 4, 0xFFFF, 0x93)
    cpu.cr0 = CR0_ET
    cpu.idt_limit = 0x3FF
    cpu.eip = offset
    cpu.mp_state = MP_STATE_RUNNABLE
    update_context(cpu)


cdef void start_cpu_flat32(CPU* cpu, uint32_t at, uint32_t stack) noexcept:
    """In flat 32-bit protected mode."""
    cdef int number
    reset_cpu(cpu)
    cpu.cr0 = CR0_PE | CR0_ET
    for number in range(ES, GS + 1):
        set_segment(cpu, number, 0x10, 0, 0xFFFFFFFFU, 0xC093)
    set_segment(cpu, CS, 0x08, 0, 0xFFFFFFFFU, 0xC09B)
    cpu.gdt_limit = cpu.idt_limit = 0
    cpu.eip = at
    cpu.gpr[ESP] = stack
    cpu.mp_state = MP_STATE_RUNNABLE
    update_context(cpu)
