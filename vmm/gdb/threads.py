"""vCPUs as gdb's threads: number n is thread n + 1."""

from __future__ import annotations

from collections.abc import Sequence

from vmm import kvm
from vmm.gdb.debugger import Action
from x86core import VCPU

MP_STATES = {
    kvm.KVM_MP_STATE_RUNNABLE: "runnable",
    kvm.KVM_MP_STATE_UNINITIALIZED: "uninitialized",
    kvm.KVM_MP_STATE_INIT_RECEIVED: "init-received",
    kvm.KVM_MP_STATE_HALTED: "halted",
    kvm.KVM_MP_STATE_SIPI_RECEIVED: "sipi-received",
}

_ACTIONS = {"c": Action.CONTINUE, "C": Action.CONTINUE, "s": Action.STEP, "S": Action.STEP}

ALL, ANY = -1, 0


def parse_thread(text: str) -> int:
    """The number of a thread, ALL or ANY. Raises ValueError."""
    return ALL if text == "-1" else int(text, 16)


def state_of(vcpu: VCPU) -> str:
    """What a vCPU is doing, in a few words."""
    state, line = vcpu.monitor
    words = MP_STATES.get(vcpu.mp_state, str(vcpu.mp_state))
    return words if state == "idle" else f"{words}, monitor {state} at {line:#x}"


def thread_list(vcpus: Sequence[VCPU]) -> str:
    """The XML of qXfer:threads:read."""
    threads = "".join(
        f'<thread id="{vcpu.index + 1:x}" core="{vcpu.index}" name="vCPU {vcpu.index}">'
        f"{state_of(vcpu)}</thread>"
        for vcpu in vcpus
    )
    return f'<?xml version="1.0"?><threads>{threads}</threads>'


def parse_resume(text: str, count: int) -> dict[int, Action]:
    """What vCont orders, for each of `count` vCPUs. Raises ValueError.

    Of several orders for one the first counts; one without any stays held.
    """
    actions: dict[int, Action] = {}
    for order in text.split(";"):
        word, _, thread = order.partition(":")
        action = _ACTIONS.get(word[:1])
        if action is None or (word[0] in "cs" and len(word) > 1):
            raise ValueError(f"unknown action {word!r}")
        number = parse_thread(thread) if thread else ALL
        if not -1 <= number <= count:
            raise ValueError(f"no thread {number}")
        for vcpu in range(count):
            if number in (ALL, ANY, vcpu + 1):
                actions.setdefault(vcpu, action)
    return {vcpu: actions.get(vcpu, Action.HOLD) for vcpu in range(count)}
