"""How volumes hang in a viewer: not mirrored, and with letters of the patient's sides.

R, L, A, P, S and I stand at the edges of what is seen of a slice, and at the ends of a volume's
axes in 3-D. They are a layer of their own, which belongs to its volume and goes with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.plugin import compat
from slidecam.plugin.ownership import ON_TOP, SLIDE
from slidecam.plugin.slide import KEY, SlideFacts
from slidecam.registry import deferred

if TYPE_CHECKING:
    from napari import layers as napari_layers
    from numpy.typing import NDArray
else:
    # pandas comes with them, which nobody needs who only opens a slide.
    napari_layers = deferred("napari.layers")

HUNG = ("away", "down", "right")
"""Camera orientation in which (S, P, L) is not mirrored in 3-D."""

SIDES = "sides of the patient"
"""The kind of the layer of letters, and its name."""

FOLLOWER = "follows the view"
"""Under this name the layer of letters keeps what moves them."""

ENDS = (("I", "S"), ("A", "P"), ("R", "L"))
"""What lies at the low and at the high end of the axes S, P and L."""

LETTER_COLOR, LETTER_SIZE = "#ffd23f", 16
"""Seen on black, on grey and on white; of the size of the dock's largest letters."""

MARGIN = 14
"""Screen pixels from the edge of the view to the middle of a letter."""

PLANE, SPACE = 2, 3


