"""UMWAIT and TPAUSE: waits at any privilege level until a value of the TSC (SDM vol. 2)."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.isa.faults import ARITHMETIC, expect_fault
from tests.support import (
    CODE,
    CODE32,
    DATA,
    DATA32,
    FLAG_CF,
    FLAG_IF,
    GENERAL,
    GP,
    NMI,
    UD,
    Event,
    Running,
    delivered,
    flat32,
    real16,
    run,
)

OTHER = DATA + 0x1000
VECTOR = 0x40
TSC, UMWAIT_CONTROL, MISC_ENABLE = 0x10, 0xE1, 0x1A0
SOON = 2_000_000
LATER = 1 << 34  #: nanoseconds: further than any of these tests lasts
FOR_EVER = (1 << 64) - 1

#: Those under which UMWAIT waits for a store, and all under which it waits.
WAKING = [x86.MWAIT_FAULT, x86.MWAIT_SCAN, x86.MWAIT_ADAPTIVE, "passthrough"]
WAITING = [*WAKING, x86.MWAIT_HALT]

UMWAIT, TPAUSE = "umwait ecx", "tpause ecx"
#: From EDX:EAX ticks ahead until ECX's wait; the TSC in ESI:EDI before, in EDX:EAX behind.
AHEAD = """
        umonitor ebx
        jmp arm
    arm:
        umonitor ebx
        out 0x80, al
        mov ebp, eax
        mov ebx, edx
        rdtsc
        mov edi, eax
        mov esi, edx
        add eax, ebp
        adc edx, ebx
        push 0x8D7
        popf
        {wait}
        pushf
        pop ebx
        rdtsc
        hlt
"""
UMWAIT_CODE, TPAUSE_CODE = b"\xf2\x0f\xae\xf1", b"\x66\x0f\xae\xf1"


def with_feature(source: str, *, memory: x86.Memory | None = None) -> x86.VCPU:
    vcpu = flat32(source, memory=memory)
    vcpu.features = ("waitpkg",)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    return vcpu


def choose(vcpu: x86.VCPU, policy: int | str) -> None:
    if isinstance(policy, int):
        vcpu.mwait_policy = policy
    else:
        vcpu.disable_exits = x86.DISABLE_EXITS_MWAIT


def waits(
    wait: str = UMWAIT,
    ahead: int = LATER,
    *,
    policy: int | str = x86.MWAIT_FAULT,
    bound: int = 0,
    state: int = 0,
) -> x86.VCPU:
    """A vCPU that has executed UMONITOR of DATA and will wait until `ahead` ticks from then on."""
    vcpu = with_feature(AHEAD.format(wait=wait))
    choose(vcpu, policy)
    set_bound(vcpu, bound)
    vcpu.ebx, vcpu.ecx, vcpu.edx, vcpu.eax = DATA, state, ahead >> 32, ahead & 0xFFFFFFFF
    assert run(vcpu) == "EXIT_IO"
    return vcpu


def set_bound(vcpu: x86.VCPU, value: int) -> None:
    """The guest writes IA32_UMWAIT_CONTROL, and is where it was before."""
    vcpu.memory.write(0x4000, b"\x0f\x30\xe6\x80")
    vcpu.eip, vcpu.ecx, vcpu.edx, vcpu.eax = 0x4000, UMWAIT_CONTROL, 0, value
    assert run(vcpu) == "EXIT_IO"
    vcpu.eip = CODE


def lasted(vcpu: x86.VCPU) -> int:
    """Nanoseconds from before the wait to behind it."""
    return (vcpu.edx << 32 | vcpu.eax) - (vcpu.esi << 32 | vcpu.edi)


def carry(vcpu: x86.VCPU) -> bool:
    """CF as the wait left it; the other arithmetic flags must be 0."""
    assert vcpu.ebx & ARITHMETIC & ~FLAG_CF == 0
    return bool(vcpu.ebx & FLAG_CF)


def ends(vcpu: x86.VCPU) -> x86.VCPU:
    """Run to the HLT without anybody's help."""
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    return vcpu


# Existence and checks.

ALL = ["umonitor eax", "umwait eax", "tpause eax"]


@pytest.mark.parametrize("source", ALL)
def test_without_the_feature_they_do_not_exist(source: str) -> None:
    expect_fault(flat32(source), Event(UD, CODE), eax=0)
    vcpu = flat32(source)
    vcpu.features = ("monitorx",)
    expect_fault(vcpu, Event(UD, CODE), eax=0)


