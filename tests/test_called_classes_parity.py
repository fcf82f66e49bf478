"""Every door calls the same classes, of whatever outputs: none, one or several, ties too.

A classifier here says the same of everything that it sees. What each door says of it is held
against what stands beside its outputs below, written by hand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from slidecam.cli.output import evaluation_facts, volume_facts
from slidecam.close_up.explaining import CloseUpSpec, explain_tiles
from slidecam.close_up.tiles import TileChoice
from slidecam.evaluation.slides import SlideEvaluationSpec, evaluate_runs
from slidecam.evaluation.volumes import evaluate_volume
from slidecam.faithfulness.mapping import explained_classes
from slidecam.foreground import LabelRule
from slidecam.learning.data.pictures import read_picture_set
from slidecam.learning.evaluation.classifying import evaluate
from slidecam.learning.evaluation.evaluation import EvaluationSpec
from slidecam.learning.intervals import IntervalSpec
from slidecam.models import Card, open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.prediction.pipeline import predict
from slidecam.reports import run_figure
from slidecam.runs import Run, compare_runs, legend
from slidecam.runs.spec import PredictSpec
from slidecam.server.devices import FairLock
from slidecam.server.guard import Limits
from slidecam.server.pictures import PictureRequest, explain_picture
from slidecam.steps import result_of
from slidecam.store import read_run
from slidecam.teaching.suggestions import suggest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.classes import Activation
    from slidecam.reports.picture import FigureFacts

WIDTHS = {"widths": [4, 8]}
EDGE = 32
CAFE = "Caf\u00e9"
FEW = IntervalSpec(resamples=5)


@dataclass(frozen=True)
class Said:
    """What a classifier says of everything, and what that is to be called, by hand.

    ``words`` is the call in the panel of ``explain``; ``first`` the class that is explained.
    """

    name: str
    activation: Activation
    logits: tuple[float, ...]
    called: tuple[str, ...]
    words: str
    first: str
    thresholds: tuple[float, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return ("lesion",) if len(self.logits) == 1 else (CAFE, "a, b", "c/d")[: self.width]

    @property
    def width(self) -> int:
        return len(self.logits)

    @property
    def winner(self) -> str | None:
        return self.called[0] if self.called else None


CASES = (
    Said("one-no", "sigmoid", (-3.5,), (), "not lesion", "lesion"),
    Said("one-even", "sigmoid", (0.0,), ("lesion",), "lesion", "lesion"),
    Said("one-low", "sigmoid", (-1.1,), ("lesion",), "lesion", "lesion", (0.21,)),
    Said("score-low", "none", (0.3,), (), "not lesion", "lesion"),
    Said("score-even", "none", (0.5,), ("lesion",), "lesion", "lesion"),
    Said("labels-none", "sigmoid", (-1.5, -1.8, -2.2), (), f"none called ({CAFE} 18.2 %)", CAFE),
    Said("labels-two", "sigmoid", (0.3, -1.0, 2.1), ("c/d", CAFE), f"c/d + {CAFE}", "c/d"),
    Said("labels-own", "sigmoid", (0.3, -0.6, -3.0), ("a, b",), "a, b", "a, b", (0.6, 0.33, 0.5)),
    Said("labels-even", "sigmoid", (-1.0, 1.4, 1.4), ("a, b", "c/d"), "a, b + c/d", "a, b"),
    Said("scores", "none", (-7.1, -2.3, -2.3), ("a, b",), "a, b", "a, b"),
    Said("all-even", "softmax", (0.7, 0.7, 0.7), (CAFE,), CAFE, CAFE),
)  # fmt: skip


def bundle_of(said: Said, folder: Path, spacing: float | None) -> Path:
    """Return a bundle that says the same of everything; its card spells its classes in NFD."""
    network = build_network("slidecam/pocket_resnet", WIDTHS, said.width, folder)
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor(said.logits))
    card = Card(
        name=said.name,
        architecture="slidecam/pocket_resnet",
        architecture_args=WIDTHS,
        class_names=tuple(name.replace("\u00e9", "e\u0301") for name in said.names),
        activation=said.activation,
        thresholds=said.thresholds,
        tile_px=EDGE,
        spacing=spacing,
        input_px=EDGE,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return save_bundle(folder, card, network).path


def drawn(path: Path, name: str) -> Path:
    """Write one large area of a class, in a spelling of its own."""
    ring = [[0, 0], [700, 0], [700, 500], [0, 500], [0, 0]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {
            "objectType": "annotation",
            "classification": {"name": name.replace("\u00e9", "e\u0301")},
        },
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), "utf-8")
    return path


def record_calls_alike(run: Run, said: Said, count: int) -> None:
    """Hold what ``run.json`` says of the classes against what is called by hand."""
    outcome = run.record.outcome
    assert outcome is not None
    assert {one["name"]: one["tiles"] for one in outcome.classes} == dict.fromkeys(
        said.called, count
    )
    assert outcome.tiles.get("none_called", 0) == count * (not said.called)
    assert outcome.tiles.get("several_called", 0) == count * (len(said.called) > 1)
    assert all(("mean_score" in one) == (said.activation == "none") for one in outcome.classes)


def figure_legend(run: Run, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return the shares in the legend of a run's figure, by name."""
    kept: list[FigureFacts] = []
    monkeypatch.setattr(
        run_figure, "write_figure_png", lambda _path, _pixels, facts: kept.append(facts)
    )
    run_figure.write_figure(run.folder / "figure.png", run)
    return {one.name: one.said for one in kept[0].legend}


