"""Deferred work in a vCPU's own thread, done while its guest is idle.

The flow is the one that A. Graf expects in his reply to the RFC "KVM: x86: Allow userspace exit on
HLT and MWAIT, else yield on MWAIT" (18 September 2023):

    0) The vCPU runs. HLT and MWAIT are directly exposed to the guest.
    1) The vCPU exits, here for a port write, and there is work to do that can wait. Trapping is
       turned on.
    2) The vCPU runs again. The work waits.
    3) The guest is idle: its HLT or MWAIT exits, and now the work is done.
    4) The vCPU runs again, without trapping.

Turning trapping on and off is a few stores into `struct kvm_run`, no call into the hypervisor.

Then the same with every vCPU asleep when the work arrives. None of them will execute an idle
instruction soon, so one is kicked. In HLT it stays HALTED: it leaves the guest, does the work and
enters again, and the guest has not noticed. (A kick ends MWAIT, which may end at any time.)

    python examples/deferred_work_on_idle.py
"""

from __future__ import annotations

import threading
import time
import zlib

import x86core as x86
from vmm import Machine, Result, idle_policy
from vmm.asm import BOOT_ADDRESS, assemble
from vmm.tick import TICK_VECTOR, Ticker

DIRECT = idle_policy(mwait="passthrough", hlt="passthrough")
TRAPPED = idle_policy(mwait="exit", hlt="exit")

#: Where the guest asks for something, says that it is done, and ends the machine.
REQUEST_PORT, DONE_PORT, EXIT_PORT = 0x80, 0x81, 0xF4

IDLE = {
    "HLT": "hlt",
    "MWAIT": "mov ax, offset line; xor ecx, ecx; xor edx, edx; monitor; mwait",
}
IDLE_EXIT = {"HLT": x86.EXIT_HLT, "MWAIT": x86.EXIT_MWAIT}

PROLOGUE = f"""
    .intel_syntax noprefix
    .code16
    mov     word ptr [{TICK_VECTOR} * 4], offset on_tick
    mov     word ptr [{TICK_VECTOR} * 4 + 2], 0
    sti
"""

#: Idles until a tick, three times; asks for something; is busy for a while; then idles again.
WORKER = """
    mov     bx, 3
first:
    {idle}
    dec     bx
    jnz     first
    out     {request}, al
    mov     ecx, 1000000
busy:
    dec     ecx
    jnz     busy
    mov     bx, 3
again:
    {idle}
    dec     bx
    jnz     again
    out     {done}, al
on_tick:
    iret
    .balign 64
line:
    .skip   64
"""

#: Idles until an interrupt ends the machine.
SLEEPER = """
sleep:
    {idle}
    jmp     sleep
on_tick:
    out     {exit}, al
    .balign 64
line:
    .skip   64
"""


class Diary:
    """Prints what happens, with the milliseconds since the beginning."""

    def __init__(self, title: str) -> None:
        print(f"\n{title}")
        self._begin = time.perf_counter()

    def note(self, step: str, what: str) -> None:
        """One line for a step of the flow."""
        print(f"{1000 * (time.perf_counter() - self._begin):9.3f} ms  {step:>2}  {what}")


def work_on(memory: x86.Memory) -> int:
    """Something that a VMM does for its guest when there is time: a checksum of its memory."""
    return zlib.crc32(memory.read(0, memory.size))


