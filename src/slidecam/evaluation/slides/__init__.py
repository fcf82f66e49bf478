"""Predictions on slides against annotations: figures of tiles and of areas."""

from slidecam.evaluation.slides.areas import AreaConfusion
from slidecam.evaluation.slides.evaluation import evaluate_runs, evaluate_slides
from slidecam.evaluation.slides.report import write_slide_evaluation
from slidecam.evaluation.slides.results import EvaluatedSlide, SlideEvaluation, SlideEvaluationSpec

__all__ = [
    "AreaConfusion",
    "EvaluatedSlide",
    "SlideEvaluation",
    "SlideEvaluationSpec",
    "evaluate_runs",
    "evaluate_slides",
    "write_slide_evaluation",
]
