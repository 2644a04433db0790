"""Pages of the documentation that are made when it is built, from what stands elsewhere.

A hook of mkdocs (mkdocs.yml): the instruction table, sections of the README, the examples and the
shipped guests with their sources, and the API, for which mkdocstrings reads docstrings and stubs.
All other pages are files in this folder, and can be read as they are.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent

#: The public classes of x86core, in the order in which one meets them.
_CLASSES = ("VCPU", "Memory", "Lockstep", "Segment", "Translation")

_VMM_PARTS = {
    "The loop": "vmm.loop",
    "Deferred work": "vmm.work",
    "Idle policies": "vmm.idle",
    "KVM's names": "vmm.kvm",
    "Capabilities": "vmm.capability",
    "Guests": "vmm.loader",
    "Assembling": "vmm.asm",
    "Devices": "vmm.devices",
    "Clocks": "vmm.clock",
    "Consoles": "vmm.console",
    "Traces": "vmm.trace",
    "Timelines": "vmm.seeing.timeline",
    "Where the time goes": "vmm.seeing.meter",
    "What there is": "vmm.inventory",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that the navigation of mkdocs.yml does not place behind the others."""
    placed = str(config.nav)
    left = [each.name for each in sorted(FOLDER.glob("*.md")) if f"'{each.name}'" not in placed]
    if left:
        config.nav = [*(config.nav or []), {"More": left}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages: called by mkdocs when it has collected the files."""
    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def pages() -> dict[str, str]:
    """Their names in the documentation, and what is on them."""
    sys.path.insert(0, str(ROOT))
    try:
        from x86core.instruction_table import markdown
    finally:
        sys.path.remove(str(ROOT))
    return {
        "instructions.md": markdown(),
        "limits.md": readme_section("What it does not do"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(),
        "examples.md": "\n".join(examples()),
        "shipped-guests.md": "\n".join(shipped_guests()),
        "api/x86core.md": "\n".join(core_api()),
        "api/vmm.md": "# The API of vmm\n\n::: vmm\n    options:\n      show_root_heading: false\n",
        "api/vmm-parts.md": "\n".join(vmm_parts()),
    }


def readme_section(title: str) -> str:
    """A section of the README as a page. Raises ValueError when there is no such section."""
    text = (ROOT / "README.md").read_text()
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if match is None:
        raise ValueError(f"README.md has no section {title!r}")
    return f"# {title}\n{match[1].replace('](docs/', '](')}"


def examples() -> Iterator[str]:
    """The page on the examples, with the source of each behind it."""
    folder = ROOT / "examples"
    yield (folder / "README.md").read_text()
    for source in sorted(folder.glob("*.py")):
        yield f"## {source.name}\n\n```python\n{source.read_text()}```\n"


def shipped_guests() -> Iterator[str]:
    """The sources of the shipped guests."""
    yield "# Shipped guests\n"
    yield "`python -m vmm examples` lists them, `python -m vmm run NAME` runs one.\n"
    folder = ROOT / "vmm" / "guests"
    for source in sorted([*folder.glob("*.S"), *folder.glob("*.inc")]):
        yield f"## {source.name}\n\n```gas\n{source.read_text()}```\n"


def core_api() -> Iterator[str]:
    """The core: its classes, then its constants."""
    yield "# The API of x86core\n"
    yield "::: x86core\n    options:\n      members: false\n      show_root_heading: false\n"
    for name in _CLASSES:
        yield f"## {name}\n\n::: x86core.{name}\n    options:\n      show_root_heading: false\n"
    yield "## Limits\n"
    for name in (
        "x86core.vcpu.MAX_VCPUS",
        "x86core.memory.MAX_MEMORY",
        "x86core.memory.MAX_ROM",
        "x86core.memory.ROM_END",
        "x86core.lockstep.MOST_TURN",
    ):
        yield f"::: {name}\n"
    yield "## Exits and states\n\n::: x86core.exits\n    options:\n      show_root_heading: false\n"
    yield "## Records\n\n::: x86core.records\n    options:\n      show_root_heading: false\n"
    yield "## kvm_run\n\n::: x86core.kvm_run\n    options:\n      show_root_heading: false\n"


def vmm_parts() -> Iterator[str]:
    """The VMM, module by module."""
    yield "# The API of vmm, part by part\n"
    for title, module in _VMM_PARTS.items():
        yield f"## {title}\n\n::: {module}\n    options:\n      show_root_heading: false\n"
