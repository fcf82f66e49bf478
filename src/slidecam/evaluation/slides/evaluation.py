"""Predictions on slides against what a person has drawn on them: by tiles and by area."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import DataSetError, SlidecamError, UsageError
from slidecam.evaluation.slides.measuring import (
    ClassifiedSlide,
    MeasuredTiles,
    classify_slide,
    measure_slide,
    read_classified,
)
from slidecam.evaluation.slides.results import (
    AreaConfusion,
    EvaluatedSlide,
    SlideEvaluation,
    SlideEvaluationSpec,
    added,
)
from slidecam.foreground import annotation_file, pair_annotations
from slidecam.learning.data.dataset import has_learnt_from
from slidecam.learning.evaluation.evaluation import EvaluationSpec, evaluate_predictions
from slidecam.learning.metrics import check_measures
from slidecam.learning.predictions import Predictions
from slidecam.models import Bundle, open_bundle
from slidecam.prediction.model import load_model
from slidecam.steps import Step
from slidecam.store import find_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

MEND = "Mend what is said of it, then repeat the call."


@dataclass(frozen=True)
class _Job:
    """One slide: its name, where it or its run lies, its annotations, and how its tiles are got."""

    name: str
    path: str
    drawn: Path
    classify: Callable[[], Generator[Step, None, ClassifiedSlide]]


def evaluate_slides(
    bundle: str | Path,
    slides: Sequence[str | Path],
    annotations: Path,
    spec: SlideEvaluationSpec | None = None,
) -> Generator[Step, None, SlideEvaluation]:
    """Classify slides as `predict` would and hold the tiles against annotations.

    Parameters
    ----------
    bundle
        Folder of a bundle for slides.
    slides
        Slides, or folders of slides.
    annotations
        GeoJSON of the only slide, or a folder with ``<stem>.geojson`` for each; a slide without is
        passed over.
    spec
        Everything else.

    Raises
    ------
    UsageError, BundleError, DeviceError
        If nothing is found, the bundle cannot be used, or an extra is missing.
    DataSetError
        If no tile of any slide has a class that the classifier knows.
    """
    check_measures()
    spec = spec or SlideEvaluationSpec()
    pairs, notes = pair_annotations(slides, annotations)
    predict = replace(spec.predict, heatmap="none", heatmap_classes=(), heatmap_against=None)
    model = load_model(bundle, predict)
    if model.sees_pictures:
        raise UsageError(
            f"The model {model.bundle.card.name} sees whole pictures, no tiles.",
            "Name a bundle for slides.",
        )
    for note in notes:
        yield Step("slides", 0, len(pairs), message=note)
    jobs = []
    for slide, drawn in pairs:
        classify = partial(classify_slide, slide, model, predict)
        jobs.append(_Job(slide.name, slide.shown, drawn, classify))
    return (yield from _evaluated(model.bundle, jobs, spec))


def evaluate_runs(
    bundle: str | Path,
    runs: Path,
    annotations: Path,
    spec: SlideEvaluationSpec | None = None,
) -> Generator[Step, None, SlideEvaluation]:
    """Hold finished runs of `predict` against annotations; only the slides' headers are read.

    Parameters
    ----------
    bundle
        The bundle that the runs were made by.
    runs
        What was given to `predict` as its output folder, or one slide's folder in it.
    annotations, spec
        As for `evaluate_slides`.

    Raises
    ------
    UsageError
        If there is no run, or an extra is missing.
    DataSetError
        If no tile of any slide has a class that the classifier knows.
    """
    check_measures()
    spec = spec or SlideEvaluationSpec()
    opened = open_bundle(bundle, trust=spec.predict.trust)
    drawn = {folder: annotation_file(annotations, folder.name) for folder in find_runs(runs)}
    jobs = []
    for folder, path in drawn.items():
        if path is None:
            note = f"{folder.name} has no annotations and was passed over."
            yield Step("slides", 0, len(drawn), message=note)
            continue
        read = partial(read_classified, folder, opened)
        jobs.append(_Job(folder.name, str(folder), path, read))
    return (yield from _evaluated(opened, jobs, spec))


def _evaluated(
    bundle: Bundle,
    jobs: Sequence[_Job],
    spec: SlideEvaluationSpec,
) -> Generator[Step, None, SlideEvaluation]:
    """Measure slide after slide; what is wrong with one is reported, and stops no other."""
    slides: list[EvaluatedSlide] = []
    tiles: list[MeasuredTiles] = []
    for job in jobs:
        try:
            classified = yield from job.classify()
            slide, measured = measure_slide(classified, job.drawn, bundle.card, spec)
            known = has_learnt_from(bundle.card.provenance, slide.slide, classified.fingerprint)
            slide = replace(slide, is_known=known)
        except SlidecamError as error:
            slide = EvaluatedSlide(
                job.name, job.path, problem=f"{error.problem} {error.remedy}".strip()
            )
            measured = None
        for message in filter(None, (*slide.notes, slide.problem)):
            yield Step("slides", len(slides), len(jobs), message=message)
        slides.append(slide)
        if measured is not None:
            tiles.append(measured)
        yield Step("slides", len(slides), len(jobs))
    slides = _without_known(slides)
    for slide in slides:
        if slide.is_known:
            yield Step("slides", len(jobs), len(jobs), message=slide.notes[-1])
    return _summed(bundle, slides, tiles, spec)


def _without_known(slides: Sequence[EvaluatedSlide]) -> list[EvaluatedSlide]:
    """Leave slides that the classifier has learnt from out of the figures, if any other is left.

    Where it has learnt from all of them, they are measured and said to flatter it.
    """
    left_out = any(sum(slide.tiles.values()) and not slide.is_known for slide in slides)
    said = "so that these figures flatter it."
    if left_out:
        said = "which is left out of the figures of all slides."
    found: list[EvaluatedSlide] = []
    for slide in slides:
        if not slide.is_known:
            found.append(slide)
            continue
        note = f"{slide.slide}: the classifier has learnt from this slide or patient, {said}"
        found.append(replace(slide, notes=(*slide.notes, note), is_left_out=left_out))
    return found


def _summed(
    bundle: Bundle,
    slides: Sequence[EvaluatedSlide],
    tiles: Sequence[MeasuredTiles],
    spec: SlideEvaluationSpec,
) -> SlideEvaluation:
    _refuse_nothing(slides)
    card = bundle.card
    left_out: set[str] = set()
    areas: list[AreaConfusion] = []
    for slide in slides:
        if slide.is_left_out:
            left_out.add(slide.slide)
        elif slide.areas is not None:
            areas.append(slide.areas)
    tiles = [each for each in tiles if each.slide not in left_out]
    names: list[str] = []
    groups: list[str] = []
    for each in tiles:
        names += each.names
        groups += [each.slide] * len(each.names)
    predictions = Predictions(
        labels=np.concatenate([each.labels for each in tiles]),
        logits=np.concatenate([each.logits for each in tiles]),
        class_names=card.classes.label_names(),
        names=tuple(names),
        groups=tuple(groups),
        activation=card.activation,
        temperature=card.temperature,
        biases=card.class_biases,
        calibrated_on=card.calibrated_on,
        thresholds=card.thresholds,
        class_colors=card.class_colors,
    )
    figures = evaluate_predictions(
        predictions, EvaluationSpec(intervals=spec.intervals, bundle=bundle.digest)
    )
    if left_out:
        figures = replace(figures, left_out={"slides": len(left_out)})
    return SlideEvaluation(figures, added(areas), tuple(slides))


def _refuse_nothing(slides: Sequence[EvaluatedSlide]) -> None:
    if any(sum(slide.tiles.values()) for slide in slides):
        return
    problems = [slide.problem for slide in slides if slide.problem]
    if problems:
        raise DataSetError(f"no slide could be measured: {problems[0]}", MEND)
    raise DataSetError(
        "no tile of any slide has a class: the annotated areas are too small, or too mixed.",
        "Annotate larger areas, or pass a smaller --min-share.",
    )
