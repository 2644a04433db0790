"""The source itself: lint and types are clean, the stubs tell the truth, files stay small."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import x86core

ROOT = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS = ("x86core", "vmm", "bench", "tests", "docs", ".ci", "examples")
SOURCE_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".S", ".toml", ".md", ".pml", ".yml", ".cfg"}
#: Lines that a file may have before it should be two.
LONGEST = 480
CODE_SUFFIXES = {".py", ".pyx", ".pxd", ".pyi", ".S"}

#: Absolute paths of somebody's machine. /proc, /sys, /dev and /usr are the same on all.
MACHINE_PATHS = re.compile(r"(?<![\w./$~-])/(?:home|root|work|Users|mnt|opt|tmp)/\w")

LINTERS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "cython-lint": ["cython-lint", "x86core"],
}


def source_files() -> list[Path]:
    """What a person wrote: nothing generated, compiled or cached."""
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in SOURCE_FOLDERS:
        found += (ROOT / folder).rglob("*")
    wanted = {path for path in found if path.suffix in SOURCE_SUFFIXES or path.name == "Makefile"}
    return sorted(path for path in wanted if "__pycache__" not in path.parts)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("name", LINTERS)
def test_linter(name: str) -> None:
    programs = Path(sys.executable).parent
    command = [str(programs / LINTERS[name][0]), *LINTERS[name][1:]]
    # cython-lint looks for its pycodestyle on the PATH.
    environment = os.environ | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_no_file_is_long() -> None:
    lengths = {
        relative(path): len(path.read_text().splitlines())
        for path in source_files()
        if path.suffix in CODE_SUFFIXES
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_path_of_a_machine() -> None:
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in source_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("before", ["", "cd ", "x = '", "a:", "("])
@pytest.mark.parametrize("path", ["home/someone", "work/x", "tmp/y", "root/z"])
def test_the_search_for_machine_paths_finds_them(before: str, path: str) -> None:
    assert MACHINE_PATHS.search(f"{before}/{path}")


def stubs() -> list[Path]:
    return sorted((ROOT / "x86core").rglob("*.pyi"))


def module_of(stub: Path) -> ModuleType:
    return importlib.import_module(".".join(stub.relative_to(ROOT).with_suffix("").parts))


def declared(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """The public names that a stub's module or class body declares itself, without imports."""
    names: dict[str, ast.stmt] = {}
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names[statement.name] = statement
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            names[statement.target.id] = statement
    return {name: node for name, node in names.items() if not name.startswith("_")}


def members(compiled: object) -> set[str]:
    """The public attributes and methods that a compiled class adds to those of its base."""
    return {name for name in vars(compiled) if not name.startswith("_")}


def exported_from(module: ModuleType) -> set[str]:
    """The names of x86core's public face that come from a module."""
    exported = {name: getattr(x86core, name) for name in vars(x86core)["__all__"]}
    return {name for name, value in exported.items() if value is getattr(module, name, None)}


def test_there_are_stubs_to_compare() -> None:
    assert {stub.stem for stub in stubs()} >= {"memory", "vcpu"}
    assert {f"{owner}.{method.name}" for _, owner, method in stub_methods()} >= {
        "Memory.write",
        "VCPU.run",
    }


@pytest.mark.parametrize("stub", stubs(), ids=lambda stub: stub.stem)
def test_stub_and_compiled_module_have_the_same_names(stub: Path) -> None:
    """Both ways: nothing promised that is not there, nothing public there that is not promised."""
    module = module_of(stub)
    names = declared(ast.parse(stub.read_text()).body)
    assert {name for name in names if not hasattr(module, name)} == set()
    imported = {"KVM_RUN"}
    assert exported_from(module) - imported <= set(names)
    for name, node in names.items():
        if isinstance(node, ast.ClassDef):
            assert set(declared(node.body)) == members(getattr(module, name)), name


def stub_methods() -> list[tuple[Path, str, ast.FunctionDef]]:
    """Stub, class and definition of every public method; properties are none."""
    return [
        (stub, owner.name, method)
        for stub in stubs()
        for owner in ast.parse(stub.read_text()).body
        if isinstance(owner, ast.ClassDef)
        for method in declared(owner.body).values()
        if isinstance(method, ast.FunctionDef) and not method.decorator_list
    ]


@pytest.mark.parametrize(
    ("stub", "owner", "method"),
    [pytest.param(*case, id=f"{case[1]}.{case[2].name}") for case in stub_methods()],
)
def test_stub_and_compiled_method_take_the_same_arguments(
    stub: Path, owner: str, method: ast.FunctionDef
) -> None:
    """Names, order and defaults. Constructors of extension types have no signature to compare."""
    compiled = getattr(getattr(module_of(stub), owner), method.name)
    parameters = inspect.signature(compiled).parameters.values()
    assert [p.name for p in parameters] == [argument.arg for argument in method.args.args]
    defaults = [p.default for p in parameters if p.default is not p.empty]
    assert defaults == [ast.literal_eval(value) for value in method.args.defaults]


@pytest.mark.parametrize("stub", stubs(), ids=lambda stub: stub.stem)
def test_everything_public_is_documented(stub: Path) -> None:
    """At run time, for help(); attributes that name themselves need no more."""
    module = module_of(stub)
    for name, node in declared(ast.parse(stub.read_text()).body).items():
        compiled = getattr(module, name)
        assert inspect.getdoc(compiled), name
        for member, definition in declared(getattr(node, "body", [])).items():
            if isinstance(definition, ast.FunctionDef) and not definition.decorator_list:
                assert inspect.getdoc(getattr(compiled, member)), f"{name}.{member}"


def test_the_package_exports_what_it_promises() -> None:
    exported = set(vars(x86core)["__all__"])
    assert {"Memory", "VCPU", "Segment", "EXIT_NAMES", "EXIT_HLT", "MWAIT_FAULT"} <= exported
    missing = {name for name in exported if not hasattr(x86core, name)}
    assert missing == set()


def test_imports_run_downhill() -> None:
    """bench and cli -> vmm -> x86core: nobody imports what stands above."""
    above = {"x86core": ("vmm", "bench", "tests"), "vmm": ("bench", "tests"), "bench": ("tests",)}
    uphill = []
    for folder, forbidden in above.items():
        pattern = re.compile(rf"^\s*(?:from|import|cimport)\s+(?:{'|'.join(forbidden)})\b", re.M)
        for path in source_files():
            inside = path.relative_to(ROOT).parts[0] == folder
            if inside and path.suffix in CODE_SUFFIXES and pattern.search(path.read_text()):
                uphill.append(relative(path))
    assert uphill == []
