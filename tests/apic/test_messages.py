"""Message-signalled interrupts, as an I/O APIC or a PCI device sends them (SDM vol. 3, 11.11)."""

from __future__ import annotations

import select
import threading

import pytest

import x86core as x86
from tests.apic.local_apic import (
    APIC_BASE,
    DFR,
    ESR,
    LDR,
    LVT_TIMER,
    PAGE,
    RECEIVE_ILLEGAL_VECTOR,
    SELF,
    SVR,
    TMR,
    TPR,
    enabled,
    in_service,
    interrupt_taken,
    interrupts_taken,
    read,
    requested,
    send,
    several,
    vectors,
    write,
    wrmsr,
)
from tests.support import CODE, FLAG_IF, NMI, RAM, Event, Running, delivered, run, wait_until

LOGICAL, REDIRECTED = 1 << 2, 1 << 3
FIXED, LOWEST_PRIORITY, SMI, NMI_MODE, INIT, STARTUP, EXTINT = 0, 1, 2, 4, 5, 6, 7
ASSERTED_LEVEL = 1 << 15 | 1 << 14
EVERYBODY = 0xFF
VECTOR = 0x41


def signal(memory: x86.Memory, data: int, destination: int = 0, flags: int = 0) -> int:
    return memory.signal_msi(PAGE | destination << 12 | flags, data)


def levels(vcpu: x86.VCPU) -> set[int]:
    return vectors(vcpu, TMR)


def test_a_fixed_one_is_requested_and_taken_as_an_edge(memory: x86.Memory) -> None:
    vcpu = enabled(memory=memory)
    assert signal(memory, VECTOR) == 1
    assert (requested(vcpu), levels(vcpu)) == ({VECTOR}, set())
    assert interrupt_taken(vcpu) == VECTOR
    assert in_service(vcpu) == {VECTOR}


@pytest.mark.parametrize(
    ("destination", "flags", "accepting"),
    [
        (0, 0, [0]),
        (2, 0, [2]),
        (3, 0, []),
        (EVERYBODY, 0, [0, 1, 2]),
        (0b010, LOGICAL, [1]),
        (0b101, LOGICAL, [0, 2]),
        (0b1000, LOGICAL, []),
        (EVERYBODY, LOGICAL, [0, 1, 2]),
    ],
)
def test_whom_it_is_for(
    memory: x86.Memory, destination: int, flags: int, accepting: list[int]
) -> None:
    vcpus = several(3, memory)
    for vcpu in vcpus:
        write(vcpu, LDR, 1 << 24 + vcpu.index)
    assert signal(memory, VECTOR, destination, flags) == len(accepting)
    assert [vcpu.index for vcpu in vcpus if requested(vcpu)] == accepting


def test_the_cluster_model(memory: x86.Memory) -> None:
    vcpus = several(3, memory)
    for vcpu, name in zip(vcpus, (0x11, 0x12, 0x21), strict=True):
        write(vcpu, DFR, 0)
        write(vcpu, LDR, name << 24)
    assert signal(memory, VECTOR, 0x13, LOGICAL) == 2
    assert [vcpu.index for vcpu in vcpus if requested(vcpu)] == [0, 1]


@pytest.mark.parametrize(
    ("data", "flags"), [(LOWEST_PRIORITY << 8 | VECTOR, 0), (VECTOR, REDIRECTED)]
)
def test_the_processor_of_lowest_priority(memory: x86.Memory, data: int, flags: int) -> None:
    vcpus = several(3, memory)
    for vcpu, priority in zip(vcpus, (0x30, 0x10, 0x20), strict=True):
        write(vcpu, TPR, priority)
    assert signal(memory, data, EVERYBODY, flags) == 1
    assert [requested(vcpu) for vcpu in vcpus] == [set(), {VECTOR}, set()]


def test_who_has_no_apic_accepts_nothing(memory: x86.Memory) -> None:
    vcpus = several(2, memory)
    write(vcpus[0], SVR, 0xFF)
    wrmsr(vcpus[1], APIC_BASE, PAGE)
    assert signal(memory, VECTOR, EVERYBODY) == 0
    assert signal(memory, NMI_MODE << 8, EVERYBODY) == 1, "by software disabled is open for NMI"


def test_an_nmi(memory: x86.Memory) -> None:
    vcpu = enabled(memory=memory)
    assert signal(memory, NMI_MODE << 8 | 0x77) == 1, "its vector is of no account"
    assert run(vcpu) == "EXIT_HLT"
    assert delivered(vcpu) == Event(NMI, CODE)


def test_init_stops_an_application_processor(memory: x86.Memory) -> None:
    vcpu = several(2, memory)[1]
    assert signal(memory, INIT << 8, 1) == 1
    with Running(vcpu) as running:
        running.asleep("start")
    assert vcpu.mp_state == x86.MP_STATE_INIT_RECEIVED


@pytest.mark.parametrize("mode", [SMI, 3, STARTUP, EXTINT])
def test_what_nobody_accepts(memory: x86.Memory, mode: int) -> None:
    vcpu = enabled(memory=memory)
    assert signal(memory, mode << 8 | VECTOR, EVERYBODY) == 0
    assert requested(vcpu) == set()
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.stats["irq_injections"] == vcpu.stats["nmi_injections"] == 0


