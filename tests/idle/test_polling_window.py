"""The window that HLT under `poll` and MWAIT under `adaptive` spin for, against KVM's own rules.

`HaltPolling` is written from Linux's `kvm_vcpu_halt`, without a look at the core. A guest lets its
APIC timer end its waits. How long each one really took follows from the core's counters, so that
the comparison is exact however busy the host is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import x86core as x86
from tests.idle.support import LONG_NS, MWAIT_LOOP, VECTOR, await_count, looping, set_mwait
from tests.support import DATA, HANDLERS, Running, assembled, flat32, run, wait_until

KINDS = ("halt", "mwait")
REQUEST = 0x80
#: Nanoseconds, long enough to be seen on a busy host.
WINDOW = 150 * 10**6
#: Registers of the local APIC (SDM vol. 3, table 11-1), and what the guest stores there.
APIC = 0xFEE00000
EOI, SPURIOUS, TIMER, INITIAL_COUNT, DIVIDE = (
    APIC + offset for offset in (0xB0, 0xF0, 0x320, 0x380, 0x3E0)
)
ENABLED, BY_ONE = 0x100, 0xB

#: Asks for a number of nanoseconds, and idles until the timer has counted them. The first MONITOR
#: only has the page protected.
GUEST = f"""
    mov dword ptr [{SPURIOUS}], {ENABLED | 0xFF}
    mov dword ptr [{DIVIDE}], {BY_ONE}
    mov dword ptr [{TIMER}], {VECTOR}
    mov eax, {DATA}
    xor ecx, ecx
    xor edx, edx
    monitor
next:
    in eax, {REQUEST}
    mov ebx, eax
    mov eax, {DATA}
    monitor
    mov [{INITIAL_COUNT}], ebx
    sti
    %s
    cli
    jmp next
"""
#: The handler of the timer's interrupt.
ON_TIMER = f"mov dword ptr [{EOI}], 0; iret"


@dataclass
class HaltPolling:
    """KVM's halt polling of one vCPU (Linux, virt/kvm/kvm_main.c), in nanoseconds."""

    halt_poll_ns: int
    grow: int
    grow_start: int
    shrink: int
    window: int = 0

    def begin(self) -> int:
        """How long the next halt polls at most."""
        self.window = min(self.window, self.halt_poll_ns)
        return self.window

    def end(self, halt_ns: int, *, valid: bool) -> None:
        """A halt is over; `valid`: by what the guest waited for."""
        if not valid:
            self._shrink()
        elif not self.halt_poll_ns:
            self.window = 0
        elif halt_ns <= self.window:
            pass
        elif self.window and halt_ns > self.halt_poll_ns:
            self._shrink()
        elif self.window < self.halt_poll_ns and halt_ns < self.halt_poll_ns:
            self._grow()

    def _grow(self) -> None:
        if self.grow:
            self.window = max(self.window * self.grow, self.grow_start)

    def _shrink(self) -> None:
        self.window = self.window // self.shrink if self.shrink else 0
        if self.window < self.grow_start:
            self.window = 0


class Polled:
    """A vCPU that waits as it is told, and the model beside it."""

    def __init__(self, kind: str, model: HaltPolling, memory: x86.Memory | None = None) -> None:
        self.kind = kind
        self.model = model
        vcpu = flat32(GUEST % {"halt": "hlt", "mwait": "mwait"}[kind], memory=memory)
        vcpu.memory.write(HANDLERS + VECTOR, assembled(ON_TIMER, HANDLERS + VECTOR, 32))
        vcpu.userspace_exits = 0
        vcpu.hlt_policy = x86.HLT_POLL
        set_mwait(vcpu, "adaptive")
        self.vcpu = vcpu
        self.change()
        assert run(vcpu) == "EXIT_IO"

    def change(self) -> None:
        """Give the core the model's parameters."""
        self.vcpu.halt_poll_ns = self.model.halt_poll_ns
        self.vcpu.halt_poll_ns_grow = self.model.grow
        self.vcpu.halt_poll_ns_grow_start = self.model.grow_start
        self.vcpu.halt_poll_ns_shrink = self.model.shrink

    def counts(self) -> dict[str, int]:
        """The counters of polling for this kind of wait, without the prefix of their names."""
        names = (
            "attempted_poll",
            "successful_poll",
            "poll_invalid",
            "poll_success_ns",
            "poll_fail_ns",
            "wait_ns",
        )
        stats = self.vcpu.stats
        return {name: stats[f"{self.kind}_{name}"] for name in names}

    def wait(self, nanoseconds: int) -> None:
        """One wait ended by the timer, compared with the model."""
        before = self.counts()
        self.vcpu.io_data = nanoseconds
        assert run(self.vcpu) == "EXIT_IO"
        self._compare(before, valid=True)

    def wait_in_vain(self) -> None:
        """A wait without a timer, which only the VMM ends, and at once."""
        before = self.counts()
        self.vcpu.io_data = 0
        self.vcpu.request_interrupt_window = 1
        assert run(self.vcpu) == "EXIT_IRQ_WINDOW_OPEN"
        self._compare(before, valid=False)
        self.vcpu.request_interrupt_window = 0
        self.vcpu.mp_state = x86.MP_STATE_RUNNABLE
        assert run(self.vcpu) == "EXIT_IO"

    def _compare(self, before: dict[str, int], *, valid: bool) -> None:
        found = {name: count - before[name] for name, count in self.counts().items()}
        waited = found["poll_success_ns"] + found["poll_fail_ns"] + found["wait_ns"]
        window = self.model.begin()
        successful = window > 0 and waited <= window
        assert found == {
            "attempted_poll": int(window > 0),
            "successful_poll": int(successful),
            "poll_invalid": int(successful and not valid),
            "poll_success_ns": waited if successful else 0,
            "poll_fail_ns": window if window and not successful else 0,
            "wait_ns": 0 if successful else waited - window,
        }
        self.model.end(waited, valid=valid)


