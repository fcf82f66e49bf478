"""The nouns of an evaluation on slides: how it is to be done, one slide's part, and the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slidecam.foreground import LabelRule
from slidecam.learning.intervals import IntervalSpec
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.evaluation.slides.areas import AreaConfusion
    from slidecam.learning.evaluation.evaluation import Evaluation


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
