"""A state that is none is refused before anything of the device changes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.devices.test_pc import Board

VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=20)
    | st.dictionaries(st.text(max_size=3), st.integers(), max_size=3)
)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_damage_is_refused_whole_or_fits(data: st.DataObject) -> None:
    board = Board()
    before = board.pc.save()
    state: Any = json.loads(json.dumps(before))
    part: Any = state
    while True:
        keys = sorted(part) if isinstance(part, dict) else range(len(part))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(part[key], dict | list) or not part[key] or data.draw(st.booleans()):
            break
        part = part[key]
    part[key] = data.draw(VALUES)
    wanted = copy.deepcopy(state)
    try:
        board.pc.check(state)
    except ValueError:
        with pytest.raises(ValueError, match="not the state of a"):
            board.pc.restore(state)
        assert board.pc.save() == before
    else:
        assert state == wanted


@pytest.mark.parametrize(
    ("device", "name", "value"),
    [
        ("pic", "intr", 1),
        ("rtc", "_ram", [0] * 127),
        ("rtc", "_index", 128),
        ("rtc", "_flags", -1),
        ("serial", "_scratch", 256),
        ("serial", "_scratch", None),
        ("serial", "_receiver", []),
        ("keyboard_controller", "_output", "A"),
        ("pit", "_counters", []),
    ],
)
def test_what_is_none(device: str, name: str, value: object) -> None:
    board = Board()
    before = board.pc.save()
    state = json.loads(json.dumps(before))
    state[device][name] = value
    with pytest.raises(ValueError, match="not the state of a"):
        board.pc.restore(state)
    assert board.pc.save() == before
