// A Multiboot kernel that tells what its boot loader has told it.
//
//     python -m vmm run multiboot --append "one two" --module README.md
//
// A Multiboot loader finds the kernel's header in the first 8 KiB of the file, puts the kernel where the
// header says, and starts it in 32-bit protected mode, without paging and interrupts. EAX is a magic
// number by which the kernel knows that it was loaded so, EBX the address of the boot information.
// A stack, a GDT and an IDT are the kernel's own affair.
//
// Source: Multiboot Specification 0.6.96.

.intel_syntax noprefix
.code32

#define DEBUG_CONSOLE       0xE9
#define EXIT_PORT           0xF4

#define HEADER_MAGIC        0x1BADB002
#define LOADER_MAGIC        0x2BADB002
#define HEADER_FLAGS        0x10003     // modules on pages, memory information, addresses in the header

// Which fields of the boot information are there, by bits of its first one
#define HAS_COMMAND_LINE    (1 << 2)
#define HAS_MODULES         (1 << 3)
#define HAS_MEMORY_MAP      (1 << 6)
#define HAS_LOADER_NAME     (1 << 9)

// Offsets in the boot information
#define COMMAND_LINE        16
#define MODULE_COUNT        20
#define MODULES             24
#define MAP_LENGTH          44
#define MAP                 48
#define LOADER_NAME         64

image:
    .balign 4
header:
    .long   HEADER_MAGIC
    .long   HEADER_FLAGS
    .long   -(HEADER_MAGIC + HEADER_FLAGS)
    .long   header                      // where the header will be,
    .long   image                       // the first byte,
    .long   0                           // the last byte: that of the file,
    .long   0                           // the end of .bss: there is none,
    .long   entry                       // the first instruction

entry:
    lea     esp, [stack_top]
    cld
    cmp     eax, LOADER_MAGIC
    mov     al, 1                       // the exit status when it is not
    jne     exit

    lea     esi, [loader_text]
    mov     eax, HAS_LOADER_NAME
    mov     edi, LOADER_NAME
    call    print_string_field
    lea     esi, [command_line_text]
    mov     eax, HAS_COMMAND_LINE
    mov     edi, COMMAND_LINE
    call    print_string_field

    test    dword ptr [ebx], HAS_MEMORY_MAP
    jz      modules
    mov     ebp, [ebx + MAP]
    mov     edi, [ebx + MAP_LENGTH]
    add     edi, ebp                    // the end of the map
next_range:
    cmp     ebp, edi
    jae     modules
    lea     esi, [memory_text]
    call    print
    mov     edx, [ebp + 8]              // base, its high half first
    call    print_hex
    mov     edx, [ebp + 4]
    call    print_hex
    lea     esi, [length_text]
    call    print
    mov     edx, [ebp + 16]             // length
    call    print_hex
    mov     edx, [ebp + 12]
    call    print_hex
    lea     esi, [type_text]
    call    print
    mov     edx, [ebp + 20]
    call    print_hex
    call    print_newline
    add     ebp, [ebp]                  // the size of an entry does not count the size itself
    add     ebp, 4
    jmp     next_range

modules:
    test    dword ptr [ebx], HAS_MODULES
    jz      done
    mov     ebp, [ebx + MODULES]
    mov     edi, [ebx + MODULE_COUNT]
next_module:
    dec     edi
    js      done
    lea     esi, [module_text]
    call    print
    mov     edx, [ebp]                  // the first byte
    call    print_hex
    lea     esi, [to_text]
    call    print
    mov     edx, [ebp + 4]              // the byte behind the last one
    call    print_hex
    lea     esi, [colon_text]
    call    print
    mov     esi, [ebp + 8]
    call    print
    call    print_newline
    add     ebp, 16
    jmp     next_module

done:
    xor     al, al
exit:
    out     EXIT_PORT, al
stop:
    hlt                                 // interrupts are off
    jmp     stop

// Print the text at ESI, and the string that the field at offset EDI of the boot information points to,
// if the flag EAX says that there is one. Changes EAX, ESI.
print_string_field:
    test    [ebx], eax
    jz      no_field
    call    print
    mov     esi, [ebx + edi]
    call    print
print_newline:
    mov     al, '\n'
    out     DEBUG_CONSOLE, al
no_field:
    ret

// Print the string at ESI that ends with a 0 byte. Changes AL, ESI.
print:
    lodsb
    test    al, al
    jz      printed
    out     DEBUG_CONSOLE, al
    jmp     print
printed:
    ret

// Print EDX as eight hexadecimal digits. Changes EAX, ECX, EDX.
print_hex:
    mov     ecx, 8
next_digit:
    rol     edx, 4
    mov     eax, edx
    and     eax, 0xF
    mov     al, [eax + digits]
    out     DEBUG_CONSOLE, al
    loop    next_digit
    ret

digits:             .ascii  "0123456789ABCDEF"
loader_text:        .asciz  "loaded by "
command_line_text:  .asciz  "command line: "
memory_text:        .asciz  "memory from "
length_text:        .asciz  " length "
type_text:          .asciz  " type "
module_text:        .asciz  "module "
to_text:            .asciz  "-"
colon_text:         .asciz  ": "

    .balign 16
stack:
    .skip   1024
stack_top:
