"""Classifiers of one channel: recognised, given grey by one rule, and equal to timm's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from slidecam.close_up import CloseUpSpec, explain_tiles
from slidecam.close_up.methods import choose_methods
from slidecam.errors import CardError, RecipeError, WeightsError
from slidecam.explain.catalogue import METHODS
from slidecam.faithfulness import FaithfulnessSpec, measure
from slidecam.faithfulness.correlation import CorrelationSpec
from slidecam.faithfulness.removal import CurveSpec, RoadSpec
from slidecam.faithfulness.stability import StabilitySpec
from slidecam.learning.evaluation.bundle import BundleEvaluationSpec, evaluate_bundle
from slidecam.learning.recipes.recipe import read_recipe
from slidecam.models import BundleSpec, make_bundle, open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.models.channels import luma
from slidecam.models.pretrained import load_pretrained
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from models.conftest import MakeBundle, MakeCard, MakeZoo
    from slidecam.models import Bundle

    Lively = Callable[[nn.Module], nn.Module]

EDGE = 40
MEAN, STD = 0.4589, 0.2257


def pictures(count: int = 3, edge: int = EDGE) -> NDArray[np.uint8]:
    """Return colourful tiles, smooth as tissue is."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(each).resize((edge, edge))) for each in coarse])


def as_grey(tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what Pillow calls grey, (N, H, W)."""
    return np.stack([np.asarray(Image.fromarray(each).convert("L")) for each in tiles])


@pytest.fixture
def network(lively: Lively) -> nn.Module:
    """Return timm's smallest ResNet for grey, made without slidecam."""
    return lively(timm.create_model("test_resnet", num_classes=3, in_chans=1)).eval()


@pytest.fixture
def weights(tmp_path: Path, network: nn.Module) -> Path:
    safetensors.torch.save_file(network.state_dict(), tmp_path / "grey.safetensors")
    return tmp_path / "grey.safetensors"


def grey_spec(weights: Path, **changes: Any) -> BundleSpec:
    values = {"spacing": 0.5, "tile_px": EDGE, "mean": (MEAN,), "std": (STD,), **changes}
    return BundleSpec("test_resnet", weights, ("a", "b", "c"), **values)


def assert_timms(bundle: Bundle, network: nn.Module) -> None:
    tiles = pictures()
    grey = torch.from_numpy(as_grey(tiles)[:, None]).float()
    with torch.no_grad():
        expected = network((grey / 255 - MEAN) / STD)
    found = bundle.classifier().run(torch.from_numpy(tiles), gradients=False).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert expected.std(0).min() > 1e-3


def test_grey_is_pillows_for_every_colour_that_is_tried() -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    greys = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, 2)
    for pixels in (colours, greys):
        found = luma(torch.from_numpy(pixels)).numpy()[..., 0]
        np.testing.assert_array_equal(found, np.asarray(Image.fromarray(pixels).convert("L")))
    np.testing.assert_array_equal(luma(torch.from_numpy(greys)).numpy(), greys[..., :1])


@pytest.mark.parametrize("args", [{}, {"in_chans": 1}])
def test_weights_of_grey_become_a_bundle_that_computes_what_timm_computes(
    args: dict[str, Any], weights: Path, network: nn.Module, tmp_path: Path
) -> None:
    bundle = make_bundle(grey_spec(weights, architecture_args=args), tmp_path / "made")
    assert bundle.card.channels == 1
    assert bundle.card.architecture_args == {"in_chans": 1}
    written = json.loads((bundle.path / "card.json").read_text())
    assert (written["channels"], written["mean"]) == (1, [MEAN])
    assert_timms(open_bundle(bundle.path), network)


def test_a_grey_card_needs_no_argument_that_says_it_again(
    weights: Path, network: nn.Module, tmp_path: Path
) -> None:
    bundle = make_bundle(grey_spec(weights), tmp_path / "made")
    card = json.loads(bundle.card_path.read_text())
    del card["architecture_args"]
    bundle.card_path.write_text(json.dumps(card))
    assert_timms(open_bundle(bundle.path), network)


