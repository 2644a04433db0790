"""Breakpoints of VCPU.set_guest_debug: left before the instruction, passed when entered again.

struct kvm_run says of them what Linux' `struct kvm_debug_exit_arch`, and DR6 and DR7 (SDM vol. 3,
18.2) do.
"""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import (
    CODE,
    DATA,
    HANDLERS,
    UD,
    Running,
    flat32,
    real16,
    run,
    wait_until,
)

LOOP = "mov ecx, 3; again: inc eax; dec ecx; jnz again; hlt"
INC, DEC, HLT = CODE + 5, CODE + 6, CODE + 9


def stops(vcpu: x86.VCPU) -> list[int]:
    """The EIPs, relative to the code, at which run() is left for debugging until HLT."""
    found = []
    while run(vcpu) == "EXIT_DEBUG":
        assert vcpu.debug_exit == ("breakpoint", vcpu.cs.base + vcpu.eip)
        found.append(vcpu.eip - CODE)
        assert len(found) < 100
    assert vcpu.exit_reason == x86.EXIT_HLT
    assert vcpu.debug_exit == ("", 0)
    return found


def test_before_the_instruction_each_time() -> None:
    vcpu = flat32(LOOP)
    vcpu.set_guest_debug([INC])
    values = []
    while run(vcpu) == "EXIT_DEBUG":
        assert vcpu.eip == INC
        values.append((vcpu.eax, vcpu.ecx, vcpu.instructions))
    assert values == [(0, 3, 1), (1, 2, 4), (2, 1, 7)]
    assert vcpu.eax == 3


def test_several_and_none_again() -> None:
    vcpu = flat32(LOOP)
    vcpu.set_guest_debug([HLT, DEC, INC])
    assert stops(vcpu) == [5, 6, 5, 6, 5, 6, 9]
    vcpu = flat32(LOOP)
    vcpu.set_guest_debug([INC])
    assert run(vcpu) == "EXIT_DEBUG"
    vcpu.set_guest_debug()
    assert run(vcpu) == "EXIT_HLT"


def test_the_code_runs_the_same_when_it_is_decoded_already() -> None:
    """Links between blocks, and the jump cache, do not go past a breakpoint that is set later."""
    vcpu = flat32("again: inc eax; call f; cmp eax, 100; jne again; hlt; f: inc ebx; ret")
    assert vcpu.run(50) == x86.EXIT_LIMIT
    before = vcpu.ebx
    vcpu.set_guest_debug([CODE + 12])
    assert run(vcpu) == "EXIT_DEBUG"
    assert (vcpu.eip, vcpu.ebx) == (CODE + 12, before)
    assert len(stops(vcpu)) == 99 - before


def test_memory_is_not_patched() -> None:
    vcpu = flat32(LOOP)
    code = vcpu.memory.read(CODE, 16)
    vcpu.set_guest_debug([INC])
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.memory.read(CODE, 16) == code


def test_one_that_was_not_left_at_is_not_passed() -> None:
    """An exit for another reason does not hide a breakpoint behind it."""
    vcpu = flat32("nop; nop; nop; hlt")
    vcpu.set_guest_debug([CODE + 2])
    assert vcpu.run(2) == x86.EXIT_LIMIT
    assert vcpu.eip == CODE + 2
    assert stops(vcpu) == [2]


def test_setting_eip_makes_it_count_again() -> None:
    vcpu = flat32("nop; nop; hlt")
    vcpu.set_guest_debug([CODE + 1])
    assert run(vcpu) == "EXIT_DEBUG"
    vcpu.eip = CODE + 1
    assert stops(vcpu) == [1]


def test_a_step_onto_one_tells_of_it() -> None:
    vcpu = flat32("nop; nop; hlt")
    vcpu.set_guest_debug([CODE + 1])
    vcpu.single_step = True
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("step", CODE + 1)
    vcpu.single_step = False
    assert stops(vcpu) == []


def test_stepping_from_one() -> None:
    vcpu = flat32("nop; nop; hlt")
    vcpu.set_guest_debug([CODE + 1])
    assert run(vcpu) == "EXIT_DEBUG"
    vcpu.single_step = True
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("step", CODE + 2)


