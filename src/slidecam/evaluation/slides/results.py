"""The nouns of an evaluation on slides, and what is left of it on disk.

How it is to be done, areas, one slide's part, the whole. A tile that a border crosses counts by its
parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from slidecam.files import write_json
from slidecam.foreground import LabelRule
from slidecam.learning.evaluation.report import PAGE, Background, write_evaluation
from slidecam.learning.intervals import IntervalSpec
from slidecam.pages import write_page
from slidecam.runs.spec import PredictSpec
from slidecam.settings import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.evaluation.evaluation import Evaluation


DEFINITIONS: Mapping[str, str] = {
    "sensitivity": "share of the class's classified area that was called so",
    "precision": (
        "share of the annotated area called so that is so; what nobody annotated does not count"
    ),
    "Dice": "harmonic mean of both",
    "classified": "share of the class's annotated area that lies under a classified tile",
}
"""Every figure of a class, and what it is."""


@dataclass(frozen=True, eq=False)
class AreaConfusion:
    """Areas of annotated classes by what they were called.

    Attributes
    ----------
    class_names
        K of them.
    areas
        float64, (K, K), µm²: a row for each annotated class, a column for each predicted one.
    missed
        float64, (K,), µm² of each annotated class that no classified tile covers: no tissue, or not
        readable.
    uncalled
        float64, (K,), µm² of each annotated class that was classified and called none.
    """

    class_names: tuple[str, ...]
    areas: NDArray[np.float64]
    missed: NDArray[np.float64]
    uncalled: NDArray[np.float64]

    @property
    def accuracy(self) -> float | None:
        """Share of the classified annotated area that was called what it is."""
        return _share(float(np.trace(self.areas)), float(self.areas.sum() + self.uncalled.sum()))

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Return the figures in `DEFINITIONS` of each class.

        None where there is nothing to be a share of.
        """
        figures = {}
        for place, name in enumerate(self.class_names):
            right = float(self.areas[place, place])
            true = float(self.areas[place].sum() + self.uncalled[place])
            called = float(self.areas[:, place].sum())
            figures[name] = {
                "sensitivity": _share(right, true),
                "precision": _share(right, called),
                "Dice": _share(2 * right, true + called),
                "classified": _share(true, true + float(self.missed[place])),
            }
        return figures

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        confusion: dict[str, object] = {
            "classes": list(self.class_names),
            "rows": "annotated",
            "columns": "predicted",
            "areas": self.areas.round(3).tolist(),
            "not classified": self.missed.round(3).tolist(),
        }
        if self.uncalled.any():
            confusion["called none"] = self.uncalled.round(3).tolist()
        return {
            "unit": "µm²",
            "accuracy": self.accuracy,
            "per class": self.figures(),
            "confusion": confusion,
        }


def _share(part: float, whole: float) -> float | None:
    if whole > 0:
        return part / whole
    return None


def added(confusions: Sequence[AreaConfusion]) -> AreaConfusion:
    """Return the areas of several slides as one.

    There is at least one, and all have the same classes.
    """
    return AreaConfusion(
        confusions[0].class_names,
        np.sum([each.areas for each in confusions], axis=0),
        np.sum([each.missed for each in confusions], axis=0),
        np.sum([each.uncalled for each in confusions], axis=0),
    )


@dataclass(frozen=True)
class SlideEvaluationSpec:
    """How predictions are held against annotations.

    Attributes
    ----------
    rule
        Which class a tile is of.
    renamed
        What the annotations call a class, and what the classifier calls it.
    predict
        How slides are classified: tiling, spacings, device. Nothing of it is heeded for runs on
        disk.
    intervals
        How intervals are made; slides are drawn, with all their tiles.
    """

    rule: LabelRule = field(default_factory=LabelRule)
    renamed: Mapping[str, str] = field(default_factory=dict)
    predict: PredictSpec = field(default_factory=PredictSpec)
    intervals: IntervalSpec = field(default_factory=IntervalSpec)


