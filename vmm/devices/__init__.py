"""The devices of a machine, a file each, and the spaces that they answer in.

A device is a class with `ports` or a `region`, made with what it is wired to: a `Line` that it
drives, a `Clock` for the time, a callable for its output. A lock it needs none: see `vmm.clock`.
"""

from vmm.devices.debug_console import DebugConsole
from vmm.devices.debug_exit import DebugExit, GuestExit
from vmm.devices.ioapic import IOAPIC, Message
from vmm.devices.line import Line
from vmm.devices.mmio import MemoryDevice, MemoryMap
from vmm.devices.pc import PC
from vmm.devices.pic import PIC
from vmm.devices.pit import PIT
from vmm.devices.ports import PortDevice, Ports
from vmm.devices.post_codes import PostCodes
from vmm.devices.reset import FastReset, GuestReset, KeyboardController
from vmm.devices.rtc import RTC
from vmm.devices.serial import Serial

__all__ = [
    "IOAPIC",
    "PC",
    "PIC",
    "PIT",
    "RTC",
    "DebugConsole",
    "DebugExit",
    "FastReset",
    "GuestExit",
    "GuestReset",
    "KeyboardController",
    "Line",
    "MemoryDevice",
    "MemoryMap",
    "Message",
    "PortDevice",
    "Ports",
    "PostCodes",
    "Serial",
]
