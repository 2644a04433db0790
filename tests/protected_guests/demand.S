// Demand paging: 64 pages of virtual memory in 8 frames. The page-fault handler takes a frame in turn, stores what
// was changed there to the disk (which is memory of its own), and fetches what is wanted from it.

#include "kernel.inc"

.set PAGE_FAULT, 14
.set REGION, 0x40000000             // of virtual memory
.set PAGES, 64
.set FRAMES, 8
.set PAGES_TABLE, 0x4000            // page table of the region
.set POOL, 0x100000                 // physical: the frames
.set DISK, 0x200000                 // a place for each page
.set ON_DISK, 0x200                 // of a page that is not present: a bit that the processor leaves alone
.set NOBODY, 0xFFFFFFFF

// Of the error code
.set PROTECTION, 1
.set WRITE, 2

    enter_kernel
    set_gate PAGE_FAULT, page_fault
    call    map_first_4_mib
    mov     dword ptr [DIRECTORY + (REGION >> 22) * 4], PAGES_TABLE + (PRESENT | WRITABLE)
    mov     edi, offset owners
    mov     ecx, FRAMES
    mov     eax, NOBODY
    rep stosd
    call    begin_paging

    // Page n gets n squared in its doubleword n.
    xor     ecx, ecx
1:  mov     eax, ecx
    mul     ecx
    mov     ebx, ecx
    shl     ebx, 12
    mov     [REGION + ebx + ecx * 4], eax
    inc     ecx
    cmp     ecx, PAGES
    jb      1b
    say     "written: "
    call    report

    // Their sum.
    xor     ecx, ecx
    xor     eax, eax
1:  mov     ebx, ecx
    shl     ebx, 12
    add     eax, [REGION + ebx + ecx * 4]
    inc     ecx
    cmp     ecx, PAGES
    jb      1b
    call    print_hex
    say     " read: "
    call    report

    // A doubleword across each two pages, read and written in one.
    mov     ebx, REGION + 0x1000 - 2
1:  add     dword ptr [ebx], 0x01020304
    add     ebx, 0x1000
    cmp     ebx, REGION + (PAGES - 1) * 0x1000
    jb      1b
    say     "changed: "
    call    report

    // A string across all: 32 KiB from the first half to the second, which is four times what is in memory.
    mov     esi, REGION
    mov     edi, REGION + PAGES / 2 * 0x1000
    mov     ecx, PAGES / 2 * 0x1000 / 4
    rep movsd
    say     "copied: "
    call    report

    // All of it, as it is now.
    mov     esi, REGION
    mov     ecx, PAGES * 0x1000 / 4
    xor     edx, edx
1:  lodsd
    rol     edx, 1
    xor     edx, eax
    loop    1b
    mov     eax, edx
    call    print_hex
    say     " read: "
    call    report
    leave_machine 0

report:                                 // faults, of which writes, stored, fetched
    pushad
    mov     esi, offset faults
    mov     ecx, 4
1:  lodsd
    call    print_hex
    mov     al, ' '
    out     DEBUG_CONSOLE, al
    loop    1b
    say     "\n"
    popad
    ret

page_fault:
    pushad
    mov     ebp, [esp + 32]             // the error code
    mov     edx, cr2
    sub     edx, REGION
    shr     edx, 12                     // the page that is wanted
    cmp     edx, PAGES
    jae     broken
    test    ebp, PROTECTION
    jnz     broken
    inc     dword ptr [faults]
    test    ebp, WRITE
    jz      1f
    inc     dword ptr [faults_write]
1:
    mov     ebx, [hand]                 // the frame whose turn it is, and what is in it
    mov     eax, ebx
    inc     eax
    and     eax, FRAMES - 1
    mov     [hand], eax
    mov     eax, [owners + ebx * 4]
    mov     [owners + ebx * 4], edx
    shl     ebx, 12
    add     ebx, POOL
    cmp     eax, NOBODY
    je      fetch
    mov     ecx, [PAGES_TABLE + eax * 4]
    mov     dword ptr [PAGES_TABLE + eax * 4], ON_DISK
    shl     eax, 12
    invlpg  [REGION + eax]
    test    ecx, DIRTY
    jz      fetch
    inc     dword ptr [stored]
    lea     edi, [DISK + eax]
    mov     esi, ebx
    mov     ecx, 1024
    rep movsd

fetch:
    mov     edi, ebx
    mov     ecx, 1024
    test    dword ptr [PAGES_TABLE + edx * 4], ON_DISK
    jz      fresh
    inc     dword ptr [fetched]
    mov     esi, edx
    shl     esi, 12
    add     esi, DISK
    rep movsd
    jmp     ready
fresh:
    xor     eax, eax
    rep stosd
ready:
    or      ebx, PRESENT | WRITABLE
    mov     [PAGES_TABLE + edx * 4], ebx
    popad
    add     esp, 4
    iretd

broken:
    say     "broken\n"
    leave_machine 1

.section .bss
.balign 4
faults:         .fill 4
faults_write:   .fill 4
stored:         .fill 4
fetched:        .fill 4
hand:           .fill 4                 // the frame whose turn it is
owners:         .fill FRAMES * 4        // the page in each frame
