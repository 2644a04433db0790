"""What Cython has no word for: branch hints, atomic operations, the futex, the clock.

Atomics are the compiler's own with sequential consistency; on x86 that is one locked instruction
for a read-modify-write or an exchange, and a plain move for a load.
"""
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #include <errno.h>
    #include <limits.h>
    #include <linux/futex.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>

    #define likely(x) __builtin_expect(!!(x), 1)
    #define unlikely(x) __builtin_expect(!!(x), 0)
    #define atomic_load(p) __atomic_load_n(p, __ATOMIC_SEQ_CST)
    #define atomic_store(p, v) __atomic_store_n(p, v, __ATOMIC_SEQ_CST)
    #define atomic_exchange(p, v) __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
    #define atomic_or(p, v) __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
    #define atomic_and(p, v) __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
    #define atomic_xor(p, v) __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST)
    #define atomic_add(p, v) __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
    #define atomic_fence() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define atomic_swap_if(p, old, new_) __sync_bool_compare_and_swap(p, old, new_)
    #define atomic_swap_value(p, old, new_) __sync_val_compare_and_swap(p, old, new_)
    /* A pointer that the compiler need not compare with NULL. */
    #define never_null(p) ({ uint8_t *never_null_ = (p); if (!never_null_) __builtin_unreachable(); never_null_; })
    /* A pointer that stands in its register from here on, so that what follows needs no second one. */
    #define settled(p) ({ __typeof__(p) settled_ = (p); __asm__("" : "+r"(settled_)); settled_; })
    #define spin_pause() __builtin_ia32_pause()
    #define compiler_barrier() __asm__ __volatile__("" ::: "memory")
    #define trailing_zeros(x) ((uint32_t)__builtin_ctz(x))
    #define trailing_zeros64(x) __builtin_ctzll(x)
    #define leading_zeros(x) ((uint32_t)__builtin_clz(x))
    #define leading_zeros64(x) ((int)__builtin_clzll(x))
    #define swap_bytes(x) __builtin_bswap32(x)
    #define parity_is_even(x) (!__builtin_parity((x) & 0xFF))
    /* Counts beyond any that a run reaches; their sum still fits. */
    #define DEAD_COUNT (INT64_C(1) << 62)
    #define NO_LIMIT (INT64_C(1) << 61)
    #define frame_address() ((uintptr_t)__builtin_frame_address(0))

    /* Sleep while *word == value; nanoseconds < 0 waits for ever. 0, or the errno that ended the sleep. */
    static inline int futex_wait(uint32_t *word, uint32_t value, int64_t nanoseconds) {
        struct timespec timeout = {nanoseconds / 1000000000, nanoseconds % 1000000000};
        return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value,
                       nanoseconds < 0 ? NULL : &timeout, NULL, 0) ? errno : 0;
    }
    static inline void futex_wake(uint32_t *word) {
        syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    }
    /* At any alignment, which wmemset is not made for: a first piece, then copies of what is there. */
    static inline void fill32(uint8_t *at, uint32_t value, size_t count) {
        size_t size = 4 * count, done = size < 64 ? size : 64;
        for (size_t byte = 0; byte < done; byte += 4)
            memcpy(at + byte, &value, 4);
        while (done < size) {
            size_t part = done < size - done ? done : size - done;
            memcpy(at + done, at, part);
            done += part;
        }
    }
    static inline uint64_t monotonic_nanoseconds(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
    }
    """
    bint likely(bint)
    bint unlikely(bint)
    void* settled(void*)
    # The operand's own type is what the macro returns; uint64_t holds each of them.
    uint64_t atomic_load(void*)
    void atomic_store(void*, uint64_t)
    uint64_t atomic_exchange(void*, uint64_t)
    uint64_t atomic_or(void*, uint64_t)
    uint64_t atomic_and(void*, uint64_t)
    uint64_t atomic_xor(void*, uint64_t)
    uint64_t atomic_add(void*, uint64_t)
    bint atomic_swap_if(void*, uint64_t, uint64_t)
    uint64_t atomic_swap_value(void*, uint64_t, uint64_t)
    void atomic_fence()
    uint8_t* never_null(uint8_t*)
    void spin_pause()
    void compiler_barrier()
    bint parity_is_even(uint32_t)
    uint32_t trailing_zeros(uint32_t)       # not of 0
    int trailing_zeros64(uint64_t)          # not of 0
    uint32_t leading_zeros(uint32_t)        # not of 0
    int leading_zeros64(uint64_t)           # not of 0
    uint32_t swap_bytes(uint32_t)
    const int64_t DEAD_COUNT
    const int64_t NO_LIMIT
    size_t frame_address()
    int futex_wait(uint32_t* word, uint32_t value, int64_t nanoseconds)
    void futex_wake(uint32_t* word)
    void fill32(uint8_t* at, uint32_t value, size_t count)
    uint64_t monotonic_nanoseconds()
