"""Measures that need a mask, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from slidecam.faithfulness.correlation import dice, energy, pointing
from slidecam.thresholds import Threshold

MASK = np.zeros((4, 5), bool)
MASK[1:3, 1:3] = True
NOWHERE = np.zeros((4, 5), bool)


def peaked(row: int, column: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    values = np.zeros((4, 5), np.float32)
    values[row, column] = 2
    return values


def test_pointing_inside_hits_and_outside_misses() -> None:
    assert pointing(peaked(2, 1), MASK) == 1
    assert pointing(peaked(0, 1), MASK) == 0


def test_pointing_may_miss_by_the_tolerance() -> None:
    assert pointing(peaked(0, 4), MASK, tolerance=2) == 0  # square root of 5 away
    assert pointing(peaked(0, 4), MASK, tolerance=2.3) == 1


def test_a_flat_map_points_by_chance() -> None:
    assert pointing(np.ones((4, 5), np.float32), MASK) == pytest.approx(4 / 20)


def test_energy_is_the_positive_share_inside() -> None:
    values = np.full((4, 5), -1, np.float32)
    values[1, 1], values[1, 2], values[0, 0] = 3, -7, 1
    assert energy(values, MASK) == pytest.approx(3 / 4)
    assert energy(np.ones((4, 5), np.float32), MASK) == pytest.approx(MASK.mean())


def test_a_map_without_positive_values_has_no_energy() -> None:
    assert math.isnan(energy(np.zeros((4, 5), np.float32), MASK))


def test_dice_is_the_overlap_above_the_threshold() -> None:
    assert dice(MASK.astype(np.float32), MASK) == 1
    assert dice((~MASK).astype(np.float32), MASK) == 0
    values = peaked(1, 1) + peaked(0, 0)
    assert dice(values, MASK) == pytest.approx(2 * 1 / (2 + 4))
    values[1, 2] = 1
    assert dice(values, MASK, Threshold("fraction", 0.5)) == pytest.approx(2 * 2 / (3 + 4))


def test_a_flat_map_overlaps_nothing() -> None:
    assert dice(np.ones((4, 5), np.float32), MASK) == 0


def test_an_empty_mask_says_nothing() -> None:
    assert all(math.isnan(measure(peaked(1, 1), NOWHERE)) for measure in (pointing, energy, dice))


def test_the_pointing_game_may_miss_by_its_tolerance_and_no_more() -> None:
    mask, values = np.zeros((9, 11), np.bool_), np.zeros((9, 11), np.float32)
    mask[4, 2], values[7, 6] = True, 1.0
    # Three rows and four columns off: five pixels.
    assert pointing(values, mask, 5.0) == 1
    assert pointing(values, mask, 4.99) == 0
