"""One tool at a time, by real clicks: what is drawn is drawn, what is corrected is corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Layer
from qtpy.QtCore import Qt

from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.tools import Tool
from windows import Hand

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slidecam.plugin.open_run import ShownRun

pytestmark = [pytest.mark.gui]


@pytest.fixture
def dock(
    make_napari_viewer: Any, small_slide: Path, own_run: ShownRun, notices: list[str]
) -> Iterator[PredictAndExplain]:
    viewer = make_napari_viewer(show=True)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    dock.state.show(own_run)
    yield dock
    assert notices == []
    dock.release()
    dock.deleteLater()


@pytest.fixture
def hand(dock: PredictAndExplain) -> Hand:
    return Hand(dock.state.viewer)


def middle_of(dock: PredictAndExplain, row: int) -> list[float]:
    """Return y, x of a tile's middle in the viewer's world."""
    run = dock.state.run
    assert run is not None
    x, y, width, height = run.table.boxes[row].tolist()
    place = run.placing.to_world(np.array([x + width / 2, y + height / 2]))[0]
    return [float(value) for value in place]


def in_hand(dock: PredictAndExplain) -> list[Tool]:
    return [tool for tool, button in dock.teach.hands.items() if button.isChecked()]


def test_a_drawn_area_corrects_no_tile_and_selects_none(
    dock: PredictAndExplain, hand: Hand
) -> None:
    teach = dock.teach
    teach.hands[Tool.CORRECT].click()
    assert in_hand(dock) == [Tool.CORRECT]
    teach.hands[Tool.DRAW].click()
    assert in_hand(dock) == [Tool.DRAW]
    teach.classes.setCurrentText("B")
    for corner in ((20, 20), (20, 120), (90, 120)):
        hand.click(corner)
    hand.double_click((90, 20))
    (area,) = teach.layers.annotations()
    assert area.class_name == "B"
    assert "1 area of B" in teach.about.text(), "at once, without another button"
    assert not teach.layers.corrections.labels
    assert dock.state.selected == NO_TILE


def test_a_corrected_tile_adds_no_corner_of_an_area(dock: PredictAndExplain, hand: Hand) -> None:
    teach = dock.teach
    teach.hands[Tool.DRAW].click()
    hand.click((20, 20))
    teach.hands[Tool.CORRECT].click()
    teach.classes.setCurrentText("C")
    hand.click(middle_of(dock, 3))
    assert dict(teach.layers.corrections.labels) == {3: "C"}
    assert teach.layers.annotations() == ()
    teach.undo.click()
    assert not teach.layers.corrections.labels
    teach.hands[Tool.LOOK].click()
    hand.click(middle_of(dock, 4))
    assert not teach.layers.corrections.labels
    assert dock.state.selected == 4


def test_naparis_own_tools_put_ours_down(dock: PredictAndExplain) -> None:
    viewer, teach = dock.state.viewer, dock.teach
    teach.hands[Tool.DRAW].click()
    drawn = viewer.layers.selection.active
    teach.hands[Tool.CORRECT].click()
    assert drawn.mode == "pan_zoom"
    viewer.layers.selection.active = drawn
    assert in_hand(dock) == [Tool.CORRECT]
    drawn.mode = "add_rectangle"
    assert in_hand(dock) == [Tool.DRAW]
    viewer.layers.selection.active = viewer.layers[0]
    assert in_hand(dock) == [Tool.LOOK], "a click on another layer draws nothing"


def test_a_click_and_escape_leave_nothing_and_the_next_area_has_its_own_class(
    dock: PredictAndExplain, hand: Hand
) -> None:
    teach = dock.teach
    teach.classes.setCurrentText("A")
    teach.hands[Tool.DRAW].click()
    hand.click((20, 20))
    hand.press(Qt.Key.Key_Escape)
    layer = dock.state.viewer.layers.selection.active
    assert (len(layer.data), len(layer.features)) == (0, 0)
    assert "nothing" in teach.about.text()
    teach.undo.click()
    teach.suggest.click()
    teach.classes.setCurrentText("C")
    for corner in ((20, 20), (20, 120), (90, 120)):
        hand.click(corner)
    hand.double_click((90, 20))
    (area,) = teach.layers.annotations()
    assert area.class_name == "C"


def test_a_brush_paints_the_class_that_is_chosen_and_the_list_acts_at_once(
    dock: PredictAndExplain, hand: Hand
) -> None:
    teach = dock.teach
    teach.classes.setCurrentText("A")
    teach.hands[Tool.PAINT].click()
    hand.drag((40, 40), (45, 60), (50, 80))
    assert "area of A" in teach.about.text()
    teach.classes.setCurrentText("C")
    hand.drag((100, 40), (105, 60), (110, 80))
    assert sorted({area.class_name for area in teach.layers.annotations()}) == ["A", "C"]
    assert "area of C" in teach.about.text()
