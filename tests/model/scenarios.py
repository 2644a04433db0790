"""What SPIN explores: how many threads there are, what each may do, and what breaks it."""

from __future__ import annotations

from dataclasses import dataclass, fields

#: What guest.pml allows each vCPU so many times.
_PER_VCPU = ("waits", "stores", "halts", "spins", "decodes", "exits", "slices")


@dataclass(frozen=True)
class Budget:
    """What the threads may do, in the words of guest.pml. A tuple has a number for each vCPU."""

    vcpus: int = 2
    lines: int = 2
    pages: int = 1
    waits: tuple[int, ...] = ()
    stores: tuple[int, ...] = ()
    halts: tuple[int, ...] = ()
    spins: tuple[int, ...] = ()
    decodes: tuple[int, ...] = ()
    exits: tuple[int, ...] = ()
    slices: tuple[int, ...] = ()
    host_stores: int = 0
    interrupts: int = 0
    kicks: int = 0
    immediate_exits: int = 0
    sipis: int = 0
    wake_fd: bool = False

    def macros(self) -> dict[str, str]:
        """The macros that wake.pml wants; what each vCPU has is an expression of `cpu`."""
        found = {field.name.upper(): str(getattr(self, field.name)) for field in fields(self)}
        for name in _PER_VCPU:
            counts = enumerate(getattr(self, name))
            terms = [f"{count} * (cpu == {vcpu})" for vcpu, count in counts if count]
            found[name.upper()] = f"({' + '.join(terms)})" if terms else "0"
        if not self.wake_fd:
            del found["WAKE_FD"]
        # Plain stores in one buffer: a vCPU's, and the one that takes the work from its line.
        found["DEPTH"] = str(max(1 + max(self.stores, default=0), self.host_stores))
        return found


@dataclass(frozen=True)
class Check:
    """One exploration."""

    name: str
    about: str
    budget: Budget
    #: The macro that takes a rule away, and the assertion that must fail then; "" for the design.
    rule: str = ""
    loses: str = ""
    #: Looks for an execution without end, in which no thread is passed over for ever, instead.
    endless: bool = False
    #: Seconds and little memory: part of the quick run.
    quick: bool = True


#: What a fair execution without end is called where an assertion has its name.
ENDLESS = "endless"

DESIGN = (
    Check(
        "handoff",
        "work made and taken twice, false faults, releases",
        Budget(waits=(2, 0), stores=(0, 2)),
    ),
    Check(
        "two pages",
        "the same with a page for each line",
        Budget(pages=2, waits=(1, 0), stores=(0, 2)),
    ),
    Check(
        "both ways",
        "two that wait and wake each other",
        Budget(waits=(1, 1), stores=(1, 1)),
    ),
    Check(
        "one line",
        "two monitors on one line",
        Budget(lines=1, waits=(1, 1), stores=(1, 1)),
    ),
    Check(
        "entries",
        "a writer leaves the guest and comes back, other shootdowns go on",
        Budget(waits=(1, 0), stores=(0, 1), exits=(0, 1), decodes=(1, 0)),
    ),
    Check(
        "devices",
        "the host stores, two wait",
        Budget(waits=(1, 1), host_stores=1),
    ),
    Check(
        "signals",
        "sleeps are cut into slices",
        Budget(waits=(1, 0), stores=(0, 2), slices=(2, 0)),
    ),
    Check(
        "interrupts",
        "an interrupt meets HLT, MWAIT and a loop",
        Budget(
            vcpus=1,
            lines=1,
            waits=(1,),
            halts=(1,),
            spins=(1,),
            slices=(1,),
            interrupts=2,
            host_stores=1,
        ),
    ),
    Check(
        "kicks",
        "kicks, immediate_exit and start-up IPIs meet them",
        Budget(vcpus=1, lines=1, halts=(1,), spins=(1,), kicks=1, immediate_exits=1, sipis=1),
    ),
    Check(
        "store and kick",
        "at once",
        Budget(lines=1, waits=(1, 0), stores=(0, 1), kicks=1),
    ),
    Check(
        "descriptor",
        "wake_fd tells the truth, the VMM polls it before run()",
        Budget(
            vcpus=1, lines=1, halts=(2,), interrupts=1, kicks=1, immediate_exits=1, wake_fd=True
        ),
    ),
    Check(
        "descriptor in MWAIT",
        "the same for a store",
        Budget(waits=(1, 0), stores=(0, 1), slices=(1, 0), wake_fd=True),
    ),
    Check(
        "idle loops end",
        "no MWAIT is a NOP for ever",
        Budget(waits=(1, 0), stores=(0, 1), halts=(0, 1)),
        endless=True,
    ),
    Check(
        "three, one line",
        "one waits, two store to its line",
        Budget(vcpus=3, lines=1, waits=(1, 0, 0), stores=(0, 1, 1)),
        quick=False,
    ),
    Check(
        "three, two lines",
        "one waits, two store there or elsewhere",
        Budget(vcpus=3, waits=(1, 0, 0), stores=(0, 1, 1)),
        quick=False,
    ),
    Check(
        "three, two waiters",
        "two wait on lines of a page, one stores",
        Budget(vcpus=3, waits=(1, 1, 0), stores=(0, 0, 1)),
        quick=False,
    ),
    Check(
        "three, shared line",
        "two wait on one line, one stores",
        Budget(vcpus=3, lines=1, waits=(1, 1, 0), stores=(0, 0, 1)),
        quick=False,
    ),
    Check(
        "three, shootdowns",
        "one waits, one stores, one begins another shootdown",
        Budget(vcpus=3, lines=1, waits=(1, 0, 0), stores=(0, 1, 0), decodes=(0, 0, 1)),
        quick=False,
    ),
    Check(
        "both ways twice",
        "two that wait and store twice",
        Budget(waits=(1, 1), stores=(2, 2)),
        quick=False,
    ),
    Check(
        "both ways, two pages",
        "two that wait and wake each other across pages",
        Budget(pages=2, waits=(1, 1), stores=(1, 1)),
        quick=False,
    ),
    Check(
        "all at once",
        "a store, an interrupt and a kick",
        Budget(lines=1, waits=(1, 0), stores=(0, 1), interrupts=1, kicks=1),
        quick=False,
    ),
)

