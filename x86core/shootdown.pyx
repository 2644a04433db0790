"""Taking write tags away from every vCPU, without waiting for any.

Who gives a page attributes sets them first and then begins a shootdown, which is a number. A vCPU in the
guest answers at its next block, after its earlier stores are visible; one outside the guest counts as
having answered, since it looks at the number before it stores again. What relies on the page being
watched - an armed monitor, a decoded block - asks everybody_answered before it relies on it.
"""
from libc.stdint cimport uint32_t, uint64_t

from posix.unistd cimport usleep

from x86core.attention cimport request
from x86core.intrinsics cimport atomic_add, atomic_exchange, atomic_load, atomic_store, spin_pause
from x86core.state cimport ATTENTION_SHOOTDOWN, CPU, IN_GUEST, RAM, TLB_ENTRIES, Page
from x86core.tlb cimport tag_of_none


cdef void lock_page(Page* page) noexcept nogil:
    cdef int spins = 0
    while atomic_exchange(&page.lock, 1):
        while atomic_load(&page.lock):
            spins += 1
            if spins & 1023:
                spin_pause()
            else:
                usleep(0)           # its holder may have lost the core that we burn


cdef void unlock_page(Page* page) noexcept nogil:
    atomic_store(&page.lock, 0)


cdef void shootdown(RAM* ram, CPU* by) noexcept nogil:
    """Begin a shootdown: every vCPU is to drop its write tags of pages with attributes.

    The attributes must be set before. Waits for nobody.
    """
    cdef uint32_t index
    cdef CPU* cpu
    atomic_add(&ram.shootdown, 1)
    for index in range(<uint32_t>atomic_load(&ram.vcpu_limit)):
        cpu = ram.vcpus[index]
        if cpu != NULL and cpu != by and atomic_load(&cpu.location) == IN_GUEST:
            request(cpu, ATTENTION_SHOOTDOWN)
    if by != NULL:
        answer_shootdown(by)


cdef void answer_shootdown(CPU* cpu) noexcept nogil:
    """Drop this vCPU's write tags of watched pages and say so. Between its own stores only."""
    cdef RAM* ram = cpu.ram
    cdef uint64_t number = atomic_load(&ram.shootdown)
    cdef uint32_t linear, attributes
    cdef uint64_t physical
    cdef int entry
    for entry in range(TLB_ENTRIES):
        linear = cpu.tlb[entry].write_tag
        if linear == tag_of_none(entry):
            continue
        physical = <uint64_t>(cpu.tlb[entry].addend + linear - ram.bytes)
        attributes = atomic_load(&ram.pages[physical >> 12].attributes)
        if attributes:
            cpu.tlb[entry].write_tag = tag_of_none(entry)
    atomic_exchange(&cpu.acknowledged, number)


cdef bint everybody_answered(RAM* ram, uint64_t number) noexcept nogil:
    """Whether no vCPU can still store unseen to what was given attributes before this shootdown."""
    cdef uint32_t index
    cdef CPU* cpu
    for index in range(<uint32_t>atomic_load(&ram.vcpu_limit)):
        cpu = ram.vcpus[index]
        if cpu != NULL and atomic_load(&cpu.acknowledged) < number and atomic_load(&cpu.location) == IN_GUEST:
            return False
    return True
