"""What a guest's file is and asks for: the same for `info`, which shows it, and for loading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from x86core import VCPU

#: RAM and ROM come in pages of this size.
PAGE = 4096

#: The end of a PC's conventional memory, 640 KiB: above are the video memory and ROMs of a PC.
CONVENTIONAL_END = 0xA0000


class Format(StrEnum):
    """Kinds of guests."""

    FLAT = "flat image"
    BOOT_SECTOR = "boot sector"
    FLOPPY = "floppy image"
    ELF = "ELF32 executable"
    MULTIBOOT = "Multiboot kernel"
    ROM = "ROM image"


@dataclass(frozen=True, slots=True)
class Segment:
    """Physical memory of `size` bytes from `address` on, all or part of which the file fills: with
    its `length` bytes from `offset` on. What is left is zeros, as RAM is from the start.
    """

    address: int
    size: int
    offset: int
    length: int

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + self.size


@dataclass(frozen=True, slots=True)
class RealModeStart:
    """A vCPU begins in real mode at cs:ip, with what `registers` says and other segments 0."""

    cs: int
    ip: int
    registers: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"real mode at {self.cs:04X}:{self.ip:04X}"

    def apply(self, vcpu: VCPU) -> None:
        """Put a vCPU there."""
        vcpu.start_real_mode(self.cs, self.ip)
        _set_registers(vcpu, self.registers)


@dataclass(frozen=True, slots=True)
class Flat32Start:
    """A vCPU begins at eip in protected mode, every segment of 32 bits, from 0 to 4 GiB.

    Its stack ends where conventional memory or RAM does: every vCPU's, so that further ones need
    their own. There is neither GDT nor IDT.
    """

    eip: int
    registers: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"32-bit protected mode at {self.eip:08X}"

    def apply(self, vcpu: VCPU) -> None:
        """Put a vCPU there."""
        vcpu.start_flat32(self.eip, min(vcpu.memory.size, CONVENTIONAL_END))
        _set_registers(vcpu, self.registers)


@dataclass(frozen=True, slots=True)
class ResetStart:
    """A vCPU begins where RESET leaves it, 16 bytes below 4 GiB (SDM vol. 3, 10.1.4)."""

    registers: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return "real mode at F000:FFF0, the reset vector"

    def apply(self, vcpu: VCPU) -> None:
        """Put a vCPU there."""
        vcpu.reset()
        _set_registers(vcpu, self.registers)


@dataclass(frozen=True, slots=True)
class Guest:
    """A guest: `size` bytes of file, or of what its source was assembled to."""

    path: Path
    format: Format
    size: int
    start: RealModeStart | Flat32Start | ResetStart
    segments: tuple[Segment, ...]
    notes: tuple[str, ...] = ()

    @property
    def memory(self) -> int:
        """Bytes of RAM that it needs at least, without modules: whole pages."""
        return -(-max(segment.end for segment in self.segments) // PAGE) * PAGE

    @property
    def mode(self) -> str:
        """The mode in which it starts."""
        return "protected" if isinstance(self.start, Flat32Start) else "real"

    @property
    def bootstrap_only(self) -> bool:
        """Multiboot and RESET start vCPU 0 alone: the others wait for its start-up IPI."""
        return self.format in (Format.MULTIBOOT, Format.ROM)

    @property
    def devices(self) -> str:
        """What it may expect: a PC, if it is its firmware or what that or a boot loader starts."""
        of_a_pc = (Format.BOOT_SECTOR, Format.FLOPPY, Format.MULTIBOOT, Format.ROM)
        return "pc" if self.format in of_a_pc else "none"

    def as_dict(self) -> dict[str, Any]:
        """The same in types that JSON knows; all numbers are bytes, addresses or registers."""
        return asdict(self) | {
            "path": str(self.path),
            "mode": self.mode,
            "memory": self.memory,
            "devices": self.devices,
        }


def _set_registers(vcpu: VCPU, registers: Mapping[str, int]) -> None:
    for name, value in registers.items():
        setattr(vcpu, name, value)
