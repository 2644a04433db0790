"""Read-only memory: a part of RAM whose pages have PAGE_ROM, and which is seen at the top of 4 GiB, too."""
from libc.stdint cimport uint64_t

from x86core.intrinsics cimport atomic_load, unlikely
from x86core.state cimport PAGE_ROM, RAM


cdef inline uint64_t unmirrored(RAM* ram, uint64_t physical) noexcept nogil:
    """The one address by which a byte is known: of the ROM that below 1 MiB. A fault stays one."""
    if unlikely(physical - ram.rom_mirror < ram.rom_size):
        return physical - ram.rom_mirror + (1 << 20) - ram.rom_size
    return physical


cdef inline bint is_rom(RAM* ram, uint64_t physical) noexcept nogil:
    """Whether an address in RAM is one of ROM."""
    return atomic_load(&ram.pages[physical >> 12].attributes) & PAGE_ROM != 0
