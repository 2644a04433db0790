"""Which stores trigger a monitor: any store that touches the line, and none that does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import x86core as x86
from tests.monitor.conftest import Sleep, still_asleep
from tests.support import DATA, flat32, run, stack_top

#: The monitored line is in the middle of its page, so that both neighbours are on the page too.
LINE = DATA + 0x400

GuestStores = Callable[..., x86.VCPU]

#: Every way in which the instruction set can store, with the address in EDI.
KINDS = {
    "mov byte": "mov [edi], al",
    "mov word": "mov [edi], ax",
    "mov dword": "mov [edi], eax",
    "mov immediate": "mov dword ptr [edi], 5",
    "mov absolute": f"mov [{LINE}], al",
    "mov from segment": "mov [edi], ds",
    "add": "add [edi], eax",
    "inc": "inc dword ptr [edi]",
    "not": "not byte ptr [edi]",
    "neg": "neg word ptr [edi]",
    "shl": "shl dword ptr [edi], 1",
    "setz": "setz [edi]",
    "bts": "bts dword ptr [edi], 3",
    "btc of a far bit": f"mov edi, {DATA}; mov eax, 0x2000; btc [edi], eax",
    "shld": "shld [edi], eax, 4",
    "smsw": "smsw [edi]",
    "sgdt": "sgdt [edi]",
    "xchg": "xchg [edi], eax",
    "xadd": "xadd [edi], eax",
    "cmpxchg that succeeds": "mov eax, [edi]; cmpxchg [edi], ecx",
    "cmpxchg that fails": "mov eax, [edi]; inc eax; cmpxchg [edi], ecx",
    "lock add": "lock add [edi], eax",
    "lock inc": "lock inc byte ptr [edi]",
    "lock or nothing": "lock or dword ptr [edi], 0",
    "lock xadd": "lock xadd [edi], eax",
    "lock cmpxchg": "mov eax, [edi]; lock cmpxchg [edi], ecx",
    "lock cmpxchg that fails": "mov eax, [edi]; inc eax; lock cmpxchg [edi], ecx",
    "lock btr": "lock btr dword ptr [edi], 0",
    "cmpxchg8b that fails": "cmpxchg8b [edi]",
    "lock cmpxchg8b": "mov eax, [edi]; mov edx, [edi+4]; lock cmpxchg8b [edi]",
    "stosb": "stosb",
    "stosd": "stosd",
    "movsb": "mov esi, edi; movsb",
    "rep stosb": "mov ecx, 1; rep stosb",
    "rep movsd": f"mov esi, {DATA}; mov ecx, 1; rep movsd",
    "rep stosd over all": f"mov edi, {DATA}; mov ecx, 1024; rep stosd",
    "rep stosb backward": "std; mov ecx, 1; rep stosb",
    "push": "lea esp, [edi+4]; push eax",
    "push immediate": "lea esp, [edi+4]; push 1",
    "pushf": "lea esp, [edi+4]; pushf",
    "pusha": "lea esp, [edi+32]; pusha",
    "enter": "lea esp, [edi+4]; enter 0, 0",
    "pop": "push eax; pop dword ptr [edi]",
    "call": "lea esp, [edi+4]; call next; next:",
    "far call": "lea esp, [edi+8]; .byte 0x9a; .long next; .word 8; next:",
    "interrupt frame": "lea esp, [edi+12]; int 0x40",
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_store_wakes(sleep: Sleep, guest_stores: GuestStores, kind: str) -> None:
    """Of another vCPU: any width, locked, string and stack operations, event delivery."""
    running = sleep(address=LINE)
    writer = guest_stores(KINDS[kind], edi=LINE, eax=0x01010101)
    assert running.exit() == "EXIT_HLT"
    assert running.vcpu.stats["wakes_store"] == 1
    assert writer.stats["monitor_triggers_vcpu"] == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_of_store_to_another_line_wakes(
    sleep: Sleep, guest_stores: GuestStores, kind: str
) -> None:
    """The same stores with the monitor on the last line of the page: only false faults."""
    running = sleep(address=DATA + 0xFC0)
    source = KINDS[kind].replace("ecx, 1024", "ecx, 1008")
    writer = guest_stores(source, edi=LINE, eax=0x01010101)
    assert still_asleep(running)
    assert writer.stats["false_faults"] >= 1
    assert writer.stats["monitor_triggers_vcpu"] == 0


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("offset", [-4, -3, -2, -1, 0, 1, 31, 60, 61, 62, 63, 64, 65])
def test_boundaries_of_the_line(
    sleep: Sleep, guest_stores: GuestStores, offset: int, width: int
) -> None:
    """Bytes 0, 63 and 64, and every width that straddles an end of the line."""
    register = {1: "al", 2: "ax", 4: "eax"}[width]
    running = sleep(address=LINE)
    writer = guest_stores(f"mov [{LINE + offset}], {register}")
    if offset < 64 and offset + width > 0:
        assert running.exit() == "EXIT_HLT"
        assert running.vcpu.stats["wakes_store"] == 1
    else:
        assert still_asleep(running)
        assert writer.stats["false_faults"] == 1


@pytest.mark.parametrize("kind", ["lock xadd [edi], eax", "xchg [edi], eax", "push eax", "stosd"])
@pytest.mark.parametrize(
    ("offset", "wakes"), [(-4, False), (-3, True), (61, True), (63, True), (64, False)]
)
def test_boundaries_for_other_kinds_of_store(
    sleep: Sleep, guest_stores: GuestStores, kind: str, offset: int, wakes: bool
) -> None:
    running = sleep(address=LINE)
    source = "lea esp, [edi+4]; push eax" if kind.startswith("push") else kind
    guest_stores(source, edi=LINE + offset)
    assert still_asleep(running) is not wakes
    if wakes:
        assert running.exit() == "EXIT_HLT"


@pytest.mark.parametrize("line", [DATA, DATA + 0xFC0])
@pytest.mark.parametrize("offset", [-3, -1, 61, 63])
def test_straddling_stores_at_the_ends_of_the_page(
    sleep: Sleep, guest_stores: GuestStores, line: int, offset: int
) -> None:
    """One store on two pages, of which only one is monitored."""
    running = sleep(address=line)
    guest_stores(f"mov [{line + offset}], eax")
    assert running.exit() == "EXIT_HLT"


def test_monitor_takes_an_address_within_the_line(sleep: Sleep, guest_stores: GuestStores) -> None:
    running = sleep(address=LINE + 37)
    assert running.vcpu.monitor == ("waiting", LINE)
    guest_stores(f"mov byte ptr [{LINE}], 1")
    assert running.exit() == "EXIT_HLT"


def test_the_same_value_again_is_a_store(sleep: Sleep, guest_stores: GuestStores) -> None:
    running = sleep(address=LINE)
    before = running.vcpu.memory.read(LINE, 64)
    guest_stores(f"mov eax, [{LINE}]; mov [{LINE}], eax")
    assert running.exit() == "EXIT_HLT"
    assert running.vcpu.memory.read(LINE, 64) == before


def test_write_then_revert_wakes(sleep: Sleep, guest_stores: GuestStores) -> None:
    """Whoever compares values misses this one."""
    running = sleep(address=LINE)
    guest_stores(f"mov byte ptr [{LINE}], 1; mov byte ptr [{LINE}], 0")
    assert running.exit() == "EXIT_HLT"
    assert running.vcpu.stats["wakes_store"] == 1


def test_reads_and_comparisons_do_not_wake(sleep: Sleep, guest_stores: GuestStores) -> None:
    running = sleep(address=LINE)
    source = "mov eax, [edi]; cmp [edi], eax; test [edi], eax; add eax, [edi]; mov esi, edi; lodsb"
    guest_stores(f"{source}; mov esi, edi; cmpsd; mov edi, {LINE}; scasb", edi=LINE)
    assert still_asleep(running)


def test_a_faulting_store_does_not_wake(sleep: Sleep, memory: x86.Memory) -> None:
    running = sleep(address=LINE)
    writer = flat32(f"mov [{LINE}], eax", memory=memory, index=9)
    writer.ds.limit = LINE + 2
    assert run(writer) == "EXIT_HLT"
    assert still_asleep(running)


def test_a_writer_that_was_hot_on_the_page_before(sleep: Sleep, memory: x86.Memory) -> None:
    """It has stored there without a check, and must lose that right when the page is armed."""
    source = f"again: inc dword ptr [{LINE}]; in al, 0x60; jmp again"
    writer = flat32(source, memory=memory, index=9)
    assert [run(writer), run(writer)] == ["EXIT_IO", "EXIT_IO"]
    assert writer.stats["write_faults"] == 0
    running = sleep(address=LINE)
    assert run(writer) == "EXIT_IO"
    assert running.exit() == "EXIT_HLT"
    assert writer.stats["write_faults"] == 1


def test_writer_through_another_segment(sleep: Sleep, memory: x86.Memory) -> None:
    """Another base, another linear address, the same physical line: the line is physical."""
    running = sleep(address=LINE)
    source = "mov byte ptr fs:[0x3ff], 1; mov byte ptr fs:[0x400], 1; hlt"
    writer = flat32(source, memory=memory, index=9)
    writer.fs.base = DATA
    assert writer.run(max_instructions=1) == x86.EXIT_LIMIT
    assert still_asleep(running)
    assert run(writer) == "EXIT_HLT"
    assert running.exit() == "EXIT_HLT"


def test_writer_in_real_mode(sleep: Sleep, memory: x86.Memory) -> None:
    running = sleep(address=LINE)
    memory.write(0xA000, b"\x88\x07\xf4")  # MOV [BX], AL; HLT
    writer = x86.VCPU(memory, index=9)
    writer.start_real_mode(cs=0, ip=0xA000)
    writer.userspace_exits = x86.USERSPACE_EXIT_HLT
    writer.ds.selector, writer.ds.base = LINE >> 4, LINE & ~0xF
    writer.esp, writer.ebx = stack_top(9), 63
    assert run(writer) == "EXIT_HLT"
    assert running.exit() == "EXIT_HLT"


@pytest.mark.parametrize(
    ("start", "size", "wakes"),
    [
        (0, 1, True),
        (63, 1, True),
        (64, 1, False),
        (-1, 1, False),
        (-1, 2, True),
        (-64, 64, False),
        (63, 2, True),
        (-0x400, 0x1000, True),
        (-0x5000, 0x9000, True),
        (-0x5000, 0x5000, False),
        (0, 0, False),
    ],
)
def test_stores_of_the_host(
    sleep: Sleep, memory: x86.Memory, start: int, size: int, wakes: bool
) -> None:
    """A device, or the VMM: the same line, the same rule; also in bulk."""
    running = sleep(address=LINE)
    memory.write(LINE + start, memory.read(LINE + start, size))
    assert still_asleep(running) is not wakes
    if wakes:
        assert running.exit() == "EXIT_HLT"
        assert running.vcpu.stats["monitor_triggers_host"] == 1
        assert running.vcpu.stats["wakes_store"] == 1


def test_string_input_from_a_port_wakes(sleep: Sleep, memory: x86.Memory) -> None:
    """The store comes when the IN completes, at the next run()."""
    running = sleep(address=LINE)
    writer = flat32("insd; hlt", memory=memory, index=9)
    writer.edi = LINE + 61
    assert run(writer) == "EXIT_IO"
    assert still_asleep(running)
    assert run(writer) == "EXIT_HLT"
    assert running.exit() == "EXIT_HLT"
