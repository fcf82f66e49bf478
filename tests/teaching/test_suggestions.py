"""What to label next: unsure, spread out, never what is labelled, the same for the same seed."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.cli.output import suggestion_rows
from slidecam.errors import UsageError
from slidecam.geometry import Box, Size
from slidecam.runs import uncertainty
from slidecam.teaching import SuggestionSpec, suggest

if TYPE_CHECKING:
    from conftest import MakeBoxes, MakeRun
    from slidecam.runs import Run


def slowly(run: Run, count: int, exclude: list[int], spec: SuggestionSpec) -> list[int]:
    """Take the formula of the module pair by pair."""
    unsure = uncertainty(run.tiles.probabilities, run.tiles.activation, spec.kind)
    rows = [row for row in range(len(run)) if run.tiles.done[row]]
    pairs = [
        np.linalg.norm(run.logits[i].astype(float) - run.logits[j]) for i in rows for j in rows
    ]
    usual = float(np.median([pair for pair in pairs if pair > 0]))

    def like(i: int, j: int) -> float:
        apart = (run.tiles.boxes[i, :2] - run.tiles.boxes[j, :2]) / run.tiles.boxes[i, 2]
        looks = float(np.linalg.norm(run.logits[i].astype(float) - run.logits[j]))
        near = math.exp(-float(apart @ apart) / spec.reach**2)
        return max(near, spec.looks * math.exp(-((looks / usual) ** 2)))

    taken, chosen = list(exclude), []
    for _round in range(count):
        free = [row for row in rows if row not in taken]
        best = max(
            free,
            key=lambda row: unsure[row] * (1 - max([like(row, j) for j in taken], default=0.0)),
        )
        taken.append(best)
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("exclude", [[], [3, 17, 40]])
def test_suggestions_are_those_of_the_formula(run: Run, exclude: list[int]) -> None:
    spec = SuggestionSpec(reach=2)
    found = suggest(run, 8, exclude, spec)
    assert [one.row for one in found] == slowly(run, 8, exclude, spec)
    unsure = uncertainty(run.tiles.probabilities, "softmax")
    for one in found:
        assert one.row not in {*exclude, 9}
        assert one.uncertainty == pytest.approx(unsure[one.row])
        assert one.box == Box(*run.tiles.boxes[one.row].tolist())
        order = np.argsort(-run.tiles.probabilities[one.row])
        assert one.classes == tuple(run.tiles.class_names[index] for index in order[:2])


def test_the_first_is_the_least_sure_of_all(run: Run) -> None:
    unsure = np.where(run.tiles.done, uncertainty(run.tiles.probabilities, "softmax"), -1)
    assert suggest(run, 1)[0].row == unsure.argmax()
    margin = np.where(run.tiles.done, uncertainty(run.tiles.probabilities, "softmax", "margin"), -1)
    assert suggest(run, 1, spec=SuggestionSpec(kind="margin"))[0].row == margin.argmax()


def test_ten_neighbours_are_not_all_suggested(made_run: MakeRun, grid_boxes: MakeBoxes) -> None:
    size = Size(200, 100)
    boxes = grid_boxes(size, 10, 10)
    near = (boxes[:, 0] < 50) & (boxes[:, 1] < 50)
    p = np.where(near, 0.5, 0.75)
    values = np.stack([p, 1 - p, 0 * p], axis=1).astype(np.float32)
    run = made_run(boxes, values, size=size, step=10)
    assert near.sum() == 25
    found = suggest(replace(run, logits=values), 10)
    assert near[found[0].row]
    assert sum(not near[one.row] for one in found) >= 3
    corners = boxes[[one.row for one in found], :2]
    apart = np.abs(corners[:, None] - corners[None]).max(axis=2)
    assert apart[~np.eye(10, dtype=bool)].min() >= 20


def test_the_same_seed_gives_the_same_and_another_decides_between_equals(
    made_run: MakeRun, grid_boxes: MakeBoxes
) -> None:
    size = Size(200, 200)
    boxes = grid_boxes(size, 10, 10)
    even = np.full((len(boxes), 3), 1 / 3, np.float32)
    run = made_run(boxes, even, size=size, step=10)
    rows = [
        [one.row for one in suggest(run, 5, spec=SuggestionSpec(seed=seed))] for seed in (1, 1, 2)
    ]
    assert rows[0] == rows[1] != rows[2]


def test_no_more_are_suggested_than_there_are_and_none_from_scores(run: Run) -> None:
    assert len(suggest(run, 1000)) == 47
    assert len(suggest(run, 1000, range(40))) == 8
    scores = replace(run.tiles.classes, activation="none")
    with pytest.raises(UsageError, match="no probabilities"):
        suggest(replace(run, tiles=replace(run.tiles, classes=scores)))
    with pytest.raises(UsageError, match="none to suggest"):
        suggest(run, 0)
    with pytest.raises(UsageError, match="out of range"):
        SuggestionSpec(reach=0)


def test_a_tile_of_a_volume_is_suggested_with_its_slice(run: Run) -> None:
    planes = np.arange(len(run), dtype=np.int64)[::-1] * 3 + 2
    found = suggest(replace(run, planes=planes), 3)
    assert [one.plane for one in found] == [int(planes[one.row]) for one in found]
    assert [row["slice"] for row in suggestion_rows(found)] == [one.plane for one in found]
    flat = suggest(run, 3)
    assert [one.plane for one in flat] == [None] * 3
    assert all("slice" not in row for row in suggestion_rows(flat))


def test_tiles_are_compared_in_little_memory_however_many_outputs_they_have(
    made_run: MakeRun, grid_boxes: MakeBoxes
) -> None:
    size = Size(250, 240)
    boxes = grid_boxes(size, 10, 10)
    even = np.full((len(boxes), 3), 1 / 3, np.float32)
    run = made_run(boxes, even, size=size, step=10)
    looks = np.random.default_rng(0).normal(size=(len(boxes), 1000))
    tracemalloc.start()
    try:
        assert len(suggest(run, 5, features=looks)) == 5
        assert tracemalloc.get_traced_memory()[1] < 100e6, "1,000 for each pair are 2 GB"
    finally:
        tracemalloc.stop()