@pytest.mark.parametrize("source", ALL)
def test_without_the_feature_they_do_not_exist_in_real_mode(source: str) -> None:
    vcpu = real16(source)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, 0, cs=CODE >> 4)


@pytest.mark.parametrize("prefix", [0x66, 0xF2, 0xF3])
@pytest.mark.parametrize("modrm", [0x30, 0x70, 0xB0], ids=hex)
def test_with_memory_they_are_other_instructions(prefix: int, modrm: int) -> None:
    """CLWB, CLRSSBSY and nothing, none of which there is."""
    vcpu = with_feature(f".byte {prefix}, 0x0f, 0xae, {modrm}, 0, 0, 0, 0")
    expect_fault(vcpu, Event(UD, CODE), eax=DATA)


@pytest.mark.parametrize("prefix", [0x66, 0xF2, 0xF3])
@pytest.mark.parametrize("first", [False, True])
def test_lock_prefix_is_undefined(prefix: int, first: bool) -> None:
    prefixes = f"0xf0, {prefix}" if first else f"{prefix}, 0xf0"
    vcpu = with_feature(f".byte {prefixes}, 0x0f, 0xae, 0xf0")
    expect_fault(vcpu, Event(UD, CODE), eax=0)


@pytest.mark.parametrize("source", ["umwait ebx", "tpause ebx"])
@pytest.mark.parametrize("state", [2, 3, 0x10, 0x80000000])
@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_FAULT, "exit"])
def test_reserved_states(source: str, state: int, policy: int | str) -> None:
    """Only bit 0 of the operand means something. Checked before any policy."""
    vcpu = with_feature(source)
    if isinstance(policy, int):
        vcpu.mwait_policy = policy
    else:
        vcpu.userspace_exits |= x86.USERSPACE_EXIT_MWAIT
    expect_fault(vcpu, Event(GP, CODE, 0), ebx=state)


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
@pytest.mark.parametrize("state", [0, 1])
def test_both_states_wait(wait: str, state: int) -> None:
    vcpu = ends(waits(wait, SOON, state=state))
    assert lasted(vcpu) >= SOON


@pytest.mark.parametrize(
    ("prefixes", "is_umwait"),
    [("0x66", False), ("0xf2", True), ("0x66, 0xf2", True), ("0xf2, 0x66", True)],
)
def test_the_prefix_says_which_of_the_two(prefixes: str, is_umwait: bool) -> None:
    """F2 goes before 66. A store lets UMWAIT fall through, and means nothing to TPAUSE."""
    vcpu = waits(f".byte {prefixes}, 0x0f, 0xae, 0xf1", SOON)
    vcpu.memory.write(DATA, b"\1")
    ends(vcpu)
    assert vcpu.stats["mwait_waits"] == (not is_umwait)


@pytest.mark.parametrize("number", range(8), ids=GENERAL)
def test_the_operand_may_be_any_register(number: int) -> None:
    """Which one, a reserved bit shows."""
    vcpu = with_feature("hlt")
    vcpu.memory.write(CODE, bytes((0x66, 0x0F, 0xAE, 0xF0 + number)))
    for name in GENERAL:
        setattr(vcpu, name, 0 if name != "esp" else 0x9000)
    setattr(vcpu, GENERAL[number], 0x9002)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE, 0)


# The end of the wait: time.


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
@pytest.mark.parametrize("policy", WAITING)
def test_the_deadline_ends_the_wait(wait: str, policy: int | str) -> None:
    """EDX:EAX, under every policy that waits. All arithmetic flags are cleared."""
    vcpu = ends(waits(wait, SOON, policy=policy))
    assert lasted(vcpu) >= SOON
    assert not carry(vcpu)
    assert vcpu.stats["wakes_spurious"] == 1


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
@pytest.mark.parametrize("policy", WAITING)
@pytest.mark.parametrize("deadline", [0, 1])
def test_a_deadline_that_is_over(wait: str, policy: int | str, deadline: int) -> None:
    vcpu = with_feature(f"push 0x8D7; popf; {wait}; hlt")
    choose(vcpu, policy)
    vcpu.edx, vcpu.eax, vcpu.ecx = 0, deadline, 0
    ends(vcpu)
    assert vcpu.eflags & ARITHMETIC == 0


def test_the_deadline_on_the_main_thread() -> None:
    """Where the sleep is cut into slices to look for signals."""
    vcpu = waits(TPAUSE, LATER, bound=120_000_000)
    assert vcpu.run() == x86.EXIT_HLT
    assert lasted(vcpu) >= 120_000_000
    assert carry(vcpu)