@pytest.mark.parametrize("vector", [0, 15])
def test_a_vector_of_exceptions_is_an_error_of_the_receiver(
    memory: x86.Memory, vector: int
) -> None:
    vcpu = enabled(memory=memory)
    assert signal(memory, vector) == 0
    write(vcpu, ESR, 0)
    assert read(vcpu, ESR) == RECEIVE_ILLEGAL_VECTOR


@pytest.mark.parametrize("address", [0xFED00000, 0xFEF00000, -1, 1 << 40])
def test_an_address_that_is_none(memory: x86.Memory, address: int) -> None:
    with pytest.raises(ValueError, match="messages to local APICs go to"):
        memory.signal_msi(address, VECTOR)


@pytest.mark.parametrize("data", [-1, 1 << 32])
def test_data_that_are_none(memory: x86.Memory, data: int) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        memory.signal_msi(PAGE, data)


@pytest.mark.parametrize("where", ["hlt", "mwait", "running"])
def test_it_reaches_a_vcpu_from_another_thread(memory: x86.Memory, where: str) -> None:
    idle = {"hlt": "hlt", "mwait": "mwait", "running": ""}[where]
    vcpu = enabled(
        f"mov eax, 0x20000; xor ecx, ecx; xor edx, edx; sti; l: monitor; {idle}; inc ebx; jmp l",
        memory=memory,
    )
    vcpu.userspace_exits = 0
    vcpu.mwait_policy = x86.MWAIT_FAULT
    vcpu.memory.write(0x3000 + VECTOR, b"\xe6\x80")  # OUT
    with Running(vcpu) as running:
        if where == "running":
            wait_until(lambda: vcpu.instructions > 100, "the loop")
        else:
            running.asleep(where)
        assert signal(memory, VECTOR) == 1
        assert running.exit() == "EXIT_IO"


