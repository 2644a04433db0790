"""What MWAIT and HLT come to under each policy, as time that passes.

Each function here is a part of the process of a `VCPUThread` whose vCPU waits in the core, and
returns when the guest is to go on. What ends the wait is the core's own: the monitor that a store
has triggered, an interrupt, a deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.laboratory.virtual.clock import Delay, Process

if TYPE_CHECKING:
    from bench.laboratory.virtual.vcpu_thread import VCPUThread, Wait

#: KVM's halt_poll_ns and its kin (Linux, virt/kvm/kvm_main.c), as the core has them.
HALT_POLL_NS: Final = 200_000
GROW: Final = 2
GROW_START_NS: Final = 10_000

#: How often a sleeper of the policy scan looks itself.
SCAN_NS: Final = 1_000_000

#: A loop that idles is not taken to go on alike for longer than this without being executed.
_LONGEST_LEAP_NS: Final = 1_000_000


def mwait_nop(thread: VCPUThread) -> Process:
    """MONITOR and MWAIT are exits that do nothing."""
    return _turn(thread, 2 * thread.costs.exit, yields=False)


def mwait_yield(thread: VCPUThread) -> Process:
    """The same, and MWAIT lets the threads that are ready go first."""
    return _turn(thread, 2 * thread.costs.exit + thread.costs.sched_yield, yields=True)


def mwait_exit(thread: VCPUThread) -> Process:
    """MWAIT leaves to userspace, which does deferred work if there is any."""
    return _turn(thread, 2 * thread.costs.exit + thread.costs.userspace, yields=False)


def mwait_passthrough(thread: VCPUThread) -> Process:
    """No exit: the core is held. Another thread's turn ends the wait, as host interrupts do."""
    costs = thread.costs
    if thread.machine.work.wanted(thread):
        yield from _work(thread, 0)
        return
    while not thread.vcpu.runnable:
        yield from thread.hold(thread.vcpu.deadline)
        if thread.attention:
            thread.attention = False
            thread.vcpu.kick()
            return
        if thread.host.is_over(thread):
            yield from thread.preempted_in_guest()
            thread.vcpu.kick()
            return
        _catch_up(thread)
    thread.lag_ns += costs.mwait_exit + (costs.cache_line if _stored(thread) else costs.interrupt)


def mwait_sleep(thread: VCPUThread) -> Process:
    """halt, timer and fault: asleep. What may wake is the core's matter."""
    costs = thread.costs
    thread.exits["EXIT_MWAIT"] += 1
    arm = costs.arm if thread.machine.arms else costs.exit
    if thread.machine.work.wanted(thread):
        return _work(thread, arm)
    return _block(thread, arm + costs.exit)


def mwait_adaptive(thread: VCPUThread) -> Process:
    """Poll for the window, then sleep until the write fault."""
    thread.exits["EXIT_MWAIT"] += 1
    if thread.machine.work.wanted(thread):
        return _work(thread, thread.costs.arm)
    return _poll_and_block(thread, thread.costs.arm + thread.costs.exit)


def hlt_block(thread: VCPUThread) -> Process:
    """Asleep until an interrupt."""
    return _halt(thread, polls=False)


def hlt_poll(thread: VCPUThread) -> Process:
    """Poll for the window first."""
    return _halt(thread, polls=True)


def hlt_exit(thread: VCPUThread) -> Process:
    """Out to userspace, which waits there."""
    thread.lag_ns += thread.costs.userspace
    yield from _halt(thread, polls=False)


def hlt_passthrough(thread: VCPUThread) -> Process:
    """No exit: the core is held until an interrupt, and given away for another thread's turn."""
    vcpu = thread.vcpu
    if thread.machine.work.wanted(thread):
        yield from _work_while_halted(thread)
    while not vcpu.runnable:
        yield from thread.hold(vcpu.deadline)
        if thread.attention:
            yield from thread.attend(idle=True)
        if thread.host.is_over(thread):
            yield from thread.preempted_in_guest()
        _catch_up(thread)
    thread.lag_ns += thread.costs.mwait_exit + thread.costs.interrupt


#: By the names of the policies.
MWAITS: Final[dict[str, Wait]] = {
    "nop": mwait_nop,
    "yield": mwait_yield,
    "exit": mwait_exit,
    "passthrough": mwait_passthrough,
    "halt": mwait_sleep,
    "timer": mwait_sleep,
    "scan": mwait_sleep,
    "fault": mwait_sleep,
    "adaptive": mwait_adaptive,
}
HLTS: Final[dict[str, Wait]] = {
    "block": hlt_block,
    "poll": hlt_poll,
    "exit": hlt_exit,
    "passthrough": hlt_passthrough,
}


def _turn(thread: VCPUThread, cost: int, *, yields: bool) -> Process:
    """A turn of an idle loop whose MWAIT does not wait; many, when it goes round alike."""
    vcpu, host = thread.vcpu, thread.host
    thread.exits["EXIT_MONITOR"] += 1
    thread.exits["EXIT_MWAIT"] += 1
    if thread.machine.work.wanted(thread):
        yield from _work(thread, thread.costs.exit)
        return
    yield from thread.spend(cost)
    if yields and host.ready:
        yield from thread.step_aside()
    elif not vcpu.runnable and thread.goes_round():
        yield from _leap(thread, cost + thread.loop_ns)
    _catch_up(thread)
    thread.attention = False  # the next MWAIT leaves for the work
    if not vcpu.runnable:
        vcpu.kick()
        thread.begin_turn()


