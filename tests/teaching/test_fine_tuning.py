"""A classifier taught on the sample slide.

What was right stays, what was wrong is mended, what is new is learnt.
"""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from slidecam.errors import BundleError, DataSetError, RunMismatchError, UsageError
from slidecam.models import Card, open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run, compare_runs
from slidecam.runs.record_parts import RecordedBundle
from slidecam.runs.spec import PredictSpec
from slidecam.steps import result_of
from slidecam.teaching import Annotation, Corrections, FineTuneSpec, fine_tune
from slidecam.teaching.embedding import (
    LastLayer,
    embed_tiles,
    find_last_layer,
    open_tunable,
    with_last_layer,
)
from slidecam.teaching.head_tuning import Head
from tile_tables import called

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.models import Bundle
    from slidecam.teaching import FineTuned

PLAIN = PredictSpec(heatmap="none")
TUMOUR = 2


def run_of(slide: Path, bundle: Path, out: Path, spec: PredictSpec = PLAIN) -> Run:
    list(predict(slide, bundle, out, spec))
    return Run.open(out / slide.stem)


@pytest.fixture(scope="module")
def sample_run(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the run of the sample slide by the sample bundle.

    The bundle's classes are right on 98.9 % of its tiles.
    """
    return run_of(
        sample_data / "slide.tif", sample_data / "bundle", tmp_path_factory.mktemp("sample")
    )


@pytest.fixture(scope="module")
def looks(sample_run: Run) -> NDArray[np.float64]:
    """Return the features of all tiles of the sample slide.

    The sample bundle's descendants share them.
    """
    rows = np.arange(len(sample_run))
    known = result_of(embed_tiles(sample_run, open_tunable(sample_run, torch.device("cpu")), rows))
    return known.of(rows)


def head_of(bundle: Bundle) -> Head:
    layer = find_last_layer(bundle.classifier(), bundle)
    assert layer.bias is not None
    return Head(layer.weight.double().numpy(), layer.bias.double().numpy())


def other_parent(sample_run: Run, out: Path, head: Head, card: Mapping[str, object]) -> Run:
    """Return the sample run as if a classifier with another head had made it.

    Its features are not known yet.
    """
    bundle = open_bundle(sample_run.bundle_path)
    assert head.bias is not None
    layer = LastLayer(
        "fc", torch.from_numpy(head.weight).float(), torch.from_numpy(head.bias).float()
    )
    made = save_bundle(out / "parent", replace(bundle.card, **card), with_last_layer(bundle, layer))  # type: ignore[arg-type]
    folder = out / "slide"
    folder.mkdir()
    names = made.card.class_names
    probabilities = np.full((len(sample_run), len(names)), 1 / len(names), np.float32)
    table = replace(
        sample_run.tiles,
        classes=made.card.classes,
        probabilities=probabilities,
    )
    digest = {**sample_run.digest, "model": made.digest}
    recorded = RecordedBundle("made", str(made.path), made.digest)
    logits = np.full(probabilities.shape, np.nan, np.float32)
    return replace(
        sample_run,
        folder=folder,
        record=replace(sample_run.record, bundle=recorded),
        tiles=table,
        logits=logits,
        digest=digest,
    )


def said(run: Run, labels: Mapping[int, str]) -> Corrections:
    """Return corrections that say these labels."""
    corrections = Corrections.open(run)
    for name in sorted(set(labels.values())):
        corrections.set([row for row, each in labels.items() if each == name], name)
    return corrections


def own_labels(run: Run, count: int, seed: int = 0) -> dict[int, str]:
    rows = np.random.default_rng(seed).permutation(len(run))[:count].tolist()
    return {row: run.tiles.class_names[run.tiles.winners[row]] for row in rows}


def taught(
    run: Run, out: Path, labels: Mapping[int, str], spec: FineTuneSpec | None = None
) -> FineTuned:
    for row in list(Corrections.open(run).labels):
        Corrections.open(run).clear(row)
    said(run, labels)
    return result_of(fine_tune(run, out, spec=spec))


def test_fine_tuning_on_the_parents_own_labels_changes_no_decision(
    sample_run: Run, sample_data: Path, tmp_path: Path
) -> None:
    found = taught(sample_run, tmp_path / "new", own_labels(sample_run, 60))
    again = run_of(sample_data / "slide.tif", tmp_path / "new", tmp_path / "out")
    compared = compare_runs(sample_run, again)
    assert (compared.agreement, compared.changed) == (1.0, ())
    assert (found.right_before, found.right_after, found.changed) == (1, 1, 0)
    np.testing.assert_allclose(again.tiles.probabilities, sample_run.tiles.probabilities, atol=1e-6)
    assert any("nothing was to be learnt" in note for note in found.notes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_new_class_is_learned_from_ten_tiles(
    sample_run: Run, looks: NDArray[np.float64], tmp_path: Path, seed: int
) -> None:
    truth = sample_run.tiles.winners
    full = head_of(open_bundle(sample_run.bundle_path))
    assert full.bias is not None
    parent = {"class_names": ("lymphoid", "stroma"), "class_colors": ((1, 2, 3), (4, 5, 6))}
    run = other_parent(sample_run, tmp_path, Head(full.weight[:2], full.bias[:2]), parent)
    ten = np.random.default_rng(seed).permutation(np.flatnonzero(truth == TUMOUR))[:10]
    spec = FineTuneSpec(colors={"tumour": (200, 0, 0)}, seed=seed)
    found = taught(run, tmp_path / "new", dict.fromkeys(ten.tolist(), "tumour"), spec)
    card = found.bundle.card
    assert card.class_names == ("lymphoid", "stroma", "tumour")
    assert card.class_colors == ((1, 2, 3), (4, 5, 6), (200, 0, 0))
    assert (found.new_classes, found.labelled) == (("tumour",), {"tumour": 10})
    unseen = np.setdiff1d(np.arange(len(run)), ten)
    right = called(head_of(found.bundle).logits(looks))[unseen] == truth[unseen]
    assert right.mean() > 0.95


def test_ten_corrections_mend_their_like_and_leave_the_rest(
    sample_run: Run, looks: NDArray[np.float64], tmp_path: Path
) -> None:
    truth = sample_run.tiles.winners
    full = head_of(open_bundle(sample_run.bundle_path))
    assert full.bias is not None
    blind = Head(full.weight, full.bias - np.array([0, 0, 8.0]))
    run = other_parent(sample_run, tmp_path, blind, {})
    before = called(blind.logits(looks))
    wrong = np.flatnonzero((before != truth) & (truth == TUMOUR))
    ten = np.random.default_rng(0).permutation(wrong)[:10]
    found = taught(run, tmp_path / "new", dict.fromkeys(ten.tolist(), "tumour"))
    after = called(head_of(found.bundle).logits(looks))
    assert (before == truth).mean() < 0.75
    assert (after == truth).mean() > 0.95
    assert (found.changed, found.right_before, found.right_after) == (10, 0, 1)
    assert (found.measured, "all are of one class" in found.unmeasured) == (None, True)


def test_teaching_again_embeds_nothing_and_gives_the_same_weights(
    sample_run: Run, tmp_path: Path
) -> None:
    labels = {**own_labels(sample_run, 30), 0: "tumour", 1: "stroma", 2: "lymphoid"}
    first = taught(sample_run, tmp_path / "one", labels)
    second = result_of(fine_tune(sample_run, tmp_path / "two"))
    assert second.embedded == 0
    assert first.bundle.card.weights_sha256 == second.bundle.card.weights_sha256
    (kept,) = sample_run.folder.glob("features-*.npz")
    kept.write_bytes(kept.read_bytes()[:100])
    third = result_of(fine_tune(sample_run, tmp_path / "three"))
    assert third.embedded > 0
    assert third.bundle.card.weights_sha256 == first.bundle.card.weights_sha256


def test_enough_labels_are_measured_on_places_that_were_left_out(
    sample_run: Run, tmp_path: Path
) -> None:
    found = taught(sample_run, tmp_path / "new", own_labels(sample_run, 80))
    assert found.measured is not None
    assert found.unmeasured == ""
    assert found.measured.after.figures["accuracy"].interval is not None
    held_out = found.bundle.card.provenance["held_out"]
    assert isinstance(held_out, dict)
    assert held_out["accuracy"]["after"]["ci95"][0] < 1
    assert json.loads(json.dumps(found.record()))["held_out"] == json.loads(
        json.dumps(found.measured.record())
    )


def test_the_card_says_where_it_comes_from_and_that_it_is_not_calibrated(
    sample_run: Run, looks: NDArray[np.float64], tmp_path: Path
) -> None:
    full = head_of(open_bundle(sample_run.bundle_path))
    run = other_parent(sample_run, tmp_path, full, {"temperature": 2.5})
    found = taught(run, tmp_path / "new", dict.fromkeys(range(3), "tumour"))
    card, parent = found.bundle.card, open_bundle(run.bundle_path)
    provenance = card.provenance
    assert card.name == f"{parent.card.name}, taught on slide"
    assert card.temperature == 1
    assert "not fitted" in str(provenance["temperature"])
    assert provenance["labelled_tiles"] == {"tumour": 3}
    assert (provenance["slide"], provenance["seed"], provenance["corrected_one_by_one"]) == (
        "slide",
        0,
        3,
    )
    assert isinstance(provenance["parent"], dict)
    assert provenance["parent"]["digest"] == parent.digest == found.parent
    assert provenance["parent"]["provenance"] == parent.card.provenance
    same = taught(
        run,
        tmp_path / "same",
        {row: run.tiles.class_names[called(full.logits(looks))[row]] for row in (5, 6)},
    )
    np.testing.assert_allclose(
        head_of(same.bundle).logits(looks), full.logits(looks) / 2.5, atol=1e-4
    )


def test_what_would_be_lost_or_makes_no_sense_is_refused(
    sample_run: Run, sample_data: Path, tmp_path: Path
) -> None:
    Corrections.open(sample_run).set(0, "tumour")
    with pytest.raises(BundleError, match="Something lies here already"):
        result_of(fine_tune(sample_run, sample_data / "bundle"))
    drawn = [Annotation("fat", (np.array([[0, 0], [4096, 0], [4096, 4096], [0, 4096]]),))]
    with pytest.raises(UsageError, match="--new-class 'fat'"):
        result_of(
            fine_tune(
                sample_run, tmp_path / "a", drawn, spec=FineTuneSpec(new_classes=(), beside=False)
            )
        )
    with pytest.raises(DataSetError, match="No tile has a label"):
        result_of(fine_tune(sample_run, tmp_path / "a", spec=FineTuneSpec(beside=False)))
    with pytest.raises(RunMismatchError, match="another bundle"):
        result_of(
            fine_tune(
                replace(sample_run, digest={**sample_run.digest, "model": "x"}), tmp_path / "a"
            )
        )
    for wrong in ({"rehearsed": -1}, {"folds": 1}, {"seed": -1}):
        with pytest.raises(UsageError, match="out of range"):
            FineTuneSpec(**wrong)  # type: ignore[arg-type]


def test_closing_it_leaves_nothing(sample_run: Run, tmp_path: Path) -> None:
    Corrections.open(sample_run).set(0, "tumour")
    with closing(fine_tune(sample_run, tmp_path / "new")) as work:
        while next(work).phase != "writing":
            pass
    assert list(tmp_path.iterdir()) == []


CARD = Card(
    name="small",
    architecture="",
    class_names=("A", "B", "C"),
    activation="softmax",
    tile_px=64,
    spacing=0.5,
    input_px=32,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)
NETWORKS: dict[str, tuple[str, dict[str, object], str]] = {
    "hidden": ("slidecam/dense_head", {"backbone": "mobilenetv3_small_050", "hidden": 8}, "head.3"),
    "tokens": (
        "timm/vit_tiny_patch16_224",
        {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 2},
        "head",
    ),
    "graph": (
        "slidecam/cell_graph",
        {"backbone": "mobilenetv3_small_050", "nodes": 6, "neighbours": 2},
        "second",
    ),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_whatever_the_network_only_its_last_layer_learns(
    kind: str, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    architecture, arguments, last = NETWORKS[kind]
    torch.manual_seed(3)
    network = build_network(architecture, arguments, 3, tmp_path)
    card = replace(CARD, architecture=architecture, architecture_args=arguments)
    parent = save_bundle(tmp_path / "parent", card, network)
    run = run_of(write_slide(tmp_path / "a.tif"), parent.path, tmp_path / "out")
    labels: dict[int, str] = {}
    for row in range(0, 40, 4):
        labels |= {row: "new", row + 1: run.tiles.class_names[run.tiles.winners[row + 1]]}
    found = taught(run, tmp_path / "new", labels)
    before, after = parent.network().state_dict(), found.bundle.network().state_dict()
    assert before.keys() == after.keys()
    changed = {
        name
        for name in before
        if before[name].shape != after[name].shape or not before[name].equal(after[name])
    }
    assert changed == {f"{last}.weight", f"{last}.bias"}
    assert after[f"{last}.weight"].shape[0] == 4
    assert found.bundle.card.class_names == ("A", "B", "C", "new")


def test_a_classifier_of_one_output_learns_what_its_class_is_not(
    sample_run: Run, looks: NDArray[np.float64], tmp_path: Path
) -> None:
    full, truth = head_of(open_bundle(sample_run.bundle_path)), sample_run.tiles.winners == TUMOUR
    assert full.bias is not None
    pulls = np.array([-0.5, -0.5, 1.0])
    single = Head((pulls @ full.weight)[None], np.array([pulls @ full.bias + 6]))
    card = {"class_names": ("tumour",), "class_colors": ((9, 9, 9),), "activation": "sigmoid"}
    run = other_parent(sample_run, tmp_path, single, card)
    before = called(single.logits(looks)) == 1
    ten = np.random.default_rng(0).permutation(np.flatnonzero(before & ~truth))[:10]
    found = taught(run, tmp_path / "new", dict.fromkeys(ten.tolist(), "stroma"))
    after = called(head_of(found.bundle).logits(looks)) == 1
    assert found.bundle.card.class_names == ("tumour",)
    assert found.new_classes == ()
    assert any("absence of tumour: stroma" in note for note in found.notes)
    assert (before == truth).mean() < 0.85
    assert (after == truth).mean() > (before == truth).mean() + 0.1


def test_a_network_that_ends_with_no_linear_layer_is_told(
    wsinfer_torchscript: Path, write_slide: Callable[..., Path], tmp_path: Path
) -> None:
    spec = replace(PLAIN, trust=True)
    run = run_of(write_slide(tmp_path / "a.tif"), wsinfer_torchscript, tmp_path / "out", spec)
    Corrections.open(run).set(0, "Tumor")
    with pytest.raises(BundleError, match="does not end with a linear layer"):
        result_of(fine_tune(run, tmp_path / "new", spec=FineTuneSpec(trust=True)))
