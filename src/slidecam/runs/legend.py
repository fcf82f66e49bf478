"""How the tissue of a slide divides among the classes: the one home of "how much of a class".

A tile counts with its own part, so that where tiles overlap a place counts once. A legend tells it
of each class, as called or at a threshold.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.classes import SEVERAL_CALLED
from slidecam.errors import UsageError
from slidecam.pixels import RGB  # noqa: TC001  (the manifest reads the fields' types)
from slidecam.runs.tiles import UNDECIDED, cells, uncertainty

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.foreground import Foreground
    from slidecam.geometry import Spacing
    from slidecam.runs.run import Run
    from slidecam.runs.tiles import TileTable


UM2, PX2, SLICES = "µm²", "px²", "slices"
"""What a share is counted in: tissue, in pixels of level 0 where nobody knows the spacing; slices
of a volume."""

SHARE_NAMES = {
    UM2: "share of classified tissue",
    PX2: "share of classified tissue",
    SLICES: "share of classified slices",
}
"""What "how much of a class" is called wherever it is shown."""

SHARE_MEANS = (
    "Share of classified tissue: the tissue in the tiles that are called so, of the tissue in all"
    " classified tiles; where tiles overlap, each counts with its own part, its middle."
)
"""The one definition of "how much of a class" on a slide, which stands beside the figures."""

PARTS_MEAN = (
    "Share of the classified part of the slide: the area of the tiles that are called so, of that"
    " of all classified tiles; where tiles overlap, each counts with its own part, its middle."
)
"""The same where the slide's mask is not known."""

SLICES_MEANS = (
    "Share of classified slices: the slices of a volume that are called so, of all classified ones."
)

TOP = 10
"""Tiles of the highest probabilities whose mean tells of a class that covers little."""


@dataclass(frozen=True)
class ClassifiedTissue:
    """What a slide's shares are shares of, and what of it no class has, or several have.

    Attributes
    ----------
    unit
        Of areas: `UM2`, `PX2`, or `SLICES`.
    tissue
        All tissue of the slide, under tiles or not; None where its mask is not known, and of a
        volume.
    classified
        Tissue in the own parts of all classified tiles.
    none_called, several_called
        The same of the tiles that are called none, and several classes.
    undecided
        The same of the tiles whose uncertainty is `UNDECIDED` or more; None where a classifier
        gives no probabilities.
    """

    unit: str
    tissue: float | None
    classified: float
    none_called: float = 0.0
    several_called: float = 0.0
    undecided: float | None = None

    def share(self, area: float) -> float:
        """Return an area as a share of the classified tissue, 0 to 1; 0 where there is none."""
        if not self.classified:
            return 0.0
        return area / self.classified


@dataclass(frozen=True)
class ClassSummary:
    """One class on one slide.

    Attributes
    ----------
    name, color
        The class.
    count
        Tiles that are called so. One that is called several classes counts for each of them.
    share
        Of the classified tissue, 0 to 1, as `SHARE_MEANS`; tiles that are called none belong to no
        class. What an older slidecam wrote is of the classified tiles, and has no `area`.
    mean_probability
        Mean over all classified tiles, or None where there is none. Of raw scores it is a score.
    mean_score
        The same where it is a score; None of probabilities.
    area
        Tissue in the own parts of these tiles, in the unit of the slide's `ClassifiedTissue`.
    top_probability
        Mean of the `TOP` tiles that are likeliest of the class; a score where the mean is one.
    """

    name: str
    color: RGB
    count: int
    share: float
    mean_probability: float | None
    mean_score: float | None = None
    area: float | None = None
    top_probability: float | None = None

    @property
    def means(self) -> dict[str, float | None]:
        """Its means by the keys of ``run.json``, which names a score only where it is one."""
        means = {"mean_probability": self.mean_probability}
        if self.mean_score is not None:
            means["mean_score"] = self.mean_score
        return means


@dataclass(frozen=True, eq=False)
class OwnParts:
    """What each tile of a slide counts for.

    ``areas``, float64 (tiles,), is the tissue in each tile's own part; ``tissue`` all of the
    slide's. Both are in ``unit``, as of `ClassifiedTissue`.
    """

    areas: NDArray[np.float64]
    unit: str
    tissue: float | None = None

    def of(self, tiles: NDArray[np.bool_]) -> float:
        """Return what some tiles count for together; ``tiles`` is bool, (tiles,)."""
        return float(self.areas[tiles].sum())


def own_parts(
    boxes: NDArray[np.int64],
    steps: int | tuple[int, int],
    mask: Foreground,
    spacing: Spacing | None,
    *,
    mask_known: bool = True,
) -> OwnParts:
    """Return what each tile of a slide counts for: the tissue of ``mask`` in its own part.

    ``boxes`` and ``steps`` are those of `cells`; ``spacing`` is in µm per level-0 pixel. Where the
    mask is not known, all of the slide stands for it.
    """
    own = cells(boxes, steps)
    unit, of_pixel, tissue = PX2, 1.0, None
    if spacing is not None:
        unit, of_pixel = UM2, spacing.x * spacing.y
    if mask_known:
        tissue = mask.share * mask.size.width * mask.size.height * of_pixel
    areas = mask.coverage(own) * own[:, 2] * own[:, 3] * of_pixel
    return OwnParts(np.asarray(areas, np.float64), unit, tissue)


