"""The form of the tab that runs: its fields are napari's options, with the options' own ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from napari.layers import Layer
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from slidecam.models.backends import BACKENDS
from slidecam.options import option_of, options_of
from slidecam.plugin.classify_tab import ClassifyTab
from slidecam.plugin.option_fields import ALL_CLASSES
from slidecam.plugin.remembered import Remembered
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.tasks import in_viewer_words
from slidecam.plugin.viewer_state import ViewerState
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.gui]


@pytest.fixture
def tab(make_napari_viewer_proxy: Any, small_slide: Path, tiny_bundle: Path) -> Iterator[Any]:
    viewer = make_napari_viewer_proxy()
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    made = ClassifyTab(ViewerState(viewer), Remembered())
    made.bundle.setCurrentText(str(tiny_bundle))
    yield made
    made.deleteLater()


def test_the_form_has_the_options_that_napari_does_not_leave_out_for_a_reason(tab: Any) -> None:
    assert list(tab.options) == [option.name for option in options_of("napari")]
    left_out = [option for option in options_of() if option.name not in tab.options]
    assert left_out
    for option in left_out:
        assert option.shown.without["napari"], f"{option.name} is left out without a word"
    for name, field in tab.options.items():
        assert field.widget.toolTip() == option_of(name).shown.help


def test_numbers_of_the_form_have_the_ranges_of_the_options(tab: Any) -> None:
    for name in ("mpp", "overlap"):
        widget, shown = tab.options[name].widget, option_of(name).shown
        assert widget.maximum() == shown.high
        assert widget.singleStep() == shown.step
    assert tab.options["overlap"].widget.minimum() == option_of("overlap").shown.low


def test_arrows_and_the_wheel_stop_at_the_last_whole_step_and_typing_goes_on(tab: Any) -> None:
    overlap = tab.options["overlap"].widget
    for _click in range(9):
        overlap.stepUp()
    assert tab.spec().overlap == 0.75, "0.999 is a million times the tiles"
    overlap.setValue(0.9)
    assert tab.spec().overlap == 0.9
    for _click in range(9):
        overlap.stepDown()
    assert tab.spec().overlap == pytest.approx(0.15)


def test_what_is_not_touched_is_what_every_door_does_but_that_a_run_goes_on(tab: Any) -> None:
    assert tab.spec() == PredictSpec(existing="resume")
    assert tab.options["mpp"].widget.text() == "as the file says"
    tab.options["mpp"].widget.setValue(0.2527)
    tab.options["existing"].widget.setChecked(True)
    assert tab.options["mpp"].widget.text() == "0.2527"
    assert tab.spec() == PredictSpec(mpp=0.2527, existing="overwrite")


def test_a_spacing_that_nobody_can_believe_is_refused_where_the_command_stands(tab: Any) -> None:
    assert "slidecam predict" in tab.command.text()
    tab.options["mpp"].widget.setValue(0.0123)
    assert tab.command.text() == "The mpp 0.0123 is out of range. Pass a value from 0.05 to 20."


def test_backends_whose_packages_are_here_can_be_chosen_and_stand_in_the_command(tab: Any) -> None:
    box = tab.options["backend"].widget
    offered = [box.itemText(place) for place in range(box.count())]
    assert offered == [name for name, backend in BACKENDS.items() if not backend.absent]
    assert {"auto", "folded", "eager"} <= set(offered)
    assert "--backend" not in tab.command.text()
    box.setCurrentText("auto")
    assert tab.spec().backend == "auto"
    assert "--backend auto" in tab.command.text()


def test_one_class_can_be_chosen_whose_heat_is_painted_by_typing_a_part_of_its_name(
    tab: Any, tiny_bundle: Path
) -> None:
    box = tab.options["heatmap_classes"].widget
    assert box.names == (ALL_CLASSES, "A", "B", "C")
    assert tab.spec().heatmap_classes == ()
    box.lineEdit().selectAll()
    QTest.keyClicks(box.lineEdit(), "C")
    QTest.keyClick(box.lineEdit(), Qt.Key.Key_Return)
    assert tab.spec().heatmap_classes == ("C",)
    assert "--heatmap-class C" in tab.command.text()
    tab.bundle.setCurrentText("")
    tab.bundle.setCurrentText(str(tiny_bundle))
    assert tab.spec().heatmap_classes == ("C",), "the same model has it, too"
    tab.offer_classes(("other", "classes"))
    assert tab.spec().heatmap_classes == ()


def test_what_the_viewer_says_of_heat_names_its_own_box() -> None:
    said = in_viewer_words(
        "No heatmap: X has 1000 classes. Name those to map with --heatmap-class."
    )
    assert said.endswith("Choose one in “Heat of”, under “More options”.")
