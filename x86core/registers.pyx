"""The registers of a vCPU as Python sees them: readable and writable while it is out of run()."""
from operator import index

from libc.stdint cimport uint32_t

from x86core.control cimport write_cr0, write_cr3, write_cr4
from x86core.flags cimport get_eflags, set_eflags
from x86core.paging cimport set_cpl, update_alignment
from x86core.segmentation cimport has_real_segments, set_segment, update_context
from x86core.state cimport (CPU, CR0_PE, CS, DS, EAX, EBP, EBX, ECX, EDI, EDX, ES, ESI, ESP, FLAG_RF, FLAG_VM,
                            FLAGS_ALWAYS, FLAGS_SETTABLE, FS, GS, LDTR, SS, TR)
from x86core.wake_fd cimport update_wake_fd


cdef uint32_t doubleword(value) except? 0xFFFFFFFF:
    value = index(value)
    if not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{value} does not fit 32 bits; give a value from 0 to 0xffffffff")
    return value


cdef uint32_t word(value) except? 0xFFFFFFFF:
    value = index(value)
    if not 0 <= value <= 0xFFFF:
        raise ValueError(f"{value} does not fit 16 bits; give a value from 0 to 0xffff")
    return value


cdef uint32_t privilege_level(CPU* cpu):
    """As mode and CS have it."""
    if has_real_segments(cpu):
        return 3 if cpu.eflags & FLAG_VM else 0
    return cpu.segments[CS].selector & 3


cdef class Segment:
    """A segment register with its hidden part, live.

    `selector`; `base`; `limit` in bytes, the last valid offset; `access`: the access byte in bits 0-7
    and AVL, L, D/B and G in bits 12-15, as in the second doubleword of a descriptor (SDM vol. 3, 3.4.5).
    """
    cdef Registers vcpu
    cdef int number

    cdef int change(self, selector, base, limit, access) except -1:
        self.vcpu.check_outside()
        set_segment(self.vcpu.cpu, self.number, selector, base, limit, access)
        if self.number == CS and not has_real_segments(self.vcpu.cpu):
            set_cpl(self.vcpu.cpu, selector & 3)
        update_context(self.vcpu.cpu)
        return 0

    @property
    def selector(self):
        return self.vcpu.cpu.segments[self.number].selector

    @selector.setter
    def selector(self, value):
        self.change(word(value), self.base, self.limit, self.access)

    @property
    def base(self):
        return self.vcpu.cpu.segments[self.number].base

    @base.setter
    def base(self, value):
        self.change(self.selector, doubleword(value), self.limit, self.access)

    @property
    def limit(self):
        return self.vcpu.cpu.segments[self.number].limit

    @limit.setter
    def limit(self, value):
        self.change(self.selector, self.base, doubleword(value), self.access)

    @property
    def access(self):
        return self.vcpu.cpu.segments[self.number].access

    @access.setter
    def access(self, value):
        self.change(self.selector, self.base, self.limit, word(value))

    def __repr__(self):
        return (f"Segment(selector={self.selector:#06x}, base={self.base:#010x}, "
                f"limit={self.limit:#010x}, access={self.access:#06x})")


cdef class Register:
    """A general register of a vCPU, by its number in instructions."""
    cdef int number

    def __cinit__(self, int number):
        self.number = number

    def __get__(self, Registers vcpu, owner):
        return self if vcpu is None else vcpu.cpu.gpr[self.number]

    def __set__(self, Registers vcpu not None, value):
        vcpu.check_outside()
        vcpu.cpu.gpr[self.number] = doubleword(value)


cdef class SegmentRegister:
    """A segment register of a vCPU, by its number in instructions."""
    cdef int number

    def __cinit__(self, int number):
        self.number = number

    def __get__(self, Registers vcpu, owner):
        cdef Segment segment
        if vcpu is None:
            return self
        segment = Segment.__new__(Segment)
        segment.vcpu = vcpu
        segment.number = self.number
        return segment


