"""Two runs beside each other: every figure by counting tile for tile."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from slidecam.errors import UsageError
from slidecam.geometry import Size
from slidecam.runs import compare_runs, legend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from conftest import MakeBoxes, MakeRun

SIZE = Size(64, 48)


def draws(count: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).dirichlet((1, 1, 1), count).astype(np.float32)


def test_changes_are_those_of_going_through_the_tiles(
    made_run: MakeRun, grid_boxes: MakeBoxes
) -> None:
    boxes = grid_boxes(SIZE, 8, 8)
    first, second = draws(len(boxes), 0), draws(len(boxes), 1)
    before = made_run(boxes, first, size=SIZE, step=8, failed=(3,))
    after = made_run(boxes, second, size=SIZE, step=8, failed=(7,))
    found = compare_runs(before, after)
    both = [row for row in range(len(boxes)) if row not in {3, 7}]
    names = before.tiles.class_names
    changed = {
        row: (names[first[row].argmax()], names[second[row].argmax()])
        for row in both
        if first[row].argmax() != second[row].argmax()
    }
    assert {tile.row: (tile.before, tile.after) for tile in found.changed} == changed
    assert found.agreement == pytest.approx(1 - len(changed) / len(both))
    kappa = cohen_kappa_score(first[both].argmax(axis=1), second[both].argmax(axis=1))
    assert found.kappa == pytest.approx(kappa)
    for tile in found.changed:
        assert tile.box == tuple(boxes[tile.row])
        assert (tile.p_before, tile.p_after) == pytest.approx(
            (first[tile.row].max(), second[tile.row].max())
        )
    surest = [tile.p_before + tile.p_after for tile in found.changed]
    assert surest == sorted(surest, reverse=True)
    for change, old, new in zip(
        found.classes, legend(before).rows, legend(after).rows, strict=True
    ):
        assert (change.count_before, change.area_before) == (old.winners, old.winner_area)
        assert (change.count_after, change.share_after) == (new.winners, new.winner_share)
    assert any("46 of 47" in note for note in found.notes)
    assert json.loads(json.dumps(found.record()))["changed"] == len(changed)


def test_a_run_agrees_with_itself(made_run: MakeRun, grid_boxes: MakeBoxes) -> None:
    boxes = grid_boxes(SIZE, 8, 8)
    run = made_run(boxes, draws(len(boxes), 0), size=SIZE, step=8)
    found = compare_runs(run, run)
    assert (found.agreement, found.kappa, found.changed, found.notes) == (1, 1, (), ())


def test_a_new_class_is_one_that_was_nowhere_before(
    made_run: MakeRun, grid_boxes: MakeBoxes
) -> None:
    boxes = grid_boxes(SIZE, 8, 8)
    two = draws(len(boxes), 0)[:, :2]
    before = made_run(boxes, two, size=SIZE, step=8, names=("A", "B"))
    found = compare_runs(before, made_run(boxes, draws(len(boxes), 1), size=SIZE, step=8))
    assert [change.name for change in found.classes] == ["A", "B", "C"]
    assert (found.classes[2].count_before, found.classes[2].area_before) == (0, 0)
    assert found.confusion[2].sum() == 0
    assert found.confusion.sum() == len(boxes)


def test_only_the_same_boxes_are_compared(made_run: MakeRun, grid_boxes: MakeBoxes) -> None:
    boxes = grid_boxes(SIZE, 8, 8)
    values = draws(len(boxes), 0)
    before = made_run(boxes[::-1].copy(), values[::-1], size=SIZE, step=8)
    finer = np.concatenate([boxes[:10], boxes[10:] + np.array([1, 0, 0, 0])])
    found = compare_runs(before, made_run(finer, values, size=SIZE, step=8))
    assert found.rows_after.tolist() == list(range(10))
    assert found.rows_before.tolist() == list(range(len(boxes) - 1, len(boxes) - 11, -1))
    assert found.agreement == 1
    assert any("10 of 48" in note for note in found.notes)


def test_one_output_that_says_no_is_a_class_of_its_own(
    made_run: MakeRun, grid_boxes: MakeBoxes
) -> None:
    boxes = grid_boxes(SIZE, 8, 8)[:3]
    before = made_run(
        boxes, np.array([[0.9], [0.2], [0.6]], np.float32), size=SIZE, step=8, names=("A",)
    )
    after = made_run(
        boxes, np.array([[0.8], [0.7], [0.1]], np.float32), size=SIZE, step=8, names=("A",)
    )
    found = compare_runs(before, after)
    assert found.class_names == ("A", "(none)")
    assert [(tile.row, tile.before, tile.after) for tile in found.changed] == [
        (2, "A", "(none)"),
        (1, "(none)", "A"),
    ]
    assert found.changed[0].p_after == pytest.approx(0.9)


def test_two_slides_are_refused(made_run: MakeRun, grid_boxes: MakeBoxes) -> None:
    boxes = grid_boxes(SIZE, 8, 8)
    run = made_run(boxes, draws(len(boxes), 0), size=SIZE, step=8)
    with pytest.raises(UsageError, match="two runs of one slide"):
        compare_runs(run, replace(run, digest={"slide": "other"}))


def test_two_pictures_of_one_file_are_refused(made_run: MakeRun, grid_boxes: MakeBoxes) -> None:
    boxes = grid_boxes(SIZE, 8, 8)
    run = made_run(boxes, draws(len(boxes), 0), size=SIZE, step=8)
    with pytest.raises(UsageError, match="two pictures of one file"):
        compare_runs(run, replace(run, digest={**run.digest, "picture": {"plane": 2}}))
    smaller = replace(run.record, input=replace(run.record.input, size=Size(32, 48)))
    with pytest.raises(UsageError, match="two pictures of one file"):
        compare_runs(run, replace(run, record=smaller))
