"""Measures of how faithful a map is, always beside a random map and a centre prior."""

from slidecam.explain.faithfulness.measure import measure, with_randomisation
from slidecam.explain.faithfulness.randomisation import (
    RandomisationSpec,
    check_randomisable,
    randomisation,
)
from slidecam.explain.faithfulness.references import centre_prior, random_map
from slidecam.explain.faithfulness.report import FaithfulnessReport
from slidecam.explain.faithfulness.sentences import cautions, sentences
from slidecam.explain.faithfulness.spec import MEASURES, FaithfulnessSpec
from slidecam.explain.faithfulness.writing import write_faithfulness

__all__ = [
    "MEASURES",
    "FaithfulnessReport",
    "FaithfulnessSpec",
    "RandomisationSpec",
    "cautions",
    "centre_prior",
    "check_randomisable",
    "measure",
    "random_map",
    "randomisation",
    "sentences",
    "with_randomisation",
    "write_faithfulness",
]
