"""The dtype of struct kvm_run against the kernel's header: what the C compiler makes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vmm import kvm
from x86core.kvm_run import EXIT_OFFSET, EXIT_SIZE, EXITS

#: In the header's padding: the RFC's byte, and ours behind it.
NOT_UPSTREAM = {"userspace_exits": 2, "disable_exits": 3, "mwait_policy": 4, "hlt_policy": 5}

#: Offset and size in bytes, as read off the header of Linux 6.1 by hand.
LITERAL = {
    "request_interrupt_window": (0, 1),
    "immediate_exit": (1, 1),
    "exit_reason": (8, 4),
    "ready_for_interrupt_injection": (12, 1),
    "if_flag": (13, 1),
    "flags": (14, 2),
    "cr8": (16, 8),
    "apic_base": (24, 8),
    "hw.hardware_exit_reason": (32, 8),
    "fail_entry.hardware_entry_failure_reason": (32, 8),
    "fail_entry.cpu": (40, 4),
    "ex.error_code": (36, 4),
    "io.direction": (32, 1),
    "io.size": (33, 1),
    "io.port": (34, 2),
    "io.count": (36, 4),
    "io.data_offset": (40, 8),
    "debug.arch.exception": (32, 4),
    "debug.arch.pc": (40, 8),
    "debug.arch.dr7": (56, 8),
    "mmio.phys_addr": (32, 8),
    "mmio.data": (40, 8),
    "mmio.len": (48, 4),
    "mmio.is_write": (52, 1),
    "hypercall.ret": (88, 8),
    "tpr_access.is_write": (40, 4),
    "internal.suberror": (32, 4),
    "internal.ndata": (36, 4),
    "internal.data": (40, 128),
    "emulation_failure.insn_size": (48, 1),
    "emulation_failure.insn_bytes": (49, 15),
    "system_event.data": (40, 128),
    "eoi.vector": (32, 1),
    "hyperv.u.hcall.params": (56, 16),
    "msr.reason": (40, 4),
    "msr.data": (48, 8),
    "xen.u.hcall.params": (64, 48),
    "notify.flags": (32, 4),
    "kvm_valid_regs": (288, 8),
    "kvm_dirty_regs": (296, 8),
    "s": (304, 2048),
}


def members(dtype: np.dtype[Any], path: str = "", base: int = 0) -> Iterator[tuple[str, int, int]]:
    """Path, offset and size of every member, and of their members."""
    for name, field in (dtype.fields or {}).items():
        inner, offset = field[0], base + field[1]
        yield path + name, offset, inner.itemsize
        yield from members(inner, f"{path}{name}.", offset)


def ours() -> dict[str, tuple[int, int]]:
    return {path: (offset, size) for path, offset, size in members(kvm.KVM_RUN)}


def test_members_stand_where_the_header_has_them() -> None:
    here = ours()
    assert {path: here[path] for path in LITERAL} == LITERAL


def test_what_is_not_upstreams_lies_in_its_padding() -> None:
    here = ours()
    assert {path: here[path] for path in NOT_UPSTREAM} == {
        path: (offset, 1) for path, offset in NOT_UPSTREAM.items()
    }


def test_the_union_of_exits_has_room() -> None:
    assert max(dtype.itemsize for dtype in EXITS.values()) <= EXIT_SIZE == 256
    assert EXIT_OFFSET == 32


def test_every_member_stands_where_the_compiler_puts_it(tmp_path: Path) -> None:
    here = {path: place for path, place in ours().items() if path not in NOT_UPSTREAM}
    assert len(here) > 120
    source = tmp_path / "offsets.c"
    source.write_text(
        "#include <linux/kvm.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        "static struct kvm_run run;\nint main(void) {\n"
        + "".join(
            f'printf("{path} %zu %zu\\n", offsetof(struct kvm_run, {path}), sizeof(run.{path}));\n'
            for path in here
        )
        + "return 0; }\n"
    )
    program = tmp_path / "offsets"
    compiled = subprocess.run(
        ["gcc", "-o", program, source], capture_output=True, text=True, check=False
    )
    if "linux/kvm.h: No such file" in compiled.stderr:
        pytest.skip("the kernel's header linux/kvm.h is not installed")
    # A header that is older than Linux 6.1 does not know every exit.
    unknown = {path for path in here if f"'{path.split('.')[0]}'" in compiled.stderr}
    if unknown:
        pytest.skip(f"linux/kvm.h is too old: it lacks {', '.join(sorted(unknown))}")
    assert compiled.returncode == 0, compiled.stderr
    printed = subprocess.run([program], capture_output=True, text=True, check=True).stdout
    words = [line.split() for line in printed.splitlines()]
    assert here == {path: (int(offset), int(size)) for path, offset, size in words}