def test_a_port_access_with_one_is_executed_once() -> None:
    vcpu = flat32("mov al, 7; out 0x80, al; in al, 0x81; hlt")
    vcpu.set_guest_debug([CODE + 2, CODE + 4])
    assert run(vcpu) == "EXIT_DEBUG"
    assert run(vcpu) == "EXIT_IO"
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.eip == CODE + 4
    assert run(vcpu) == "EXIT_IO"
    vcpu.io_data = 0x55
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.eax & 0xFF, vcpu.instructions) == (0x55, 4)


def test_one_set_while_a_device_is_asked_does_not_begin_the_instruction_anew() -> None:
    vcpu = flat32("in al, 0x81; hlt")
    assert run(vcpu) == "EXIT_IO"
    vcpu.io_data = 0x55
    vcpu.set_guest_debug([CODE])
    assert stops(vcpu) == []
    assert vcpu.eax & 0xFF == 0x55


def test_at_an_interrupt_handler() -> None:
    """Events come first: the breakpoint is that of the handler's first instruction."""
    vcpu = flat32("ud2")
    vcpu.set_guest_debug([CODE, HANDLERS + UD])
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("breakpoint", CODE)
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("breakpoint", HANDLERS + UD)
    assert run(vcpu) == "EXIT_HLT"


@pytest.mark.parametrize("shadow", ["sti", "mov ss, ax"])
def test_behind_an_interrupt_shadow(shadow: str) -> None:
    vcpu = flat32(f"{shadow}; nop; hlt")
    length = 1 if shadow == "sti" else 2
    vcpu.eax = 0x10
    vcpu.set_guest_debug([CODE + length])
    assert stops(vcpu) == [length]


def test_a_repeated_instruction_is_one() -> None:
    """However many chunks it is executed in."""
    vcpu = flat32("mov ecx, 100000; rep lodsb; hlt")
    vcpu.esi = 0
    vcpu.set_guest_debug([CODE + 5])
    assert stops(vcpu) == [5]
    assert vcpu.ecx == 0


def test_in_the_middle_of_a_fused_pair() -> None:
    vcpu = flat32("mov eax, 5; add ebx, eax; cmp ebx, 5; je there; nop; there: hlt")
    vcpu.set_guest_debug([CODE + 5, CODE + 10])
    assert stops(vcpu) == [5, 10]
    assert vcpu.ebx == 5


def test_in_real_mode_addresses_are_linear() -> None:
    vcpu = real16("nop; inc ax; hlt")
    vcpu.set_guest_debug([CODE + 1])
    assert run(vcpu) == "EXIT_DEBUG"
    assert (vcpu.eip, vcpu.debug_exit) == (1, ("breakpoint", CODE + 1))
    assert vcpu.kvm_run["debug"]["arch"]["pc"] == CODE + 1


def test_code_that_is_written_anew_keeps_it() -> None:
    vcpu = flat32("again: mov byte ptr [eax], 0x43; nop; target: inc ebx; dec ecx; jnz again; hlt")
    vcpu.eax, vcpu.ecx = CODE + 4, 3
    vcpu.set_guest_debug([CODE + 4])
    assert stops(vcpu) == [4, 4, 4]
    assert vcpu.ebx == 3


def test_set_while_it_runs() -> None:
    vcpu = flat32("again: inc eax; jmp again")
    with Running(vcpu) as running:
        wait_until(lambda: vcpu.instructions > 1000, "the guest runs")
        vcpu.set_guest_debug([CODE])
        assert running.exit() == "EXIT_DEBUG"
    assert vcpu.eip == CODE
    with Running(vcpu) as running:
        assert running.exit() == "EXIT_DEBUG"


def test_replaced_many_times_while_it_runs() -> None:
    vcpu = flat32("again: inc eax; jmp again; nop")
    with Running(vcpu):
        for number in range(2000):
            vcpu.set_guest_debug([CODE + 3, DATA + number])
    vcpu.set_guest_debug([CODE])
    assert run(vcpu) == "EXIT_DEBUG"


