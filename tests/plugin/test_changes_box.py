"""Old and new beside each other: changed tiles on the slide and in a list, and warnings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import Qt

from slidecam.geometry import Size
from slidecam.plugin.cards import comparison_table, moved_unlabelled
from slidecam.plugin.changes_box import BEFORE, CHANGED
from slidecam.plugin.dock import TEACH, PredictAndExplain
from slidecam.plugin.overlays import CLASS
from slidecam.plugin.slide import slide_layer
from slidecam.runs import compare_runs
from windows import Hand

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.plugin.open_run import ShownRun


def of_classes(counts: tuple[int, int, int]) -> NDArray[np.float32]:
    """Return probabilities of tiles, so many of each class."""
    winners = np.repeat(np.arange(3), counts)
    return np.where(winners[:, None] == np.arange(3), 0.8, 0.1).astype(np.float32)


def test_a_class_that_nobody_labelled_and_that_moved_by_a_third_is_warned_of(
    made_run: Any, grid_boxes: Any
) -> None:
    size = Size(400, 300)
    boxes = grid_boxes(size, 100, 100)
    before, after = (
        made_run(boxes, of_classes(counts), size=size, step=100)
        for counts in ((6, 3, 3), (6, 1, 5))
    )
    comparison = compare_runs(before, after)
    fell = "B fell from 25.0 to 8.3 % of the tissue, and nobody labelled it."
    rose = "C rose from 25.0 to 41.7 % of the tissue, and nobody labelled it."
    assert list(moved_unlabelled(comparison, ())) == [fell, rose]
    assert list(moved_unlabelled(comparison, {"C"})) == [fell]
    assert fell in comparison_table(comparison, {"C"})
    assert "Look" not in comparison_table(comparison, {"B", "C"})


def seen(viewer: Any, kind: str) -> bool:
    (layer,) = [one for one in viewer.layers if one.metadata.get("kind") == kind]
    return bool(layer.visible)


@pytest.mark.gui
def test_changed_tiles_are_walked_and_old_and_new_are_flipped_by_keys(
    make_napari_viewer: Any, small_slide: Path, own_run: ShownRun, write_slide: Any, tmp_path: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    slide = viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    turned = np.roll(own_run.table.probabilities, 1, axis=1)
    new = own_run.with_table(replace(own_run.table, probabilities=turned))
    dock.state.show(new)
    box, comparison = dock.teach.changes, compare_runs(own_run.stored, new.stored)
    assert box.isHidden()
    box.show_changes(comparison, own_run)
    assert not box.isHidden()
    assert box.list.count() == len(comparison.changed) == len(new.table)
    (layer,) = [one for one in viewer.layers if one.metadata.get("kind") == CHANGED]
    np.testing.assert_array_equal(layer.data[new.cells.places], new.table.winners + 1)
    dock.tabs.setCurrentIndex(TEACH)
    viewer.layers.selection.active = slide
    hand = Hand(viewer)
    walked = []
    for key in (Qt.Key.Key_N, Qt.Key.Key_N, Qt.Key.Key_P):
        hand.press(key)
        walked.append(dock.state.selected)
    first, second = (tile.row for tile in comparison.changed[:2])
    assert walked == [first, second, first]
    hand.press(Qt.Key.Key_H)
    assert [seen(viewer, kind) for kind in (BEFORE, CHANGED, CLASS)] == [True, False, False]
    (old,) = [one for one in viewer.layers if one.metadata.get("kind") == BEFORE]
    np.testing.assert_array_equal(old.data[own_run.cells.places], own_run.table.winners + 1)
    other = viewer.add_layer(
        Layer.create(*slide_layer(write_slide(tmp_path / "other.tif", 200, 100))[0])
    )
    assert [one for one in viewer.layers if one.visible] == [other]
    viewer.layers.selection.active = slide
    box.show_changes(comparison, own_run)
    assert box.flip.isChecked()
    hand.press(Qt.Key.Key_H)
    assert [seen(viewer, kind) for kind in (BEFORE, CHANGED, CLASS)] == [False, True, True]
    box.take_layers_away()
    assert not [one for one in viewer.layers if one.metadata.get("kind") in {BEFORE, CHANGED}]
    dock.release()
    dock.deleteLater()
