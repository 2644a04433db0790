from __future__ import annotations

import threading
import time

import pytest

from tests.support import wait_until
from tests.vmm.conftest import WriteGuest
from vmm import HLT_CHOICES, MWAIT_CHOICES, Machine, Outcome, idle_policy, kvm
from vmm.loop import Loop
from x86core import (
    HLT_BLOCK,
    HLT_POLL,
    MWAIT_ADAPTIVE,
    MWAIT_FAULT,
    MWAIT_HALT,
    MWAIT_NOP,
    MWAIT_SCAN,
    MWAIT_TIMER,
    MWAIT_YIELD,
    VCPU,
    Memory,
)

MWAITS = 50

#: MWAIT so often, with the monitor armed on a line that nobody stores to, then exit.
MWAIT_LOOP = f"""
    mov bx, {MWAITS}
    xor ecx, ecx
    xor edx, edx
    mov eax, offset line
again:
    monitor
    mwait
    dec bx
    jnz again
    xor al, al
    out 0xF4, al
    .balign 64
line: .skip 64
"""

#: The same with HLT, each ended by an interrupt.
HLT_LOOP = f"""
    mov word ptr [0x20 * 4], offset handler
    mov word ptr [0x20 * 4 + 2], 0
    mov bx, {MWAITS}
again:
    sti
    hlt
    dec bx
    jnz again
    xor al, al
    out 0xF4, al
handler: iret
"""


MWAIT_NAMES = "nop yield exit passthrough halt timer scan fault adaptive"
HLT_NAMES = "block poll exit passthrough"


def test_the_names() -> None:
    assert " ".join(MWAIT_CHOICES) == MWAIT_NAMES
    assert " ".join(HLT_CHOICES) == HLT_NAMES
    assert all(choice.summary for choice in (*MWAIT_CHOICES.values(), *HLT_CHOICES.values()))


MWAIT_BIT, HLT_BIT = 1, 2

#: What each name stores: userspace_exits, disable_exits, the policy.
MWAIT_FIELDS = {
    "nop": (0, 0, MWAIT_NOP),
    "yield": (0, 0, MWAIT_YIELD),
    "exit": (MWAIT_BIT, 0, MWAIT_NOP),
    "passthrough": (0, MWAIT_BIT, MWAIT_NOP),
    "halt": (0, 0, MWAIT_HALT),
    "timer": (0, 0, MWAIT_TIMER),
    "scan": (0, 0, MWAIT_SCAN),
    "fault": (0, 0, MWAIT_FAULT),
    "adaptive": (0, 0, MWAIT_ADAPTIVE),
}
HLT_FIELDS = {
    "block": (0, 0, HLT_BLOCK),
    "poll": (0, 0, HLT_POLL),
    "exit": (HLT_BIT, 0, HLT_BLOCK),
    "passthrough": (0, HLT_BIT, HLT_BLOCK),
}


@pytest.mark.parametrize("mwait", MWAIT_FIELDS)
@pytest.mark.parametrize("hlt", HLT_FIELDS)
def test_a_policy_is_four_bytes_of_kvm_run(mwait: str, hlt: str) -> None:
    """All four are stored, whatever stood there before; nothing else is."""
    vcpu = VCPU(Memory(64 << 10))
    before = vcpu.kvm_run.tobytes()
    vcpu.userspace_exits = vcpu.disable_exits = MWAIT_BIT | HLT_BIT
    vcpu.mwait_policy, vcpu.hlt_policy = MWAIT_ADAPTIVE, HLT_POLL
    idle_policy(mwait, hlt).apply(vcpu)
    of_mwait, of_hlt = MWAIT_FIELDS[mwait], HLT_FIELDS[hlt]
    expected = (of_mwait[0] | of_hlt[0], of_mwait[1] | of_hlt[1], of_mwait[2], of_hlt[2])
    after = vcpu.kvm_run.tobytes()
    assert tuple(after[2:6]) == expected
    assert (after[:2], after[6:]) == (before[:2], before[6:])


