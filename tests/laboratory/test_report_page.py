"""The page: sound HTML that needs nothing beside itself, and plots that have data."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bench.laboratory.measures import Measures, encode
from bench.laboratory.point import Point
from bench.laboratory.report import write_report
from bench.laboratory.report.palette import GRID, INK, POLICIES
from bench.laboratory.report.plots import KINDS
from bench.laboratory.results import Result
from tests.laboratory.plausible import HEADER, results

VOID = {"meta", "link", "br", "hr", "img", "input", "area", "base", "col", "embed", "source", "wbr"}
#: One process writes the report, not two.
pytestmark = pytest.mark.xdist_group("report")

COLOURS = {look.colour.light for look in POLICIES.values()}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: str  # id of the figure around it
    clipped: bool  # it or something around it is clipped


@dataclass
class Page(HTMLParser):
    """All elements of a document whose tags are balanced."""

    elements: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        assert len(values) == len(attrs), f"an attribute of <{tag}> stands twice"
        around = self.open[-1] if self.open else Element("", {}, "", clipped=False)
        inside = values["id"] if tag == "figure" else around.inside
        clipped = around.clipped or "clip-path" in values
        self.elements.append(Element(tag, values, inside, clipped))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop().tag == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def parse(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


@pytest.fixture(scope="module")
def text(report: Path) -> str:
    return (report / "index.html").read_text()


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return parse(text)


def test_the_parser_finds_what_is_not_balanced() -> None:
    with pytest.raises(AssertionError, match="closes another"):
        parse("<p><b></p></b>")
    with pytest.raises(AssertionError):
        parse("<div>")


def test_ids_are_unique(page: Page) -> None:
    ids = Counter(one.attributes["id"] for one in page.elements if "id" in one.attributes)
    assert [name for name, count in ids.items() if count > 1] == []
    assert len(ids) > 20


def test_what_is_referred_to_is_there(page: Page, report: Path) -> None:
    ids = {one.attributes.get("id") for one in page.elements}
    for one in page.elements:
        target = one.attributes.get("href", "")
        if target.startswith("#"):
            assert target[1:] in ids
        elif one.tag == "a":
            assert (report / target).is_file()
        for name in re.findall(r"url\(#([^)]*)\)", " ".join(one.attributes.values())):
            assert name in ids


def test_nothing_is_requested(page: Page, text: str) -> None:
    for one in page.elements:
        assert one.tag not in {"script", "iframe", "img", "object", "embed"}
        assert "src" not in one.attributes
        assert not any(name.startswith("on") for name in one.attributes)
        if one.tag != "a":
            assert not re.search(r"https?:|//", one.attributes.get("href", ""))
    assert "@import" not in text
    assert re.search(r"https?://", text) is None
    assert re.findall(r"url\((?!#)", text) == []


def test_every_kind_of_plot_is_there(page: Page) -> None:
    titles = {one.attributes["aria-label"] for one in page.elements if one.tag == "svg"}
    expected = {
        "Wake latency against host CPU",
        "Wake latency by percentile",
        "Host CPU against wake rate",
        "Exits against wake rate",
        "Wake latency against wake rate",
        "False faults",
        "Guest work beside false sharing",
        "Deferred tasks: submission to end",
        "Wake latency beside deferred work",
        "Work that the neighbour loses",
        "fault, vcpu: p99 of deferred tasks",
        "fault, workers: p99 of wake latency",
    }
    assert expected <= titles
    assert "missing" not in {one.attributes.get("id") for one in page.elements}


def test_every_plot_has_data(page: Page) -> None:
    """Only data is clipped to the axes, and has neither the grid's colour nor the ink's."""
    figures = [one.attributes["id"] for one in page.elements if one.tag == "figure"]
    drawn: Counter[str] = Counter()
    for one in page.elements:
        style = one.attributes.get("style", "")
        mark = one.tag in {"path", "use"} and "#" in style
        if mark and one.clipped and GRID.light not in style and INK.light not in style:
            drawn[one.inside] += 1
    assert len(figures) > 15
    for name in figures:
        policies = 1 if name.startswith("deferred-heavy") else 3
        assert drawn[name] >= (9 if "-map-" in name else policies), name


def test_a_policy_has_one_colour_everywhere(page: Page, report: Path) -> None:
    """In a plot of three policies there are their three colours and no fourth."""
    text = (report / "plots" / "false-sharing-wall-cpu-cores-curve.svg").read_text()
    used = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text.split("</style>")[1]))
    assert used & COLOURS == {POLICIES[name].colour.light for name in ("nop", "exit", "fault")}


def test_plots_are_files_too(page: Page, report: Path) -> None:
    names = {one.attributes["id"] for one in page.elements if one.tag == "figure"}
    assert {path.stem for path in (report / "plots").iterdir()} == names
    for path in (report / "plots").iterdir():
        parse(path.read_text())
        assert "prefers-color-scheme: dark" in path.read_text()


def test_what_others_wrote_is_escaped(page: Page, text: str) -> None:
    assert "<made up>" not in text
    assert "<x>" not in text
    words = "".join(page.texts)
    assert '# <made up> & "quoted"' in words
    assert "A processor with a long name & brand <x>" in words
    assert HEADER.command in words


def test_what_is_missing_says_which_sweep_gives_it(tmp_path: Path) -> None:
    idle = [one for one in results(repeats=1) if one.point.scenario == "idle"]
    assert write_report(tmp_path / "idle", HEADER, idle) == 0
    text = (tmp_path / "idle" / "index.html").read_text()
    assert "<figure" not in text
    for kind in KINDS:
        assert f"{kind.title}: needs {kind.needs}" in text
        assert f"python -m bench sweep {kind.sweep}" in text


def test_lost_wakes_and_noise_are_said(tmp_path: Path) -> None:
    point = Point("pingpong", "halt", "vcpu", "wall", "", {"interval_us": 1.0})
    lost = [
        Result(
            replace(point, repeat=number),
            Measures(1.0, guest_work=work, wakes=9, lost_wakes=3, wake_latency=encode([work])),
        )
        for number, work in enumerate((1_000_000, 3_000_000))
    ]
    write_report(tmp_path / "lost", HEADER, lost)
    text = (tmp_path / "lost" / "index.html").read_text()
    assert "6 lost wakes" in text
    assert '<tr class="alarm">' in text
    assert "1 of 1 are too noisy" in text
    assert '<span class="noisy">~</span>1.00 ms' in text


def test_scenarios_and_policies_of_other_releases_are_shown(tmp_path: Path) -> None:
    point = Point("knitting", "snooze", "vcpu", "wall", "", {"needles": 2})
    one = Result(point, Measures(1.0, wakes=3, wake_latency=encode([1000, 2000, 3000])))
    write_report(tmp_path / "other", HEADER, [one])
    text = (tmp_path / "other" / "index.html").read_text()
    parse(text)
    assert "knitting" in text
    assert "snooze" in text
