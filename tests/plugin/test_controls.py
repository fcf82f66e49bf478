"""Everybody's dock: a name for each control, and nothing cut off in large letters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from napari.layers import Layer
from napari.settings import get_settings
from qtpy.QtWidgets import (
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.slide import slide_layer
from windows import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slidecam.plugin.open_run import ShownRun

pytestmark = [pytest.mark.gui]

CONTROLS = (
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPushButton,
)
LARGE = 16


@pytest.fixture
def dock(
    make_napari_viewer: Any, small_slide: Path, own_run: ShownRun, tiny_bundle: Path
) -> Iterator[PredictAndExplain]:
    usual = get_settings().appearance.font_size
    get_settings().appearance.font_size = LARGE
    viewer = make_napari_viewer(show=True)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    made = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(made)
    made.classify.bundle.setCurrentText(str(tiny_bundle))
    made.classify.more.setChecked(True)
    made.state.show(own_run)
    yield made
    made.release()
    get_settings().appearance.font_size = usual


def controls_of(dock: PredictAndExplain) -> list[QWidget]:
    """Return what is used in the dock, without the parts that Qt makes its controls of."""
    found = [each for kind in CONTROLS for each in dock.findChildren(kind)]
    inner = (QComboBox, QAbstractSpinBox, QAbstractItemView)
    return [
        each for each in found if not isinstance(each, QScrollBar) and not _is_within(each, inner)
    ]


def _fits(area: QScrollArea) -> bool:
    return bool(area.widget().width() <= area.viewport().width())


def _is_within(widget: QWidget, kinds: tuple[type, ...]) -> bool:
    above = widget.parentWidget()
    while above is not None and not isinstance(above, kinds):
        above = above.parentWidget()
    return above is not None


def test_every_control_has_a_name_and_a_word_on_what_it_does(dock: PredictAndExplain) -> None:
    controls = controls_of(dock)
    assert len(controls) > 30
    for control in controls:
        assert control.accessibleName(), f"{control} has no name"
        assert control.toolTip(), f"{control.accessibleName()} says nothing"


def test_nothing_is_wider_than_the_dock_in_large_letters(dock: PredictAndExplain) -> None:
    for number in range(dock.tabs.count()):
        dock.tabs.setCurrentIndex(number)
        area = dock.tabs.widget(number)
        assert isinstance(area, QScrollArea)
        until(area.isVisible)
        until(partial(_fits, area))
