"""INIT and start-up IPIs: how processors stop and begin (SDM vol. 3, 9.4, 11.4.7, table 10-1)."""

from __future__ import annotations

import select
from collections.abc import Callable

import pytest

import x86core as x86
from tests.apic.local_apic import (
    APIC_BASE,
    ASSERT,
    ID,
    INIT,
    LDR,
    LEVEL,
    LVT_TIMER,
    OTHERS,
    PAGE,
    STARTUP,
    SVR,
    TPR,
    enabled,
    read,
    requested,
    send,
    shown,
    write,
    wrmsr,
)
from tests.support import (
    CODE,
    DATA,
    FLAG_IF,
    GENERAL,
    NMI,
    Running,
    assembled,
    delivered,
    flat32,
    run,
    wait_until,
    waiter,
    word32,
)

#: Where the vCPUs of these tests are started: vector 50h.
START = 0x50
TRAMPOLINE = START << 12
#: Says where it began, in BX, and counts itself.
PROGRAM = "mov bx, cs; lock inc dword ptr cs:[0x100]; hlt"
COUNT = TRAMPOLINE + 0x100

Send = Callable[[x86.VCPU, int], None]


def by_host(target: x86.VCPU, command: int) -> None:
    if command & 0x700 == INIT:
        target.init()
    else:
        target.sipi(command & 0xFF)


def by_guest(target: x86.VCPU, command: int) -> None:
    """From vCPU 7 of the same machine, to the physical destination."""
    sender = flat32("hlt", memory=target.memory, index=7)
    send(sender, ASSERT | command, destination=target.index)


@pytest.fixture(params=[by_host, by_guest], ids=["host", "guest"])
def signal(request: pytest.FixtureRequest) -> Send:
    """Sends INIT or a start-up IPI, from Python or from another vCPU."""
    sender: Send = request.param
    return sender


@pytest.fixture
def memory() -> x86.Memory:
    memory = x86.Memory(1 << 20)
    memory.write(TRAMPOLINE, assembled(PROGRAM, 0, 16))
    return memory


def fresh(memory: x86.Memory, index: int = 1) -> x86.VCPU:
    """An application processor after RESET that leaves the core at HLT."""
    vcpu = x86.VCPU(memory, index=index)
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
    return vcpu


def started(vcpu: x86.VCPU, vector: int = START) -> bool:
    """Whether it runs the program at the start-up vector to its end."""
    with Running(vcpu) as running:
        return running.exit() == "EXIT_HLT" and vcpu.ebx == vector << 8


def not_started(vcpu: x86.VCPU) -> bool:
    """Whether it waits for a start-up IPI when it is run."""
    vcpu.kick()
    assert vcpu.run() == x86.EXIT_INTR
    return vcpu.mp_state in (x86.MP_STATE_UNINITIALIZED, x86.MP_STATE_INIT_RECEIVED)


# Waiting for a start-up IPI.


def test_an_application_processor_waits_after_reset(memory: x86.Memory) -> None:
    vcpu = fresh(memory)
    assert vcpu.mp_state == x86.MP_STATE_UNINITIALIZED
    assert not select.select([vcpu.wake_fd], [], [], 0)[0]
    with Running(vcpu) as running:
        running.asleep("start")
        assert vcpu.instructions == 0
    assert vcpu.waiting == ""


def test_a_kick_ends_the_run_and_not_the_wait(memory: x86.Memory) -> None:
    vcpu = fresh(memory)
    with Running(vcpu) as running:
        running.asleep("start")
        vcpu.kick()
        assert running.exit() == "EXIT_INTR"
    assert vcpu.mp_state == x86.MP_STATE_UNINITIALIZED


@pytest.mark.parametrize("event", ["interrupt", "nmi"])
def test_no_other_event_starts_it(memory: x86.Memory, event: str) -> None:
    vcpu = fresh(memory)
    if event == "nmi":
        vcpu.nmi()
    else:
        vcpu.interrupt(0x40)
    assert not select.select([vcpu.wake_fd], [], [], 0)[0]
    assert not_started(vcpu)


