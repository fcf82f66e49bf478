"""In a real window: the dock from beginning to end, pixels on the canvas, nothing left behind."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from napari.layers import Layer
from napari.layers._source import layer_source
from qtpy.QtCore import QCoreApplication, QEvent

from slidecam.exchange.ome_zarr import RasterSpec, write_heatmap_ome_zarr
from slidecam.geometry import Size, Spacing
from slidecam.plugin import tile_explanation
from slidecam.plugin.compat import camera
from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.hanging import is_letters
from slidecam.plugin.opening import read_slide
from slidecam.plugin.overlays import CLASS, heat_layers
from slidecam.plugin.reading import get_reader
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.tile_explanation import MAP
from slidecam.store import RunStore
from stopping import gate_before
from windows import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.plugin.open_run import ShownRun

pytestmark = [pytest.mark.gui]


def canvas(viewer: Any) -> NDArray[np.uint8]:
    return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[:, :, :3]


def planted(tmp_path: Path) -> tuple[Path, Path]:
    """Write a dark slide with one green square, and a heatmap that is 1 on exactly that square."""
    pixels = np.full((512, 768, 3), 20, np.uint8)
    pixels[192:256, 320:384] = (0, 255, 0)
    slide = tmp_path / "planted.tif"
    with tifffile.TiffWriter(slide) as writer:
        for step in (1, 2):
            writer.write(
                np.ascontiguousarray(pixels[::step, ::step]),
                tile=(128, 128),
                photometric="rgb",
                compression="deflate",
                resolution=(20_000 / step, 20_000 / step),
                resolutionunit="CENTIMETER",
                subfiletype=int(step > 1),
            )
    heat = np.zeros((1, 64, 96), np.float32)
    heat[0, 24:32, 40:48] = 1
    spec = RasterSpec("planted", ("tumour",), ((200, 0, 0),), Size(96, 64), 8, Spacing(0.5, 0.5))
    write_heatmap_ome_zarr(tmp_path / "heatmap.ome.zarr", [heat], spec)
    return slide, tmp_path / "heatmap.ome.zarr"


def test_the_heat_lies_on_the_planted_object_to_the_pixel_at_three_zooms(
    make_napari_viewer: Any, tmp_path: Path
) -> None:
    slide, heatmap = planted(tmp_path)
    viewer = make_napari_viewer(show=True)
    viewer.add_layer(Layer.create(*slide_layer(slide)[0]))
    (data, meta, kind) = heat_layers(heatmap)[0]
    hard = {
        "interpolation2d": "nearest",
        "colormap": "red",
        "contrast_limits": (0.49, 0.51),
        "opacity": 1.0,
    }
    heat = Layer.create(data, {**meta, **hard, "blending": "opaque"}, kind)
    viewer.add_layer(heat)
    for zoom in (2.0, 5.3, 17.0):
        camera(viewer).center = (0.0, 112.0, 176.0)
        camera(viewer).zoom = zoom
        heat.visible = False
        green = canvas(viewer)[:, :, 1] > 128
        heat.visible = True
        red = canvas(viewer)[:, :, 0] > 128
        assert 0 < green.sum() < green.size
        assert np.array_equal(green, red), f"{(green ^ red).sum()} pixels differ at zoom {zoom}"


def test_the_dock_runs_stops_goes_on_reads_and_explains(
    make_napari_viewer_proxy: Any,
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tile_explanation, "METHODS", ("gradcam++", "lime"))
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    classify, read = dock.classify, dock.read
    assert not classify.run.isEnabled(), "no model is chosen yet"
    classify.out.setText(str(tmp_path))
    classify.bundle.setCurrentText(str(tiny_bundle))
    assert "tiny" in classify.about.text()
    assert classify.run.isEnabled()
    assert "predict" in classify.command.text()
    classify.options["overlap"].widget.setValue(0.5)
    assert "--overlap 0.5" in classify.command.text()
    classify.region.setCurrentIndex(1)
    assert classify.command.text() == "", "there is none for a view"
    classify.region.setCurrentIndex(0)
    classify.options["overlap"].widget.setValue(0)
    with gate_before(RunStore, "commit", 2) as gate:
        classify.run.click()
        until(gate.is_reached)
        classify.cancel.click()
        gate.open()
        until(lambda: classify.job is None)
    assert "Stopped" in classify.status.text()
    classify.run.click()
    until(lambda: classify.job is None)
    run = dock.state.run
    assert run is not None
    assert run.is_finished
    assert "Done" in classify.status.text()
    assert read.legend.rowCount() == 3
    read.threshold.setValue(40)
    assert (dock.state.overlays(CLASS)[0].data > 0).sum() == (
        run.table.probabilities.max(axis=1) >= 0.4
    ).sum()
    read.next.click()
    assert dock.state.selected == dock.state.suspicious(read.suspect.currentText())[0]
    assert f"tile {dock.state.selected}" in read.card.text()
    read.close_up.button.click()
    until(lambda: dock.explanation is not None and read.close_up.worker is None)
    assert dock.explanation is not None
    assert dock.explanation.row.count() > 2
    for kind in ("csv", "geojson", "zarr", "png"):
        dock.save.save(kind, str(tmp_path / f"saved.{kind}"))
        assert (tmp_path / f"saved.{kind}").exists()
    assert [words for words in notices if "Written" not in words] == []
    dock.release()
    assert not viewer.mouse_move_callbacks


def test_a_wrong_wish_is_refused_with_its_remedy(
    make_napari_viewer_proxy: Any,
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    notices: list[str],
) -> None:
    viewer = make_napari_viewer_proxy()
    dock = PredictAndExplain(viewer)
    dock.classify.bundle.setCurrentText(str(tmp_path))
    assert "Not usable" in dock.classify.about.text()
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock.classify.bundle.setCurrentText(str(tiny_bundle))
    dock.classify.region.setCurrentText("Selected shapes")
    dock.classify.start()
    assert "No shapes layer is selected. Draw areas" in notices[-1]
    dock.release()
    dock.deleteLater()


def test_what_keeps_a_run_from_going_on_stands_on_the_tab(
    make_napari_viewer_proxy: Any,
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    notices: list[str],
) -> None:
    viewer = make_napari_viewer_proxy()
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    tab, bundle = dock.classify, shutil.copytree(tiny_bundle, tmp_path / "bundle")
    tab.bundle.setCurrentText(str(bundle))
    tab.out.setText(" ")
    tab.out.editingFinished.emit()
    assert tab.out.text().endswith("slidecam-results"), (
        "nothing is written to wherever napari was started"
    )
    tab.out.setText(str(tmp_path / "out"))
    shutil.rmtree(bundle)
    tab.run.click()
    tab.start()
    assert "A run is going on" in notices[-1]
    assert not tab.options["mpp"].widget.isEnabled()
    until(lambda: tab.job is None)
    assert "is not a folder" in tab.status.text()
    assert tab.status.text() == notices[-1]
    assert tab.options["mpp"].widget.isEnabled()
    assert tab.run.isEnabled()
    viewer.layers.clear()
    assert not tab.run.isEnabled(), "there is no slide any more"
    dock.release()
    dock.deleteLater()


def test_an_error_that_nobody_foresaw_ends_the_run_in_words_and_the_next_one_can_begin(
    make_napari_viewer_proxy: Any,
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_given: object) -> Any:
        raise TypeError("unsupported operand")

    viewer = make_napari_viewer_proxy()
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    tab = dock.classify
    tab.bundle.setCurrentText(str(tiny_bundle))
    tab.out.setText(str(tmp_path / "out"))
    with monkeypatch.context() as patched:
        patched.setattr("slidecam.plugin.job.read_shown", broken)
        tab.run.click()
        until(lambda: tab.job is None)
    assert tab.status.text().startswith("TypeError: unsupported operand. Please report it")
    assert notices == [tab.status.text()]
    assert tab.run.isEnabled()
    tab.run.click()
    until(lambda: tab.job is None)
    assert tab.status.text().startswith("Done")
    dock.release()
    dock.deleteLater()


def test_the_dock_names_the_slide_that_is_chosen_in_the_list_of_layers(
    make_napari_viewer_proxy: Any,
    small_slide: Path,
    tiny_bundle: Path,
    write_slide: Any,
    tmp_path: Path,
) -> None:
    viewer = make_napari_viewer_proxy()
    first, _other = (
        viewer.add_layer(Layer.create(*slide_layer(path)[0]))
        for path in (small_slide, write_slide(tmp_path / "other.tif", 200, 100))
    )
    dock = PredictAndExplain(viewer)
    assert dock.classify.slide.text().startswith("other (200 x 100")
    dock.classify.out.setText(str(tmp_path / "out"))
    dock.classify.bundle.setCurrentText(str(tiny_bundle))
    dock.classify.status.setText("This slide was classified before.")
    viewer.layers.selection.active = first
    assert dock.classify.slide.text().startswith("small (400 x 300")
    assert dock.classify.status.text() == "", "it was said of the other slide"
    dock.release()
    dock.deleteLater()


def test_a_run_is_saved_whatever_became_of_its_layers(
    make_napari_viewer_proxy: Any,
    small_slide: Path,
    own_run: ShownRun,
    tmp_path: Path,
    notices: list[str],
) -> None:
    viewer = make_napari_viewer_proxy()
    slide = viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    dock.state.show(own_run)
    for layer in [one for one in viewer.layers if one != slide]:
        viewer.layers.remove(layer)
    for kind in ("csv", "geojson", "zarr"):
        dock.save.save(kind, str(tmp_path / f"saved.{kind}"))
        assert (tmp_path / f"saved.{kind}").exists()
    dock.save.save("csv", str(tmp_path))
    assert notices[-1].startswith("The file cannot be written: ")
    assert f" ({tmp_path}). Choose" in notices[-1]
    dock.release()
    dock.deleteLater()


def test_a_run_that_is_opened_beside_its_own_dock_is_not_laid_twice(
    make_napari_viewer_proxy: Any,
    own_run: ShownRun,
    tiny_bundle: Path,
    volume_run: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer = make_napari_viewer_proxy()
    dock = PredictAndExplain(viewer)
    dock.classify.bundle.setCurrentText(str(tiny_bundle))
    for folder in (own_run.folder, volume_run):
        viewer.layers.clear()
        monkeypatch.setattr(
            dock.classify, "out_folder", lambda _region=None, folder=folder: folder.parent
        )
        reader = get_reader(str(folder))
        assert reader is not None
        with layer_source(path=str(folder)):
            made = [Layer.create(*layer) for layer in reader(str(folder))]
        for layer in made:
            viewer.add_layer(layer)
        assert [one for one in viewer.layers if not is_letters(one)] == made
    assert dock.state.volume == volume_run
    assert dock.profile is not None
    dock.release()
    dock.profile.deleteLater()
    dock.deleteLater()


def test_a_closed_dock_lets_go_of_the_viewer(make_napari_viewer: Any, own_run: ShownRun) -> None:
    viewer = make_napari_viewer()
    its_own = list(viewer.mouse_drag_callbacks)
    dock = PredictAndExplain(viewer)
    placed = viewer.window.add_dock_widget(dock)
    assert len(viewer.mouse_move_callbacks) == 1
    # What the dock's own x does: napari takes the widget out, and destroys it not.
    viewer.window.remove_dock_widget(placed)
    assert not viewer.mouse_move_callbacks
    dock.deleteLater()
    # What Qt's own loop would do next.
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    assert list(viewer.mouse_drag_callbacks) == its_own
    reader = get_reader(str(own_run.folder))
    assert reader is not None
    for layer in reader(str(own_run.folder)):
        viewer.add_layer(Layer.create(*layer))


def test_a_panel_that_the_user_closed_comes_again_when_there_is_more_to_show(
    make_napari_viewer_proxy: Any, own_run: ShownRun, volume_run: Path
) -> None:
    viewer = make_napari_viewer_proxy()
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    tile = np.zeros((8, 8, 3), np.uint8)
    found = tile_explanation.TileExplanation((0, 0, 8, 8), "A", 0.5, tile, (), own_run.folder)
    for _twice in range(2):
        dock.show_explanations((found,))
        dock.show_profile(volume_run)
        for panel in (dock.explanation, dock.profile):
            assert panel is not None
            assert panel.parentWidget() is not None
            viewer.window.remove_dock_widget(panel)
            assert panel.parentWidget() is None
    assert "No result" in dock.read.about.text()
    dock.state.show_volume(volume_run)
    for label in (dock.read.about, dock.teach.about):
        assert "A volume's result is shown" in label.text()
    assert str(volume_run) in dock.save.about.text()
    assert dock.explanation is not None
    assert dock.profile is not None
    dock.release()
    dock.explanation.deleteLater()
    dock.profile.deleteLater()
    dock.deleteLater()


def test_a_run_that_lies_open_is_taken_by_the_dock(
    make_napari_viewer_proxy: Any, own_run: ShownRun, notices: list[str]
) -> None:
    viewer = make_napari_viewer_proxy()
    reader = get_reader(str(own_run.folder))
    assert reader is not None
    for layer in reader(str(own_run.folder)):
        viewer.add_layer(Layer.create(*layer))
    dock = PredictAndExplain(viewer)
    assert dock.state.run is not None
    assert dock.read.legend.rowCount() == 3
    assert notices == []
    dock.release()
    dock.deleteLater()


def test_the_pictures_of_a_file_are_offered_and_the_shown_one_is_classified_and_known_again(
    make_napari_viewer: Any,
    tmp_path: Path,
    tiny_bundle: Path,
    write_two_scans: Callable[[Path], Path],
    notices: list[str],
) -> None:
    viewer = make_napari_viewer()
    (layer,) = read_slide(write_two_scans(tmp_path / "two.ome.tif"))
    viewer.add_layer(Layer.create(*layer))
    assert any("Image 3" in words and "--image" in words for words in notices)
    dock = PredictAndExplain(viewer)
    tab = dock.classify
    tab.bundle.setCurrentText(str(tiny_bundle))
    tab.out.setText(str(tmp_path / "out"))
    assert [tab.picture.itemText(row) for row in range(3)] == [
        '1 "macro image" (90x70 px)',
        '2 "left" (430x310 px)',
        '3 "right" (610x370 px)',
    ]
    assert tab.picture.currentIndex() == 2
    assert "610 x 370" in tab.slide.text()
    tab.picture.setCurrentIndex(1)
    tab.picture.activated.emit(1)
    assert "430 x 310" in tab.slide.text()
    assert "--image 2" in tab.command.text()
    assert len(viewer.layers) == 1
    tab.run.click()
    until(lambda: tab.job is None)
    (written,) = (tmp_path / "out").rglob("run.json")
    record = json.loads(written.read_text(encoding="utf-8"))
    assert record["input"]["size_px"] == [430, 310]
    assert dock.state.run is not None
    tab.picture.activated.emit(2)
    assert dock.state.run is None, "that run is of the other picture"
    tab.picture.activated.emit(1)
    assert dock.state.run is not None
    dock.release()
    dock.deleteLater()


def test_explaining_shows_maps_as_they_come_and_can_be_left_off(
    make_napari_viewer_proxy: Any, small_slide: Path, own_run: ShownRun
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    dock.state.show(own_run)
    dock.state.select(2)
    box = dock.read.close_up
    box.of_class.setCurrentIndex(box.of_class.findText("B"))
    for action in box.methods.actions():
        action.setChecked(action.data() in {"usual", "lime"})
    box.button.click()
    until(lambda: dock.explanation is not None and dock.explanation.row.count() > 1)
    assert box.worker is not None, "LIME goes on"
    assert dock.explanation is not None
    assert "Why B?" in dock.explanation.title.text()
    assert box.button.text() == "Stop explaining"
    box.button.click()
    until(lambda: box.worker is None)
    assert box.status.text() == "Stopped: maps that were done stay."
    assert box.button.text() == "Explain this tile"
    shown = dock.explanation.row.count()
    for _twice in range(2):
        dock.explanation.row.itemAt(1).widget().pressed.emit()
    maps = [one for one in viewer.layers if one.metadata.get("kind") == MAP]
    assert (len(maps), shown) == (1, dock.explanation.row.count()), "each takes the other's place"
    dock.release()
    dock.explanation.deleteLater()
    dock.deleteLater()
