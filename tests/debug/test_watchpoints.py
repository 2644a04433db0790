"""Watchpoints of VCPU.set_guest_debug: left behind the instruction or the element that met one."""

from __future__ import annotations

import pytest

import x86core as x86
from tests.support import (
    CODE,
    DATA,
    HANDLERS,
    IDT,
    UD,
    Running,
    flat32,
    real16,
    run,
    waiter,
    word32,
)

READ, WRITE, ACCESS = x86.WATCH_READ, x86.WATCH_WRITE, x86.WATCH_READ | x86.WATCH_WRITE
NEVER = (0x80000, 4, ACCESS)


def watched(source: str, *points: tuple[int, int, int], **registers: int) -> x86.VCPU:
    vcpu = flat32(f"{source}; hlt")
    for name, value in {"ebx": DATA, "esi": DATA, "edi": DATA + 0x100, **registers}.items():
        setattr(vcpu, name, value)
    vcpu.set_guest_debug(watchpoints=points)
    return vcpu


def stops(vcpu: x86.VCPU) -> list[tuple[str, int, int]]:
    """(cause, address relative to DATA, EIP relative to the code) at each stop until HLT."""
    found = []
    while run(vcpu) == "EXIT_DEBUG":
        cause, address = vcpu.debug_exit
        found.append((cause, address - DATA, vcpu.eip - CODE))
        assert len(found) < 1000
    assert vcpu.exit_reason == x86.EXIT_HLT
    return found


@pytest.mark.parametrize(
    ("kind", "causes"),
    [(WRITE, ["write"]), (READ, ["read"]), (ACCESS, ["write", "read"])],
)
def test_kinds(kind: int, causes: list[str]) -> None:
    vcpu = watched("mov [ebx], eax; nop; mov ecx, [ebx]; nop", (DATA, 4, kind))
    places = {"write": 2, "read": 5}
    assert stops(vcpu) == [(cause, 0, places[cause]) for cause in causes]


def test_behind_the_access_with_its_effect() -> None:
    """And nothing further has been executed, though it was decoded into one block."""
    vcpu = watched("inc edx; mov [ebx], eax; inc edx; inc edx", (DATA, 4, WRITE), eax=0x1234, edx=0)
    assert run(vcpu) == "EXIT_DEBUG"
    assert (word32(vcpu.memory), vcpu.edx, vcpu.instructions) == (0x1234, 1, 2)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.edx, vcpu.instructions) == (3, 5)


@pytest.mark.parametrize("offset", range(-5, 9))
@pytest.mark.parametrize("length", [1, 3, 8])
def test_every_alignment(offset: int, length: int) -> None:
    """A doubleword at DATA + 0 meets what overlaps it, and is reported where it first does."""
    vcpu = watched("mov [ebx], eax", (DATA + offset, length, WRITE))
    meets = offset < 4 and offset + length > 0
    assert stops(vcpu) == ([("write", max(offset, 0), 2)] if meets else [])


@pytest.mark.parametrize("page", [0x20FFE, 0x20FFF])
def test_over_the_end_of_a_page(page: int) -> None:
    """The access straddles pages of which only the second, or the first, is watched."""
    for point in ((0x21000, 1, ACCESS), (page, 1, ACCESS)):
        vcpu = watched("mov [ebx], eax; mov eax, [ebx]", point, ebx=page)
        first = point[0] - DATA
        assert stops(vcpu) == [("write", first, 2), ("read", first, 4)]


@pytest.mark.parametrize(
    ("source", "causes"),
    [
        ("inc dword ptr [ebx]", ["read"]),
        ("lock inc dword ptr [ebx]", ["read"]),
        ("xchg [ebx], eax", ["read"]),
        ("lock bts dword ptr [ebx], 3", ["read"]),
        ("cmpxchg8b [ebx]", ["read"]),
        ("push dword ptr [ebx]", ["read"]),
        ("pop dword ptr [ebx]", ["write"]),
        ("cmp byte ptr [ebx+3], 1", ["read"]),
        ("movsd", ["read"]),
        ("lodsb", ["read"]),
        ("cmpsb", ["read"]),
        ("lea eax, [ebx]", []),
        ("mov eax, ebx", []),
    ],
)
def test_instructions_of_every_kind(source: str, causes: list[str]) -> None:
    """One stop, behind the instruction; of a read-modify-write the read comes first."""
    vcpu = watched(source, (DATA, 4, ACCESS))
    assert [cause for cause, _, _ in stops(vcpu)] == causes
    assert vcpu.instructions == 2


