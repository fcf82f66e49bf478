"""One slide's classified tiles held against its annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError
from slidecam.evaluation.slides.areas import AreaConfusion
from slidecam.evaluation.slides.results import EvaluatedSlide
from slidecam.foreground import AMBIGUOUS, load_classes
from slidecam.runs.mosaic import cells

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.evaluation.slides.classified import ClassifiedSlide
    from slidecam.evaluation.slides.results import SlideEvaluationSpec
    from slidecam.foreground import AnnotatedClasses
    from slidecam.models import Card

OVERLAP = 0.01
"""Share of the annotated area from which on it is told that classes overlap.

Less is two lines drawn side by side.
"""


@dataclass(frozen=True, eq=False)
class MeasuredTiles:
    """The tiles of a slide that have a class.

    Labels int64 (N,), logits (N, classes), and their names.
    """

    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    names: tuple[str, ...]


def measure_slide(
    classified: ClassifiedSlide, drawn: Path, card: Card, spec: SlideEvaluationSpec
) -> tuple[EvaluatedSlide, MeasuredTiles]:
    """Return what the classifier got right on one slide, and its tiles for the overall figures.

    Raises
    ------
    MaskError
        If the annotations cannot be read.
    DataSetError
        If they have no class that the classifier knows.
    """
    classes = load_classes(drawn, classified.size, classified.offset, spec.renamed)
    names = card.classes.label_names()
    called = card.classes.labels(card.classes.probabilities(classified.logits))
    columns = _columns(drawn, classes.names, card)
    labels = spec.rule.labels(_merged(classes.coverage(classified.boxes), columns, len(names)))
    kept = np.flatnonzero((labels >= 0) & (labels < len(names)))
    right = int((labels[kept] == called[kept]).sum())
    counts = np.bincount(labels[kept], minlength=len(names)).tolist()
    areas, overlap = _areas(classified, called, classes, columns, names)
    ambiguous = int((labels == AMBIGUOUS).sum())
    result = EvaluatedSlide(
        slide=classified.slide.name,
        path=classified.slide.shown,
        tiles=dict(zip(names, counts, strict=True)),
        right=right,
        ambiguous=ambiguous,
        unannotated=len(labels) - len(kept) - ambiguous,
        failed=classified.failed,
        areas=areas,
        notes=(
            *classified.notes,
            *classes.notes,
            *_strangers(drawn, classes.names, columns),
            *overlap,
        ),
    )
    corners = classified.boxes[kept, :2].tolist()
    titles = tuple(f"{classified.slide.name} x={x} y={y}" for x, y in corners)
    return result, MeasuredTiles(labels[kept], classified.logits[kept], titles)


def _columns(drawn: Path, annotated: Sequence[str], card: Card) -> NDArray[np.int64]:
    """Return each annotated class's place among the classifier's, -1 where none has its name."""
    known = card.class_names
    if not set(annotated) & set(known):
        raise DataSetError(
            f"the areas' classes are {', '.join(annotated)}, and {card.name} knows"
            f" {', '.join(known)}.",
            f"Say which is which with --map {annotated[0]}={known[0]}.",
            drawn,
        )
    if len(known) == 1:
        return np.array([int(name == known[0]) for name in annotated], np.int64)
    return np.array([known.index(name) if name in known else -1 for name in annotated], np.int64)


def _merged(
    shares: NDArray[np.float64], columns: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Return shares by the classifier's classes, (N, ``count``).

    Behind them come those of each class that it does not know.
    """
    merged = np.zeros((len(shares), count))
    for share, column in zip(shares.T, columns, strict=True):
        if column >= 0:
            merged[:, column] += share
    return np.concatenate([merged.clip(max=1.0), shares[:, columns < 0]], axis=1)


def _areas(
    classified: ClassifiedSlide,
    called: NDArray[np.int64],
    classes: AnnotatedClasses,
    columns: NDArray[np.int64],
    names: tuple[str, ...],
) -> tuple[AreaConfusion, list[str]]:
    """Return the annotated areas by what they were called, and a sentence if they overlap."""
    pixel = classified.spacing.x * classified.spacing.y
    own = cells(classified.boxes, classified.step)
    whole = np.array([[0, 0, classified.size.width, classified.size.height]], np.int64)
    boxes = np.concatenate([own, whole])
    shares = classes.coverage(boxes)
    parts = _merged(shares, columns, len(names))[:, : len(names)] * (
        boxes[:, 2:3] * boxes[:, 3:] * pixel
    )
    # What is called none comes to lie in the last column.
    sums = np.zeros((len(names) + 1, len(names)))
    np.add.at(sums, called, parts[:-1])
    areas, uncalled = sums[:-1].T, sums[-1]
    missed = (parts[-1] - sums.sum(axis=0)).clip(min=0.0)
    annotated = shares[:-1].sum(axis=1)
    overlaps = (annotated - 1).clip(min=0).sum() > OVERLAP * annotated.sum()
    note = f"{classified.slide.name}: areas of two classes overlap; where they do, both count."
    return AreaConfusion(names, areas, missed, uncalled), [note] if overlaps else []


def _strangers(drawn: Path, annotated: Sequence[str], columns: NDArray[np.int64]) -> list[str]:
    unknown = [name for name, column in zip(annotated, columns, strict=True) if column < 0]
    if unknown:
        return [f"{drawn.name}: not known to the classifier, and left out: {', '.join(unknown)}."]
    return []
