"""The ways to idle that a point names.

The nine of MWAIT by their own names: then the guest idles in MWAIT. Those of HLT with "hlt-" before
them: then it idles in HLT, in every scenario, and who wakes it sends an interrupt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench.laboratory.parameter import LaboratoryError
from vmm import HLT_CHOICES, MWAIT_CHOICES


@dataclass(frozen=True, slots=True)
class Policy:
    """`mwait` and `hlt` are what `vmm.Machine` takes as `idle` and `hlt`."""

    name: str
    summary: str
    mwait: str
    hlt: str
    idle_by_hlt: bool


def _policies() -> dict[str, Policy]:
    by_mwait = [
        Policy(choice.name, f"MWAIT: {choice.summary}", choice.name, "block", False)
        for choice in MWAIT_CHOICES.values()
    ]
    by_hlt = [
        Policy(f"hlt-{choice.name}", f"HLT: {choice.summary}", "fault", choice.name, True)
        for choice in HLT_CHOICES.values()
    ]
    return {policy.name: policy for policy in (*by_mwait, *by_hlt)}


POLICIES: Final[dict[str, Policy]] = _policies()


def find_policy(name: str) -> Policy:
    """The policy of that name. Raises LaboratoryError, which lists the known, for another."""
    if name not in POLICIES:
        raise LaboratoryError(f"unknown policy {name!r} (known: {', '.join(POLICIES)})")
    return POLICIES[name]
