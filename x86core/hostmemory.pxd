cdef void* reserve(size_t size) except NULL
cdef void release(void* at, size_t size) noexcept
