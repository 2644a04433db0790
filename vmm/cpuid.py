"""What CPUID of a vCPU offers, by the names of the manuals: asked of a vCPU, as a guest would.

Sources: SDM vol. 2, CPUID, leaves 01H and 07H; AMD APM vol. 3, appendix E, leaf 8000_0001h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import x86core

#: What `VCPU.features` may name, and the instructions that it makes CPUID offer.
FEATURE_CHOICES = {
    "monitorx": "MONITORX and MWAITX",
    "waitpkg": "UMONITOR, UMWAIT and TPAUSE",
}

#: (leaf, register): names of its bits. Those that a small processor could ever set.
_BITS: dict[tuple[int, str], dict[int, str]] = {
    (0x1, "edx"): {
        0: "FPU",
        1: "VME",
        2: "DE",
        3: "PSE",
        4: "TSC",
        5: "MSR",
        6: "PAE",
        7: "MCE",
        8: "CX8",
        9: "APIC",
        11: "SEP",
        12: "MTRR",
        13: "PGE",
        14: "MCA",
        15: "CMOV",
        16: "PAT",
        17: "PSE-36",
        19: "CLFSH",
        23: "MMX",
        24: "FXSR",
        25: "SSE",
        26: "SSE2",
    },
    (0x1, "ecx"): {
        3: "MONITOR",
        21: "x2APIC",
        22: "MOVBE",
        23: "POPCNT",
        24: "TSC-Deadline",
        30: "RDRAND",
        31: "HYPERVISOR",
    },
    (0x7, "ecx"): {5: "WAITPKG"},
    (0x80000001, "ecx"): {29: "MONITORX"},
}

_CPUID_THEN_HLT = bytes.fromhex("0FA2 F4")
_PLACE = 0x1000


def cpuid(leaf: int, features: Iterable[str] = ()) -> dict[str, int]:
    """EAX to EDX of a leaf (subleaf 0), by their names, of a new vCPU with these features.

    Raises ValueError for an unknown feature.
    """
    memory = x86core.Memory(2 * _PLACE)
    memory.write(_PLACE, _CPUID_THEN_HLT)
    vcpu = x86core.VCPU(memory)
    vcpu.features = tuple(features)
    vcpu.start_flat32(eip=_PLACE)
    vcpu.userspace_exits = x86core.USERSPACE_EXIT_HLT
    vcpu.eax, vcpu.ecx = leaf, 0
    if vcpu.run() != x86core.EXIT_HLT:
        raise RuntimeError(f"CPUID left {vcpu!r}")
    return {name: getattr(vcpu, name) for name in ("eax", "ebx", "ecx", "edx")}


def vendor() -> str:
    """The vendor string of leaf 0."""
    registers = cpuid(0)
    return b"".join(registers[name].to_bytes(4, "little") for name in ("ebx", "edx", "ecx")).decode(
        "ascii"
    )


def feature_flags(features: Iterable[str] = ()) -> list[str]:
    """The names of the feature bits that are set; a bit without a name here by its place."""
    return list(_feature_flags(tuple(features)))


def _feature_flags(features: tuple[str, ...]) -> Iterator[str]:
    for (leaf, register), names in _BITS.items():
        value = cpuid(leaf, features)[register]
        for bit in range(32):
            if value >> bit & 1:
                yield names.get(bit, f"leaf {leaf:x}h {register.upper()} bit {bit}")
