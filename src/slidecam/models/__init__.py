"""Classifiers as data: bundles of card and weights, and the two halves that run them.

Names are looked up when they are used: who reads a run needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.registry import looked_up

if TYPE_CHECKING:
    from slidecam.models.bundle import Bundle, find_bundles, open_bundle, save_bundle
    from slidecam.models.bundle_maker import BundleSpec, make_bundle
    from slidecam.models.card import Card
    from slidecam.models.classifier import Classifier, classifier_for
    from slidecam.models.splits import ClassifierPass

__getattr__ = looked_up(
    __name__,
    {
        "Bundle": "bundle",
        "BundleSpec": "bundle_maker",
        "Card": "card",
        "Classifier": "classifier",
        "ClassifierPass": "splits",
        "classifier_for": "classifier",
        "find_bundles": "bundle",
        "make_bundle": "bundle_maker",
        "open_bundle": "bundle",
        "save_bundle": "bundle",
    },
)

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
