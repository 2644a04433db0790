"""What each packet of gdb comes to.

Source: the GDB manual, appendix "Remote Protocol": Packets, Stop Reply Packets, General Query
Packets. An unknown packet is answered by an empty one, as the protocol asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vmm.gdb import memory, monitor, registers, threads
from vmm.gdb.debugger import SIGINT, SIGTRAP, Action, Debugger, Stop
from vmm.gdb.packets import PACKET_SIZE
from vmm.gdb.points import Point
from vmm.gdb.stops import exit_reply, stop_reply
from x86core import VCPU

OK = b"OK"
#: E and an errno: EINVAL for what makes no sense, EFAULT where there is no memory.
_INVALID = b"E16"
_NO_MEMORY = b"E0e"

_EIP = next(register for register in registers.REGISTERS if register.name == "eip")

_SUPPORTED = (
    f"PacketSize={PACKET_SIZE:x};QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;"
    "swbreak+;hwbreak+;vContSupported+"
)


class Session:
    """One gdb's view of a debugger. While `running`, the next packet to gdb is a stop reply."""

    def __init__(self, debugger: Debugger) -> None:
        self.running = False
        self.acknowledges = True
        self.detached = False
        self.killed = False
        self._debugger = debugger
        self._features: frozenset[str] = frozenset()
        self._chosen = {"g": 0, "c": threads.ALL}
        self._stop = Stop(0, SIGTRAP)
        self._threads_left: list[int] = []
        self._handlers: dict[str, Callable[[str], bytes | None]] = {
            "?": lambda _: self._stop_reply(),
            "g": lambda _: registers.read_all(self._vcpu).encode(),
            "G": self._write_all,
            "p": self._read_register,
            "P": self._write_register,
            "m": self._read_memory,
            "M": self._write_memory,
            "H": self._choose,
            "T": self._is_alive,
            "c": lambda text: self._go_on(Action.CONTINUE, text),
            "C": lambda text: self._go_on(Action.CONTINUE, text.partition(";")[2]),
            "s": lambda text: self._go_on(Action.STEP, text),
            "S": lambda text: self._go_on(Action.STEP, text.partition(";")[2]),
            "Z": lambda text: self._change_point(text, self._debugger.points.insert),
            "z": lambda text: self._change_point(text, self._debugger.points.remove),
            "D": lambda _: self._detach(),
            "k": lambda _: self._kill(),
            "v": self._long,
            "q": self._query,
            "Q": self._set,
        }

    def handle(self, payload: bytes) -> Iterator[bytes]:
        """The answers to a packet, none while the guest runs on. Never raises."""
        try:
            if payload[:1] == b"X":
                yield self._write_binary(payload[1:])
                return
            text = payload.decode("ascii")
            if text.startswith("qRcmd,"):
                yield from self._command(bytes.fromhex(text[6:]).decode())
                return
            handler = self._handlers.get(text[:1])
            answer = b"" if handler is None else handler(text[1:])
        except (ValueError, IndexError):  # among them UnicodeDecodeError
            answer = _INVALID
        if answer is not None:
            yield answer

    def report(self) -> bytes | None:
        """The stop reply that gdb waits for, as soon as there is one: when all vCPUs are held."""
        if not self._debugger.wait_until_held():
            return None
        self._stop = self._debugger.take_stop() or Stop(self._stop.vcpu, SIGINT)
        self._chosen["g"] = self._stop.vcpu
        self.running = False
        return self._stop_reply()

    def end(self, status: int) -> bytes:
        """The guest has ended while it ran."""
        self.running = False
        return exit_reply(status)

    @property
    def _vcpu(self) -> VCPU:
        return self._debugger.vcpus[self._chosen["g"]]

    def _stop_reply(self) -> bytes:
        return stop_reply(self._stop, self._debugger.vcpus[self._stop.vcpu], self._features)

    # Registers and memory.

    def _write_all(self, text: str) -> bytes:
        registers.write_all(self._vcpu, text)
        return OK

    def _read_register(self, text: str) -> bytes:
        return _register(text).read(self._vcpu).encode()

    def _write_register(self, text: str) -> bytes:
        number, _, value = text.partition("=")
        register = _register(number)
        if len(value) != register.digits:
            raise ValueError(f"{register.name} has {register.digits} digits")
        register.write(self._vcpu, registers.little_endian(value))
        return OK

    def _read_memory(self, text: str) -> bytes:
        """As much as there is; an error when there is none of it."""
        address, length = _address_and_length(text)
        data = memory.read(self._vcpu, address, min(length, PACKET_SIZE // 2))
        return data.hex().encode() if data else _NO_MEMORY

    def _write_memory(self, text: str) -> bytes:
        place, _, data = text.partition(":")
        return self._write(place, bytes.fromhex(data))

    def _write_binary(self, payload: bytes) -> bytes:
        place, _, data = payload.partition(b":")
        return self._write(place.decode("ascii"), data)

    def _write(self, place: str, data: bytes) -> bytes:
        address, length = _address_and_length(place)
        if length != len(data):
            return _INVALID
        return OK if memory.write(self._vcpu, address, data) else _NO_MEMORY

    # Running.

    def _go_on(self, action: Action, address: str) -> None:
        """What `H c` has chosen, a vCPU or all of them, of which only the one in question steps."""
        number = self._chosen["c"]
        vcpu = self._chosen["g"] if number < 0 else number
        if address:
            _EIP.write(self._debugger.vcpus[vcpu], int(address, 16))
        others = Action.CONTINUE if number < 0 else Action.HOLD
        actions = dict.fromkeys(range(len(self._debugger.vcpus)), others)
        self._resume(actions | {vcpu: action})

    def _resume(self, actions: dict[int, Action]) -> None:
        if all(action is Action.HOLD for action in actions.values()):
            raise ValueError("nobody is to go on")
        self.running = True
        self._debugger.resume(actions)

    def _change_point(self, text: str, change: Callable[[Point, list[VCPU]], None]) -> bytes:
        fields = text.split(";")[0].split(",")
        kind = fields[0]
        if kind not in ("0", "1", "2", "3", "4"):
            return b""
        change(Point(kind, int(fields[1], 16), int(fields[2], 16)), self._debugger.vcpus)
        return OK

    def _detach(self) -> bytes:
        self.detached = True
        return OK

    def _kill(self) -> None:
        self.killed = True

    def _long(self, text: str) -> bytes | None:
        """Packets v."""
        name, semicolon, rest = text.partition(";")
        match name:
            case "Cont?":
                return b"vCont;c;C;s;S"
            case "Cont" if semicolon:
                self._resume(threads.parse_resume(rest, len(self._debugger.vcpus)))
                return None
            case "Kill":
                self._kill()
                return OK
        return b""

    # Threads.

    def _choose(self, text: str) -> bytes:
        number = threads.parse_thread(text[1:])
        if text[:1] not in self._chosen or number > len(self._debugger.vcpus):
            return _INVALID
        if text[0] == "g":
            self._chosen["g"] = number - 1 if number > 0 else self._stop.vcpu
        else:
            self._chosen["c"] = number - 1 if number > 0 else threads.ALL
        return OK

    def _is_alive(self, text: str) -> bytes:
        return OK if 1 <= threads.parse_thread(text) <= len(self._debugger.vcpus) else _INVALID

    def _next_threads(self) -> bytes:
        """As many as a packet takes; l when there are no more."""
        now, self._threads_left = self._threads_left[:512], self._threads_left[512:]
        return b"m" + ",".join(f"{number:x}" for number in now).encode() if now else b"l"

    # Queries.

    def _query(self, text: str) -> bytes:
        name, _, rest = text.partition(":")
        match name:
            case "Supported":
                self._features = frozenset(
                    word.removesuffix("+") for word in rest.split(";") if word.endswith("+")
                )
                return _SUPPORTED.encode()
            case "Attached":
                return b"1"  # so that gdb detaches when it is left, and does not kill
            case "C":
                return f"QC{self._chosen['g'] + 1:x}".encode()
            case "fThreadInfo":
                self._threads_left = [vcpu.index + 1 for vcpu in self._debugger.vcpus]
                return self._next_threads()
            case "sThreadInfo":
                return self._next_threads()
            case "Symbol":
                return OK
            case "Xfer":
                return self._transfer(rest)
        if name.startswith("ThreadExtraInfo,"):
            vcpu = self._debugger.vcpus[max(threads.parse_thread(name[16:]), 1) - 1]
            return f"vCPU {vcpu.index}: {threads.state_of(vcpu)}".encode().hex().encode()
        return b""

    def _transfer(self, text: str) -> bytes:
        """A part of one of the texts that gdb reads in parts."""
        kind, operation, annex, place = text.split(":")
        if operation != "read":
            return b""
        if kind == "features":
            if annex != "target.xml":
                return b"E00"
            whole = registers.target_description(self._vcpu).encode()
        elif kind == "threads":
            whole = threads.thread_list(self._debugger.vcpus).encode()
        else:
            return b""
        at, length = _address_and_length(place)
        part = whole[at : at + min(length, PACKET_SIZE // 2)]
        return (b"l" if at + len(part) >= len(whole) else b"m") + part

    def _set(self, text: str) -> bytes:
        if text == "StartNoAckMode":
            self.acknowledges = False
            return OK
        return b""

    def _command(self, text: str) -> Iterator[bytes]:
        """A `monitor` command: its output in parts, and the end of it."""
        output = monitor.run_command(text, self._debugger.vcpus).encode().hex().encode()
        for at in range(0, len(output), PACKET_SIZE // 2):
            yield b"O" + output[at : at + PACKET_SIZE // 2]
        yield OK


def _address_and_length(text: str) -> tuple[int, int]:
    address, comma, length = text.partition(",")
    if not comma or "-" in text:
        raise ValueError(f"no address and length: {text!r}")
    return int(address, 16), int(length, 16)


def _register(text: str) -> registers.Register:
    if "-" in text:
        raise ValueError(f"no register {text!r}")
    return registers.REGISTERS[int(text, 16)]