@pytest.mark.parametrize(
    "source", ["inc dword ptr [ebx]", "lock add [ebx], eax", "xchg [ebx], eax"]
)
def test_the_write_of_a_read_modify_write(source: str) -> None:
    vcpu = watched(source, (DATA, 4, WRITE), eax=5)
    assert [cause for cause, _, _ in stops(vcpu)] == ["write"]


def test_the_stack() -> None:
    vcpu = watched("push eax; call f; pop eax; jmp over; f: ret; over: nop", NEVER)
    top = vcpu.esp
    vcpu.set_guest_debug(watchpoints=[(top - 8, 4, ACCESS)])
    causes = [(cause, eip) for cause, _, eip in stops(vcpu)]
    assert causes == [("write", 9), ("read", 6)]


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_a_repeated_instruction_stops_at_the_element(count: int) -> None:
    vcpu = watched("rep stosb", (DATA + 0x300, 1, WRITE), ecx=2000, edi=DATA + 0x301 - count)
    assert run(vcpu) == "EXIT_DEBUG"
    assert (vcpu.edi, vcpu.ecx, vcpu.eip) == (DATA + 0x301, 2000 - count, CODE)
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.edi, vcpu.ecx) == (DATA + 0x301 + 2000 - count, 0)


def test_the_last_element_is_the_end_of_the_instruction() -> None:
    vcpu = watched("rep stosd", (DATA + 12, 4, WRITE), ecx=4, edi=DATA)
    assert stops(vcpu) == [("write", 12, 2)]


def test_a_whole_page_at_once_does_not_hide_it() -> None:
    """Neither as source nor as destination."""
    vcpu = watched("rep movsd", (DATA + 0x800, 1, READ), ecx=1024, edi=DATA + 0x4000)
    assert run(vcpu) == "EXIT_DEBUG"
    assert (vcpu.esi, vcpu.ecx) == (DATA + 0x804, 1024 - 0x201)
    vcpu = watched("rep movsd", (DATA + 0x4800, 1, WRITE), ecx=1024, edi=DATA + 0x4000)
    assert run(vcpu) == "EXIT_DEBUG"
    assert (vcpu.edi, vcpu.ecx) == (DATA + 0x4804, 1024 - 0x201)


def test_an_event_that_pushes_onto_it() -> None:
    """Reported at the handler, of which nothing is executed."""
    vcpu = watched("ud2", NEVER)
    top = vcpu.esp
    vcpu.set_guest_debug(watchpoints=[(top - 4, 4, WRITE)])
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("write", top - 4)
    assert (vcpu.eip, vcpu.instructions) == (HANDLERS + UD, 0)


def test_the_processors_own_reads() -> None:
    vcpu = watched("int 0x40", (IDT + 0x40 * 8, 8, READ))
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.eip == HANDLERS + 0x40


def test_an_instruction_that_faults_does_not_count() -> None:
    """Data breakpoints are traps: they follow an instruction that has been finished."""
    vcpu = watched("push dword ptr [ebx]", (DATA, 4, READ), esp=2)
    vcpu.ss.limit = 0x100
    assert run(vcpu) != "EXIT_DEBUG"


def test_device_accesses_are_asked_once() -> None:
    """A device that is read for a store to watched memory, and a device that is watched."""
    vcpu = watched("movsd", (DATA, 4, WRITE), esi=0xE0000000, edi=DATA)
    assert run(vcpu) == "EXIT_MMIO"
    vcpu.mmio_data = 0x1234
    assert run(vcpu) == "EXIT_DEBUG"
    assert (word32(vcpu.memory), vcpu.instructions, vcpu.stats["mmio_exits"]) == (0x1234, 1, 1)
    vcpu = watched("mov [ebx], eax; mov eax, [ebx]", (0xE0000000, 4, ACCESS), ebx=0xE0000000)
    assert [run(vcpu) for _ in range(4)] == ["EXIT_MMIO", "EXIT_DEBUG", "EXIT_MMIO", "EXIT_DEBUG"]
    assert vcpu.debug_exit == ("read", 0xE0000000)


def test_ins_into_watched_memory() -> None:
    vcpu = watched("mov ecx, 2; mov edx, 0x80; rep insb", (DATA + 0x100, 1, WRITE))
    assert run(vcpu) == "EXIT_IO"
    vcpu.io_data = 7
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.ecx == 1
    assert run(vcpu) == "EXIT_IO"
    vcpu.io_data = 8
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.memory.read(DATA + 0x100, 2) == b"\x07\x08"


