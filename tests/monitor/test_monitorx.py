"""MONITORX and MWAITX: at any privilege level, and with a timer (AMD APM vol. 3)."""

from __future__ import annotations

import time

import pytest

import x86core as x86
from tests.isa.faults import ARITHMETIC, expect_fault, small
from tests.support import (
    CODE,
    CODE32,
    DATA,
    DATA32,
    FLAG_IF,
    GENERAL,
    GP,
    NMI,
    SS,
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
#: Of MWAITX, ECX: masked interrupts break; EBX is a time limit.
MASKED_BREAK, TIMER = 1, 2
SOON = 2_000_000

#: Those under which MWAITX waits for a store.
WAKING = [x86.MWAIT_FAULT, x86.MWAIT_SCAN, x86.MWAIT_ADAPTIVE]
WAITING = [*WAKING, x86.MWAIT_HALT]

#: Twice MONITORX, as the first on a page only has it protected; then MWAITX with ECX from EBP.
#: The TSC is in ESI:EDI before, and in EDX:EAX behind.
WAIT = """
        monitorx
        jmp arm
    arm:
        monitorx
        out 0x80, al
        mov ecx, ebp
        rdtsc
        mov esi, edx
        mov edi, eax
        mwaitx
        rdtsc
        hlt
"""


def with_feature(source: str, *, memory: x86.Memory | None = None) -> x86.VCPU:
    vcpu = flat32(source, memory=memory)
    vcpu.features = ("monitorx",)
    vcpu.mwait_policy = x86.MWAIT_FAULT
    return vcpu


def armed(extensions: int = 0, limit: int = 0, policy: int = x86.MWAIT_FAULT) -> x86.VCPU:
    """A vCPU that has executed MONITORX of DATA, and will execute MWAITX."""
    vcpu = with_feature(WAIT)
    vcpu.mwait_policy = policy
    vcpu.eax, vcpu.ecx, vcpu.ebx, vcpu.ebp = DATA, 0, limit, extensions
    assert run(vcpu) == "EXIT_IO"
    return vcpu


def at_level_3(vcpu: x86.VCPU) -> x86.VCPU:
    vcpu.cs.selector, vcpu.cs.access = CODE32 | 3, 0xC0FB
    vcpu.ss.selector, vcpu.ss.access = DATA32 | 3, 0xC0F3
    return vcpu


def waited(vcpu: x86.VCPU) -> int:
    """Nanoseconds from before MWAITX to behind it."""
    return (vcpu.edx << 32 | vcpu.eax) - (vcpu.esi << 32 | vcpu.edi)


# Existence and checks.


@pytest.mark.parametrize("source", ["monitorx", "mwaitx"])
def test_without_the_feature_they_do_not_exist(source: str) -> None:
    expect_fault(flat32(source), Event(UD, CODE), eax=DATA, ecx=0)
    vcpu = flat32(source)
    vcpu.features = ("waitpkg",)
    expect_fault(vcpu, Event(UD, CODE), eax=DATA, ecx=0)


@pytest.mark.parametrize("source", ["monitorx", "mwaitx"])
def test_without_the_feature_they_do_not_exist_in_real_mode(source: str) -> None:
    vcpu = real16(source)
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(UD, 0, cs=CODE >> 4)


def test_reset_leaves_the_feature_alone() -> None:
    vcpu = with_feature("monitorx; hlt")
    vcpu.reset()
    assert vcpu.features == ("monitorx",)


@pytest.mark.parametrize("opcode", [0xFA, 0xFB])
def test_lock_prefix_is_undefined(opcode: int) -> None:
    vcpu = with_feature(f".byte 0xf0, 0x0f, 0x01, {opcode}")
    expect_fault(vcpu, Event(UD, CODE), eax=DATA, ecx=0)


def test_with_a_repeat_prefix_it_is_another_instruction() -> None:
    vcpu = with_feature(".byte 0xf3, 0x0f, 0x01, 0xfa")
    expect_fault(vcpu, Event(UD, CODE), eax=DATA, ecx=0)


@pytest.mark.parametrize("ecx", [1, 2, 0x80000000])
def test_monitorx_supports_no_extension(ecx: int) -> None:
    expect_fault(with_feature("monitorx"), Event(GP, CODE, 0), eax=DATA, ecx=ecx)


@pytest.mark.parametrize("ecx", [4, 7, 0x80000000])
@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_FAULT, "exit"])
def test_mwaitx_supports_two_extensions(ecx: int, policy: int | str) -> None:
    """Checked before any policy."""
    vcpu = with_feature("mwaitx")
    if isinstance(policy, str):
        vcpu.userspace_exits |= x86.USERSPACE_EXIT_MWAIT
    else:
        vcpu.mwait_policy = policy
    expect_fault(vcpu, Event(GP, CODE, 0), ecx=ecx)
    assert vcpu.stats["mwait_exits"] == 0


