class Segment:
    """A segment register with its hidden part, live.

    `selector`; `base`; `limit` in bytes, the last valid offset; `access`: the access byte in bits
    0-7 and AVL, L, D/B and G in bits 12-15, as in the second doubleword of a descriptor (SDM vol. 3,
    3.4.5). Setting one raises ValueError when it does not fit, RuntimeError while the vCPU runs.
    """

    selector: int
    base: int
    limit: int
    access: int

class Registers:
    """The registers of a vCPU: ints, readable and writable while it is out of run().

    Setting one raises ValueError when the value does not fit, RuntimeError while the vCPU runs.
    """

    eax: int
    ecx: int
    edx: int
    ebx: int
    esp: int
    ebp: int
    esi: int
    edi: int
    eip: int
    eflags: int
    cr0: int
    cr2: int
    cr3: int
    cr4: int
    @property
    def cpl(self) -> int:
        """Current privilege level; follows from CS."""

    gdt_base: int
    gdt_limit: int
    idt_base: int
    idt_limit: int
    @property
    def es(self) -> Segment: ...
    @property
    def cs(self) -> Segment: ...
    @property
    def ss(self) -> Segment: ...
    @property
    def ds(self) -> Segment: ...
    @property
    def fs(self) -> Segment: ...
    @property
    def gs(self) -> Segment: ...
    @property
    def ldtr(self) -> Segment: ...
    @property
    def tr(self) -> Segment: ...
