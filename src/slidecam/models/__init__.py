"""Classifiers as data: bundles of card and weights, and the two halves that run them."""

from slidecam.models.bundle import Bundle, find_bundles, open_bundle, save_bundle
from slidecam.models.bundle_maker import BundleSpec, make_bundle
from slidecam.models.card import Card
from slidecam.models.classifier import Classifier, classifier_for
from slidecam.models.splits import ClassifierPass

__all__ = [
    "Bundle",
    "BundleSpec",
    "Card",
    "Classifier",
    "ClassifierPass",
    "classifier_for",
    "find_bundles",
    "make_bundle",
    "open_bundle",
    "save_bundle",
]
