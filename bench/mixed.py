"""A large program as a compiler would have made it, generated: the same text for the same seed.

Each round calls each function once, and jumps go forward, past one instruction in ten. So some
25,000 different instructions run once in a round, in some 3,000 blocks, and an engine lives from
how it finds its way among them. The shares of the kinds are about those of compiled 32-bit code.

Only defined flags are ever read, and memory only where this program has written before, so that
two engines have to agree, and each run is the same as the one before.
"""

from __future__ import annotations

import random

#: Where the data is, which each run fills anew, and its size in bytes: 256 KiB.
DATA_ADDRESS, DATA_SIZE = 0x100000, 0x40000

#: Functions that the main program calls, and functions that each of these calls.
_CALLERS, _LEAVES = 90, 3

#: Bytes of an object that a function works on, and how far an array reaches beyond its base.
_OBJECT_SIZE, _ARRAY_SIZE = 0x200, 0x400

_REGISTERS = ("eax", "ecx", "edx", "ebx")
_WORDS = {register: register[1:] for register in _REGISTERS}
_BYTES = {register: f"{register[1]}l" for register in _REGISTERS}

_HEAD = f"""\
.intel_syntax noprefix
.code32
    mov ebp, ecx
    mov edi, {DATA_ADDRESS}
fill:
    imul eax, eax, 1664525
    add eax, 1013904223
    mov [edi], eax
    add edi, 4
    cmp edi, {DATA_ADDRESS + DATA_SIZE}
    jb fill
round:
"""

_TAIL = """\
    dec ebp
    jnz round
    hlt
"""


def source(seed: int = 0) -> str:
    """The program as GNU as text. It takes the number of rounds in ECX and ends in HLT."""
    chance = random.Random(seed)
    names = [f"f{number}" for number in range(_CALLERS)]
    functions = [_Function(chance, name, _LEAVES).text() for name in names]
    calls = "".join(f"    push {_object(chance)}\n    call {name}\n    pop edx\n" for name in names)
    return _HEAD + calls + _TAIL + "".join(functions)