@pytest.fixture(params=CASES, ids=lambda said: said.name)
def said(request: pytest.FixtureRequest) -> Said:
    found: Said = request.param
    return found


def test_a_slides_doors_call_alike(
    said: Said,
    tmp_path: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = bundle_of(said, tmp_path / "bundle", 0.5)
    slide = write_slide(tmp_path / "s.tif", width=260, height=200)
    spec = PredictSpec(device="cpu", workers=1, heatmap="none")
    list(predict(slide, bundle, tmp_path / "out", spec))
    folder = tmp_path / "out" / "s"

    run = Run.open(folder)
    count = len(run)
    assert count > 0
    assert run.tiles.called.sum(axis=0).tolist() == [
        count * (name in said.called) for name in said.names
    ]
    winner = said.names.index(said.winner) if said.winner else -1
    assert set(run.tiles.winners.tolist()) == {winner}
    several, none = len(said.called) > 1, not said.called
    found, calls = legend(run), [count * (name in said.called) for name in said.names]
    assert [row.winners for row in found.rows] == [
        count * (name == said.winner) for name in said.names
    ]
    assert [row.count for row in found.rows] == [row.called for row in found.rows] == calls
    assert (found.none_called.count, found.several_called) == (count * none, count * several)
    record_calls_alike(run, said, count)
    compared = compare_runs(run, run)
    assert [one.count_after for one in compared.classes] == calls
    assert (compared.none_called is not None) == none

    features = json.loads((folder / "tiles.geojson").read_text("utf-8"))["features"]
    named = {(one["properties"].get("classification") or {}).get("name") for one in features}
    assert named == {said.winner}
    all_called = {
        (one["properties"].get("metadata") or {}).get("called classes") for one in features
    }
    assert all_called == {" + ".join(said.called) if several else None}
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text("utf-8"))
    (row,) = manifest["slides"]
    assert [one["count"] for one in row["classes"]] == calls
    assert row["tiles"].get("none_called", 0) == count * none
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert ("none called" in page) == none
    assert ("may be called several classes" in page) == several
    shown = figure_legend(run, monkeypatch)
    expected_shares = {name: f"{100 * (name in said.called)} %" for name in said.names}
    if none:
        expected_shares["none called"] = "100 %"
    assert shown == expected_shares

    if said.width == 1 and said.activation != "none":
        (first, *_rest) = suggest(run, 1)
        assert (first.classes[0] == "lesion") == bool(said.called)

    area = drawn(tmp_path / "s.geojson", said.first)
    settings = SlideEvaluationSpec(rule=LabelRule(min_share=0.5), intervals=FEW)
    measured = result_of(evaluate_runs(bundle, folder, area, settings))
    assert measured.tiles.predictions.labels.size > 0
    expected = 1.0 if said.winner == said.first else 0.0
    assert measured.tiles.figures["accuracy"].value == expected
    assert measured.areas.accuracy == pytest.approx(expected)


