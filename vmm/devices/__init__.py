"""The devices of a machine, a file each, and the port space that they answer in."""

from vmm.devices.debug_console import DebugConsole
from vmm.devices.debug_exit import DebugExit, GuestExit
from vmm.devices.ports import PortDevice, Ports

__all__ = ["DebugConsole", "DebugExit", "GuestExit", "PortDevice", "Ports"]
