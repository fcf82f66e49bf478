"""Cheap maps equal pytorch-grad-cam's, over common networks, for any batch and odd sizes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from pytorch_grad_cam import FinerCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, SegEigenCAM
from pytorch_grad_cam.activations_and_gradients import ActivationsAndGradients
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget, FinerWeightedTarget
from torch import nn

from slidecam.explain.activation_maps import plan_maps
from slidecam.models import Card, classifier_for
from slidecam.models.architectures import build_network
from slidecam.models.classifier import normalised

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from slidecam.models import Classifier

CLASSES = (0, 2)
RIVAL = 1
BACKENDS: tuple[str, ...] = ("eager", "folded")
CPU = torch.device("cpu")

THEIRS: Mapping[str, Any] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "hirescam": HiResCAM,
    "layercam": LayerCAM,
    "finer-cam": GradCAM,
    "eigencam": SegEigenCAM,
}
"""Seg-Eigen-CAM is of activations times gradients.

Given ones for gradients it is Eigen-CAM, with the sign of ours.
"""


@dataclass(frozen=True)
class Case:
    """A network, and the layer that pytorch-grad-cam is to look at.

    ``grid`` rows and columns where it gives tokens.
    """

    architecture: str
    layer: str
    args: tuple[tuple[str, object], ...] = ()
    input_px: int = 97
    split: str | None = None
    nhwc: bool = False
    grid: int = 0
    linear: bool = False

    def __str__(self) -> str:
        return f"{self.architecture}-{self.layer}"


SWIN = (
    ("img_size", 64),
    ("embed_dim", 16),
    ("depths", (1, 2)),
    ("num_heads", (1, 2)),
    ("window_size", 4),
)
CASES = (
    Case("timm/resnet18", "layer4", linear=True),
    Case("timm/resnet18", "layer3.1", split="layer3.1"),
    Case("timm/resnet50", "layer4", input_px=65, linear=True),
    Case("timm/densenet121", "features.norm5", input_px=65, linear=True),
    Case("timm/mobilenetv2_100", "bn2", (("pad_type", "same"),), linear=True),
    Case("slidecam/dense_head", "backbone.bn2"),
    Case("timm/convnext_atto", "stages.3"),
    Case("timm/vit_tiny_patch16_224", "blocks.11.norm1", (("img_size", 48),), 48, grid=3),
    Case(
        "timm/deit_tiny_distilled_patch16_224", "blocks.11.norm1", (("img_size", 48),), 48, grid=3
    ),
    Case("timm/swin_tiny_patch4_window7_224", "norm", SWIN, 64, nhwc=True, linear=True),
    Case("slidecam/pocket_resnet", "stages", linear=True),
    Case("slidecam/simple_cnn", "features", (("input_px", 33),), 33),
    Case("slidecam/dala_resnet50", "attention"),
    Case("sequential", "3", split="3"),
)


def sequential() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 12, 3),
        nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 16),
        nn.GELU(), nn.Linear(16, 4),
    )  # fmt: skip


@cache
def trained_a_little(case: Case) -> nn.Module:
    """Return the network with batch statistics of tiles like the tests', and logits of size 1.

    Without the former, activations grow from layer to layer until rounding alone moves a map too
    far; without the latter, Grad-CAM++ is 0 but for its epsilon.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = _built(case)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        with torch.no_grad():
            network.train()(normalised(tiles(8, case.input_px), card_for(case)))
            network.eval()
            last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
            last.weight.div_(network(normalised(tiles(8, case.input_px), card_for(case))).std())
    return network


def _built(case: Case) -> nn.Module:
    if case.architecture == "sequential":
        return sequential()
    return build_network(case.architecture, dict(case.args), 4, Path("card.json"))


def card_for(case: Case) -> Card:
    return Card(
        name="case", architecture=case.architecture, class_names=("a", "b", "c", "d"),
        activation="softmax",
        tile_px=case.input_px, spacing=0.5, input_px=case.input_px, mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25), split=case.split,
    )  # fmt: skip


@cache
def classifier_of(case: Case, backend: str) -> Classifier:
    return classifier_for(trained_a_little(case), card_for(case), CPU, backend=backend)