def _leap(thread: VCPUThread, turn_ns: int) -> Process:
    """Turns that are as the last one, until something happens; the last of them is finished."""
    clock, vcpu = thread.clock, thread.vcpu
    began = clock.now
    until = began + _LONGEST_LEAP_NS
    deadline = vcpu.deadline
    if deadline is not None and deadline < until:
        until = deadline
    yield from thread.hold(until)
    lasted = clock.now - began
    if _stored(thread):
        lasted += thread.costs.cache_line
    turns = -(-lasted // turn_ns)
    thread.turns_passed += turns
    thread.exits["EXIT_MONITOR"] += turns
    thread.exits["EXIT_MWAIT"] += turns
    thread.lag_ns += began + turns * turn_ns - clock.now
    if vcpu.runnable:
        _take(thread)


def _halt(thread: VCPUThread, *, polls: bool) -> Process:
    thread.exits["EXIT_HLT"] += 1
    wait = (_poll_and_block if polls else _block)(thread, thread.costs.exit)
    return _work_and_wait(thread, wait) if thread.machine.work.wanted(thread) else wait


def _work_and_wait(thread: VCPUThread, wait: Process) -> Process:
    yield from _work_while_halted(thread)
    yield from wait


def _block(thread: VCPUThread, cost: int) -> Process:
    """Sleep behind an exit that costs so much, until the guest can go on or has to."""
    vcpu, costs = thread.vcpu, thread.costs
    deadline = vcpu.deadline
    if deadline is not None and deadline != thread.programmed and not thread.machine.sliced:
        cost += costs.timer
        thread.programmed = deadline
    lag, thread.lag_ns = thread.lag_ns, 0
    yield Delay(thread.clock, lag + cost + costs.block)
    _catch_up(thread)
    while not vcpu.runnable:
        if not thread.attention:
            thread.sleeps += 1
            yield thread.fall_asleep(deadline)
            thread.lag_ns = thread.start_ns
        elif vcpu.waiting == "mwait":
            thread.attention = False  # the next MWAIT leaves for the work
            vcpu.kick()
            return
        else:
            yield from thread.attend(idle=True)
        _catch_up(thread)
    _take(thread)


def _poll_and_block(thread: VCPUThread, cost: int) -> Process:
    """Poll for the window, which grows and shrinks as KVM's does, and only then sleep."""
    vcpu, clock, costs = thread.vcpu, thread.clock, thread.costs
    began = clock.now + thread.lag_ns
    window = thread.poll_window_ns
    if window:
        yield from thread.spend(cost)
        cost = 0
        until = clock.now + window
        while clock.now < until and not vcpu.runnable and not thread.attention:
            deadline = vcpu.deadline
            yield from thread.hold(until if deadline is None else min(until, deadline))
            _catch_up(thread)
            if thread.host.ready:  # it polls only while nobody else wants the core
                break
    if window and vcpu.runnable:
        seen = costs.cache_line if _stored(thread) else 0
        thread.lag_ns += costs.poll + seen
        _take(thread)
    else:
        yield from _block(thread, cost)
    waited = clock.now - began
    if waited <= window:
        return
    if waited > HALT_POLL_NS:
        thread.poll_window_ns = 0
    elif window < HALT_POLL_NS:
        thread.poll_window_ns = min(max(window * GROW, GROW_START_NS), HALT_POLL_NS)


def _take(thread: VCPUThread) -> None:
    """The guest goes on: an interrupt that has woken it costs what it takes to deliver."""
    if not _stored(thread) and not thread.machine.sliced:
        thread.lag_ns += thread.costs.interrupt


def _work(thread: VCPUThread, cost: int) -> Process:
    """MWAIT has left to userspace for a slice of work; the guest looks around, and comes back."""
    yield from thread.spend(cost + thread.costs.exit + thread.costs.userspace)
    yield from thread.machine.work.slice(thread, idle=True)
    thread.attention = False  # it has just done what it would be asked for
    _catch_up(thread)
    if not thread.vcpu.runnable:
        thread.vcpu.kick()


def _work_while_halted(thread: VCPUThread) -> Process:
    """HLT has left to userspace: work until there is none, or an interrupt is to be taken."""
    yield from thread.spend(thread.costs.exit + thread.costs.userspace)
    while thread.machine.work.wanted(thread) and not thread.vcpu.runnable:
        yield from thread.machine.work.slice(thread, idle=True)
        thread.attention = False
        _catch_up(thread)


def _stored(thread: VCPUThread) -> bool:
    """Whether a store has ended the wait."""
    return thread.vcpu.monitor[0] == "triggered"


def _catch_up(thread: VCPUThread) -> None:
    """Let the vCPU know what time it is, so that a deadline that has passed ends its wait."""
    thread.vcpu.time = thread.clock.now + thread.lag_ns