def test_a_policy_says_what_it_is() -> None:
    policy = idle_policy("adaptive", "poll")
    assert policy.name == "MWAIT adaptive, HLT poll"
    assert idle_policy() == idle_policy("fault", "block")


def test_an_unknown_policy_lists_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"MWAIT: 'sleep' \(known: nop, yield, exit, passthrough, "
    ):
        idle_policy(mwait="sleep")
    with pytest.raises(ValueError, match=r"HLT: 'sleep' \(known: block, poll, exit, passthrough\)"):
        idle_policy(hlt="sleep")
    with pytest.raises(ValueError, match="unknown idle policy"):
        Machine(idle="")


@pytest.mark.parametrize("policy", ["nop", "yield"])
def test_mwait_stays_in_the_core(guest: WriteGuest, policy: str) -> None:
    result = Machine.load(guest(MWAIT_LOOP), idle=policy).run(timeout=10)
    assert result.outcome is Outcome.EXIT_PORT
    assert result.vcpus[0].exits == {"EXIT_IO": 1}
    assert result.vcpus[0].stats["mwait_instructions"] == MWAITS
    assert result.vcpus[0].stats["mwait_waits"] == 0


def test_mwait_exits(guest: WriteGuest) -> None:
    result = Machine.load(guest(MWAIT_LOOP), idle="exit").run(timeout=10)
    assert result.vcpus[0].exits == {"EXIT_IO": 1, "EXIT_MWAIT": MWAITS}


def test_mwait_sleeps_until_a_store(guest: WriteGuest) -> None:
    source = guest(
        """
            xor ecx, ecx
            xor edx, edx
        again:
            mov eax, offset line
            monitor
            cmp byte ptr [line], 0
            jne woken
            mwait
            jmp again
        woken:
            mov al, [line]
            out 0xF4, al
            .balign 64
        line: .skip 64
        """
    )
    machine = Machine.load(source, idle="fault")
    line = machine.memory.read(0x7C00, 4096).rindex(b"\xe6\xf4") // 64 * 64 + 64 + 0x7C00

    def store_when_it_sleeps() -> None:
        wait_until(lambda: machine.vcpus[0].waiting == "mwait", "asleep in MWAIT")
        machine.memory.write(line, b"\x2a")

    host = threading.Thread(target=store_when_it_sleeps)
    host.start()
    result = machine.run(timeout=10)
    host.join()
    assert result.exit_code == 42
    assert result.vcpus[0].wakes == 1
    assert result.vcpus[0].exits == {"EXIT_IO": 1}


#: A guest that idles until a tick, so often; it arms a line that nobody stores to.
TICKED_LOOP = f"""
    mov word ptr [0x20 * 4], offset handler
    mov word ptr [0x20 * 4 + 2], 0
    mov bx, {MWAITS}
    xor ecx, ecx
    xor edx, edx
    mov eax, offset line
again:
    monitor
    sti
    mwait
    cli
    dec bx
    jnz again
    xor al, al
    out 0xF4, al
handler: iret
    .balign 64
line: .skip 64
"""


@pytest.mark.parametrize("policy", MWAIT_FIELDS)
def test_every_policy_lets_interrupts_end_mwait(guest: WriteGuest, policy: str) -> None:
    result = Machine.load(guest(TICKED_LOOP), idle=policy, tick=2000).run(timeout=20)
    assert result.outcome is Outcome.EXIT_PORT
    vcpu = result.vcpus[0]
    assert vcpu.stats["mwait_instructions"] == MWAITS
    assert vcpu.exits.get("EXIT_MWAIT", 0) == (MWAITS if policy == "exit" else 0)
    waits = vcpu.stats["mwait_waits"]
    assert waits == 0 if policy in ("nop", "yield", "exit") else waits > MWAITS / 2


@pytest.mark.parametrize("policy", HLT_FIELDS)
def test_every_policy_lets_interrupts_end_hlt(guest: WriteGuest, policy: str) -> None:
    result = Machine.load(guest(HLT_LOOP), hlt=policy, tick=2000).run(timeout=20)
    assert result.outcome is Outcome.EXIT_PORT
    assert result.vcpus[0].stats["halt_exits"] == MWAITS
    assert ("EXIT_HLT" in result.vcpus[0].exits) == (policy == "exit")


