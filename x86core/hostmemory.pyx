"""Large pieces of host memory: zeroed, free of cost until touched, with a guard page on either side.

The guards turn an access beyond the end, which nothing a guest does may cause, into a fault at once.
"""
from libc.stdint cimport uint8_t
from posix.mman cimport (MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE, mmap,
                         mprotect, munmap)

from x86core.state cimport PAGE_SIZE


cdef size_t whole_pages(size_t size) noexcept:
    return (size + PAGE_SIZE - 1) & ~<size_t>(PAGE_SIZE - 1)


cdef void* reserve(size_t size) except NULL:
    """At least `size` bytes. Raises MemoryError when the host has no room for them."""
    cdef size_t inner = whole_pages(size)
    cdef void* at = mmap(NULL, inner + 2 * PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    if at == MAP_FAILED:
        raise MemoryError(f"the host has no {size} bytes of memory; ask for less")
    at = <uint8_t*>at + PAGE_SIZE
    if mprotect(at, inner, PROT_READ | PROT_WRITE):
        release(at, size)
        raise MemoryError(f"the host has no {size} bytes of memory; ask for less")
    return at


cdef void release(void* at, size_t size) noexcept:
    """Give back what reserve returned for this size; NULL is nothing."""
    if at != NULL:
        munmap(<uint8_t*>at - PAGE_SIZE, whole_pages(size) + 2 * PAGE_SIZE)
