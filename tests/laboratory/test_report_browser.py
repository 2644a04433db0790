"""The page in Chromium: no message on the console, no request, nothing cut off, light and dark."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

#: CHROMIUM may name one that is not on the PATH.
NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome", "chrome")
BROWSER = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = [
    pytest.mark.skipif(
        BROWSER is None, reason=f"no {', '.join(NAMES)} on the PATH, and CHROMIUM names none"
    ),
    pytest.mark.xdist_group("report"),
]

#: Put at the end of a copy of the page: what the browser made of it.
PROBE = """
<pre id="probe"></pre><script>
const outside = box => box.left < -1 || box.right > innerWidth + 1;
const shown = [...document.querySelectorAll("figure svg")];
const spills = shown.flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].map(text => text.getBoundingClientRect())
    .filter(text => text.left < box.left - 2 || text.right > box.right + 2
                 || text.top < box.top - 2 || text.bottom > box.bottom + 2);
});
const line = document.querySelector("figure svg path[style*='#428bf6']");
const label = document.querySelector("figure svg text");
document.getElementById("probe").textContent = JSON.stringify({
  width: document.documentElement.scrollWidth,
  inner: innerWidth,
  plots: shown.length,
  empty: shown.filter(svg => svg.getBoundingClientRect().height < 60).length,
  outside: shown.filter(svg => outside(svg.getBoundingClientRect())).length,
  spills: spills.length,
  letters: Math.min(...[...document.querySelectorAll("figure svg text")]
    .map(text => text.getBoundingClientRect().height)),
  ground: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(label).fill,
  fault: getComputedStyle(line).stroke,
});
</script>"""


def browse(page: Path, profile: Path, width: int, dark: bool, *options: str) -> tuple[str, str]:
    """What Chromium printed, and its log."""
    assert BROWSER is not None
    command = [
        BROWSER,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        f"--window-size={width},2000",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        *options,
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout, done.stderr


def messages(log: str) -> list[str]:
    return [line for line in log.splitlines() if ":CONSOLE" in line]


@pytest.fixture
def probed(report: Path, tmp_path: Path) -> Path:
    """The page with the probe, which its own policy would not let in."""
    text = (report / "index.html").read_text()
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    (tmp_path / "probed.html").write_text(text.replace("</body>", f"{PROBE}</body>"))
    return tmp_path / "probed.html"


def test_the_log_shows_messages(tmp_path: Path) -> None:
    (tmp_path / "loud.html").write_text("<script>console.error('ouch')</script>")
    _, log = browse(tmp_path / "loud.html", tmp_path / "profile", 800, False, "--dump-dom")
    assert any("ouch" in line for line in messages(log))


def test_the_page_as_it_is(report: Path, tmp_path: Path) -> None:
    """Its own policy refuses any request, and would say so on the console."""
    picture = tmp_path / "picture.png"
    _, log = browse(
        report / "index.html", tmp_path / "profile", 1200, False, f"--screenshot={picture}"
    )
    assert messages(log) == []
    assert picture.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("width", "dark"), [(1200, False), (390, True)], ids=["desktop, light", "telephone, dark"]
)
def test_nothing_is_cut_off(probed: Path, tmp_path: Path, width: int, dark: bool) -> None:
    document, log = browse(probed, tmp_path / "profile", width, dark, "--dump-dom")
    assert messages(log) == []
    match = re.search(r'<pre id="probe">(.*?)</pre>', document)
    assert match is not None
    found: dict[str, Any] = json.loads(match[1])
    assert found["width"] <= found["inner"]  # tables scroll inside their boxes
    assert found["plots"] > 15
    assert (found["empty"], found["outside"], found["spills"]) == (0, 0, 0)
    assert found["letters"] >= 8
    colours = (found["ground"], found["ink"], found["fault"])
    if dark:
        assert colours == ("rgb(21, 24, 28)", "rgb(228, 231, 234)", "rgb(102, 126, 253)")
    else:
        assert colours == ("rgb(253, 253, 252)", "rgb(35, 40, 46)", "rgb(66, 139, 246)")
