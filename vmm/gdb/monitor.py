"""gdb's `monitor` commands (packet qRcmd): what x86core has and gdb has no words for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vmm.exits import location
from vmm.gdb.registers import SEGMENTS
from vmm.gdb.threads import MP_STATES
from x86core import VCPU

#: Offsets in the local APIC's page (SDM vol. 3, table 11-1).
_APIC_REGISTERS = {
    "id": 0x20,
    "version": 0x30,
    "tpr": 0x80,
    "ppr": 0xA0,
    "ldr": 0xD0,
    "dfr": 0xE0,
    "svr": 0xF0,
    "esr": 0x280,
    "icr": 0x300,
    "icr2": 0x310,
    "lvt-timer": 0x320,
    "lvt-lint0": 0x350,
    "lvt-lint1": 0x360,
    "lvt-error": 0x370,
    "initial-count": 0x380,
    "current-count": 0x390,
    "divide": 0x3E0,
}
_APIC_VECTORS = {"isr": 0x100, "tmr": 0x180, "irr": 0x200}


def run_command(text: str, vcpus: Sequence[VCPU]) -> str:
    """What a command prints. One that is not known gets the list of those that are."""
    words = text.split()
    if words and words[0] == "info" and len(words) in (2, 3) and words[1] in _COMMANDS:
        chosen = vcpus
        if len(words) == 3:
            if not words[2].isascii() or not words[2].isdigit() or int(words[2]) >= len(vcpus):
                return f"There is no vCPU {words[2]}: the last one is {len(vcpus) - 1}.\n"
            chosen = [vcpus[int(words[2])]]
        show = _COMMANDS[words[1]][1]
        return "".join(f"{line}\n" for vcpu in chosen for line in show(vcpu))
    told = "" if not words or words[0] == "help" else f"Unknown command {text.strip()!r}.\n"
    return told + "".join(
        f"monitor info {name} [vCPU]  {summary}\n" for name, (summary, _) in _COMMANDS.items()
    )


def _vcpu(vcpu: VCPU) -> Iterator[str]:
    yield (
        f"vCPU {vcpu.index}: {MP_STATES.get(vcpu.mp_state, vcpu.mp_state)} at {location(vcpu)},"
        f" {vcpu.instructions} instructions"
    )


def _monitor(vcpu: VCPU) -> Iterator[str]:
    state, line = vcpu.monitor
    at = f" line {line:#010x}" if state != "idle" else ""
    yield f"vCPU {vcpu.index}: {state}{at}"


def _apic(vcpu: VCPU) -> Iterator[str]:
    page = vcpu.lapic
    yield f"vCPU {vcpu.index}:"
    for name, at in _APIC_REGISTERS.items():
        yield f"  {name:<13} {int.from_bytes(page[at : at + 4], 'little'):08x}"
    for name, at in _APIC_VECTORS.items():
        words = [int.from_bytes(page[at + 16 * n : at + 16 * n + 4], "little") for n in range(8)]
        vectors = [
            32 * n + bit for n, word in enumerate(words) for bit in range(32) if word >> bit & 1
        ]
        yield f"  {name:<13} {' '.join(f'{vector:02x}' for vector in vectors) or 'none'}"


def _registers(vcpu: VCPU) -> Iterator[str]:
    yield f"vCPU {vcpu.index}: eip {vcpu.eip:08x} eflags {vcpu.eflags:08x}"
    for name in SEGMENTS:
        segment = getattr(vcpu, name)
        yield (
            f"  {name} {segment.selector:04x} base {segment.base:08x} limit {segment.limit:08x}"
            f" access {segment.access:04x}"
        )
    yield f"  gdt {vcpu.gdt_base:08x} limit {vcpu.gdt_limit:04x}"
    yield f"  idt {vcpu.idt_base:08x} limit {vcpu.idt_limit:04x}"
    yield f"  cr0 {vcpu.cr0:08x} cr2 {vcpu.cr2:08x} cr3 {vcpu.cr3:08x} cr4 {vcpu.cr4:08x}"


def _stats(vcpu: VCPU) -> Iterator[str]:
    yield f"vCPU {vcpu.index}:"
    yield from (f"  {name:<24} {value}" for name, value in vcpu.stats.items() if value)


_COMMANDS: dict[str, tuple[str, Callable[[VCPU], Iterator[str]]]] = {
    "vcpus": ("what each vCPU is doing", _vcpu),
    "monitor": ("the address monitor: its state and line", _monitor),
    "apic": ("the local APIC's registers", _apic),
    "registers": ("segments with their hidden parts, tables, control registers", _registers),
    "stats": ("the core's counters that are not 0", _stats),
}