def test_a_kick_is_not_lost_to_one() -> None:
    vcpu = flat32("nop; hlt")
    vcpu.set_guest_debug([CODE])
    vcpu.kick()
    assert {run(vcpu), run(vcpu)} == {"EXIT_INTR", "EXIT_DEBUG"}
    assert run(vcpu) == "EXIT_HLT"


def test_in_lockstep_every_vcpu_has_its_own() -> None:
    memory = x86.Memory(1 << 20, virtual_time=True)
    vcpus = [flat32(LOOP, memory=memory, index=index) for index in range(2)]
    vcpus[1].set_guest_debug([CODE + 0x1000 + 5])
    turns = x86.Lockstep(vcpus, turn=4)
    found = []
    for _ in range(20):
        vcpu, reason = turns.run(1 << 40)
        if vcpu is None:
            break
        found.append((vcpu.index, x86.EXIT_NAMES[reason], vcpu.instructions))
    debug = [entry for entry in found if entry[1] == "EXIT_DEBUG"]
    assert debug == [(1, "EXIT_DEBUG", number) for number in (1, 4, 7)]


def test_single_steps_in_lockstep() -> None:
    memory = x86.Memory(1 << 20, virtual_time=True)
    vcpu = flat32("nop; nop; nop; hlt", memory=memory)
    turns = x86.Lockstep([vcpu], turn=2)
    vcpu.single_step = True
    places = []
    for _ in range(3):
        assert turns.run(1 << 40) == (vcpu, x86.EXIT_DEBUG)
        places.append(vcpu.eip - CODE)
    assert places == [1, 2, 3]


def test_kvm_run_says_what_debug_registers_would() -> None:
    vcpu = flat32("nop; nop; nop; hlt")
    vcpu.set_guest_debug([CODE, CODE + 2])
    assert run(vcpu) == "EXIT_DEBUG"
    debug = vcpu.kvm_run["debug"]["arch"]
    fields = [int(debug[name]) for name in ("exception", "pc", "dr6", "dr7")]
    assert fields == [1, CODE, 0xFFFF0FF1, 0x40A]
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.kvm_run["debug"]["arch"]["dr6"] == 0xFFFF0FF2
    vcpu.single_step = True
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.kvm_run["debug"]["arch"]["dr6"] == 0xFFFF4FF0


def test_as_many_as_there_may_be() -> None:
    vcpu = flat32("nop; nop; hlt")
    vcpu.set_guest_debug(range(CODE + 1, CODE + 8193, 2))
    assert stops(vcpu) == [1]
    with pytest.raises(ValueError, match="4097 breakpoints and 0 watchpoints are too many"):
        vcpu.set_guest_debug(range(4097))


@pytest.mark.parametrize("address", [-1, 1 << 32])
def test_an_address_that_is_none(address: int) -> None:
    vcpu = flat32("hlt")
    vcpu.set_guest_debug([CODE])
    with pytest.raises(ValueError, match=r"is not in 0\.\.0xffffffff"):
        vcpu.set_guest_debug([address])
    assert stops(vcpu) == [0]  # what was set before still is


def test_reset_leaves_them_alone_and_a_new_owner_has_none() -> None:
    vcpu = flat32("nop; hlt")
    vcpu.set_guest_debug([CODE])
    assert run(vcpu) == "EXIT_DEBUG"
    vcpu.start_flat32(CODE, 0x9000)
    vcpu.userspace_exits = x86.USERSPACE_EXIT_HLT
    assert stops(vcpu) == [0]
    memory = vcpu.memory
    del vcpu
    vcpu = flat32("nop; hlt", memory=memory)
    assert stops(vcpu) == []


def test_blocked_interrupts_stay_pending_while_it_steps() -> None:
    """KVM_GUESTDBG_BLOCKIRQ."""
    vcpu = flat32("sti; nop; nop; nop; hlt")
    vcpu.single_step = vcpu.block_interrupts = True
    vcpu.interrupt(0x40)
    vcpu.nmi()
    for place in (1, 2, 3):
        assert run(vcpu) == "EXIT_DEBUG"
        assert vcpu.eip == CODE + place
    vcpu.single_step = False
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.eip == HANDLERS + 2 + 1  # the NMI comes first
