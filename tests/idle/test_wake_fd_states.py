"""wake_fd against an oracle: random operations on a vCPU, and a look after each.

The oracle knows what was asked of the vCPU and predicts what run() returns. Nothing else touches
the vCPU meanwhile, so that readable and not readable are exact after every step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import x86core as x86
from tests.idle.support import IRET, readable
from tests.support import CODE, FLAG_IF, HANDLERS, RAM, Running, assembled, real16

RUNNABLE, UNINITIALIZED = x86.MP_STATE_RUNNABLE, x86.MP_STATE_UNINITIALIZED
INIT_RECEIVED, HALTED = x86.MP_STATE_INIT_RECEIVED, x86.MP_STATE_HALTED

#: Where the guest lets interrupts in and halts for ever, and where it keeps them out and does.
OPEN, MASKED = 0x0, 0x100
GUEST = f"""
    sti
open:
    hlt
    jmp open
    .org {MASKED}
    cli
masked:
    hlt
    jmp masked
"""


@dataclass
class Oracle:
    """What a vCPU waits for, and what has been asked of it."""

    bootstrap: bool
    mp_state: int = RUNNABLE
    #: Where the guest's first instruction is still to come; None in its loop.
    entry: int | None = OPEN
    #: At the reset vector there is no memory to fetch code from.
    has_code: bool = True
    interrupts_on: bool = False
    vectors: set[int] = field(default_factory=set)
    nmi: bool = False
    kicked: bool = False
    immediate_exit: bool = False
    window_requested: bool = False
    init: bool = False
    sipi: bool = False

    @property
    def event(self) -> bool:
        """Whether something that ends HLT is pending."""
        return self.init or self.nmi or (self.interrupts_on and bool(self.vectors))

    @property
    def runnable(self) -> bool:
        """Whether run() has something to do other than to wait."""
        if self.mp_state == RUNNABLE or self.kicked or self.immediate_exit:
            return True
        if self.mp_state != HALTED:
            return self.init or self.sipi
        return self.event or (self.window_requested and self.interrupts_on)

    def begin(self, mp_state: int, entry: int | None = None) -> None:
        """RESET, or a start: at `entry`, or else at the reset vector."""
        self.mp_state, self.entry, self.has_code = mp_state, entry, entry is not None
        self.vectors.clear()
        self.interrupts_on = self.nmi = self.init = self.sipi = False

    def may_run(self) -> bool:
        """Whether run() comes back and is predictable; an NMI beside INIT is not."""
        if self.immediate_exit:
            return True
        if self.init and self.nmi:
            return False
        if self.kicked or (self.init and self.bootstrap):
            return True
        if self.init or self.mp_state in (UNINITIALIZED, INIT_RECEIVED):
            return self.sipi
        return self.has_code or not self.event

    def run(self) -> str:
        """What run() returns, and what becomes of the vCPU."""
        if self.immediate_exit:
            return "EXIT_INTR"
        self._take_start()
        if self.mp_state == HALTED and self.event:
            self.mp_state = RUNNABLE
        if self.kicked:
            self.kicked = False
            return "EXIT_INTR"
        if self.mp_state == HALTED:
            window = self.window_requested and self.interrupts_on
            return "EXIT_IRQ_WINDOW_OPEN" if window else "EXIT_HLT"
        return self._go()

    def _take_start(self) -> None:
        """INIT first, then the start-up IPI, which is lost on whoever does not wait for it."""
        if self.init:
            self.mp_state = RUNNABLE if self.bootstrap else INIT_RECEIVED
            self.init = self.nmi = self.interrupts_on = self.has_code = False
        if self.sipi and self.mp_state in (UNINITIALIZED, INIT_RECEIVED):
            self.mp_state, self.entry, self.has_code = RUNNABLE, OPEN, True
        self.sipi = False

    def _go(self) -> str:
        """In the guest, whose handlers return at once, to its next HLT."""
        self.nmi = False
        if self.interrupts_on:
            self.vectors.clear()
            if self.window_requested:
                return "EXIT_IRQ_WINDOW_OPEN"
        if not self.has_code:
            return "EXIT_INTERNAL_ERROR"
        if self.entry is not None:
            self.interrupts_on, self.entry = self.entry == OPEN, None
        self.mp_state = HALTED
        return "EXIT_HLT"


class ApplicationProcessor(RuleBasedStateMachine):
    """It has every state there is."""

    index = 1

    @initialize()
    def create(self) -> None:
        memory = x86.Memory(RAM)
        self.vcpu = real16("hlt", memory=memory, index=self.index)
        memory.write(CODE, assembled(GUEST, 0, 16))
        memory.write(HANDLERS, IRET * 256)
        self.descriptor = self.vcpu.wake_fd
        self.oracle = Oracle(bootstrap=self.index == 0)
        self.start(OPEN)

    # What is asked of it.

    @rule(vector=st.integers(32, 255))
    def interrupt(self, vector: int) -> None:
        self.vcpu.interrupt(vector)
        self.oracle.vectors.add(vector)

    @rule()
    def non_maskable_interrupt(self) -> None:
        self.vcpu.nmi()
        self.oracle.nmi = True

    @rule()
    def kick(self) -> None:
        self.vcpu.kick()
        self.oracle.kicked = True

    @rule(value=st.booleans())
    def immediate_exit(self, value: bool) -> None:
        self.vcpu.immediate_exit = value
        self.oracle.immediate_exit = value

    @rule(value=st.booleans())
    def request_interrupt_window(self, value: bool) -> None:
        self.vcpu.request_interrupt_window = value
        self.oracle.window_requested = value

    @rule()
    def start_up_ipi(self) -> None:
        self.vcpu.sipi(CODE >> 12)
        self.oracle.sipi = True

    @rule()
    def init(self) -> None:
        """A start-up IPI that came before is forgotten."""
        self.vcpu.init()
        self.oracle.init, self.oracle.sipi = True, False

    # What is done to it.

    @rule()
    def reset(self) -> None:
        self.vcpu.reset()
        self.oracle.begin(RUNNABLE if self.oracle.bootstrap else UNINITIALIZED)

    @rule(entry=st.sampled_from([OPEN, MASKED]))
    def start(self, entry: int) -> None:
        self.vcpu.start_real_mode(CODE >> 4, entry)
        self.oracle.begin(RUNNABLE, entry)

    @rule(state=st.sampled_from([RUNNABLE, UNINITIALIZED, INIT_RECEIVED, HALTED]))
    def set_mp_state(self, state: int) -> None:
        self.vcpu.mp_state = state
        self.oracle.mp_state = state

    @rule(interrupts_on=st.booleans())
    def set_interrupt_flag(self, interrupts_on: bool) -> None:
        flags = self.vcpu.eflags & ~FLAG_IF
        self.vcpu.eflags = flags | (FLAG_IF if interrupts_on else 0)
        self.oracle.interrupts_on = interrupts_on

    @precondition(lambda self: self.oracle.may_run())
    @rule()
    def run(self) -> None:
        with Running(self.vcpu) as running:
            reason = running.exit()
        assert reason == self.oracle.run()

    # What it says.

    @invariant()
    def readable_exactly_while_runnable(self) -> None:
        assert readable(self.descriptor) == self.oracle.runnable, self.oracle

    @invariant()
    def mp_state_is_runnable_as_soon_as_an_event_is_pending(self) -> None:
        woken = self.oracle.mp_state == HALTED and self.oracle.event
        assert self.vcpu.mp_state == (RUNNABLE if woken else self.oracle.mp_state), self.oracle


class BootstrapProcessor(ApplicationProcessor):
    """INIT does not make it wait."""

    index = 0


for machine in (ApplicationProcessor, BootstrapProcessor):
    machine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestApplicationProcessor = ApplicationProcessor.TestCase
TestBootstrapProcessor = BootstrapProcessor.TestCase
