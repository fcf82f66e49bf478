"""Grad-CAM++ from one pass equals pytorch-grad-cam's, and leaves nothing behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from pytorch_grad_cam import GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from slidecam.errors import ExplanationError
from slidecam.explain import EXPLAINERS, explainer_for, grad_cam_pp
from slidecam.models import Card, ClassifierPass, classifier_for
from slidecam.models.architectures import build_network
from slidecam.models.classifier import normalised

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.models.backbones import Backend

TOLERANCE = 1e-4
CLASSES = (0, 2)
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A network, and the layer that pytorch-grad-cam is to look at; ``nhwc`` if its map is channels last."""

    architecture: str
    layer: str
    args: Mapping[str, object] = field(default_factory=dict)
    input_px: int = 96
    split: str | None = None
    nhwc: bool = False


SWIN: Mapping[str, object] = {
    "img_size": 64, "embed_dim": 16, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4,
}  # fmt: skip
CASES = (
    Case("timm/resnet18", "layer4"),
    Case("timm/resnet18", "layer3.1", split="layer3.1"),
    Case("timm/densenet121", "features"),
    Case("timm/efficientnet_b0", "bn2"),
    Case("timm/mobilenetv2_100", "bn2", {"pad_type": "same"}),
    Case("timm/swin_tiny_patch4_window7_224", "norm", SWIN, 64, nhwc=True),
    Case("slidecam/pocket_resnet", "stages"),
    Case("sequential", "3", split="3"),
)


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 12, 3),
        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 16),
        nn.GELU(), nn.Linear(16, 4),
    )  # fmt: skip


def trained_a_little(case: Case) -> nn.Module:
    """Return the network with its batch statistics taken from tiles like those of the tests.

    Without them activations grow from layer to layer, until rounding alone moves a map too far.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = _built(case)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network.train()(normalised(tiles(8, case.input_px), card_for(case)))
    return network.eval()


def _built(case: Case) -> nn.Module:
    if case.architecture == "sequential":
        return sequential()
    return build_network(case.architecture, case.args, 4, Path("card.json"))


def card_for(case: Case) -> Card:
    return Card(
        name="case", architecture=case.architecture, class_names=("a", "b", "c", "d"), activation="softmax",
        tile_px=case.input_px, spacing=0.5, input_px=case.input_px, mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25), split=case.split,
    )  # fmt: skip


def tiles(count: int, edge: int) -> torch.Tensor:
    """Return smooth noise: neighbouring pixels resemble each other, as they do in tissue."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    smooth = F.interpolate(coarse, (edge, edge), mode="bicubic").clamp(0, 1)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Copying(nn.Module):
    """Runs a layer and hands a copy on.

    pytorch-grad-cam keeps the layer's output itself on a CPU, so that what computes in place behind the layer
    rewrites what it has kept.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        copied: torch.Tensor = self.layer(features).clone()
        return copied


def their_maps(network: nn.Module, case: Case, pixels: torch.Tensor, index: int) -> np.ndarray[Any, Any]:
    """Return pytorch-grad-cam's maps (B, H, W): scaled to 0-1 by tile, as large as the tile."""
    layer = network.get_submodule(case.layer)
    network.set_submodule(case.layer, Copying(layer))
    network.requires_grad_(requires_grad=True)
    channels_first = (lambda a: a.permute(0, 3, 1, 2)) if case.nhwc else None
    with GradCAMPlusPlus(network, [layer], reshape_transform=channels_first) as cam:
        targets = [ClassifierOutputTarget(index)] * len(pixels)
        maps: np.ndarray[Any, Any] = cam(input_tensor=pixels, targets=targets)
    return maps


def as_theirs(raw: torch.Tensor, edge: int) -> np.ndarray[Any, Any]:
    """Return raw maps (B, h, w) scaled by tile, enlarged and scaled again, as pytorch-grad-cam does."""
    enlarged = F.interpolate(scaled(raw)[:, None], (edge, edge), mode="bilinear", align_corners=False)[:, 0]
    return np.asarray(scaled(enlarged.clamp_min(0)))


def scaled(maps: torch.Tensor) -> torch.Tensor:
    from_zero = maps - maps.amin((1, 2), keepdim=True)
    return from_zero / (1e-7 + from_zero.amax((1, 2), keepdim=True))


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.architecture}-{c.layer}")
def test_maps_equal_pytorch_grad_cams(case: Case) -> None:
    network, card, pixels = trained_a_little(case), card_for(case), tiles(3, case.input_px)
    ours: dict[tuple[str, int], torch.Tensor] = {}
    backends: tuple[Backend, ...] = ("eager", "folded")
    for backend in backends:
        classifier = classifier_for(network, card, CPU, backend=backend)
        assert ("eager" if backend == "eager" else "channels last") in classifier.backend
        for count in (1, 3):
            ours[backend, count] = grad_cam_pp(classifier.run(pixels[:count], gradients=True), CLASSES)
    for place, index in enumerate(CLASSES):
        theirs = their_maps(trained_a_little(case), case, normalised(pixels, card), index)
        assert theirs.max() > 0.9, "a map of zeros would agree with anything"
        for (_backend, count), raw in ours.items():
            assert np.abs(as_theirs(raw[:, place], case.input_px) - theirs[:count]).max() <= TOLERANCE


