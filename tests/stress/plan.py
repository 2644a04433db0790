"""What a phase is, drawn from a seed: who hands what to whom, how, and what disturbs it.

A phase has rings. In a ring one token goes round for ever: each member waits until its mailbox has
it, and then stores to the next member's mailbox, and nothing else tells that one to wake. Tokens
are numbered by laps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from tests.stress import layout
from tests.stress.layout import LAYOUTS, LINE, PAGE
from tests.stress.mailboxes import Mailbox, Mailboxes

#: Ways to handle MWAIT that lose stores because they are made so; with them nothing can be shown.
LOSING: Final = {"halt"}
#: Ways that compare the line with a copy, and do not see a store that leaves it as it was.
COMPARING: Final = {"scan"}
#: Ways that keep the core while they wait. More of them than cores would measure the scheduler.
SPINNING: Final = {"nop", "yield", "exit", "passthrough"}
#: Ways that wake by the write fault, which is to be shown to lose nothing: most phases have these.
BY_WRITE_FAULT: Final = {"fault", "adaptive"}
#: What stands for the policy of a phase in which it changes all the time.
CHANGING: Final = "changing"

#: What may wake a vCPU besides a store, and so hide that the store did not: most phases have none.
DISTURBANCES: Final[dict[str, tuple[str, ...]]] = {
    "none": (),
    "kicks": ("kick", "immediate_exit"),
    "interrupts": ("interrupt", "nmi", "window"),
    "policy changes": ("policy",),
    "all at once": ("kick", "immediate_exit", "interrupt", "nmi", "window", "policy"),
}
_DISTURBANCE_WEIGHTS: Final = (60, 10, 10, 10, 10)

#: Bases of the segments through which a line is stored to and monitored: aliases of each other. No
#: offset of a store passes FFFFFFFFh, which is the limit.
_BASES: Final = (0, 0, 0x10, 0x2345, 0xFFFF_F000)


@dataclass(frozen=True, slots=True)
class Idle:
    """MONITOR and MWAIT or their kin in an idle loop, MWAIT's operands, what stands around them."""

    name: str
    before_monitor: str = "cli"
    monitor: str = "monitor"
    operands: str = "xor eax, eax; xor ecx, ecx"
    mwait: str = "mwait"
    after_mwait: str = ""


IDLES: Final = (
    Idle("interrupts off"),
    Idle("sti; mwait", mwait="sti; mwait"),  # Linux
    Idle("interrupts on", before_monitor="sti"),
    Idle("ECX[0]", operands="xor eax, eax; mov ecx, 1", after_mwait="sti; nop; cli"),
    Idle("mwaitx", monitor="monitorx", mwait="mwaitx"),
    Idle(
        "umwait",
        monitor="umonitor eax",
        operands="xor ecx, ecx; or eax, -1; or edx, -1",  # no deadline
        mwait="umwait ecx",
        after_mwait="sti; nop; cli",
    ),
)

#: What a vCPU needs for these (`VCPU.features`).
FEATURES: Final = ("monitorx", "waitpkg")

#: How a member waits for the token: in MONITOR and MWAIT, by looking all the time, or in Python.
Wait = Literal["idle", "spin", "host"]


