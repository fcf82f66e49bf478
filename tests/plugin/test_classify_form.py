"""The form has what means something for what is open, and a run is given no more than that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from napari.layers import Layer

from slidecam.plugin.classify_form import OF_SLIDES, OF_VOLUMES, VIEW
from slidecam.plugin.classify_tab import ClassifyTab
from slidecam.plugin.option_fields import AS_LEARNT
from slidecam.plugin.reading import get_reader
from slidecam.plugin.remembered import Remembered
from slidecam.plugin.viewer_state import ViewerState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.gui]


def added(viewer: Any, path: Path) -> Layer:
    reader = get_reader(str(path))
    assert reader is not None
    (layer,) = reader(str(path))
    made: Layer = viewer.add_layer(Layer.create(*layer))
    return made


@pytest.fixture
def tab(
    make_napari_viewer_proxy: Any, small_slide: Path, volume: Path, slice_bundle: Path
) -> Iterator[Any]:
    viewer = make_napari_viewer_proxy()
    for path in (small_slide, volume):
        added(viewer, path)
    made = ClassifyTab(ViewerState(viewer), Remembered())
    made.bundle.setCurrentText(str(slice_bundle))
    yield made
    made.deleteLater()


def choose(tab: Any, name: str) -> None:
    layers = tab.state.viewer.layers
    layers.selection.active = next(one for one in layers if one.name == name)
    tab.refresh()


def hidden(tab: Any) -> set[str]:
    """Return which of the fields are hidden that are not of every kind."""
    fields = {name: tab.options[name].widget for name in (*OF_SLIDES, *OF_VOLUMES)}
    fields |= {"region": tab.region, "own": tab.own}
    return {name for name, widget in fields.items() if widget.isHidden()}


def test_a_volume_has_its_own_fields_and_a_slide_has_those_of_slides(tab: Any) -> None:
    choose(tab, "small")
    assert hidden(tab) == {"axis"}
    choose(tab, "brain")
    assert hidden(tab) == {"mpp", "overlap", "region", "own"}


def test_what_is_hidden_is_not_passed_and_is_kept_for_who_shows_it_again(tab: Any) -> None:
    choose(tab, "small")
    tab.options["overlap"].widget.setValue(0.5)
    tab.region.setCurrentText(VIEW)
    choose(tab, "brain")
    axis = tab.options["axis"].widget
    assert axis.currentText() == AS_LEARNT
    axis.setCurrentText("coronal")
    assert (tab.spec().overlap, tab.spec().axis) == (0, "coronal")
    assert tab.request().region is None
    assert "--axis coronal" in tab.command.text()
    assert "--overlap" not in tab.command.text()
    choose(tab, "small")
    assert (tab.spec().overlap, tab.spec().axis) == (0.5, None)
    assert tab.command.text() == "", "there is none for a view"
