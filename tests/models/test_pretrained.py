"""Weights of another task as a start, under the names that their makers gave them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from slidecam.errors import UntrustedCodeError, WeightsError
from slidecam.models.networks import DALAResNet50, DenseHead, PocketResNet
from slidecam.models.pretrained import load_pretrained

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor


def timm_network(name: str, classes: int = 3, **args: Any) -> nn.Module:
    network: nn.Module = timm.create_model(name, num_classes=classes, **args)
    return network.eval()


def features_of(network: Any, pixels: Tensor) -> Tensor:
    """Return the last map of a torchvision network, as timm's has it."""
    if isinstance(network, torchvision.models.ResNet):
        return nn.Sequential(*list(network.children())[:-2])(pixels)  # type: ignore[no-any-return]
    features: Tensor = network.features(pixels)
    return features.relu() if isinstance(network, torchvision.models.DenseNet) else features


def kimianet(lively: Callable[[nn.Module], nn.Module]) -> tuple[dict[str, Tensor], nn.Module]:
    """Return weights named as in ``KimiaNetPyTorchWeights.pth``, and their torchvision trunk.

    Saved was a ``DataParallel`` of a network with ``model = Sequential(densenet.features,
    AdaptiveAvgPool2d)`` and ``fc_4 = Linear(1024, 30)``.
    """
    trunk = lively(torchvision.models.densenet121()).eval().get_submodule("features")
    named = {f"module.model.0.{name}": value for name, value in trunk.state_dict().items()}
    named |= {"module.fc_4.weight": torch.randn(30, 1024), "module.fc_4.bias": torch.randn(30)}
    return named, trunk


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("resnet50", "resnet50"),
        ("densenet121", "densenet121"),
        ("mobilenet_v2", "mobilenetv2_100"),
        ("efficientnet_b4", "efficientnet_b4"),
    ],
)
def test_torchvisions_weights_make_timms_network_compute_the_same(
    theirs: str, ours: str, tmp_path: Path, pixels: Tensor, lively: Callable[[nn.Module], nn.Module]
) -> None:
    given = lively(getattr(torchvision.models, theirs)()).eval()
    torch.save(given.state_dict(), tmp_path / "given.pth")
    network = timm_network(ours)
    left = load_pretrained(
        network, tmp_path / "given.pth", weights_format="torchvision", trust=True
    )
    assert len(left) == 2
    with torch.no_grad():
        expected = features_of(given, pixels)
        assert expected.abs().max() > 0
        torch.testing.assert_close(network.forward_features(pixels), expected, rtol=1e-5, atol=0)  # type: ignore[operator]


def test_the_old_names_in_torchvisions_densenet_file_are_known(
    tmp_path: Path, pixels: Tensor, lively: Callable[[nn.Module], nn.Module]
) -> None:
    given = lively(torchvision.models.densenet121()).eval()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", k): v
        for k, v in given.state_dict().items()
    }
    old = {name: value for name, value in old.items() if not name.endswith("num_batches_tracked")}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121-a639ec97.pth")
    network = timm_network("densenet121")
    load_pretrained(
        network, tmp_path / "densenet121-a639ec97.pth", weights_format="torchvision", trust=True
    )
    with torch.no_grad():
        torch.testing.assert_close(network.forward_features(pixels), features_of(given, pixels))  # type: ignore[operator]


@pytest.mark.parametrize("prefix", ["module.model.0.", "model.0."])
def test_kimianets_file_fits_timms_densenet_and_leaves_its_classifier(
    prefix: str, tmp_path: Path, pixels: Tensor, lively: Callable[[nn.Module], nn.Module]
) -> None:
    named, trunk = kimianet(lively)
    named = {name.replace("module.model.0.", prefix): value for name, value in named.items()}
    if not prefix.startswith("module."):
        named = {name.removeprefix("module."): value for name, value in named.items()}
    torch.save(named, tmp_path / "KimiaNetPyTorchWeights.pth")
    network = timm_network("densenet121")
    before = network.get_parameter("classifier.weight").clone()
    left = load_pretrained(
        network, tmp_path / "KimiaNetPyTorchWeights.pth", weights_format="kimianet", trust=True
    )
    assert left == ("classifier.weight", "classifier.bias")
    assert torch.equal(network.get_parameter("classifier.weight"), before)
    with torch.no_grad():
        expected = trunk(
            pixels
        ).relu()  # timm has a ReLU behind the last batch norm, KimiaNet has none
        torch.testing.assert_close(network.forward_features(pixels), expected)  # type: ignore[operator]


