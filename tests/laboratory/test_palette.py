"""The colours of policies: to be told from the ground and from one another, by every eye."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from bench.laboratory.policies import POLICIES as KNOWN
from bench.laboratory.report.palette import FAINT, GROUND, INK, POLICIES, Colour, look

#: Linear RGB as it looks to others: Machado, Oliveira and Fernandes 2009, table 1, severity 1.0.
EYES = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}


def linear(colour: str) -> np.ndarray:
    """Linear RGB, 0 to 1 (IEC 61966-2-1)."""
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    expanded: np.ndarray = np.where(
        parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4
    )
    return expanded


def contrast(first: str, second: str) -> float:
    """As WCAG 2.1 defines it."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    light = sorted(float(linear(colour) @ weights) for colour in (first, second))
    return (light[1] + 0.05) / (light[0] + 0.05)


def oklab(rgb: np.ndarray) -> np.ndarray:
    """B. Ottosson's OKLab, in which distances are as large as they look."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    found: np.ndarray = lab @ np.cbrt(cones @ np.clip(rgb, 0, 1))
    return found


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("name", POLICIES)
def test_policies_stand_out_from_the_ground(name: str) -> None:
    colour = look(name).colour
    assert contrast(colour.light, GROUND.light) >= 3
    assert contrast(colour.dark, GROUND.dark) >= 3


@pytest.mark.parametrize("ink", [INK, FAINT], ids=["ink", "faint"])
def test_text_can_be_read(ink: Colour) -> None:
    assert contrast(ink.light, GROUND.light) >= 4.5
    assert contrast(ink.dark, GROUND.dark) >= 4.5


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_policies_can_be_told_from_one_another(eye: str, theme: str) -> None:
    seen = {
        name: oklab(EYES[eye] @ linear(getattr(policy.colour, theme)))
        for name, policy in POLICIES.items()
        if not policy.hollow
    }
    distances = {
        (first, second): float(np.linalg.norm(seen[first] - seen[second]))
        for first, second in combinations(seen, 2)
    }
    close = {pair: distance for pair, distance in distances.items() if distance < 0.06}
    assert close == {}


def test_every_policy_has_its_look() -> None:
    assert set(POLICIES) == set(KNOWN)
    shapes = [(one.colour, one.marker, one.hollow) for one in POLICIES.values()]
    assert len(set(shapes)) == len(shapes)
