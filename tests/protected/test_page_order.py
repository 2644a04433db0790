"""In which order an instruction uses the pages of its operands: what CR2 and dirty bits tell."""

from __future__ import annotations

import x86core as x86
from tests.protected.support import DIRTY, PF, entry_at, map_page, paged
from tests.support import DATA, run, word32

ABSENT = 0x90000


def faulted_at(source: str, **registers: int) -> tuple[x86.VCPU, int]:
    """The vCPU, and CR2, once `source` has taken a page fault at ABSENT's page."""
    vcpu = paged(source, **registers)
    map_page(vcpu, ABSENT, 0)
    assert run(vcpu) == "EXIT_HLT"
    assert vcpu.last_event == PF
    return vcpu, vcpu.cr2


def test_rep_movs_does_not_mark_what_it_cannot_write() -> None:
    vcpu, address = faulted_at("cld; rep movsd; hlt", ecx=8, esi=ABSENT, edi=DATA)
    assert address == ABSENT
    assert not word32(vcpu.memory, entry_at(DATA)) & DIRTY


def test_rep_movs_marks_what_it_writes() -> None:
    vcpu = paged("cld; rep movsd; hlt", ecx=8, esi=DATA + 0x1000, edi=DATA)
    assert run(vcpu) == "EXIT_HLT"
    assert word32(vcpu.memory, entry_at(DATA)) & DIRTY


def test_popa_reads_edi_first() -> None:
    _, address = faulted_at("popa; hlt", esp=ABSENT - 4)
    assert address == ABSENT
