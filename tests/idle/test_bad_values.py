"""What cannot be chosen is refused: by the attributes, and by run() for what was stored raw."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.idle.support import MWAIT_LOOP, await_count, looping
from tests.support import CODE, Running, flat32, run

BAD = {
    "userspace_exits": (-1, 4, 7, 256),
    "disable_exits": (-1, 4, 8, 256),
    "mwait_policy": (-1, 7, 255, 256),
    "hlt_policy": (-1, 2, 255),
    "halt_poll_ns": (-1, 10**12 + 1, 2**64),
    "halt_poll_ns_grow": (-1, 10**6 + 1),
    "halt_poll_ns_grow_start": (-1, 10**12 + 1),
    "halt_poll_ns_shrink": (-1, 10**6 + 1),
    "mwait_timer_ns": (-1, 10**12 + 1),
    "mwait_scan_ns": (-1, 10**12 + 1),
}
GOOD = {
    "userspace_exits": 3,
    "disable_exits": 3,
    "mwait_policy": x86.MWAIT_ADAPTIVE,
    "hlt_policy": x86.HLT_POLL,
    "halt_poll_ns": 10**12,
    "halt_poll_ns_grow": 10**6,
    "halt_poll_ns_grow_start": 10**12,
    "halt_poll_ns_shrink": 10**6,
    "mwait_timer_ns": 10**12,
    "mwait_scan_ns": 10**12,
}
#: KVM's defaults for the parameters that it has too.
DEFAULTS = {
    "userspace_exits": 0,
    "disable_exits": 0,
    "mwait_policy": x86.MWAIT_NOP,
    "hlt_policy": x86.HLT_BLOCK,
    "halt_poll_ns": 200_000,
    "halt_poll_ns_grow": 2,
    "halt_poll_ns_grow_start": 10_000,
    "halt_poll_ns_shrink": 0,
}
#: What run() refuses when it stands in struct kvm_run.
RAW = {
    "userspace_exits": (4, 128, 255),
    "disable_exits": (4, 128, 255),
    "mwait_policy": (7, 255),
    "hlt_policy": (2, 255),
}


def test_defaults(memory: x86.Memory) -> None:
    vcpu = x86.VCPU(memory)
    assert {name: getattr(vcpu, name) for name in DEFAULTS} == DEFAULTS
    assert vcpu.mwait_timer_ns > 0
    assert vcpu.mwait_scan_ns > 0


@pytest.mark.parametrize(("name", "value"), GOOD.items())
def test_the_largest_value_is_taken(memory: x86.Memory, name: str, value: int) -> None:
    vcpu = x86.VCPU(memory)
    setattr(vcpu, name, value)
    assert getattr(vcpu, name) == value
    setattr(vcpu, name, 0)
    assert getattr(vcpu, name) == 0


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in BAD for value in BAD[name]])
def test_a_bad_value_is_refused_and_changes_nothing(
    memory: x86.Memory, name: str, value: int
) -> None:
    vcpu = x86.VCPU(memory)
    before = getattr(vcpu, name)
    with pytest.raises(ValueError, match=name):
        setattr(vcpu, name, value)
    assert getattr(vcpu, name) == before


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("value", [1.5, "1", None])
def test_what_is_no_integer_is_refused(memory: x86.Memory, name: str, value: object) -> None:
    with pytest.raises(TypeError):
        setattr(x86.VCPU(memory), name, value)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in RAW for value in RAW[name]])
def test_run_refuses_what_stands_raw_in_kvm_run(name: str, value: int) -> None:
    vcpu = flat32("hlt")
    good = getattr(vcpu, name)
    vcpu.kvm_run[name] = value
    vcpu.kick()
    assert vcpu.run() == vcpu.exit_reason == x86.EXIT_FAIL_ENTRY
    assert (vcpu.eip, vcpu.instructions, vcpu.mp_state) == (CODE, 0, x86.MP_STATE_RUNNABLE)
    vcpu.kvm_run[name] = good
    assert run(vcpu) == "EXIT_INTR", "the kick is for a run() that takes place"
    assert run(vcpu) == "EXIT_HLT"


def test_an_unknown_policy_stored_under_a_running_guest_does_not_make_it_sleep() -> None:
    """No store would wake it. The next run() says what is wrong."""
    vcpu = looping(MWAIT_LOOP, mwait="fault")
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.kvm_run["mwait_policy"] = 99
        vcpu.memory.write(0x20000, b"\1")
        before = vcpu.stats["mwait_instructions"]
        await_count(vcpu, "mwait_instructions", before + 3)
        assert vcpu.waiting == ""
    assert vcpu.run() == x86.EXIT_FAIL_ENTRY
