"""What a vCPU did and who has asked for it, for those who want to see it: waits, entries and exits.

A vCPU that is recorded writes a record when a wait ends, and at each entry and exit, into a ring that it alone
writes and one reader takes from. What finds no room is counted. Whoever stores to a line that it waits for, or
interrupts or kicks it, leaves a note *before* doing so; when the wait is over, the vCPU looks for the note of what
ended it. So a note needs no order beyond that of the deed: who sees the deed sees the note. No protocol of waking
depends on any of this.
"""
from libc.stdint cimport int64_t, uint32_t, uint64_t

from x86core.apic_registers cimport APIC_LVT_TIMER, apic_register
from x86core.clock cimport guest_time
from x86core.interrupts cimport pending_vector
from x86core.intrinsics cimport NO_LIMIT, atomic_add, atomic_load, atomic_store
from x86core.state cimport (AGENT_HOST, AGENT_TIMER, AGENT_UNKNOWN, ATTENTION_INIT, ATTENTION_NMI, CPU, HLT_BLOCK,
                            HLT_POLL, MWAIT_ADAPTIVE, MWAIT_PASSTHROUGH, NOTES, RECORDS, WAIT_MWAIT, WAKE_INTERRUPT,
                            WAKE_LIMIT, WAKE_NMI, WAKE_START, Note, Record, Recorder, WaitKind, WakeReason)

cdef enum:
    # Added to an agent in a note, so that no note is 0.
    NOTE_AGENT = 4


cdef void write_note(CPU* target, CPU* agent, WakeReason cause, uint32_t vector) noexcept nogil:
    """Of several at once each has a slot of its own, as long as they are no more than there are slots."""
    cdef Recorder* recorder = target.recorder_memory
    cdef Note* slot = &recorder.notes[atomic_add(&recorder.noted, 1) % NOTES]
    cdef uint64_t who = AGENT_HOST + NOTE_AGENT if agent == NULL else agent.index + NOTE_AGENT
    atomic_store(&slot.what, 0)
    atomic_store(&slot.at, guest_time(target if agent == NULL else agent))
    atomic_store(&slot.what, <uint64_t>cause << 32 | <uint64_t>vector << 16 | who)


cdef void find_note(CPU* cpu, Record* record) noexcept nogil:
    """Who has ended the wait: the first to ask for that after it began, else the last one before."""
    cdef uint64_t wanted = <uint64_t>record.cause << 16
    cdef Note* slot
    cdef uint64_t what
    cdef int64_t at
    cdef int number
    cdef bint better
    if record.cause == WAKE_INTERRUPT:
        wanted |= record.detail
    for number in range(NOTES):
        slot = &cpu.recorder_memory.notes[number]
        what = atomic_load(&slot.what)
        at = atomic_load(&slot.at)
        if what >> 16 != wanted or atomic_load(&slot.what) != what:
            continue
        if at > record.end and not cpu.ram.virtual_time:
            continue
        if record.asked_at < record.begin:
            better = at > record.asked_at
        else:
            better = record.begin <= at < record.asked_at
        if better:
            record.asked_at = at
            record.agent = <int>(what & 0xFFFF) - NOTE_AGENT


cdef Record* next_record(Recorder* recorder) noexcept nogil:
    """Where the next one goes; NULL, and counted, when nobody has made room."""
    cdef Record* record
    if recorder.written - atomic_load(&recorder.taken) >= RECORDS:
        recorder.dropped += 1
        atomic_store(&recorder.lost, recorder.lost + 1)
        return NULL
    record = &recorder.records[recorder.written % RECORDS]
    record.lost = recorder.dropped
    recorder.dropped = 0
    return record


cdef void publish(Recorder* recorder) noexcept nogil:
    atomic_store(&recorder.written, recorder.written + 1)


cdef void name_event(CPU* cpu, Record* record) noexcept nogil:
    """Which event it is that ended a wait: event_pending calls them all interrupts."""
    cdef uint64_t attention = atomic_load(&cpu.attention)
    cdef int vector
    if attention & ATTENTION_INIT:
        record.cause = WAKE_START
        return
    if (cpu.nmi_pending or attention & ATTENTION_NMI) and not cpu.nmi_blocked:
        record.cause = WAKE_NMI
        return
    vector = pending_vector(cpu)
    record.detail = vector if vector >= 0 else 0


cdef int policy_of(CPU* cpu, WaitKind kind) noexcept nogil:
    """By which policy it waited, however kvm_run may have changed since."""
    if cpu.wait_poll == NO_LIMIT:
        return MWAIT_PASSTHROUGH
    if kind == WAIT_MWAIT:
        return MWAIT_ADAPTIVE if cpu.wait_adapts else cpu.wait_policy
    return HLT_POLL if cpu.wait_adapts else HLT_BLOCK


cdef void write_wait(CPU* cpu, WaitKind kind, int64_t began, int64_t ended, int64_t polled,
                     WakeReason cause) noexcept nogil:
    cdef Record* record = next_record(cpu.recorder_memory)
    if record == NULL:
        return
    record.begin = began
    record.end = ended
    record.polled = polled
    record.kind = kind
    record.policy = policy_of(cpu, kind)
    record.cause = cause
    record.detail = 0
    record.asked_at = -1
    record.agent = AGENT_UNKNOWN
    if cause == WAKE_INTERRUPT:
        name_event(cpu, record)
    if cause != WAKE_LIMIT:
        find_note(cpu, record)
    if (record.cause == WAKE_INTERRUPT and record.agent == AGENT_UNKNOWN
            and record.detail == apic_register(cpu, APIC_LVT_TIMER)[0] & 0xFF):
        record.agent = AGENT_TIMER
    publish(cpu.recorder_memory)


cdef void write_crossing(CPU* cpu, int kind, int reason, int64_t at) noexcept nogil:
    """Into the guest, or out of it."""
    cdef Record* record = next_record(cpu.recorder_memory)
    if record == NULL:
        return
    record.begin = record.end = at
    record.kind = kind
    record.detail = reason
    record.asked_at = -1
    record.agent = AGENT_UNKNOWN
    record.polled = record.policy = record.cause = 0
    publish(cpu.recorder_memory)
