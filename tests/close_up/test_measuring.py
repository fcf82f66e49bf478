"""What is measured of methods can be kept on the bundle's card."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.close_up import MeasureSpec, TileChoice, measure_tiles
from slidecam.errors import BundleError
from slidecam.faithfulness import FaithfulnessSpec, evidence_of
from slidecam.faithfulness.measure import FEWEST, measure_heatmaps
from slidecam.models import open_bundle, save_bundle
from slidecam.models.bundle import refuse_foreign
from slidecam.models.card_parts import MapJudgement
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUICK = MeasureSpec(
    methods=("cam", "gradcam"),
    explained="A",
    tiles=TileChoice(random=3),
    faithfulness=FaithfulnessSpec(("correlation", "max-sensitivity"), (0,)),
    randomisation=None,
    onto_card=True,
)


def test_the_card_keeps_what_was_found_and_the_weights_stay(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    bundle = open_bundle(tiny_bundle)
    own = save_bundle(tmp_path / "own", bundle.card, bundle.network())
    slide = write_slide(tmp_path / "one.tif", 400, 300)
    spec = replace(QUICK, backend="eager")
    report = result_of(measure_tiles(slide, own.path, tmp_path / "out", spec))
    assert report.runs_by == ("torch, eager, fp32",)
    record = json.loads((tmp_path / "out" / "faithfulness.json").read_text("utf-8"))
    assert record["runs by"] == ["torch, eager, fp32"]
    kept = open_bundle(own.path)
    assert kept.card.weights_sha256 == own.card.weights_sha256
    evidence = kept.card.heatmap_evidence
    assert evidence == evidence_of(report, "3 tiles of one.tif")
    assert evidence is not None
    assert evidence.explained == "class A"
    assert set(evidence.methods) == {"cam", "gradcam"}
    # Max-sensitivity judges nobody.
    assert {found.measures for found in evidence.methods.values()} == {1}
    for name, found in evidence.methods.items():
        verdicts = report.verdicts(name)
        assert found == MapJudgement(1, verdicts.count("better"), verdicts.count("worse"))


def test_a_bundle_without_a_card_of_ours_can_keep_nothing(wsinfer_torchscript: Path) -> None:
    with pytest.raises(BundleError, match="--card"):
        refuse_foreign(open_bundle(wsinfer_torchscript, trust=True))


def test_few_pictures_tell_nothing_for_a_card(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    edge = classifier.card.input_px
    tiles = torch.zeros((FEWEST - 1, edge, edge, 3), dtype=torch.uint8)
    assert result_of(measure_heatmaps(classifier, tiles, [0] * len(tiles), "few")) is None