@pytest.mark.parametrize("now", [1 << 40, (1 << 63) + 5])
def test_the_deadline_is_compared_with_the_tsc_as_written(now: int) -> None:
    vcpu = waits(TPAUSE, SOON)
    at = vcpu.eip
    vcpu.memory.write(0x4000, b"\x0f\x30\xe6\x80")
    registers = {name: getattr(vcpu, name) for name in ("eax", "ecx", "edx")}
    vcpu.eip, vcpu.ecx, vcpu.edx, vcpu.eax = 0x4000, TSC, now >> 32, now & 0xFFFFFFFF
    assert run(vcpu) == "EXIT_IO"
    vcpu.eip = at
    for name, value in registers.items():
        setattr(vcpu, name, value)
    assert run(vcpu) == "EXIT_IO"
    ends(vcpu)
    assert now < vcpu.esi << 32 | vcpu.edi
    assert lasted(vcpu) >= SOON


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
@pytest.mark.parametrize("policy", WAITING)
@pytest.mark.parametrize("ahead", [LATER, FOR_EVER >> 2])
def test_the_operating_systems_bound(wait: str, policy: int | str, ahead: int) -> None:
    """IA32_UMWAIT_CONTROL, bits 31:2: at most so many ticks; CF says that it was this."""
    vcpu = ends(waits(wait, ahead, policy=policy, bound=SOON))
    assert lasted(vcpu) >= SOON
    assert carry(vcpu)


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
@pytest.mark.parametrize("bound", [0xFFFFFFFC, 0x80000000, 0, 1])
def test_a_bound_that_comes_later_or_is_none(wait: str, bound: int) -> None:
    """0 is none; bit 0 only forbids the deeper state."""
    vcpu = ends(waits(wait, SOON, bound=bound))
    assert lasted(vcpu) >= SOON
    assert not carry(vcpu)


def test_policy_timer_is_no_bound() -> None:
    """What the policy's slice ends has not met the operating system's limit."""
    vcpu = waits(UMWAIT, LATER, policy=x86.MWAIT_TIMER, bound=0xFFFFFFFC)
    vcpu.mwait_timer_ns = 100_000
    ends(vcpu)
    assert lasted(vcpu) >= 100_000
    assert not carry(vcpu)


# The end of the wait: events.


@pytest.mark.parametrize("policy", WAKING)
@pytest.mark.parametrize("bound", [0, 0xFFFFFFFC])
def test_a_store_ends_umwait(policy: int | str, bound: int) -> None:
    vcpu = waits(policy=policy, bound=bound)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA + 63, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert not carry(vcpu)
    assert vcpu.stats["wakes_store"] == 1
    assert vcpu.monitor[0] == "idle"


def test_a_store_before_umwait_is_not_lost() -> None:
    vcpu = waits()
    vcpu.memory.write(DATA, b"\1")
    ends(vcpu)
    assert vcpu.stats["mwait_waits"] == 0
    assert not carry(vcpu)


def test_without_umonitor_umwait_does_not_wait() -> None:
    vcpu = with_feature("umwait ecx; hlt")
    vcpu.ecx, vcpu.eax, vcpu.edx = 0, 0xFFFFFFFF, 0xFFFFFFFF
    ends(vcpu)
    assert vcpu.stats["mwait_waits"] == 0


@pytest.mark.parametrize("policy", WAITING)
def test_a_store_does_not_end_tpause(policy: int | str) -> None:
    vcpu = waits(TPAUSE, policy=policy)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA, b"\1")
        time.sleep(0.003)
        assert vcpu.waiting == "mwait"
        vcpu.nmi()
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["wakes_store"] == 0


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
@pytest.mark.parametrize("policy", WAITING)
def test_a_masked_interrupt_ends_both(wait: str, policy: int | str) -> None:
    """Whatever the flag says; masked, it is not delivered."""
    vcpu = waits(wait, policy=policy)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    assert (vcpu.stats["wakes_interrupt"], vcpu.stats["irq_injections"]) == (1, 0)
    assert not carry(vcpu)


