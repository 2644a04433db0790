"""The file of results: what was written comes back, and what is no such file is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from bench.laboratory.parameter import LaboratoryError
from bench.laboratory.point import Point
from bench.laboratory.results import Header, Result, read_results, recover, write_results
from tests.laboratory.fake import measure

HEADER = Header('scenarios = "alpha"\n', 3, "python -m bench sweep it.toml", {"cores": 2})
POINTS = [Point("alpha", "nop", "vcpu", "wall", "", {"pause_ms": 0.0}, 0.1, n) for n in range(3)]
RESULTS = [Result(point, measure(point)) for point in POINTS]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "results.jsonl"
    write_results(path, HEADER, RESULTS)
    return path


def test_comes_back(path: Path) -> None:
    assert read_results(path) == (HEADER, RESULTS)
    assert recover(path) == (HEADER, RESULTS)


def test_equal_results_are_equal_files(path: Path) -> None:
    copy = path.with_name("copy")
    write_results(copy, *read_results(path))
    assert copy.read_bytes() == path.read_bytes()


def test_every_cut_is_found_and_mended(path: Path) -> None:
    """Wherever the file ends, the whole lines are there, and no other."""
    data = path.read_bytes()
    ends = [index for index, byte in enumerate(data) if byte == ord("\n")]
    for size in (*range(ends[0] + 2, len(data), 61), *(end + 1 for end in ends)):
        path.write_bytes(data[:size])
        whole = sum(end < size for end in ends)
        if data[size - 1] == ord("\n"):
            assert len(read_results(path)[1]) == whole - 1
        else:
            with pytest.raises(LaboratoryError, match=f"cut short after {whole - 1} results"):
                read_results(path)
            assert recover(path) == (HEADER, RESULTS[: whole - 1])
            assert path.read_bytes() == data[: ends[whole - 1] + 1]


def with_measure(**values: object) -> str:
    """A line with other values in place of its own."""
    fields = json.loads(RESULTS[0].line())
    return json.dumps(fields | {"measures": fields["measures"] | values}) + "\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "does not hold results of the laboratory"),
        ("\n", "does not hold results of the laboratory"),
        ("[1, 2]\n", "does not hold results of the laboratory"),
        ('{"rows": []}\n', "does not hold results of the laboratory"),
        ("\x00\xff\n", "does not hold results of the laboratory"),
        (HEADER.line()[:-1], "does not hold results of the laboratory"),
        (HEADER.line().replace('"version":1', '"version":0'), "has results of version 0, and th"),
        (HEADER.line().replace('"version":1', '"version":"x"'), "has results of version 'x', and"),
        (HEADER.line().replace('"sweep"', '"swept"'), "is damaged: its header has no 'sweep'"),
        (HEADER.line() + "{}\n", "is damaged: line 2 is no result"),
        (HEADER.line() + "\n", "is damaged: line 2 is no result"),
        (HEADER.line() + RESULTS[0].line() + "7\n", "is damaged: line 3 is no result"),
        (HEADER.line() + RESULTS[0].line()[5:], "is damaged: line 2 is no result"),
        (HEADER.line() + RESULTS[0].line().replace("repeat", "turn"), "is damaged: line 2"),
        (HEADER.line() + RESULTS[0].line().replace("wakes", "naps"), "is damaged: line 2"),
        (HEADER.line() + with_measure(wakes="many"), "is damaged: line 2 is no result"),
        (HEADER.line() + with_measure(spurious_wakes=None), "is damaged: line 2 is no result"),
        (HEADER.line() + with_measure(exits={"EXIT_HLT": True}), "is damaged: line 2"),
    ],
)
def test_another_file_is_refused_and_left_alone(path: Path, text: str, complaint: str) -> None:
    path.write_text(text, encoding="latin-1")
    before = path.read_bytes()
    for reader in (read_results, recover):
        with pytest.raises(LaboratoryError) as refused:
            reader(path)
        assert complaint in str(refused.value)
        assert str(path) in str(refused.value)
    assert path.read_bytes() == before


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(LaboratoryError, match=r"cannot read .*missing: No such file"):
        read_results(tmp_path / "missing")
    with pytest.raises(LaboratoryError, match=r"cannot read .*: Is a directory"):
        read_results(tmp_path)


def test_writing_is_all_or_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(file: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        write_results(path, HEADER, RESULTS[:1])
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_line_is_json_of_one_point(path: Path) -> None:
    """For readers that are not ours."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["point"]["repeat"] for line in lines[1:]] == [0, 1, 2]
    assert lines[1]["measures"]["seconds"] == 0.1