@pytest.mark.parametrize("initialized", [False, True])
def test_start(memory: x86.Memory, signal: Send, initialized: bool) -> None:
    """After INIT, or right after RESET: real mode at the vector's page."""
    vcpu = fresh(memory)
    if initialized:
        signal(vcpu, INIT)
        assert not_started(vcpu)
        assert vcpu.mp_state == x86.MP_STATE_INIT_RECEIVED
    signal(vcpu, STARTUP | START)
    assert select.select([vcpu.wake_fd], [], [], 0)[0]
    assert started(vcpu)
    assert vcpu.mp_state == x86.MP_STATE_HALTED


@pytest.mark.parametrize("vector", [0x05, 0x10, 0x9F, 0xFE])
def test_where_it_starts(memory: x86.Memory, signal: Send, vector: int) -> None:
    memory.write(vector << 12, assembled(PROGRAM, 0, 16))
    vcpu = fresh(memory)
    signal(vcpu, STARTUP | vector)
    vcpu.kick()  # which comes first: it stands at its first instruction
    assert vcpu.run() == x86.EXIT_INTR
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert (vcpu.cs.selector, vcpu.cs.base, vcpu.cs.limit) == (vector << 8, vector << 12, 0xFFFF)
    assert (vcpu.eip, vcpu.cr0 & 1, vcpu.eflags) == (0, 0, 2)
    assert started(vcpu, vector)


def test_start_while_it_waits_in_the_core(memory: x86.Memory, signal: Send) -> None:
    vcpu = fresh(memory)
    with Running(vcpu) as running:
        running.asleep("start")
        signal(vcpu, INIT)
        wait_until(lambda: vcpu.mp_state == x86.MP_STATE_INIT_RECEIVED, "INIT")
        running.asleep("start")
        signal(vcpu, STARTUP | START)
        assert running.exit() == "EXIT_HLT"
    assert vcpu.ebx == START << 8


def test_a_second_sipi_is_ignored(memory: x86.Memory, signal: Send) -> None:
    """INIT, SIPI, SIPI, as every operating system sends them."""
    vcpu = fresh(memory)
    signal(vcpu, INIT)
    signal(vcpu, STARTUP | START)
    assert started(vcpu)
    signal(vcpu, STARTUP | START)
    assert run(vcpu) == "EXIT_HLT"
    assert (word32(memory, COUNT), vcpu.mp_state) == (1, x86.MP_STATE_HALTED)


@pytest.mark.parametrize("source", ["hlt", "running"])
def test_sipi_to_one_that_does_not_wait_is_ignored(
    memory: x86.Memory, signal: Send, source: str
) -> None:
    vcpu = flat32("inc eax; inc ecx; hlt", memory=memory, index=1)
    vcpu.eax = vcpu.ecx = 0
    if source == "hlt":
        assert run(vcpu) == "EXIT_HLT"
    signal(vcpu, STARTUP | START)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eip, vcpu.eax, vcpu.ecx) == (CODE + 0x1003, 1, 1)


def test_an_ignored_sipi_hides_nothing_else(memory: x86.Memory) -> None:
    """What is asked for in the same moment, as immediate_exit here, is not lost with it."""
    # Comparisons of a few bytes: a block of them is slow, and looks at nothing before its end.
    compare = f"mov esi, {DATA}; mov edi, {DATA}; mov ecx, 60; repe cmpsb"
    vcpu = flat32(f"again: {'; '.join([compare] * 7)}; jmp again", memory=memory, index=1)
    for _ in range(40):
        with Running(vcpu) as running:
            seen = vcpu.instructions
            wait_until(lambda: vcpu.instructions > seen + 100, "the guest runs")  # noqa: B023
            vcpu.sipi(START)
            vcpu.immediate_exit = 1
            assert running.exit() == "EXIT_INTR"
        vcpu.immediate_exit = 0


