"""Measures of how faithful a map is, always beside a random map and a centre prior."""

from slidecam.faithfulness.measure import measure, with_randomisation
from slidecam.faithfulness.randomisation import RandomisationSpec, check_randomisable, randomisation
from slidecam.faithfulness.references import centre_prior, random_map
from slidecam.faithfulness.report import FaithfulnessReport
from slidecam.faithfulness.sentences import cautions, sentences
from slidecam.faithfulness.spec import MEASURES, FaithfulnessSpec
from slidecam.faithfulness.writing import write_faithfulness

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
