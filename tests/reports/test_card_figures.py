"""What a card says of its figures where there is room for a sentence alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from slidecam.models.card import Card
from slidecam.reports.card_figures import measured_in_words

if TYPE_CHECKING:
    from collections.abc import Mapping


def card(provenance: Mapping[str, Any]) -> Card:
    return Card(
        name="a",
        architecture="timm/test_resnet",
        class_names=("a", "b"),
        activation="softmax",
        tile_px=96,
        spacing=0.25,
        input_px=64,
        mean=(0.71, 0.52, 0.68),
        std=(0.17, 0.22, 0.19),
        provenance=provenance,
    )


def test_the_test_part_comes_first_with_its_intervals_and_its_extent() -> None:
    figures = {
        "accuracy": {"value": 0.83529, "ci95": [0.74232, 0.89928], "by": "Wilson"},
        "ECE": {"value": 0.042, "ci95": None},
        "macro F1": {"value": None, "ci95": None, "note": "one class only"},
        "macro AUC": {"value": 0.9174, "ci95": None},
    }
    known = card(
        {
            "measured": {"val": {"accuracy": {"value": 0.99}}, "test": figures},
            "measured_on": {"test": {"pictures": 1073, "groups": 17}},
        }
    )
    assert measured_in_words(known) == (
        "accuracy 0.835 (0.742 to 0.899), macro AUC 0.917"
        " on the test part, 1,073 pictures, of 17 patients or slides"
    )


@pytest.mark.parametrize("measured", [None, "0.9", {"test": {"AUROC": 0.9}}, {"accuracy": 0.9}])
def test_what_no_evaluation_wrote_has_no_sentence(measured: object) -> None:
    assert measured_in_words(card({"measured": measured})) == ""
