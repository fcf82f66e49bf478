"""Places are left out whole, and where there are too few of them nothing is measured."""

from __future__ import annotations

import json

import numpy as np
import pytest

from slidecam.steps import result_of
from slidecam.teaching.head_tuning import Head, LabelledEmbeddings, TuningSpec, tune_head
from slidecam.teaching.held_out import BLOCK, Split, leave_places_out, parts_of, places_of, too_few
from tile_tables import called


@pytest.mark.parametrize("step", [10, 5])
def test_tiles_that_touch_are_one_place(step: int) -> None:
    rng = np.random.default_rng(step)
    corners = np.unique(rng.integers(0, 60, (45, 2)), axis=0) * step
    boxes = np.concatenate([corners, np.full_like(corners, 10)], axis=1)
    group = list(range(len(boxes)))
    for _round in boxes:
        for i, (x, y, _w, _h) in enumerate(boxes.tolist()):
            for j, (u, v, _a, _b) in enumerate(boxes.tolist()):
                if abs(x - u) <= 10 and abs(y - v) <= 10:
                    group[i] = group[j] = min(group[i], group[j])
    found = places_of(boxes)
    for i in range(len(boxes)):
        for j in range(i):
            near = np.abs(boxes[i, :2] - boxes[j, :2]).max() < BLOCK * 10
            if found[i] == found[j]:
                assert group[i] == group[j]
                assert near
    assert len(set(found.tolist())) >= len(set(group))


def test_a_large_area_is_cut_into_pieces() -> None:
    y, x = (axis.ravel() for axis in np.mgrid[0:8, 0:10])
    boxes = np.stack([x * 10 + 3, y * 10 + 7, np.full(80, 10), np.full(80, 10)], axis=1)
    found = places_of(boxes)
    assert len(set(found.tolist())) == 2 * 3
    for place in set(found.tolist()):
        assert np.ptp(x[found == place]) < BLOCK
        assert np.ptp(y[found == place]) < BLOCK


def test_no_tile_is_in_no_place() -> None:
    assert places_of(np.zeros((0, 4), np.int64)).tolist() == []


NAMES = ("A", "B")


def examples_of(count: int = 48) -> tuple[LabelledEmbeddings, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(count) // 2 % 2
    features = np.stack([labels * 2.0 - 1, np.zeros(count)], axis=1) + rng.normal(size=(count, 2))
    return LabelledEmbeddings(features, labels, rng.normal(size=(30, 2))), np.arange(count) // 2


def test_each_place_is_predicted_by_a_head_that_has_not_seen_it() -> None:
    examples, places = examples_of()
    old, split = Head(np.eye(2), np.zeros(2)), Split(places, NAMES, folds=4, seed=1)
    found = result_of(leave_places_out(old, examples, TuningSpec(), split))
    parts = parts_of(examples.labels, split)
    for row in range(0, len(examples.labels), 5):
        head = tune_head(old, examples.part(np.flatnonzero(parts != parts[row])), TuningSpec())
        np.testing.assert_allclose(
            found.after.predictions.logits[row], head.logits(examples.features[[row]])[0]
        )
    right = float((called(found.after.predictions.logits) == examples.labels).mean())
    assert found.after.figures["accuracy"].value == pytest.approx(right)
    before = float((called(old.logits(examples.features)) == examples.labels).mean())
    assert found.before.figures["accuracy"].value == pytest.approx(before)
    assert found.after.figures["accuracy"].interval is not None
    record = json.loads(json.dumps(found.record()))
    assert record["places"] == 24
    assert "24 groups" in record["intervals"]
    assert "on this slide" in record["how"]


def test_places_stay_whole_and_every_class_stays_in_what_is_learnt() -> None:
    labels = np.array([0] * 30 + [1] * 4)
    places = np.concatenate([np.arange(30) // 3, [20, 20, 21, 21]])
    for seed in range(5):
        parts = parts_of(labels, Split(places, NAMES, 5, seed))
        assert parts.max() == 4
        for place in np.unique(places):
            assert len(set(parts[places == place])) == 1
        for part in range(5):
            assert set(labels[parts != part]) == {0, 1}
    assert (parts_of(labels, Split(places, NAMES)) == parts_of(labels, Split(places, NAMES))).all()


def test_too_few_labels_are_said_to_be_too_few() -> None:
    many, two = np.arange(20), np.arange(20) % 2
    assert not too_few(two, many, NAMES)
    assert "all are of one class" in too_few(np.zeros(20, np.int64), many, NAMES)
    assert "5 places apart, and it takes 10" in too_few(two, many // 4, NAMES)
    assert "B (1)" in too_few(np.array([0] * 19 + [1]), many, NAMES)


@pytest.mark.parametrize("shift", [(0, 0), (37, 0), (0, 90), (1013, 777)])
def test_places_do_not_hang_on_where_on_the_slide_they_lie(shift: tuple[int, int]) -> None:
    boxes = np.array([[30 * x, 30 * y, 30, 30] for y in range(6) for x in range(7)], np.int64)
    moved = boxes + np.array([*shift, 0, 0])
    pieces = [x // BLOCK + 2 * (y // BLOCK) for y in range(6) for x in range(7)]
    pairs = {*zip(pieces, places_of(moved).tolist(), strict=True)}
    assert len(pairs) == len(set(pieces)) == len({place for _piece, place in pairs})


def test_oblong_tiles_touch_by_their_own_width_and_height() -> None:
    boxes = np.array([[0, 0, 30, 20], [0, 25, 30, 20], [0, 45, 30, 20], [29, 0, 30, 20]], np.int64)
    first, second, third, fourth = places_of(boxes).tolist()
    assert first == fourth != second == third
