// Several processors: started by INIT and SIPI, idle as in Linux, each woken by a store and by an interrupt.
//
//     python -m vmm run smp
//     python -m vmm run smp --vcpus 8 --idle adaptive
//
// Processor 0, the bootstrap processor, begins at 0:7C00. It starts all others through its local APIC, counts
// those that check in, and wakes each twice. A line says how long either took, from just before the wake until
// the woken one has seen NEED_RESCHED, by the TSC, which all share (1 tick = 1 ns):
//
//     cpu 1  woken by store in 12345 ns  by IPI in 23456 ns
//
//     application processor                     bootstrap processor
//     ---------------------                     -------------------
//     flags |= POLLING                          wait until it is idle
//     idle in MWAIT                             flags |= NEED_RESCHED    (it polls: the store is enough)
//     flags = 0                                 wait until it has noticed
//     idle in HLT                               flags |= NEED_RESCHED, then an IPI    (it does not poll)
//     stop                                      wait until it has noticed
//
// That is how Linux wakes an idle CPU: resched_curr and call_function_single_prep_ipi send no interrupt to one
// that has promised by POLLING to notice a plain store. Where MWAIT does not keep the promise (--idle halt), the
// wake is "lost": nobody noticed for a second. Then an IPI gets the processor going again. The machine ends with
// status 0, or 1 when a wake was lost.
//
// Memory, where n is the APIC ID, 0 to 63. Only the flags and the number of arrivals have several writers.
//
//     0x1000          where SIPI starts a processor: a jump to its 16-bit code
//     0xE000          processor 0's clock, and whether a wake was lost
//     0xF000          arrivals: application processors that have checked in
//     0x10000 + 64 n  record: +0 progress, +4 TSC when the last wake was noticed (8 bytes)
//     0x12000 + 512 n stack, growing down from its end
//     0x20000 + 4K n  flags: the monitored line, on a page of its own so that no other store is a false fault
//
// Sources: Intel SDM vol. 3, 9.4 (starting processors), 11.4-11.6 (local APIC); vol. 2, MONITOR, MWAIT and STI;
// Linux arch/x86/kernel/process.c mwait_idle, kernel/sched/idle.c.

#include "protected_mode.inc"

#define DEBUG_CONSOLE           0xE9
#define EXIT_PORT               0xF4

// The local APIC. The page is the same for all processors, and each finds its own there.
#define APIC_BASE_MSR           0x1B
#define BOOTSTRAP               0x100   // in APIC_BASE_MSR: this is the bootstrap processor
#define APIC_EOI                dword ptr ds:[0xFEE000B0]
#define APIC_SPURIOUS           dword ptr ds:[0xFEE000F0]
#define APIC_ICR_LOW            dword ptr ds:[0xFEE00300]
#define APIC_ICR_HIGH           dword ptr ds:[0xFEE00310]
#define APIC_ENABLED            0x1FF   // by software; spurious interrupts would have vector FFh
#define ICR_FIXED               0x04000
#define ICR_INIT                0x04500
#define ICR_STARTUP             0x04600
#define ICR_OTHERS              0xC0000 // all but the one that sends
#define RESCHEDULE_VECTOR       0x20

#define START_PAGE              0x1000
#define CLOCK_LOW               dword ptr ds:[0xE000]
#define CLOCK_HIGH              dword ptr ds:[0xE004]
#define LOST                    byte ptr ds:[0xE008]
#define ARRIVED                 dword ptr ds:[0xF000]
#define RECORDS                 0x10000
#define STACKS                  0x12000
#define FLAGS_PAGES             0x20000
#define PROCESSORS              64

// In a processor's record. Progress only grows.
#define PROGRESS                dword ptr [ebx]
#define NOTICED_LOW             dword ptr [ebx + 4]
#define NOTICED_HIGH            dword ptr [ebx + 8]
#define IDLE_IN_MWAIT           1
#define IDLE_IN_HLT             2       // it has noticed the first wake
#define DONE                    3       // it has noticed the second one

// In a processor's flags
#define FLAGS                   dword ptr [edi]
#define NEED_RESCHED            1
#define POLLING                 2

// In ns
#define INIT_DELAY              10000000
#define STARTUP_DELAY           200000
#define ARRIVAL_DELAY           500000000   // nobody else has checked in for so long: that is all
#define SETTLE_DELAY            1000000     // time to fall asleep, before it is woken
#define PATIENCE                1000000000  // a wake that has not been noticed for so long is lost

    .code16
    // A machine may start all processors here. An application processor then waits for INIT, as firmware
    // leaves it.
    mov     ecx, APIC_BASE_MSR
    rdmsr
    test    ax, BOOTSTRAP
    jnz     begin