@dataclass(frozen=True, eq=False)
class EvaluatedSlide:
    """One slide's part in an evaluation.

    Attributes
    ----------
    slide, path
        Its name and where it lies.
    tiles
        Tiles of each class.
    right
        How many of them were called what they are.
    ambiguous, unannotated, failed
        Tiles of two classes, of none that the classifier knows, and without a result; they are in
        no tile figure.
    areas
        What was called what; None where the slide could not be used.
    problem
        Why it could not, or nothing.
    notes
        What a careful user wants to know, as sentences.
    is_known
        Whether the classifier has learnt from it, or from another slide of its patient.
    is_left_out
        Whether it is in no figure of all slides, since others are new to the classifier.
    """

    slide: str
    path: str
    tiles: Mapping[str, int] = field(default_factory=dict)
    right: int = 0
    ambiguous: int = 0
    unannotated: int = 0
    failed: int = 0
    areas: AreaConfusion | None = None
    problem: str = ""
    notes: tuple[str, ...] = ()
    is_known: bool = False
    is_left_out: bool = False

    @property
    def summary(self) -> str:
        """What became of it, as a phrase."""
        if self.problem:
            return self.problem
        said = f"{self.right} of {sum(self.tiles.values())} tiles right"
        if self.is_left_out:
            return f"{said}; learnt from, and left out of the figures"
        if self.is_known:
            return f"{said}; learnt from"
        return said

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "slide": self.slide,
            "path": self.path,
            "tiles": dict(self.tiles),
            "right": self.right,
            "ambiguous": self.ambiguous,
            "unannotated": self.unannotated,
            "failed": self.failed,
            "areas": None if self.areas is None else self.areas.record(),
            "problem": self.problem or None,
            "learnt_from": self.is_known,
            "left_out": self.is_left_out,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, eq=False)
class SlideEvaluation:
    """All slides of an evaluation.

    Attributes
    ----------
    tiles
        Figures over all tiles that have a class, each slide a group.
    areas
        What of the annotated area was called what.
    slides
        One by one.
    """

    tiles: Evaluation
    areas: AreaConfusion
    slides: tuple[EvaluatedSlide, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every slide and every tile could be used."""
        return not any(slide.problem or slide.failed for slide in self.slides)

    def record(self) -> dict[str, object]:
        """Return it as JSON values.

        The tile figures as of pictures, ``areas`` and ``slides`` beside them.
        """
        slides = [slide.record() for slide in self.slides]
        return {**self.tiles.record(), "areas": self.areas.record(), "slides": slides}


RECORD, AREA_PAGE = "slides.json", "slides.html"

SQUARE_MM = 1e6
"""µm² in a mm²."""


def write_slide_evaluation(
    evaluation: SlideEvaluation,
    folder: Path,
    title: str = "Evaluation on slides",
) -> None:
    """Write what is to be kept of an evaluation on slides.

    Parameters
    ----------
    evaluation
        Of one slide or more.
    folder
        Gets ``evaluation.json``, ``evaluation.html``, ``predictions.csv`` and ``figures/*.png`` of
        the tiles, as an evaluation on pictures does; ``slides.json`` and ``slides.html`` with the
        areas and each slide.
    title
        What was measured: the classifier's name.
    """
    used = [slide for slide in evaluation.slides if not slide.problem]
    notes = [f"{slide.slide}: {slide.problem}" for slide in evaluation.slides if slide.problem]
    for slide in used:
        notes += slide.notes
    data = f"the annotated tiles of {counted(len(used), 'slide')}"
    write_evaluation(evaluation.tiles, folder, Background(title, data, notes=notes))
    write_page(
        "slides",
        folder / AREA_PAGE,
        title=title,
        areas=evaluation.areas,
        figures=evaluation.areas.figures(),
        definitions=DEFINITIONS,
        slides=evaluation.slides,
        notes=notes,
        square_mm=SQUARE_MM,
        tiles_page=PAGE,
        record=RECORD,
    )
    write_json(folder / RECORD, evaluation.record())
