"""What the tests of idling share: names of the policies, guests, ways to look at a vCPU."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import x86core as x86
from tests.support import DATA, HANDLERS, PATIENCE, flat32, wait_until, waiter

#: The policies of MWAIT, by what it does: comes back at once, leaves run(), waits.
MWAIT_NOPS = ("nop", "yield")
MWAIT_WAITS = ("passthrough", "halt", "timer", "scan", "fault", "adaptive")
#: Of those that wait, the ones that a store wakes.
MWAIT_WOKEN_BY_STORE = ("passthrough", "scan", "fault", "adaptive")
#: The policies of HLT that wait.
HLT_WAITS = ("block", "poll", "passthrough")

VECTOR = 0x40
#: For intervals that are to end only when somebody ends them.
LONG_NS = 10**12
#: Seconds for a wake that must not come to show itself: several futex wakes' worth.
SETTLE = 0.005

IRET = b"\xcf"

#: Loops that idle for ever. Each turn ends when what the vCPU waits for has come.
HLT_LOOP = "again: sti; hlt; jmp again"
MWAIT_LOOP = f"""
    sti
again:
    mov eax, {DATA}
    xor ecx, ecx
    xor edx, edx
    monitor
    mwait
    jmp again
"""


def set_mwait(vcpu: x86.VCPU, name: str) -> None:
    """Choose what MWAIT is by the policy's name; what HLT is stays."""
    hlt = x86.USERSPACE_EXIT_HLT
    policy = "nop" if name in ("exit", "passthrough") else name
    vcpu.mwait_policy = getattr(x86, f"MWAIT_{policy.upper()}")
    vcpu.userspace_exits = vcpu.userspace_exits & hlt | x86.USERSPACE_EXIT_MWAIT * (name == "exit")
    vcpu.disable_exits = vcpu.disable_exits & hlt | x86.DISABLE_EXITS_MWAIT * (
        name == "passthrough"
    )
    vcpu.mwait_timer_ns = vcpu.mwait_scan_ns = LONG_NS


def set_hlt(vcpu: x86.VCPU, name: str) -> None:
    """Choose what HLT is by the policy's name; what MWAIT is stays."""
    mwait = x86.USERSPACE_EXIT_MWAIT
    vcpu.hlt_policy = x86.HLT_POLL if name == "poll" else x86.HLT_BLOCK
    vcpu.userspace_exits = vcpu.userspace_exits & mwait | x86.USERSPACE_EXIT_HLT * (name == "exit")
    vcpu.disable_exits = vcpu.disable_exits & mwait | x86.DISABLE_EXITS_HLT * (
        name == "passthrough"
    )


def mwait_guest(
    name: str,
    between: str = "",
    *,
    flags: int = 0,
    memory: x86.Memory | None = None,
    index: int = 0,
    address: int = DATA,
    extensions: int = 0,
) -> x86.VCPU:
    """`waiter` under a policy: it MWAITs once, and its HLT behind that ends run()."""
    vcpu = waiter(between, memory=memory, index=index, address=address, extensions=extensions)
    set_mwait(vcpu, name)
    vcpu.eflags |= flags
    return vcpu


def looping(
    source: str,
    *,
    hlt: str = "block",
    mwait: str = "fault",
    memory: x86.Memory | None = None,
    index: int = 0,
) -> x86.VCPU:
    """A vCPU in one of the loops above, whose interrupts return to the loop at once."""
    vcpu = flat32(source, memory=memory, index=index)
    vcpu.memory.write(HANDLERS, IRET * 256)
    set_mwait(vcpu, mwait)
    set_hlt(vcpu, hlt)
    return vcpu


def await_count(vcpu: x86.VCPU, name: str, count: int) -> None:
    """Return as soon as the counter has come to `count`."""
    wait_until(lambda: vcpu.stats[name] >= count, f"{name} {count}, it is {vcpu.stats[name]}")


def readable(descriptor: int, seconds: float = 0) -> bool:
    """Whether it polls readable now, or does within `seconds`."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


@contextmanager
def on_one_core() -> Iterator[None]:
    """This thread, and those that it starts meanwhile, share one core of the host."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


class SignalledError(Exception):
    """What the handler of a test's signal raises."""


def leave_by_signal(vcpu: x86.VCPU) -> None:
    """Enter the guest on the main thread; once it waits, a signal handler's exception leaves it."""

    def raise_it(*_: object) -> None:
        raise SignalledError

    def send() -> None:
        wait_until(lambda: bool(vcpu.waiting), "asleep on the main thread")
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, raise_it)
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        reason = vcpu.run()
    except SignalledError:
        return
    finally:
        sender.join(PATIENCE)
        signal.signal(signal.SIGUSR1, before)
    raise AssertionError(f"run() returned {x86.EXIT_NAMES[reason]} before the signal")