def test_many_threads_send_and_nothing_is_lost(memory: x86.Memory) -> None:
    """Each vector of four senders comes before its sender sends it again."""
    vcpu = enabled("sti; l: hlt; jmp l", memory=memory)
    vcpu.userspace_exits = 0
    for number in range(4):
        # INC [counter]; EOI; IRET
        code = b"\xff\x05" + (0x20000 + 4 * number).to_bytes(4, "little")
        code += b"\xc7\x05\xb0\x00\xe0\xfe\0\0\0\0\xcf"
        vcpu.memory.write(0x3000 + 0x40 + 0x20 * number, code)

    def count(number: int) -> int:
        return int.from_bytes(memory.read(0x20000 + 4 * number, 4), "little")

    def send_all(number: int) -> None:
        for turn in range(200):
            assert signal(memory, 0x40 + 0x20 * number) == 1
            wait_until(lambda: count(number) > turn, "the handler")  # noqa: B023 - within the turn

    with Running(vcpu):
        threads = [threading.Thread(target=send_all, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [count(number) for number in range(4)] == [200] * 4


# Levels, and how the VMM learns of their end.


def test_a_level_is_one_until_the_vector_comes_as_an_edge(memory: x86.Memory) -> None:
    vcpu = enabled(memory=memory)
    signal(memory, ASSERTED_LEVEL | VECTOR)
    assert levels(vcpu) == {VECTOR}
    signal(memory, VECTOR)
    assert levels(vcpu) == set()
    signal(memory, ASSERTED_LEVEL | VECTOR)
    send(vcpu, SELF | VECTOR)
    assert levels(vcpu) == set(), "nor are those between processors levels"
    signal(memory, ASSERTED_LEVEL | VECTOR)
    write(vcpu, LVT_TIMER, VECTOR)
    write(vcpu, 0x380, 1)
    wait_until(lambda: levels(vcpu) == set(), "the timer, an edge")


def test_only_the_end_of_a_level_is_told(memory: x86.Memory) -> None:
    vcpu = enabled("l: jmp l", memory=memory)
    signal(memory, 0x51)
    signal(memory, ASSERTED_LEVEL | 0x61)
    assert interrupts_taken(vcpu, end=False) == [0x61]
    vcpu.eip = CODE
    write(vcpu, 0xB0, 0)
    assert run(vcpu) == "EXIT_IOAPIC_EOI"
    assert vcpu.exit_reason == x86.EXIT_IOAPIC_EOI == 26
    assert vcpu.eoi_vector == vcpu.kvm_run["eoi"]["vector"] == 0x61
    assert interrupt_taken(vcpu) == 0x51
    vcpu.eip = CODE
    write(vcpu, 0xB0, 0)
    vcpu.eflags &= ~FLAG_IF
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    assert vcpu.run(1000) == x86.EXIT_LIMIT


_IDLE = "mov eax, 0x20000; xor ecx, ecx; xor edx, edx"
#: Writes EOI twice, and does something in the same block.
ENDS = "mov dword ptr [0xFEE000B0], 0; mov dword ptr [0xFEE000B0], 0;"


def ended_twice(source: str, **settings: int) -> x86.VCPU:
    """A vCPU with two levels in service, about to end both and do `source`."""
    vcpu = enabled(f"{ENDS} {source}")
    for vector in (0x51, 0x61):
        signal(vcpu.memory, ASSERTED_LEVEL | vector)
        assert interrupt_taken(vcpu) == vector
    vcpu.eip = CODE
    vcpu.eflags &= ~FLAG_IF
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    for name, value in settings.items():
        setattr(vcpu, name, value)
    return vcpu


@pytest.mark.parametrize(
    ("source", "last"),
    [
        ("hlt", "EXIT_HLT"),
        ("sti; hlt", "EXIT_HLT"),
        ("in al, 0x80; hlt", "EXIT_HLT"),
        (f"{_IDLE}; monitor; jmp n; n: monitor; mwait; hlt", "EXIT_HLT"),
        ("l: jmp l", "EXIT_LIMIT"),
        ("ud2", "EXIT_HLT"),
    ],
)
@pytest.mark.parametrize("policy", ["exit", "wait"])
def test_none_is_lost_whatever_comes_behind(source: str, last: str, policy: str) -> None:
    """Nor does a vCPU sleep before the VMM has been told: the next interrupt may hang on it."""
    exits = x86.USERSPACE_EXIT_HLT | x86.USERSPACE_EXIT_MWAIT
    vcpu = ended_twice(source, mwait_policy=x86.MWAIT_FAULT)
    vcpu.userspace_exits = exits if policy == "exit" else 0
    told = []
    with_timeout = threading.Timer(5, vcpu.kick)
    with_timeout.start()
    for _ in range(5):
        reason = x86.EXIT_NAMES[vcpu.run(1000)]
        if reason == "EXIT_IOAPIC_EOI":
            told.append(vcpu.eoi_vector)
        if len(told) == 2:
            break
    with_timeout.cancel()
    assert sorted(told) == [0x51, 0x61]
    vcpu.userspace_exits = exits
    reasons = [x86.EXIT_NAMES[vcpu.run(1000)] for _ in range(3)]
    assert reasons[-1] == last
    assert "EXIT_IOAPIC_EOI" not in reasons


def test_a_halted_vcpu_stays_so(memory: x86.Memory) -> None:
    vcpu = ended_twice("hlt; ud2")
    assert run(vcpu) == "EXIT_HLT"
    for _ in range(2):
        assert run(vcpu) == "EXIT_IOAPIC_EOI"
        assert vcpu.mp_state == x86.MP_STATE_HALTED
    assert run(vcpu) == "EXIT_HLT"


def test_wake_fd_shows_that_there_is_one_to_tell() -> None:
    vcpu = ended_twice("hlt")
    assert run(vcpu) == "EXIT_HLT"
    assert select.select([vcpu.wake_fd], [], [], 0)[0]
    assert [run(vcpu), run(vcpu)] == ["EXIT_IOAPIC_EOI"] * 2
    assert not select.select([vcpu.wake_fd], [], [], 0)[0]


def test_immediate_exit_and_kick_come_first() -> None:
    vcpu = ended_twice("hlt")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.immediate_exit = 1
    assert run(vcpu) == "EXIT_INTR"
    vcpu.immediate_exit = 0
    vcpu.kick()
    assert [run(vcpu) for _ in range(3)] == ["EXIT_INTR", *["EXIT_IOAPIC_EOI"] * 2]


def test_init_does_not_keep_the_vmm_from_being_told(memory: x86.Memory) -> None:
    several(1, memory)
    vcpu = enabled(f"{ENDS} hlt", memory=memory, index=1)
    signal(memory, ASSERTED_LEVEL | VECTOR, 1)
    assert interrupt_taken(vcpu) == VECTOR
    vcpu.eip = CODE + 0x1000
    vcpu.eflags &= ~FLAG_IF
    vcpu.mp_state = x86.MP_STATE_RUNNABLE
    assert run(vcpu) == "EXIT_HLT"
    vcpu.init()
    assert run(vcpu) == "EXIT_IOAPIC_EOI"
    assert vcpu.mp_state == x86.MP_STATE_INIT_RECEIVED


def test_reset_forgets_them() -> None:
    vcpu = ended_twice("hlt")
    assert run(vcpu) == "EXIT_HLT"
    vcpu.start_flat32(eip=CODE, esp=0x9000)
    vcpu.memory.write(CODE, b"\xf4")
    assert run(vcpu) == "EXIT_HLT"
    assert run(vcpu) == "EXIT_HLT"


def test_one_step_at_a_time() -> None:
    vcpu = ended_twice("nop; nop; hlt")
    vcpu.single_step = True
    reasons = [x86.EXIT_NAMES[vcpu.run()] for _ in range(6)]
    assert reasons.count("EXIT_IOAPIC_EOI") == 2
    assert reasons.index("EXIT_IOAPIC_EOI") == 1


def test_memory_of_ram_size() -> None:
    """A machine without vCPUs: nobody accepts it."""
    assert signal(x86.Memory(RAM), VECTOR, EVERYBODY) == 0