def test_raw_maps_are_the_papers_sums() -> None:
    activation = torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weight = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(1))
    logits = torch.stack([(activation.flatten(2) * w).square().sum((1, 2)) / 2 for w in weight], 1)
    maps = grad_cam_pp(ClassifierPass(activation, logits), (1, 0))
    assert maps.shape == (2, 2, 3, 4)
    assert not maps.requires_grad
    a = activation.detach().numpy().astype(np.float64)
    for place, index in enumerate((1, 0)):
        g = a * weight[index].numpy().astype(np.float64).reshape(5, 3, 4) ** 2
        for tile in range(2):
            expected = np.zeros((3, 4))
            for channel in range(5):
                grad, total = g[tile, channel], a[tile, channel].sum()
                alpha = grad**2 / (2 * grad**2 + total * grad**3 + 1e-6)
                expected += (alpha * np.maximum(grad, 0)).sum() * a[tile, channel]
            np.testing.assert_allclose(maps[tile, place], np.maximum(expected, 0), rtol=1e-4)


def test_channels_that_speak_against_a_class_add_nothing() -> None:
    activation = torch.ones(1, 2, 2, 2).requires_grad_()
    logits = (activation * torch.tensor([1.0, -1.0])[None, :, None, None]).sum((2, 3))
    maps = grad_cam_pp(ClassifierPass(activation, logits), (0, 1))
    assert float(maps[0, 0].min()) > 0
    assert float(maps[0, 1].max()) == 0


def test_places_without_gradient_are_zero_even_without_epsilon() -> None:
    activation = torch.zeros(1, 1, 2, 2).requires_grad_()
    maps = grad_cam_pp(ClassifierPass(activation, (activation * 0).sum((2, 3))), (0,), eps=0.0)
    assert torch.equal(maps, torch.zeros(1, 1, 2, 2))


def test_the_backbone_runs_once_for_predictions_and_all_maps() -> None:
    case = CASES[0]
    network = trained_a_little(case)
    classifier = classifier_for(network, card_for(case), CPU)
    calls: list[str] = []
    running: Any = classifier.split
    for name in ("conv1", "layer4", "fc"):
        layer = running.backbone.features.__self__.get_submodule(name)
        layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    passed = classifier.run(tiles(2, 96), gradients=True)
    grad_cam_pp(passed, range(4))
    assert calls == ["conv1", "layer4", "fc"]


def test_a_pass_can_be_explained_again_and_class_by_class() -> None:
    case = CASES[6]
    passed = classifier_for(trained_a_little(case), card_for(case), CPU).run(tiles(2, 96), gradients=True)
    together = grad_cam_pp(passed, (0, 1, 2, 3))
    assert torch.equal(grad_cam_pp(passed, (0, 1, 2, 3)), together)
    assert torch.equal(torch.cat([grad_cam_pp(passed, (k,)) for k in range(4)], 1), together)
    assert passed.activation is not None
    assert passed.activation.grad is None


def test_frozen_networks_have_maps() -> None:
    case = CASES[7]
    network, pixels = trained_a_little(case), tiles(2, 96)
    free = grad_cam_pp(classifier_for(network, card_for(case), CPU).run(pixels, gradients=True), CLASSES)
    network.requires_grad_(requires_grad=False)
    frozen = grad_cam_pp(classifier_for(network, card_for(case), CPU).run(pixels, gradients=True), CLASSES)
    assert torch.equal(frozen, free)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_pass_without_gradients_or_map_cannot_be_explained() -> None:
    for activation in (None, torch.zeros(1, 1, 2, 2)):
        with pytest.raises(ExplanationError, match="gradients=True"):
            grad_cam_pp(ClassifierPass(activation, torch.zeros(1, 3)), (0,))


@pytest.mark.parametrize("classes", [(3,), (-1,), ()])
def test_classes_that_are_not_there_are_refused(classes: tuple[int, ...]) -> None:
    activation = torch.zeros(1, 1, 2, 2).requires_grad_()
    with pytest.raises(ExplanationError, match="class"):
        grad_cam_pp(ClassifierPass(activation, activation.sum((2, 3)).expand(1, 3)), classes)


def test_explainers_go_by_name() -> None:
    assert explainer_for("gradcam++") is grad_cam_pp
    with pytest.raises(ExplanationError, match=r"'lime'.*Use one of gradcam\+\+"):
        explainer_for("lime")
    assert "gradcam++" in EXPLAINERS
