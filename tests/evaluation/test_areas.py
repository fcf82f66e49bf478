"""Areas by what they are and what they were called."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slidecam.evaluation.slides.results import AreaConfusion, added
from slidecam.runs.tiles import cells

CONFUSION = AreaConfusion(
    ("a", "b", "c"),
    np.array([[6.0, 2.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]]),
    np.array([2.0, 0.0, 0.0]),
    np.zeros(3),
)


def test_figures_are_shares_of_areas() -> None:
    figures = CONFUSION.figures()
    assert figures["a"] == pytest.approx(
        {"sensitivity": 6 / 8, "precision": 6 / 7, "Dice": 12 / 15, "classified": 0.8}
    )
    assert figures["b"] == pytest.approx(
        {"sensitivity": 3 / 4, "precision": 3 / 5, "Dice": 6 / 9, "classified": 1.0}
    )
    assert CONFUSION.accuracy == 9 / 12


def test_a_class_that_is_nowhere_has_no_figures() -> None:
    assert set(CONFUSION.figures()["c"].values()) == {None}
    assert AreaConfusion(("a", "b"), np.zeros((2, 2)), np.zeros(2), np.zeros(2)).accuracy is None


def test_what_is_called_none_is_classified_and_not_found() -> None:
    areas = np.array([[6.0, 2.0], [1.0, 3.0]])
    found = AreaConfusion(("a", "b"), areas, np.array([2.0, 0.0]), np.array([5.0, 0.5]))
    assert found.accuracy == 9 / 17.5
    assert found.figures()["a"] == pytest.approx(
        {"sensitivity": 6 / 13, "precision": 6 / 7, "Dice": 12 / 20, "classified": 13 / 15}
    )
    assert added([found, found]).uncalled.tolist() == [10, 1]
    assert found.record()["confusion"]["called none"] == [5.0, 0.5]  # type: ignore[index]


def test_slides_add_up() -> None:
    total = added([CONFUSION, CONFUSION])
    assert total.areas.tolist() == (2 * CONFUSION.areas).tolist()
    assert total.missed.tolist() == [4, 0, 0]
    assert total.figures() == CONFUSION.figures()


def test_the_record_is_json() -> None:
    record = CONFUSION.record()
    assert json.loads(json.dumps(record)) == record


def test_a_tiles_own_cell_is_its_middle_where_tiles_overlap() -> None:
    boxes = np.array([[0, 0, 64, 64], [32, 0, 64, 64]], np.int64)
    assert cells(boxes, 64).tolist() == boxes.tolist()
    assert cells(boxes, 32).tolist() == [[16, 16, 32, 32], [48, 16, 32, 32]]
    assert cells(boxes, 100).tolist() == boxes.tolist()
