"""Build of the compiled core: instances from the instruction table, then Cython, then gcc -O2."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    """A module by path: its package cannot be imported before it is built."""
    spec = importlib.util.spec_from_file_location(f"build_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def assemble_guests() -> None:
    """Make guests/NAME.bin of each shipped guests/NAME.S."""
    assemble = load(HERE / "vmm" / "asm.py").assemble
    for source in sorted((HERE / "vmm" / "guests").glob("*.S")):
        source.with_suffix(".bin").write_bytes(assemble(source))


load(HERE / "x86core" / "generate.py").generate()
assemble_guests()

# -O2, whatever Python itself was built with: handlers must become tail calls, and -O3 is slower.
# Guest registers and memory are reached with several widths, hence -fno-strict-aliasing.
# Operand helpers must be inlined for their constant arguments to fold.
COMPILE = [
    "-O2",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-fno-stack-protector",
    "-fcf-protection=none",
    "-fno-semantic-interposition",
    # A cache line each: most handlers fit into one. Across two fetch blocks they cost the register
    # loop a tenth; at any half of a line, it is some percent slower or faster by what lies before.
    "-falign-functions=64",
    "-Wno-unused-function",
    "-g1",
]
if sanitizers := os.environ.get("X86CORE_SANITIZE"):
    # Guests may access memory at any alignment, and the host does it for them.
    COMPILE += [f"-fsanitize={sanitizers}", "-fno-sanitize=alignment", "-fno-omit-frame-pointer"]
LINK = [f"-fsanitize={sanitizers}"] if sanitizers else []


def extension(source: Path) -> Extension:
    """The extension module of a .pyx file."""
    name = ".".join(source.relative_to(HERE).with_suffix("").parts)
    macros: list[tuple[str, str | None]] = [("CYTHON_WITHOUT_ASSERTIONS", None)]
    if source.parent.name == "handlers":
        macros.append(("CYTHON_INLINE", "inline __attribute__((always_inline))"))
    return Extension(
        name,
        [str(source.relative_to(HERE))],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
        define_macros=macros,
        depends=[str(path.relative_to(HERE)) for path in (HERE / "x86core").rglob("*.px[di]")],
    )


setup(
    ext_modules=cythonize(
        [
            extension(path)
            for folder in ("x86core", "bench")
            for path in sorted((HERE / folder).rglob("*.pyx"))
        ],
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
        },
        include_path=["x86core/handlers"],
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
