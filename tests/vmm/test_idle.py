from __future__ import annotations

import threading
import time

import pytest

from tests.support import wait_until
from tests.vmm.conftest import WriteGuest
from vmm import HLT_CHOICES, MWAIT_CHOICES, Machine, Outcome, idle_policy, kvm
from vmm.loop import Loop
from x86core import MWAIT_FAULT, MWAIT_NOP, MWAIT_YIELD, VCPU, Memory

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


@pytest.mark.parametrize(
    ("mwait", "hlt", "userspace_exits", "mwait_policy"),
    [
        ("nop", "block", 0, MWAIT_NOP),
        ("yield", "block", 0, MWAIT_YIELD),
        ("fault", "block", 0, MWAIT_FAULT),
        ("exit", "block", kvm.KVM_X86_USERSPACE_EXIT_MWAIT, MWAIT_NOP),
        ("fault", "exit", kvm.KVM_X86_USERSPACE_EXIT_HLT, MWAIT_FAULT),
        ("exit", "exit", kvm.KVM_X86_USERSPACE_VALID_EXITS, MWAIT_NOP),
    ],
)
def test_a_policy_is_two_fields_of_kvm_run(
    mwait: str, hlt: str, userspace_exits: int, mwait_policy: int
) -> None:
    vcpu = VCPU(Memory(64 << 10))
    vcpu.userspace_exits = kvm.KVM_X86_USERSPACE_VALID_EXITS
    idle_policy(mwait, hlt).apply(vcpu)
    assert (vcpu.userspace_exits, vcpu.mwait_policy) == (userspace_exits, mwait_policy)


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
