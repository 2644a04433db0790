"""Two guests that share one host thread: a scheduler for vCPUs, in Python.

Each guest counts in bursts: at a tick it counts for a while, prints a letter and halts. A turn of a
guest ends when it is idle (HLT exits), or when its slice of instructions is spent. If both are
idle, the thread sleeps on both descriptors at once, `wake_fd` of each vCPU, until the next tick is
due.

Guest a has short bursts, guest B bursts of many slices. So `a` goes on while B counts: the letters
come out mixed, although B never yields by itself.

    python examples/two_guests_one_thread.py
"""

from __future__ import annotations

import select
import time
from dataclasses import dataclass, field

import x86core as x86
from vmm import assemble, idle_policy

VECTOR, PRINT_PORT, SLICE = 0x20, 0xE9, 200_000

GUEST = f"""
    .intel_syntax noprefix
    .code16
    mov     word ptr [{VECTOR} * 4], offset on_tick
    mov     word ptr [{VECTOR} * 4 + 2], 0
idle:
    sti
    hlt                                 // its turn ends here
    mov     ecx, %d
count:
    dec     ecx
    jnz     count
    mov     al, '%s'
    out     {PRINT_PORT}, al
    jmp     idle
on_tick:
    iret
"""


@dataclass
class Guest:
    """A vCPU with its own memory, its ticks, and what was counted of it."""

    letter: str
    burst: int
    period: float
    turns: int = 0
    idle_exits: int = 0
    slices_spent: int = 0
    letters: int = 0
    due: float = 0
    vcpu: x86.VCPU = field(init=False)

    def __post_init__(self) -> None:
        memory = x86.Memory(64 << 10)
        memory.write(0x7C00, assemble(GUEST % (self.burst, self.letter)))
        self.vcpu = x86.VCPU(memory)
        self.vcpu.start_real_mode(cs=0, ip=0x7C00)
        idle_policy(hlt="exit").apply(self.vcpu)

    def turn(self) -> str:
        """Run until it is idle or its slice is spent; what it printed."""
        self.turns += 1
        end, printed = self.vcpu.instructions + SLICE, ""
        while (left := end - self.vcpu.instructions) > 0:
            match self.vcpu.run(left):
                case x86.EXIT_HLT:
                    self.idle_exits += 1
                    return printed
                case x86.EXIT_IO:
                    printed += chr(self.vcpu.io_data)
                    self.letters += 1
                case x86.EXIT_LIMIT:
                    pass
                case reason:
                    raise RuntimeError(f"unexpected {x86.EXIT_NAMES[reason]}")
        self.slices_spent += 1
        return printed


def schedule(guests: list[Guest], letters: int) -> str:
    """Give each guest that is runnable a turn, round and round, until all have printed so much."""
    poll, by_descriptor = select.poll(), {guest.vcpu.wake_fd: guest for guest in guests}
    for descriptor in by_descriptor:
        poll.register(descriptor, select.POLLIN)
    printed = ""
    while any(guest.letters < letters for guest in guests):
        for guest in guests:
            if guest.due <= time.monotonic():
                guest.vcpu.interrupt(VECTOR)
                guest.due = time.monotonic() + guest.period
        next_tick = min(guest.due for guest in guests) - time.monotonic()
        # With a runnable guest this returns at once: its descriptor is readable.
        for descriptor, _ in poll.poll(max(0.0, 1000 * next_tick)):
            printed += by_descriptor[descriptor].turn()
    return printed


def main() -> None:
    """Two guests, until each has printed 20 letters."""
    guests = [Guest("a", burst=20_000, period=0.005), Guest("B", burst=3_000_000, period=0.015)]
    began, cpu = time.perf_counter(), time.process_time()
    print(schedule(guests, letters=20))
    wall, busy = time.perf_counter() - began, time.process_time() - cpu
    for guest in guests:
        print(
            f"guest {guest.letter}: {guest.vcpu.instructions:>12,} instructions in {guest.turns}"
            f" turns; {guest.slices_spent} slices spent, {guest.idle_exits} times idle"
        )
    print(f"one thread, busy for {busy:.2f} s of {wall:.2f} s")


if __name__ == "__main__":
    main()
