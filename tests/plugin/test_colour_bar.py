"""What the colours mean stands beside them: in the dock while they are seen, and in the figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Layer
from PIL import Image

from slidecam.explain.catalogue import method_for, title_of
from slidecam.plugin.annotation_layers import AnnotationLayers
from slidecam.plugin.areas import classes_seen
from slidecam.plugin.colour_bar import scale_shown
from slidecam.plugin.compat import scale_bar
from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.overlays import CLASS, HEAT, PROBABILITY
from slidecam.plugin.reading import get_reader
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.viewer_state import ViewerState
from slidecam.plugin.writing import write_view
from slidecam.runs import RunRecord

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from slidecam.pixels import RGB
    from slidecam.plugin.open_run import ShownRun


@pytest.fixture
def state(viewer: ViewerModel, small_slide: Path, own_run: ShownRun) -> ViewerState:
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    made = ViewerState(viewer)
    made.show(own_run)
    return made


def color_of(run: ShownRun, name: str) -> RGB:
    return run.table.class_colors[run.table.class_names.index(name)]


def test_a_probabilitys_colours_go_from_the_threshold_to_its_class(state: ViewerState) -> None:
    assert scale_shown(state) is None, "the colours of classes stand in the legend"
    state.show_class(PROBABILITY, "B")
    state.set_threshold(0.4)
    scale = scale_shown(state)
    assert scale is not None
    assert (scale.label, scale.ticks) == ("probability of B", ("0.4", "0.7", "1"))
    assert state.run is not None
    assert tuple(scale.strip()[0, -1].tolist()) == color_of(state.run, "B")
    assert (scale.strip()[0, 0] == 250).all()


def test_heat_says_by_which_method_for_which_class_and_what_it_counts(state: ViewerState) -> None:
    assert state.run is not None
    state.show_class(HEAT, "C", state.run.methods[0])
    scale = scale_shown(state)
    assert scale is not None
    assert scale.label.endswith(" for C, share of the slide's scale")
    assert (scale.signed, scale.ticks) == (True, ("-1", "0", "1")), "CAM speaks against, too"
    state.show_class(CLASS, "C")
    assert scale_shown(state) is None


def test_a_figure_has_the_colours_that_are_seen(state: ViewerState, tmp_path: Path) -> None:
    canvas = np.full((400, 300, 3), 200, np.uint8)
    state.show_class(PROBABILITY, "B")
    scale = scale_shown(state)
    assert scale is not None
    middle = scale.strip()[0, 128]
    found = []
    for name in ("seen", "hidden"):
        write_view(tmp_path / f"{name}.png", canvas, state)
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))[:, :, :3].astype(int)
        found.append((np.abs(pixels - middle).max(axis=2) <= 2).sum())
        state.show_class(CLASS, "B")
    assert found[0] > 10 * (found[1] + 1)


def test_a_volumes_heat_has_a_bar_while_it_is_seen(viewer: ViewerModel, volume_run: Path) -> None:
    reader = get_reader(str(volume_run))
    assert reader is not None
    for layer in reader(str(volume_run)):
        viewer.add_layer(Layer.create(*layer))
    state = ViewerState(viewer)
    state.take_volume(volume_run)
    (seen,) = [one for one in viewer.layers if one.metadata.get("kind") == HEAT and one.visible]
    scale = scale_shown(state)
    assert scale is not None
    method, name = RunRecord.read(volume_run).heatmaps[0].method, seen.metadata["class"]
    assert scale.label == f"{title_of(method)} for {name}, share of the volume's scale"
    assert scale.signed is method_for(method).signed
    seen.visible = False
    assert scale_shown(state) is None


def test_a_figure_says_what_the_areas_are_that_are_seen(state: ViewerState, tmp_path: Path) -> None:
    layers = AnnotationLayers(state)
    drawn = layers.draw("fat")
    drawn.add(np.array([[20.0, 20], [20, 90], [70, 90]]), shape_type="polygon")
    assert classes_seen(state.viewer.layers, state.chosen) == {"fat": layers.classes["fat"]}
    canvas, found = np.full((400, 300, 3), 200, np.uint8), []
    for name in ("seen", "hidden"):
        write_view(tmp_path / f"{name}.png", canvas, state)
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png"))[:, :, :3].astype(int)
        apart = np.abs(pixels - np.array(layers.classes["fat"])).max(axis=2)
        found.append(int((apart <= 2).sum()))
        drawn.visible = False
    assert found[0] > found[1] + 50


@pytest.mark.gui
def test_the_bar_is_seen_with_its_overlay_alone(
    make_napari_viewer_proxy: Any, small_slide: Path, own_run: ShownRun
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    dock.state.show(own_run)
    dock.tabs.setCurrentIndex(1)
    read, bar = dock.read, dock.read.bar
    assert bar.isHidden()
    read.layer.setCurrentIndex(1)
    assert not bar.isHidden()
    assert bar.label.text() == f"probability of {read.suspect.chosen}"
    read.threshold.setValue(50)
    assert [tick.text() for tick in bar.ticks] == ["0.5", "0.75", "1"]
    (seen,) = dock.state.overlays(PROBABILITY)
    # The eye in napari's own list of layers.
    seen.visible = False
    assert bar.isHidden()
    dock.release()
    seen.visible = True
    assert bar.isHidden(), "nobody listens any more"
    dock.deleteLater()


@pytest.mark.gui
def test_a_figure_has_one_scale_bar_and_the_canvas_keeps_its_own(
    make_napari_viewer: Any,
    small_slide: Path,
    own_run: ShownRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notices: list[str],
) -> None:
    viewer = make_napari_viewer()
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    dock.state.show(own_run)
    bar, drawn = scale_bar(viewer), []
    areas = dock.teach.layers.draw("B")
    areas.add(np.array([[20.0, 20], [20, 90], [70, 90]]), shape_type="polygon")
    areas.selected_data = {0}

    def screenshot(_viewer: object, **_how: object) -> Any:
        drawn.append((bar.visible, set(areas.selected_data)))
        return np.full((300, 400, 4), 200, np.uint8)

    monkeypatch.setattr(type(viewer), "screenshot", screenshot)
    dock.save.save("png", str(tmp_path / "view.png"))
    assert notices == [f"Written: {tmp_path / 'view.png'}"]
    assert drawn == [(False, set())], "neither a bar nor handles"
    assert (bar.visible, areas.selected_data) == (True, {0})
    dock.release()
    dock.deleteLater()
