"""The tiles of a slide that is being classified, as far as they have come.

They are kept from the run's own events: reading the store while another thread writes it would, on
Windows, hinder it.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import StoreError, UsageError
from slidecam.runs import Run
from slidecam.runs.tiles import TileTable
from slidecam.store import Status

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.events import BatchDone, Planned
    from slidecam.models import Card


class LiveTiles:
    """Boxes and probabilities of the tiles that have a result, in the order in which they came.

    Attributes
    ----------
    slide
        Whose.
    """

    def __init__(
        self,
        slide: str,
        boxes: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        planes: NDArray[np.int64],
    ) -> None:
        self.slide = slide
        self._boxes, self._probabilities, self._planes = [boxes], [probabilities], [planes]
        self._lock = Lock()

    @classmethod
    def of(cls, planned: Planned, folder: Path, classes: int) -> LiveTiles:
        """Return the tiles that a run has when it begins.

        Those of an earlier one that it continues.
        """
        empty = (
            np.zeros((0, 4), np.int64),
            np.zeros((0, classes), np.float32),
            np.zeros(0, np.int64),
        )
        if planned.pending < planned.tiles:
            try:
                run = Run.open(folder)
            except (StoreError, UsageError):
                return cls(planned.slide, *empty)
            done = run.tiles.done
            planes = np.zeros(len(run), np.int64) if run.planes is None else run.planes
            tiles = run.tiles
            return cls(planned.slide, tiles.boxes[done], tiles.probabilities[done], planes[done])
        return cls(planned.slide, *empty)

    def add(self, event: BatchDone) -> None:
        """Take in one batch."""
        with self._lock:
            self._boxes.append(event.boxes)
            self._probabilities.append(event.probabilities)
            self._planes.append(
                np.zeros(len(event.boxes), np.int64) if event.planes is None else event.planes
            )

    def table(self, card: Card) -> tuple[TileTable, NDArray[np.int64]]:
        """Return them as a table, what could not be read as failed.

        And the plane of a volume that each is on.
        """
        with self._lock:
            boxes, probabilities = np.concatenate(self._boxes), np.concatenate(self._probabilities)
            planes = np.concatenate(self._planes)
            self._boxes, self._probabilities, self._planes = [boxes], [probabilities], [planes]
        known = np.isfinite(probabilities).all(axis=1)
        status = np.where(known, np.uint8(Status.DONE), np.uint8(Status.FAILED))
        return TileTable(boxes, status, probabilities, card.classes), planes