MOST = 400_000
PARAMETERS = st.builds(
    HaltPolling,
    halt_poll_ns=st.sampled_from([0, 1, 20_000, 100_000, MOST]),
    grow=st.integers(0, 4),
    grow_start=st.sampled_from([0, 1, 10_000, 50_000, 2 * MOST]),
    shrink=st.integers(0, 4),
)
#: Nanoseconds, or 0 for a wait that the VMM ends.
WAITS = st.lists(st.one_of(st.just(0), st.integers(1, 2 * MOST)), min_size=6, max_size=16)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(model=PARAMETERS, waits=WAITS)
def test_the_window_follows_kvms_rules(kind: str, model: HaltPolling, waits: list[int]) -> None:
    polled = Polled(kind, model)
    for nanoseconds in waits:
        if nanoseconds:
            polled.wait(nanoseconds)
        else:
            polled.wait_in_vain()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(models=st.lists(PARAMETERS, min_size=2, max_size=6), wait=st.integers(1, MOST))
def test_parameters_may_change_between_waits(
    kind: str, models: list[HaltPolling], wait: int
) -> None:
    """A window that was allowed once is cut to what is allowed now before it is used."""
    polled = Polled(kind, models[0])
    for model in models:
        model.window = polled.model.window
        polled.model = model
        polled.change()
        polled.wait(wait)
        polled.wait(wait // 4 + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_short_waits_open_the_window_and_long_ones_close_it(kind: str) -> None:
    polled = Polled(kind, HaltPolling(halt_poll_ns=10**9, grow=2, grow_start=10**8, shrink=0))
    for _ in range(3):
        polled.wait(1000)
    assert polled.counts()["successful_poll"] == 2, "the first had no window yet"
    polled.model.halt_poll_ns = 10**6
    polled.change()
    for _ in range(2):
        polled.wait(3 * 10**6)
    assert polled.counts()["attempted_poll"] == 3, "one more, that failed, and then none"


@pytest.mark.parametrize("kind", KINDS)
def test_windows_are_longer_than_a_slice_of_the_main_thread(kind: str) -> None:
    """There a wait comes up for signals every 50 ms; it is one wait all the same."""
    polled = Polled(kind, HaltPolling(halt_poll_ns=5 * 10**8, grow=3, grow_start=10**8, shrink=0))
    for nanoseconds in (1000, 13 * 10**7, 13 * 10**7):
        polled.wait(nanoseconds)


def test_hlt_and_mwait_have_a_window_each() -> None:
    """A wait in HLT opens that of HLT; the first MWAIT after it sleeps at once."""
    vcpu = looping(f"sti; hlt; {MWAIT_LOOP}", hlt="poll", mwait="adaptive")
    vcpu.halt_poll_ns = vcpu.halt_poll_ns_grow_start = LONG_NS
    with Running(vcpu) as running:
        running.asleep("hlt")
        vcpu.interrupt(VECTOR)
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        await_count(vcpu, "mwait_waits", 2)
        assert vcpu.stats["mwait_attempted_poll"] == 0


def test_reset_closes_the_window(memory: x86.Memory) -> None:
    """A vCPU of the same number begins anew."""
    polled = Polled(
        "halt", HaltPolling(halt_poll_ns=10**9, grow=2, grow_start=10**8, shrink=0), memory
    )
    polled.wait(1000)
    model = polled.model
    assert model.window
    del polled
    model.window = 0
    Polled("halt", model, memory).wait(1000)


def test_a_sleeper_polls_for_its_window_and_no_longer() -> None:
    """It burns the core for so long; after that less than 1 % of it."""
    vcpu = looping(MWAIT_LOOP, mwait="adaptive")
    vcpu.halt_poll_ns = vcpu.halt_poll_ns_grow_start = WINDOW
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA, b"\1")
        await_count(vcpu, "mwait_waits", 2)
        begin = running.cpu_time()
        wait_until(lambda: running.cpu_time() - begin > 0.005, "the core is held")
        time.sleep(2 * WINDOW / 1e9)
        begin = running.cpu_time()
        time.sleep(0.3)
        assert running.cpu_time() - begin < 0.003
        assert vcpu.waiting == "mwait"
        vcpu.memory.write(DATA, b"\2")
        await_count(vcpu, "wakes_store", 2)
