"""Bundles from weights that lie about."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
import torchvision

from slidecam.errors import BundleError, CardError, UntrustedCodeError, WeightsError
from slidecam.models import BundleSpec, make_bundle
from slidecam.models.architectures import build_network
from slidecam.models.classifier import normalised

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn


@pytest.fixture
def network(lively: Callable[[nn.Module], nn.Module], tmp_path: Path) -> nn.Module:
    return lively(build_network("timm/test_resnet", {}, 3, tmp_path))


@pytest.fixture
def spec(tmp_path: Path, network: nn.Module) -> BundleSpec:
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(network.state_dict(), weights)
    return BundleSpec("test_resnet", weights, ("a", "b", "c"), spacing=0.5, tile_px=64)


def test_a_bundle_is_made_of_an_architecture_and_weights(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    bundle = make_bundle(replace(spec, licence="CC0", provenance={"by": "us"}), tmp_path / "made")
    card = bundle.card
    assert (card.name, card.architecture, card.activation) == (
        "made",
        "timm/test_resnet",
        "softmax",
    )
    assert (card.input_px, card.licence) == (64, "CC0")
    assert card.provenance == {"weights": "weights.safetensors", "by": "us"}
    tiles = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = network(normalised(tiles, card))
    torch.testing.assert_close(
        bundle.classifier().run(tiles, gradients=False).logits, expected, rtol=0, atol=1e-5
    )


def test_a_classifier_of_torchvisions_becomes_a_bundle_that_computes_the_same(
    tmp_path: Path, lively: Callable[[nn.Module], nn.Module]
) -> None:
    theirs = lively(torchvision.models.mobilenet_v2(weights=None, num_classes=3)).eval()
    weights = tmp_path / "theirs.pth"
    torch.save(theirs.state_dict(), weights)
    spec = BundleSpec(
        "mobilenetv2_100", weights, ("a", "b", "c"), spacing=0.5, tile_px=64, trust=True
    )
    with pytest.raises(WeightsError):
        make_bundle(spec, tmp_path / "plain")
    bundle = make_bundle(replace(spec, weights_format="torchvision"), tmp_path / "made")
    tiles = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = theirs(normalised(tiles, bundle.card))
    torch.testing.assert_close(
        bundle.classifier().run(tiles, gradients=False).logits, expected, rtol=1e-4, atol=1e-4
    )


def test_normalisation_is_the_architectures_unless_given(spec: BundleSpec, tmp_path: Path) -> None:
    assert make_bundle(spec, tmp_path / "by_timm").card.mean == (0.5, 0.5, 0.5)
    given = make_bundle(
        replace(spec, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), tmp_path / "given"
    )
    assert (given.card.mean, given.card.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def test_a_wrong_number_of_classes_is_seen_in_the_last_layer(
    spec: BundleSpec, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=r"fc\.weight is 3 x .* the network's is 2 x"):
        make_bundle(replace(spec, class_names=("a", "b")), tmp_path / "made")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"architecture": "test_resnett"}, "timm/test_resnet"),
        ({"spacing": 264.0}, "264"),
        ({"tile_px": 0}, "tile_px"),
        ({"class_names": ()}, "class_names"),
        ({"class_names": ("a", "a", "b")}, "twice"),
        ({"architecture_args": {"block_size": 3}}, "block_size"),
        ({"split": "layer9"}, "layer9"),
    ],
)
def test_an_impossible_wish_is_refused_before_anything_is_written(
    spec: BundleSpec, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(CardError, match=said):
        make_bundle(replace(spec, **changes), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_network_that_cannot_see_such_tiles_is_refused(
    spec: BundleSpec, tmp_path: Path, lively: Callable[[nn.Module], nn.Module]
) -> None:
    args: dict[str, object] = {"img_size": 32, "dynamic_img_size": False}
    network = lively(build_network("timm/test_vit", args, 3, tmp_path))
    safetensors.torch.save_file(network.state_dict(), spec.weights)
    spec = replace(spec, architecture="test_vit", architecture_args=args)
    with pytest.raises(CardError, match=r"cannot run on tiles of 64 px.*card\.json"):
        make_bundle(spec, tmp_path / "made")
    assert make_bundle(replace(spec, input_px=32), tmp_path / "made").card.tile_px == 64


def test_weights_that_give_no_finite_logits_are_refused(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    network.state_dict()["fc.bias"].fill_(float("nan"))
    safetensors.torch.save_file(network.state_dict(), spec.weights)
    with pytest.raises(WeightsError, match="not finite"):
        make_bundle(spec, tmp_path / "made")


def test_what_is_there_is_replaced_only_if_asked(spec: BundleSpec, tmp_path: Path) -> None:
    make_bundle(spec, tmp_path / "made")
    with pytest.raises(BundleError, match="exists"):
        make_bundle(spec, tmp_path / "made")
    assert (
        make_bundle(replace(spec, overwrite=True, name="new"), tmp_path / "made").card.name == "new"
    )


@pytest.mark.parametrize("nesting", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_pickled_state_dicts_are_found_where_people_put_them(
    spec: BundleSpec, tmp_path: Path, network: nn.Module, nesting: str | None, prefix: str
) -> None:
    tensors = {prefix + name: value for name, value in network.state_dict().items()}
    weights = tmp_path / "weights.pth"
    torch.save(tensors if nesting is None else {nesting: tensors, "epoch": 7}, weights)
    make_bundle(replace(spec, weights=weights, trust=True), tmp_path / "made")


def pickled(folder: Path, tensors: dict[str, torch.Tensor]) -> Path:
    torch.save(tensors, folder / "weights.pt")
    return folder / "weights.pt"


def under(prefix: str, network: nn.Module) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in network.state_dict().items()}


@pytest.mark.parametrize("prefix", ["backbone.", "net.", "module.model.", "student.encoder."])
def test_a_network_is_found_whatever_its_names_begin_with(
    spec: BundleSpec, tmp_path: Path, network: nn.Module, prefix: str
) -> None:
    weights = pickled(tmp_path, {**under(prefix, network), "criterion.weight": torch.ones(3)})
    bundle = make_bundle(replace(spec, weights=weights, trust=True), tmp_path / "made")
    assert bundle.card.provenance["weights_prefix"] == prefix
    assert bundle.card.provenance["weights_left_out"] == ["criterion.weight"]
    made = bundle.network().state_dict()
    assert all(torch.equal(made[name], value) for name, value in network.state_dict().items())


def test_what_training_keeps_beside_a_network_is_left_out_and_named(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    weights = pickled(tmp_path, {**network.state_dict(), "loss_fn.weight": torch.ones(3)})
    bundle = make_bundle(replace(spec, weights=weights, trust=True), tmp_path / "made")
    assert bundle.card.provenance["weights_left_out"] == ["loss_fn.weight"]


def test_of_two_networks_in_a_file_one_must_be_named(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    both = {**under("student.", network), **under("teacher.", network)}
    both["teacher.fc.bias"] = torch.tensor([0.25, -1.5, 3.75])
    asked = replace(spec, weights=pickled(tmp_path, both), trust=True)
    with pytest.raises(WeightsError, match=r"2 networks that fit; .*'student\.', 'teacher\.'"):
        make_bundle(asked, tmp_path / "made")
    bundle = make_bundle(replace(asked, weights_prefix="teacher."), tmp_path / "made")
    assert bundle.network().state_dict()["fc.bias"].tolist() == [0.25, -1.5, 3.75]


def test_a_layer_beside_the_network_is_never_left_out_in_silence(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    weights = pickled(tmp_path, {**under("backbone.", network), "head.weight": torch.ones(2, 3)})
    asked = replace(spec, weights=weights, trust=True)
    with pytest.raises(WeightsError, match=r"may be a part of it: head\.weight"):
        make_bundle(asked, tmp_path / "made")
    make_bundle(replace(asked, weights_prefix="backbone."), tmp_path / "made")


def test_what_is_missing_under_a_prefix_is_told_by_its_name_in_the_network(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    tensors = under("encoder.", network)
    tensors["head.weight"] = tensors.pop("encoder.fc.weight")
    asked = replace(spec, weights=pickled(tmp_path, tensors), trust=True)
    told = r"network: fc\.weight is missing; head\.weight is not in the network "
    with pytest.raises(WeightsError, match=told):
        make_bundle(asked, tmp_path / "made")


def test_a_prefix_that_no_name_has_is_refused_with_those_there_are(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    asked = replace(spec, weights=pickled(tmp_path, under("net.", network)), trust=True)
    with pytest.raises(WeightsError, match=r"begins with 'ema\.': they begin with net\."):
        make_bundle(replace(asked, weights_prefix="ema."), tmp_path / "made")


def test_a_pickle_needs_trust_and_says_why(
    spec: BundleSpec, tmp_path: Path, network: nn.Module
) -> None:
    weights = tmp_path / "weights.pt"
    torch.save(network.state_dict(), weights)
    with pytest.raises(UntrustedCodeError, match=r"run any code .* --trust"):
        make_bundle(replace(spec, weights=weights), tmp_path / "made")


class Explosive:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code ran')",)


def test_even_a_trusted_pickle_runs_no_code(spec: BundleSpec, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    torch.save({"state_dict": Explosive()}, weights)
    with pytest.raises(WeightsError, match="more than tensors"):
        make_bundle(replace(spec, weights=weights, trust=True), tmp_path / "made")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("weights.h5", b"", "not a kind of weights"),
        ("weights.safetensors", b"{}", "not readable as safetensors"),
        ("weights.pt", b"not a pickle", "damaged"),
        ("gone.safetensors", None, "cannot be read"),
    ],
)
def test_what_is_no_weights_file_is_refused(
    spec: BundleSpec, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        make_bundle(replace(spec, weights=tmp_path / name, trust=True), tmp_path / "made")


def test_a_pickle_without_tensors_is_refused(spec: BundleSpec, tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="no state dict"):
        make_bundle(replace(spec, weights=tmp_path / "weights.pt", trust=True), tmp_path / "made")


@pytest.mark.shared_data
def test_imagenet_weights_become_a_bundle_whose_folded_backend_equals_the_eager(
    shared_data: Path, tmp_path: Path
) -> None:
    weights = shared_data / "weights" / "mobilenetv2_100_imagenet_tfslim_qat_fp16.safetensors"
    half = (0.5, 0.5, 0.5)
    spec = BundleSpec(
        "mobilenetv2_100", weights, tuple(f"class {index}" for index in range(1000)),
        spacing=0.5, tile_px=96,
        architecture_args={"pad_type": "same"}, mean=half, std=half,
    )  # fmt: skip
    bundle = make_bundle(spec, tmp_path / "imagenet")
    tiles = torch.randint(0, 256, (2, 96, 96, 3), dtype=torch.uint8)
    eager, folded = (bundle.classifier(backend=backend) for backend in ("eager", "folded"))
    assert folded.backend == "torch, 52 batch norms folded, channels last, fp32"
    passes = [classifier.run(tiles, gradients=False) for classifier in (eager, folded)]
    torch.testing.assert_close(passes[1].logits, passes[0].logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(passes[1].activation, passes[0].activation, rtol=0, atol=1e-4)