_BY_NAME = {check.name: check for check in DESIGN}


def _broken(rule: str, about: str, breaks: str, loses: str) -> Check:
    """The design's check `breaks` without one of its rules."""
    whole = _BY_NAME[breaks]
    return Check(rule, about, whole.budget, rule, loses, endless=whole.endless)


BROKEN = (
    _broken(
        "NO_ACKNOWLEDGEMENT",
        "MONITOR arms and waits for no answer",
        "handoff",
        "lost_store",
    ),
    _broken(
        "NO_WRITER_FENCE",
        "the slow path looks for monitors while its store is still in the buffer",
        "handoff",
        "lost_store",
    ),
    _broken(
        "CHECK_BEFORE_MONITOR",
        "the guest looks at its flag, then monitors",
        "handoff",
        "lost_store",
    ),
    _broken(
        "RELEASE_WHILE_ARMED",
        "a page is released without a look at the monitors",
        "handoff",
        "lost_store",
    ),
    _broken(
        "RELEASE_WITHOUT_LOCK",
        "a page is released while MONITOR arms on it",
        "handoff",
        "lost_store",
    ),
    _broken(
        "ACKNOWLEDGED_KEPT",
        "a release takes PROTECTED away and leaves ACKNOWLEDGED",
        "handoff",
        "lost_store",
    ),
    _broken(
        "NUMBER_READ_EARLY",
        "protected_at is read before the number is raised",
        "handoff",
        "lost_store",
    ),
    _broken(
        "NUMBER_READ_AFTER_TAGS",
        "an answer takes the number of a shootdown whose page it has not seen",
        "entries",
        "lost_store",
    ),
    _broken(
        "NUMBER_BEFORE_LOCATION",
        "a vCPU looks for shootdowns, then is in the guest",
        "entries",
        "lost_store",
    ),
    _broken(
        "TRIGGER_WITHOUT_SWAP",
        "a trigger overwrites a monitor that has begun to wait",
        "handoff",
        "lost_store",
    ),
    _broken(
        "WAIT_WITHOUT_SWAP",
        "MWAIT overwrites a monitor that was triggered",
        "handoff",
        "lost_store",
    ),
    _broken(
        "PARKED_AFTER_LOOK",
        "a vCPU looks for reasons to go on, then says that it sleeps",
        "handoff",
        "lost_store",
    ),
    _broken(
        "WAKE_BEFORE_REQUEST",
        "a sleeper is woken, then told why",
        "kicks",
        "lost_kick",
    ),
    _broken(
        "STOP_BEFORE_ATTENTION",
        "stop_at is lowered, then the attention bit is set",
        "kicks",
        "lost_kick",
    ),
    _broken(
        "ATTENTION_BEFORE_STOP",
        "a vCPU takes the bits, then raises stop_at",
        "kicks",
        "lost_kick",
    ),
    _broken(
        "LIMIT_AFTER_LOOK",
        "run() looks at the bits, then raises stop_at",
        "kicks",
        "lost_kick",
    ),
    _broken(
        "RUN_DROPPED",
        "a start-up IPI takes the notice of immediate_exit with it",
        "kicks",
        "lost_kick",
    ),
    _broken(
        "NOTIFY_WITHOUT_LOCK",
        "two threads write to wake_fd what they have found before",
        "descriptor",
        "lost_kick",
    ),
    _broken(
        "SLEEP_IN_GUEST",
        "a sleeper does not leave the guest: no page can be acknowledged",
        "idle loops end",
        ENDLESS,
    ),
)

CHECKS = DESIGN + BROKEN
