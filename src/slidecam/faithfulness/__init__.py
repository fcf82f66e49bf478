"""Measures of how faithful a map is, always beside a random map and a centre prior."""

from slidecam.faithfulness.measure import evidence_of, measure, measure_heatmaps
from slidecam.faithfulness.report import FaithfulnessReport
from slidecam.faithfulness.sentences import cautions, sentences
from slidecam.faithfulness.spec import MEASURES, FaithfulnessSpec
from slidecam.faithfulness.stability import (
    RandomisationSpec,
    check_randomisable,
    randomisation,
)
from slidecam.faithfulness.writing import write_faithfulness

__all__ = [
    "MEASURES",
    "FaithfulnessReport",
    "FaithfulnessSpec",
    "RandomisationSpec",
    "cautions",
    "check_randomisable",
    "evidence_of",
    "measure",
    "measure_heatmaps",
    "randomisation",
    "sentences",
    "write_faithfulness",
]
