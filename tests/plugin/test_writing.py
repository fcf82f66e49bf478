"""What is saved is what was drawn and computed; what is not ours is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.drawing.heat import heat_table
from slidecam.errors import UsageError
from slidecam.exchange.geojson import read_annotations
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.geometry import Box
from slidecam.plugin.areas import corners_of, shapes_layer
from slidecam.plugin.overlays import class_layer, heat_colors, heat_layers
from slidecam.plugin.placing import Placing
from slidecam.plugin.writing import (
    write_annotations,
    write_figure,
    write_ome_zarr,
    write_tiles_csv,
    write_tiles_geojson,
)
from tile_tables import read_tiles_csv

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.open_run import ShownRun


def test_heat_is_transparent_where_there_is_none_and_covers_more_the_more_there_is() -> None:
    colors = heat_colors(signed=False)
    np.testing.assert_allclose(colors.colors[-1], heat_table(9, signed=False)[-1], rtol=1e-6)
    alpha = colors.map(np.array([0, 0.25, 0.5, 1], np.float32))[:, 3]
    assert (np.diff(alpha) > 0).all()
    assert colors.map(np.array([np.nan], np.float32))[0, 3] == 0
    signed = heat_colors(signed=True).map(np.array([0, 0.5, 1], np.float32))
    assert signed[1, 3] < min(signed[0, 3], signed[2, 3])
    assert signed[2, 0] > signed[2, 2]


def test_annotations_are_written_as_qupath_reads_them(tmp_path: Path) -> None:
    ring = np.array([[10.0, 20], [10, 60], [40, 60], [40, 20]])
    layer = shapes_layer(
        "drawn", [ring], ["tumour"], {"tumour": (200, 0, 0)}, Placing(None), Box(5, 7, 100, 100)
    )
    data, meta, _kind = layer
    path = tmp_path / "drawn.geojson"
    assert write_annotations(str(path), data, meta) == [str(path)]
    (found,) = read_annotations(path, Box(5, 7, 100, 100))
    np.testing.assert_allclose(found.area[0], ring[:, ::-1])
    assert (found.class_name, found.color) == ("tumour", (200, 0, 0))
    first = json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0][0]
    assert first == [20 - 5, 10 - 7], "QuPath counts from the corner of the scan"


def test_an_ellipse_is_written_round_and_a_line_is_refused() -> None:
    box = np.array([[0.0, 0], [0, 20], [10, 20], [10, 0]])
    ring = corners_of(box, "ellipse")
    np.testing.assert_allclose(np.square((ring - (10, 5)) / (10, 5)).sum(axis=1), 1)
    with pytest.raises(UsageError, match="holds no area"):
        corners_of(box, "line")


def test_a_class_layer_is_saved_as_tiles_and_as_a_table_and_as_a_figure(
    tmp_path: Path, small_run: ShownRun
) -> None:
    data, meta, _kind = class_layer(small_run)
    write_tiles_geojson(str(tmp_path / "t.geojson"), data, meta)
    write_tiles_csv(str(tmp_path / "t.csv"), data, meta)
    write_figure(str(tmp_path / "t.png"), data, meta)
    assert len(json.loads((tmp_path / "t.geojson").read_text())["features"]) == len(small_run.table)
    np.testing.assert_array_equal(read_tiles_csv(tmp_path / "t.csv").boxes, small_run.table.boxes)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_heatmap_is_saved_whole(tmp_path: Path, small_run: ShownRun) -> None:
    data, meta, _kind = heat_layers(small_run.heatmaps[0], small_run)[1]
    write_ome_zarr(str(tmp_path / "h.zarr"), data, meta)
    saved = read_heatmap_ome_zarr(tmp_path / "h.zarr")
    np.testing.assert_array_equal(np.asarray(saved.levels[0][1]), np.asarray(data[0]))


def test_a_heatmap_is_not_written_over_a_folder_of_other_things(
    tmp_path: Path, small_run: ShownRun
) -> None:
    mine = tmp_path / "slides"
    mine.mkdir()
    (mine / "precious.svs").write_text("slide")
    data, meta, _kind = heat_layers(small_run.heatmaps[0], small_run)[0]
    with pytest.raises(UsageError, match="no OME-Zarr"):
        write_ome_zarr(str(mine), data, meta)
    assert (mine / "precious.svs").exists()
    for _twice in range(2):
        write_ome_zarr(str(tmp_path / "h.zarr"), data, meta)


def test_what_is_not_ours_is_refused_with_a_word(tmp_path: Path) -> None:
    stranger = {"name": "nuclei", "metadata": {}}
    for write in (write_tiles_csv, write_tiles_geojson, write_figure):
        with pytest.raises(UsageError, match="The layer 'nuclei' shows no run of slidecam"):
            write(str(tmp_path / "x"), None, stranger)
    with pytest.raises(UsageError, match="The layer 'nuclei' is no heatmap"):
        write_ome_zarr(str(tmp_path / "x"), None, stranger)
    assert list(tmp_path.iterdir()) == []
