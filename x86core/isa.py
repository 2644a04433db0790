"""The instruction set as data: the one table that decoder, build, tests and docs read.

A row is an opcode form. Its columns:

opcode       bytes in hexadecimal; `+r` the low three bits are a register, `+c` the low four
             a condition; `/n` the ModRM reg field selects it; a third byte after 0F 01 is
             all of ModRM; 66, F2 or F3 before 0F is a prefix that makes another instruction
instruction  mnemonic and operands as in the opcode map of the Intel SDM (vol. 2, appendix A):
             E register or memory, G register, I immediate, M memory, S segment register, C control
             and D debug register, O offset without ModRM, J relative target, A far pointer,
             Z register in the opcode, X and Y DS:SI and ES:DI; b byte, w word, v word or doubleword
             by operand size, p far pointer
handler      the function in x86core/handlers/ that is its meaning
properties   lock     LOCK may stand before the memory form; the handler is then locked_<handler>
             atomic   its memory form is always the locked one
             hot      memory forms also have the quick forms for flat and for other segments
             stack    the same for the implied stack operand
             sized    depends on the operand size though no operand shows it
             writes   leaves nothing of the arithmetic flags before it, which need not be computed
             carry    the same, but keeps CF or, with a count of 0, all of them
             quiet    neither reads nor writes arithmetic flags
             address  takes the address of its memory operand, not what is there
             dead     has a form that leaves out flags which nobody reads
             jump     ends a block and goes on at an address known when decoding, or at the next one
             end      ends a block
             signed   its byte immediate is sign-extended to the operand size
             string   takes REP
             privileged  #GP(0) outside privilege level 0
             protected   #UD in real and virtual-8086 mode
             register a memory operand is #UD; otherwise ModRM.mod says nothing of an R operand
"""

from __future__ import annotations

from x86core.row import Row

