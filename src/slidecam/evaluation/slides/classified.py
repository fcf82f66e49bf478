"""A slide's tiles with what a classifier says of them, from a run on disk or computed now."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError, UsageError
from slidecam.inference import classify
from slidecam.prediction.preparation import prepare
from slidecam.runs import Run
from slidecam.sources.discovery import FoundSlide
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    from slidecam.geometry import Size, Spacing
    from slidecam.models import Bundle
    from slidecam.prediction.model import LoadedModel
    from slidecam.prediction.work import SlideWork
    from slidecam.runs.spec import PredictSpec

NOWHERE = Path()
"""The output folder of what leaves nothing on disk."""


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
    step
        Level-0 pixels from one tile to the next.
    size, spacing
        Of level 0.
    offset
        x, y in level-0 pixels of the corner that QuPath counts from.
    failed
        Tiles without a result; they are in neither array.
    notes
        What a careful user wants to know, as sentences.
    """

    slide: FoundSlide
    boxes: NDArray[np.int64]
    logits: NDArray[np.float32]
    step: int
    size: Size
    spacing: Spacing
    offset: tuple[float, float]
    failed: int
    notes: tuple[str, ...]


def classify_slide(
    slide: FoundSlide, model: LoadedModel, spec: PredictSpec
) -> Generator[Step, None, ClassifiedSlide]:
    """Classify a slide exactly as `predict` would, and leave nothing on disk.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide.
    """
    ready = prepare(slide.path, NOWHERE, model, replace(spec, dry_run=True))
    try:
        return (yield from _classified(slide, ready, model, spec))
    finally:
        ready.close()


def _classified(
    slide: FoundSlide, ready: SlideWork, model: LoadedModel, spec: PredictSpec
) -> Generator[Step, None, ClassifiedSlide]:
    if ready.spacing is None:
        raise UsageError(
            f"{model.bundle.card.name} sees whole pictures, no tiles.", "Name a bundle for slides."
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
        step=grid.step,
        size=facts.size,
        spacing=ready.spacing.spacing,
        offset=_as_offset(ready.qupath.corner),
        failed=int((~known).sum()),
        notes=ready.warnings,
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
    with run.open_slide() as source:
        facts = source.facts
    slide = FoundSlide(folder.name, run.slide_path)
    done = run.tiles.done
    yield Step(f"reading {slide.name}", len(run), len(run))
    return ClassifiedSlide(
        slide=slide,
        boxes=run.tiles.boxes[done],
        logits=run.logits[done],
        step=run.step,
        size=facts.size,
        spacing=spacing,
        offset=_as_offset(run.tiles.corner),
        failed=int((~done).sum()),
        notes=facts.notes,
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