await_init:
    cli
    hlt
    jmp     await_init

begin:                                  // here each processor comes exactly once
    enter_protected_mode
    mov     eax, 1
    cpuid
    shr     ebx, 24                     // initial APIC ID, the number of this processor
    mov     esi, ebx
    cmp     esi, PROCESSORS
    jae     park                        // there is no room for its record
    call    address_processor
    mov     esp, esi
    shl     esp, 9
    add     esp, STACKS + 512
    mov     APIC_SPURIOUS, APIC_ENABLED // without that it would get INIT, SIPI and NMI, and no interrupts
    test    esi, esi
    jz      boot

// ---------------------------------------------------------------------------------------------------
// An application processor. EBX = its record, EDI = its flags.

    lidt    [idt_pointer]
    lock or FLAGS, POLLING              // from here on a store is enough to wake this processor
    mov     PROGRESS, IDLE_IN_MWAIT
    lock inc ARRIVED

mwait_idle:
    cli                                 // an interrupt between the look and MWAIT would not end it
    mov     eax, edi                    // DS:EAX = any byte of the line
    xor     ecx, ecx                    // no extensions
    xor     edx, edx                    // no hints
    monitor
    test    FLAGS, NEED_RESCHED         // after MONITOR, never only before it
    jnz     mwait_woken
    xor     eax, eax                    // hint: C1
    sti                                 // takes effect behind the next instruction:
    mwait                               // an interrupt that is due ends it at once
    test    FLAGS, NEED_RESCHED
    jz      mwait_idle                  // it may return early at any time
mwait_woken:
    call    notice
    mov     PROGRESS, IDLE_IN_HLT

hlt_idle:
    cli
    test    FLAGS, NEED_RESCHED
    jnz     hlt_woken
    sti
    hlt
    jmp     hlt_idle
hlt_woken:
    call    notice
    mov     PROGRESS, DONE

park:
    cli
    hlt
    jmp     park

notice:                                 // this processor has seen NEED_RESCHED
    rdtsc
    mov     NOTICED_LOW, eax
    mov     NOTICED_HIGH, edx
    lock and FLAGS, ~(NEED_RESCHED | POLLING)
    ret

reschedule_interrupt:                   // it has ended MWAIT or HLT, and that is all that it is for
    mov     APIC_EOI, 0
    iret

// ---------------------------------------------------------------------------------------------------
// The bootstrap processor.

boot:
    // SIPI starts a processor in real mode on a page of the first MiB, the vector being the page's number.
    mov     byte ptr ds:[START_PAGE], 0xEA              // far JMP, with offset and segment
    mov     dword ptr ds:[START_PAGE + 1], offset begin // the image is in segment 0
    mov     APIC_ICR_LOW, ICR_OTHERS | ICR_INIT
    mov     ecx, INIT_DELAY
    call    delay
    mov     APIC_ICR_LOW, ICR_OTHERS | ICR_STARTUP | (START_PAGE >> 12)
    mov     ecx, STARTUP_DELAY
    call    delay
    mov     APIC_ICR_LOW, ICR_OTHERS | ICR_STARTUP | (START_PAGE >> 12) // ignored by those that have started

count_arrivals:
    mov     ebx, ARRIVED
    call    start_clock
await_arrivals:
    pause
    cmp     ebx, ARRIVED
    jne     count_arrivals
    call    read_clock
    cmp     eax, ARRIVAL_DELAY
    jb      await_arrivals
    mov     eax, offset processors_text
    call    print
    lea     eax, [ebx + 1]
    call    print_decimal
    mov     al, '\n'
    out     DEBUG_CONSOLE, al

    mov     esi, 1
next_processor:
    call    address_processor
    cmp     PROGRESS, 0
    je      absent
    call    measure
absent:
    inc     esi
    cmp     esi, PROCESSORS
    jb      next_processor
    mov     al, LOST
    out     EXIT_PORT, al
    jmp     park

measure:                                // both wakes of processor ESI
    mov     eax, offset cpu_text
    call    print
    mov     eax, esi
    call    print_decimal
    mov     eax, offset store_text
    call    print
    mov     ecx, IDLE_IN_MWAIT
    call    measure_wake
    mov     eax, offset ipi_text
    call    print
    mov     ecx, IDLE_IN_HLT
    call    measure_wake
    mov     al, '\n'
    out     DEBUG_CONSOLE, al
    ret