def test_the_mean_of_grey_is_weighed_as_grey_is(weights: Path, tmp_path: Path) -> None:
    card = make_bundle(grey_spec(weights, mean=None, std=None), tmp_path / "made").card
    assert (card.mean, card.std) == ((0.5,), (0.5,))
    resnet = timm.create_model("resnet10t", num_classes=3, in_chans=1)
    safetensors.torch.save_file(resnet.state_dict(), weights)
    spec = BundleSpec("resnet10t", weights, ("a", "b", "c"), spacing=None, tile_px=64)
    card = make_bundle(spec, tmp_path / "resnet").card
    assert card.mean == pytest.approx((0.299 * 0.485 + 0.587 * 0.456 + 0.114 * 0.406,), abs=1e-5)
    assert card.std == pytest.approx((0.299 * 0.229 + 0.587 * 0.224 + 0.114 * 0.225,), abs=1e-5)


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_other_numbers_of_channels_are_refused_by_name(
    channels: int, tmp_path: Path, weights: Path
) -> None:
    theirs = timm.create_model("test_resnet", num_classes=3, in_chans=channels)
    safetensors.torch.save_file(theirs.state_dict(), weights)
    for args, kind in (({}, WeightsError), ({"in_chans": channels}, CardError)):
        with pytest.raises(kind, match=rf"{channels} channels.*red, green, blue.*grey") as caught:
            make_bundle(
                grey_spec(weights, architecture_args=args, mean=None, std=None), tmp_path / "out"
            )
        assert "in_chans" in caught.value.remedy


@pytest.mark.parametrize(("said", "stored"), [(1, 3), (3, 1)])
def test_weights_of_other_channels_than_were_said_are_refused(
    said: int, stored: int, tmp_path: Path, weights: Path
) -> None:
    theirs = timm.create_model("test_resnet", num_classes=3, in_chans=stored)
    safetensors.torch.save_file(theirs.state_dict(), weights)
    spec = grey_spec(weights, architecture_args={"in_chans": said}, mean=None, std=None)
    with pytest.raises(WeightsError, match=f"takes {stored} channels.*in_chans is {said}"):
        make_bundle(spec, tmp_path / "made")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"channels": 4}, "says 4 channels"),
        ({"channels": 1}, r"\"mean\" is \[0.7, 0.6, 0.7\] for channels: 1"),
        ({"mean": (0.5,), "std": (0.2,)}, r"\"mean\" is \[0.5\] for channels: 3"),
        ({"architecture_args": {"in_chans": 1}}, "in_chans = 1 for 3 channels"),
        ({"architecture_args": {"in_chans": 7}}, "says 7 channels"),
    ],
)
def test_a_card_that_contradicts_itself_about_channels_is_refused(
    changes: dict[str, Any], said: str, make_card: MakeCard, tmp_path: Path
) -> None:
    card = make_card(**changes)
    with pytest.raises(CardError, match=said):
        save_bundle(tmp_path / "bundle", card, {})


@pytest.mark.parametrize(
    ("architecture", "args"),
    [
        ("slidecam/pocket_resnet", {"widths": [8, 12]}),
        ("slidecam/simple_cnn", {"input_px": 32}),
        ("slidecam/dense_head", {"backbone": "test_resnet", "hidden": 8}),
        (
            "slidecam/dense_head",
            {"backbone": "test_resnet", "hidden": 8, "backbone_args": {"in_chans": 1}},
        ),
        ("timm/test_vit", {"img_size": 32, "patch_size": 8}),
    ],
)
def test_architectures_can_be_grey(
    architecture: str, args: dict[str, Any], make_card: MakeCard, make_saved: MakeBundle
) -> None:
    card = make_card(
        architecture=architecture, architecture_args=args, channels=1, mean=(0.5,), std=(0.25,)
    )
    classifier = make_saved(card).classifier()
    tiles = torch.from_numpy(pictures(edge=32))
    grey = torch.from_numpy(as_grey(pictures(edge=32)))[..., None].expand(-1, -1, -1, 3)
    found = classifier.run(tiles, gradients=False).logits
    assert torch.equal(found, classifier.run(grey, gradients=False).logits)


def test_a_graph_of_cells_can_be_grey(tmp_path: Path) -> None:
    args = {"nodes": 12, "neighbours": 2, "in_chans": 1}
    graph = build_network("slidecam/resnet18_gcn", args, 2, tmp_path)
    with torch.no_grad():
        assert graph(torch.zeros(1, 1, 64, 64)).shape == (1, 2)


@pytest.mark.parametrize("method", [method.name for method in METHODS])
def test_every_method_explains_a_grey_classifier(
    method: str, make_card: MakeCard, make_saved: MakeBundle
) -> None:
    card = make_card(channels=1, mean=(0.5,), std=(0.25,))
    classifier = make_saved(card).classifier()
    settings = ["finer-cam.against=2"] if method == "finer-cam" else []
    (chosen,) = choose_methods([method], settings).values()
    with chosen.explainer(classifier) as explainer:
        found = explainer.explain(torch.from_numpy(pictures(2, 32)), [0, 1])
    assert found.maps.shape[:2] == (2, 2)
    assert bool(found.maps.isfinite().all())


