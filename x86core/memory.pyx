"""Guest RAM, what a store to a watched page sets off, and the host's and devices' way in."""
import os
from operator import index as index_of

import numpy

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

from x86core.apic cimport send_message
from x86core.attention cimport request
from x86core.blocks cimport blocks_destroy, drop_page, flush_blocks
from x86core.guest_debug cimport forget_debug
from x86core.hostmemory cimport release, reserve
from x86core.intrinsics cimport (atomic_add, atomic_and, atomic_fence, atomic_load, atomic_or, atomic_store,
                                 monotonic_nanoseconds)
from x86core.monitor cimport monitor_store
from x86core.paging cimport flush_translations
from x86core.state cimport (ATTENTION_CODE, CPU, LINE_SIZE, MAX_VCPUS, PAGE_CODE, PAGE_HELD, PAGE_PROTECTED, PAGE_ROM,
                            PAGE_SIZE, RAM, Page, Recorder)
from x86core.wake_fd cimport close_wake_fd, update_wake_fd

#: The top 64 MiB of the physical address space belong to devices.
MAX_MEMORY = (4 << 30) - (64 << 20)

#: A ROM ends at ROM_END and, once more, at 4 GiB. It has at most so many bytes.
MAX_ROM = 128 << 10
ROM_END = 1 << 20


cdef void after_store(RAM* ram, CPU* writer, uint64_t physical, uint64_t size) noexcept nogil:
    """What follows a store to a page with attributes: monitors trigger, old code is dropped.

    The bytes lie in one page. `writer` is NULL for the host and for devices.
    """
    cdef Page* page = &ram.pages[physical >> 12]
    atomic_fence()                  # the store is visible before anything is looked up
    if atomic_load(&page.attributes) & PAGE_PROTECTED:
        monitor_store(ram, writer, physical, size)
    if atomic_load(&page.attributes) & PAGE_CODE:
        modify_code(ram, writer, page, physical, size)


cdef void modify_code(RAM* ram, CPU* writer, Page* page, uint64_t physical, uint64_t size) noexcept nogil:
    """Drop the blocks of the page if any decoded byte is among those stored to."""
    cdef uint64_t first = physical / LINE_SIZE
    cdef uint64_t last = (physical + size - 1) / LINE_SIZE
    cdef uint64_t line, touched
    cdef uint64_t hit = 0
    cdef uint32_t number = <uint32_t>(page - ram.pages)
    cdef uint32_t index
    for line in range(first, last + 1):
        touched = ~<uint64_t>0
        if line == first:
            touched &= ~<uint64_t>0 << (physical & 63)
        if line == last:
            touched &= ~<uint64_t>0 >> (63 - ((physical + size - 1) & 63))
        hit |= atomic_load(&ram.code_bytes[line]) & touched
    if not hit:
        return
    # Decoding anew marks its bytes before it reads them; so what is forgotten here was decoded before.
    atomic_and(&page.attributes, ~<uint32_t>PAGE_CODE)
    for line in range(<uint64_t>(PAGE_SIZE / LINE_SIZE)):
        atomic_store(&ram.code_bytes[<uint64_t>number * (PAGE_SIZE / LINE_SIZE) + line], 0)
    atomic_add(&page.code_version, 1)
    if writer != NULL:
        drop_page(writer, number)
    for index in range(<uint32_t>atomic_load(&ram.vcpu_limit)):
        if ram.vcpus[index] != NULL:
            request(ram.vcpus[index], ATTENTION_CODE)