// Wake processor ESI once it has made progress ECX, and print how long that took.
measure_wake:
    call    start_clock
    call    await_progress
    jc      lost                        // the IPI after a lost wake got lost as well
    push    ecx
    mov     ecx, SETTLE_DELAY
    call    delay
    pop     ecx
    inc     ecx
    call    start_clock
    call    wake
    call    await_progress
    jc      lost_but_kicked
    mov     eax, offset in_text
    call    print
    mov     eax, NOTICED_LOW
    sub     eax, CLOCK_LOW              // below PATIENCE, so the low half is enough
    jns     noticed_later
    xor     eax, eax                    // in virtual time the other one may be a turn behind
noticed_later:
    call    print_decimal
    mov     eax, offset ns_text
    jmp     print
lost_but_kicked:
    call    send_ipi
    call    start_clock
    call    await_progress
lost:
    mov     LOST, 1
    mov     eax, offset lost_text
    jmp     print

// Set NEED_RESCHED of processor ESI, and send an IPI unless it polled at that moment. OR and look are one step:
// with a look of its own behind the OR, a processor that was quick would seem not to have polled.
wake:
    mov     eax, FLAGS
try_wake:
    mov     edx, eax
    or      edx, NEED_RESCHED
    lock cmpxchg FLAGS, edx             // changed meanwhile: EAX = FLAGS
    jne     try_wake
    test    eax, POLLING
    jz      send_ipi
    ret

send_ipi:                               // to processor ESI
    mov     eax, esi
    shl     eax, 24
    mov     APIC_ICR_HIGH, eax          // destination
    mov     APIC_ICR_LOW, ICR_FIXED | RESCHEDULE_VECTOR // this write sends it
    ret

// ---------------------------------------------------------------------------------------------------
// What these are made of.

// The record in EBX and the flags in EDI, of processor ESI.
address_processor:
    mov     ebx, esi
    shl     ebx, 6
    add     ebx, RECORDS
    mov     edi, esi
    shl     edi, 12
    add     edi, FLAGS_PAGES
    ret

start_clock:
    rdtsc
    mov     CLOCK_LOW, eax
    mov     CLOCK_HIGH, edx
    ret

// EAX = ns since the clock was started, FFFFFFFFh for what does not fit. Changes EDX.
read_clock:
    rdtsc
    sub     eax, CLOCK_LOW
    sbb     edx, CLOCK_HIGH
    jz      clock_fits
    mov     eax, 0xFFFFFFFF
clock_fits:
    ret

// Spin for ECX ns. Changes EAX, EDX.
delay:
    call    start_clock
delay_on:
    pause
    call    read_clock
    cmp     eax, ecx
    jb      delay_on
    ret

// Spin until the record in EBX says progress ECX; carry: it still does not PATIENCE after the clock was started.
// Changes EAX, EDX.
await_progress:
    cmp     PROGRESS, ecx
    jae     progress_made               // no carry
    pause
    call    read_clock
    cmp     eax, PATIENCE
    jb      await_progress
    stc
progress_made:
    ret

// Print the string at EAX that ends with a 0 byte. Changes EAX.
print:
    push    esi
    mov     esi, eax
print_on:
    lodsb
    test    al, al
    jz      printed
    out     DEBUG_CONSOLE, al
    jmp     print_on
printed:
    pop     esi
    ret

// Print the number in EAX. Changes EAX, ECX, EDX.
print_decimal:
    mov     ecx, 10
    xor     edx, edx
    div     ecx
    push    edx                         // the last digit
    test    eax, eax
    jz      last_digit
    call    print_decimal               // those before it
last_digit:
    pop     eax
    add     al, '0'
    out     DEBUG_CONSOLE, al
    ret

    .section .rodata
processors_text:    .asciz  "processors: "
cpu_text:           .asciz  "cpu "
store_text:         .asciz  "  woken by store"
ipi_text:           .asciz  "  by IPI"
in_text:            .asciz  " in "
ns_text:            .asciz  " ns"
lost_text:          .asciz  ": lost"

    .balign 8
idt:
    .fill   RESCHEDULE_VECTOR, 8, 0     // no gates: a fault ends in a triple fault
    .word   reschedule_interrupt, CODE32, 0x8E00, 0     // interrupt gate: offset, selector, kind, high half
idt_pointer:
    .word   idt_pointer - idt - 1
    .long   idt
