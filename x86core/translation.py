"""What `VCPU.translate` says of a linear address: struct kvm_translation (linux/kvm.h)."""

from __future__ import annotations

from typing import Final, NamedTuple

#: The physical address of what leads nowhere, as KVM gives it.
NOWHERE: Final = 0xFFFF_FFFF_FFFF_FFFF


class Translation(NamedTuple):
    """Where a linear address leads, and what the page tables grant there.

    `writeable` is R/W and `usermode` U/S of all entries on the way, whatever CR0.WP and the
    privilege level are. Without paging every address leads to itself.
    """

    #: NOWHERE unless `valid`. There may be no RAM at it.
    physical_address: int
    #: Whether the tables lead anywhere: entries are present, and no reserved bit is set.
    valid: bool
    writeable: bool
    usermode: bool
