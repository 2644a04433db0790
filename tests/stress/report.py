"""The result for a reader and for a script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from bench.units import count
from tests.stress.campaign import QUANTITIES, Settings, Tally
from tests.stress.plan import Phase
from tests.stress.watch import Incident, VCPUState

#: Statistics of the vCPUs that say how much of the protocol was at work.
_STATS = {
    "monitor_arms": "lines armed",
    "monitor_unacknowledged": "lines not armed, the page not being acknowledged",
    "page_protections": "pages protected",
    "page_releases": "pages released",
    "write_faults": "stores by vCPUs to protected pages",
    "false_faults": "of these to lines that nobody monitored",
    "monitor_triggers_vcpu": "monitors triggered by a store of a vCPU",
    "monitor_triggers_locked": "of these by a locked one",
    "monitor_triggers_string": "of these by a string instruction",
    "wakes_store": "wakes by a store",
    "wakes_interrupt": "wakes by an interrupt",
    "wakes_kick": "wakes by a kick",
    "wakes_spurious": "wakes by none of these: a time limit, a request of the VMM",
}

#: Incidents shown at full length.
_SHOWN = 5


def print_report(console: Console, settings: Settings, tally: Tally) -> None:
    """What went wrong first, then the numbers."""
    for incident in tally.incidents[:_SHOWN]:
        _print_incident(console, settings, incident)
    if len(tally.incidents) > _SHOWN:
        console.rule(f"{len(tally.incidents) - _SHOWN:,} more of the kind; --json has all")
    table = Table()
    for name in ("", *QUANTITIES):
        table.add_column(name, justify="left" if not name else "right")
    for breakdown, rows in tally.broken_down.items():
        table.add_section()
        table.add_row(f"[bold]by {breakdown}")
        for row, amounts in sorted(rows.items()):
            table.add_row(row, *(count(amounts[name]) for name in QUANTITIES))
    table.add_section()
    table.add_row("[bold]all", *(count(tally.total[name]) for name in QUANTITIES))
    console.print(table)
    for name, meaning in _STATS.items():
        console.print(f"{tally.stats[name]:>15,} {meaning}", highlight=False)
    console.print(
        f"{tally.total['handoffs']:,} handoffs in {tally.phases:,} phases of seed {settings.seed} "
        f"with up to {settings.vcpus} vCPUs, {tally.total['lost']:,} lost",
        highlight=False,
    )


def _print_incident(console: Console, settings: Settings, incident: Incident) -> None:
    phase = incident.phase
    console.rule(f"seed {settings.seed}, phase {phase.number}")
    console.print(incident.what, markup=False, highlight=False, soft_wrap=True)
    console.print(_summary(phase), markup=False, highlight=False, soft_wrap=True)
    for state in incident.states:
        fields = {name: getattr(state, name) for name in VCPUState.__slots__}
        stats = fields.pop("stats")
        console.print(_pairs(fields), markup=False, highlight=False, soft_wrap=True)
        console.print(f"    {_pairs(stats)}", markup=False, highlight=False, soft_wrap=True)


def _summary(phase: Phase) -> str:
    rings = "; ".join(
        " > ".join(f"{member.index} {member.wait}" for member in ring) for ring in phase.rings
    )
    return (
        f"policy {phase.policy}, disturbance {phase.disturbance}, {phase.layout}, "
        f"instruction limit {phase.limit}, rings: {rings}"
    )


def _pairs(fields: Mapping[str, int | str]) -> str:
    """Names and values on one line; addresses in hexadecimal."""
    shown = {
        name: hex(value) if name in ("line", "eip") and isinstance(value, int) else value
        for name, value in fields.items()
    }
    return ", ".join(f"{name} {'-' if value == '' else value}" for name, value in shown.items())


def as_data(settings: Settings, tally: Tally) -> dict[str, object]:
    """The same for JSON."""
    return {
        "settings": asdict(settings),
        "phases": tally.phases,
        **{name: tally.total[name] for name in QUANTITIES},
        "by": tally.broken_down,
        "stats": tally.stats,
        "incidents": [
            {
                "phase": incident.phase.number,
                "what": incident.what,
                "configuration": _summary(incident.phase),
                "vcpus": [asdict(state) for state in incident.states],
            }
            for incident in tally.incidents
        ],
    }