def test_each_vcpu_may_have_a_policy_of_its_own(guest: WriteGuest) -> None:
    machine = Machine.load(guest(TICKED_LOOP), vcpus=2, idle="exit", tick=2000)
    machine.loops[1].policy = idle_policy("halt")
    result = machine.run(timeout=20)
    assert result.outcome is Outcome.EXIT_PORT, "vCPU 0 gets the ticks"
    exits, halts = result.vcpus
    assert exits.exits["EXIT_MWAIT"] == MWAITS
    assert exits.stats["mwait_waits"] == 0
    assert "EXIT_MWAIT" not in halts.exits
    assert halts.stats["mwait_waits"] == halts.stats["mwait_instructions"] <= 2


@pytest.mark.parametrize(("mwait", "hlt"), [("passthrough", "passthrough"), ("halt", "poll")])
def test_work_traps_whatever_the_policy_and_leaves_it(
    guest: WriteGuest, mwait: str, hlt: str
) -> None:
    """Trapping on for work that has come, off again when it is done (the reply's steps 1 to 4)."""
    machine = Machine.load(guest(f"sti\n{TICKED_LOOP}"), idle=mwait, hlt=hlt)
    fields: list[tuple[int, ...]] = []
    done = threading.Event()

    def task() -> None:
        fields.append(tuple(machine.vcpus[0].kvm_run.tobytes()[2:6]))
        done.set()

    def submit() -> None:
        wait_until(lambda: machine.vcpus[0].waiting == "mwait", "asleep in MWAIT")
        machine.work.submit(task)
        done.wait(10)

    host = threading.Thread(target=submit)
    host.start()
    result = machine.run(timeout=0.5)
    host.join()
    assert result.work.done == 1
    vcpu = VCPU(Memory(64 << 10))
    idle_policy(mwait, hlt).apply(vcpu)
    assert fields == [tuple(vcpu.kvm_run.tobytes()[2:6])]


def test_hlt_blocks_in_the_core(guest: WriteGuest) -> None:
    result = Machine.load(guest(HLT_LOOP), hlt="block", tick=2000).run(timeout=10)
    assert result.outcome is Outcome.EXIT_PORT
    assert result.vcpus[0].exits == {"EXIT_IO": 1}
    assert result.vcpus[0].wakes > 0


def test_hlt_exits_and_the_vmm_waits(guest: WriteGuest) -> None:
    result = Machine.load(guest(HLT_LOOP), hlt="exit", tick=500).run(timeout=10)
    assert result.outcome is Outcome.EXIT_PORT
    # Some HLTs find the next tick pending, and those that exit may do so again on a stale wake.
    assert MWAITS / 2 <= result.vcpus[0].exits["EXIT_HLT"] <= 2 * MWAITS + 2


def test_waiting_for_a_halted_vcpu_costs_no_cpu(guest: WriteGuest) -> None:
    result = Machine.load(guest("sti\nhlt\n"), hlt="exit").run(timeout=0.3)
    assert result.outcome is Outcome.TIMEOUT
    assert result.vcpus[0].cpu_seconds < 0.1
    assert result.vcpus[0].exits["EXIT_HLT"] <= 3


def test_the_policy_can_be_switched_while_the_guest_runs(guest: WriteGuest) -> None:
    machine = Machine.load(
        guest("mov eax, 0x9000\nxor ecx, ecx\nxor edx, edx\nl: monitor\nmwait\njmp l\n"), idle="nop"
    )
    loop: Loop = machine.loops[0]

    def switch() -> None:
        time.sleep(0.05)
        assert not loop.exits
        loop.policy = idle_policy("exit")
        wait_until(lambda: loop.exits.get(kvm.KVM_EXIT_MWAIT, 0) >= 1000, "a thousand exits")
        loop.policy = idle_policy("fault")

    host = threading.Thread(target=switch)
    host.start()
    result = machine.run(timeout=0.5)
    host.join()
    assert result.vcpus[0].exits["EXIT_MWAIT"] >= 1000
    assert result.vcpus[0].waiting == "mwait"
