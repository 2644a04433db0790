"""A compact x86 emulator: guest memory, vCPUs, MONITOR and MWAIT that wait and wake."""

from x86core.exits import (
    EXIT_DEBUG,
    EXIT_FAIL_ENTRY,
    EXIT_HLT,
    EXIT_INTERNAL_ERROR,
    EXIT_INTR,
    EXIT_IO,
    EXIT_IO_IN,
    EXIT_IO_OUT,
    EXIT_IRQ_WINDOW_OPEN,
    EXIT_LIMIT,
    EXIT_MMIO,
    EXIT_MWAIT,
    EXIT_NAMES,
    EXIT_SHUTDOWN,
    EXIT_UNKNOWN,
    MP_STATE_HALTED,
    MP_STATE_INIT_RECEIVED,
    MP_STATE_RUNNABLE,
    MP_STATE_SIPI_RECEIVED,
    MP_STATE_UNINITIALIZED,
    MWAIT_FAULT,
    MWAIT_NOP,
    MWAIT_YIELD,
    USERSPACE_EXIT_HLT,
    USERSPACE_EXIT_MWAIT,
)
from x86core.kvm_run import KVM_RUN
from x86core.memory import MAX_MEMORY, Memory
from x86core.registers import Segment
from x86core.vcpu import VCPU, check_tail_calls

__all__ = [
    "EXIT_DEBUG",
    "EXIT_FAIL_ENTRY",
    "EXIT_HLT",
    "EXIT_INTERNAL_ERROR",
    "EXIT_INTR",
    "EXIT_IO",
    "EXIT_IO_IN",
    "EXIT_IO_OUT",
    "EXIT_IRQ_WINDOW_OPEN",
    "EXIT_LIMIT",
    "EXIT_MMIO",
    "EXIT_MWAIT",
    "EXIT_NAMES",
    "EXIT_SHUTDOWN",
    "EXIT_UNKNOWN",
    "KVM_RUN",
    "MAX_MEMORY",
    "MP_STATE_HALTED",
    "MP_STATE_INIT_RECEIVED",
    "MP_STATE_RUNNABLE",
    "MP_STATE_SIPI_RECEIVED",
    "MP_STATE_UNINITIALIZED",
    "MWAIT_FAULT",
    "MWAIT_NOP",
    "MWAIT_YIELD",
    "USERSPACE_EXIT_HLT",
    "USERSPACE_EXIT_MWAIT",
    "VCPU",
    "Memory",
    "Segment",
]

check_tail_calls()
