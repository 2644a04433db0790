"""A file descriptor that polls readable exactly while a vCPU is runnable.

An eventfd holds what is known; a timerfd stands for a deadline that comes while the vCPU is out of run() and
nobody is there to look at the clock. An epoll instance around both is one descriptor for the VMM to poll. Whoever
changes whether the vCPU is runnable calls update_wake_fd behind the change: its lock puts all of them in an order,
and the last one sees everything before it.
"""
from libc.errno cimport errno
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset, strerror
from posix.time cimport CLOCK_MONOTONIC, itimerspec
from posix.unistd cimport close, read, write

from x86core.intrinsics cimport NO_LIMIT, atomic_exchange, atomic_load, atomic_store, spin_pause
from x86core.runnable cimport is_runnable, next_deadline
from x86core.state cimport CPU

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int, int)
    int EFD_CLOEXEC, EFD_NONBLOCK

cdef extern from "<sys/timerfd.h>" nogil:
    int timerfd_create(int, int)
    int timerfd_settime(int, int, const itimerspec*, itimerspec*)
    int TFD_CLOEXEC, TFD_NONBLOCK, TFD_TIMER_ABSTIME

cdef extern from "<sys/epoll.h>" nogil:
    cdef struct epoll_event:
        unsigned int events
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event*)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLIN


cdef void set_timer(CPU* cpu, int64_t deadline) noexcept nogil:
    """Have the timerfd become readable at a guest time; NO_LIMIT: never."""
    cdef itimerspec setting
    cdef uint64_t host
    if deadline == cpu.wake_timer_at:
        return
    cpu.wake_timer_at = deadline
    memset(&setting, 0, sizeof(setting))
    if deadline != NO_LIMIT:
        host = cpu.ram.epoch + <uint64_t>deadline
        setting.it_value.tv_sec = host // 1000000000
        setting.it_value.tv_nsec = host % 1000000000
    timerfd_settime(cpu.wake_timer, TFD_TIMER_ABSTIME, &setting, NULL)


cdef void update_wake_fd(CPU* cpu) noexcept nogil:
    """Make the descriptor say whether the vCPU is runnable. From any thread; behind the change."""
    cdef uint64_t count = 1
    cdef bint runnable
    if not atomic_load(&cpu.notify):
        return
    while atomic_exchange(&cpu.wake_lock, 1):
        spin_pause()
    runnable = is_runnable(cpu)
    # Neither call fails: the counter is 0 or 1, and it is read only when it is 1.
    if runnable and not cpu.notified:
        write(cpu.wake_event, &count, sizeof(count))
    elif cpu.notified and not runnable:
        read(cpu.wake_event, &count, sizeof(count))
    cpu.notified = runnable
    set_timer(cpu, NO_LIMIT if runnable or cpu.in_run or cpu.ram.virtual_time else next_deadline(cpu))
    atomic_store(&cpu.wake_lock, 0)


cdef int open_wake_fd(CPU* cpu) except -1:
    """Begin to notify. Raises OSError when the host has no descriptors left."""
    cdef epoll_event event
    cdef int member
    if cpu.notify:
        return 0
    cpu.wake_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
    cpu.wake_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
    cpu.wake_fd = epoll_create1(EPOLL_CLOEXEC)
    if cpu.wake_event < 0 or cpu.wake_timer < 0 or cpu.wake_fd < 0:
        number = errno
        close_wake_fd(cpu)
        raise OSError(number, f"no descriptor for the wakes of vCPU {cpu.index}: {strerror(number).decode()}")
    memset(&event, 0, sizeof(event))
    event.events = EPOLLIN
    for member in (cpu.wake_event, cpu.wake_timer):
        epoll_ctl(cpu.wake_fd, EPOLL_CTL_ADD, member, &event)
    atomic_exchange(&cpu.notify, 1)
    update_wake_fd(cpu)
    return 0


cdef void close_wake_fd(CPU* cpu) noexcept:
    for descriptor in (cpu.wake_fd, cpu.wake_event, cpu.wake_timer):
        if descriptor >= 0:
            close(descriptor)
    cpu.wake_fd = cpu.wake_event = cpu.wake_timer = -1
