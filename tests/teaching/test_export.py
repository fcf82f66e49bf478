"""Labelled tiles of a run become a tile set to train on, with the run's own pixels."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import DataSetError, UsageError
from slidecam.learning.data.pictures import load_pixels, read_picture_set
from slidecam.prediction.model import load_model
from slidecam.prediction.pipeline import predict
from slidecam.prediction.preparation import prepare
from slidecam.runs import read_run_tiles
from slidecam.runs.spec import PredictSpec
from slidecam.steps import result_of
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.teaching import Annotation, Corrections, ExportSpec, export_training, read_annotations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

SPEC = PredictSpec(heatmap="none", overlap=0.25, mpp=0.4)


def test_a_runs_labelled_tiles_are_what_predict_saw(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    list(predict(slide, tiny_bundle, tmp_path / "out", SPEC))
    run = read_run_tiles(tmp_path / "out" / "a")
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
    with pytest.raises(DataSetError, match="no tile has a label"):
        result_of(export_training(run, tmp_path / "none", spec=ExportSpec(beside=False)))
    assert not (tmp_path / "none").exists()
