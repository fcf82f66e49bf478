"""What is opened: slides, runs, heatmaps, annotations; each lies where it belongs."""

from __future__ import annotations

import gc
import gzip
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.layers import Layer

from slidecam.errors import MaskError, UnreadableSourceError
from slidecam.exchange.geojson import (
    Annotation,
    FileTiles,
    write_annotations,
    write_tiles_geojson,
)
from slidecam.geometry import Size
from slidecam.plugin.file_tiles import tiles_layer
from slidecam.plugin.overlays import class_layer
from slidecam.plugin.placing import Placing
from slidecam.plugin.reading import get_reader
from slidecam.plugin.slide import KEY, KeptSource, SlideFacts, slide_layer
from slidecam.sources import open_source
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from slidecam.plugin.open_run import ShownRun


def opened(path: Path) -> list[Layer]:
    reader = get_reader(str(path))
    assert reader is not None
    return [Layer.create(*layer) for layer in reader(str(path))]


def test_a_slide_opens_multiscale_in_micrometres_with_its_own_pixels(
    small_slide: Path, notices: list[str]
) -> None:
    (layer,) = opened(small_slide)
    assert (layer.rgb, layer.multiscale) == (True, True)
    assert layer.scale.tolist() == [0.5, 0.5]
    assert [str(unit) for unit in layer.units] == ["micrometer"] * 2
    with open_source(small_slide) as source:
        whole = source.thumbnail(400)
    np.testing.assert_array_equal(np.asarray(layer.data[0]), whole)
    assert [level.shape for level in layer.data] == [(300, 400, 3), (150, 200, 3), (75, 100, 3)]
    assert notices == []


