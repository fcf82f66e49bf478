"""A run on disk as the viewer needs it, and its slide put where the run lies.

The user may have said the slide's spacing, or another reader opened it in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import SlidecamError
from slidecam.plugin import compat
from slidecam.plugin.ownership import owner_of
from slidecam.plugin.placing import CellGrid, Placing
from slidecam.plugin.slide import KEY, SlideFacts
from slidecam.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.geometry import Size, Spacing
    from slidecam.runs.tiles import TileTable


@dataclass(frozen=True, eq=False)
class ShownRun:
    """What is shown of a run.

    Attributes
    ----------
    stored
        The run as it lies on disk.
    cells
        The tiles as cells of a raster.
    with_heatmaps
        Whether the heatmaps that lie beside it are its own: those of a run that goes on are not
        painted yet.
    """

    stored: Run
    cells: CellGrid
    with_heatmaps: bool = True

    @property
    def folder(self) -> Path:
        """The slide's output folder."""
        return self.stored.folder

    @property
    def fingerprint(self) -> str:
        """Of its slide's content."""
        return str(self.stored.fingerprint)

    @property
    def table(self) -> TileTable:
        """Boxes, status, probabilities, classes."""
        return self.stored.tiles

    @property
    def size(self) -> Size:
        """Of the slide's level 0."""
        return self.stored.size

    @property
    def spacing(self) -> Spacing | None:
        """µm per level-0 pixel, where that is known."""
        return self.stored.spacing

    @property
    def placing(self) -> Placing:
        """Where the slide lies in napari's world."""
        return Placing(self.spacing)

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.stored.record.is_finished

    @property
    def in_words(self) -> str:
        """How far it is, in a line."""
        if self.is_finished:
            return "This slide was classified before: its results are shown."
        done, total = int(self.table.done.sum()), len(self.table)
        return f"A run of this slide lies here with {done} of {total} tiles: Run goes on with it."

    @property
    def heatmaps(self) -> tuple[Path, ...]:
        """The heatmaps that lie beside it, the first method's first."""
        return self.stored.heatmaps if self.with_heatmaps else ()

    @property
    def methods(self) -> tuple[str, ...]:
        """By which methods heat lies beside it, the first one first."""
        if not self.with_heatmaps:
            return ()
        return tuple(self.stored.map_methods)

    def with_table(self, table: TileTable) -> ShownRun:
        """Return the same run with more results in the same tiles."""
        return replace(self, stored=replace(self.stored, tiles=table))


def read_shown(folder: Path) -> ShownRun:
    """Read a run as far as it has come.

    Parameters
    ----------
    folder
        The slide's output folder.

    Raises
    ------
    SlidecamError
        If there is no run, or it is damaged.
    """
    run = Run.open(folder)
    return ShownRun(run, _cells(run))


def _cells(run: Run) -> CellGrid:
    """Return the grid of a run; a whole picture is one cell of its own shape."""
    boxes = run.tiles.boxes
    is_whole_picture = len(boxes) == 1 and boxes[0, 2] != boxes[0, 3]
    if is_whole_picture:
        return CellGrid(boxes, (int(boxes[0, 2]), int(boxes[0, 3])))
    return CellGrid(boxes, run.steps)


def run_of(facts: SlideFacts, folder: Path) -> ShownRun | None:
    """Return the run in a folder; None where it cannot be read, or is of another slide."""
    try:
        run = read_shown(folder)
    except SlidecamError:
        return None
    same = run.stored.fingerprint == facts.fingerprint and facts.is_picture(run.stored.seen)
    if not same:
        return None
    return run


PLANE = 2


def align(viewer: Any, run: ShownRun) -> None:  # noqa: ANN401  (napari's viewer, its model or a proxy)
    """Move a run's slide to the run's own µm per pixel.

    What was drawn on it and the camera that looks at it move along.

    Parameters
    ----------
    viewer
        Where the slide lies. One that slidecam opened is known by its fingerprint, one that napari
        or another plugin opened by that of its file.
    run
        Whose overlays are about to be laid.
    """
    for layer in [one for one in viewer.layers if one.ndim == PLANE]:
        facts = layer.metadata.get(KEY)
        if isinstance(facts, SlideFacts):
            theirs = facts.fingerprint == run.stored.fingerprint
            theirs = theirs and facts.is_picture(run.stored.seen)
            if theirs and facts.spacing != run.spacing:
                _rescale(viewer, facts, run.placing)
                layer.metadata[KEY] = replace(facts, spacing=run.spacing)
        elif facts is None and getattr(layer, "rgb", False) and _shows(layer.source.path, run):
            _stretch(layer, run)


def _shows(path: str | None, run: ShownRun) -> bool:
    """Whether a file that another reader opened is the run's slide, by its content."""
    if not path:
        return False
    try:
        with replace(run.stored, given_slide=str(path)).open_slide():
            return True
    except SlidecamError:
        return False


def _rescale(viewer: Any, facts: SlideFacts, after: Placing) -> None:  # noqa: ANN401
    ratio = np.array([after.unit.y / facts.placing.unit.y, after.unit.x / facts.placing.unit.x])
    for layer in [
        one
        for one in viewer.layers
        if one.ndim == PLANE and _lies_on(one, facts.fingerprint, viewer)
    ]:
        layer.scale, layer.translate = layer.scale * ratio, layer.translate * ratio
        layer.units = after.units
    camera = compat.camera(viewer)
    camera.center = (camera.center[0], *(np.array(camera.center[-2:]) * ratio))
    camera.zoom /= float(ratio.mean())


def _lies_on(layer: Any, fingerprint: str, viewer: Any) -> bool:  # noqa: ANN401
    """Whether a layer is the slide itself or was drawn on it.

    What says nothing lies on the one slide that is open.
    """
    if isinstance(layer.metadata.get(KEY), ShownRun):
        return False
    owner = owner_of(layer)
    if owner:
        return owner == fingerprint
    slides = [one for one in viewer.layers if isinstance(one.metadata.get(KEY), SlideFacts)]
    return "kind" not in layer.metadata and len(slides) == 1


def _stretch(layer: Any, run: ShownRun) -> None:  # noqa: ANN401  (a napari layer)
    """Give a picture that another reader opened its slide's extent, whichever level it holds."""
    height, width = (layer.data[0] if layer.multiscale else layer.data).shape[:2]
    placed = run.placing.raster((run.size.width / width, run.size.height / height))
    layer.scale, layer.translate, layer.units = (
        placed["scale"],
        placed["translate"],
        run.placing.units,
    )
