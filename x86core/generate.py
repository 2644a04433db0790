"""Write the instances of every handler: run by setup.py, reads isa.py and the handlers.

For handlers/NAME.pyx it writes handlers/NAME_instances.pxi: for each instance that isa.py asks for, a
function of the one signature that calls the handler's body with its variant as a constant, and the
registration of each by name.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
BODY = re.compile(
    r"^cdef inline int (\w+)\(CPU\* cpu, Insn\* insn, int64_t result, uint32_t carries,\s+uint32_t carry,"
    r"\s+int v\) noexcept nogil:",
    re.MULTILINE,
)
INSTANCE = """
cdef int {name}(CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry) noexcept nogil:
    return {body}(cpu, insn, result, carries, carry, {variant})

"""


def load_isa() -> ModuleType:
    """isa.py by path: its package cannot be imported before it is built."""
    spec = importlib.util.spec_from_file_location("x86core_isa", HERE / "isa.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def variant(instance, fused: bool) -> str:  # type: ignore[no-untyped-def]
    """The constant of variant.pxd that an instance stands for."""
    parts = []
    if instance.width:
        parts.append(f"W{instance.width}")
    if instance.form:
        parts.append(f"FORM_{instance.form.upper()}")
    if instance.access:
        parts.append(instance.access.upper())
    if instance.dead:
        parts.append("DEAD")
    if fused:
        parts.append("FUSED")
    if instance.condition is not None:
        parts.append(f"{instance.condition} << CONDITION_SHIFT")
    return " | ".join(parts) or "0"


def generate() -> list[Path]:
    """Write the files; return them. Raises ValueError when a handler of the table is nowhere."""
    isa = load_isa()
    wanted = isa.all_instances()
    fused_body = {
        fused.name: first.handler for first, fused in isa.fused_instances()
    }
    written = []
    for source in sorted((HERE / "handlers").glob("*.pyx")):
        bodies = set(BODY.findall(source.read_text()))
        functions, registrations = [], []
        for name in sorted(wanted):
            instance = wanted[name]
            body = fused_body.get(name, instance.handler)
            if body not in bodies:
                continue
            del wanted[name]
            function = f"{name}_instance"
            functions.append(
                INSTANCE.format(name=function, body=body, variant=variant(instance, name in fused_body))
            )
            registrations.append(f'register_instance("{name}", {function})\n')
        target = source.with_name(f"{source.stem}_instances.pxi")
        text = "from x86core.decode cimport register_instance\n\n"
        text += "\n".join(functions) + "\n" + "".join(registrations)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
        written.append(target)
    if wanted:
        raise ValueError(f"isa.py names handlers that no file has: {sorted(wanted)[:12]}")
    return written


if __name__ == "__main__":
    generate()
