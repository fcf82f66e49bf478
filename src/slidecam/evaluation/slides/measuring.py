"""One slide's tiles, from a run on disk or classified now, held against its annotations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError, StoreError, UsageError
from slidecam.evaluation.slides.results import (
    AreaConfusion,
    EvaluatedSlide,
    SlideEvaluationSpec,
)
from slidecam.foreground import AMBIGUOUS, AnnotatedClasses, load_classes
from slidecam.inference import classify
from slidecam.learning.evaluation.classifying import without_the_class
from slidecam.prediction.preparation import prepare
from slidecam.runs import Run
from slidecam.runs.tiles import cells
from slidecam.sources.names import FoundSlide
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from slidecam.geometry import Size, Spacing
    from slidecam.models import Bundle, Card
    from slidecam.prediction.model import LoadedModel
    from slidecam.prediction.work import SlideWork
    from slidecam.runs.spec import PredictSpec


NOWHERE = Path()
"""The output folder of what leaves nothing on disk."""

PUT_BACK = (
    "Put that slide back where it lay, or classify it where it lies now, with slidecam predict."
)


@dataclass(frozen=True, eq=False)
class ClassifiedSlide:
    """The classified tiles of one slide.

    Attributes
    ----------
    slide
        Its name and where it lies.
    boxes
        int64, (tiles, 4): x, y, width, height in level-0 pixels.
    logits
        float32, (tiles, classes).
    steps
        Level-0 pixels from one tile to the next, along x and y.
    size, spacing
        Of level 0.
    offset
        x, y in level-0 pixels of the corner that QuPath counts from.
    failed
        Tiles without a result; they are in neither array.
    notes
        What a careful user wants to know, as sentences.
    fingerprint
        What the slide is known by, whatever it is called.
    """

    slide: FoundSlide
    boxes: NDArray[np.int64]
    logits: NDArray[np.float32]
    steps: tuple[int, int]
    size: Size
    spacing: Spacing
    offset: tuple[float, float]
    failed: int
    notes: tuple[str, ...]
    fingerprint: str = ""


def classify_slide(
    slide: FoundSlide,
    model: LoadedModel,
    spec: PredictSpec,
) -> Generator[Step, None, ClassifiedSlide]:
    """Classify a slide exactly as `predict` would, and leave nothing on disk.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide.
    """
    ready = prepare(slide, NOWHERE, model, replace(spec, dry_run=True))
    try:
        return (yield from _classified(slide, ready, model, spec))
    finally:
        ready.close()


def _classified(
    slide: FoundSlide,
    ready: SlideWork,
    model: LoadedModel,
    spec: PredictSpec,
) -> Generator[Step, None, ClassifiedSlide]:
    if ready.spacing is None:
        raise UsageError(
            f"The model {model.bundle.card.name} sees whole pictures, no tiles.",
            "Name a bundle for slides.",
        )
    grid, facts = ready.grid, ready.source.facts
    logits = np.full((len(grid), len(model.bundle.card.class_names)), np.nan, np.float32)
    batches = list(enumerate(plan_batches(ready.source, grid, model.batch_size)))
    stream_spec = StreamSpec(
        model.batch_size, spec.workers, spec.memory_mb, model.bundle.card.interpolation
    )
    done = 0
    with TileStream(ready.source, grid, batches, stream_spec) as stream:
        for scored in classify(stream, model.classifier, None):
            logits[scored.batch.rows] = scored.results.blanked().logits
            done += len(scored.batch.rows)
            yield Step(f"classifying {slide.name}", done, len(grid))
    known = np.isfinite(logits).all(axis=1)
    return ClassifiedSlide(
        slide=slide,
        boxes=grid.boxes[known],
        logits=logits[known],
        steps=grid.steps,
        size=facts.size,
        spacing=ready.spacing.spacing,
        offset=_as_offset(ready.qupath.corner),
        failed=int((~known).sum()),
        notes=ready.warnings,
        fingerprint=facts.fingerprint,
    )


def _as_offset(corner: tuple[int, int]) -> tuple[float, float]:
    left, top = corner
    return float(left), float(top)


def read_classified(folder: Path, bundle: Bundle) -> Generator[Step, None, ClassifiedSlide]:
    """Read a slide's tiles from the run in its output folder.

    The slide is opened for its size and notes alone.

    Raises
    ------
    DataSetError
        If the run was made by another bundle, or for whole pictures.
    SlidecamError
        If the run or the slide cannot be read.
    """
    run = Run.open(folder)
    spacing = _checked_spacing(run, bundle)
    try:
        with run.open_slide() as source:
            facts = source.facts
    except StoreError as error:
        raise DataSetError(error.problem, PUT_BACK) from error
    slide = FoundSlide(folder.name, run.slide_path)
    done = run.tiles.done
    yield Step(f"reading {slide.name}", len(run), len(run))
    return ClassifiedSlide(
        slide=slide,
        boxes=run.tiles.boxes[done],
        logits=run.logits[done],
        steps=run.steps,
        size=facts.size,
        spacing=spacing,
        offset=_as_offset(run.tiles.corner),
        failed=int((~done).sum()),
        notes=facts.readings,
        fingerprint=facts.fingerprint,
    )


def _checked_spacing(run: Run, bundle: Bundle) -> Spacing:
    """Return the spacing of a run that a bundle made of tiles; DataSetError if it did not."""
    if run.bundle_digest != bundle.digest:
        raise DataSetError(
            f"this run was made by another bundle than {bundle.path}.",
            "Name that bundle.",
            run.folder,
        )
    if run.spacing is None:
        raise DataSetError(
            "a whole picture was classified here, no tiles.",
            "Evaluate on pictures instead.",
            run.folder,
        )
    return run.spacing


OVERLAP = 0.01
"""Share of the annotated area from which on it is told that classes overlap.

