/* x86-TSO: a store waits in its thread's buffer, first in first out, and reaches memory at any later time.
 *
 * Only the guests' and the host's stores to guest memory are plain stores, so only they pass through a
 * buffer. Every other word that threads share is changed by a locked instruction, which happens whole, once
 * the buffer of its thread has drained: atomic { drained(thread); ... }. No step has more than one load or
 * locked instruction; what concerns its own thread alone, a store into the buffer too, may go with it.
 *
 * Guest memory is one flag per line: 1 when there is work, 0 when the guest has taken it.
 */
typedef StoreBuffer {
    byte count;
    byte place[DEPTH];
    bit value[DEPTH]
}

bit memory[LINES];
StoreBuffer buffers[THREADS];

#define drained(thread) (buffers[thread].count == 0)

inline store(thread, line, flag)
{
    d_step {
        assert(buffers[thread].count < DEPTH);
        buffers[thread].place[buffers[thread].count] = line;
        buffers[thread].value[buffers[thread].count] = flag;
        buffers[thread].count++
    }
}

/* A thread sees the latest of its own stores, even while no other does. */
inline load(thread, line, flag)
{
    d_step {
        flag = memory[line];
        index = 0;
        do
        :: index < buffers[thread].count ->
            if
            :: buffers[thread].place[index] == line -> flag = buffers[thread].value[index]
            :: else
            fi;
            index++
        :: else -> break
        od;
        index = 0
    }
}

proctype store_buffer(byte thread)
{
    byte index;
    do
    :: d_step {
        !drained(thread);
        memory[buffers[thread].place[0]] = buffers[thread].value[0];
        buffers[thread].count--;
        index = 0;
        do
        :: index < buffers[thread].count ->
            buffers[thread].place[index] = buffers[thread].place[index + 1];
            buffers[thread].value[index] = buffers[thread].value[index + 1];
            index++
        :: else -> break
        od;
        buffers[thread].place[index] = 0;
        buffers[thread].value[index] = 0;
        index = 0
       }
    od
}
