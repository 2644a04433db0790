"""A machine: memory, vCPUs and devices, and who runs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from math import inf
from pathlib import Path
from time import monotonic_ns, perf_counter
from typing import Self

from vmm.board import DEVICES_CHOICES, Board
from vmm.capability import Capabilities
from vmm.clock import VirtualClock, WallClock
from vmm.console import Console, StreamConsole
from vmm.ending import Ending
from vmm.exits import location
from vmm.gdb import Debugger
from vmm.idle import idle_policy
from vmm.loader import LoadError, load_guest, make_memory
from vmm.lockstep import InTurn
from vmm.loop import Loop
from vmm.result import Outcome, Result, VCPUResult
from vmm.saved_machine import constructor_arguments, restore_machine, save_machine
from vmm.seeing import Meter, Observer
from vmm.snapshot import Snapshot, SnapshotError, read_snapshot, write_snapshot
from vmm.threads import Threads
from vmm.tick import Ticker, VirtualTicker
from vmm.trace import Trace
from vmm.work import make_executor
from x86core import EXIT_NAMES, MAX_VCPUS, VCPU

#: What is kept of what a guest prints, in bytes.
_KEPT = 1 << 20

#: More than any run retires.
MOST_INSTRUCTIONS = 2**60

#: Which vCPUs begin with the guest's first byte: every one, or number 0, the bootstrap processor,
#: while the others, the application processors, wait for a start-up IPI.
START_CHOICES = ("all", "bootstrap")

#: What guest time follows: the host's, with a thread for each vCPU, or the instructions, with all
#: vCPUs in turn on one.
CLOCK_CHOICES = ("wall", "virtual")

#: Outcomes that no vCPU brought about; there each one's whereabouts explain.
_FROM_OUTSIDE = (Outcome.ALL_HALTED, Outcome.TIMEOUT, Outcome.INTERRUPTED)

_WAITING = {
    "": "running",
    "hlt": "in HLT",
    "mwait": "in MWAIT",
    "start": "waiting for a start-up IPI",
}


class Machine:
    """RAM of `memory` (bytes or "16M"), `vcpus` vCPUs, the debug console and the exit port.

    `devices` is "none", or "pc" for those of a PC beside them. Then `serial` is the console at the
    serial port (`vmm.console`), which brings the guest's input.

    `idle` and `hlt` name the policies for MWAIT and HLT (`vmm.idle`). `tick` is the rate in Hz at
    which vCPU 0 gets interrupt 0x20, 0 for never. `console` is given what the guest prints, as it
    does. `trace` gets every step of every vCPU. `threads` are those of the vCPUs, once it runs.

    With `measure` the result says where the time went; `observers` look on while it runs
    (`vmm.seeing`).

    `clock` is "wall" (`vmm.threads`) or "virtual" (`vmm.lockstep`): then the vCPUs run in turns of
    `turn` instructions, and every run of the same guest gives the same `Result.trace_hash`.

    vCPUs tell themselves apart by CPUID leaf 1, EBX[31:24]. A machine can be filled by `load` or by
    hand: write to `memory` and start `vcpus`. Number 0 begins at the reset vector if it is not, and
    the others wait for a start-up IPI.

    `features` is what CPUID offers besides the usual: "monitorx", "waitpkg". `work` names who does
    deferred work (`vmm.work`); with virtual time it is always the one thread. A `debugger` holds
    the vCPUs before their first instruction (`vmm.gdb`), in wall time and without a `trace`.

    Raises ValueError: LoadError for the numbers, and for an unknown policy, feature or executor one
    that lists the known.
    """

    def __init__(
        self,
        memory: int | str = "16M",
        vcpus: int = 1,
        idle: str = "fault",
        hlt: str = "block",
        *,
        features: Iterable[str] = (),
        devices: str = "none",
        serial: Console | None = None,
        tick: float = 0,
        clock: str = "wall",
        turn: int = 1000,
        work: str = "vcpu",
        console: Callable[[bytes], object] | None = None,
        trace: Trace | None = None,
        debugger: Debugger | None = None,
        measure: bool = False,
        observers: Sequence[Observer] = (),
    ) -> None:
        if clock not in CLOCK_CHOICES:
            raise LoadError(f"unknown clock {clock!r} (known: {', '.join(CLOCK_CHOICES)})")
        if trace and clock == "virtual":
            raise LoadError("there is no trace of a machine with virtual time: use the wall clock")
        if debugger is not None and (trace is not None or clock == "virtual"):
            raise LoadError("a debugger goes neither with a trace nor with virtual time")
        policy, features = idle_policy(idle, hlt), tuple(features)
        self.tick = tick
        virtual_clock = VirtualClock() if clock == "virtual" else None
        self.work = make_executor(work, virtual_clock.now if virtual_clock else monotonic_ns)
        self.memory = make_memory(memory, virtual_time=clock == "virtual")
        self.vcpus = tuple(VCPU(self.memory, index) for index in range(_count(vcpus)))
        for vcpu in self.vcpus:
            vcpu.features = features
        self._end = Ending(self.vcpus, self._stop)
        self.clock = virtual_clock or WallClock(failed=self.fail)
        self.board = Board(self.clock, self.vcpus[0], self._print)
        self.ports = self.board.ports
        self.loops = tuple(
            Loop(
                vcpu,
                policy,
                self.board,
                self.work,
                self._end,
                enter=_enter(vcpu, trace, debugger),
            )
            for vcpu in self.vcpus
        )
        self.capabilities = Capabilities(self.loops)
        self._console = console
        self._trace = trace
        self._debugger = debugger
        self.meter = Meter()
        # What the others do before and after is not to be measured.
        self._observers: tuple[Observer, ...] = (*observers, *((self.meter,) if measure else ()))
        self._printed = bytearray()
        self._started = self._running = False
        self.runner: Threads | InTurn
        if virtual_clock is not None:
            self.ticker: Ticker | VirtualTicker = VirtualTicker(virtual_clock, self.interrupt, tick)
            self.runner = InTurn(self.loops, self.work, virtual_clock, self.board, self._end, turn)
            self.work.attach(self.runner)
        else:
            ticker = self.ticker = Ticker(self.interrupt, tick)
            self.runner = Threads(self.loops, self.work, [ticker], self.board, self._end)
            if debugger is not None:
                debugger.kill = partial(self._end, Outcome.INTERRUPTED, "killed by the debugger")
                self.runner.attach(debugger)
            for loop in self.loops:
                self.work.attach(loop)
        self._add_devices(devices, serial)

    @property
    def threads(self) -> tuple[threading.Thread, ...]:
        """Those of the vCPUs, once the machine runs; none with virtual time."""
        return self.runner.threads

    @classmethod
    def load(
        cls,
        path: str | Path,
        memory: int | str = "16M",
        vcpus: int = 1,
        idle: str = "fault",
        hlt: str = "block",
        at: int | str | None = None,
        *,
        append: str = "",
        modules: Sequence[str] = (),
        as_rom: bool = False,
        start: str = "all",
        features: Iterable[str] = (),
        devices: str | None = None,
        serial: Console | None = None,
        tick: float = 0,
        clock: str = "wall",
        turn: int = 1000,
        work: str = "vcpu",
        console: Callable[[bytes], object] | None = None,
        trace: Trace | None = None,
        debugger: Debugger | None = None,
        measure: bool = False,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """A machine with a guest in its memory and vCPUs about to run it (see `load_guest`).

        `start` says which begin with it: "all", or "bootstrap" for number 0 alone, which starts the
        others by INIT and start-up IPIs (SDM vol. 3, 9.4). A Multiboot kernel or ROM begins so
        always.

        `devices` of None are what the guest may expect: a PC's for a boot sector, floppy image,
        Multiboot kernel or ROM, else none.

        Raises LoadError or AssemblyError for the guest, LoadError for another `start`, and what the
        constructor raises.
        """
        if start not in START_CHOICES:
            raise LoadError(f"unknown start {start!r} (known: {', '.join(START_CHOICES)})")
        machine = cls(
            memory,
            vcpus,
            idle,
            hlt,
            features=features,
            tick=tick,
            clock=clock,
            turn=turn,
            work=work,
            console=console,
            trace=trace,
            debugger=debugger,
            measure=measure,
            observers=observers,
        )
        guest = load_guest(path, machine.memory, at, append=append, modules=modules, as_rom=as_rom)
        machine._add_devices(guest.devices if devices is None else devices, serial)
        bootstrap = start == "bootstrap" or guest.bootstrap_only
        for vcpu in machine.vcpus[:1] if bootstrap else machine.vcpus:
            guest.start.apply(vcpu)
        return machine

    def save(self, path: str | Path) -> None:
        """Write the machine to a file, whole or not at all, before its run or after it.

        That is the state of all but the host's: no deferred work, no console, no trace, nor what
        was printed. Raises SnapshotError when the file cannot be written, RuntimeError while the
        machine runs.
        """
        if self._running:
            raise RuntimeError("the machine runs: save it when `run` has returned")
        write_snapshot(path, save_machine(self))

    @classmethod
    def restore(
        cls,
        saved: str | Path | Snapshot,
        *,
        serial: Console | None = None,
        console: Callable[[bytes], object] | None = None,
        measure: bool = False,
        observers: Sequence[Observer] = (),
    ) -> Self:
        """A machine that goes on where the saved one was; in virtual time, bit for bit. `saved` is
        its file, or what `read_snapshot` has read from it.

        `serial` brings the input that the guest has not had yet.

        Raises SnapshotError when the file cannot be read, is damaged, of another version, or holds
        no machine.
        """
        snapshot = saved if isinstance(saved, Snapshot) else read_snapshot(saved)
        try:
            machine = cls(
                **constructor_arguments(snapshot),
                serial=serial,
                console=console,
                measure=measure,
                observers=observers,
            )
            restore_machine(machine, snapshot)
        except ValueError as error:
            raise SnapshotError(f"{snapshot.path} holds no machine: {error}") from None
        return machine

    def interrupt(self, vector: int, vcpu: int = 0) -> None:
        """Make a maskable external interrupt pending, from any thread.

        Raises ValueError unless `vector` is 0..255, and IndexError when there is no such vCPU.
        """
        self.vcpus[vcpu].interrupt(vector)

    def check_extension(self, capability: int) -> int:
        """KVM_CHECK_EXTENSION: what there is of a KVM_CAP_*; 0 for one that is unknown."""
        return self.capabilities.check_extension(capability)

    def enable_cap(self, capability: int, args: Sequence[int] = (), flags: int = 0) -> None:
        """KVM_ENABLE_CAP: switch a capability on (`vmm.capability`). Raises OSError(EINVAL)."""
        self.capabilities.enable_cap(capability, args, flags)

    def run(self, timeout: float | None = None, max_instructions: int = 0) -> Result:
        """Run until the guest ends, for at most `timeout` seconds, and until a vCPU has retired
        `max_instructions` since its RESET.

        0 instructions is no limit. Ctrl-C on the main thread ends the run as well and gives what
        was measured so far. All threads are gone when this returns.

        A machine runs once: RuntimeError when it already has. ValueError for a limit below 0. An
        exception in a device comes out here.
        """
        if timeout is not None and not 0 < timeout < inf:
            raise ValueError(f"timeout must be more than 0 seconds, and finite, not {timeout}")
        if not 0 <= max_instructions <= MOST_INSTRUCTIONS:
            raise ValueError(
                f"max_instructions must be in 0..{MOST_INSTRUCTIONS}, not {max_instructions}"
            )
        if self._started:
            raise RuntimeError("a machine runs once: load another one")
        self._started = self._running = self.capabilities.frozen = True
        start = perf_counter()
        try:
            with ExitStack() as watching:
                for observer in self._observers:
                    watching.enter_context(observer.watch(self))
                watching.enter_context(self.board)
                self.runner.run(timeout, max_instructions)
        finally:
            self._running = False
            self.work.close()
            if self._trace is not None:
                self._trace.finish()
        return self._result(perf_counter() - start)

    def fail(self, failure: BaseException) -> None:
        """End the run, and have `failure` come out of it. From any thread."""
        self._end(Outcome.INTERNAL_ERROR, "the VMM failed", failure=failure)

    def _stop(self) -> None:
        self.runner.stop()
        if self._debugger is not None:
            self._debugger.end()

    def _add_devices(self, devices: str, serial: Console | None) -> None:
        if devices not in DEVICES_CHOICES:
            known = ", ".join(DEVICES_CHOICES)
            raise LoadError(f"unknown devices {devices!r} (known: {known})")
        if isinstance(self.clock, VirtualClock) and isinstance(serial, StreamConsole):
            raise LoadError(
                "with virtual time input comes from a script (vmm.console.ScriptConsole): at the"
                " host's pace no run would be like another"
            )
        if devices == "pc":
            self.board.add_pc(serial, self._leave)
        elif serial is not None:
            raise LoadError(
                "input goes to the serial port, which this machine does not have: ask for the"
                " devices of a PC (--devices pc)"
            )

    def _leave(self) -> None:
        self._end(Outcome.INTERRUPTED, "left at the console")

    def _print(self, data: bytes) -> None:
        self._printed += data
        del self._printed[:-_KEPT]
        if self._console is not None:
            self._console(data)

    def _result(self, wall_seconds: float) -> Result:
        ending = self._end.reason
        assert ending is not None
        if ending.failure is not None:
            raise ending.failure
        vcpus = tuple(
            self._vcpu_result(loop, waiting)
            for loop, waiting in zip(self.loops, ending.waiting, strict=True)
        )
        turns = self.runner.turns if isinstance(self.runner, InTurn) else None
        explanation = ending.explanation
        if ending.outcome in _FROM_OUTSIDE:
            explanation += "".join(
                f"; vCPU {vcpu.index} {_WAITING[vcpu.waiting]} at {vcpu.location}" for vcpu in vcpus
            )
        return Result(
            outcome=ending.outcome,
            explanation=explanation,
            exit_code=ending.exit_code,
            console=self._printed.decode(errors="replace"),
            wall_seconds=wall_seconds,
            vcpus=vcpus,
            work=self.work.report(),
            trace_hash=turns.trace_hash if turns else None,
            guest_ns=turns.time if turns else None,
        )

    def _vcpu_result(self, loop: Loop, waiting: str) -> VCPUResult:
        vcpu, stats = loop.vcpu, loop.vcpu.stats
        return VCPUResult(
            index=vcpu.index,
            location=location(vcpu),
            waiting=waiting,
            instructions=vcpu.instructions,
            exits={
                EXIT_NAMES.get(reason, str(reason)): n for reason, n in sorted(loop.exits.items())
            },
            wakes=stats["wakes_store"] + stats["wakes_interrupt"],
            stats=stats,
            cpu_seconds=self.runner.cpu_seconds[vcpu.index],
            times=self.meter.times(vcpu.index),
            last_event=vcpu.last_event,
        )


def _enter(vcpu: VCPU, trace: Trace | None, debugger: Debugger | None) -> Callable[..., int] | None:
    """What runs a vCPU in its loop, unless it is `VCPU.run`."""
    if trace is not None:
        return trace.stepper(vcpu).run
    return debugger.gate(vcpu, vcpu.run).run if debugger is not None else None


def _count(vcpus: int) -> int:
    if not 1 <= vcpus <= MAX_VCPUS:
        raise LoadError(f"a machine has 1 to {MAX_VCPUS} vCPUs, not {vcpus}")
    return vcpus