def _object(chance: random.Random) -> int:
    """The address of an object, which leaves room for an array that begins with it."""
    return DATA_ADDRESS + 16 * chance.randrange((DATA_SIZE - _OBJECT_SIZE - _ARRAY_SIZE) // 16)


class _Function:
    """One function and those that it calls.

    ESI points to an object, which is the argument, EDI to an array; EBP counts the rounds. A frame
    of locals is addressed through ESP, and its first one keeps the argument.
    """

    def __init__(self, chance: random.Random, name: str, calls: int) -> None:
        self._chance = chance
        self._name = name
        self._leaves = [f"{name}_{number}" for number in range(calls)]
        self._locals = chance.randint(3, 8)
        self._labels = 0
        self._lines: list[str] = []

    def text(self) -> str:
        """The function, then its leaves."""
        frame = 4 * self._locals
        self._label(self._name)
        self._emit("push ebx", "push esi", "push edi", f"sub esp, {frame}")
        self._emit(f"mov esi, [esp + {frame + 16}]", f"mov edi, {_object(self._chance)}")
        self._emit("mov [esp], esi")
        for local in range(1, self._locals):
            self._emit(f"mov [esp + {4 * local}], {self._register()}")
        for leaf in [*self._leaves, None]:
            for _ in range(self._chance.randint(2, 5)):
                self._statement()
            if leaf is not None:
                self._emit(self._chance.choice(["push esi", f"push {_object(self._chance)}"]))
                self._emit(f"call {leaf}", "add esp, 4", "mov esi, [esp]")
        self._emit(f"add esp, {frame}", "pop edi", "pop esi", "pop ebx", "ret")
        leaves = [_Function(self._chance, leaf, 0).text() for leaf in self._leaves]
        return "".join(f"{line}\n" for line in self._lines) + "".join(leaves)

    def _emit(self, *instructions: str) -> None:
        self._lines += [f"    {instruction}" for instruction in instructions]

    def _label(self, label: str) -> None:
        self._lines.append(f"{label}:")

    def _new_label(self) -> str:
        self._labels += 1
        return f"{self._name}.{self._labels}"

    # Control flow: what a compiler makes of statements.

    def _statement(self) -> None:
        """Straight code, then an `if` or an `if` with `else`."""
        self._straight(1, 6)
        end = self._new_label()
        if self._chance.random() < 0.8:
            self._emit(f"j{self._condition()} {end}")
            self._straight(1, 4)
        else:
            otherwise = self._new_label()
            self._emit(f"j{self._condition()} {otherwise}")
            self._straight(1, 4)
            self._emit(f"jmp {end}")
            self._label(otherwise)
            self._straight(1, 3)
        self._label(end)

    def _straight(self, least: int, most: int) -> None:
        emitters = self._chance.choices(_EMITTERS, _WEIGHTS, k=self._chance.randint(least, most))
        for emitter in emitters:
            emitter(self)

    def _condition(self) -> str:
        """Compare something; the name of a condition that holds in the lesser part of all cases."""
        register, memory = self._register(), self._memory()
        small = self._chance.randint(1, 127)
        comparison, conditions = self._chance.choice(
            [
                (f"test {register}, {register}", ("e", "s")),
                (f"test {register}, {self._chance.choice([0x70, 0xF00, 0x1F0000])}", ("e",)),
                (f"test byte ptr {memory}, {1 << small % 8}", ("e", "ne")),
                (f"cmp {register}, {small}", ("e", "b", "be")),
                (f"cmp {register}, {small << 23}", ("l", "g")),
                (f"cmp dword ptr {memory}, {small}", ("e", "b")),
                (f"cmp {register}, {memory}", ("e", "a", "ge")),
                (f"cmp {register}, {self._register()}", ("e", "b", "l")),
                (f"cmp byte ptr {memory}, {small}", ("e", "be")),
                (f"cmp word ptr {memory}, {small}", ("e", "be")),
            ]
        )
        self._emit(comparison)
        return self._chance.choice(conditions)

    # Operands.

    def _register(self) -> str:
        return self._chance.choice(_REGISTERS)

    def _immediate(self) -> int:
        """Small more often than not, as constants are."""
        return self._chance.choice([self._chance.randint(-128, 127)] * 3 + [self._number()])

    def _number(self) -> int:
        return self._chance.randrange(1 << 31)

    def _memory(self) -> str:
        """A field of the object, a local, a variable, or an element of the array.

        All are aligned to four bytes. The last takes an instruction or two that make the index.
        """
        kind = self._chance.choices(["field", "local", "variable", "element"], [45, 30, 13, 12])[0]
        if kind == "field":
            return f"[esi + {self._chance.randrange(0, _OBJECT_SIZE, 4)}]"
        if kind == "local":
            return f"[esp + {4 * self._chance.randrange(1, self._locals)}]"
        if kind == "variable":
            return f"[{self._chance.randrange(DATA_ADDRESS, DATA_ADDRESS + DATA_SIZE, 4)}]"
        index = self._register()
        if self._chance.random() < 0.5:
            self._emit(f"movzx {index}, {_BYTES[self._register()]}")
        else:
            self._emit(f"and {index}, {_ARRAY_SIZE // 4 - 1}")
        return f"[edi + {index} * 4 + {self._chance.randrange(0, _OBJECT_SIZE, 4)}]"

    # Instructions; the table at the end has how often each comes.

    def load(self) -> None:
        memory = self._memory()
        self._emit(f"mov {self._register()}, {memory}")

    def store(self) -> None:
        memory = self._memory()
        self._emit(f"mov {memory}, {self._register()}")

    def store_immediate(self) -> None:
        self._emit(f"mov dword ptr {self._memory()}, {self._immediate()}")

    def move(self) -> None:
        target, origin = self._chance.sample(_REGISTERS, 2)
        # The number of the round now and then, so that no round does the same as the one before.
        self._emit(f"mov {target}, {self._chance.choice([origin] * 7 + ['ebp'])}")

    def constant(self) -> None:
        register = self._register()
        if self._chance.random() < 0.3:
            self._emit(f"xor {register}, {register}")
        else:
            self._emit(f"mov {register}, {self._immediate()}")

    def address(self) -> None:
        base, index = self._register(), self._register()
        scaled = f" + {index} * {self._chance.choice([1, 2, 4, 8])}"
        scaled = self._chance.choice(["", scaled])
        self._emit(f"lea {self._register()}, [{base}{scaled} + {self._immediate()}]")

    def arithmetic(self) -> None:
        register, operand = self._register(), self._register()
        self._emit(f"{self._operation()} {register}, {operand}")

    def arithmetic_immediate(self) -> None:
        self._emit(f"{self._operation()} {self._register()}, {self._immediate()}")

    def arithmetic_load(self) -> None:
        memory = self._memory()
        self._emit(f"{self._operation()} {self._register()}, {memory}")

    def arithmetic_store(self) -> None:
        memory = self._memory()
        operand = self._chance.choice([self._register(), str(self._immediate())])
        self._emit(f"{self._operation()} dword ptr {memory}, {operand}")

    def _operation(self) -> str:
        return self._chance.choices(["add", "sub", "xor", "or", "and"], [40, 25, 15, 10, 10])[0]

    def carry(self) -> None:
        low, high = self._chance.sample(_REGISTERS, 2)
        first, second = self._chance.choice([("add", "adc"), ("sub", "sbb")])
        memory = self._memory()
        self._emit(f"{first} {low}, {memory}", f"{second} {high}, 0")

    def step(self) -> None:
        target = self._chance.choice([self._register(), f"dword ptr {self._memory()}"])
        self._emit(f"{self._chance.choice(['inc', 'dec'])} {target}")

    def complement(self) -> None:
        self._emit(f"{self._chance.choice(['neg', 'not'])} {self._register()}")

    def shift(self) -> None:
        operation = self._chance.choice(["shl", "shr", "sar", "shl", "shr", "sar", "rol", "ror"])
        count = self._chance.choice([str(self._chance.randint(1, 31))] * 6 + ["cl"])
        self._emit(f"{operation} {self._register()}, {count}")

    def widen(self) -> None:
        operation = self._chance.choice(["movzx", "movzx", "movsx"])
        register = self._register()
        origin = self._chance.choice(
            [
                f"byte ptr {self._memory()}",
                f"word ptr {self._memory()}",
                _BYTES[self._register()],
                _WORDS[self._register()],
            ]
        )
        self._emit(f"{operation} {register}, {origin}")

    def multiply(self) -> None:
        memory = self._memory()
        register = self._register()
        operands = [self._register(), memory, f"{self._register()}, {self._immediate()}"]
        self._emit(f"imul {register}, {self._chance.choice(operands)}")

    def divide(self) -> None:
        divisor = self._chance.randint(3, 1000)
        self._emit("xor edx, edx", f"mov ecx, {divisor}", "div ecx")

    def truth(self) -> None:
        condition = self._condition()
        register = self._register()
        self._emit(f"set{condition} {_BYTES[register]}", f"movzx {register}, {_BYTES[register]}")

    def select(self) -> None:
        condition = self._condition()
        target, origin = self._chance.sample(_REGISTERS, 2)
        self._emit(f"cmov{condition} {target}, {origin}")

    def byte(self) -> None:
        memory, register = f"byte ptr {self._memory()}", _BYTES[self._register()]
        immediate = self._chance.randint(-128, 127)
        forms = [f"mov {register}, {memory}", f"mov {memory}, {register}"] * 2
        forms += [f"mov {memory}, {immediate}", f"{self._operation()} {register}, {immediate}"]
        forms += [f"{self._operation()} {memory}, {immediate}"]
        self._emit(self._chance.choice(forms))

    def word(self) -> None:
        memory, register = f"word ptr {self._memory()}", _WORDS[self._register()]
        immediate = self._chance.randint(-32768, 32767)
        forms = [f"mov {register}, {memory}", f"mov {memory}, {register}"] * 2
        forms += [f"{self._operation()} {register}, {immediate}"]
        forms += [f"{self._operation()} {memory}, {register}"]
        self._emit(self._chance.choice(forms))

    def spill(self) -> None:
        register = self._register()
        self._emit(f"push {register}", f"{self._operation()} {register}, {self._immediate()}")
        self._emit(f"pop {self._register()}")


#: How often each kind comes, in so many of all that straight code is made of.
_SHARES = {
    _Function.load: 190,
    _Function.store: 90,
    _Function.store_immediate: 20,
    _Function.move: 80,
    _Function.constant: 60,
    _Function.address: 60,
    _Function.arithmetic: 65,
    _Function.arithmetic_immediate: 75,
    _Function.arithmetic_load: 45,
    _Function.arithmetic_store: 30,
    _Function.carry: 5,
    _Function.step: 25,
    _Function.complement: 8,
    _Function.shift: 40,
    _Function.widen: 50,
    _Function.multiply: 12,
    _Function.divide: 2,
    _Function.truth: 6,
    _Function.select: 6,
    _Function.byte: 40,
    _Function.word: 20,
    _Function.spill: 12,
}
_EMITTERS, _WEIGHTS = list(_SHARES), list(_SHARES.values())