def test_a_slide_is_opened_without_what_only_classifiers_need() -> None:
    heavy = ("torch", "timm", "sklearn", "matplotlib", "pandas")
    code = (
        f"import sys, slidecam.plugin.reading; print([name for name in {heavy} if name in"
        " sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  (our own interpreter)
    assert done.stdout.strip() == "[]", (
        "half a minute of imports, and the window stands still meanwhile"
    )


def test_a_damaged_label_image_does_not_keep_a_slide_shut(
    small_slide: Path, monkeypatch: pytest.MonkeyPatch, array_source: Any, noise: Any
) -> None:
    inner = array_source(noise(64, 64))
    inner.facts = replace(inner.facts, associated=("label", "thumbnail"))

    def damaged(name: str) -> Any:
        if name == "thumbnail":
            raise UnreadableSourceError(
                small_slide, "its thumbnail image cannot be decoded.", "Look at the slide."
            )
        return noise(8, 8)

    monkeypatch.setattr(inner, "associated_image", damaged)
    monkeypatch.setattr("slidecam.plugin.slide.open_apart", lambda *_given: inner)
    (_levels, meta, _kind), _notes = slide_layer(small_slide)
    assert list(meta["metadata"]["associated images"]) == ["label"]


def test_a_slide_is_closed_when_its_layer_is_forgotten(array_source: Any, noise: Any) -> None:
    inner = array_source(noise(64, 64))
    kept = KeptSource(inner)
    level = kept.level_array(0)
    del kept
    assert np.asarray(level).shape == (64, 64, 3)
    assert not inner.closed
    del level
    gc.collect()
    assert inner.closed


def test_a_slide_keeps_its_facts_in_its_metadata(small_slide: Path) -> None:
    (_data, meta, kind), _notes = slide_layer(small_slide)
    assert kind == "image"
    assert meta["metadata"]["slide"]["format"]
    assert isinstance(meta["metadata"][KEY], SlideFacts)
    assert meta["metadata"]["associated images"] == {}


def test_a_slide_without_a_spacing_opens_in_pixels_and_says_so(
    tmp_path: Path, notices: list[str]
) -> None:
    path = tmp_path / "bare.tif"
    tifffile.imwrite(path, np.full((64, 96, 3), 200, np.uint8), photometric="rgb", tile=(32, 32))
    (layer,) = opened(path)
    assert layer.scale.tolist() == [1, 1]
    assert [str(unit) for unit in layer.units] == ["pixel"] * 2
    assert "µm per pixel" in notices[0]


def test_blocks_are_large_enough_to_pan_smoothly(tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    tifffile.imwrite(
        path,
        np.zeros((1600, 1500, 3), np.uint8),
        photometric="rgb",
        tile=(256, 256),
        compression="deflate",
    )
    (levels, _meta, _kind), _notes = slide_layer(path)
    for blocks in levels[0].chunks[:2]:
        assert all(512 <= block <= 1024 for block in blocks[:-1])


def test_a_slide_without_coarse_levels_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "flat.tif"
    pixels = np.full((300, 2600, 3), 255, np.uint8)
    pixels[:, :1300] = (200, 30, 90)
    tifffile.imwrite(path, pixels, photometric="rgb", tile=(256, 256), compression="deflate")
    (levels, _meta, _kind), _notes = slide_layer(path)
    coarse = np.asarray(levels[-1])
    assert [len(levels), coarse.shape] == [2, (118, 1024, 3)]
    assert coarse[50, 100].tolist() == [200, 30, 90]
    assert coarse[50, 900].tolist() == [255, 255, 255]


def test_what_is_not_ours_is_left_to_others(tmp_path: Path, notices: list[str]) -> None:
    (tmp_path / "notes.tif").write_text("no slide")
    assert get_reader(str(tmp_path / "notes.tif")) is None
    assert "notes.tif" in notices[0], "the reason is given"
    (tmp_path / "empty").mkdir()
    notices.clear()
    assert get_reader(str(tmp_path / "empty")) is None
    assert notices == [], "a folder may be anybody's"
    assert get_reader(["a.svs", "b.svs"]) is None
    assert get_reader("") is None


def test_a_run_opens_with_its_slide_below_and_everything_in_place(
    small_run: ShownRun, notices: list[str]
) -> None:
    slide, *overlays = opened(small_run.folder)
    classes, heat = overlays
    assert classes.name == "small: class"
    assert heat.name.startswith("small: CAM ")
    assert notices == []
    assert (classes.visible, heat.visible) == (True, False), "one overlay at a time"
    assert all(str(layer.units[0]) == "micrometer" for layer in [slide, *overlays])


def test_run_json_and_a_heatmap_open_too(small_run: ShownRun) -> None:
    assert opened(small_run.folder / "run.json")[0].name == "small"
    heats = opened(small_run.folder / "heatmap.ome.zarr")
    assert {layer.metadata["class"] for layer in heats} == {"A", "B", "C"}
    assert sum(layer.visible for layer in heats) == 1


def test_a_run_whose_slide_was_moved_opens_without_it(
    own_run: ShownRun, notices: list[str]
) -> None:
    path = own_run.folder / "run.json"
    record = json.loads(path.read_text())
    record["input"]["path"] = "/gone/slide.tif"
    path.write_text(json.dumps(record))
    assert opened(own_run.folder)[0].name == "small: class"
    assert "/gone/slide.tif" in notices[0]


def test_the_heatmaps_peak_lies_on_its_place_on_the_slide(small_run: ShownRun) -> None:
    heat = opened(small_run.folder / "heatmap.ome.zarr")[0]
    values = np.asarray(heat.data[0])
    row, column = np.unravel_index(np.nanargmax(values), values.shape)
    pitch = heat.scale[0] / 0.5
    centre = Placing(small_run.spacing).to_pixels(heat.data_to_world((row, column)))[0]
    assert centre.tolist() == [(column + 0.5) * pitch, (row + 0.5) * pitch]


def test_every_level_of_a_heatmap_covers_the_same_ground(
    small_run: ShownRun, viewer: ViewerModel
) -> None:
    heat, *_rest = opened(small_run.folder / "heatmap.ome.zarr")
    viewer.add_layer(heat)
    assert heat.extent.world[0].tolist() == pytest.approx((np.array(heat.scale) - 0.5) / 2)


@pytest.mark.parametrize("suffix", [".geojson", ".geojson.gz"])
def test_annotations_lie_on_the_open_slide(
    tmp_path: Path,
    suffix: str,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
    small_slide: Path,
    viewer: Any,
) -> None:
    ring = np.array([[10.0, 20], [50, 20], [50, 80]])
    write_annotations(tmp_path / "drawn.geojson", [Annotation("tumour", (ring,), (200, 0, 0))])
    path = tmp_path / f"drawn{suffix}"
    if suffix.endswith(".gz"):
        path.write_bytes(gzip.compress((tmp_path / "drawn.geojson").read_bytes()))
    (alone,) = opened(path)
    assert alone.scale.tolist() == [1, 1]
    assert "open their slide first" in notices[0]
    for layer in opened(small_slide):
        viewer.add_layer(layer)
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    (layer,) = opened(path)
    assert list(layer.features["class"]) == ["tumour"]
    world = np.stack([layer.data_to_world(point) for point in layer.data[0]])
    np.testing.assert_allclose(
        Placing(viewer.layers[0].metadata[KEY].spacing).to_pixels(world), ring
    )
    np.testing.assert_allclose(layer.edge_color[0], [200 / 255, 0, 0, 1], atol=1e-6)


def test_areas_lie_on_the_slide_of_their_name_else_on_the_chosen_one(
    tmp_path: Path,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
    write_slide: Any,
    small_slide: Path,
    viewer: Any,
) -> None:
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    ring = np.array([[10.0, 20], [50, 20], [50, 80]])
    for name in ("small.geojson", "other.geojson", "drawn.geojson"):
        write_annotations(tmp_path / name, [Annotation("tumour", (ring,), (200, 0, 0))])
    small, other = (
        viewer.add_layer(opened(path)[0])
        for path in (small_slide, write_slide(tmp_path / "other.tif", 200, 100))
    )
    for chosen in (small, other):
        viewer.layers.selection.active = chosen
        for name, below in (("small", small), ("other", other), ("drawn", chosen)):
            (layer,) = opened(tmp_path / f"{name}.geojson")
            assert layer.metadata["of slide"] == below.metadata[KEY].fingerprint
            assert notices[-1] == f"Laid on {below.name}: the areas of {name}.geojson."


def test_a_window_is_how_a_picture_is_shown_and_makes_it_no_other() -> None:
    facts = SlideFacts("a.png", "a", Size(9, 7), None, None, "f")
    assert facts.is_picture(PictureView(window="120.0,3400.0"))
    assert not facts.is_picture(PictureView(plane=2))


def test_the_tiles_that_are_saved_come_back_as_tiles_on_their_slide(
    tmp_path: Path,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
    write_slide: Any,
    small_slide: Path,
    small_run: ShownRun,
    viewer: Any,
) -> None:
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    for path in (small_slide, write_slide(tmp_path / "other.tif", 200, 100)):
        viewer.add_layer(opened(path)[0])
    expected = Layer.create(*class_layer(small_run))
    classes = ["none", *small_run.table.class_names]
    for name in ("small-tiles.geojson", "small.geojson.gz"):
        write_tiles_geojson(small_run.table, tmp_path / name)
        (layer,) = opened(tmp_path / name)
        assert "Laid on small" in notices[-1], "by the file's name, though another is chosen"
        assert layer.data.shape == expected.data.shape
        np.testing.assert_allclose(layer.extent.world, expected.extent.world)
        names = list(layer.features["class"])
        found = [names[value] for value in layer.data[small_run.cells.places]]
        assert found == [classes[value] for value in expected.data[small_run.cells.places]]
        shown = [layer.colormap.color_dict[names.index(one)] for one in set(found)]
        wanted = [expected.colormap.color_dict[classes.index(one)] for one in set(found)]
        np.testing.assert_allclose(shown, wanted, atol=1e-6)


def test_tiles_and_areas_of_one_file_are_a_layer_each_and_tiles_on_no_grid_are_refused(
    tmp_path: Path, small_run: ShownRun, notices: list[str]
) -> None:
    path = tmp_path / "both.geojson"
    write_tiles_geojson(small_run.table, path)
    ring = np.array([[10.0, 20], [50, 20], [50, 80]])
    write_annotations(tmp_path / "area.geojson", [Annotation("A", (ring,), (200, 0, 0))])
    both = json.loads(path.read_text())
    both["features"] += json.loads((tmp_path / "area.geojson").read_text())["features"]
    path.write_text(json.dumps(both))
    assert [type(layer).__name__ for layer in opened(path)] == ["Labels", "Shapes"]
    assert "open their slide first" in notices[-1]
    places = np.random.default_rng(0).integers(0, 100_000, (40, 2))
    boxes = np.concatenate([places, np.full((40, 2), 50)], axis=1)
    tiles = FileTiles(boxes, ("A",) * 40, {})
    with pytest.raises(MaskError, match="no grid"):
        tiles_layer(path, tiles, Placing(None), "")