TABLE = """
00       ADD Eb,Gb            add                lock hot writes dead
01       ADD Ev,Gv            add                lock hot writes dead
02       ADD Gb,Eb            add                hot writes dead
03       ADD Gv,Ev            add                hot writes dead
04       ADD AL,Ib            add                writes dead
05       ADD eAX,Iv           add                writes dead
06       PUSH ES              push_segment       sized
07       POP ES               pop_segment        sized end
08       OR Eb,Gb             or_                lock hot writes dead
09       OR Ev,Gv             or_                lock hot writes dead
0A       OR Gb,Eb             or_                hot writes dead
0B       OR Gv,Ev             or_                hot writes dead
0C       OR AL,Ib             or_                writes dead
0D       OR eAX,Iv            or_                writes dead
0E       PUSH CS              push_segment       sized
10       ADC Eb,Gb            adc                lock hot dead
11       ADC Ev,Gv            adc                lock hot dead
12       ADC Gb,Eb            adc                hot dead
13       ADC Gv,Ev            adc                hot dead
14       ADC AL,Ib            adc                dead
15       ADC eAX,Iv           adc                dead
16       PUSH SS              push_segment       sized
17       POP SS               pop_segment        sized end
18       SBB Eb,Gb            sbb                lock hot dead
19       SBB Ev,Gv            sbb                lock hot dead
1A       SBB Gb,Eb            sbb                hot dead
1B       SBB Gv,Ev            sbb                hot dead
1C       SBB AL,Ib            sbb                dead
1D       SBB eAX,Iv           sbb                dead
1E       PUSH DS              push_segment       sized
1F       POP DS               pop_segment        sized end
20       AND Eb,Gb            and_               lock hot writes dead
21       AND Ev,Gv            and_               lock hot writes dead
22       AND Gb,Eb            and_               hot writes dead
23       AND Gv,Ev            and_               hot writes dead
24       AND AL,Ib            and_               writes dead
25       AND eAX,Iv           and_               writes dead
27       DAA                  daa
28       SUB Eb,Gb            sub                lock hot writes dead
29       SUB Ev,Gv            sub                lock hot writes dead
2A       SUB Gb,Eb            sub                hot writes dead
2B       SUB Gv,Ev            sub                hot writes dead
2C       SUB AL,Ib            sub                writes dead
2D       SUB eAX,Iv           sub                writes dead
2F       DAS                  das
30       XOR Eb,Gb            xor                lock hot writes dead
31       XOR Ev,Gv            xor                lock hot writes dead
32       XOR Gb,Eb            xor                hot writes dead
33       XOR Gv,Ev            xor                hot writes dead
34       XOR AL,Ib            xor                writes dead
35       XOR eAX,Iv           xor                writes dead
37       AAA                  aaa
38       CMP Eb,Gb            cmp                hot writes
39       CMP Ev,Gv            cmp                hot writes
3A       CMP Gb,Eb            cmp                hot writes
3B       CMP Gv,Ev            cmp                hot writes
3C       CMP AL,Ib            cmp                writes
3D       CMP eAX,Iv           cmp                writes
3F       AAS                  aas
40+r     INC Zv               inc                carry dead
48+r     DEC Zv               dec                carry dead
50+r     PUSH Zv              push               stack
58+r     POP Zv               pop                stack
60       PUSHA                pusha              sized
61       POPA                 popa               sized
62       BOUND Gv,Ma          bound
63       ARPL Ew,Gw           arpl               protected
68       PUSH Iv              push_immediate     stack
69       IMUL Gv,Ev,Iv        imul3              hot writes dead
6A       PUSH Ib              push_immediate     stack sized signed
6B       IMUL Gv,Ev,Ib        imul3              hot writes dead signed
6C       INS Yb,DX            ins                string end
6D       INS Yv,DX            ins                string end
6E       OUTS DX,Xb           outs               string end
6F       OUTS DX,Xv           outs               string end
70+c     Jcc Jb               jcc                jump
80/0     ADD Eb,Ib            add                lock hot writes dead
80/1     OR Eb,Ib             or_                lock hot writes dead
80/2     ADC Eb,Ib            adc                lock hot dead
80/3     SBB Eb,Ib            sbb                lock hot dead
80/4     AND Eb,Ib            and_               lock hot writes dead
80/5     SUB Eb,Ib            sub                lock hot writes dead
80/6     XOR Eb,Ib            xor                lock hot writes dead
80/7     CMP Eb,Ib            cmp                hot writes
81/0     ADD Ev,Iv            add                lock hot writes dead
81/1     OR Ev,Iv             or_                lock hot writes dead
81/2     ADC Ev,Iv            adc                lock hot dead
81/3     SBB Ev,Iv            sbb                lock hot dead
81/4     AND Ev,Iv            and_               lock hot writes dead
81/5     SUB Ev,Iv            sub                lock hot writes dead
81/6     XOR Ev,Iv            xor                lock hot writes dead
81/7     CMP Ev,Iv            cmp                hot writes
82/0     ADD Eb,Ib            add                lock hot writes dead
82/1     OR Eb,Ib             or_                lock hot writes dead
82/2     ADC Eb,Ib            adc                lock hot dead
82/3     SBB Eb,Ib            sbb                lock hot dead
82/4     AND Eb,Ib            and_               lock hot writes dead
82/5     SUB Eb,Ib            sub                lock hot writes dead
82/6     XOR Eb,Ib            xor                lock hot writes dead
82/7     CMP Eb,Ib            cmp                hot writes
83/0     ADD Ev,Ib            add                lock hot writes dead signed
83/1     OR Ev,Ib             or_                lock hot writes dead signed
83/2     ADC Ev,Ib            adc                lock hot dead signed
83/3     SBB Ev,Ib            sbb                lock hot dead signed
83/4     AND Ev,Ib            and_               lock hot writes dead signed
83/5     SUB Ev,Ib            sub                lock hot writes dead signed
83/6     XOR Ev,Ib            xor                lock hot writes dead signed
83/7     CMP Ev,Ib            cmp                hot writes signed
84       TEST Eb,Gb           test               hot writes
85       TEST Ev,Gv           test               hot writes
86       XCHG Eb,Gb           xchg               lock atomic
87       XCHG Ev,Gv           xchg               lock atomic
88       MOV Eb,Gb            mov                hot quiet
89       MOV Ev,Gv            mov                hot quiet
8A       MOV Gb,Eb            mov                hot quiet
8B       MOV Gv,Ev            mov                hot quiet
8C       MOV Ev,Sw            mov_from_segment
8D       LEA Gv,M             lea                quiet address hot
8E       MOV Sw,Ew            mov_to_segment     end
8F/0     POP Ev               pop_operand
90       NOP                  nop                quiet
90+r     XCHG eAX,Zv          xchg
98       CBW                  cbw                sized quiet
99       CWD                  cwd                sized quiet
9A       CALL Ap              call_far           sized end
9B       WAIT                 wait
9C       PUSHF                pushf              sized
9D       POPF                 popf               sized end
9E       SAHF                 sahf
9F       LAHF                 lahf
A0       MOV AL,Ob            mov                hot quiet
A1       MOV eAX,Ov           mov                hot quiet
A2       MOV Ob,AL            mov                hot quiet
A3       MOV Ov,eAX           mov                hot quiet
A4       MOVS Yb,Xb           movs               string
A5       MOVS Yv,Xv           movs               string
A6       CMPS Xb,Yb           cmps               string
A7       CMPS Xv,Yv           cmps               string
A8       TEST AL,Ib           test               writes
A9       TEST eAX,Iv          test               writes
AA       STOS Yb,AL           stos               string
AB       STOS Yv,eAX          stos               string
AC       LODS AL,Xb           lods               string
AD       LODS eAX,Xv          lods               string
AE       SCAS AL,Yb           scas               string
AF       SCAS eAX,Yv          scas               string
B0+r     MOV Zb,Ib            mov                quiet
B8+r     MOV Zv,Iv            mov                quiet
C0/0     ROL Eb,Ib            rol
C0/1     ROR Eb,Ib            ror
C0/2     RCL Eb,Ib            rcl
C0/3     RCR Eb,Ib            rcr
C0/4     SHL Eb,Ib            shl                carry dead
C0/5     SHR Eb,Ib            shr                carry dead
C0/6     SAL Eb,Ib            shl                carry dead
C0/7     SAR Eb,Ib            sar                carry dead
C1/0     ROL Ev,Ib            rol
C1/1     ROR Ev,Ib            ror
C1/2     RCL Ev,Ib            rcl
C1/3     RCR Ev,Ib            rcr
C1/4     SHL Ev,Ib            shl                carry dead
C1/5     SHR Ev,Ib            shr                carry dead
C1/6     SAL Ev,Ib            shl                carry dead
C1/7     SAR Ev,Ib            sar                carry dead
C2       RET Iw               ret_release        sized end
C3       RET                  ret                sized stack end
C4       LES Gv,Mp            les                end
C5       LDS Gv,Mp            lds                end
C6/0     MOV Eb,Ib            mov                hot quiet
C7/0     MOV Ev,Iv            mov                hot quiet
C8       ENTER Iw,Ib          enter_frame        sized
C9       LEAVE                leave_frame        sized stack
CA       RETF Iw              ret_far            sized end
CB       RETF                 ret_far            sized end
CC       INT3                 int3               end
CD       INT Ib               int_               end
CE       INTO                 into               end
CF       IRET                 iret               sized end
D0/0     ROL Eb,1             rol
D0/1     ROR Eb,1             ror
D0/2     RCL Eb,1             rcl
D0/3     RCR Eb,1             rcr
D0/4     SHL Eb,1             shl                carry dead
D0/5     SHR Eb,1             shr                carry dead
D0/6     SAL Eb,1             shl                carry dead
D0/7     SAR Eb,1             sar                carry dead
D1/0     ROL Ev,1             rol
D1/1     ROR Ev,1             ror
D1/2     RCL Ev,1             rcl
D1/3     RCR Ev,1             rcr
D1/4     SHL Ev,1             shl                carry dead
D1/5     SHR Ev,1             shr                carry dead
D1/6     SAL Ev,1             shl                carry dead
D1/7     SAR Ev,1             sar                carry dead
D2/0     ROL Eb,CL            rol
D2/1     ROR Eb,CL            ror
D2/2     RCL Eb,CL            rcl
D2/3     RCR Eb,CL            rcr
D2/4     SHL Eb,CL            shl                carry dead
D2/5     SHR Eb,CL            shr                carry dead
D2/6     SAL Eb,CL            shl                carry dead
D2/7     SAR Eb,CL            sar                carry dead
D3/0     ROL Ev,CL            rol
D3/1     ROR Ev,CL            ror
D3/2     RCL Ev,CL            rcl
D3/3     RCR Ev,CL            rcr
D3/4     SHL Ev,CL            shl                carry dead
D3/5     SHR Ev,CL            shr                carry dead
D3/6     SAL Ev,CL            shl                carry dead
D3/7     SAR Ev,CL            sar                carry dead
D4       AAM Ib               aam
D5       AAD Ib               aad
D6       SALC                 salc
D7       XLAT                 xlat
D8+r     ESC E                escape
E0       LOOPNE Jb            loopne             jump
E1       LOOPE Jb             loope              jump
E2       LOOP Jb              loop               jump
E3       JCXZ Jb              jcxz               jump
E4       IN AL,Ib             in_                end
E5       IN eAX,Ib            in_                end
E6       OUT Ib,AL            out                end
E7       OUT Ib,eAX           out                end
E8       CALL Jv              call               stack jump
E9       JMP Jv               jmp                jump
EA       JMP Ap               jmp_far            end
EB       JMP Jb               jmp                jump
EC       IN AL,DX             in_dx              end
ED       IN eAX,DX            in_dx              end
EE       OUT DX,AL            out_dx             end
EF       OUT DX,eAX           out_dx             end
F1       INT1                 int1               end
F4       HLT                  hlt                end privileged
F5       CMC                  cmc
F6/0     TEST Eb,Ib           test               hot writes
F6/1     TEST Eb,Ib           test               hot writes
F6/2     NOT Eb               not_               lock
F6/3     NEG Eb               neg                lock writes dead
F6/4     MUL Eb               mul
F6/5     IMUL Eb              imul
F6/6     DIV Eb               div
F6/7     IDIV Eb              idiv
F7/0     TEST Ev,Iv           test               hot writes
F7/1     TEST Ev,Iv           test               hot writes
F7/2     NOT Ev               not_               lock
F7/3     NEG Ev               neg                lock writes dead
F7/4     MUL Ev               mul                hot
F7/5     IMUL Ev              imul               hot
F7/6     DIV Ev               div                hot
F7/7     IDIV Ev              idiv               hot
F8       CLC                  clc
F9       STC                  stc
FA       CLI                  cli
FB       STI                  sti
FC       CLD                  cld                quiet
FD       STD                  std                quiet
FE/0     INC Eb               inc                lock hot carry dead
FE/1     DEC Eb               dec                lock hot carry dead
FF/0     INC Ev               inc                lock hot carry dead
FF/1     DEC Ev               dec                lock hot carry dead
FF/2     CALL Ev              call_indirect      end
FF/3     CALL Mp              call_far_indirect  sized end
FF/4     JMP Ev               jmp_indirect       end
FF/5     JMP Mp               jmp_far_indirect   sized end
FF/6     PUSH Ev              push_operand
0F00/0   SLDT Ev              sldt               protected
0F00/1   STR Ev               str_               protected
0F00/2   LLDT Ew              lldt               privileged protected
0F00/3   LTR Ew               ltr                privileged protected
0F00/4   VERR Ew              verr               protected
0F00/5   VERW Ew              verw               protected
0F01/0   SGDT Ms              sgdt
0F01/1   SIDT Ms              sidt
0F01/2   LGDT Ms              lgdt               sized end privileged
0F01/3   LIDT Ms              lidt               sized end privileged
0F01/4   SMSW Ev              smsw
0F01/6   LMSW Ew              lmsw               end privileged
0F01/7   INVLPG M             invlpg             end privileged
0F01C8   MONITOR              monitor
0F01C9   MWAIT                mwait              end
0F01FA   MONITORX             monitorx
0F01FB   MWAITX               mwaitx             end
0F02     LAR Gv,Ew            lar                protected
0F03     LSL Gv,Ew            lsl                protected
0F06     CLTS                 clts               end privileged
0F08     INVD                 invd               end privileged
0F09     WBINVD               invd               end privileged
0F0B     UD2                  undefined          end
0F18     NOP E                nop_operand        quiet address
0F19     NOP E                nop_operand        quiet address
0F1A     NOP E                nop_operand        quiet address
0F1B     NOP E                nop_operand        quiet address
0F1C     NOP E                nop_operand        quiet address
0F1D     NOP E                nop_operand        quiet address
0F1E     NOP E                nop_operand        quiet address
0F1F     NOP E                nop_operand        quiet address
0F20     MOV Rd,Cd            mov_from_control   privileged
0F21     MOV Rd,Dd            mov_from_debug     privileged
0F22     MOV Cd,Rd            mov_to_control     end privileged
0F23     MOV Dd,Rd            mov_to_debug       end privileged
0F30     WRMSR                wrmsr              end privileged
0F31     RDTSC                rdtsc              end
0F32     RDMSR                rdmsr              privileged
0F40+c   CMOVcc Gv,Ev         cmovcc
0F80+c   Jcc Jv               jcc                jump
0F90+c   SETcc Eb             setcc
0FA0     PUSH FS              push_segment       sized
0FA1     POP FS               pop_segment        sized end
0FA2     CPUID                cpuid              end
0FA3     BT Ev,Gv             bt
0FA4     SHLD Ev,Gv,Ib        shld
0FA5     SHLD Ev,Gv,CL        shld_cl
0FA8     PUSH GS              push_segment       sized
0FA9     POP GS               pop_segment        sized end
0FAB     BTS Ev,Gv            bts                lock
0FAC     SHRD Ev,Gv,Ib        shrd
0FAD     SHRD Ev,Gv,CL        shrd_cl
0FAF     IMUL Gv,Ev           imul2              hot writes dead
0FB0     CMPXCHG Eb,Gb        cmpxchg            lock atomic
0FB1     CMPXCHG Ev,Gv        cmpxchg            lock atomic
0FB2     LSS Gv,Mp            lss                end
0FB3     BTR Ev,Gv            btr                lock
0FB4     LFS Gv,Mp            lfs                end
0FB5     LGS Gv,Mp            lgs                end
0FB6     MOVZX Gv,Eb          movzx_byte         hot quiet
0FB7     MOVZX Gv,Ew          movzx_word         hot quiet
0FB9     UD1                  undefined          end
0FBA/4   BT Ev,Ib             bt
0FBA/5   BTS Ev,Ib            bts                lock
0FBA/6   BTR Ev,Ib            btr                lock
0FBA/7   BTC Ev,Ib            btc                lock
0FBB     BTC Ev,Gv            btc                lock
0FBC     BSF Gv,Ev            bsf
0FBD     BSR Gv,Ev            bsr
0FBE     MOVSX Gv,Eb          movsx_byte         hot quiet
0FBF     MOVSX Gv,Ew          movsx_word         hot quiet
0FC0     XADD Eb,Gb           xadd               lock atomic
0FC1     XADD Ev,Gv           xadd               lock atomic
0FC7/1   CMPXCHG8B Mq         cmpxchg8b          lock atomic
0FC8+r   BSWAP Zv             bswap              quiet
660FAE/6 TPAUSE Rd            tpause             end register
F20FAE/6 UMWAIT Rd            umwait             end register
F30FAE/6 UMONITOR Rd          umonitor           register
F390     PAUSE                pause              quiet
"""


def _parse(line: str) -> Row:
    handler, *properties = line[30:].split()
    return Row(line[:9].strip(), line[9:30].strip(), handler, frozenset(properties))


#: The table, a Row a line.
ROWS = tuple(_parse(line) for line in TABLE.strip().splitlines())
