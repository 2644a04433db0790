/* The wake protocol of x86core under x86-TSO: no wake is lost, and nobody blocks for ever. docs/model.md
 *
 * How many threads there are and what they may do is given by macros; python -m tests.model has the list.
 */
#define HOST    VCPUS               /* the number of its store buffer */
#define THREADS (VCPUS + 1)

#define line_of(cpu) ((cpu) % LINES)

/* What a vCPU is doing: mp_state and in_mwait. The last two are no states of the code (guest.pml). */
#define RUNNABLE 0
#define HALTED   1
#define IN_MWAIT 2
#define SPINNING 3
#define STOPPED  4

#define is_waiting_state(cpu) (doing[cpu] == HALTED || doing[cpu] == IN_MWAIT)

/* Why it leaves the guest. */
#define EXIT_NONE   0
#define EXIT_AGAIN  1
#define EXIT_SIGNAL 2
#define EXIT_INTR   3
#define EXIT_HLT    4

byte doing[VCPUS];

#include "tso.pml"
#include "attention.pml"
#include "shootdown.pml"
#include "monitor.pml"
#include "memory.pml"
#include "wake_fd.pml"
#include "idle.pml"
#include "running.pml"
#include "guest.pml"

/* When no thread can take a step any more, everybody has stopped or has no reason to go on. */
proctype quiescence()
{
    byte cpu;
    bit deadlock, lost_store, lost_interrupt, lost_kick, wrong_wake_fd;

    timeout;
    d_step {
        do
        :: cpu < VCPUS ->
            deadlock = deadlock ||
                !asleep[cpu] && !is_polling(cpu) && doing[cpu] != SPINNING && doing[cpu] != STOPPED;
            lost_store = lost_store || doing[cpu] == IN_MWAIT && memory[line_of(cpu)];
            lost_interrupt = lost_interrupt || doing[cpu] != STOPPED && interrupts[cpu];
            lost_kick = lost_kick ||
                doing[cpu] != STOPPED && (attention[cpu] & ATTENTION_KICK || immediate_exit[cpu]);
            wrong_wake_fd = wrong_wake_fd || wake_fd_is_wrong(cpu);
            cpu++
        :: else -> break
        od
    };
    assert(!deadlock);
    assert(!lost_store);
    assert(!lost_interrupt);
    assert(!lost_kick);
    assert(!wrong_wake_fd)
}

init
{
    byte thread;
    atomic {
        do
        :: thread < VCPUS -> run vcpu(thread); run store_buffer(thread); thread++
        :: else -> break
        od;
        run host();
        run store_buffer(HOST);
        run quiescence()
    }
}