def tiles(count: int, edge: int) -> torch.Tensor:
    """Return smooth noise: neighbouring pixels resemble each other, as they do in tissue."""
    generator = torch.Generator().manual_seed(7)
    fine, coarse = (torch.rand(count, 3, cells, cells, generator=generator) for cells in (12, 2))
    mixed = (F.interpolate(cells, (edge, edge), mode="bicubic") for cells in (fine, coarse))
    smooth = (torch.stack(list(mixed)).sum(0) - 0.5).clamp(0, 1)
    return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Copying(nn.Module):
    """Runs a layer and hands a copy on.

    pytorch-grad-cam keeps the layer's output itself on a CPU, so that what computes in place behind
    the layer rewrites what it has kept.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        copied: torch.Tensor = self.layer(features).clone()
        return copied


def channels_first(case: Case) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """Return what pytorch-grad-cam calls a reshape_transform.

    For transformers it is as pytorch-grad-cam's documentation has it.
    """
    if case.nhwc:
        return lambda a: a.permute(0, 3, 1, 2)
    if not case.grid:
        return None
    return lambda a: (
        a[:, -(case.grid**2) :].reshape(len(a), case.grid, case.grid, -1).permute(0, 3, 1, 2)
    )


@contextmanager
def looked_at(case: Case) -> Iterator[tuple[nn.Module, nn.Module]]:
    """Lend the network, and the layer in it.

    It computes in place on nothing that pytorch-grad-cam has kept.

    Only the layer's weights require gradients, as far as their backward pass has to go.
    """
    network = trained_a_little(case)
    layer = network.get_submodule(case.layer)
    network.requires_grad_(requires_grad=False)
    layer.requires_grad_(requires_grad=True)
    network.set_submodule(case.layer, Copying(layer))
    try:
        yield network, layer
    finally:
        network.set_submodule(case.layer, layer)


@dataclass(frozen=True)
class Looked:
    """Maps of one class as pytorch-grad-cam computes them, and as it gives them.

    Scaled by tile, as large as tiles.
    """

    raw: np.ndarray[Any, Any]
    scaled: np.ndarray[Any, Any]


def their_maps(case: Case, pixels: torch.Tensor) -> dict[tuple[str, int], Looked]:
    """Return what pytorch-grad-cam makes of each method and class, all from one forward pass.

    One pass keeps the tests quick.
    """
    found = {}
    with looked_at(case) as (network, layer):
        watched = ActivationsAndGradients(network, [layer], channels_first(case))
        logits = watched(pixels)
        for index in CLASSES:
            for rival in (None, RIVAL):
                watched.gradients = []
                score = logits[:, index] if rival is None else logits[:, index] - logits[:, rival]
                score.sum().backward(retain_graph=True)
                for method in THEIRS:
                    if (method == "finer-cam") == (rival is not None) and method != "eigencam":
                        found[method, index] = looked(method, watched, pixels)
        found |= dict.fromkeys(
            [("eigencam", index) for index in CLASSES], looked("eigencam", watched, pixels)
        )
        watched.release()
    return found


def looked(method: str, watched: Any, pixels: torch.Tensor) -> Looked:
    activation, gradient = (kept[0].numpy() for kept in (watched.activations, watched.gradients))
    gradient = np.ones_like(gradient) if method == "eigencam" else gradient
    with THEIRS[method](watched.model, []) as cam:
        raw = np.maximum(cam.get_cam_image(pixels, None, None, activation, gradient, False), 0)  # noqa: FBT003
        scaled_by_tile = scale_cam_image(raw, cam.get_target_width_height(pixels))
        return Looked(raw, cam.aggregate_multi_layers([scaled_by_tile[:, None]]))


def as_theirs(raw: torch.Tensor, edge: int) -> np.ndarray[Any, Any]:
    """Return raw maps (B, h, w) scaled by tile, enlarged, scaled again, as in pytorch-grad-cam."""
    enlarged = F.interpolate(
        scaled(raw)[:, None], (edge, edge), mode="bilinear", align_corners=False
    )[:, 0]
    return np.asarray(scaled(enlarged.clamp_min(0)))


def scaled(maps: torch.Tensor) -> torch.Tensor:
    from_zero = maps - maps.amin((1, 2), keepdim=True)
    return from_zero / (1e-7 + from_zero.amax((1, 2), keepdim=True))


def distances(
    case: Case, backend: str, pixels: torch.Tensor, theirs: Mapping[tuple[str, int], Looked]
) -> np.ndarray[Any, Any]:
    """Return how far each map (methods and classes, B) is from theirs, by its largest value.

    The larger of two: as raw maps, and as pytorch-grad-cam gives them, scaled and enlarged.
    """
    classifier = classifier_of(case, backend)
    plan = plan_maps(classifier, list(THEIRS), CLASSES, RIVAL)
    maps = plan(classifier.run(pixels, gradients=plan.gradients))
    found = []
    for at, method in enumerate(THEIRS):
        for place, index in enumerate(CLASSES):
            ours, their = maps[:, at, place], theirs[method, index]
            raw = np.abs(ours.numpy() - their.raw).max((1, 2)) / their.raw.max()
            given = np.abs(as_theirs(ours, case.input_px) - their.scaled).max((1, 2))
            found.append(np.maximum(raw, given))
    return np.stack(found)


HEAVY = ("timm/resnet50", "timm/densenet121", "slidecam/dense_head", "slidecam/dala_resnet50")
COUNTED = [
    pytest.param(
        case,
        count,
        marks=pytest.mark.slow if case.architecture in HEAVY and count != 3 else (),
        id=f"{case}-{count}",
    )
    for case in CASES
    for count in (1, 3, 17)
]


@pytest.mark.parametrize(("case", "count"), COUNTED)
def test_maps_equal_pytorch_grad_cams(case: Case, count: int) -> None:
    pixels = tiles(17, case.input_px)[:count]
    # Of the plain network on the same batch: how convolutions round depends on the number of tiles.
    theirs = their_maps(case, normalised(pixels, card_for(case)).contiguous())
    assert all(looked.scaled.max() > 0.9 for looked in theirs.values()), (
        "maps of zeros would agree with anything"
    )
    assert distances(case, "eager", pixels, theirs).max() <= 1e-5
    # Random weights multiply rounding: against the same network in float64, pytorch-grad-cam's own
    # maps of MobileNetV2 are 8e-5 off and ours, folded, 1e-4. A tile where a unit of the head is
    # next to 0 may be farther off.
    folded = distances(case, "folded", pixels, theirs)
    assert np.quantile(folded, 0.9) <= 1e-4
    assert folded.max() <= 1e-2


@pytest.mark.parametrize("case", CASES, ids=str)
def test_networks_are_run_and_cut_as_expected(case: Case) -> None:
    assert classifier_of(case, "eager").backend == "torch, eager, fp32"
    # A transformer has nothing to fold and no memory to be laid out otherwise: no second copy.
    transformer = case.architecture.startswith(("timm/vit", "timm/deit", "timm/swin"))
    assert ("channels last" in classifier_of(case, "folded").backend) != transformer
    for backend in BACKENDS:
        assert (classifier_of(case, backend).linear_head is not None) == case.linear


@pytest.mark.parametrize("method", sorted({"gradcam", "gradcam++", "hirescam", "layercam"}))
def test_maps_equal_the_library_as_people_call_it(method: str) -> None:
    case = CASES[-1]
    pixels = tiles(3, case.input_px)
    with looked_at(case) as (network, layer), THEIRS[method](network, [layer]) as cam:
        scaled_by_tile = cam(normalised(pixels, card_for(case)), [ClassifierOutputTarget(2)] * 3)
    plan = plan_maps(classifier_of(case, "eager"), [method], [2])
    ours = plan(classifier_of(case, "eager").run(pixels, gradients=True))[:, 0, 0]
    assert np.abs(as_theirs(ours, case.input_px) - scaled_by_tile).max() <= 1e-5


def test_finer_cam_equals_the_librarys() -> None:
    case = CASES[-1]
    pixels = tiles(3, case.input_px)
    with looked_at(case) as (network, layer), FinerCAM(network, [layer]) as cam:
        targets = [FinerWeightedTarget(2, [RIVAL], 1.0)] * 3
        scaled_by_tile = cam(normalised(pixels, card_for(case)), targets)
    plan = plan_maps(classifier_of(case, "eager"), ["finer-cam"], [2], RIVAL)
    ours = plan(classifier_of(case, "eager").run(pixels, gradients=True))[:, 0, 0]
    assert np.abs(as_theirs(ours, case.input_px) - scaled_by_tile).max() <= 1e-5


def test_the_librarys_own_activation_is_rewritten_by_layers_in_place() -> None:
    """This is why theirs are computed on a copy here.

    As they are, their Grad-CAM of this layer is another map.
    """
    case = CASES[-1]
    pixels = normalised(tiles(3, case.input_px), card_for(case))
    with looked_at(case) as (network, layer), GradCAM(network, [layer]) as cam:
        right = cam(pixels, [ClassifierOutputTarget(2)] * 3)
    network = trained_a_little(case)
    with GradCAM(network, [network.get_submodule(case.layer)]) as cam:
        wrong = cam(pixels, [ClassifierOutputTarget(2)] * 3)
    assert np.abs(right - wrong).max() > 0.1