Less is two lines drawn side by side.
"""


@dataclass(frozen=True, eq=False)
class MeasuredTiles:
    """The tiles of a slide that have a class.

    The slide's name, labels int64 (N,), logits (N, classes), and the tiles' names.
    """

    slide: str
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]
    names: tuple[str, ...]


def measure_slide(
    classified: ClassifiedSlide,
    drawn: Path,
    card: Card,
    spec: SlideEvaluationSpec,
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
            *_unknown(drawn, classes.names, columns),
            *_absent(drawn, classes.names, card),
            *overlap,
        ),
    )
    name = classified.slide.name
    titles = tuple(f"{name} x={x} y={y}" for x, y in classified.boxes[kept, :2].tolist())
    return result, MeasuredTiles(name, labels[kept], classified.logits[kept], titles)


def _columns(
    drawn: Path,
    annotated: Sequence[str],
    card: Card,
) -> NDArray[np.int64]:
    """Return each annotated class's place among the classifier's, -1 where none has its name."""
    known = card.class_names
    if len(known) == 1:  # all others are its absence
        return np.array([int(name == known[0]) for name in annotated], np.int64)
    if not set(annotated) & set(known):
        raise DataSetError(
            f"the areas' classes are {', '.join(annotated)}, and {card.name} knows"
            f" {', '.join(known)}.",
            f"Say which is which with --map {annotated[0]}={known[0]}.",
            drawn,
        )
    places = {name: place for place, name in enumerate(known)}
    return np.array([places.get(name, -1) for name in annotated], np.int64)


def _merged(
    shares: NDArray[np.float64],
    columns: NDArray[np.int64],
    count: int,
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
    own = cells(classified.boxes, classified.steps)
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
    notes = []
    if overlaps:
        name = classified.slide.name
        notes.append(f"{name}: areas of two classes overlap; where they do, both count.")
    return AreaConfusion(names, areas, missed, uncalled), notes


def _unknown(
    drawn: Path,
    annotated: Sequence[str],
    columns: NDArray[np.int64],
) -> list[str]:
    unknown = [name for name, column in zip(annotated, columns, strict=True) if column < 0]
    if unknown:
        return [f"{drawn.name}: not known to the classifier, and left out: {', '.join(unknown)}."]
    return []


def _absent(drawn: Path, annotated: Sequence[str], card: Card) -> list[str]:
    """Return what is to be said of a slide without the only class that is looked for."""
    sought = card.class_names[0]
    if len(card.class_names) > 1 or sought in annotated:
        return []
    return [f"{drawn.name}: {_lowered(without_the_class('all tiles', sought, annotated))}"]


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
