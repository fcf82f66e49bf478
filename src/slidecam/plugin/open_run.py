"""A run on disk as the viewer needs it.

Its tiles as cells of a raster, its heatmaps, and what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from slidecam.errors import StoreError
from slidecam.plugin.cells import CellGrid
from slidecam.plugin.placing import Placing
from slidecam.runs import read_run_tiles
from slidecam.runs.outputs import FINISHED
from slidecam.store import read_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from slidecam.geometry import Size, Spacing
    from slidecam.runs import RunTiles
    from slidecam.runs.tiles import TileTable

CALL_AGAIN = "Run slidecam on the slide again."


@dataclass(frozen=True, eq=False)
class ShownRun:
    """What is shown of a run.

    Attributes
    ----------
    tiles
        Its tiles and all that is known of them.
    record
        ``run.json``.
    cells
        The tiles as cells of a raster.
    with_heatmaps
        Whether the heatmaps that lie beside it are its own: those of a run that goes on are not
        painted yet.
    """

    tiles: RunTiles
    record: Mapping[str, Any]
    cells: CellGrid
    with_heatmaps: bool = True

    @property
    def folder(self) -> Path:
        """The slide's output folder."""
        return self.tiles.folder

    @property
    def table(self) -> TileTable:
        """Boxes, status, probabilities, classes."""
        return self.tiles.table

    @property
    def size(self) -> Size:
        """Of the slide's level 0."""
        return self.tiles.size

    @property
    def spacing(self) -> Spacing | None:
        """µm per level-0 pixel, where that is known."""
        return self.tiles.spacing

    @property
    def placing(self) -> Placing:
        """Where the slide lies in napari's world."""
        return Placing(self.spacing)

    @property
    def is_finished(self) -> bool:
        """Whether nothing of it is left to do."""
        return self.record.get("status") in FINISHED

    @property
    def heatmaps(self) -> tuple[Path, ...]:
        """The heatmaps that lie beside it, the first method's first."""
        if not self.with_heatmaps:
            return ()
        return (
            *self.folder.glob("heatmap.ome.zarr"),
            *sorted(self.folder.glob("heatmap-*.ome.zarr")),
        )

    def with_table(self, table: TileTable) -> ShownRun:
        """Return the same run with more results in the same tiles."""
        return replace(self, tiles=replace(self.tiles, table=table))


def read_shown(folder: Path) -> ShownRun:
    """Read a run as far as it has come.

    Parameters
    ----------
    folder
        The slide's output folder.

    Raises
    ------
    StoreError
        If there is no run, or it is damaged.
    """
    record = read_run(folder)
    if record is None or "input" not in record:
        raise StoreError(folder, "its run.json is missing or damaged.", CALL_AGAIN)
    tiles = read_run_tiles(folder)
    return ShownRun(tiles, record, _cells(tiles))


def _cells(tiles: RunTiles) -> CellGrid:
    """Return the grid of a run; a whole picture is one cell of its own shape."""
    boxes = tiles.table.boxes
    whole = len(boxes) == 1 and boxes[0, 2] != boxes[0, 3]
    return CellGrid(
        boxes, (int(boxes[0, 2]), int(boxes[0, 3])) if whole else (tiles.step, tiles.step)
    )
