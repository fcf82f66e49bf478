"""Which side of a patient is where: seen at every volume, however it is turned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Layer

from slidecam.plugin.compat import camera, canvas_size
from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.hanging import hang, is_letters
from slidecam.plugin.reading import get_reader
from windows import until

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel
    from numpy.typing import NDArray

LPS = {"R": (2, -1), "L": (2, 1), "A": (1, -1), "P": (1, 1), "I": (0, -1), "S": (0, 1)}
"""Of napari's axes z, y, x, which are LPS+ mm: along which a side lies, and which way."""


def added(viewer: Any, path: Path) -> list[Layer]:
    reader = get_reader(str(path))
    assert reader is not None
    return [viewer.add_layer(Layer.create(*layer)) for layer in reader(str(path))]


def letters_in(viewer: Any) -> Any:
    (layer,) = [one for one in viewer.layers if is_letters(one)]
    return layer


def world_of(layer: Any) -> dict[str, NDArray[np.float64]]:
    """Return where each letter stands, z, y, x in mm."""
    places = [np.asarray(layer.data_to_world(place)) for place in layer.data]
    return dict(zip(layer.features["side"], places, strict=True))


@pytest.fixture
def hung(viewer: ViewerModel, volume: Path) -> ViewerModel:
    added(viewer, volume)
    hang(viewer)
    return viewer


@pytest.mark.parametrize(
    ("order", "sides"),
    [((0, 1, 2), "APRL"), ((1, 0, 2), "ISRL"), ((2, 0, 1), "ISAP"), ((0, 2, 1), "RLAP")],
)
def test_a_slices_edges_bear_the_sides_that_lie_there(
    hung: ViewerModel, order: tuple[int, int, int], sides: str
) -> None:
    hung.dims.order = order
    (volume,) = [one for one in hung.layers if not is_letters(one)]
    letters = world_of(letters_in(hung))
    assert "".join(letters) == sides
    middle = np.asarray(volume.extent.world).mean(axis=0)
    for side, place in letters.items():
        axis, way = LPS[side]
        assert way * (place - middle)[axis] > 0
        assert place[order[0]] == pytest.approx(hung.dims.point[order[0]]), "in the slice seen"


def test_they_follow_the_slider_and_add_no_slice_to_it(hung: ViewerModel) -> None:
    steps = hung.dims.nsteps
    hung.dims.set_current_step(0, steps[0] - 1)
    for place in world_of(letters_in(hung)).values():
        assert place[0] == pytest.approx(hung.dims.point[0])
    hung.dims.ndisplay = 3
    hung.dims.ndisplay = 2
    assert hung.dims.nsteps == steps


def test_they_stay_within_the_view_when_one_zooms_in(hung: ViewerModel) -> None:
    look = camera(hung)
    look.zoom *= 4
    half = np.array(canvas_size(hung)) / 2 / look.zoom
    for place in world_of(letters_in(hung)).values():
        assert (np.abs(place[1:] - np.array(look.center[-2:])) < half).all()


def test_in_3d_all_six_stand_at_the_ends_of_the_axes(hung: ViewerModel) -> None:
    hung.dims.ndisplay = 3
    (volume,) = [one for one in hung.layers if not is_letters(one)]
    low, high = np.asarray(volume.extent.world)
    letters = world_of(letters_in(hung))
    assert set(letters) == set(LPS)
    for side, place in letters.items():
        axis, way = LPS[side]
        end = (low, high)[way > 0]
        assert abs(place[axis] - end[axis]) <= volume.scale[axis]
        others = [one for one in range(3) if one != axis]
        np.testing.assert_allclose(place[others], ((low + high) / 2)[others], atol=1e-6)


@pytest.mark.gui
def test_letters_are_of_their_volume_and_go_with_it(
    make_napari_viewer: Any, volume: Path, small_slide: Path
) -> None:
    viewer = make_napari_viewer(show=True)
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    (head,) = added(viewer, volume)
    letters = letters_in(viewer)
    assert letters.visible
    assert viewer.layers.selection.active is head
    (slide,) = added(viewer, small_slide)
    assert not letters.visible
    viewer.layers.selection.active = head
    assert letters.visible
    viewer.layers.selection.active = slide
    viewer.layers.remove(head)
    until(lambda: letters not in viewer.layers)
    assert list(viewer.layers) == [slide]
    added(viewer, volume)
    viewer.layers.select_all()
    viewer.layers.remove_selected()
    assert list(viewer.layers) == []
    dock.release()
    dock.deleteLater()