@pytest.mark.parametrize(("wait", "code"), [(UMWAIT, UMWAIT_CODE), (TPAUSE, TPAUSE_CODE)])
@pytest.mark.parametrize("event", [VECTOR, NMI])
def test_an_interrupt_is_delivered_behind_it(wait: str, code: bytes, event: int) -> None:
    vcpu = with_feature(f"umonitor ebx; jmp arm; arm: umonitor ebx; {wait}; hlt")
    vcpu.ebx, vcpu.ecx, vcpu.eax, vcpu.edx = DATA, 0, 0xFFFFFFFF, 0xFFFFFFFF
    vcpu.eflags = 2 | ARITHMETIC | FLAG_IF
    with Running(vcpu) as running:
        running.asleep("mwait")
        if event == NMI:
            vcpu.nmi()
        else:
            vcpu.interrupt(event)
        assert running.exit() == "EXIT_HLT"
    behind = CODE + vcpu.memory.read(CODE, 0x40).index(code) + 4
    assert delivered(vcpu) == Event(event, behind)


@pytest.mark.parametrize(("wait", "code"), [(UMWAIT, UMWAIT_CODE), (TPAUSE, TPAUSE_CODE)])
def test_a_kick_leaves_the_vcpu_behind_it(wait: str, code: bytes) -> None:
    vcpu = waits(wait, bound=0xFFFFFFFC)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert vcpu.memory.read(vcpu.eip - 4, 4) == code
    assert vcpu.eflags & ARITHMETIC == 0
    assert not carry(ends(vcpu))


# Policies that do not wait, and privilege levels.


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_YIELD])
def test_policies_that_do_not_wait(wait: str, policy: int) -> None:
    vcpu = ends(waits(wait, policy=policy, bound=0xFFFFFFFC))
    assert not carry(vcpu)
    assert (vcpu.stats["mwait_instructions"], vcpu.stats["mwait_waits"]) == (1, 0)


@pytest.mark.parametrize(("wait", "code"), [(UMWAIT, UMWAIT_CODE), (TPAUSE, TPAUSE_CODE)])
def test_policy_exit(wait: str, code: bytes) -> None:
    """EXIT_MWAIT behind the instruction, whose flags are cleared."""
    vcpu = waits(wait, bound=SOON)
    vcpu.userspace_exits |= x86.USERSPACE_EXIT_MWAIT
    assert run(vcpu) == "EXIT_MWAIT"
    assert vcpu.memory.read(vcpu.eip - 4, 4) == code
    assert (vcpu.mp_state, vcpu.eflags & ARITHMETIC) == (x86.MP_STATE_RUNNABLE, 0)
    assert not carry(ends(vcpu))
    assert (vcpu.stats["mwait_exits"], vcpu.stats["mwait_waits"]) == (1, 0)


@pytest.mark.parametrize("wait", [UMWAIT, TPAUSE])
def test_at_any_privilege_level(wait: str) -> None:
    vcpu = with_feature(f"umonitor ebx; jmp arm; arm: umonitor ebx; {wait}; spin: jmp spin")
    vcpu.cs.selector, vcpu.cs.access = CODE32 | 3, 0xC0FB
    vcpu.ss.selector, vcpu.ss.access = DATA32 | 3, 0xC0F3
    vcpu.ebx, vcpu.ecx, vcpu.eax, vcpu.edx = DATA, 0, 0xFFFFFFFF, 0xFFFFFFFF
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA, b"\1")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert vcpu.cs.selector == CODE32 | 3
    assert vcpu.stats["wakes_store"] == (wait == UMWAIT)


# IA32_UMWAIT_CONTROL.


@pytest.mark.parametrize("source", ["rdmsr", "wrmsr"])
def test_the_register_comes_with_the_feature(source: str) -> None:
    expect_fault(flat32(source), Event(GP, CODE, 0), ecx=UMWAIT_CONTROL, eax=0, edx=0)


@pytest.mark.parametrize("value", [2, 3, 1 << 32, 1 << 63])
def test_reserved_bits_of_the_register(value: int) -> None:
    expect_fault(
        with_feature("wrmsr"),
        Event(GP, CODE, 0),
        ecx=UMWAIT_CONTROL,
        edx=value >> 32,
        eax=value & 0xFFFFFFFF,
    )


@pytest.mark.parametrize("value", [0, 1, 4, 0xFFFFFFFD])
def test_the_register_keeps_what_is_written(value: int) -> None:
    vcpu = with_feature("rdmsr; mov ebx, eax; mov eax, edi; wrmsr; rdmsr; hlt")
    vcpu.ecx, vcpu.edx, vcpu.edi = UMWAIT_CONTROL, 0, value
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ebx, vcpu.edx, vcpu.eax) == (0, 0, value), "0 after RESET"
