"""No state of a vCPU is forgotten when it is saved: a new field is saved, or is listed here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CORE = Path(__file__).resolve().parents[2] / "x86core"

#: Fields of CPU that are not saved under their names, by why not.
NOT_SAVED = {
    "EFLAGS is saved as a whole": "eflags result carries carry",
    "it follows from the segment registers": "stack_mask context_key mode",
    "it follows from DR7 and CR4": "dr_execution dr_data dr_ports watching points_changed",
    "it follows from CR0, EFLAGS and the privilege level": "paging checks_alignment",
    "it is made anew: translations and decoded code": """
        tlb jump_cache contexts context_count arena arena_used flushes code_page_of code_pages
        code_page_count block_hash scratch acknowledged large_pages tlb_filled tlb_global
        tlb_supervisor generation crossing_links crossing_count""",
    "it counts only inside run()": """
        exception error_code stop_at limit_at chunks chunks_at location in_run delivered_at
        deliveries park_nanoseconds soft_stop_at parked position delivering store_physical
        store_watched store_kind stack_top system_access fault_address
        entered_retired""",
    "it belongs to a debugger, which a saved machine has not": """
        debug debug_next alone watch_hit watch_address debug_cause debug_address debug_seen_at
        debug_seen block_interrupts""",
    "it belongs to who runs vCPUs by turns, by hand": """
        stops_before_wakes own_store_ns watched_line""",
    "it belongs to the host, or to the object": """
        zero wake_lock notify notified wake_fd wake_event wake_timer wake_timer_at owned
        stack_depth recorder recorder_memory timed entered_at left_at""",
}


def fields(struct: str) -> list[str]:
    """The fields of a struct in state.pxd."""
    source = (CORE / "state.pxd").read_text()
    match = re.search(rf"^ctypedef struct {struct}:.*\n((?:(?:    .*)?\n)+)", source, re.MULTILINE)
    assert match is not None
    declarations = [line.split("#")[0].strip() for line in match[1].splitlines()]
    return [
        re.sub(r"\W.*", "", part.split()[-1].lstrip("*"))
        for declaration in declarations
        for part in declaration.split(",")
        if part.strip()
    ]


@pytest.mark.parametrize(
    ("struct", "access", "excepted"),
    [
        ("CPU", "cpu", set(" ".join(NOT_SAVED.values()).split())),
        ("APIC", "cpu.apic", set()),
    ],
)
def test_each_field_is_saved_and_restored(struct: str, access: str, excepted: set[str]) -> None:
    source = (CORE / "saved_vcpu.pyx").read_text()
    begin = source.index("cdef void restore_vcpu")
    known = fields(struct)
    assert len(known) > 5
    # set_segment takes what was saved of a segment, so `saved` counts where it is restored.
    for part, owners in ((source[:begin], access), (source[begin:], f"{access}|saved")):
        mentioned = set(re.findall(rf"\b(?:{owners})\.(\w+)", part))
        assert set(known) - excepted - mentioned == set()
    assert excepted <= set(known)
