"""The loop of one vCPU: enter it, count why it came back, deal with that, enter it again."""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial

from vmm import kvm
from vmm.board import Board
from vmm.exits import End, Exits
from vmm.idle import IdlePolicy
from vmm.work import Executor
from x86core import VCPU

_NOT_STARTED = (kvm.KVM_MP_STATE_UNINITIALIZED, kvm.KVM_MP_STATE_INIT_RECEIVED)


class Loop:
    """Runs a vCPU on the calling thread until the machine ends.

    `exits` counts by exit reason. `attention` says that work waits for the guest to be idle; one
    test of it is all that an idle exit costs on top. `enter` runs the vCPU, as `VCPU.run` does.
    """

    def __init__(
        self,
        vcpu: VCPU,
        policy: IdlePolicy,
        board: Board,
        work: Executor,
        end: End,
        enter: Callable[..., int] | None = None,
    ) -> None:
        self.vcpu = vcpu
        self._enter = enter or vcpu.run
        self.exits: dict[int, int] = {}
        self.attention = False
        self.stopping = False
        self.policy = policy
        self._work = work
        self._wake: select.poll | None = None
        self._working = False
        self._was_halted = False
        others = Exits(vcpu, board, end)
        self._unknown = others.unknown
        self._handlers: dict[int, Callable[[], None]] = {
            **others.handlers,
            kvm.KVM_EXIT_MWAIT: self._idle,
            kvm.KVM_EXIT_INTR: self._interrupted,
            kvm.KVM_EXIT_HLT: self._halted,
        }

    def run(self, max_instructions: int = 0) -> None:
        """Go round until `stop`. 0 instructions is no limit."""
        # Locals, and the idle path first: it is gone through millions of times a second.
        exits, handlers, unknown = self.exits, self._handlers, self._unknown
        enter, idle = self._enter, kvm.KVM_EXIT_MWAIT
        if max_instructions:
            enter = partial(self._enter_below, self.vcpu.instructions + max_instructions)
        while not self.stopping:
            reason = enter()
            try:
                exits[reason] += 1
            except KeyError:
                exits[reason] = 1
            if reason == idle and not self.attention:
                continue
            handlers.get(reason, unknown)()

    def handle(self, reason: int) -> None:
        """Deal with an exit of the vCPU. Whoever enters it also waits while it is idle."""
        self.exits[reason] = self.exits.get(reason, 0) + 1
        if reason not in (kvm.KVM_EXIT_MWAIT, kvm.KVM_EXIT_HLT) or self.attention:
            self._handlers.get(reason, self._unknown)()

    def observe(self, wrap: Callable[[int, Callable[[], None]], Callable[[], None]]) -> None:
        """Have each exit handled by what `wrap` makes of its reason and its handler."""
        for reason, handler in self._handlers.items():
            self._handlers[reason] = wrap(reason, handler)

    def stop(self) -> None:
        """Let `run` return. From any thread."""
        self.stopping = True
        self.kick()

    @property
    def policy(self) -> IdlePolicy:
        """The idle policy. Any thread may set it; it counts from the next idle instruction on."""
        return self._policy

    @policy.setter
    def policy(self, policy: IdlePolicy) -> None:
        self._policy = policy
        policy.apply(self.vcpu)

    # What the executor of work wants of a server.

    @property
    def asleep(self) -> bool:
        """The guest waits in HLT or MWAIT, in the core or here. From any thread."""
        vcpu = self.vcpu
        waits = vcpu.waiting or vcpu.mp_state == kvm.KVM_MP_STATE_HALTED
        return bool(waits) and not self._working

    @property
    def woken(self) -> bool:
        """The guest waited in HLT and may go on. One in MWAIT has to be entered to find out."""
        if self.stopping:
            return True
        return self._was_halted and self.vcpu.mp_state == kvm.KVM_MP_STATE_RUNNABLE

    def request_attention(self) -> None:
        """Have the guest's next idle instruction exit, whatever the policy. From any thread."""
        self.vcpu.userspace_exits = kvm.KVM_X86_USERSPACE_VALID_EXITS
        self.vcpu.disable_exits = 0
        # Last: whoever attends and lowers it takes the bits back. Without it they would stay, and
        # each idle instruction would exit for nothing.
        self.attention = True

    def kick(self) -> None:
        """Have the guest left now. From any thread."""
        self.vcpu.kick()

    # What an idle guest comes to; `vmm.exits` has the other exits.

    def _idle(self) -> None:
        self._attend(idle=True)

    def _interrupted(self) -> None:
        # A kick. Whoever sleeps in HLT does so still; one in MWAIT looks around, and exits again.
        self._attend(idle=self.vcpu.mp_state != kvm.KVM_MP_STATE_RUNNABLE)

    def _halted(self) -> None:
        if self.attention:
            self._attend(idle=True)
        else:
            # The policy is that HLT exits, so it is here and not in the core that the vCPU waits.
            if self._wake is None:
                self._wake = select.poll()
                self._wake.register(self.vcpu.wake_fd, select.POLLIN)
            self._wake.poll()

    def _attend(self, idle: bool) -> None:
        # The flag first, the queue last: work that arrives meanwhile is seen or raises it again.
        self.attention = False
        self._policy.apply(self.vcpu)
        state = self.vcpu.mp_state
        self._was_halted = state == kvm.KVM_MP_STATE_HALTED
        self._working = True
        again = self._work.attend(self, idle)
        self._working = False
        if again:
            self.request_attention()
            if state in _NOT_STARTED:  # no idle instruction will come
                self.kick()

    def _enter_below(self, end: int) -> int:
        left = end - self.vcpu.instructions
        return self._enter(left) if left > 0 else kvm.KVM_EXIT_LIMIT