def test_a_store_to_the_running_code() -> None:
    """The watched page holds the code itself, and the store changes the next instruction."""
    vcpu = watched("mov byte ptr [eax], 0x42; inc ecx", (CODE + 3, 1, WRITE), eax=CODE + 3)
    vcpu.edx = 0
    assert run(vcpu) == "EXIT_DEBUG"
    assert run(vcpu) == "EXIT_HLT"
    assert (vcpu.ecx, vcpu.edx) == (0, 1)


def test_a_watched_line_still_wakes_its_monitor() -> None:
    """Watchpoints and the address monitor use the same slow path, and do not replace each other."""
    memory = x86.Memory(1 << 20)
    sleeper = waiter(memory=memory)
    writer = flat32(f"mov dword ptr [{DATA}], 1; hlt", memory=memory, index=1)
    writer.set_guest_debug(watchpoints=[(DATA, 4, WRITE)])
    with Running(sleeper) as running:
        running.asleep("mwait")
        assert run(writer) == "EXIT_DEBUG"
        assert running.exit() == "EXIT_HLT"
    assert sleeper.stats["wakes_store"] == 1


def test_other_vcpus_and_the_host_do_not_count() -> None:
    vcpu = watched("nop; nop", (DATA, 4, ACCESS))
    other = flat32(f"mov dword ptr [{DATA}], 1; hlt", memory=vcpu.memory, index=1)
    assert run(other) == "EXIT_HLT"
    vcpu.memory.write(DATA, b"1234")
    assert stops(vcpu) == []


def test_in_real_mode() -> None:
    vcpu = real16("mov ax, 0x2000; mov ds, ax; mov [4], ax; hlt")
    vcpu.set_guest_debug(watchpoints=[(DATA + 5, 1, WRITE)])
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("write", DATA + 5)
    assert vcpu.eip == 8


def test_in_a_single_step_the_access_is_the_reason() -> None:
    vcpu = watched("mov [ebx], eax; nop", (DATA, 4, WRITE))
    vcpu.single_step = True
    assert run(vcpu) == "EXIT_DEBUG"
    assert vcpu.debug_exit == ("write", DATA)
    assert vcpu.eip == CODE + 2


def test_in_lockstep() -> None:
    memory = x86.Memory(1 << 20, virtual_time=True)
    vcpu = flat32(f"nop; mov dword ptr [{DATA}], 1; nop; hlt", memory=memory)
    vcpu.set_guest_debug(watchpoints=[(DATA, 4, WRITE)])
    turns = x86.Lockstep([vcpu], turn=100)
    assert turns.run(1 << 40) == (vcpu, x86.EXIT_DEBUG)
    assert (vcpu.instructions, vcpu.debug_exit) == (2, ("write", DATA))


def test_a_kick_beside_it_is_not_lost() -> None:
    vcpu = watched("mov [ebx], eax; nop", (DATA, 4, WRITE))
    vcpu.kick()
    reasons = [run(vcpu) for _ in range(3)]
    assert sorted(reasons) == ["EXIT_DEBUG", "EXIT_HLT", "EXIT_INTR"]


def test_kvm_run_says_what_debug_registers_would() -> None:
    vcpu = watched("mov [ebx], eax", (DATA + 64, 1, WRITE), (DATA, 4, WRITE), (DATA, 8, READ))
    assert run(vcpu) == "EXIT_DEBUG"
    debug = vcpu.kvm_run["debug"]["arch"]
    fields = [int(debug[name]) for name in ("exception", "pc", "dr6")]
    assert fields == [1, CODE + 2, 0xFFFF0FF2]
    # G0-G2; R/W and LEN: a byte written, a doubleword written, a quadword accessed.
    assert debug["dr7"] == 0x400 | 0x2A | 0x1 << 16 | 0xD << 20 | 0xB << 24


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((DATA, 0, WRITE), "watchpoint of 0 bytes"),
        ((0xFFFFFFFF, 2, WRITE), "watchpoint of 2 bytes at 0xffffffff"),
        ((-1, 2, WRITE), "watchpoint of 2 bytes at -0x1"),
        ((DATA, 4, 0), "kind 0 is unknown"),
        ((DATA, 4, 4), "kind 4 is unknown"),
    ],
)
def test_bad_ones(point: tuple[int, int, int], message: str) -> None:
    vcpu = flat32("hlt")
    with pytest.raises(ValueError, match=message):
        vcpu.set_guest_debug(watchpoints=[point])


def test_too_many() -> None:
    with pytest.raises(ValueError, match="257 watchpoints are too many"):
        flat32("hlt").set_guest_debug(watchpoints=[(DATA, 1, WRITE)] * 257)
