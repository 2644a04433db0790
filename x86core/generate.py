"""Write the instances of every handler: run by setup.py, reads isa.py and the handlers.

For handlers/NAME.pyx it writes handlers/NAME_instances.pxi: for each instance that instances.py
asks for, a function of the one signature that calls the handler's body with its variant as a
constant, and the registration of each by name.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent
BODY = re.compile(
    r"^cdef inline int (\w+)\(CPU\* cpu, Insn\* insn, "
    r"int64_t result, uint32_t carries, uint32_t carry, int v\) noexcept nogil:",
    re.MULTILINE,
)
ARGUMENTS = "CPU* cpu, Insn* insn, int64_t result, uint32_t carries, uint32_t carry"
INSTANCE = f"""
cdef int {{name}}({ARGUMENTS}) noexcept nogil:
    return {{body}}(cpu, insn, result, carries, carry, {{variant}})

"""


def load_instances() -> ModuleType:
    """x86core.instances, without its package's __init__, which needs what is to be built."""
    bare = ModuleType("x86core")
    bare.__path__ = [str(HERE)]
    sys.modules["x86core"] = bare
    module = importlib.import_module("x86core.instances")
    for name in ("x86core", "x86core.row", "x86core.isa", "x86core.instances"):
        del sys.modules[name]
    return module


def variant(instance: Any) -> str:
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
    if instance.behind:
        parts.append(f"THEN_{instance.behind.upper()}")
    if instance.condition is not None:
        parts.append(f"{instance.condition} << CONDITION_SHIFT")
    return " | ".join(parts) or "0"


def generate() -> list[Path]:
    """Write the files; return them. Raises ValueError when a handler of the table is nowhere."""
    table = load_instances()
    wanted = table.all_instances()
    written = []
    for source in sorted((HERE / "handlers").glob("*.pyx")):
        bodies = set(BODY.findall(source.read_text()))
        functions, registrations = [], []
        for name in sorted(wanted):
            instance = wanted[name]
            if instance.handler not in bodies:
                continue
            del wanted[name]
            function = f"{name}_instance"
            functions.append(
                INSTANCE.format(name=function, body=instance.handler, variant=variant(instance))
            )
            registrations.append(f'register_instance("{name}", {function})\n')
        target = source.with_name(f"{source.stem}_instances.pxi")
        text = "from x86core.opcodes cimport register_instance\n\n"
        text += "\n".join(functions) + "\n" + "".join(registrations)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
        written.append(target)
    if wanted:
        raise ValueError(f"isa.py names handlers that no file has: {sorted(wanted)[:12]}")
    return written


if __name__ == "__main__":
    generate()