def test_a_pickle_needs_trust(tmp_path: Path, lively: Callable[[nn.Module], nn.Module]) -> None:
    torch.save(kimianet(lively)[0], tmp_path / "KimiaNetPyTorchWeights.pth")
    with pytest.raises(UntrustedCodeError, match="--trust"):
        load_pretrained(
            timm_network("densenet121"),
            tmp_path / "KimiaNetPyTorchWeights.pth",
            weights_format="kimianet",
        )


def test_the_network_inside_one_of_ours_takes_its_weights(tmp_path: Path, pixels: Tensor) -> None:
    given = timm_network("test_resnet", classes=1000)
    torch.save(given.state_dict(), tmp_path / "given.pth")
    network = DenseHead(2, "test_resnet", hidden=4)
    left = load_pretrained(network, tmp_path / "given.pth", trust=True)
    assert left == ("head.0.weight", "head.0.bias", "head.3.weight", "head.3.bias")
    with torch.no_grad():
        expected = given.forward_features(pixels)  # type: ignore[operator]
        torch.testing.assert_close(network.eval().forward_features(pixels), expected)


def test_torchvisions_order_finds_its_way_into_one_of_ours(tmp_path: Path, pixels: Tensor) -> None:
    given = torchvision.models.mobilenet_v2().eval()
    torch.save(given.state_dict(), tmp_path / "given.pth")
    network = DenseHead(2, "mobilenetv2_100").eval()
    load_pretrained(network, tmp_path / "given.pth", weights_format="torchvision", trust=True)
    with torch.no_grad():
        torch.testing.assert_close(network.forward_features(pixels), given.features(pixels))


def test_one_of_ours_takes_weights_of_its_like_but_for_the_last_layer(tmp_path: Path) -> None:
    given, network = DenseHead(5, "test_resnet", hidden=4), DenseHead(2, "test_resnet", hidden=4)
    torch.save(given.state_dict(), tmp_path / "given.pth")
    assert load_pretrained(network, tmp_path / "given.pth", trust=True) == (
        "head.3.weight",
        "head.3.bias",
    )
    assert torch.equal(network.get_parameter("head.0.weight"), given.get_parameter("head.0.weight"))


def test_a_network_that_is_none_of_timms_takes_weights_too(tmp_path: Path) -> None:
    given, network = PocketResNet(5), PocketResNet(2)
    torch.save(given.state_dict(), tmp_path / "given.pth")
    assert load_pretrained(network, tmp_path / "given.pth", trust=True) == ("fc.weight", "fc.bias")
    assert torch.equal(network.state_dict()["stem.0.weight"], given.state_dict()["stem.0.weight"])


@pytest.mark.parametrize(
    ("weights_format", "said"),
    [
        ("plain", "is missing"),
        ("torchvision", "is missing"),
        ("kimianet", "is missing"),
        ("keras", "keras"),
    ],
)
def test_weights_of_another_network_are_refused_and_change_nothing(
    weights_format: Any, said: str, tmp_path: Path
) -> None:
    torch.save(timm_network("test_resnet").state_dict(), tmp_path / "other.pth")
    network = timm_network("test_vit")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=said):
        load_pretrained(network, tmp_path / "other.pth", weights_format=weights_format, trust=True)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_the_same_order_in_other_shapes_is_not_taken_for_the_same_network(tmp_path: Path) -> None:
    torch.save(torchvision.models.mobilenet_v2(width_mult=0.5).state_dict(), tmp_path / "half.pth")
    with pytest.raises(WeightsError, match="is missing"):
        load_pretrained(
            timm_network("mobilenetv2_100"),
            tmp_path / "half.pth",
            weights_format="torchvision",
            trust=True,
        )


@pytest.mark.shared_data
def test_imagenet_weights_start_a_network_of_another_number_of_classes(shared_data: Path) -> None:
    weights = shared_data / "weights" / "mobilenetv2_100_imagenet_tfslim_qat_fp16.safetensors"
    network = timm_network("mobilenetv2_100", pad_type="same")
    assert load_pretrained(network, weights) == ("classifier.weight", "classifier.bias")


def test_dala_starts_from_a_resnet50(tmp_path: Path) -> None:
    given = timm_network("resnet50", classes=1000)
    torch.save(given.state_dict(), tmp_path / "given.pth")
    network = DALAResNet50(2)
    left = load_pretrained(
        network, tmp_path / "given.pth", weights_format="torchvision", trust=True
    )
    assert all(name.startswith(("attention.", "head.")) for name in left)
    assert torch.equal(
        network.backbone.state_dict()["conv1.weight"], given.state_dict()["conv1.weight"]
    )