cdef class Registers:
    """What VCPU has of registers. `cpu` is set by VCPU and lives as long as its memory."""

    cdef int check_outside(self) except -1:
        if self.cpu.in_run:
            raise RuntimeError(f"vCPU {self.cpu.index} is in run(); kick it and wait for run() to return")
        return 0

    eax = Register(EAX)
    ecx = Register(ECX)
    edx = Register(EDX)
    ebx = Register(EBX)
    esp = Register(ESP)
    ebp = Register(EBP)
    esi = Register(ESI)
    edi = Register(EDI)
    es = SegmentRegister(ES)
    cs = SegmentRegister(CS)
    ss = SegmentRegister(SS)
    ds = SegmentRegister(DS)
    fs = SegmentRegister(FS)
    gs = SegmentRegister(GS)
    ldtr = SegmentRegister(LDTR)
    tr = SegmentRegister(TR)

    @property
    def eip(self):
        """Offset in CS of the next instruction; at an EXIT_IO or EXIT_MMIO, of the one under way."""
        return self.cpu.eip

    @eip.setter
    def eip(self, value):
        self.check_outside()
        self.cpu.eip = doubleword(value)
        self.cpu.access_exit = 0        # what was under way is given up
        self.cpu.replay_at = -1
        self.cpu.debug_seen_at = -1     # a breakpoint there counts

    @property
    def eflags(self):
        cdef uint32_t value = get_eflags(self.cpu)
        return value if self.cpu.resume_at == self.cpu.retired else value & ~<uint32_t>FLAG_RF

    @eflags.setter
    def eflags(self, value):
        cdef uint32_t before = self.cpu.eflags
        self.check_outside()
        set_eflags(self.cpu, doubleword(value) & FLAGS_SETTABLE | FLAGS_ALWAYS)
        self.cpu.resume_at = self.cpu.retired   # RF holds for the next instruction
        if not self.cpu.cr0 & CR0_PE:
            self.cpu.eflags &= ~<uint32_t>FLAG_VM
        if (self.cpu.eflags ^ before) & FLAG_VM:
            set_cpl(self.cpu, privilege_level(self.cpu))
            update_context(self.cpu)
        update_alignment(self.cpu)
        update_wake_fd(self.cpu)    # IF decides about a pending interrupt

    @property
    def cr0(self):
        return self.cpu.cr0

    @cr0.setter
    def cr0(self, value):
        self.check_outside()
        if write_cr0(self.cpu, doubleword(value)):
            raise ValueError(f"CR0 cannot be {value:#x}: PG needs PE, NW needs CD")

    @property
    def cr2(self):
        return self.cpu.cr2

    @cr2.setter
    def cr2(self, value):
        self.check_outside()
        self.cpu.cr2 = doubleword(value)

    @property
    def cr3(self):
        return self.cpu.cr3

    @cr3.setter
    def cr3(self, value):
        self.check_outside()
        write_cr3(self.cpu, doubleword(value))

    @property
    def cr4(self):
        return self.cpu.cr4

    @cr4.setter
    def cr4(self, value):
        self.check_outside()
        if write_cr4(self.cpu, doubleword(value)):
            raise ValueError(f"CR4 cannot be {value:#x}: there are TSD, DE, PSE and PGE")

    @property
    def cpl(self):
        """Current privilege level; follows from CS."""
        return self.cpu.cpl

    @property
    def gdt_base(self):
        return self.cpu.gdt_base

    @gdt_base.setter
    def gdt_base(self, value):
        self.check_outside()
        self.cpu.gdt_base = doubleword(value)

    @property
    def gdt_limit(self):
        return self.cpu.gdt_limit

    @gdt_limit.setter
    def gdt_limit(self, value):
        self.check_outside()
        self.cpu.gdt_limit = word(value)

    @property
    def idt_base(self):
        return self.cpu.idt_base

    @idt_base.setter
    def idt_base(self, value):
        self.check_outside()
        self.cpu.idt_base = doubleword(value)

    @property
    def idt_limit(self):
        return self.cpu.idt_limit

    @idt_limit.setter
    def idt_limit(self, value):
        self.check_outside()
        self.cpu.idt_limit = word(value)
