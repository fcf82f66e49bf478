"""Tiles get the class that was drawn over them or said of them, and a correction wins."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from shapely import Polygon, box

from slidecam.errors import DataSetError, MaskError, RunMismatchError, UsageError
from slidecam.foreground import LabelRule
from slidecam.geometry import Box
from slidecam.learning.data.pictures import read_picture_set
from slidecam.learning.data.pixels import load_pixels
from slidecam.prediction.model import load_model
from slidecam.prediction.pipeline import predict
from slidecam.prediction.preparation import prepare
from slidecam.runs import Run
from slidecam.runs.spec import PredictSpec
from slidecam.steps import result_of
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.teaching import (
    Annotation,
    Corrections,
    ExportSpec,
    export_training,
    label_tiles,
    read_annotations,
    write_annotations,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def square(name: str, left: float, top: float, right: float, bottom: float) -> Annotation:
    return Annotation(
        name, (np.array([[left, top], [right, top], [right, bottom], [left, bottom]]),)
    )


DRAWN = (square("A", 0, 0, 33, 26), square("B", 36, 0, 80, 30), square("C", 0, 40, 80, 47))


def test_a_tile_is_of_the_class_that_covers_half_of_it(run: Run) -> None:
    found = label_tiles(run, DRAWN)
    expected = {}
    for row, (x, y, width, height) in enumerate(run.tiles.boxes.tolist()):
        tile = box(x, y, x + width, y + height)
        for each in DRAWN:
            if tile.intersection(Polygon(each.area[0])).area >= 50:
                expected[row] = each.class_name
    expected.pop(9, None)  # could not be read
    assert dict(zip(found.rows.tolist(), found.names, strict=True)) == expected
    assert {"A", "B", "C"} == set(found.counts)
    assert not found.corrected.any()
    assert found.notes == ()


def test_a_class_whose_areas_are_no_tiles_is_said_to_be_not_learnt(run: Run) -> None:
    found = label_tiles(run, (*DRAWN, square("fat", 0, 0, 2, 2)))
    assert "fat" not in found.counts
    assert found.notes == ("No tile lies far enough in the areas of fat: nothing is learnt of it.",)


def test_a_correction_wins_over_a_drawing_and_adds_what_was_not_drawn(run: Run) -> None:
    corrections = Corrections.open(run)
    corrections.set(0, "B")
    corrections.set(47, "new")
    plain, found = label_tiles(run, DRAWN), label_tiles(run, DRAWN, corrections)
    labels = dict(zip(found.rows.tolist(), found.names, strict=True))
    assert labels == {**dict(zip(plain.rows.tolist(), plain.names, strict=True)), 0: "B", 47: "new"}
    assert found.rows[found.corrected].tolist() == [0, 47]


def test_a_file_from_qupath_is_shifted_by_the_scanned_bounds(run: Run, tmp_path: Path) -> None:
    bounds = Box(20, 10, 60, 50)
    moved = replace(run, tiles=replace(run.tiles, bounds=bounds))
    write_annotations(tmp_path / "a.geojson", DRAWN, bounds)
    assert label_tiles(moved, tmp_path / "a.geojson").counts == label_tiles(run, DRAWN).counts


def test_the_rule_and_other_names_are_heeded(run: Run) -> None:
    assert "C" not in label_tiles(run, DRAWN, rule=LabelRule(0.9)).counts
    found = label_tiles(run, DRAWN, renamed={"B": "A"})
    assert set(found.counts) == {"A", "C"}


def test_a_tile_of_two_classes_is_of_none(run: Run) -> None:
    found = label_tiles(run, (square("A", 0, 0, 10, 10), square("B", 5, 0, 10, 10)))
    assert (len(found), found.ambiguous) == (0, 1)


def test_corrections_of_another_run_of_the_slide_are_found_by_their_boxes(run: Run) -> None:
    corrections = Corrections.open(run)
    corrections.set([1, 40], "A")
    other = replace(run, tiles=replace(run.tiles, boxes=run.tiles.boxes[::-1].copy()))
    shifted = replace(
        run.tiles, boxes=run.tiles.boxes + np.array([0, 0, 1, 1]) * (np.arange(48) == 40)[:, None]
    )
    assert label_tiles(other, corrections=corrections.path).rows.tolist() == [7, 46]
    some = label_tiles(replace(run, tiles=shifted), corrections=corrections.path)
    assert some.rows.tolist() == [1]
    assert "1 of 2 corrected tiles" in some.notes[0]
    with pytest.raises(RunMismatchError, match="another slide"):
        label_tiles(replace(run, digest={"slide": "t"}), corrections=corrections.path)


def test_nothing_said_is_no_tile_and_what_lies_off_the_slide_an_error(run: Run) -> None:
    assert len(label_tiles(run)) == len(label_tiles(run, ())) == 0
    with pytest.raises(MaskError, match="none lies on the slide"):
        label_tiles(run, (square("A", 500, 500, 600, 600),))


SPEC = PredictSpec(heatmap="none", overlap=0.25, mpp=0.4)


def test_a_runs_labelled_tiles_are_what_predict_saw(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    list(predict(slide, tiny_bundle, tmp_path / "out", SPEC))
    run = Run.open(tmp_path / "out" / "a")
    drawn = [Annotation("A", (np.array([[0, 0], [300, 0], [300, 500], [0, 500]]),), (1, 2, 3))]
    Corrections.open(run).set([len(run) - 1], "fat/lipid")
    made = result_of(export_training(run, tmp_path / "set", drawn))
    ready = prepare(
        str(slide),
        tmp_path / "none",
        load_model(tiny_bundle, SPEC),
        PredictSpec(dry_run=True, overlap=0.25, mpp=0.4),
    )
    seen: dict[tuple[int, ...], NDArray[np.uint8]] = {}
    for batch in stream_tiles(ready.source, ready.grid, StreamSpec(7)):
        seen |= {
            tuple(ready.grid.boxes[row]): pixels
            for row, pixels in zip(batch.rows, batch.pixels, strict=True)
        }
    ready.close()
    with (tmp_path / "set" / "pictures.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(made.tiles.values()) > 20
    for row in rows:
        place = tuple(int(row[key]) for key in ("x", "y", "width", "height"))
        np.testing.assert_array_equal(load_pixels(tmp_path / "set" / row["path"], 64), seen[place])
    pictures = read_picture_set(tmp_path / "set")
    assert pictures.counts() == made.tiles
    assert made.tiles["fat/lipid"] == 1
    assert set(pictures.groups or ()) == {"a"}
    again = read_annotations(tmp_path / "set" / "annotations.geojson", run.tiles.bounds)
    assert [(each.class_name, each.name) for each in again] == [
        ("A", ""),
        ("fat/lipid", "corrected tile"),
    ]
    x, y, width, height = run.tiles.boxes[-1].tolist()
    np.testing.assert_array_equal(again[1].area[0][[0, 2]], [[x, y], [x + width, y + height]])
    with pytest.raises(UsageError, match="tile set here"):
        result_of(export_training(run, tmp_path / "set", drawn))
    with pytest.raises(DataSetError, match="No tile has a label"):
        result_of(export_training(run, tmp_path / "none", spec=ExportSpec(beside=False)))
    assert not (tmp_path / "none").exists()