def test_the_faithfulness_of_maps_of_a_grey_classifier_is_measured(
    make_card: MakeCard, make_saved: MakeBundle
) -> None:
    classifier = make_saved(make_card(channels=1, mean=(0.5,), std=(0.25,))).classifier()
    spec = FaithfulnessSpec(
        seeds=(0,),
        curves=CurveSpec(steps=4),
        correlation=CorrelationSpec(runs=8, sizes=(5,), sensitivity_runs=4),
        stability=StabilitySpec(repeats=1, tiles=1),
        road=RoadSpec(shares=(0.3,)),
    )
    methods = choose_methods(["gradcam", "occlusion"])
    tiles = torch.from_numpy(pictures(2, 32))
    explainers = {name: chosen.explainer(classifier) for name, chosen in methods.items()}
    report = result_of(measure(classifier, explainers, tiles, spec=spec))
    assert {one.method for one in report.findings} >= set(methods)


@pytest.mark.parametrize("transform", [["ToTensor"], ["ToTensor", "Normalize"]])
def test_a_zoo_folder_of_grey_weights_is_given_grey(
    transform: list[str], make_zoo: MakeZoo, network: nn.Module
) -> None:
    arguments = {"Normalize": {"mean": [MEAN], "std": [STD]}}
    steps = [{"name": name, "arguments": arguments.get(name)} for name in transform]
    names = ["a", "b", "c"]
    changes = {"transform": steps, "patch_size_pixels": EDGE, "class_names": names}
    folder = make_zoo({**changes, "num_classes": 3})
    safetensors.torch.save_file(network.state_dict(), folder / "model.safetensors")
    bundle = open_bundle(folder)
    assert bundle.card.channels == 1
    if "Normalize" in transform:
        assert_timms(bundle, network)
    else:
        assert (bundle.card.mean, bundle.card.std) == ((0.0,), (1.0,))
        assert bundle.classifier().has_map


def test_weights_of_colours_begin_a_grey_network_as_timm_sums_them(
    tmp_path: Path, lively: Lively
) -> None:
    coloured = lively(timm.create_model("test_resnet", num_classes=5))
    safetensors.torch.save_file(coloured.state_dict(), tmp_path / "coloured.safetensors")
    grey = build_network("timm/test_resnet", {"in_chans": 1}, 3, tmp_path)
    load_pretrained(grey, tmp_path / "coloured.safetensors")
    theirs, ours = coloured.state_dict(), grey.state_dict()
    first = theirs["conv1.0.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(ours["conv1.0.weight"], first, rtol=0, atol=1e-6)
    same = [name for name in theirs if not name.startswith(("conv1.0", "fc"))]
    assert all(torch.equal(ours[name], theirs[name]) for name in same)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.architecture_args={in_chans=4}", "4 channels"),
        ("data.mean=[0.5, 0.5, 0.5]", "data.mean"),
    ],
)
def test_a_recipe_of_impossible_channels_is_refused(
    override: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "grey.toml"
    path.write_text('[model]\narchitecture = "resnet18"\narchitecture_args = { in_chans = 1 }\n')
    with pytest.raises(RecipeError, match=said):
        read_recipe(path, (override,))


def test_close_ups_and_evaluations_say_how_colours_become_grey(
    make_card: MakeCard, make_saved: MakeBundle, tmp_path: Path
) -> None:
    bundle = make_saved(make_card(2, channels=1, mean=(0.5,), std=(0.25,), spacing=None))
    for name, pixels in zip(("stroma", "tumour"), pictures(2, 32), strict=True):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "data" / name / "one.png")
    spec = CloseUpSpec(methods=("gradcam",))
    result_of(explain_tiles(tmp_path / "data", bundle.path, tmp_path / "shown", spec))
    record = json.loads((tmp_path / "shown" / "explanation.json").read_text())
    assert any("ITU-R 601" in note for note in record["notes"])
    wanted = BundleEvaluationSpec()
    found = result_of(
        evaluate_bundle(bundle, tmp_path / "data", torch.device("cpu"), wanted, tmp_path / "out")
    )
    assert any("ITU-R 601" in note for note in found.notes)
    assert "ITU-R 601" in (tmp_path / "out" / "evaluation.html").read_text()
