"""What a legend tells of each class.

How much of the tissue it takes, and how many tiles, at a threshold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import UsageError
from slidecam.runs.tiles import cells

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.runs.run import Run

UM2, PX2 = "µm²", "px²"


@dataclass(frozen=True)
class LegendRow:
    """One class.

    Attributes
    ----------
    name, color
        As on the classifier's card.
    count
        Tiles whose probability of the class is at least the threshold.
    area, share
        Tissue under any of these tiles, each place counted once however many of them lie over it,
        and its share of the classified tissue. A place may lie under tiles of two classes, so that
        shares may add up to more than 1.
    winners
        Tiles whose most probable class it is, whatever the threshold.
    winner_area, winner_share
        Tissue in the middles of these tiles, as large as the step from tile to tile: what the class
        map shows. These add up to 1 at most.
    """

    name: str
    color: RGB
    count: int
    area: float
    share: float
    winners: int
    winner_area: float
    winner_share: float


@dataclass(frozen=True)
class Legend:
    """All classes of one run.

    Attributes
    ----------
    rows
        In the classifier's order.
    threshold
        As the caller gave it.
    tissue
        Tissue of the slide, in ``unit``: all that the mask holds.
    classified
        Tissue under any classified tile; shares are shares of this.
    unit
        ``µm²``, or ``px²`` of level 0 where nobody knows the spacing.
    calibration
        Whether the probabilities were calibrated, in words.
    tiles, failed
        Classified tiles, and those that could not be read.
    notes
        What a reader should know, as sentences.
    """

    rows: tuple[LegendRow, ...]
    threshold: float
    tissue: float
    classified: float
    unit: str
    calibration: str
    tiles: int
    failed: int
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def legend(run: Run, threshold: float = 0.5) -> Legend:
    """Return how a run's tissue divides among the classes at a threshold.

    Parameters
    ----------
    run
        Its mosaic of tile edges is laid at the first call; later ones cost some milliseconds for
        100,000 tiles.
    threshold
        Probability from which a tile counts for a class.

    Raises
    ------
    UsageError
        If ``threshold`` is no number.
    """
    if not np.isfinite(threshold):
        raise UsageError(
            f"A threshold of {threshold} parts nothing.", "Pass a probability from 0 to 1."
        )
    table, own = run.tiles, own_areas(run)
    classified = run.mosaic.area(table.done)
    unit = UM2
    if run.spacing is None:
        unit = PX2
    rows = []
    for index, (name, color) in enumerate(zip(table.class_names, table.class_colors, strict=True)):
        called = table.done & (table.probabilities[:, index] >= threshold)
        won = table.winners == index
        area, won_area = run.mosaic.area(called), float(own[won].sum())
        rows.append(
            LegendRow(
                name=name,
                color=color,
                count=int(called.sum()),
                area=area * run.unit_area,
                share=_share(area, classified),
                winners=int(won.sum()),
                winner_area=won_area * run.unit_area,
                winner_share=_share(won_area, classified),
            )
        )
    return Legend(
        rows=tuple(rows),
        threshold=threshold,
        tissue=_tissue(run) * run.unit_area,
        classified=classified * run.unit_area,
        unit=unit,
        calibration=run.calibration,
        tiles=int(table.done.sum()),
        failed=int(table.failed.sum()),
        notes=run.notes,
    )


def _share(area: float, classified: float) -> float:
    if not classified:
        return 0.0
    return area / classified


def own_areas(run: Run) -> NDArray[np.float64]:
    """Return the tissue in each tile's own part, in level-0 pixels, float64, (tiles,)."""
    own = cells(run.tiles.boxes, run.step)
    inside = run.tissue_or_slide.coverage(own)
    return np.asarray(inside * own[:, 2] * own[:, 3])


def _tissue(run: Run) -> float:
    return run.tissue_or_slide.share * run.size.width * run.size.height
