/* x86core/memory.pyx and mmu.pyx: a store through a write tag, or the slow way. */

inline after_store(by, line)
{
#ifndef NO_WRITER_FENCE
    drained(by);                                    /* atomic_fence */
#endif
    if
    :: attributes[page_of(line)] & PAGE_PROTECTED -> monitor_store(by, line)
    :: else
    fi
}

/* A TLB miss of a vCPU: writable unless somebody watches the page. */
inline fill(page)
{
    write_tag[page] = (attributes[page] == 0)
}

inline write_linear(cpu, line, flag)
{
    if
    :: atomic { write_tag[page_of(line)] -> store(cpu, line, flag) }
    :: else ->
        fill(page_of(line));                        /* locate_store */
        if
        :: atomic { attributes[page_of(line)] == 0 -> store(cpu, line, flag) }
        :: atomic { attributes[page_of(line)] != 0 -> store(cpu, line, flag) };
            after_store(cpu, line)                  /* finish_store */
        fi
    fi
}
