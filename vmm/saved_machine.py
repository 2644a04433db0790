"""What a saved machine consists of beside its vCPUs and its RAM, and how it is put together again.

The description is plain data. It may come from anywhere: whatever does not fit is a ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vmm.idle import IdlePolicy
from vmm.lockstep import InTurn
from vmm.loop import Loop
from vmm.snapshot import PAGE_SIZE, Snapshot, used_pages, write_pages
from vmm.tick import VirtualTicker
from x86core import MAX_ROM

if TYPE_CHECKING:
    from vmm.machine import Machine

#: Guest time of some 18 years, in ns.
_MOST_TIME = 1 << 59

_COUNT = 1 << 64


def save_machine(machine: Machine) -> Snapshot:
    """Everything of a machine that does not run. Deferred work is not: it is code of the VMM's."""
    runner = machine.runner
    # The devices first: on wall time none of them is behind the time that is noted.
    devices = None if machine.board.pc is None else machine.board.pc.save()
    virtual = isinstance(runner, InTurn)
    description: dict[str, Any] = {
        "memory": machine.memory.size,
        "rom": machine.memory.rom,
        "features": list(machine.vcpus[0].features),
        "clock": "virtual" if virtual else "wall",
        "devices": devices,
        "device_time": machine.clock.now(),
        "time": machine.clock.now() if virtual else machine.memory.time,
        "tick": machine.tick,
        "loops": [_save_loop(loop) for loop in machine.loops],
    }
    if isinstance(runner, InTurn) and isinstance(machine.ticker, VirtualTicker):
        description["turns"] = runner.turns.save()
        description["next_tick"] = machine.ticker.deadline
    numbers, pages = used_pages(machine.memory)
    return Snapshot(description, tuple(vcpu.save() for vcpu in machine.vcpus), numbers, pages)


def constructor_arguments(snapshot: Snapshot) -> dict[str, Any]:
    """Those of `Machine` that a saved one is made with. Raises ValueError for what is none."""
    description = snapshot.description
    clock = _get(description, "clock", str)
    arguments = {
        "memory": _integer(description, "memory", 1 << 32),
        "vcpus": len(snapshot.vcpus),
        "features": [str(name) for name in _get(description, "features", list)],
        "tick": _get(description, "tick", float | int),
        "devices": "none" if description.get("devices") is None else "pc",
        "clock": clock,
    }
    if clock == "virtual":
        turns = _get(description, "turns", dict)
        arguments["turn"] = _integer(turns, "turn", 1 << 30)
    return arguments


def restore_machine(machine: Machine, snapshot: Snapshot) -> None:
    """Fill a machine made with `constructor_arguments`. Raises ValueError for what does not fit."""
    description = snapshot.description
    if len(snapshot.numbers) and int(snapshot.numbers[-1]) * PAGE_SIZE >= machine.memory.size:
        raise ValueError(f"page {snapshot.numbers[-1]} is not in RAM")
    write_pages(machine.memory, snapshot)
    machine.memory.rom = _integer(description, "rom", MAX_ROM)
    time = _integer(description, "time", _MOST_TIME)
    machine.clock.begin_at(_integer(description, "device_time", _MOST_TIME))
    if isinstance(machine.runner, InTurn) and isinstance(machine.ticker, VirtualTicker):
        turns = _get(description, "turns", dict)
        _integer(turns, "time", _MOST_TIME)
        machine.ticker.deadline = _next_tick(description, time, ticks=machine.tick != 0)
        machine.runner.turns.restore(turns)
    else:
        machine.memory.time = time
    if machine.board.pc is not None:
        machine.board.pc.restore(_get(description, "devices", dict))
    # The vCPUs behind the devices, whose lines reach them while they are restored.
    loops = _get(description, "loops", list)
    if len(loops) != len(machine.loops):
        raise ValueError(f"it has {len(machine.loops)} vCPUs, and loops for {len(loops)}")
    for loop, state, saved in zip(machine.loops, snapshot.vcpus, loops, strict=True):
        loop.vcpu.restore(state)
        _restore_loop(loop, saved)
    if machine.board.pc is not None:
        # INTR may have risen meanwhile, for a tick between the run's end and the save.
        machine.board.pc.pic.restored()


def _save_loop(loop: Loop) -> dict[str, Any]:
    policy = loop.policy
    return {
        "name": policy.name,
        "userspace_exits": policy.userspace_exits,
        "disable_exits": policy.disable_exits,
        "mwait_policy": policy.mwait_policy,
        "hlt_policy": policy.hlt_policy,
        "exits": [[reason, count] for reason, count in loop.exits.items()],
    }


def _restore_loop(loop: Loop, saved: object) -> None:
    """The idle policy in force, which the vCPU refuses if it is none, and the exits so far."""
    if not isinstance(saved, dict):
        raise ValueError("a loop is no object")
    loop.policy = IdlePolicy(
        name=_get(saved, "name", str),
        userspace_exits=_integer(saved, "userspace_exits", 255),
        disable_exits=_integer(saved, "disable_exits", 255),
        mwait_policy=_integer(saved, "mwait_policy", 255),
        hlt_policy=_integer(saved, "hlt_policy", 255),
    )
    for exit_count in _get(saved, "exits", list):
        match exit_count:
            case [int(reason), int(count)] if 0 <= reason < _COUNT and 0 <= count < _COUNT:
                loop.exits[reason] = count
            case _:
                raise ValueError("the exits of a loop are not counted")


def _next_tick(description: Mapping[str, Any], time: int, *, ticks: bool) -> int | None:
    if not ticks:
        return None
    next_tick = _integer(description, "next_tick", 2 * _MOST_TIME)
    if next_tick <= time:
        raise ValueError("the next tick is in the past")
    return next_tick


def _get(values: Mapping[str, Any], name: str, kind: Any) -> Any:
    value = values.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ValueError(f"there is no {name} of it")
    return value


def _integer(values: Mapping[str, Any], name: str, most: int) -> int:
    value: int = _get(values, name, int)
    if not 0 <= value <= most:
        raise ValueError(f"its {name} is not in 0..{most}")
    return value
