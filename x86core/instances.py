"""Which compiled functions the instruction table asks for: variants of handlers, fused pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from x86core.isa import ROWS
from x86core.row import Row

#: Decoded as one with the conditional jump behind them: (handler, form, width in bits).
FUSED_WITH_JCC = (
    *(("cmp", form, width) for form in ("rr", "ri") for width in (8, 16, 32)),
    *(("cmp", form, 32) for form in ("rm", "mr", "mi")),
    ("cmp", "mi", 8),
    *(("test", "rr", width) for width in (8, 16, 32)),
    ("test", "ri", 8),
    ("test", "ri", 32),
    *((handler, "r", width) for handler in ("inc", "dec") for width in (16, 32)),
    *(
        (handler, form, 32)
        for handler in ("add", "sub", "and_", "or_", "xor")
        for form in ("rr", "ri")
    ),
)

#: Decoded as one with a 32-bit comparison of registers and the jump behind that, as loops end.
FUSED_WITH_CMP_AND_JCC = (
    ("inc", "r"),
    ("dec", "r"),
    ("add", "rr"),
    ("add", "ri"),
    ("sub", "ri"),
)

#: What may stand second in a pair: 32-bit instructions that need only registers, as (handler, form,
#: access), and what each is called there.
SECONDS = {
    **{
        (handler, form, ""): f"{handler.rstrip('_')}_{form}"
        for handler in ("add", "or_", "and_", "sub", "xor", "mov")
        for form in ("rr", "ri")
    },
    ("inc", "r", ""): "inc",
    ("dec", "r", ""): "dec",
    ("not_", "r", ""): "not",
    ("lea", "rm", "flat"): "lea",
    ("lea", "rm", "flat_indexed"): "lea_indexed",
}

LOADS = (("mov", "rm", "flat"), ("mov", "rm", "flat_indexed"))

#: What may stand first: the same, if nobody reads its flags, and loads.
FIRSTS = (*(kind for kind in SECONDS if kind[0] != "not_"), *LOADS)

#: Behind a load only: what it loaded goes back to memory.
STORES = {("mov", "mr", "flat"): "store", ("mov", "mr", "flat_indexed"): "store_indexed"}

#: Of all these, those that leave the flags alone.
FLAGLESS = ("mov", "not_", "lea")


@dataclass(frozen=True)
class Instance:
    """One compiled function: a handler with everything that its variant constant fixes."""

    handler: str
    form: str = ""  # r m rr ri mr rm mi, or none
    width: int = 0  # bits, or 0
    access: str = ""  # flat flat_indexed segmented careful, or none
    dead: bool = False
    behind: str = ""  # fused with it: jcc, cmp_rr_jcc, cmp_ri_jcc, a name of SECONDS or STORES
    condition: int | None = None

    @property
    def name(self) -> str:
        """The handler, and what tells this instance from its others."""
        parts = [self.handler, self.form, str(self.width or ""), self.access]
        parts.append("dead" if self.dead else "")
        parts.append(f"then_{self.behind}" if self.behind else "")
        parts.append("" if self.condition is None else f"c{self.condition}")
        return "_".join(filter(None, parts))


def instances(row: Row) -> Iterator[Instance]:
    """Every compiled function that this row may decode to."""
    conditions = range(16) if row.has_condition else (None,)
    for width in row.widths:
        for condition in conditions:
            yield from instances_of(row, width, condition)


def instances_of(row: Row, width: int, condition: int | None = None) -> Iterator[Instance]:
    """Those of one operand width and condition: register form first, careful last."""
    deads = (False, True) if "dead" in row.properties else (False,)
    if row.register_form is not None:
        if "stack" in row.properties:
            for access in ("flat", "segmented", "careful"):
                yield Instance(row.handler, row.register_form, width, access)
        else:
            for dead in deads:
                yield Instance(
                    row.handler, row.register_form, width, dead=dead, condition=condition
                )
    if row.memory_form is not None:
        if "hot" in row.properties:
            for access in ("flat", "flat_indexed", "segmented"):
                for dead in deads:
                    yield Instance(
                        row.handler, row.memory_form, width, access, dead, condition=condition
                    )
        careful = Instance(row.handler, row.memory_form, width, "careful", condition=condition)
        if "atomic" not in row.properties:
            yield careful
        if "lock" in row.properties:
            yield replace(careful, handler=f"locked_{row.handler.rstrip('_')}")


def fused_pairs() -> Iterator[tuple[Instance, Instance, Instance]]:
    """An instance, one that may stand behind it, and what the first becomes then."""
    for condition in range(16):
        jump = Instance("jcc", condition=condition)
        for handler, form, width in FUSED_WITH_JCC:
            for access in ("flat", "flat_indexed", "segmented") if "m" in form else ("",):
                first = Instance(handler, form, width, access)
                yield first, jump, replace(first, behind="jcc", condition=condition)
        for handler, form in FUSED_WITH_CMP_AND_JCC:
            # The comparison overwrites its flags.
            first = Instance(handler, form, 32, dead=True)
            for compared in ("rr", "ri"):
                second = Instance("cmp", compared, 32, behind="jcc", condition=condition)
                behind = f"cmp_{compared}_jcc"
                yield first, second, replace(first, behind=behind, condition=condition)
    for kind in FIRSTS:
        handler, form, access = kind
        first = Instance(handler, form, 32, access, dead=handler not in FLAGLESS)
        for second, behind in _behind(kind):
            yield first, second, replace(first, behind=behind, dead=second.dead)


def _behind(first: tuple[str, str, str]) -> Iterator[tuple[Instance, str]]:
    """What may stand second in a pair with this one, its flags read or not, and its name there."""
    for (handler, form, access), behind in (SECONDS | (STORES if first in LOADS else {})).items():
        yield Instance(handler, form, 32, access), behind
        if handler not in FLAGLESS:
            yield Instance(handler, form, 32, access, dead=True), behind


def all_instances() -> dict[str, Instance]:
    """Every compiled function, by name."""
    found = {instance.name: instance for row in ROWS for instance in instances(row)}
    found |= {fused.name: fused for _, _, fused in fused_pairs()}
    for name in ("undefined", "too_long", "forbidden", "chain"):
        found[name] = Instance(name)
    return found
