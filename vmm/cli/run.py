"""The command that runs a guest: `python -m vmm run GUEST`."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource

from vmm.asm import AssemblyError
from vmm.board import DEVICES_CHOICES
from vmm.cli.firmware import post_option, rom_option, show_post_codes
from vmm.cli.gdb import debugged, gdb_option
from vmm.cpuid import FEATURE_CHOICES
from vmm.gdb import Debugger
from vmm.guest_io import guest_output, serial_input
from vmm.idle import HLT_CHOICES, MWAIT_CHOICES, Choice
from vmm.loader import NEEDS, LoadError, Needs
from vmm.machine import CLOCK_CHOICES, MOST_INSTRUCTIONS, START_CHOICES, Machine
from vmm.output import BadInput, stdout_of, to_stdout
from vmm.result import Outcome, Result
from vmm.seeing import Views
from vmm.snapshot import Snapshot, SnapshotError, read_snapshot
from vmm.tick import TICK_VECTOR
from vmm.trace import CapstoneMissingError, Trace, event_name
from vmm.work import EXECUTORS
from x86core import MAX_VCPUS, MOST_TURN

#: The process status for each way to end; for the exit port it is the byte that the guest wrote.
STATUS = {
    Outcome.ALL_HALTED: 0,
    Outcome.RESET: 0,
    Outcome.SHUTDOWN: 3,
    Outcome.INTERNAL_ERROR: 3,
    Outcome.TIMEOUT: 124,
    Outcome.INSTRUCTION_LIMIT: 125,
    Outcome.INTERRUPTED: 130,
}


def _default(option: str) -> str:
    """The default of an option for its help, with those of the shipped guests that differ."""
    usual = getattr(Needs(), option)
    values = {name: getattr(needs, option) for name, needs in NEEDS.items()}
    others = ", ".join(f"{value} for {name}" for name, value in values.items() if value != usual)
    return f"  [default: {usual}; {others}]"


def _explain(choices: dict[str, Choice]) -> str:
    return "; ".join(f"{choice.name} = {choice.summary}" for choice in choices.values())


@click.command()
@click.argument("guest", required=False)
@click.option(
    "--memory", default="16M", show_default=True, help="Guest RAM: bytes, or with K, M, G."
)
@click.option(
    "--vcpus",
    type=click.IntRange(1, MAX_VCPUS),
    help=f"Virtual CPUs.{_default('vcpus')}",
)
@click.option(
    "--start",
    type=click.Choice(START_CHOICES),
    help="Which vCPUs begin with GUEST: all, or bootstrap = number 0, which starts the others by"
    f" INIT and start-up IPIs, as always with a Multiboot kernel.{_default('start')}",
)
@click.option(
    "--feature",
    "features",
    type=click.Choice(list(FEATURE_CHOICES)),
    multiple=True,
    help=f"Have CPUID offer {', or '.join(FEATURE_CHOICES.values())}. Repeatable.",
)
@click.option(
    "--idle",
    type=click.Choice(list(MWAIT_CHOICES)),
    default="fault",
    show_default=True,
    help=f"What MWAIT is: {_explain(MWAIT_CHOICES)}.",
)
@click.option(
    "--hlt",
    type=click.Choice(list(HLT_CHOICES)),
    default="block",
    show_default=True,
    help=f"What HLT is: {_explain(HLT_CHOICES)}.",
)
@click.option(
    "--at",
    metavar="ADDRESS",
    help="Physical address in the first MiB where source or a flat image is loaded and starts."
    "  [default: 0x7C00, or what ORG says in a .asm file]",
)
@rom_option
@post_option
@click.option(
    "--append", default="", metavar="TEXT", help="The command line of a Multiboot kernel."
)
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="'FILE [ARGUMENTS]'",
    help="A file to load beside a Multiboot kernel, which gets the whole text. Repeatable.",
)
@click.option(
    "--devices",
    type=click.Choice(DEVICES_CHOICES),
    help="Devices beside debug console and exit port: none, or pc = serial port, timer, interrupt"
    " controllers, clock, reset.  [default: pc for a boot sector, floppy image or Multiboot kernel,"
    " and for serial; else none]",
)
@click.option(
    "--input",
    "input_path",
    metavar="FILE",
    help="Send FILE to the serial port; - is standard input. A terminal is put into raw mode, and"
    " Ctrl-A X leaves.  [default: none; - for serial]",
)
@click.option(
    "--output",
    "output_path",
    metavar="FILE",
    help="Write what the guest prints, on the debug console and the serial port, to FILE."
    "  [default: standard output]",
)
@click.option(
    "--tick",
    type=click.FloatRange(min=0),
    metavar="HZ",
    help=f"How often a second vCPU 0 gets interrupt {TICK_VECTOR:#x}, 0 for never."
    f"{_default('tick')}",
)
@click.option(
    "--clock",
    type=click.Choice(CLOCK_CHOICES),
    default="wall",
    show_default=True,
    help="What guest time follows: wall = the host's, each vCPU on a thread; virtual = the"
    " instructions, 1 ns each, all vCPUs in turn on one thread, and every run alike.",
)
@click.option(
    "--turn",
    type=click.IntRange(1, MOST_TURN),
    default=1000,
    show_default=True,
    metavar="N",
    help="Instructions in a turn of a vCPU, with --clock virtual.",
)
@click.option(
    "--save",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Save the machine at the end, however it came, for --restore.",
)
@click.option(
    "--restore",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Go on with a saved machine, in place of GUEST and of what makes its machine.",
)
@click.option(
    "--work",
    type=click.Choice(list(EXECUTORS)),
    default="vcpu",
    show_default=True,
    help="Who does deferred work: "
    + "; ".join(f"{name} = {summary}" for name, (_, summary) in EXECUTORS.items())
    + ".",
)
@click.option(
    "--max-instructions",
    type=click.IntRange(0, MOST_INSTRUCTIONS),
    default=0,
    metavar="N",
    help="Stop when a vCPU has retired N instructions; 0 is no limit.  [default: 0]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop after so long.  [default: never]",
)
@click.option("--trace", is_flag=True, help="Print each instruction and what it changed on stderr.")
@click.option(
    "--trace-from",
    type=click.IntRange(min=0),
    metavar="N",
    help="Trace a vCPU from when it has retired N instructions.  [default: 0]",
)
@click.option(
    "--trace-last",
    type=click.IntRange(min=1),
    metavar="N",
    help="Trace only the last N steps of each vCPU, at the end.  [default: all, as they happen]",
)
@gdb_option
@click.option(
    "--stats",
    is_flag=True,
    help="Print where the time went and what was counted; on a terminal once a second, too.",
)
@click.option(
    "--timeline",
    metavar="FILE",
    help="Write what each vCPU did, and who woke it, for ui.perfetto.dev: --timeline smp.json",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole result as JSON on stdout.")
@click.pass_context
def run(
    context: click.Context,
    guest: str | None,
    memory: str,
    vcpus: int | None,
    start: str | None,
    features: tuple[str, ...],
    idle: str,
    hlt: str,
    at: str | None,
    as_rom: bool,
    post_port: str | None,
    append: str,
    modules: tuple[str, ...],
    devices: str | None,
    input_path: str | None,
    output_path: str | None,
    tick: float | None,
    clock: str,
    turn: int,
    save: str | None,
    restore: str | None,
    work: str,
    max_instructions: int,
    timeout: float | None,
    trace: bool,
    trace_from: int | None,
    trace_last: int | None,
    gdb: str | None,
    stats: bool,
    timeline: str | None,
    as_json: bool,
) -> None:
    """Run GUEST: source (.S, or .asm with nasm), a flat image (.bin), a ROM image (.rom), a boot
    sector or floppy image, an ELF32 executable, a Multiboot kernel, or the name of a shipped guest.

    What the guest prints on port 0xE9 or the serial port goes to stdout as it comes, a summary to
    stderr at the end.

    \b
    Exit status:
      the byte that the guest wrote to the exit port 0xF4, so 0 when it wrote 0
        0  every started vCPU is halted with interrupts off, or the guest reset its machine
        2  misuse, or GUEST cannot be loaded
        3  triple fault, or no memory to fetch code from
      124  timeout
      125  instruction limit
      130  Ctrl-C, or Ctrl-A X at a terminal that is the guest's

    \b
    Examples:
      python -m vmm run hello
      python -m vmm run vmm/guests/protected.S --memory 2M --json
      python -m vmm run smp --vcpus 8 --start bootstrap --idle adaptive --hlt poll
      python -m vmm run idle --tick 1000 --work helpers
      python -m vmm run guest.asm --feature monitorx --feature waitpkg
      python -m vmm run boot.bin --at 0x8000 --timeout 5
      python -m vmm run boot.bin --max-instructions 1000000 --trace-last 20
      python -m vmm run boot.bin --trace --trace-from 500
      python -m vmm run smp --clock virtual --turn 100
      python -m vmm run idle --clock virtual --max-instructions 100 --save half-way
      python -m vmm run --restore half-way
      python -m vmm run boot.bin --gdb 1234
      python -m vmm run pair --timeout 2 --stats --timeline pair.json
      python -m vmm run serial --devices pc --input notes.txt --output answers.txt
      python -m vmm run multiboot --append "one two" --module "notes.txt for the kernel"
      python -m vmm run bios.bin --rom --post-port 0x80
    """
    needs = NEEDS.get(guest or "", Needs())
    debugger = Debugger() if gdb is not None else None
    try:
        saved = _saved(context, restore)
        _check_save(save)
        virtual = (saved.description.get("clock") if saved else clock) == "virtual"
        if not virtual and _is_given(context, "turn"):
            raise click.UsageError("--turn needs --clock virtual", context)
        with (
            stdout_of(context),
            serial_input(input_path or needs.input, script=virtual) as serial,
            guest_output(output_path, None if as_json else to_stdout) as output,
        ):
            views = Views(stats, timeline, output)
            if saved is not None:
                machine = Machine.restore(
                    saved,
                    serial=serial,
                    console=views.output,
                    measure=stats,
                    observers=views.observers,
                )
            elif guest is None:
                raise click.UsageError("Missing argument 'GUEST', or --restore FILE.", context)
            else:
                machine = Machine.load(
                    guest,
                    memory,
                    needs.vcpus if vcpus is None else vcpus,
                    idle,
                    hlt,
                    at,
                    append=append,
                    modules=modules,
                    as_rom=as_rom,
                    start=needs.start if start is None else start,
                    features=features,
                    devices=needs.devices if devices is None else devices,
                    serial=serial,
                    tick=needs.tick if tick is None else tick,
                    clock=clock,
                    turn=turn,
                    work=work,
                    console=views.output,
                    trace=_trace(trace, trace_from, trace_last),
                    measure=stats,
                    observers=views.observers,
                    debugger=debugger,
                )
            post_codes = show_post_codes(machine, post_port, aloud=not as_json)
            with debugged(gdb, debugger) as finish:
                result = machine.run(timeout, max_instructions)
                finish(status_of(result))
            views.show(machine)
            if save is not None:
                machine.save(save)
            if as_json:
                codes = {} if post_codes is None else {"post_codes": list(post_codes.codes)}
                to_stdout(json.dumps(result.as_dict() | codes, indent=2).encode() + b"\n")
    except (AssemblyError, CapstoneMissingError, LoadError, ValueError) as error:
        raise BadInput(str(error)) from None
    except KeyboardInterrupt:  # while it was loaded
        context.exit(STATUS[Outcome.INTERRUPTED])
    if not as_json:
        if sys.stdout.isatty() and result.console and not result.console.endswith("\n"):
            click.echo()
        click.echo(summary(result), err=True)
    context.exit(status_of(result))


def status_of(result: Result) -> int:
    """The process status that a result makes."""
    return STATUS[result.outcome] if result.exit_code is None else result.exit_code


def summary(result: Result) -> str:
    """A result in a few lines."""
    lines = [f"{result.outcome} after {result.wall_seconds:.3f} s: {result.explanation}"]
    if result.exit_code is not None:
        lines[0] += f" (as isa-debug-exit: status {result.isa_debug_exit_status})"
    for vcpu in result.vcpus:
        exits = ", ".join(f"{count:,} {name}" for name, count in vcpu.exits.items())
        lines.append(
            f"vCPU {vcpu.index}: {vcpu.instructions:,} instructions, {vcpu.wakes:,} wakes,"
            f" {vcpu.cpu_seconds:.3f} s of host CPU; exits: {exits or 'none'}"
        )
        if result.exit_code is None and vcpu.last_event >= 0:
            lines[-1] += f"; last event taken: {event_name(vcpu.last_event)}"
    if result.trace_hash is not None and result.guest_ns is not None:
        lines.append(f"{result.guest_ns:,} ns of guest time, trace hash {result.trace_hash:016x}")
    work = result.work
    if work.done or work.failed or work.cancelled or work.pending:
        lines.append(
            f"deferred work: {work.done:,} done, latency p50 {work.latency_p50_ns / 1000:,.1f} us,"
            f" p99 {work.latency_p99_ns / 1000:,.1f} us; {work.pending:,} pending,"
            f" {work.failed:,} failed"
        )
        lines.extend(work.failures)
    return "\n".join(lines)


#: What may stand beside --restore: how long to run, and what to do with the result.
_BESIDE_RESTORE = {
    "restore",
    "save",
    "max_instructions",
    "timeout",
    "as_json",
    "stats",
    "timeline",
    "input_path",
    "output_path",
    "post_port",
}


def _check_save(path: str | None) -> None:
    """Raises SnapshotError, before the run, when there cannot be a file of that name behind it."""
    folder = Path(path or "").parent
    if path is not None and not os.access(folder, os.W_OK | os.X_OK):
        raise SnapshotError(
            f"cannot save the machine in {path}: cannot write into the folder {str(folder)!r}"
        )


def _saved(context: click.Context, path: str | None) -> Snapshot | None:
    """What --restore names. Raises UsageError for what the saved machine has already, SnapshotError
    for a file that holds none.
    """
    if path is None:
        return None
    for parameter in context.command.params:
        if _is_given(context, parameter.name) and parameter.name not in _BESIDE_RESTORE:
            what = parameter.opts[0] if parameter.opts[0] != "guest" else "GUEST"
            raise click.UsageError(f"--restore has a machine: leave out {what}", context)
    return read_snapshot(path)


def _is_given(context: click.Context, parameter: str | None) -> bool:
    return context.get_parameter_source(parameter or "") is ParameterSource.COMMANDLINE


def _trace(wanted: bool, first: int | None, last: int | None) -> Trace | None:
    """The trace that the options ask for, any of them."""
    if not wanted and first is None and last is None:
        return None
    return Trace(partial(click.echo, err=True), first or 0, last or 0)
