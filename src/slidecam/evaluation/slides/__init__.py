"""Predictions on slides against annotations: figures of tiles and of areas."""

from slidecam.evaluation.slides.evaluation import evaluate_runs, evaluate_slides
from slidecam.evaluation.slides.results import (
    AreaConfusion,
    EvaluatedSlide,
    SlideEvaluation,
    SlideEvaluationSpec,
    write_slide_evaluation,
)

__all__ = [
    "AreaConfusion",
    "EvaluatedSlide",
    "SlideEvaluation",
    "SlideEvaluationSpec",
    "evaluate_runs",
    "evaluate_slides",
    "write_slide_evaluation",
]
