"""What is of one slide is seen with it alone."""

from __future__ import annotations

import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.layers import Layer
from qtpy.QtWidgets import QLabel, QListWidget

from slidecam.plugin.compat import show_scale_bar
from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.job import Began, Ended, RunJob
from slidecam.plugin.open_run import read_shown
from slidecam.plugin.ownership import owner_of
from slidecam.plugin.reading import get_reader
from slidecam.plugin.run_request import RunRequest
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.viewer_state import ViewerState
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari.components import ViewerModel

SPEC = PredictSpec(batch=4, workers=1, device="cpu", existing="resume")


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    path: Path = write_slide(tmp_path_factory.mktemp("alpha") / "alpha.tif", 400, 300)
    return path


@pytest.fixture(scope="module")
def beta(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    path: Path = write_slide(tmp_path_factory.mktemp("beta") / "beta.tif", 500, 320, seed=5)
    return path


@pytest.fixture(scope="module")
def alphas_run(tmp_path_factory: pytest.TempPathFactory, alpha: Path, tiny_bundle: Path) -> Path:
    out = tmp_path_factory.mktemp("alpha-run")
    for _event in predict(alpha, tiny_bundle, out, SPEC):
        pass
    return out / "alpha"


def added(viewer: Any, path: Path) -> list[Layer]:
    reader = get_reader(str(path))
    assert reader is not None
    return [viewer.add_layer(Layer.create(*layer)) for layer in reader(str(path))]


def words_of(dock: PredictAndExplain) -> str:
    """Return all that the dock's labels and lists say, hidden ones left out."""
    labels = [one.text() for one in dock.findChildren(QLabel) if not one.isHidden()]
    for box in dock.findChildren(QListWidget):
        labels += [box.item(number).text() for number in range(box.count())]
    return " ".join([*labels, dock.classify.progress.text()])


def seen(viewer: Any) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


@pytest.mark.gui
def test_nothing_of_a_slide_is_seen_with_another_and_all_of_it_comes_back(
    make_napari_viewer: Any,
    beta: Path,
    alphas_run: Path,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    typed = 0.25
    viewer = make_napari_viewer()
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    dock.classify.out.setText(str(tmp_path / "none"))
    dock.classify.bundle.setCurrentText(str(tiny_bundle))
    below, *_overlays = added(viewer, shutil.copytree(alphas_run, tmp_path / "alpha"))
    spacing: Any = dock.classify.options["mpp"].widget
    spacing.setValue(typed)
    assert "overrides the file's 0.5" in dock.classify.own.text()
    dock.teach.suggest.click()
    dock.state.select(3)
    dock.teach.layers.draw("B").add(
        np.array([[20.0, 20], [20, 90], [70, 90]]), shape_type="polygon"
    )
    viewer.layers.selection.active = below
    assert dock.teach.suggestions.count() > 0
    assert "tile 3" in dock.read.card.text()
    before, saw = words_of(dock), seen(viewer)
    (other,) = added(viewer, beta)
    assert seen(viewer) == ["beta"]
    assert "alpha" not in words_of(dock)
    assert spacing.value() == spacing.minimum()
    assert dock.classify.own.text().startswith("the file's: 0.5")
    assert dock.teach.suggestions.count() == 0
    assert (dock.state.run, dock.read.legend.rowCount()) == (None, 0)
    assert "tile" not in dock.read.card.text().replace("at a tile", "")
    assert not dock.save.buttons["csv"].isEnabled()
    viewer.layers.selection.active = below
    assert seen(viewer) == saw
    assert spacing.value() == typed
    assert "tile 3" in dock.read.card.text()
    assert dock.read.legend.rowCount() == 3
    below.name = "renamed"
    viewer.layers.selection.active = other
    assert seen(viewer) == ["beta"]
    viewer.layers.remove(below)
    for layer in [one for one in viewer.layers if owner_of(one) not in {"", owner_of(other)}]:
        viewer.layers.remove(layer)
    assert "alpha" not in words_of(dock)
    again, *_rest = added(viewer, tmp_path / "alpha")
    assert dock.state.run is not None
    assert "tile 3" not in dock.read.card.text(), "it was forgotten with its slide"
    assert other.visible is False
    assert again.visible
    assert before.count("alpha") > 0
    dock.release()
    dock.deleteLater()


@pytest.mark.gui
def test_a_volumes_profile_is_seen_with_its_volume_alone(
    make_napari_viewer: Any, volume_run: Path, alpha: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    volume, *_heats = added(viewer, volume_run)
    assert dock.profile is not None
    panel = dock.profile.parentWidget()
    assert panel.isVisible()
    (slide,) = added(viewer, alpha)
    assert not panel.isVisible()
    assert dock.state.volume is None
    viewer.layers.selection.active = volume
    assert panel.isVisible()
    viewer.layers.selection.active = slide
    viewer.layers.remove(volume)
    assert not panel.isVisible()
    dock.release()
    dock.profile.deleteLater()
    dock.deleteLater()


def test_a_run_that_ends_while_another_slide_is_looked_at_is_not_laid_over_it(
    viewer: ViewerModel, alpha: Path, beta: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    below = viewer.add_layer(Layer.create(*slide_layer(alpha)[0]))
    state = ViewerState(viewer)
    for update in RunJob(RunRequest(str(alpha), tiny_bundle, tmp_path, SPEC)).updates():
        if isinstance(update, Began):
            state.began(update)
            viewer.add_layer(Layer.create(*slide_layer(beta)[0]))
            state.follow()
        elif isinstance(update, Ended):
            state.ended(update)
    assert seen(viewer) == ["beta"]
    assert state.run is None
    viewer.layers.selection.active = below
    state.follow()
    assert seen(viewer) == ["alpha", "alpha: class"]
    assert state.run is not None
    assert state.run.is_finished


def test_a_layer_that_is_shown_by_hand_stays_and_one_that_was_hidden_stays_hidden(
    viewer: ViewerModel, alpha: Path, beta: Path
) -> None:
    first, second = (
        viewer.add_layer(Layer.create(*slide_layer(path)[0])) for path in (alpha, beta)
    )
    state = ViewerState(viewer)
    state.follow()
    assert seen(viewer) == ["beta"]
    first.visible = True
    viewer.layers.selection.active = None
    state.follow()
    assert seen(viewer) == ["alpha", "beta"]
    second.visible = False
    viewer.layers.selection.active = first
    state.follow()
    viewer.layers.selection.active = second
    state.follow()
    assert seen(viewer) == []


def test_a_run_that_is_opened_twice_is_laid_once(
    viewer: ViewerModel,
    alphas_run: Path,
    volume_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    for path in (alphas_run, alphas_run / "heatmap.ome.zarr", volume_run):
        viewer.layers.clear()
        added(viewer, path)
        names = sorted(layer.name for layer in viewer.layers)
        added(viewer, path)
        assert sorted(layer.name for layer in viewer.layers) == names
    (heat,) = volume_run.glob("heatmap.ome.zarr")
    before = len(viewer.layers)
    added(viewer, heat)
    assert len(viewer.layers) == before, "neither the volume nor its heat is added once more"


def test_a_result_of_another_model_takes_the_place_of_the_one_before(
    viewer: ViewerModel, alpha: Path, alphas_run: Path, tmp_path: Path
) -> None:
    viewer.add_layer(Layer.create(*slide_layer(alpha)[0]))
    state = ViewerState(viewer)
    first = read_shown(alphas_run)
    second = read_shown(shutil.copytree(alphas_run, tmp_path / "alpha"))
    state.show(first)
    state.select(2)
    state.show(second)
    assert state.run is second
    folders = {getattr(one.metadata["slidecam"], "folder", None) for one in viewer.layers[1:]}
    assert folders == {second.folder}


def test_a_scale_bar_is_of_the_chosen_slides_unit(
    viewer: ViewerModel, alpha: Path, volume: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare.tif"
    tifffile.imwrite(bare, np.full((64, 96, 3), 200, np.uint8), photometric="rgb", tile=(32, 32))
    layers = [added(viewer, path)[0] for path in (alpha, volume, bare)]
    state = ViewerState(viewer)
    units = []
    for layer in layers:
        viewer.layers.selection.active = layer
        units.append(state.unit)
    assert units == ["um", "mm", None]
    before = SimpleNamespace(scale_bar=SimpleNamespace(visible=False, unit=None))
    show_scale_bar(before, "mm")
    assert (before.scale_bar.visible, before.scale_bar.unit) == (True, "mm"), "napari until 0.8"


def test_another_choice_within_a_slide_draws_nothing_of_it_anew(
    viewer: ViewerModel, alphas_run: Path
) -> None:
    added(viewer, alphas_run)
    state = ViewerState(viewer)
    drawn: list[str] = []
    for layer in viewer.layers:
        layer.events.visible.connect(lambda _event, name=layer.name: drawn.append(name))
    for layer in viewer.layers:
        viewer.layers.selection.active = layer
        state.follow()
    assert (len(viewer.layers) > 1, drawn) == (True, [])
