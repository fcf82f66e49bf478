"""What a legend tells of each class.

How much of the tissue it takes, and how many tiles, at a threshold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.classes import SEVERAL_CALLED
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
        Tiles that are called so; with a threshold, those whose probability of the class reaches it.
    area, share
        Tissue under any of these tiles, each place counted once however many of them lie over it,
        and its share of the classified tissue. A place may lie under tiles of two classes, so that
        shares may add up to more than 1.
    winners
        Tiles whose most probable class it is, whatever the threshold.
    winner_area, winner_share
        Tissue in the middles of these tiles, as large as the step from tile to tile: what the class
        map shows. These add up to 1 at most.
    called, called_area, called_share
        The same of all tiles that are called so, whatever the threshold: one that is called several
        classes counts for each.
    """

    name: str
    color: RGB
    count: int
    area: float
    share: float
    winners: int
    winner_area: float
    winner_share: float
    called: int
    called_area: float
    called_share: float


@dataclass(frozen=True)
class UncalledRow:
    """The classified tiles that count for no class of a legend.

    Attributes
    ----------
    count, area, share
        As of `LegendRow`.
    own_area, own_share
        Tissue in the middles of these tiles, as of its ``winner_area``.
    """

    count: int
    area: float
    share: float
    own_area: float
    own_share: float


@dataclass(frozen=True)
class Legend:
    """All classes of one run.

    Attributes
    ----------
    rows
        In the classifier's order.
    none_called, several_called
        Tiles that count for no class, and how many count for several.
    threshold
        As the caller gave it; None where classes count that are called.
    rule
        When a class is called, in words.
    tissue
        Tissue of the slide, in ``unit``: all that the mask holds. None where the run's mask is not
        known, and all that lies under tiles counts.
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
    none_called: UncalledRow
    several_called: int
    threshold: float | None
    rule: str
    tissue: float | None
    classified: float
    unit: str
    calibration: str
    tiles: int
    failed: int
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def legend(run: Run, threshold: float | None = None) -> Legend:
    """Return how a run's tissue divides among the classes.

    Parameters
    ----------
    run
        Its mosaic of tile edges is laid at the first call; later ones cost some milliseconds for
        100,000 tiles.
    threshold
        Probability or score from which a tile counts for a class; None for the classes that it is
        called.

    Raises
    ------
    UsageError
        If ``threshold`` is no number.
    """
    if threshold is not None and not np.isfinite(threshold):
        raise UsageError(
            f"A threshold of {threshold} parts nothing.",
            "Pass a probability from 0 to 1.",
        )
    table, own = run.tiles, own_areas(run)
    classified = run.mosaic.area(table.done)
    unit = UM2
    if run.spacing is None:
        unit = PX2
    counted = table.called
    if threshold is not None:
        counted = np.asarray(table.done[:, None] & (table.probabilities >= threshold))
    rows = []
    for index, (name, color) in enumerate(zip(table.class_names, table.class_colors, strict=True)):
        won, called = table.winners == index, table.called[:, index]
        area, won_area = run.mosaic.area(counted[:, index]), float(own[won].sum())
        called_area = float(own[called].sum())
        rows.append(
            LegendRow(
                name=name,
                color=color,
                count=int(counted[:, index].sum()),
                area=area * run.unit_area,
                share=_share(area, classified),
                winners=int(won.sum()),
                winner_area=won_area * run.unit_area,
                winner_share=_share(won_area, classified),
                called=int(called.sum()),
                called_area=called_area * run.unit_area,
                called_share=_share(called_area, classified),
            )
        )
    several = int((counted.sum(axis=1) > 1).sum())
    notes = run.notes
    if threshold is None and table.classes.may_be_several:
        notes = (*notes, f"{SEVERAL_CALLED} ({several} tiles are).")
    elif several:
        notes = (*notes, f"{several} tiles count for several classes.")
    return Legend(
        rows=tuple(rows),
        none_called=_uncalled(run, table.done & ~counted.any(axis=1), own, classified),
        several_called=several,
        threshold=threshold,
        rule=table.classes.rule,
        tissue=_tissue(run),
        classified=classified * run.unit_area,
        unit=unit,
        calibration=run.calibration,
        tiles=int(table.done.sum()),
        failed=int(table.failed.sum()),
        notes=notes,
    )


def _uncalled(
    run: Run, tiles: NDArray[np.bool_], own: NDArray[np.float64], classified: float
) -> UncalledRow:
    area, own_area = run.mosaic.area(tiles), float(own[tiles].sum())
    return UncalledRow(
        count=int(tiles.sum()),
        area=area * run.unit_area,
        share=_share(area, classified),
        own_area=own_area * run.unit_area,
        own_share=_share(own_area, classified),
    )


def _share(area: float, classified: float) -> float:
    if not classified:
        return 0.0
    return area / classified


def own_areas(run: Run) -> NDArray[np.float64]:
    """Return the tissue in each tile's own part, in level-0 pixels, float64, (tiles,)."""
    own = cells(run.tiles.boxes, run.steps)
    inside = run.tissue_or_slide.coverage(own)
    return np.asarray(inside * own[:, 2] * own[:, 3])


def _tissue(run: Run) -> float | None:
    if run.tissue is None:
        return None
    return run.tissue.share * run.size.width * run.size.height * run.unit_area