def one_vcpu(instruction: str) -> x86.VCPU:
    """The five steps by hand, on one vCPU whose guest idles with `instruction`, HLT or MWAIT."""
    source = PROLOGUE + WORKER.format(idle=IDLE[instruction], request=REQUEST_PORT, done=DONE_PORT)
    memory = x86.Memory(1 << 20)
    memory.write(BOOT_ADDRESS, assemble(source))
    vcpu = x86.VCPU(memory)
    vcpu.start_real_mode(cs=0, ip=BOOT_ADDRESS)

    diary = Diary(f"One vCPU, whose guest idles with {instruction}")
    with Ticker(vcpu.interrupt, hertz=1000):
        diary.note("0)", f"the vCPU runs; {instruction} is directly exposed to the guest")
        DIRECT.apply(vcpu)
        expect(vcpu, vcpu.run(), x86.EXIT_IO, REQUEST_PORT)

        diary.note("1)", f"it exits for port {REQUEST_PORT:#x}: there is work that can wait")
        TRAPPED.apply(vcpu)

        diary.note("2)", "the vCPU runs again, and the work waits")
        expect(vcpu, vcpu.run(), IDLE_EXIT[instruction])

        diary.note("3)", f"the guest is idle: {x86.EXIT_NAMES[vcpu.exit_reason]}")
        checksum = work_on(memory)
        diary.note("", f"the work is done: {checksum:#010x}")
        DIRECT.apply(vcpu)

        diary.note("4)", "the vCPU runs again, without trapping")
        expect(vcpu, vcpu.run(), x86.EXIT_IO, DONE_PORT)
        diary.note("", f"its guest has idled on, and no {instruction} has exited")
    return vcpu


def expect(vcpu: x86.VCPU, reason: int, expected: int, port: int = 0) -> None:
    """Check why the vCPU has left the guest. Raises RuntimeError when it is for something else."""
    if reason != expected or (port and vcpu.io_port != port):
        raise RuntimeError(f"unexpected {x86.EXIT_NAMES[reason]} of {vcpu!r}")


def all_asleep() -> tuple[Result, list[int]]:
    """The same by `vmm.Machine`, which has the work done for whoever submits it.

    Returns the machine's result, and for each vCPU how many instructions it retired between the
    arrival of the work and the moment when it was done and all slept again.
    """
    machine = Machine(memory="1M", vcpus=2, idle="passthrough", hlt="passthrough")
    machine.work.bound_seconds = 1.0  # the timer for guests that never idle has no part in this
    for vcpu, instruction in zip(machine.vcpus, IDLE, strict=True):
        address = BOOT_ADDRESS + 0x1000 * vcpu.index
        source = PROLOGUE + SLEEPER.format(idle=IDLE[instruction], exit=EXIT_PORT)
        machine.memory.write(address, assemble(source, origin=address))
        vcpu.start_real_mode(cs=0, ip=address)
    results: list[Result] = []
    runner = threading.Thread(target=lambda: results.append(machine.run(timeout=60)))
    runner.start()

    await_all_asleep(machine)
    diary = Diary("Two vCPUs, both asleep when the work arrives")
    diary.note("0)", "one sleeps in HLT, one in MWAIT, both directly")
    before = [vcpu.instructions for vcpu in machine.vcpus]

    done = threading.Event()

    def work() -> None:
        diary.note("3)", f"{threading.current_thread().name} has come out of the guest")
        checksum = work_on(machine.memory)
        diary.note("", f"the work is done: {checksum:#010x}")
        done.set()

    diary.note("1)", "work arrives; trapping is turned on, and a vCPU is kicked")
    machine.work.submit(work)
    done.wait()
    await_all_asleep(machine)
    after = [vcpu.instructions for vcpu in machine.vcpus]
    retired = [now - then for now, then in zip(after, before, strict=True)]
    diary.note("4)", "both sleep directly, as before")
    diary.note("", f"instructions that their guests have executed meanwhile: {retired}")

    machine.interrupt(TICK_VECTOR)
    runner.join()
    return results[0], retired


def await_all_asleep(machine: Machine) -> None:
    """Return once each vCPU waits in its guest."""
    while not all(vcpu.waiting for vcpu in machine.vcpus):
        time.sleep(0.001)


def main() -> None:
    """Run the flow for both instructions, then with every vCPU asleep."""
    for instruction in IDLE:
        one_vcpu(instruction)
    all_asleep()


if __name__ == "__main__":
    main()