cdef class Memory:
    """Guest RAM from physical address 0, shared by the vCPUs of one machine.

    `size` is in bytes. Raises ValueError unless it is positive, a multiple of 4096 and at most
    MAX_MEMORY (4 GiB less 64 MiB), and MemoryError when the host has less than that.
    With `virtual_time` an instruction takes `instruction_ns` nanoseconds; ValueError unless that is in 1..1000000.
    """

    def __cinit__(self, size, *, virtual_time=False, instruction_ns=1):
        instruction_ns = index_of(instruction_ns)
        if not 1 <= instruction_ns <= 1000000:
            raise ValueError(f"instruction_ns {instruction_ns} is not in 1..1000000")
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"memory size must be an int of bytes, not {type(size).__name__}")
        if size <= 0 or size % PAGE_SIZE or size > MAX_MEMORY:
            raise ValueError(
                f"memory size {size} is not a positive multiple of 4096 bytes up to {MAX_MEMORY}")
        if size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            raise MemoryError(f"memory size {size} is more than this host has")
        self.ram = <RAM*>calloc(1, sizeof(RAM))
        if self.ram == NULL:
            raise MemoryError("the host has no memory left for a guest")
        self.ram.size = size
        self.ram.page_count = size // PAGE_SIZE
        self.ram.bytes = <uint8_t*>reserve(size)
        self.ram.pages = <Page*>reserve(self.ram.page_count * sizeof(Page))
        self.ram.code_bytes = <uint64_t*>reserve(size // 8)
        self.ram.epoch = monotonic_nanoseconds()
        self.ram.virtual_time = bool(virtual_time)
        self.ram.instruction_ns = instruction_ns
        self.shape[0] = size

    def __dealloc__(self):
        cdef int index
        cdef CPU* cpu
        if self.ram == NULL:
            return
        # The vCPUs hold a reference to this object, so none of them can be in use.
        for index in range(MAX_VCPUS):
            cpu = self.ram.vcpus[index]
            if cpu != NULL:
                blocks_destroy(cpu)
                forget_debug(cpu)
                close_wake_fd(cpu)
                release(cpu.recorder_memory, sizeof(Recorder))
                release(cpu.run, 2 * PAGE_SIZE)
                release(cpu, sizeof(CPU))
        release(self.ram.bytes, self.ram.size)
        release(self.ram.pages, self.ram.page_count * sizeof(Page))
        release(self.ram.code_bytes, self.ram.size // 8)
        free(self.ram)

    @property
    def size(self):
        """Bytes of RAM."""
        return self.ram.size

    @property
    def epoch(self):
        """Guest time 0 on the host's CLOCK_MONOTONIC, in nanoseconds. Virtual time has nothing to do with it."""
        return self.ram.epoch

    @property
    def virtual_time(self):
        """Whether guest time is that of instructions."""
        return self.ram.virtual_time

    @property
    def vcpus(self):
        """How many vCPUs use this memory."""
        cdef int index
        return sum(1 for index in range(MAX_VCPUS) if self.ram.vcpus[index] != NULL and self.ram.vcpus[index].owned)

    @property
    def time(self):
        """Guest time in nanoseconds: the host's since the memory was made.

        It may be set while no vCPU is in run(), so that a restored machine goes on from when it was saved. Raises
        ValueError when time is virtual, which is each vCPU's own, or the value is not in 0..2**60.
        """
        self._check_wall()
        return monotonic_nanoseconds() - self.ram.epoch

    @time.setter
    def time(self, value):
        cdef uint64_t now
        cdef int index
        self._check_wall()
        value = index_of(value)
        if not 0 <= value <= 1 << 60:
            raise ValueError(f"guest time {value} is not in 0..{1 << 60} nanoseconds")
        self._check_outside()
        now = value
        self.ram.epoch = monotonic_nanoseconds() - now
        for index in range(MAX_VCPUS):
            if self.ram.vcpus[index] != NULL:
                self.ram.vcpus[index].wake_timer_at = -1    # set anew, whatever it was set to
                update_wake_fd(self.ram.vcpus[index])

    def _check_outside(self):
        cdef int index
        for index in range(MAX_VCPUS):
            if self.ram.vcpus[index] != NULL and self.ram.vcpus[index].in_run:
                raise RuntimeError(f"vCPU {index} is in run(); kick it and wait for run() to return")

    def _check_wall(self):
        if self.ram.virtual_time:
            raise ValueError("virtual time is each vCPU's own: see Lockstep.time")

    @property
    def rom(self):
        """Bytes of RAM that are read-only memory in fact: those up to 1 MiB, which are also the last below 4 GiB.

        Processors begin there. `write` fills it; a guest's store leaves run() with EXIT_MMIO, as one to a memory slot
        with KVM_MEM_READONLY does, and changes nothing. It may be set while no vCPU is in run(). Raises ValueError
        unless it is a multiple of 4096 up to MAX_ROM and RAM has 1 MiB; 0 is none.
        """
        return self.ram.rom_size

    @rom.setter
    def rom(self, value):
        cdef uint64_t size, page
        cdef int index
        value = index_of(value)
        if not 0 <= value <= MAX_ROM or value % PAGE_SIZE:
            raise ValueError(f"ROM size {value} is not a multiple of {PAGE_SIZE} bytes up to {MAX_ROM}")
        if value and self.ram.size < ROM_END:
            raise ValueError(f"a ROM ends at {ROM_END} bytes, and RAM has {self.ram.size}")
        self._check_outside()
        size = value
        self.ram.rom_size = size
        self.ram.rom_mirror = (<uint64_t>1 << 32) - size
        for page in range(<uint64_t>(ROM_END - MAX_ROM) // PAGE_SIZE, min(<uint64_t>ROM_END, self.ram.size) // PAGE_SIZE):
            if page * PAGE_SIZE >= <uint64_t>ROM_END - size:
                atomic_or(&self.ram.pages[page].attributes, PAGE_ROM)
            else:
                atomic_and(&self.ram.pages[page].attributes, ~<uint32_t>PAGE_ROM)
        for index in range(MAX_VCPUS):
            if self.ram.vcpus[index] != NULL:
                flush_blocks(self.ram.vcpus[index])
                flush_translations(self.ram.vcpus[index], True)

    def pages_in_use(self):
        """The numbers of the 4 KiB pages that hold anything but zeros, ascending: an array of uint32."""
        cdef Py_buffer buffer
        cdef uint32_t page
        cdef Py_ssize_t count = 0
        pages = numpy.empty(self.ram.page_count, numpy.uint32)
        PyObject_GetBuffer(pages, &buffer, PyBUF_WRITABLE)
        with nogil:
            for page in range(self.ram.page_count):
                if not is_zero(self.ram.bytes + <uint64_t>page * PAGE_SIZE):
                    (<uint32_t*>buffer.buf)[count] = page
                    count += 1
        PyBuffer_Release(&buffer)
        return pages[:count].copy()

    def _check(self, address, size):
        address, size = index_of(address), index_of(size)
        if address < 0 or size < 0 or address + size > self.ram.size:
            raise ValueError(
                f"{size} bytes at {address:#x} are not all within the {self.ram.size} bytes of guest RAM")

    def write(self, address, data):
        """Store bytes at a physical address as a device would.

        Triggers the monitors that the store touches and drops code decoded from those bytes.
        Raises ValueError, and writes nothing, when any byte lies outside RAM; what Python raises for `data`
        that is not one run of bytes (TypeError, BufferError).
        """
        cdef Py_buffer buffer
        cdef uint64_t at, size, done, part
        PyObject_GetBuffer(data, &buffer, PyBUF_SIMPLE)
        try:
            self._check(address, buffer.len)
            at = address
            size = buffer.len
            done = 0
            with nogil:
                # All of it is visible before anybody wakes and looks at it.
                store_from_host(self.ram.bytes + at, <uint8_t*>buffer.buf, size)
                while done < size:
                    part = min(size - done, PAGE_SIZE - ((at + done) & (PAGE_SIZE - 1)))
                    after_store(self.ram, NULL, at + done, part)
                    done += part
        finally:
            PyBuffer_Release(&buffer)

    def read(self, address, size):
        """`size` bytes from a physical address. Raises ValueError outside RAM."""
        self._check(address, size)
        return (<char*>self.ram.bytes)[<uint64_t>address:<uint64_t>address + <uint64_t>size]

    def hold_stores(self, address, size):
        """Have vCPUs with `stops_before_wakes` stop before stores to these bytes' pages as well; before they run.

        Raises ValueError outside RAM, RuntimeError when a vCPU has run.
        """
        cdef uint64_t page
        cdef uint32_t index
        self._check(address, size)
        for index in range(self.ram.vcpu_limit):
            if self.ram.vcpus[index] != NULL and self.ram.vcpus[index].retired:
                raise RuntimeError("a vCPU has run: name what is to be held before that")
        if size:
            for page in range(address >> 12, (address + size - 1 >> 12) + 1):
                atomic_or(&self.ram.pages[page].attributes, PAGE_HELD)

    def is_protected(self, address):
        """Whether a store to this address takes a write fault: a monitor was armed on its page.

        Raises ValueError outside RAM.
        """
        self._check(address, 1)
        return atomic_load(&self.ram.pages[<uint64_t>address >> 12].attributes) & PAGE_PROTECTED != 0

    def signal_msi(self, address, data):
        """Send the local APICs a message-signalled interrupt, from any thread; how many accept it.

        Address and data are as in a PCI function's capability (SDM vol. 3, 11.11). An edge, or with bit 15 of the
        data a level: its EOI leaves run() with EXIT_IOAPIC_EOI. Delivery modes are fixed, lowest priority, NMI and
        INIT; nobody accepts another. Raises ValueError unless the address begins with FEEh and both fit 32 bits.
        """
        address, data = index_of(address), index_of(data)
        if not 0xFEE00000 <= address <= 0xFEEFFFFF:
            raise ValueError(f"messages to local APICs go to FEE00000h..FEEFFFFFh, not to {address:#x}")
        if not 0 <= data <= 0xFFFFFFFF:
            raise ValueError(f"the data of a message are 32 bits, not {data:#x}")
        return send_message(self.ram, address, data)

    def view(self):
        """A read-only array of uint8 over RAM, shape (size,), without a copy.

        Read-only because a store through it would trigger no monitor: `write` does.
        """
        return numpy.frombuffer(self, dtype=numpy.uint8)

    def __getbuffer__(self, Py_buffer* buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("guest RAM is written through Memory.write, which triggers monitors")
        buffer.buf = self.ram.bytes
        buffer.format = b"B"
        buffer.internal = NULL
        buffer.itemsize = 1
        buffer.len = self.ram.size
        buffer.ndim = 1
        buffer.obj = self
        buffer.readonly = 1
        buffer.shape = self.shape
        buffer.strides = NULL
        buffer.suboffsets = NULL


cdef inline bint is_zero(const uint8_t* page) noexcept nogil:
    """Whether 4 KiB are all zeros: whether they equal themselves, shifted, from a zero on."""
    return (<const uint64_t*>page)[0] == 0 and memcmp(page, page + 8, PAGE_SIZE - 8) == 0


cdef void store_from_host(uint8_t* at, uint8_t* data, uint64_t size) noexcept nogil:
    """One host store when the size is an access width, so that no guest sees half of it."""
    # after_store, which follows, has the fence.
    if size == 4:
        (<uint32_t*>at)[0] = (<uint32_t*>data)[0]
    elif size == 8:
        (<uint64_t*>at)[0] = (<uint64_t*>data)[0]
    else:
        memcpy(at, data, size)