def parts_of(run: Run) -> OwnParts:
    """Return what each tile of a slide's run counts for; UsageError if it is one of a volume."""
    if run.is_volume:
        raise UsageError(
            "Areas are those of a slide, and this is a run of a volume.",
            "See the volume's own call and its slices.csv.",
            run.folder,
        )
    known = run.tissue is not None
    mask = run.tissue_or_slide
    return own_parts(run.tiles.boxes, run.steps, mask, run.spacing, mask_known=known)


def own_slices(count: int) -> OwnParts:
    """Return what each tile of a volume counts for: one slice."""
    return OwnParts(np.ones(count), SLICES)


def classified_tissue(table: TileTable, parts: OwnParts) -> ClassifiedTissue:
    """Return what a slide's shares are shares of."""
    return ClassifiedTissue(
        unit=parts.unit,
        tissue=parts.tissue,
        classified=parts.of(table.done),
        none_called=parts.of(table.none_called),
        several_called=parts.of(table.several_called),
        undecided=_undecided(table, parts),
    )


def _undecided(table: TileTable, parts: OwnParts) -> float | None:
    alone = table.activation == "softmax" and len(table.classes) == 1
    if alone or not table.classes.are_probabilities:
        return None
    unsure = uncertainty(table.probabilities, table.activation)
    return parts.of(np.asarray(table.done & (unsure >= UNDECIDED)))


def summarise_classes(table: TileTable, parts: OwnParts) -> tuple[ClassSummary, ...]:
    """Return one row per class, in the classifier's order."""
    whole = classified_tissue(table, parts)
    rows: list[ClassSummary] = []
    for index, count in enumerate(table.called.sum(axis=0).tolist()):
        (mean, top), score = _means(table, index), None
        if not table.classes.are_probabilities:
            score = mean
        area = parts.of(table.called[:, index])
        name, color = table.class_names[index], table.class_colors[index]
        rows.append(ClassSummary(name, color, count, whole.share(area), mean, score, area, top))
    return tuple(rows)


def _means(table: TileTable, index: int) -> tuple[float | None, float | None]:
    """Return the mean over all classified tiles, and over the `TOP` likeliest ones."""
    values = table.probabilities[table.done, index]
    finite = np.sort(values[np.isfinite(values)])
    if not finite.size:
        return None, None
    return float(finite.mean(dtype=np.float64)), float(finite[-TOP:].mean(dtype=np.float64))


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
        Tissue in the own parts of these tiles, and its share of the classified tissue, as
        `SHARE_MEANS` says. A tile may count for two classes, so that shares may add up to more
        than 1.
    winners, winner_area, winner_share
        The same of the tiles whose most probable class it is, whatever the threshold. These add up
        to 1 at most.
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
    """

    count: int
    area: float
    share: float


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
        Tissue in the own parts of all classified tiles; shares are shares of this.
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
        Finished or not.
    threshold
        Probability or score from which a tile counts for a class; None for the classes that it is
        called.

    Raises
    ------
    UsageError
        If ``threshold`` is no number or no probability, or the run is one of a volume.
    """
    table, parts = run.tiles, parts_of(run)
    whole = classified_tissue(table, parts)
    counted = table.called
    if threshold is not None:
        reached = table.probabilities >= table.checked(threshold)
        counted = np.asarray(table.done[:, None] & reached)
    rows = []
    for index, (name, color) in enumerate(zip(table.class_names, table.class_colors, strict=True)):
        won, called = table.winners == index, table.called[:, index]
        area, won_area, called_area = map(parts.of, (counted[:, index], won, called))
        rows.append(
            LegendRow(
                name=name,
                color=color,
                count=int(counted[:, index].sum()),
                area=area,
                share=whole.share(area),
                winners=int(won.sum()),
                winner_area=won_area,
                winner_share=whole.share(won_area),
                called=int(called.sum()),
                called_area=called_area,
                called_share=whole.share(called_area),
            )
        )
    several = int((counted.sum(axis=1) > 1).sum())
    none = table.done & ~counted.any(axis=1)
    notes = (*run.notes, *table.disagreement_words)
    if threshold is None and table.classes.may_be_several:
        notes = (*notes, f"{SEVERAL_CALLED} ({several} tiles are).")
    elif several:
        notes = (*notes, f"{several} tiles count for several classes.")
    return Legend(
        rows=tuple(rows),
        none_called=UncalledRow(int(none.sum()), parts.of(none), whole.share(parts.of(none))),
        several_called=several,
        threshold=threshold,
        rule=table.classes.rule,
        tissue=whole.tissue,
        classified=whole.classified,
        unit=whole.unit,
        calibration=run.calibration,
        tiles=int(table.done.sum()),
        failed=int(table.failed.sum()),
        notes=notes,
    )
