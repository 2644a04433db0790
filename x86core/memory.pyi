import numpy as np
from numpy.typing import NDArray

#: The most bytes that a memory can have: 4 GiB less 64 MiB, in which the APICs lie.
MAX_MEMORY: int

#: The most bytes of a ROM, and where it ends: there, and once more at 4 GiB.
MAX_ROM: int
ROM_END: int

class Memory:
    """Guest RAM from physical address 0, shared by the vCPUs of one machine.

    `size` is in bytes. Raises ValueError unless it is positive, a multiple of 4096 and at most
    MAX_MEMORY (4 GiB less 64 MiB), and MemoryError when the host has less than that.
    With `virtual_time` an instruction takes `instruction_ns` nanoseconds; ValueError unless that is in 1..1000000.
    """

    def __init__(
        self, size: int, *, virtual_time: bool = False, instruction_ns: int = 1
    ) -> None: ...
    @property
    def size(self) -> int:
        """Bytes of RAM."""
    @property
    def epoch(self) -> int:
        """Guest time 0 on the host's CLOCK_MONOTONIC, in nanoseconds. Virtual time has nothing to do with it."""
    @property
    def virtual_time(self) -> bool:
        """Whether guest time is that of instructions."""
    @property
    def vcpus(self) -> int:
        """How many vCPUs use this memory."""
    time: int
    @property
    def rom(self) -> int:
        """Bytes of RAM that are read-only memory in fact: those up to 1 MiB, which are also the last below 4 GiB.

        Processors begin there. `write` fills it; a guest's store leaves run() with EXIT_MMIO, as one to a memory slot
        with KVM_MEM_READONLY does, and changes nothing. It may be set while no vCPU is in run(). Raises ValueError
        unless it is a multiple of 4096 up to MAX_ROM and RAM has 1 MiB; 0 is none.
        """
    @rom.setter
    def rom(self, value: int) -> None: ...
    def pages_in_use(self) -> NDArray[np.uint32]:
        """The numbers of the 4 KiB pages that hold anything but zeros, ascending: an array of uint32."""
    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Store bytes at a physical address as a device would.

        Triggers the monitors that the store touches and drops code decoded from those bytes.
        Raises ValueError, and writes nothing, when any byte lies outside RAM; what Python raises for `data`
        that is not one run of bytes (TypeError, BufferError).
        """
    def read(self, address: int, size: int) -> bytes:
        """`size` bytes from a physical address. Raises ValueError outside RAM."""
    def hold_stores(self, address: int, size: int) -> None:
        """Have vCPUs with `stops_before_wakes` stop before stores to these bytes' pages as well; before they run.

        Raises ValueError outside RAM, RuntimeError when a vCPU has run.
        """
    def is_protected(self, address: int) -> bool:
        """Whether a store to this address takes a write fault: a monitor was armed on its page.

        Raises ValueError outside RAM.
        """
    def signal_msi(self, address: int, data: int) -> int:
        """Send the local APICs a message-signalled interrupt, from any thread; how many accept it.

        Address and data are as in a PCI function's capability (SDM vol. 3, 11.11). An edge, or with bit 15 of the
        data a level: its EOI leaves run() with EXIT_IOAPIC_EOI. Delivery modes are fixed, lowest priority, NMI and
        INIT; nobody accepts another. Raises ValueError unless the address begins with FEEh and both fit 32 bits.
        """
    def view(self) -> NDArray[np.uint8]:
        """A read-only array of uint8 over RAM, shape (size,), without a copy.

        Read-only because a store through it would trigger no monitor: `write` does.
        """