@dataclass(frozen=True, slots=True)
class Member:
    """One vCPU of a ring, or the host. The `first` one has the token in the beginning.

    `decoy` is another line that it monitors just before its own; `polling` says that it announces
    itself by a locked store to its own line, as Linux does. Delays are up to 2^bits turns of an
    empty loop: `late_bits` before it idles, `dawdle_bits` at each step of the idle loop, and
    `rest_bits` before it passes the token on. Before that it also stores `noise` times to
    `noise_at`, another line of a monitored page. Just before the store, in the same block of
    instructions, where nothing that is asked of a vCPU is answered, it does `window` slow ones.
    """

    index: int
    first: bool
    wait: Wait
    mailbox: Mailbox
    idle: Idle
    decoy: int | None
    polling: bool
    store_base: int
    monitor_base: int
    late_bits: int
    dawdle_bits: int
    rest_bits: int
    noise: int
    noise_at: int
    window: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A configuration. `policy` is a name of `vmm.MWAIT_CHOICES`, or CHANGING between `policies`.

    `limit` is the number of instructions after which each run() returns, 0 for no limit; `noisy`
    the vCPU that does nothing but store to other lines of the monitored pages; `host_noise` says
    whether the host does so.
    """

    number: int
    seconds: float
    policy: str
    policies: tuple[str, ...]
    disturbance: str
    layout: str
    limit: int
    rings: tuple[tuple[Member, ...], ...]
    noisy: int | None
    host_noise: bool

    @property
    def handoffs(self) -> list[tuple[Member, Member]]:
        """Who stores to whose mailbox: every sender with its receiver."""
        return [
            (ring[position - 1], receiver)
            for ring in self.rings
            for position, receiver in enumerate(ring)
        ]

    @property
    def pages(self) -> list[int]:
        """Those with a mailbox."""
        return sorted({receiver.mailbox.line & -PAGE for _, receiver in self.handoffs})


def draw(seed: int, number: int, vcpus: int, cores: int, policies: Sequence[str]) -> Phase:
    """Phase `number` of a seed, for up to so many vCPUs on so many cores.

    `policies` are those that the core has, without the LOSING ones.
    """
    random = Random(f"{seed}/{number}")
    disturbance = random.choices(tuple(DISTURBANCES), _DISTURBANCE_WEIGHTS)[0]
    policy = _draw_policy(random, policies)
    if "policy" in DISTURBANCES[disturbance]:
        policy = CHANGING
    in_line = policy in COMPARING or random.random() < 0.5
    changes = policy in COMPARING or (policy == CHANGING and in_line and random.random() < 0.5)
    few = min(vcpus, max(2, cores))
    count = few if policy in SPINNING else random.choice((few, vcpus, vcpus))
    indexes = random.sample(range(vcpus), count)
    noisy = indexes.pop() if count > 2 and random.random() < 0.2 else None
    name = random.choice(tuple(LAYOUTS))
    interrupts = "nmi" in DISTURBANCES[disturbance]
    mailboxes = Mailboxes(random, name, in_line=in_line, changes=changes, interrupts=interrupts)
    return Phase(
        number=number,
        seconds=random.uniform(0.2, 1.0),
        policy=policy,
        policies=tuple(each for each in policies if changes or each not in COMPARING),
        disturbance=disturbance,
        layout=name,
        limit=random.choice((0, 0, 0, 50, 1000, 20000)),
        rings=tuple(
            _draw_ring(random, mailboxes, ring) for ring in _partition(random, indexes, cores)
        ),
        noisy=noisy,
        host_noise=random.random() < 0.2,
    )


def _draw_policy(random: Random, policies: Sequence[str]) -> str:
    """Mostly one that could lose a wake."""
    weights = [5 if name in BY_WRITE_FAULT else 0.5 if name in SPINNING else 1 for name in policies]
    return random.choices(policies, weights)[0]


def _partition(random: Random, indexes: list[int], cores: int) -> Iterator[list[tuple[int, Wait]]]:
    """Rings of two and more, mostly pairs, with the host in one and some that spin."""
    spinners = max(1, cores - 1)
    host = random.random() < 0.15
    while indexes:
        size = random.choice((2, 2, 2, 2, 3, len(indexes)))
        if len(indexes) - size < 2:
            size = len(indexes)
        waits: list[Wait] = ["idle"] * size
        if size == 2 and spinners and random.random() < 0.5:
            spinners -= 1
            waits[random.randrange(2)] = "spin"
        ring = list(zip(indexes[:size], waits, strict=True))
        if host:
            ring.append((layout.MOST_VCPUS, "host"))
            host = False
        yield ring
        indexes = indexes[size:]


def _draw_ring(
    random: Random, mailboxes: Mailboxes, ring: Sequence[tuple[int, Wait]]
) -> tuple[Member, ...]:
    """The members in the order in which the token goes round; the host is never the first."""
    boxes = [
        mailboxes.draw(index, from_host=ring[position - 1][1] == "host")
        for position, (index, _) in enumerate(ring)
    ]
    pages = [box.line & -PAGE for box in boxes]
    return tuple(
        Member(
            index=index,
            first=position == 0,
            wait=wait,
            mailbox=box,
            idle=random.choice(IDLES),
            decoy=random.choice((None, None, layout.DECOY, pages[0] + layout.NOISE_BY_VCPUS)),
            polling=random.random() < 0.3,
            store_base=random.choice(_BASES),
            monitor_base=random.choice(_BASES),
            late_bits=random.choice((0, 8, 12)),
            dawdle_bits=random.choice((0, 0, 0, 4, 7)),
            rest_bits=random.choice((0, 0, 4, 8, 12)),
            noise=random.choice((0, 1, 100)),
            noise_at=random.choice(pages) + layout.NOISE_BY_VCPUS + 4 * index % LINE,
            window=random.choice((0, 20)),
        )
        for position, ((index, wait), box) in enumerate(zip(ring, boxes, strict=True))
    )