def hang(viewer: Any) -> None:  # noqa: ANN401  (napari's viewer or its model)
    """Turn the camera so that volumes are not mirrored in 3-D, and letter their sides.

    Until the last one is taken away.
    """
    if any(map(is_letters, viewer.layers)):
        mark_sides(viewer)
        return
    camera, events = compat.camera(viewer), viewer.layers.events
    before = camera.orientation
    # The user's own, or another call's, which turns it back.
    is_turned = tuple(map(str, before)) == HUNG

    def look(event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        # Letters that somebody takes away are not laid again at once.
        if mark_sides(viewer, anew=getattr(event, "type", "") != "removed"):
            return
        if not is_turned:
            camera.orientation = before
        events.removed.disconnect(look)
        events.inserted.disconnect(look)

    if not is_turned:
        camera.orientation = HUNG
    events.removed.connect(look)
    events.inserted.connect(look)
    if volumes_in(viewer):
        look()


def volumes_in(viewer: Any) -> list[Any]:  # noqa: ANN401  (as above)
    """Return the layers of volumes that slidecam opened."""
    found = []
    for layer in viewer.layers:
        facts = layer.metadata.get(KEY)
        if isinstance(facts, SlideFacts) and facts.is_volume:
            found.append(layer)
    return found


def is_letters(layer: Any) -> bool:  # noqa: ANN401  (any layer)
    """Whether a layer is the letters of an open volume's sides."""
    return FOLLOWER in layer.metadata and SLIDE in layer.metadata


def mark_sides(viewer: Any, *, anew: bool = True) -> bool:  # noqa: ANN401  (as above)
    """Letter the sides of each volume that has no letters; return whether there is a volume.

    Letters of volumes that are closed are taken away. Unless ``anew``, none are laid.
    """
    volumes = volumes_in(viewer)
    lettered: list[Any] = []
    for layer in filter(is_letters, list(viewer.layers)):
        follower = layer.metadata[FOLLOWER]
        lettered.append(follower.volume)
        if follower.volume not in volumes:
            follower.release()
    for volume in volumes:
        if anew and volume not in lettered:
            SideLetters(viewer, volume).show()
    return bool(volumes)


class SideLetters:
    """The letters of one volume, which follow the slider, the order of axes and the camera.

    Parameters
    ----------
    viewer
        Where the volume lies.
    volume
        Its layer, (S, P, L) on straight axes.
    """

    def __init__(self, viewer: Any, volume: Any) -> None:  # noqa: ANN401  (a viewer and a layer)
        self.viewer, self.volume = viewer, volume
        places, letters = self.places()
        self.layer: Any = napari_layers.Points(
            places,
            name=SIDES,
            features={"side": letters},
            text={"string": "{side}", "color": LETTER_COLOR, "size": LETTER_SIZE},
            face_color="transparent",
            border_color="transparent",
            size=1,
            scale=volume.scale,
            translate=volume.translate,
            units=volume.units,
            axis_labels=volume.axis_labels,
            metadata={
                "kind": SIDES,
                SLIDE: volume.metadata[KEY].fingerprint,
                ON_TOP: SIDES,
                FOLLOWER: self,
            },
        )

    def show(self) -> None:
        """Lay the letters on top, and leave the choice of a layer as it is."""
        layers = self.viewer.layers
        active = layers.selection.active
        layers.append(self.layer)
        if active is not None and active in layers:
            layers.selection.active = active
        for moved in self._moved():
            moved.connect(self.follow)
        self.follow()

    def _moved(self) -> tuple[Any, ...]:
        """Return what says that another part of the volume is seen, or another way."""
        dims, camera = self.viewer.dims.events, compat.camera(self.viewer).events
        # Where napari moves the point itself it says so of the step alone.
        moved = dims.point, dims.current_step, dims.order, dims.ndisplay
        return *moved, camera.center, camera.zoom, *compat.resized(self.viewer)

    def follow(self, _event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        """Put the letters where they belong now."""
        places, letters = self.places()
        if list(self.layer.features["side"]) == letters:
            if not np.array_equal(places, self.layer.data):
                self.layer.data = places
            return
        self.layer.data = places
        self.layer.features = {"side": letters}

    def places(self) -> tuple[NDArray[np.float64], list[str]]:
        """Return where the letters stand, (letters, 3) in voxels along S, P and L, and which."""
        low, high, here = self._seen()
        axes = self._axes()
        places: list[NDArray[np.float64]] = []
        letters: list[str] = []
        for axis in axes:
            for end, letter in zip((low, high), ENDS[axis], strict=True):
                place = here.copy()
                place[axis] = end[axis]
                places.append(place)
                letters.append(letter)
        return np.array(places).reshape(-1, SPACE), letters

    def _axes(self) -> list[int]:
        """Return which of S, P and L, as 0 to 2, are seen: rows first, then columns."""
        dims = self.viewer.dims
        ahead = dims.ndim - SPACE
        return [axis - ahead for axis in dims.displayed if axis >= ahead]

    def _seen(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Return the first and last voxel that are seen, and the one in the middle.

        Letters stay within the volume: beyond it they would add empty slices to the slider.
        """
        dims = self.viewer.dims
        last = np.array(self.volume.data.shape[:SPACE]) - 1.0
        low, high = np.zeros(SPACE), last.copy()
        here = last / 2
        if dims.ndisplay != PLANE or dims.ndim < SPACE:
            return low, high, here
        here = np.clip(self._voxel(np.array(dims.point[-SPACE:])), 0, last)
        first_corner, last_corner = self._corners()
        for axis in self._axes():
            low[axis] = np.clip(first_corner[axis], 0, last[axis])
            high[axis] = np.clip(last_corner[axis], 0, last[axis])
            here[axis] = (low[axis] + high[axis]) / 2
        return low, high, here

    def _corners(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the voxels in two corners of the view, a margin within."""
        camera, dims = compat.camera(self.viewer), self.viewer.dims
        half = (np.array(compat.canvas_size(self.viewer)) / 2 - MARGIN) / camera.zoom
        centre = np.array(camera.center[-PLANE:])
        corners = []
        for way in (-1, 1):
            world = np.array(dims.point, np.float64)
            world[list(dims.displayed)] = centre + way * half
            corners.append(self._voxel(world[-SPACE:]))
        return corners[0], corners[1]

    def _voxel(self, world: NDArray[np.float64]) -> NDArray[np.float64]:
        placed = (world - np.array(self.volume.translate)) / np.array(self.volume.scale)
        return np.asarray(placed, np.float64)

    def release(self) -> None:
        """Let go of the viewer: the letters are nobody's, and are taken away.

        Once whoever takes layers away is done: more than the volume may be taken away at once.
        """
        if not self.layer.metadata.pop(SLIDE, ""):
            return
        self.layer.visible = False
        for moved in self._moved():
            moved.disconnect(self.follow)
        compat.later(self._take_away)

    def _take_away(self) -> None:
        if self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
