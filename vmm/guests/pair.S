// A pair of vCPUs: one idles in MONITOR/MWAIT as Linux does, the other stores to wake it, over and over.
//
// Both vCPUs start at 0:7C00 in real mode. vCPU 0 becomes the waiter and vCPU 1 the waker.
//
//     waiter                                    waker
//     ------                                    -----
//     flags |= POLLING                          wait for the interval
//     MONITOR flags                             wait for POLLING
//     NEED_RESCHED set already?  -> woken       stamp = RDTSC
//     MWAIT                                     flags |= NEED_RESCHED         (the wake: only a store)
//     NEED_RESCHED clear?        -> MONITOR     spin until the waiter has counted the handoff
//     latency = RDTSC - stamp
//     flags = 0; count the handoff
//
// The second look at NEED_RESCHED, between MONITOR and MWAIT, is what makes this safe. A store before
// MONITOR is seen by the look; a store after it triggers the monitor, and MWAIT falls through. Looking
// only before MONITOR leaves a gap that a store can fall into, and then the waiter sleeps for ever:
// define LOOK_BEFORE_MONITOR to build that mistake and watch every handoff after the first ones get lost.
//
// Nobody sends an interrupt. As in Linux, POLLING promises that the waiter will notice a plain store
// (set_nr_if_polling in kernel/sched/core.c), so a store wake that goes missing is a hang.
//
// What the VMM may read and write, at fixed physical addresses. Every page has one writer, and the
// monitored line shares its page with nothing but the line that is there to cause false faults.
//
//     page     offset  size  name          writer  meaning
//     0x10000      +0     4  interval      VMM     ns from one handoff to the next wake; 0 = at once
//                  +4     4  wanted        VMM     stop after so many handoffs; 0 = no limit
//                  +8     4  false_stores  VMM     stores to the neighbouring line before each wake
//                 +12     4  stop          VMM     not 0: finish now
//                 +16     4  at_once       VMM     so many handoffs are made before the first rest
//     0x11000      +0     4  handoffs      waiter  wakes noticed; the acknowledgement that the waker awaits
//                  +4     4  parked        waiter  1 = it has left the idle loop for good
//                  +8     8  spurious      waiter  returns from MWAIT that found NEED_RESCHED clear
//     0x12000      +0     8  stamp         waker   guest TSC (ns) just before the waking store
//                  +8     4  handoffs      waker   wakes sent and acknowledged
//                 +12     4  finished      waker   1 = the next wake is the last and no handoff
//                 +16     4  stores        waker   waking stores that are done
//     0x20000      +0     4  flags         both    the monitored line: POLLING and NEED_RESCHED
//                +128     4  neighbour     waker   another line of the monitored page
//     0x100000     +0   1 M  ring          waiter  latency in ns of handoff n as u32 at index n mod 2^18;
//                                                  0xFFFFFFFF for what does not fit
//
// The pair needs 2 MiB of memory. When it is done, the waiter halts and the waker writes 0 to the exit
// port. A spurious wake costs a turn of the loop and nothing else: MWAIT may return early at any time.
// Source: Intel SDM vol. 2, MONITOR and MWAIT; Linux arch/x86/include/asm/mwait.h, mwait_idle_with_hints.

#include "protected_mode.inc"

// Parameters, written by the VMM
#define INTERVAL            dword ptr ds:[0x10000]
#define WANTED              dword ptr ds:[0x10004]
#define FALSE_STORES        dword ptr ds:[0x10008]
#define STOP                dword ptr ds:[0x1000C]
#define AT_ONCE             dword ptr ds:[0x10010]

// The waiter's counters
#define WAITER_HANDOFFS     dword ptr ds:[0x11000]
#define WAITER_PARKED       dword ptr ds:[0x11004]
#define SPURIOUS_LOW        dword ptr ds:[0x11008]
#define SPURIOUS_HIGH       dword ptr ds:[0x1100C]

// The waker's counters
#define STAMP_LOW           dword ptr ds:[0x12000]
#define STAMP_HIGH          dword ptr ds:[0x12004]
#define WAKER_HANDOFFS      dword ptr ds:[0x12008]
#define WAKER_FINISHED      dword ptr ds:[0x1200C]
#define WAKER_STORES        dword ptr ds:[0x12010]

// The monitored page
#define FLAGS_ADDRESS       0x20000
#define FLAGS               dword ptr ds:[FLAGS_ADDRESS]
#define NEIGHBOUR           dword ptr ds:[0x20080]
#define NEED_RESCHED        1
#define POLLING             2

#define RING_ADDRESS        0x100000
#define RING_MASK           0x3FFFF