def test_misc_enable_has_no_say() -> None:
    """It turns MONITOR and MWAIT off, not these."""
    vcpu = with_feature("wrmsr; xor ecx, ecx; mov eax, ebx; monitorx; mwaitx; hlt")
    vcpu.ecx, vcpu.edx, vcpu.eax, vcpu.ebx = 0x1A0, 0, 0, DATA
    vcpu.mwait_policy = x86.MWAIT_NOP
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["mwait_instructions"] == 1


def test_segment_limit_as_of_a_byte_read() -> None:
    vcpu = with_feature("monitorx; hlt")
    small(vcpu.ds)
    vcpu.eax, vcpu.ecx = 0xFFF, 0
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == CODE + 4
    vcpu = with_feature("monitorx")
    small(vcpu.ds)
    expect_fault(vcpu, Event(GP, CODE, 0), eax=0x1000, ecx=0)


def test_stack_segment_raises_a_stack_fault() -> None:
    vcpu = with_feature(".byte 0x36; monitorx")
    small(vcpu.ss)
    expect_fault(vcpu, Event(SS, CODE, 0), eax=0x1000, ecx=0, esp=0x800)


def test_null_segment() -> None:
    vcpu = with_feature("mov ds, ecx; monitorx")
    vcpu.eax, vcpu.ecx = DATA, 0
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, CODE + 2, 0)


def test_beyond_64_kib_in_real_mode() -> None:
    vcpu = real16(".byte 0x67; monitorx")
    vcpu.features = ("monitorx",)
    vcpu.eax, vcpu.ecx = 0x10000, 0
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(GP, 0, cs=CODE >> 4)


# What is monitored.


@pytest.mark.parametrize(
    ("prefix", "eax", "line"),
    [
        ("", OTHER + 0x7F, OTHER + 0x40),
        (".byte 0x64;", 0x100, OTHER + 0x100),
        (".byte 0x67;", 0x00058123, 0x8100),
        (".byte 0x67, 0x64;", 0x00058123, OTHER + 0x8100),
    ],
)
def test_address(prefix: str, eax: int, line: int) -> None:
    """EAX in DS; a segment override counts, and of a 16-bit address AX alone."""
    vcpu = with_feature(f"{prefix} monitorx; jmp arm; arm: {prefix} monitorx; out 0x80, al")
    vcpu.eax, vcpu.ecx, vcpu.fs.base = eax, 0, OTHER
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", line)


def test_in_real_mode() -> None:
    vcpu = real16("monitorx; jmp arm; arm: monitorx; out 0x80, al; mwaitx; hlt")
    vcpu.features, vcpu.mwait_policy = ("monitorx",), x86.MWAIT_FAULT
    vcpu.eax, vcpu.ecx, vcpu.ds.selector, vcpu.ds.base = 0xABCD0048, 0, DATA >> 4, DATA
    assert run(vcpu) == "EXIT_IO"
    assert vcpu.monitor == ("armed", DATA + 0x40)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA + 0x7F, b"\1")
        assert running.exit() == "EXIT_HLT"


@pytest.mark.parametrize("policy", WAKING)
def test_at_any_privilege_level(policy: int) -> None:
    """A wait at level 3, ended by a store."""
    vcpu = at_level_3(with_feature("monitorx; jmp arm; arm: monitorx; mwaitx; spin: jmp spin"))
    vcpu.eax, vcpu.ecx, vcpu.mwait_policy = DATA, 0, policy
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA, b"\1")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert vcpu.stats["wakes_store"] == 1
    assert vcpu.cs.selector == CODE32 | 3


# The wait.


def passed_through(vcpu: x86.VCPU) -> x86.VCPU:
    vcpu.disable_exits = x86.DISABLE_EXITS_MWAIT
    return vcpu


@pytest.mark.parametrize("policy", [*WAKING, "passthrough"])
@pytest.mark.parametrize("limit", [0, 0xFFFFFFFF])
def test_a_store_wakes(policy: int | str, limit: int) -> None:
    """Also when there is a limit that has not come."""
    vcpu = armed(TIMER, limit, policy if isinstance(policy, int) else x86.MWAIT_FAULT)
    if policy == "passthrough":
        passed_through(vcpu)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.memory.write(DATA + 63, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["wakes_store"] == 1
    assert vcpu.monitor[0] == "idle"


@pytest.mark.parametrize("policy", [*WAITING, "passthrough"])
@pytest.mark.parametrize("extensions", [TIMER, TIMER | MASKED_BREAK])
def test_the_limit_ends_the_wait(policy: int | str, extensions: int) -> None:
    """EBX ticks of the TSC, under every policy that waits."""
    vcpu = armed(extensions, SOON, policy if isinstance(policy, int) else x86.MWAIT_FAULT)
    if policy == "passthrough":
        passed_through(vcpu)
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert waited(vcpu) >= SOON
    assert vcpu.monitor[0] == "idle"
    stats = vcpu.stats
    assert (stats["wakes_spurious"], stats["wakes_store"], stats["wakes_interrupt"]) == (1, 0, 0)


def test_the_limit_on_the_main_thread() -> None:
    """Where the sleep is cut into slices to look for signals."""
    vcpu = armed(TIMER, 120_000_000)
    assert vcpu.run() == x86.EXIT_HLT
    assert waited(vcpu) >= 120_000_000


@pytest.mark.parametrize(("extensions", "limit"), [(TIMER, 0), (0, 1), (MASKED_BREAK, 1000)])
def test_without_a_limit(extensions: int, limit: int) -> None:
    """ECX[1] alone makes EBX one, and 0 is none."""
    vcpu = armed(extensions, limit)
    with Running(vcpu) as running:
        running.asleep("mwait")
        time.sleep(0.005)
        assert vcpu.waiting == "mwait"
        vcpu.memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["wakes_store"] == 1


@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_YIELD])
def test_policies_that_do_not_wait(policy: int) -> None:
    vcpu = armed(0, 0, policy)
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert (vcpu.stats["mwait_instructions"], vcpu.stats["mwait_waits"]) == (1, 0)


