"""The first minute: a slide is opened without a question, and found again the next day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers._source import layer_source

from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.remembered import MOST_RECENT, Remembered
from windows import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.gui]


def test_a_slide_is_opened_from_the_dock_classified_read_and_remembered(
    make_napari_viewer: Any,
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer = make_napari_viewer()
    dock = PredictAndExplain(viewer)
    monkeypatch.setattr(
        "slidecam.plugin.header.QFileDialog.getOpenFileName",
        lambda *_given: (str(small_slide), ""),
    )
    dock.header.slide.click()
    assert [layer.name for layer in viewer.layers] == ["small"]
    assert dock.classify.rest.isHidden(), "three fields are enough"
    dock.classify.more.click()
    assert not dock.classify.rest.isHidden()
    dock.classify.out.setText(str(tmp_path))
    dock.classify.bundle.setCurrentText(str(tiny_bundle))
    dock.classify.run.click()
    until(lambda: dock.classify.job is None)
    assert dock.tabs.tabText(dock.tabs.currentIndex()) == "2 Read"
    dock.release()
    dock.deleteLater()
    again = PredictAndExplain(viewer)
    assert again.classify.bundle.currentText() == str(tiny_bundle)
    assert again.classify.out.text() == str(tmp_path)
    again.header.fill_menu()
    titles = [action.text() for action in again.header.menu.actions()]
    assert titles[0] == str(small_slide)
    assert "Synthetic slide" in titles
    assert "Synthetic head (MRI)" in titles
    again.release()
    again.deleteLater()


def test_a_slide_of_another_reader_is_said_to_be_and_opened_again(
    make_napari_viewer: Any, small_slide: Path
) -> None:
    viewer = make_napari_viewer()
    dock = PredictAndExplain(viewer)
    assert dock.header.again.isHidden()
    with layer_source(path=str(small_slide)):
        viewer.add_image(np.zeros((300, 400, 3), np.uint8), rgb=True, name="small")
    assert not dock.header.again.isHidden()
    assert "small was opened by another reader" in dock.header.another.text()
    dock.header.again.click()
    (layer,) = viewer.layers
    assert layer.multiscale
    assert dock.header.again.isHidden()
    dock.release()
    dock.deleteLater()


def test_a_folder_of_several_models_lists_them(make_napari_viewer: Any, tiny_bundle: Path) -> None:
    viewer = make_napari_viewer()
    dock = PredictAndExplain(viewer)
    tab = dock.classify
    tab.bundle.setCurrentText(str(tiny_bundle.parent))
    assert "choose one above" in tab.about.text()
    assert tiny_bundle.name in tab.about.text()
    listed = [tab.bundle.itemText(number) for number in range(tab.bundle.count())]
    assert str(tiny_bundle) in listed
    assert not tab.run.isEnabled()
    tab.bundle.setCurrentText(str(tiny_bundle))
    assert "tiny" in tab.about.text()
    dock.release()
    dock.deleteLater()


def test_what_was_opened_is_kept_newest_first_and_what_is_gone_is_not_offered(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / f"{number}.tif" for number in range(MOST_RECENT + 2)]
    for path in paths:
        path.touch()
        Remembered().open(str(path))
    Remembered().open(str(paths[4]))
    paths[5].unlink()
    kept = Remembered().recent()
    assert kept[0] == str(paths[4])
    assert len(kept) == MOST_RECENT - 1
    assert str(paths[5]) not in kept
    assert Remembered().folder("folder") == str(tmp_path)
    assert Remembered().folder("nothing") == ""
