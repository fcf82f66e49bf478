"""Areas are those of counting pixels one by one, each place once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.classes import ClassSet
from slidecam.cli.output import legend_facts
from slidecam.errors import UsageError
from slidecam.geometry import Size
from slidecam.runs import legend
from slidecam.runs.legend import parts_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from conftest import MakeBoxes, MakeRun

SIZE = Size(100, 76)
PIXEL = 0.5 * 0.25


def some_probabilities(count: int, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).dirichlet((1, 1, 1), count).astype(np.float32)


def some_mask() -> NDArray[np.bool_]:
    return np.random.default_rng(1).random((SIZE.height, SIZE.width)) < 0.6


@pytest.mark.parametrize(("edge", "step"), [(16, 16), (16, 8), (24, 7)])
def test_the_area_of_a_class_is_that_of_counting_pixels(
    made_run: MakeRun, grid_boxes: MakeBoxes, edge: int, step: int
) -> None:
    boxes, mask = grid_boxes(SIZE, edge, step), some_mask()
    probabilities = some_probabilities(len(boxes))
    run = made_run(boxes, probabilities, size=SIZE, step=step, mask=mask, failed=(2, 5))
    told = legend(run, 0.4)
    covered = np.zeros((3, SIZE.height, SIZE.width), bool)
    anywhere = np.zeros((SIZE.height, SIZE.width), bool)
    inset = (edge - step) // 2
    for row, (left, top) in enumerate(boxes[:, :2].tolist()):
        if row in {2, 5}:
            continue
        x, y, width, height = left + inset, top + inset, step, step
        assert not anywhere[y : y + height, x : x + width].any()
        anywhere[y : y + height, x : x + width] = True
        for index in np.flatnonzero(probabilities[row] >= np.float32(0.4)).tolist():
            covered[index, y : y + height, x : x + width] = True
    classified = (anywhere & mask).sum()
    assert told.classified == pytest.approx(classified * PIXEL)
    assert told.tissue == pytest.approx(mask.sum() * PIXEL)
    for index, each in enumerate(told.rows):
        assert each.area == pytest.approx((covered[index] & mask).sum() * PIXEL)
        assert each.share == pytest.approx((covered[index] & mask).sum() / classified)
    assert (told.tiles, told.failed, told.unit) == (len(boxes) - 2, 2, "µm²")


def test_overlap_counts_once_and_not_four_times(made_run: MakeRun, grid_boxes: MakeBoxes) -> None:
    boxes = grid_boxes(SIZE, 20, 10)
    sure = np.tile(np.array([[1, 0, 0]], np.float32), (len(boxes), 1))
    row = legend(made_run(boxes, sure, size=SIZE, step=10)).rows[0]
    assert row.share == pytest.approx(1)
    assert row.area <= SIZE.width * SIZE.height * PIXEL
    assert (boxes[:, 2] * boxes[:, 3]).sum() * PIXEL > 3 * row.area


def test_winners_share_the_tissue_without_counting_a_place_twice(
    made_run: MakeRun, grid_boxes: MakeBoxes
) -> None:
    boxes, mask = grid_boxes(SIZE, 16, 8), some_mask()
    probabilities = some_probabilities(len(boxes))
    told = legend(made_run(boxes, probabilities, size=SIZE, step=8, mask=mask))
    labels = np.full((SIZE.height, SIZE.width), -1)
    for (x, y, _width, _height), winner in zip(
        boxes.tolist(), probabilities.argmax(axis=1), strict=True
    ):
        labels[y + 4 : y + 12, x + 4 : x + 12] = winner
    for index, row in enumerate(told.rows):
        assert row.winner_area == pytest.approx(((labels == index) & mask).sum() * PIXEL)
        assert row.winners == int((probabilities.argmax(axis=1) == index).sum())
    assert sum(row.winner_share for row in told.rows) <= 1


def test_what_overhangs_the_slide_has_no_area(made_run: MakeRun) -> None:
    boxes = np.array([[90, 70, 20, 20]], np.int64)
    told = legend(made_run(boxes, np.array([[1, 0, 0]], np.float32), size=SIZE, step=20))
    assert told.rows[0].area == pytest.approx(10 * 6 * PIXEL)


def test_a_run_without_tiles_has_a_legend_of_nothing(made_run: MakeRun) -> None:
    run = made_run(np.zeros((0, 4), np.int64), np.zeros((0, 3), np.float32), size=SIZE, step=16)
    told = legend(run)
    assert [(row.count, row.area, row.share) for row in told.rows] == [(0, 0.0, 0.0)] * 3
    assert told.record()["tiles"] == 0


@pytest.mark.parametrize("threshold", [float("nan"), float("inf"), 5.0, -0.1])
def test_a_threshold_that_is_no_probability_is_refused(made_run: MakeRun, threshold: float) -> None:
    run = made_run(np.zeros((0, 4), np.int64), np.zeros((0, 3), np.float32), size=SIZE, step=16)
    with pytest.raises(UsageError, match=r"parts nothing.*Pass a probability from 0 to 1\."):
        legend(run, threshold)


def test_scores_have_thresholds_of_any_size_and_no_other_value_is_one(made_run: MakeRun) -> None:
    run = made_run(np.zeros((0, 4), np.int64), np.zeros((0, 3), np.float32), size=SIZE, step=16)
    scores = replace(run.tiles, classes=ClassSet(run.tiles.class_names, "none"))
    assert scores.checked(-7.5) == -7.5
    assert scores.checked(None) == run.tiles.checked(None) == 0
    with pytest.raises(UsageError, match="Pass a score"):
        scores.checked(float("nan"))


def test_an_oblong_tiles_own_part_has_its_width_times_its_height(made_run: MakeRun) -> None:
    boxes = np.array([[0, 0, 37, 19], [37, 0, 37, 19]], np.int64)
    run = made_run(boxes, np.full((2, 3), 1 / 3, np.float32), size=Size(74, 19), step=37)
    parts = parts_of(run)
    assert (parts.areas / PIXEL).tolist() == [37 * 19, 37 * 19]


def test_without_a_threshold_a_class_counts_where_it_is_called(
    made_run: MakeRun, grid_boxes: MakeBoxes
) -> None:
    boxes = grid_boxes(SIZE, 16, 16)
    unsure = np.tile(np.array([[0.31, 0.43, 0.26]], np.float32), (len(boxes), 1))
    run = made_run(boxes, unsure, size=SIZE, step=16)
    told, given = legend(run), legend(run, 0.5)
    assert [row.count for row in told.rows] == [0, len(boxes), 0]
    assert (told.threshold, told.rule, told.none_called.count) == (None, "the largest", 0)
    assert [row.count for row in given.rows] == [0, 0, 0]
    assert (given.threshold, given.none_called.count) == (0.5, len(boxes))
    assert given.none_called.share == pytest.approx(1)
    assert legend_facts(told)["counted"] == "as called: the largest"
    assert legend_facts(given)["none from 0.5"].startswith(f"{len(boxes)} tiles, ")


def test_the_cards_thresholds_say_who_counts(made_run: MakeRun, grid_boxes: MakeBoxes) -> None:
    boxes = grid_boxes(SIZE, 16, 16)
    even = np.tile(np.array([[0.5, 0.5, 0.269]], np.float32), (len(boxes), 1))
    run = made_run(boxes, even, size=SIZE, step=16)
    own = ClassSet(run.tiles.class_names, "sigmoid", thresholds=(0.9, 0.4, 0.2))
    told = legend(replace(run, tiles=replace(run.tiles, classes=own)))
    assert [row.count for row in told.rows] == [0, len(boxes), len(boxes)]
    assert told.several_called == len(boxes)
    assert any("may be called several classes" in note for note in told.notes)
    first, second, third = own.names
    assert told.rule == f"from 0.9 ({first}), 0.4 ({second}), 0.2 ({third})"
