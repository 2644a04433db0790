"""A virtual machine monitor in 30 lines: memory, a vCPU, and a loop over the reasons for its exits.

Nothing but the core (and an assembler). The guest asks port 60h for characters, makes them capitals
and writes them to port E9h; at the end of the text it halts. The VMM does what one of KVM does:
fill memory, set registers, run, look at `struct kvm_run`, serve the exit, run again.

    python examples/vmm_in_30_lines.py
"""

from __future__ import annotations

import x86core as x86
from vmm import assemble

GUEST = """
    .intel_syntax noprefix
    .code16
again:
    in      al, 0x60            // EXIT_IO: the next character, 0 when there is none
    test    al, al
    jz      done
    cmp     al, 'a'
    jb      print
    sub     al, 'a' - 'A'
print:
    out     0xE9, al            // EXIT_IO
    jmp     again
done:
    hlt                         // EXIT_HLT
"""


def run(text: bytes) -> tuple[bytes, int]:
    """Have the guest read `text`; what it printed, and how many exits that took."""
    source, printed, exits = iter(text), bytearray(), 0
    memory = x86.Memory(64 << 10)
    memory.write(0x7C00, assemble(GUEST))
    vcpu = x86.VCPU(memory)
    vcpu.start_real_mode(cs=0, ip=0x7C00)
    kvm_run = vcpu.kvm_run
    kvm_run["userspace_exits"] = x86.USERSPACE_EXIT_HLT
    while vcpu.run() == x86.EXIT_IO:
        exits += 1
        match int(kvm_run["io"]["direction"]), int(kvm_run["io"]["port"]):
            case x86.EXIT_IO_IN, 0x60:
                vcpu.io_data = next(source, 0)
            case x86.EXIT_IO_OUT, 0xE9:
                printed.append(vcpu.io_data)
            case _, port:
                raise RuntimeError(f"the guest wants port {port:#x}")
    if vcpu.exit_reason != x86.EXIT_HLT:
        raise RuntimeError(f"unexpected {x86.EXIT_NAMES[vcpu.exit_reason]}")
    return bytes(printed), exits


def main() -> None:
    """Run it once."""
    printed, exits = run(b"hello from a vmm in 30 lines\n")
    print(printed.decode(), end="")
    print(f"{exits} exits for ports, then EXIT_HLT")


if __name__ == "__main__":
    main()