def test_sipi_to_a_busy_loop_is_ignored(memory: x86.Memory, signal: Send) -> None:
    vcpu = flat32(f"again: inc dword ptr [{DATA}]; jmp again", memory=memory, index=1)
    with Running(vcpu):
        signal(vcpu, STARTUP | START)
        seen = word32(memory)
        wait_until(lambda: word32(memory) > seen + 1000, "the loop goes on")
    assert word32(memory, COUNT) == 0


@pytest.mark.parametrize("vector", [-1, 256])
def test_vector_out_of_range(memory: x86.Memory, vector: int) -> None:
    with pytest.raises(ValueError, match="255"):
        fresh(memory).sipi(vector)


# INIT.

STATES = {
    "busy": "sti; again: inc dword ptr [0x20000]; jmp again",
    "hlt": "sti; again: hlt; jmp again",
    "hlt, interrupts off": "cli; again: hlt; jmp again",
    "string": "cld; again: mov edi, 0x20000; mov ecx, 0x20000; rep stosb; jmp again",
}


@pytest.mark.parametrize("state", STATES)
def test_init_stops_a_vcpu_in_the_core(memory: x86.Memory, signal: Send, state: str) -> None:
    vcpu = flat32(STATES[state], memory=memory, index=1)
    vcpu.userspace_exits = 0
    with Running(vcpu) as running:
        wait_until(lambda: vcpu.instructions > 0, "the guest runs")
        if "hlt" in state:
            running.asleep("hlt")
        signal(vcpu, INIT)
        running.asleep("start")
        assert vcpu.mp_state == x86.MP_STATE_INIT_RECEIVED
        vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
        signal(vcpu, STARTUP | START)
        assert running.exit() == "EXIT_HLT"
    assert vcpu.ebx == START << 8


@pytest.mark.parametrize(
    "policy", [x86.MWAIT_FAULT, x86.MWAIT_HALT, x86.MWAIT_SCAN, x86.MWAIT_ADAPTIVE]
)
@pytest.mark.parametrize("extensions", [0, 1])
def test_init_ends_mwait(memory: x86.Memory, signal: Send, policy: int, extensions: int) -> None:
    vcpu = waiter(memory=memory, index=1, extensions=extensions)
    vcpu.mwait_policy = policy
    with Running(vcpu) as running:
        running.asleep("mwait")
        signal(vcpu, INIT)
        running.asleep("start")
        assert vcpu.monitor[0] == "idle"
        memory.write(DATA, b"\1")
        signal(vcpu, STARTUP | START)
        assert running.exit() == "EXIT_HLT"
    assert vcpu.ebx == START << 8
    assert vcpu.waiting == ""


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("spin: jmp spin", "EXIT_LIMIT"),
        ("hlt", "EXIT_HLT"),
        ("in al, 0x60; ud2", "EXIT_IO"),
        ("mov eax, [0x200000]; ud2", "EXIT_MMIO"),
    ],
)
def test_init_of_a_vcpu_out_of_the_core(
    memory: x86.Memory, signal: Send, source: str, reason: str
) -> None:
    vcpu = flat32(source, memory=memory, index=1)
    assert x86.EXIT_NAMES[vcpu.run(max_instructions=5)] == reason
    signal(vcpu, INIT)
    assert select.select([vcpu.wake_fd], [], [], 0)[0]
    assert not_started(vcpu)
    assert vcpu.mp_state == x86.MP_STATE_INIT_RECEIVED
    assert not select.select([vcpu.wake_fd], [], [], 0)[0]
    signal(vcpu, STARTUP | START)
    assert started(vcpu)


def test_a_second_init_changes_nothing(memory: x86.Memory, signal: Send) -> None:
    vcpu = fresh(memory)
    for _ in range(2):
        signal(vcpu, INIT)
        assert not_started(vcpu)
        assert vcpu.mp_state == x86.MP_STATE_INIT_RECEIVED
    signal(vcpu, STARTUP | START)
    assert started(vcpu)


