"""GDB's remote protocol for a machine: `python -m vmm run GUEST --gdb PORT`.

    debugger = Debugger()
    machine = vmm.Machine.load("guest.S", debugger=debugger)
    with Server(debugger, parse_address("1234")) as server:
        result = machine.run()
        server.finish(0)

A thread of gdb is a vCPU; all of them stop together. docs/debugging.md shows a session.
"""

from vmm.gdb.debugger import Debugger
from vmm.gdb.server import Address, GDBError, Server, parse_address

__all__ = ["Address", "Debugger", "GDBError", "Server", "parse_address"]
