"""Volumes in the viewer.

The right way round, heat on its voxels, and a profile that turns the slices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from napari.layers import Layer
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.hanging import HUNG, hang
from slidecam.plugin.job import Ended, NewTiles, RunJob
from slidecam.plugin.overlays import is_volume_run
from slidecam.plugin.panels import ProfilePanel, read_profile
from slidecam.plugin.reading import get_reader
from slidecam.plugin.run_request import RunRequest
from slidecam.plugin.slide import KEY, SlideFacts, slide_layer
from slidecam.plugin.tile_explanation import MAP
from slidecam.plugin.viewer_state import ViewerState
from slidecam.runs.spec import PredictSpec
from windows import until

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from slidecam.plugin.open_run import ShownRun

SPEC = PredictSpec(workers=1, batch=4, device="cpu", existing="resume")


def opened(path: Path) -> list[Layer]:
    reader = get_reader(str(path))
    assert reader is not None
    return [Layer.create(*layer) for layer in reader(str(path))]


def test_a_volume_opens_as_radiologists_hang_it_in_millimetres(
    volume: Path, notices: list[str]
) -> None:
    (layer,) = opened(volume)
    image: Any = nibabel.load(volume)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(("S", "P", "L")))
    np.testing.assert_allclose(
        np.asarray(layer.data), apply_orientation(image.get_fdata(), turn), rtol=1e-5
    )
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert tuple(layer.axis_labels) == ("S", "P", "L")
    assert layer.metadata[KEY].is_volume
    assert notices == [] or all("volume" in words for words in notices)


def test_in_3d_it_is_not_mirrored_until_it_is_taken_away(volume: Path, viewer: ViewerModel) -> None:
    before = viewer.scene.camera.orientation
    (layer,) = opened(volume)
    viewer.add_layer(layer)
    assert str(viewer.scene.camera.handedness) == "right", (
        "as napari has it: a mirror image of (S, P, L)"
    )
    hang(viewer)
    assert tuple(map(str, viewer.scene.camera.orientation)) == HUNG
    assert str(viewer.scene.camera.handedness) == "left"
    viewer.layers.remove(layer)
    assert viewer.scene.camera.orientation == before


def test_a_volumes_run_opens_with_heat_on_its_very_voxels(volume_run: Path) -> None:
    assert is_volume_run(volume_run)
    below, *heats = opened(volume_run)
    assert [heat.metadata["class"] for heat in heats] == list(
        read_profile(volume_run).table.class_names
    )
    assert sum(heat.visible for heat in heats) == 1
    for heat in heats:
        assert heat.data.shape == below.data.shape
        np.testing.assert_allclose(heat.extent.world, below.extent.world)


def test_a_volume_is_run_from_the_viewer_and_recognised_afterwards(
    volume: Path, slice_bundle: Path, tmp_path: Path, viewer: ViewerModel
) -> None:
    viewer.add_layer(opened(volume)[0])
    state = ViewerState(viewer)
    shown: list[Any] = []
    state.volume_shown.connect(shown.append)
    updates = list(RunJob(RunRequest(str(volume), slice_bundle, tmp_path / "mine", SPEC)).updates())
    tiles = [update for update in updates if isinstance(update, NewTiles)]
    assert tiles[-1].done == tiles[-1].total
    ended = updates[-1]
    assert isinstance(ended, Ended)
    state.ended(ended)
    assert shown == [ended.volume]
    names = [layer.name for layer in viewer.layers]
    again = ViewerState(viewer)
    again.recognise(tmp_path / "mine")
    assert again.volume == ended.volume
    assert [layer.name for layer in viewer.layers] == names


@pytest.mark.gui
def test_a_click_into_the_profile_turns_to_the_slice(
    make_napari_viewer: Any, volume_run: Path
) -> None:
    viewer = make_napari_viewer()
    for layer in opened(volume_run):
        viewer.add_layer(layer)
    profile = read_profile(volume_run)
    panel = ProfilePanel(viewer, profile)
    panel.resize(500, 260)
    last = len(profile.table) - 1
    assert [
        panel.plot.slice_at(panel.plot.place_of(number, 0).x()) for number in (0, last // 2, last)
    ] == [
        0,
        last // 2,
        last,
    ]
    # A volume of finer slices lies open as well, so that the viewer's steps are no slices of this
    # one.
    viewer.add_image(np.zeros((40, 8, 8)), scale=(0.5, 1, 1), translate=(-20, 0, 0))
    panel.plot.turn(panel.plot.place_of(2, 0.5).x())
    assert viewer.dims.point[profile.axis] == pytest.approx(profile.table.positions[2], abs=0.25)
    assert panel.plot.shown == 2
    assert panel.grab().toImage().width() == 500
    for name in (*profile.table.class_names, profile.table.class_names[0]):
        panel.heat.setCurrentIndex(panel.heat.findText(name))
        heats = [one for one in viewer.layers if one.metadata.get("volume run")]
        assert [one.metadata["class"] for one in heats if one.visible] == [name]
    panel.release()
    panel.deleteLater()


@pytest.fixture
def series(tmp_path: Path, head: Any) -> Path:
    """Return a 4-D file of three volumes, the second one twice as bright as the first."""
    path = tmp_path / "series.nii.gz"
    voxels = np.stack([head, 2 * head, head[::-1]], axis=-1).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-2.0, 2.0, 3.0, 1.0])), path)
    return path


def brightest(layer: Any) -> float:
    return float(np.asarray(layer.data).max())


@pytest.mark.gui
def test_another_volume_of_a_file_is_shown_classified_and_known_again(
    make_napari_viewer: Any,
    series: Path,
    slice_bundle: Path,
    tmp_path: Path,
    notices: list[str],
) -> None:
    viewer = make_napari_viewer()
    for layer in opened(series):
        viewer.add_layer(layer)
    assert any("holds 3 volumes" in words for words in notices)
    dock = PredictAndExplain(viewer)
    tab = dock.classify
    tab.out.setText(str(tmp_path / "out"))
    tab.bundle.setCurrentText(str(slice_bundle))
    assert [tab.picture.itemText(row) for row in range(tab.picture.count())] == ["0", "1", "2"]
    assert (tab.picture_of.text(), tab.picture.currentText()) == ("Volume", "0")
    first = brightest(volume_in(viewer))
    assert "--volume" not in tab.command.text()
    tab.picture.setCurrentIndex(1)
    tab.picture.activated.emit(1)
    assert brightest(volume_in(viewer)) == 2 * first
    assert "volume 1 of 3" in tab.slide.text()
    assert "--volume 1" in tab.command.text()
    tab.run.click()
    until(lambda: tab.job is None)
    folder = dock.state.volume
    assert folder is not None
    tab.picture.activated.emit(0)
    assert dock.state.volume is None, "that run is of the other volume"
    assert not [one for one in viewer.layers if one.metadata.get("volume run")]
    tab.picture.activated.emit(1)
    assert dock.state.volume == folder
    tab.picture.activated.emit(0)
    for layer in opened(folder):
        viewer.add_layer(layer)
    assert brightest(volume_in(viewer)) == 2 * first, "a result is opened with its own volume"
    dock.release()
    assert dock.profile is not None
    dock.profile.deleteLater()
    dock.deleteLater()


def volume_in(viewer: Any) -> Any:
    (layer,) = [one for one in viewer.layers if isinstance(one.metadata.get(KEY), SlideFacts)]
    return layer


@pytest.mark.gui
def test_the_slice_that_is_seen_is_explained_and_each_map_takes_the_others_place(
    make_napari_viewer: Any, volume_run: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    for layer in opened(volume_run):
        viewer.add_layer(layer)
    assert dock.profile is not None
    plot, box = dock.profile.plot, dock.read.close_up
    plot.turn(plot.place_of(5, 0.5).x())
    assert (box.button.text(), box.area.isHidden()) == ("Explain this slice", True)
    for action in box.methods.actions():
        action.setChecked(action.data() == "usual")
    box.button.click()
    until(lambda: dock.explanation is not None and box.worker is None)
    assert dock.explanation is not None
    assert "slice 5" in dock.explanation.title.text()
    assert box.status.text() == ""
    for place in (1, 2, 1):
        dock.explanation.row.itemAt(place).widget().pressed.emit()
    (laid,) = [one for one in viewer.layers if one.metadata.get("kind") == MAP]
    assert laid.data.shape[0] == 1
    assert laid.translate[0] == pytest.approx(plot.profile.table.positions[5])
    dock.release()
    for panel in (dock.explanation, dock.profile, dock):
        panel.deleteLater()


@pytest.mark.gui
def test_a_drawn_area_is_explained_tile_by_tile(
    make_napari_viewer: Any, small_slide: Path, own_run: ShownRun, notices: list[str]
) -> None:
    viewer = make_napari_viewer(show=True)
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock.state.show(own_run)
    box = dock.read.close_up
    box.area.click()
    assert "No shapes layer is selected" in notices[-1]
    layer = dock.teach.layers.draw("B")
    for x, y, width, height in own_run.table.boxes[:2].tolist():
        corners = [[y, x], [y, x + width], [y + height, x + width], [y + height, x]]
        layer.add(np.array(corners, np.float64), shape_type="polygon")
    layer.selected_data = set()
    for action in box.methods.actions():
        action.setChecked(action.data() == "usual")
    box.area.click()
    until(lambda: dock.explanation is not None and box.worker is None)
    assert dock.explanation is not None
    assert "these 2 tiles" in dock.explanation.title.text()
    assert dock.explanation.row.count() == 2 * 3
    dock.release()
    for panel in (dock.explanation, dock):
        panel.deleteLater()