def test_init_and_sipi_in_a_row_are_taken_in_this_order(memory: x86.Memory, signal: Send) -> None:
    vcpu = flat32("again: jmp again", memory=memory, index=1)
    signal(vcpu, INIT)
    signal(vcpu, STARTUP | START)
    assert started(vcpu)


def test_a_sipi_from_before_does_not_start_what_init_stops(
    memory: x86.Memory, signal: Send
) -> None:
    vcpu = flat32("again: jmp again", memory=memory, index=1)
    signal(vcpu, STARTUP | START)  # the vCPU runs: it is to be ignored
    signal(vcpu, INIT)
    assert not_started(vcpu)


def test_init_level_de_assert_is_without_effect(memory: x86.Memory) -> None:
    """The second half of INIT on processors of old, which systems still send."""
    sender, target = flat32("hlt", memory=memory), flat32("hlt", memory=memory, index=1)
    send(sender, INIT | LEVEL, destination=1)
    assert run(target) == "EXIT_HLT"
    assert target.mp_state == x86.MP_STATE_HALTED


def test_the_bootstrap_processor_begins_at_the_reset_vector(
    memory: x86.Memory, signal: Send
) -> None:
    """Without RAM there it can go no further."""
    vcpu = flat32("hlt", memory=memory)
    signal(vcpu, INIT)
    assert run(vcpu) == "EXIT_INTERNAL_ERROR"
    assert vcpu.mp_state == x86.MP_STATE_RUNNABLE
    assert (vcpu.cs.selector, vcpu.cs.base, vcpu.eip) == (0xF000, 0xFFFF0000, 0xFFF0)


def initialized(vcpu: x86.VCPU) -> x86.VCPU:
    vcpu.init()
    assert not_started(vcpu)
    return vcpu


def test_init_resets_the_registers(memory: x86.Memory) -> None:
    """Table 10-1; of CR0 INIT keeps CD and NW."""
    vcpu = flat32("mov eax, cr0; or eax, 0x40000000; mov cr0, eax; hlt", memory=memory, index=1)
    for number, name in enumerate(name for name in GENERAL if name != "esp"):
        setattr(vcpu, name, number + 1)
    assert run(vcpu) == "EXIT_HLT"
    vcpu.eflags, vcpu.cr2 = FLAG_IF | 0x8D5, 5
    initialized(vcpu)
    assert [getattr(vcpu, name) for name in GENERAL if name != "edx"] == [0] * 7
    assert (vcpu.eip, vcpu.eflags, vcpu.cr0, vcpu.cr2) == (0xFFF0, 2, 0x40000010, 0)
    assert (vcpu.gdt_base, vcpu.gdt_limit, vcpu.idt_base, vcpu.idt_limit) == (0, 0xFFFF) * 2
    assert (vcpu.cs.selector, vcpu.cs.base, vcpu.cs.limit) == (0xF000, 0xFFFF0000, 0xFFFF)
    for segment in (vcpu.ds, vcpu.es, vcpu.fs, vcpu.gs, vcpu.ss):
        assert (segment.selector, segment.base, segment.limit) == (0, 0, 0xFFFF)


def test_init_keeps_counters_and_features(memory: x86.Memory) -> None:
    """It is no RESET of the machine's bookkeeping."""
    vcpu = flat32("nop; hlt", memory=memory, index=1)
    vcpu.features = ("monitorx",)
    assert run(vcpu) == "EXIT_HLT"
    initialized(vcpu)
    assert (vcpu.instructions, vcpu.features) == (2, ("monitorx",))
    assert vcpu.stats["halt_exits"] == 1


