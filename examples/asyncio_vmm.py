"""A VMM inside an asyncio program: while the guest is idle, the event loop does everything else.

HLT exits, and the VMM awaits the vCPU's `wake_fd`, a descriptor that polls readable exactly while
the vCPU is runnable. So a guest is one more thing that an event loop waits for: no thread, no
polling.

The guest is a server. An interrupt says that a character has come in at port 60h; it sends it back
at port E9h, capitals for small letters, and halts until the next one. Both ends of the connection
are asyncio streams in this process. The client takes its time, so that most of the run is idle.

    python examples/asyncio_vmm.py
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque

import x86core as x86
from vmm import assemble, idle_policy

VECTOR, DATA_PORT, SEND_PORT = 0x20, 0x60, 0xE9

GUEST = f"""
    .intel_syntax noprefix
    .code16
    mov     word ptr [{VECTOR} * 4], offset on_character
    mov     word ptr [{VECTOR} * 4 + 2], 0
    sti
idle:
    hlt                                 // exits, and the event loop goes on
    jmp     idle
on_character:
    in      al, {DATA_PORT}
    cmp     al, 'a'
    jb      send
    sub     al, 'a' - 'A'
send:
    out     {SEND_PORT}, al
    iret
"""


class Server:
    """The guest behind a stream. `idle_exits` counts how often it had nothing to do."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        memory = x86.Memory(64 << 10)
        memory.write(0x7C00, assemble(GUEST))
        self.vcpu = x86.VCPU(memory)
        self.vcpu.start_real_mode(cs=0, ip=0x7C00)
        idle_policy(hlt="exit").apply(self.vcpu)
        self.idle_exits = 0
        self._received: deque[int] = deque()
        self._reader, self._writer = reader, writer

    async def receive(self) -> None:
        """Take what comes in, until the end; the interrupt makes the vCPU runnable."""
        while data := await self._reader.read(100):
            if not self._received:
                self.vcpu.interrupt(VECTOR)
            self._received.extend(data)
        self._writer.close()

    async def run(self) -> None:
        """Run the vCPU; at an idle exit, let the event loop go on until it is runnable again."""
        while True:
            match self.vcpu.run(max_instructions=10_000):
                case x86.EXIT_HLT:
                    self.idle_exits += 1
                    await readable(self.vcpu.wake_fd)
                case x86.EXIT_IO if self.vcpu.io_direction == x86.EXIT_IO_IN:
                    self.vcpu.io_data = self._received.popleft()
                    if self._received:  # the next one; interrupts do not pile up
                        self.vcpu.interrupt(VECTOR)
                case x86.EXIT_IO:
                    self._writer.write(bytes([self.vcpu.io_data]))
                case x86.EXIT_LIMIT:  # a guest that is busy for long does not hold up the loop
                    await asyncio.sleep(0)
                case reason:
                    raise RuntimeError(f"unexpected {x86.EXIT_NAMES[reason]}")


async def readable(descriptor: int) -> None:
    """Return when the descriptor polls readable."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def client(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[str]
) -> list[str]:
    """Send lines, with a pause before each; the replies."""
    replies = []
    for line in lines:
        await asyncio.sleep(0.1)
        began = time.perf_counter()
        writer.write(f"{line}\n".encode())
        replies.append((await reader.readline()).decode().rstrip("\n"))
        print(f"{line} -> {replies[-1]}  in {1000 * (time.perf_counter() - began):.2f} ms")
    writer.close()
    return replies


async def serve(lines: list[str]) -> tuple[list[str], Server]:
    """Connect a client to the guest, until it has had its replies."""
    ours, theirs = socket.socketpair()
    server = Server(*await asyncio.open_connection(sock=ours))
    guest = asyncio.create_task(server.run())
    receiving = asyncio.create_task(server.receive())
    replies = await client(*await asyncio.open_connection(sock=theirs), lines)
    await receiving
    guest.cancel()
    await asyncio.gather(guest, return_exceptions=True)
    return replies, server


def main() -> None:
    """Three lines there and back."""
    began, cpu = time.perf_counter(), time.process_time()
    _, server = asyncio.run(serve(["monitor", "mwait", "wake_fd"]))
    wall, busy = time.perf_counter() - began, time.process_time() - cpu
    print(
        f"{server.idle_exits} idle exits; the host's CPU was busy for {busy:.3f} s of {wall:.3f} s"
    )


if __name__ == "__main__":
    main()
