"""How a stop, and the end of the guest, are told to gdb."""

from __future__ import annotations

from vmm.gdb.debugger import Stop
from vmm.gdb.registers import EXPEDITED, REGISTERS
from x86core import VCPU


def stop_reply(stop: Stop, vcpu: VCPU, features: frozenset[str]) -> bytes:
    """Packet T. `features` are what gdb said that it knows."""
    fields = [f"thread:{stop.vcpu + 1:x};"]
    if stop.cause in ("swbreak", "hwbreak"):
        if stop.cause in features:
            fields.append(f"{stop.cause}:;")
    elif stop.cause:
        fields.append(f"{stop.cause}:{stop.address:x};")
    fields += [f"{number:02x}:{REGISTERS[number].read(vcpu)};" for number in EXPEDITED]
    return f"T{stop.signal:02x}{''.join(fields)}".encode()


def exit_reply(status: int) -> bytes:
    """Packet W: the guest has ended, with the exit status of the run."""
    return f"W{status & 0xFF:02x}".encode()