def test_a_pictures_doors_call_alike(said: Said, tmp_path: Path) -> None:
    bundle = bundle_of(said, tmp_path / "bundle", None)
    classifier = open_bundle(bundle).classifier(torch.device("cpu"))
    folder = tmp_path / "pictures" / said.first
    if "/" in said.first:
        folder = tmp_path / "pictures" / "theirs"
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "p.png")

    spec = CloseUpSpec(methods=("gradcam",), tiles=TileChoice(), curves=None)
    found = result_of(explain_tiles(folder / "p.png", bundle, tmp_path / "why", spec))
    assert [said.names[index] for index in found.classes[0]] == [said.first]
    panel = (tmp_path / "why" / "panel.html").read_text("utf-8")
    assert f"predicted: {said.words}" in panel
    (tile,) = json.loads((tmp_path / "why" / "explanation.json").read_text("utf-8"))["tiles"]
    assert tuple(tile["called_classes"]) == said.called

    indices, sentence = explained_classes(
        classifier, torch.from_numpy(pixels[None, :EDGE, :EDGE].copy()), "predicted", batch=1
    )
    assert [said.names[index] for index in indices] == [said.first]
    assert ("none is called" in sentence) == (not said.called)

    answer = explain_picture(
        (folder / "p.png").read_bytes(), classifier, PictureRequest((), ()), Limits(), FairLock()
    )
    assert answer["predicted"] == said.winner
    assert tuple(answer["called_classes"]) == said.called
    assert answer["foremost"] == said.first
    assert (answer["probabilities"] == "no probabilities") == (said.activation == "none")

    mapping = {"theirs": said.first} if "/" in said.first else {}
    measured = result_of(
        evaluate(
            classifier,
            read_picture_set(folder.parent, fewest=1),
            EvaluationSpec(intervals=FEW, mapping=mapping),
        )
    )
    expected = 1.0 if said.winner == said.first else 0.0
    assert measured.figures["accuracy"].value == expected
    may_be_several = said.activation == "sigmoid" and said.width > 1
    several = int(len(said.called) > 1)
    assert measured.predictions.called_several == (several if may_be_several else None)
    confusion: Any = measured.record()["confusion"]
    assert confusion.get("called several", 0) == several
    assert ("called several classes" in evaluation_facts(measured)) == may_be_several


def test_a_volumes_doors_call_alike(
    said: Said, tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    bundle = bundle_of(said, tmp_path / "bundle", None)
    volume = write_volume.nifti(tmp_path / "v.nii.gz", head)
    spec = PredictSpec(device="cpu", workers=1, heatmap_classes=(said.names[0],))
    list(predict(volume, bundle, tmp_path / "out", spec))
    folder = tmp_path / "out" / "v"
    call = (read_run(folder) or {})["volume"]
    assert call["called"] == said.winner
    assert tuple(call["called_classes"]) == said.called
    mask = write_volume.nifti(tmp_path / "m.nii.gz", (head > 800).astype(np.uint8))
    measured = evaluate_volume(folder, mask)
    slices = measured.slices_with_mask
    assert slices > 0
    assert measured.called_with_mask == {
        name: slices * (name in said.called) for name in said.names
    }
    assert measured.none_called_with_mask == slices * (not said.called)
    facts, _rows = volume_facts(measured)
    assert facts["volume_called"] == (" + ".join(said.called) or "nothing")
