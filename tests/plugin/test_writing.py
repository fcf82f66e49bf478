"""What is saved is what was drawn and computed; what is not ours is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from napari.layers import Layer, Shapes

from slidecam.drawing.heat import heat_table
from slidecam.errors import UsageError
from slidecam.exchange.geojson import Annotation, read_annotations
from slidecam.exchange.geojson import write_annotations as write_areas
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.geometry import Box
from slidecam.plugin.areas import annotation_layer, areas_of, path_of, rings_of, shapes_layer
from slidecam.plugin.overlays import class_layer, heat_colors, heat_layers
from slidecam.plugin.placing import Placing
from slidecam.plugin.run_request import drawn_region
from slidecam.plugin.slide import KEY, slide_layer
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

    from napari.components import ViewerModel

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
    (ring,) = rings_of(box, "ellipse")
    np.testing.assert_allclose(np.square((ring - (10, 5)) / (10, 5)).sum(axis=1), 1)
    with pytest.raises(UsageError, match="holds no area"):
        rings_of(box, "line")


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


SQUARES = [
    np.array([[low, low], [high, low], [high, high], [low, high]], float)
    for low, high in ((0, 100), (10, 30), (40, 60))
]


@pytest.mark.parametrize("holes", [0, 1, 2])
def test_holes_are_one_path_in_napari_and_rings_again(holes: int) -> None:
    area = SQUARES[: holes + 1]
    path = path_of(area)
    layer = Shapes([path[:, ::-1]], shape_type="polygon")
    np.testing.assert_array_equal(layer.data[0][:, ::-1], path)
    covered = layer.to_masks((100, 100))[0].sum()
    assert covered == pytest.approx(100**2 - holes * 20**2, rel=0.05), "napari draws the holes"
    back = rings_of(layer.data[0], "polygon")
    assert len(back) == holes + 1
    for ring, before in zip(back, area, strict=True):
        np.testing.assert_array_equal(ring, before)


def test_half_made_shapes_are_no_areas_and_each_area_keeps_its_class() -> None:
    dot, line = np.array([[5.0, 5], [5, 5]]), np.array([[0.0, 0], [9, 9], [0, 0]])
    ring = SQUARES[0]
    found = list(areas_of([dot, ring, line], ["polygon"] * 3, {"class": ["A", "B"]}))
    assert [(number, name) for number, name, _rings in found] == [(1, "B")]


def test_holes_stay_holes_on_the_way_through_napari(tmp_path: Path) -> None:
    write_areas(tmp_path / "ring.geojson", [Annotation("tumour", tuple(SQUARES), (200, 0, 0))])
    data, meta, kind = annotation_layer(tmp_path / "ring.geojson", Placing(None), None)
    layer = Layer.create(data, meta, kind)
    write_annotations(str(tmp_path / "again.geojson"), *layer.as_layer_data_tuple()[:2])
    (before,), (after,) = (
        read_annotations(tmp_path / name) for name in ("ring.geojson", "again.geojson")
    )
    for ring, other in zip(before.area, after.area, strict=True):
        np.testing.assert_array_equal(ring, other)


@pytest.mark.parametrize(
    ("scale", "unit"), [(0.5, "um"), (0.25, "um"), (0.0005, "mm"), (1.0, "um")]
)
def test_a_layer_of_any_scale_and_unit_is_saved_in_the_pixels_of_the_chosen_slide(
    small_slide: Path,
    viewer: ViewerModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scale: float,
    unit: str,
) -> None:
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    um = scale * (1000 if unit == "mm" else 1)
    corners = SQUARES[1] * 0.5 / um
    layer = viewer.add_shapes(
        [corners[:, ::-1]], shape_type="polygon", scale=(scale, scale), units=(unit, unit)
    )
    write_annotations(str(tmp_path / "a.geojson"), *layer.as_layer_data_tuple()[:2])
    (area,) = read_annotations(tmp_path / "a.geojson")
    np.testing.assert_allclose(area.area[0], SQUARES[1] + 0.5, atol=1e-3)
    assert region_of(viewer, layer) == pytest.approx(area.area[0], abs=1e-3)


def region_of(viewer: ViewerModel, layer: Shapes) -> object:
    """Return the ring that *Run* would take of a layer."""
    viewer.layers.selection.active = layer
    return drawn_region(viewer, viewer.layers[0].metadata[KEY].placing).areas[0][0]


def test_areas_without_a_slide_are_written_in_their_own_pixels_and_it_is_said(
    tmp_path: Path, notices: list[str]
) -> None:
    layer = Shapes([SQUARES[0][:, ::-1]], shape_type="polygon", scale=(3, 3))
    write_annotations(str(tmp_path / "a.geojson"), *layer.as_layer_data_tuple()[:2])
    (area,) = read_annotations(tmp_path / "a.geojson")
    np.testing.assert_array_equal(area.area[0], SQUARES[0])
    assert notices == ["No slide is open, so these areas are written in the layer's own pixels."]
