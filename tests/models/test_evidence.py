"""What was measured of heatmaps is on the card, and says which of them leads."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import CardError
from slidecam.explain.facts import measured, said_of_methods
from slidecam.models.card import card_text, read_card
from slidecam.models.card_parts import MapEvidence, MapJudgement

if TYPE_CHECKING:
    from pathlib import Path

    from models.conftest import MakeCard

EVIDENCE = MapEvidence(
    "24 tiles of slide.tif",
    "class tumour",
    {"cam": MapJudgement(7, 7, 0), "gradcam++": MapJudgement(7, 1, 2)},
)


def test_a_card_keeps_it(tmp_path: Path, make_card: MakeCard) -> None:
    card = make_card(heatmap_evidence=EVIDENCE, weights_sha256="0" * 64)
    path = tmp_path / "card.json"
    path.write_text(card_text(card))
    assert read_card(path).heatmap_evidence == EVIDENCE


@pytest.mark.parametrize("judged", [{"measures": 7, "better": -1, "worse": 0}, {"better": 1}, 3])
def test_what_is_none_is_refused_with_its_key(
    tmp_path: Path, make_card: MakeCard, judged: object
) -> None:
    card = make_card(heatmap_evidence=EVIDENCE, weights_sha256="0" * 64)
    table = json.loads(card_text(card))
    table["heatmap_evidence"]["methods"]["cam"] = judged
    path = tmp_path / "card.json"
    path.write_text(json.dumps(table))
    with pytest.raises(CardError, match=r"heatmap_evidence\.methods"):
        read_card(path)


def test_it_is_said_with_what_each_map_shows(make_card: MakeCard) -> None:
    card = make_card(heatmap_evidence=EVIDENCE)
    said = said_of_methods(card, ("cam", "gradcam++"))
    assert said[0].startswith("CAM shows what each place adds to the class's logit")
    assert said[0].endswith("(logits).")
    assert "mostly activation" in said[1]
    assert said[2] == (
        "Measured on 24 tiles of slide.tif, for class tumour: CAM is better than a random map by 7"
        " of 7 measures; Grad-CAM++ is better than a random map by 1 of 7 measures and worse by 2."
    )
    assert said[3].startswith("CAM is shown first, Grad-CAM++ beside it")
    assert measured(card, "gradcam++") in said[2].replace(
        "CAM is better than a random map by 7 of 7 measures; ", ""
    )
    assert measured(card, "gradcam") == ""


def test_that_none_was_shown_to_be_faithful_is_said(make_card: MakeCard) -> None:
    mixed = replace(EVIDENCE, methods={"cam": MapJudgement(7, 5, 2)})
    said = said_of_methods(make_card(heatmap_evidence=mixed), ("cam",))
    assert said[-1] == "By that, none of them was shown to be faithful."


def test_that_nobody_has_measured_is_said_with_what_does(make_card: MakeCard) -> None:
    for card in (make_card(), replace(make_card(), heatmap_evidence=replace(EVIDENCE, methods={}))):
        assert any("slidecam faithfulness" in each for each in said_of_methods(card, ("cam",)))
