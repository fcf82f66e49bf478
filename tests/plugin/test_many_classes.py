"""A model of 1,000 classes: what is looked at is made, listed and named, and no more."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from slidecam.classes import ClassSet
from slidecam.plugin.cards import class_rows, classes_left, tile_card
from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.read_tab import MOST_LISTED
from slidecam.runs.tiles import TileTable

if TYPE_CHECKING:
    from slidecam.plugin.class_picker import ClassPicker
    from slidecam.plugin.open_run import ShownRun

MANY = 1000
COMMON, RARER = 701, 12


@pytest.fixture
def many(small_run: ShownRun) -> ShownRun:
    """Return a run of 1,000 classes: most tiles are called 701, two are called 12."""
    tiles = len(small_run.table)
    values = np.full((tiles, MANY), 1e-5, np.float32)
    values[:, COMMON] = 0.9
    values[:2, RARER] = 0.95
    names = tuple(f"class {number}" for number in range(MANY))
    classes = ClassSet(names, "softmax", ((9, 9, 9),) * MANY)
    table = TileTable(small_run.table.boxes, np.ones(tiles, np.uint8), values, classes)
    stored = replace(small_run.stored, tiles=table, logits=values)
    return replace(small_run, stored=stored, with_heatmaps=False)


def test_a_legend_names_the_classes_that_tiles_are_called_first(many: ShownRun) -> None:
    rows = class_rows(many, most=12)
    assert [row[0] for row in rows[:2]] == ["class 701", "class 12"]
    assert (len(rows), classes_left(many, 12)) == (12, "and 988 more, fewer tiles each")
    assert (len(class_rows(many)), classes_left(many, MANY)) == (MANY, "")
    assert tile_card(many, 0).count("class ") < 12


def typed(box: ClassPicker, words: str) -> str:
    QTest.keyClicks(box.lineEdit(), words)
    QTest.keyClick(box.lineEdit(), Qt.Key.Key_Return)
    return box.chosen


@pytest.mark.gui
def test_the_dock_shows_what_is_looked_at_of_1_000_classes(
    make_napari_viewer_proxy: Any, many: ShownRun
) -> None:
    viewer = make_napari_viewer_proxy(show=True)
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    dock.tabs.setCurrentIndex(1)
    dock.state.show(many)
    read = dock.read
    assert read.legend.rowCount() == MOST_LISTED
    assert read.legend.item(0, 0).text() == "class 701"
    assert read.left.text() == "and 950 more, fewer tiles each"
    assert len(viewer.layers) == 1, "the class of each tile"
    read.layer.setCurrentIndex(1)
    for box in (read.suspect, read.close_up.of_class):
        box.lineEdit().selectAll()
        assert typed(box, "ss 345") == "class 345"
    assert read.close_up.class_name == "class 345"
    shown = [layer.metadata["class"] for layer in viewer.layers if layer.visible]
    assert shown == ["class 345"]
    assert len(viewer.layers) <= 3, "that of the class before is hidden"
    dock.release()
    dock.deleteLater()
