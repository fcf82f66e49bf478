"""Predictions on slides against annotations: figures of tiles and of areas."""

from slidecam.slide_evaluation.areas import AreaConfusion
from slidecam.slide_evaluation.evaluation import evaluate_runs, evaluate_slides
from slidecam.slide_evaluation.report import write_slide_evaluation
from slidecam.slide_evaluation.results import EvaluatedSlide, SlideEvaluation, SlideEvaluationSpec

__all__ = [
    "AreaConfusion",
    "EvaluatedSlide",
    "SlideEvaluation",
    "SlideEvaluationSpec",
    "evaluate_runs",
    "evaluate_slides",
    "write_slide_evaluation",
]
