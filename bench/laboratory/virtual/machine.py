"""A machine of the host model: real guest code, its vCPUs' threads, and what comes from outside."""

from __future__ import annotations

from typing import Final

from bench.laboratory.guest import install
from bench.laboratory.mailbox import MEMORY_SIZE, WAKE_VECTOR
from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.policies import Policy
from bench.laboratory.scenario import HostWrites, Load
from bench.laboratory.virtual.clock import Clock, Process
from bench.laboratory.virtual.deferred import DeferredWork
from bench.laboratory.virtual.scheduler import Host, HostThread
from bench.laboratory.virtual.vcpu_thread import VCPUThread
from bench.laboratory.virtual.waiting import HLTS, MWAITS, SCAN_NS
from vmm.devices.debug_exit import DEBUG_EXIT_PORT
from x86core import MWAIT_FAULT, MWAIT_HALT, MWAIT_SCAN, MWAIT_TIMER, VCPU, Memory

#: What the core is told to make of MWAIT. Those that do not sleep wait in the core, too, so that
#: the model sees when a store has come; how they pass the time is the model's.
_POLICY_OF_CORE: Final = {"halt": MWAIT_HALT, "timer": MWAIT_TIMER, "scan": MWAIT_SCAN}

#: The policies that write-protect the pages of monitored lines.
_PROTECTING: Final = ("fault", "adaptive")

#: A wake that is not noticed for so long by a vCPU that sleeps is lost (as in wall time).
_LOST_NS: Final = 100_000_000


class GuestMachine:
    """The machine that a `load` asks for, of its own memory; `seed` is that of the guest, and
    `timer_ns` how long the policy timer sleeps at a time.

    `waiting` are the threads whose vCPU is in an idle instruction. Raises LaboratoryError for what
    no guest takes.
    """

    def __init__(
        self,
        host: Host,
        guest: str,
        load: Load,
        policy: Policy,
        executor: str,
        *,
        quantum_ns: int,
        timer_ns: int,
        seed: int,
    ) -> None:
        self.host = host
        self.exit_port = DEBUG_EXIT_PORT
        self.ended = False
        self.arms = policy.mwait in (*_PROTECTING, "scan")
        self.protects = policy.mwait in _PROTECTING
        self.sliced = policy.mwait == "timer"
        self.scans = policy.mwait == "scan"
        self.mwaits = not policy.idle_by_hlt
        self.lost = 0
        self.waiting: dict[VCPUThread, None] = {}
        self._policy = policy
        self._load = load
        self.memory = Memory(MEMORY_SIZE, virtual_time=True, instruction_ns=host.costs.instruction)
        vcpus = [VCPU(self.memory, index) for index in range(load.vcpus)]
        for vcpu in vcpus:
            vcpu.mwait_policy = _POLICY_OF_CORE.get(policy.mwait, MWAIT_FAULT)
            vcpu.mwait_timer_ns = timer_ns
        self.mailbox = install(self.memory, vcpus, guest, load, policy, seed)
        self.memory.hold_stores(*self.mailbox.flags_pages)
        for vcpu in vcpus:
            vcpu.stops_before_wakes = True
            vcpu.own_store_ns = host.costs.write_fault if self.protects else 0
        mwait, hlt = MWAITS[policy.mwait], HLTS[policy.hlt]
        self.threads = tuple(VCPUThread(host, self, vcpu, quantum_ns, mwait, hlt) for vcpu in vcpus)
        self.work = DeferredWork(self, load.deferred, executor)
        self.others: list[HostThread] = [*self.work.workers]
        if load.host_writes is not None:
            self.others.append(_Device(self, load.host_writes))

    def start(self) -> None:
        """Let all of its threads begin."""
        for thread in (*self.threads, *self.others):
            thread.start()
        clock = self.host.clock
        self.work.start()
        if self.scans:
            clock.process(self._look_now_and_then(clock))
        clock.process(self._watch(clock))

    def end(self, status: int) -> None:
        """The guest has written to the exit port."""
        self.ended = True
        if status:
            raise LaboratoryError(f"the guest went wrong: it ended its machine with {status}")

    def wake_runnable(self, waker: HostThread) -> int:
        """Wake whoever has been given a reason to go on; the ns that it costs the waker."""
        costs, scans = self.host.costs, self.scans
        cost = 0
        for thread in self.waiting:
            if not thread.vcpu.runnable or thread is waker or (scans and self._is_scanned(thread)):
                continue
            if thread.asleep:
                cost += costs.wake_call
                thread.wake(cost + costs.thread_wake)
            else:
                thread.poke()
        return cost

    def scan(self, thread: HostThread | None) -> int:
        """At an entry: compare all monitored lines, and wake whose line has changed; its cost."""
        if not self.scans:
            return 0
        costs = self.host.costs
        cost = 0
        for sleeper in self.waiting:
            if sleeper is thread or not self._is_scanned(sleeper):
                continue
            cost += costs.scan_line
            if sleeper.asleep and sleeper.vcpu.runnable:
                cost += costs.wake_call
                sleeper.wake(cost + costs.thread_wake)
        return cost

    def interrupt(self, vector: int) -> int:
        """Interrupt vCPU 0 from outside; what it costs whoever does."""
        thread = self.threads[0]
        thread.vcpu.interrupt(vector)
        if thread.asleep:
            cost = self.host.costs.wake_call
            thread.wake(cost + self.host.costs.thread_wake)
            return cost
        thread.poke()
        return 0

    def _is_scanned(self, thread: VCPUThread) -> bool:
        return self.scans and thread.vcpu.waiting == "mwait"

    def _look_now_and_then(self, clock: Clock) -> Process:
        """The host's timer tick, which makes a vCPU exit and enter: sleepers look themselves."""
        while True:
            yield clock.timeout(SCAN_NS)
            self.scan(None)

    def _watch(self, clock: Clock) -> Process:
        """Find lost wakes, and kick who sleeps through one."""
        since: dict[VCPUThread, tuple[int, int]] = {}
        while True:
            yield clock.timeout(_LOST_NS // 10)
            for thread in self.threads:
                index = thread.vcpu.index
                wakes = self.mailbox.wakes(index)
                if not thread.asleep or not self.mailbox.need_resched(index):
                    since.pop(thread, None)
                    continue
                began, before = since.get(thread, (clock.now, wakes))
                if before != wakes:
                    began = clock.now
                since[thread] = (began, wakes)
                if clock.now - began >= _LOST_NS:
                    self.lost += 1
                    del since[thread]
                    thread.attention = True
                    thread.wake(self.host.costs.thread_wake)


class _Device(HostThread):
    """A thread of the VMM that is a device: it writes entries into the ring."""

    def __init__(self, machine: GuestMachine, writes: HostWrites) -> None:
        super().__init__(machine.host)
        self._machine = machine
        self._writes = writes

    def live(self) -> Process:
        """An entry in each interval; one that finds the ring full is dropped."""
        due = self.clock.now
        machine, size = self._machine, self._writes.ring_bytes
        while True:
            due += self._writes.interval_ns
            yield from self.sleep(due)
            yield from self.spend(self.host.costs.instruction * (size // 4))
            machine.mailbox.write_entry(self.clock.now, size)
            cost = machine.wake_runnable(self)
            if machine.threads[0].vcpu.waiting == "hlt":
                cost += machine.interrupt(WAKE_VECTOR)
            if cost:
                yield from self.spend(cost)