@pytest.mark.parametrize("limit", [0, 0xFFFFFFFF])
def test_policy_timer_comes_back_by_itself(limit: int) -> None:
    """After its slice, be the guest's limit none or later."""
    vcpu = armed(TIMER, limit, x86.MWAIT_TIMER)
    vcpu.mwait_timer_ns = 100_000
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert waited(vcpu) >= 100_000


def test_policy_exit() -> None:
    vcpu = armed(TIMER, SOON)
    vcpu.userspace_exits |= x86.USERSPACE_EXIT_MWAIT
    assert run(vcpu) == "EXIT_MWAIT"
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.stats["mwait_exits"], vcpu.stats["mwait_waits"]) == (1, 0)


def test_without_monitorx_it_does_not_wait() -> None:
    vcpu = with_feature("mwaitx; hlt")
    vcpu.ecx = 0
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["mwait_waits"] == 0


def test_a_store_before_mwaitx_is_not_lost() -> None:
    vcpu = armed()
    vcpu.memory.write(DATA, b"\1")
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["mwait_waits"] == 0


@pytest.mark.parametrize("extensions", [0, TIMER])
def test_a_masked_interrupt_does_not_wake(extensions: int) -> None:
    vcpu = armed(extensions)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        time.sleep(0.003)
        assert vcpu.waiting == "mwait"
        vcpu.memory.write(DATA, b"\1")
        assert running.exit() == "EXIT_HLT"
    assert vcpu.stats["wakes_interrupt"] == 0


@pytest.mark.parametrize("extensions", [MASKED_BREAK, MASKED_BREAK | TIMER])
def test_a_masked_interrupt_wakes_with_the_extension(extensions: int) -> None:
    vcpu = armed(extensions)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.interrupt(VECTOR)
        assert running.exit() == "EXIT_HLT"
    assert (vcpu.stats["wakes_interrupt"], vcpu.stats["irq_injections"]) == (1, 0)


@pytest.mark.parametrize("event", [VECTOR, NMI])
def test_an_interrupt_is_delivered_behind_it(event: int) -> None:
    vcpu = armed(TIMER, 0xFFFFFFFF)
    vcpu.eflags |= FLAG_IF
    with Running(vcpu) as running:
        running.asleep("mwait")
        if event == NMI:
            vcpu.nmi()
        else:
            vcpu.interrupt(event)
        assert running.exit() == "EXIT_HLT"
    behind = CODE + vcpu.memory.read(CODE, 0x100).index(b"\x0f\x01\xfb") + 3
    assert delivered(vcpu) == Event(event, behind)


def test_a_kick_leaves_the_vcpu_behind_it() -> None:
    vcpu = armed(TIMER, 0xFFFFFFFF)
    with Running(vcpu) as running:
        running.asleep("mwait")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert vcpu.memory.read(vcpu.eip - 3, 3) == b"\x0f\x01\xfb"
    assert vcpu.stats["wakes_kick"] == 1


@pytest.mark.parametrize("policy", [x86.MWAIT_NOP, x86.MWAIT_FAULT])
def test_neither_flags_nor_registers_change(policy: int) -> None:
    vcpu = with_feature("monitorx; jmp arm; arm: monitorx; mov ecx, 2; mwaitx; hlt")
    for number, name in enumerate(name for name in GENERAL if name != "esp"):
        setattr(vcpu, name, DATA + 0x1000 * number)
    vcpu.ecx, vcpu.eflags, vcpu.mwait_policy = 0, 2 | ARITHMETIC, policy
    before = {name: getattr(vcpu, name) for name in GENERAL}
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_HLT"
    assert {name: getattr(vcpu, name) for name in GENERAL} == before | {"ecx": 2}
    assert vcpu.eflags == 2 | ARITHMETIC