#define WAITER_STACK_TOP    0x6000
#define WAKER_STACK_TOP     0x7000
#define EXIT_PORT           0xF4

    .code16
    enter_protected_mode

    mov     eax, 1
    cpuid                               // EBX[31:24] = initial APIC ID, the number of this vCPU
    shr     ebx, 24
    jz      waiter
    cmp     ebx, 1
    je      waker
park:                                   // interrupts are off, so this HLT is the end
    hlt
    jmp     park

// ---------------------------------------------------------------------------------------------------
// vCPU 0: idle until the flag is set.

waiter:
    mov     esp, WAITER_STACK_TOP

idle:
    lock or FLAGS, POLLING              // from here on a store is enough to wake this vCPU
#ifdef LOOK_BEFORE_MONITOR
    call    await_the_store             // the look is over, and now the store comes
#endif

arm:
    mov     eax, FLAGS_ADDRESS          // DS:EAX = any byte of the line
    xor     ecx, ecx                    // no extensions
    xor     edx, edx                    // no hints
    monitor
#ifndef LOOK_BEFORE_MONITOR
    test    FLAGS, NEED_RESCHED         // after MONITOR, never only before it
    jnz     woken
#endif
    xor     eax, eax                    // hint: C1
    mwait                               // ECX = 0: a masked interrupt does not wake
    test    FLAGS, NEED_RESCHED
    jnz     woken
    add     SPURIOUS_LOW, 1
    adc     SPURIOUS_HIGH, 0
    jmp     arm

woken:
    rdtsc
    sub     eax, STAMP_LOW
    sbb     edx, STAMP_HIGH
    jz      record                      // it fits in 32 bits
    mov     eax, 0xFFFFFFFF
record:
    mov     edi, WAITER_HANDOFFS
    and     edi, RING_MASK
    mov     [RING_ADDRESS + edi * 4], eax

    mov     ebx, WAKER_FINISHED         // written before the wake, so read it before the flag is cleared
    lock and FLAGS, ~(NEED_RESCHED | POLLING)
    test    ebx, ebx
    jnz     leave_idle
    inc     WAITER_HANDOFFS             // the acknowledgement
    jmp     idle

leave_idle:
    mov     WAITER_PARKED, 1
    jmp     park

#ifdef LOOK_BEFORE_MONITOR
// Widen the gap between the look and MONITOR until the waking store falls into it, every time.
await_the_store:
    pause
    test    FLAGS, NEED_RESCHED
    jz      await_the_store
    ret
#endif

// ---------------------------------------------------------------------------------------------------
// vCPU 1: wake the other, wait until it has noticed, rest for the interval.

waker:
    mov     esp, WAKER_STACK_TOP

next_handoff:
    mov     eax, AT_ONCE
    cmp     eax, WAKER_HANDOFFS
    ja      rested_enough
    call    rest
rested_enough:
    cmp     STOP, 0
    jne     finish
    mov     eax, WANTED
    test    eax, eax
    jz      hand_off                    // no limit
    cmp     eax, WAKER_HANDOFFS
    jbe     finish

hand_off:
    mov     ebx, WAITER_HANDOFFS        // the count to be passed
    call    wake
await_acknowledgement:
    pause
    cmp     ebx, WAITER_HANDOFFS
    je      await_acknowledgement
    inc     WAKER_HANDOFFS
    jmp     next_handoff

finish:
    mov     WAKER_FINISHED, 1           // x86 keeps stores in order: seen no later than the wake
    call    wake
await_parked:
    pause
    cmp     WAITER_PARKED, 0
    je      await_parked
    xor     eax, eax
    out     EXIT_PORT, al               // status 0
    jmp     park

// Spin until INTERVAL ns have gone by or the VMM says stop. Guest TSC: 1 tick = 1 ns.
rest:
    rdtsc
    mov     esi, eax
    mov     edi, edx
rest_on:
    rdtsc
    sub     eax, esi
    sbb     edx, edi                    // EDX:EAX = ns so far
    jnz     rested
    cmp     eax, INTERVAL
    jae     rested
    cmp     STOP, 0
    jne     rested
    pause
    jmp     rest_on
rested:
    ret

// Store to the waiter's line once it polls, after the stores beside it that must not wake it.
wake:
    mov     ecx, FALSE_STORES
    test    ecx, ecx
    jz      await_polling
store_beside:
    inc     NEIGHBOUR                   // the same page, another line: a false fault
    dec     ecx
    jnz     store_beside
await_polling:
    test    FLAGS, POLLING
    jnz     store
    pause
    jmp     await_polling
store:
    rdtsc
    mov     STAMP_LOW, eax
    mov     STAMP_HIGH, edx
    lock or FLAGS, NEED_RESCHED         // wakes the waiter, or triggers its monitor before it sleeps
    inc     WAKER_STORES                // whoever sees this knows that the store has done all it ever will
    ret
