"""The documentation builds without a warning, is whole, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import vmm
import x86core
from tests.docs.commands import ROOT
from vmm.loader import shipped_guests
from x86core.isa import ROWS

pytest.importorskip("mkdocstrings", reason="needs what `make docs` installs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def page(site: Path, name: str) -> str:
    return (site / f"{name}.html").read_text()


def test_every_page_is_there(site: Path) -> None:
    written = {source.stem for source in (ROOT / "docs").glob("*.md")}
    made = {"examples", "shipped-guests", "limits", "instructions", "changelog"}
    assert written | made | {"404"} == {built.stem for built in site.glob("*.html")}
    assert {built.stem for built in (site / "api").iterdir()} == {"x86core", "vmm", "vmm-parts"}


@pytest.mark.parametrize("module", [x86core, vmm], ids=["x86core", "vmm"])
def test_every_public_name_is_documented(site: Path, module: object) -> None:
    text = page(site, f"api/{vars(module)['__name__']}") + page(site, "api/vmm-parts")
    titles = set(re.findall(r'id="[\w.]*?(\w+)"', text))
    assert {name for name in vars(module)["__all__"] if name not in titles} == set()


@pytest.mark.parametrize(
    ("name", "signature", "text"),
    [
        ("x86core.VCPU.run", "max_instructions", "return the exit reason"),
        ("x86core.VCPU.userspace_exits", "int", ""),
        ("x86core.Memory.write", "bytearray", "Store bytes at a physical address"),
    ],
)
def test_the_compiled_core_is_documented_from_its_stubs(
    site: Path, name: str, signature: str, text: str
) -> None:
    behind = page(site, "api/x86core").split(f' id="{name}"', 1)[1]
    part = behind.split("doc-heading")[1]  # up to the next one
    assert signature in part
    assert text in part


def test_instructions_guests_and_limits_are_on_their_pages(site: Path) -> None:
    assert page(site, "instructions").count("<tr>") == len(ROWS) + 1
    for name in shipped_guests():
        assert f">{name}.S<" in page(site, "shipped-guests")
    assert "Not a sandbox" in page(site, "limits")


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for built in site.rglob("*.html"):
        text = re.sub(r"<a .*?>", "", built.read_text(), flags=re.DOTALL)
        assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]+', text) == [], built.name


def test_a_page_that_nobody_has_placed_comes_last() -> None:
    hook = runpy.run_path(str(ROOT / "docs" / "generated_pages.py"))
    nav = [{"Use": [{page.stem: page.name} for page in (ROOT / "docs").glob("*.md")]}]
    assert hook["on_config"](SimpleNamespace(nav=nav)).nav == nav
    placed = [each for each in nav[0]["Use"] if "idle" not in each]
    left = hook["on_config"](SimpleNamespace(nav=placed)).nav
    assert left == [*placed, {"More": ["idle.md"]}]
