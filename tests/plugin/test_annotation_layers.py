"""Teaching: what is drawn, painted and corrected in the viewer is what the engine is given."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Layer

from slidecam.errors import UsageError
from slidecam.exchange.geojson import write_annotations
from slidecam.plugin.annotation_layers import CORRECTED, DRAWN, PAINTED, AnnotationLayers
from slidecam.plugin.cards import labels_in_words, others_in_words
from slidecam.plugin.open_run import read_shown
from slidecam.plugin.reading import get_reader
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.viewer_state import ViewerState
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.teaching import Annotation, Corrections

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from slidecam.plugin.open_run import ShownRun


@pytest.fixture
def layers(viewer: ViewerModel, small_slide: Path, own_run: ShownRun) -> AnnotationLayers:
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    state = ViewerState(viewer)
    state.show(own_run)
    return AnnotationLayers(state)


def test_without_a_run_there_is_nothing_to_teach(viewer: ViewerModel) -> None:
    with pytest.raises(UsageError, match="No result is shown"):
        AnnotationLayers(ViewerState(viewer)).classes  # noqa: B018  (the property raises)


def test_areas_are_of_the_class_that_was_chosen_and_in_level_0_pixels(
    layers: AnnotationLayers,
) -> None:
    layer = layers.draw("B")
    ring = np.array([[50.0, 60], [50, 160], [120, 160], [120, 60]])
    layer.add(ring, shape_type="polygon")
    layers.draw("D")
    layer.add(ring + 100, shape_type="rectangle")
    first, second = layers.annotations()
    assert (first.class_name, second.class_name) == ("B", "D")
    np.testing.assert_allclose(first.area[0], ring[:, ::-1])
    assert first.color == layers.classes["B"]
    assert list(layers.classes) == ["A", "B", "C", "D"]
    np.testing.assert_allclose(
        layer.edge_color[0][:3], np.array(layers.classes["B"]) / 255, atol=1e-6
    )
    assert layers.state.viewer.layers.selection.active.name == DRAWN


def test_what_is_painted_covers_the_pixels_that_were_painted(layers: AnnotationLayers) -> None:
    layer = layers.paint("C")
    assert layer.selected_label == 3
    layer.data[40:60, 100:150] = 3
    (painted,) = layers.annotations()
    assert painted.class_name == "C"
    low, high = painted.area[0].min(axis=0), painted.area[0].max(axis=0)
    assert [low.tolist(), high.tolist()] == [[100, 40], [150, 60]]
    assert PAINTED in [one.name for one in layers.state.viewer.layers]


def test_what_was_painted_keeps_its_class_whatever_classes_the_next_model_has(
    layers: AnnotationLayers, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = layers.paint("C")
    layer.data[40:60, 100:150] = 3
    table = replace(
        layers.run.table, classes=replace(layers.run.table.classes, names=("C", "new", "A"))
    )
    another = layers.run.with_table(table)
    monkeypatch.setattr(layers.state.view, "run", another)
    assert layers.paint("new") is layer, "renamed or not"
    layer.data[100:120, 100:150] = layer.selected_label
    assert [area.class_name for area in layers.annotations()] == ["C", "new"]
    layer.name = "mine"
    assert layers.paint("A").selected_label == 1


def test_a_click_corrects_a_tile_on_disk_and_the_same_click_takes_it_back(
    layers: AnnotationLayers,
) -> None:
    layers.correct(3, "A")
    layers.correct(5, "new")
    assert dict(Corrections.open(layers.run.stored).labels) == {3: "A", 5: "new"}
    raster = layers.state.viewer.layers[CORRECTED].data
    assert raster[tuple(places[3] for places in layers.run.cells.places)] == 1
    assert raster[tuple(places[5] for places in layers.run.cells.places)] == 4
    layers.correct(3, "A")
    layers.undo()
    layers.undo()
    assert dict(Corrections.open(layers.run.stored).labels) == {3: "A"}


def test_areas_opened_from_a_file_teach_too_and_those_of_another_slide_do_not(
    layers: AnnotationLayers, write_slide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = layers.state.viewer
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    ring = np.array([[10.0, 20], [50, 20], [50, 80]])
    write_annotations(tmp_path / "from-qupath.geojson", [Annotation("B", (ring,), None)])

    reader = get_reader(str(tmp_path / "from-qupath.geojson"))
    assert reader is not None
    viewer.add_layer(Layer.create(*reader(str(tmp_path / "from-qupath.geojson"))[0]))
    (area,) = layers.annotations()
    assert area.class_name == "B"
    np.testing.assert_allclose(area.area[0], ring)
    viewer.add_layer(Layer.create(*slide_layer(write_slide(tmp_path / "other.tif", 200, 100))[0]))
    viewer.add_layer(Layer.create(*reader(str(tmp_path / "from-qupath.geojson"))[0]))
    viewer.layers.selection.active = viewer.layers[0]
    assert len(layers.annotations()) == 1, "what was opened on the other slide is said of that one"


def test_corrections_go_along_to_the_new_models_run_of_the_same_tiles(
    layers: AnnotationLayers, small_out: Path, tmp_path: Path
) -> None:
    layers.correct(3, "A")
    layers.correct(5, "new")
    before = layers.run.stored
    shutil.copytree(small_out, tmp_path / "again")
    layers.state.show(read_shown(tmp_path / "again" / "small"))
    layers.carry(before)
    assert dict(layers.corrections.labels) == {3: "A", 5: "new"}
    layers.correct(3, "A")
    layers.carry(before)
    assert dict(layers.corrections.labels) == {5: "new"}, (
        "what was taken back there is not brought again"
    )


def test_what_was_said_is_counted(layers: AnnotationLayers) -> None:
    assert labels_in_words((), layers.corrections) == "Said so far: nothing."
    layers.draw("B").add(np.array([[50.0, 60], [50, 160], [120, 160]]), shape_type="polygon")
    layers.correct(1, "C")
    assert (
        labels_in_words(layers.annotations(), layers.corrections)
        == "Said so far: 1 area of B, 1 corrected to C."
    )


def test_what_was_said_of_other_open_slides_is_found_and_other_models_are_named(
    layers: AnnotationLayers, write_slide: Any, tiny_bundle: Path, tmp_path: Path
) -> None:
    state, ring = layers.state, np.array([[50.0, 60], [50, 160], [120, 160]])
    small = state.viewer.layers[0]
    path = write_slide(tmp_path / "other.tif", 400, 300, seed=7)
    spec = PredictSpec(batch=4, workers=1, device="cpu", heatmap="none")
    for _event in predict(path, tiny_bundle, tmp_path / "out", spec):
        pass
    other = state.viewer.add_layer(Layer.create(*slide_layer(path)[0]))
    run = read_shown(tmp_path / "out" / "other")
    state.show(run)
    state.viewer.layers.selection.active = other
    layers.draw("B").add(ring, shape_type="polygon")
    (drawn,) = layers.annotations()
    state.viewer.layers.selection.active = small
    assert layers.annotations() == ()
    ((found, areas),), left_out = layers.others()
    assert (found.folder, left_out) == (run.folder, [])
    assert areas[0].class_name == "B"
    np.testing.assert_array_equal(areas[0].area[0], drawn.area[0])
    said = others_in_words([found.folder.name], left_out)
    assert said == " What was said of other teaches, too."
    digest = {**run.stored.digest, "model": "another"}
    state.show(replace(run, stored=replace(run.stored, digest=digest)))
    state.viewer.layers.selection.active = small
    assert layers.others() == ([], ["other"])
