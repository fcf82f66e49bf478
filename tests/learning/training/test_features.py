"""Cached features are the beginning's output: of plain pictures, copies, in memory, on disk."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from slidecam.errors import RecipeError
from slidecam.learning.data.augmentation import AugmentationSpec, generator_of
from slidecam.learning.data.pixels import Pictures
from slidecam.learning.recipes.tables import FeatureSpec
from slidecam.learning.training.features import (
    FeatureInputs,
    FeaturePlan,
    cached_features,
    cut_network,
)
from slidecam.models.card import Card
from slidecam.models.classifier import normalised
from slidecam.models.networks import DALAResNet50, DenseHead, PocketResNet
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Callable


CPU = torch.device("cpu")
CARD = Card(
    name="small",
    architecture="slidecam/pocket_resnet",
    class_names=("a", "b"),
    activation="softmax",
    tile_px=16,
    spacing=None,
    input_px=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


def plan_of(copies: int = 3, **spec: object) -> FeaturePlan:
    held = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (37, 16, 16, 3), np.uint8))
    pictures = Pictures(tuple(Path(f"{number}.png") for number in range(37)), 16, "bilinear", held)
    features = FeatureSpec("cut", copies, **{"dtype": "float32", **spec})  # type: ignore[arg-type]
    return FeaturePlan(
        pictures, CARD, np.arange(1, 37, 2), AugmentationSpec(rotation=20, hflip=0.5), 7, features
    )


def beginning(pixels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(pixels, 4)


def features_of(
    plan: FeaturePlan, folder: Path, begin: Callable[..., torch.Tensor] = beginning
) -> FeatureInputs:
    return result_of(cached_features(begin, plan, CPU, "source", folder))


def chance() -> torch.Generator:
    return generator_of(0)


def test_plain_pictures_have_the_beginning_s_features(tmp_path: Path) -> None:
    plan = plan_of()
    rows = np.array([30, 2, 5])
    expected = beginning(normalised(plan.pictures.batch(rows), CARD))
    assert torch.equal(features_of(plan, tmp_path).plain(rows), expected)


def test_each_epoch_gives_another_copy_until_all_have_come(tmp_path: Path) -> None:
    plan = plan_of(copies=3)
    inputs, rows = features_of(plan, tmp_path), np.array([3, 1, 35])
    epochs = [inputs.training(rows, epoch, chance()) for epoch in range(6)]
    for place in range(3):
        assert len({epoch[place].numpy().tobytes() for epoch in epochs[:3]}) == 3
        assert all(torch.equal(epochs[n][place], epochs[n + 3][place]) for n in range(3))
        plain = inputs.plain(rows)[place]
        assert not any(torch.equal(epoch[place], plain) for epoch in epochs)


def test_copies_of_a_picture_look_like_it_and_like_no_other(tmp_path: Path) -> None:
    gentle = replace(plan_of(), augmentation=AugmentationSpec(brightness=(0.98, 1.02)))
    inputs, rows = features_of(gentle, tmp_path), gentle.trained
    copies, plain = inputs.training(rows, 1, chance()).flatten(1), inputs.plain(rows).flatten(1)
    assert torch.equal(torch.cdist(copies, plain).argmin(1), torch.arange(len(rows)))


def test_without_copies_training_sees_plain_pictures(tmp_path: Path) -> None:
    inputs = features_of(plan_of(copies=0), tmp_path)
    rows = np.array([1, 7])
    assert torch.equal(inputs.training(rows, 4, chance()), inputs.plain(rows))


def test_features_are_the_same_each_time_and_with_another_seed_not(tmp_path: Path) -> None:
    plan = plan_of()
    first, second = (features_of(each, tmp_path).array for each in (plan, plan))
    assert np.array_equal(first, second)
    other = features_of(replace(plan, seed=8), tmp_path).array
    assert np.array_equal(first[:37], other[:37])
    assert not np.array_equal(first[37:], other[37:])


def test_too_much_for_memory_is_mapped_from_disk_and_found_again(tmp_path: Path) -> None:
    small, large = plan_of(memory_mb=0), plan_of()
    mapped = features_of(small, tmp_path)
    assert isinstance(mapped.array, np.memmap)
    assert np.array_equal(mapped.array, features_of(large, tmp_path / "other").array)
    assert not (tmp_path / "other").exists()

    def refuse(_pixels: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    assert np.array_equal(features_of(small, tmp_path, refuse).array, mapped.array)
    with pytest.raises(AssertionError):
        features_of(replace(small, augmentation=AugmentationSpec()), tmp_path, refuse)


def test_features_that_were_not_finished_are_not_found(tmp_path: Path) -> None:
    work = cached_features(beginning, plan_of(memory_mb=0), CPU, "source", tmp_path)
    next(work)
    work.close()
    assert not list(tmp_path.iterdir())


def test_half_precision_halves_the_room_and_moves_little(tmp_path: Path) -> None:
    half, full = (
        features_of(plan_of(dtype="float16"), tmp_path).array,
        features_of(plan_of(), tmp_path).array,
    )
    assert half.nbytes * 2 == full.nbytes
    assert np.abs(half.astype(np.float32) - full).max() <= 1e-3 * np.abs(full).max()


def test_a_beginning_in_bfloat16_moves_features_little_and_has_a_cache_of_its_own(
    tmp_path: Path,
) -> None:
    layer = torch.nn.Conv2d(3, 5, 3).requires_grad_(requires_grad=False)
    torch.nn.init.constant_(layer.weight, 0.037)
    exact, rough = plan_of(), plan_of(precision="bf16")
    assert exact.digest("source") != rough.digest("source")
    values = features_of(exact, tmp_path, layer).array
    moved = np.abs(
        features_of(rough, tmp_path, lambda pixels: layer(pixels).float()).array - values
    )
    assert 0 < moved.max() < 0.02 * np.abs(values).max()


def test_features_too_large_for_half_precision_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="float32"):
        features_of(plan_of(dtype="float16"), tmp_path, lambda pixels: beginning(pixels) * 1e6)
    with pytest.raises(RecipeError, match="not finite"):
        features_of(plan_of(), tmp_path, lambda pixels: beginning(pixels) * torch.nan)


CUTS = [
    ("mobilenetv2_100", "blocks.4"),
    ("mobilenetv2_100", "blocks.2.1"),
    ("mobilenetv2_100", "conv_head"),
    ("mobilenetv2_100", "classifier"),
    ("efficientnet_b0", "blocks.5"),
    ("mobilenetv3_small_050", "blocks.3"),
    ("resnet18", "layer4"),
    ("resnet18", "layer3.1"),
    ("densenet121", "features.denseblock4"),
    ("densenet121", "features.norm5"),
    ("convnext_atto", "stages.2"),
    ("regnetx_002", "s3"),
]


def network_of(name: str) -> nn.Module:
    torch.manual_seed(1)
    network: nn.Module = timm.create_model(name, num_classes=3)
    with torch.no_grad():
        network.train()(torch.rand(4, 3, 64, 64))  # batch norms with statistics of their own
    return network.eval()


def probe() -> torch.Tensor:
    return torch.rand((3, 3, 64, 64), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "cut"), CUTS)
def test_the_halves_make_up_the_network(name: str, cut: str) -> None:
    network, pixels = network_of(name), probe()
    halves = cut_network(network, cut, pixels[:2])
    with torch.no_grad():
        logits = halves.end(halves.beginning(pixels))
        expected = network(pixels)
    assert (logits - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_our_own_networks_can_be_cut_inside_their_backbone() -> None:
    pixels = probe()
    for network, cut in (
        (PocketResNet(3, widths=(8, 12, 16)), "stages.1"),
        (DenseHead(3, "test_efficientnet"), "backbone.blocks.2"),
        (DALAResNet50(3), "backbone.layer4"),
    ):
        halves = cut_network(network.eval(), cut, pixels[:2])
        with torch.no_grad():
            assert torch.allclose(halves.end(halves.beginning(pixels)), network(pixels), atol=1e-4)


def test_training_the_end_is_training_the_network() -> None:
    network, pixels = network_of("resnet18"), probe()
    twin = copy.deepcopy(network)
    halves = cut_network(network, "layer4", pixels[:2])
    labels = torch.tensor([0, 1, 2])
    for model, given in ((halves.end, halves.beginning(pixels)), (twin, pixels)):
        model.train()
        for layer in (twin.get_submodule(name) for name in ("bn1", "layer1", "layer2", "layer3")):
            layer.eval()
        free = [p for name, p in model.named_parameters() if name.startswith(("layer4", "fc"))]
        step = torch.optim.SGD(free, lr=0.1)
        torch.autograd.backward(cross_entropy(model(given), labels))
        step.step()
    for name, value in twin.state_dict().items():
        if name.startswith(("layer4", "fc")):
            assert torch.allclose(network.state_dict()[name].float(), value.float(), atol=1e-4), (
                name
            )


def test_the_end_holds_the_network_s_own_tensors_and_no_others() -> None:
    network = network_of("resnet18")
    end = cut_network(network, "layer4", probe()[:2]).end
    own = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    assert {id(tensor) for tensor in (*end.parameters(), *end.buffers())} < own
    assert not [
        name for name, _tensor in end.named_parameters() if name.startswith(("conv1", "layer3"))
    ]


def test_cutting_leaves_no_trace_in_the_network() -> None:
    network, pixels = network_of("test_resnet"), probe()
    before, flags = network(pixels), [p.requires_grad for p in network.parameters()]
    cut_network(network, "layer3", pixels)
    assert torch.equal(network(pixels), before)
    assert [p.requires_grad for p in network.parameters()] == flags
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in network.modules()
    )


def test_digests_tell_beginnings_apart_and_not_ends() -> None:
    network, pixels = network_of("test_resnet"), probe()
    digest = cut_network(network, "layer3", pixels).digest
    with torch.no_grad():
        network.get_parameter("fc.weight").add_(1)
    assert cut_network(network, "layer3", pixels).digest == digest
    assert cut_network(network, "layer2", pixels).digest != digest
    with torch.no_grad():
        network.get_parameter("conv1.0.weight").add_(1)
    assert cut_network(network, "layer3", pixels).digest != digest


@pytest.mark.parametrize(
    ("cut", "words"),
    [
        ("layer5", "Names like it are layer"),
        ("", "no such layer"),
        ("layer3.0.conv2", "no chain of layers"),
    ],
)
def test_a_cut_that_cannot_be_is_refused(cut: str, words: str) -> None:
    with pytest.raises(RecipeError, match=r"features\.cut") as caught:
        cut_network(network_of("resnet18"), cut, probe())
    assert words in str(caught.value)


def test_a_layer_that_takes_more_than_a_tensor_is_refused() -> None:
    with pytest.raises(RecipeError, match="not given one tensor"):
        cut_network(network_of("densenet121"), "features.denseblock2.denselayer3", probe())


def test_a_layer_that_never_runs_is_refused() -> None:
    network = PocketResNet(3, widths=(8, 12))
    network.spare = nn.Linear(3, 3)
    with pytest.raises(RecipeError, match="does not run"):
        cut_network(network.eval(), "spare", probe())