def test_init_resets_the_apic(memory: x86.Memory) -> None:
    vcpu = enabled(memory=memory, index=1)
    write(vcpu, TPR, 0x40)
    write(vcpu, LDR, 0x02000000)
    write(vcpu, LVT_TIMER, 0x40)
    sender = enabled(memory=memory, index=2)
    send(sender, 0x51, destination=1)
    assert requested(vcpu) == {0x51}
    initialized(vcpu)
    assert requested(vcpu) == set()
    assert {offset: shown(vcpu, offset) for offset in (TPR, LDR, SVR, LVT_TIMER)} == {
        TPR: 0,
        LDR: 0,
        SVR: 0xFF,
        LVT_TIMER: 0x10000,
    }


def test_init_keeps_the_apic_id(memory: x86.Memory) -> None:
    """SDM vol. 3, 11.4.7.3: as after RESET, 'except that the APIC ID' is not affected."""
    vcpu = enabled(memory=memory, index=1)
    write(vcpu, ID, 0x21000000)
    assert read(vcpu, ID) == 0x21000000
    initialized(vcpu)
    assert shown(vcpu, ID) == 0x21000000


def test_init_keeps_the_apics_place(memory: x86.Memory) -> None:
    vcpu = flat32("hlt", memory=memory, index=1)
    wrmsr(vcpu, APIC_BASE, 0xF0000800)
    initialized(vcpu)
    memory.write(TRAMPOLINE, assembled(f"mov ecx, {APIC_BASE}; rdmsr; hlt", 0, 16))
    vcpu.sipi(START)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.edx, vcpu.eax) == (0, 0xF0000800)


def test_init_lifts_the_block_of_nmi(memory: x86.Memory) -> None:
    """One that was in its NMI handler takes NMIs again after INIT and SIPI."""
    vcpu = flat32("hlt", memory=memory, index=1)
    vcpu.nmi()
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu).vector == NMI
    initialized(vcpu)
    vcpu.sipi(START)
    assert started(vcpu)
    before = vcpu.stats["nmi_injections"]
    vcpu.nmi()
    memory.write(8, bytes((0, 0, 0, START)))  # its vector: the program once more
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["nmi_injections"] == before + 1
    assert word32(memory, COUNT) == 2


# As guests do it.

BOOT = f"""
    mov edi, {PAGE}
    mov dword ptr [edi + 0xF0], 0x1FF
    mov dword ptr [edi + 0x300], {OTHERS | ASSERT | INIT:#x}
    mov dword ptr [edi + 0x300], {OTHERS | ASSERT | STARTUP | START:#x}
    mov dword ptr [edi + 0x300], {OTHERS | ASSERT | STARTUP | START:#x}
wait:
    cmp dword ptr [{COUNT}], 3
    jne wait
    hlt
"""


def test_a_guest_starts_its_processors(memory: x86.Memory) -> None:
    """Four vCPUs on four threads: INIT and twice SIPI to all the others, and each starts once."""
    first = flat32(BOOT, memory=memory)
    others = [fresh(memory, index) for index in range(1, 4)]
    with Running(others[0]) as a, Running(others[1]) as b, Running(others[2]) as c:
        for running in (a, b, c):
            running.asleep("start")
        with Running(first) as boot:
            assert boot.exit() == "EXIT_HLT"
        assert [running.exit() for running in (a, b, c)] == ["EXIT_HLT"] * 3
    assert word32(memory, COUNT) == 3
    assert [vcpu.ebx for vcpu in others] == [START << 8] * 3


def test_started_before_its_first_run(memory: x86.Memory) -> None:
    """Nothing is lost of what arrives while nobody runs the vCPU."""
    first = flat32(BOOT, memory=memory)
    others = [fresh(memory, index) for index in range(1, 4)]
    with Running(first) as boot:
        wait_until(lambda: all(others[i].run(1) == x86.EXIT_LIMIT for i in range(3)), "SIPI")
        for vcpu in others:
            assert run(vcpu) == "EXIT_HLT"
        assert boot.exit() == "EXIT_HLT"
    assert word32(memory, COUNT) == 3
