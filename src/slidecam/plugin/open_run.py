"""A run on disk as the viewer needs it.

Its tiles as cells of a raster, its heatmaps, and what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slidecam.plugin.cells import CellGrid
from slidecam.plugin.placing import Placing
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
    return CellGrid(boxes, (run.step, run.step))
