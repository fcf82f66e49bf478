"""Small networks with a say, tiles for them, and pytorch-grad-cam's own way to scale a map."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest
import tifffile
import torch
import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from torch import nn

from slidecam.models import Card, Classifier, classifier_for
from slidecam.models.architectures import build_network
from slidecam.models.classifier import normalised

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Small:
    """A network of four classes, and the layer of it that pytorch-grad-cam is to look at.

    ``split`` cuts at that layer instead of between the network's halves.
    """

    architecture: str
    layer: str
    edge: int = 32
    args: tuple[tuple[str, object], ...] = ()
    split: bool = False

    @property
    def card(self) -> Card:
        return Card(
            name="small", architecture=self.architecture, class_names=("a", "b", "c", "d"),
            activation="softmax",
            tile_px=self.edge, spacing=0.5, input_px=self.edge,
            mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
            split=self.layer if self.split else None,
        )  # fmt: skip

    def network(self) -> nn.Module:
        """Return a new copy, to do with as one likes."""
        return _network(self)

    def classifier(self, backend: str = "folded") -> Classifier:
        return classifier_for(_network(self), self.card, torch.device("cpu"), backend=backend)

    def tiles(self, count: int) -> torch.Tensor:
        """Return smooth noise: neighbouring pixels resemble each other, as they do in tissue."""
        generator = torch.Generator().manual_seed(7)
        coarse = torch.rand(count, 3, 8, 8, generator=generator)
        smooth = F.interpolate(coarse, (self.edge, self.edge), mode="bicubic").clamp(0, 1)
        return (smooth * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def scaled(self, count: int) -> torch.Tensor:
        return normalised(self.tiles(count), self.card)


def sequential() -> nn.Module:
    """Return a network without halves; its head is not linear, its map is 7 by 7 for 32 px."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(48, 16), nn.GELU(), nn.Linear(16, 4),
    )  # fmt: skip


@cache
def _state(small: Small) -> dict[str, torch.Tensor]:
    """Return weights under which logits differ by tile, and batch norms know the tiles."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        network = _built(small)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
                module.bias.normal_(std=0.3)
        network.train()(small.scaled(8))
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.div_(network.eval()(small.scaled(8)).std())
    return network.state_dict()


def _network(small: Small) -> nn.Module:
    network = _built(small)
    network.load_state_dict(_state(small))
    return network.eval()


def _built(small: Small) -> nn.Module:
    if small.architecture == "sequential":
        return sequential()
    return build_network(small.architecture, dict(small.args), 4, Path("card.json"))


class MakeSmall(Protocol):
    def __call__(self, name: str) -> Small: ...


@pytest.fixture
def small() -> MakeSmall:
    """Return what gives a small network by name."""
    known = {
        "pocket": Small("slidecam/pocket_resnet", "stages", args=(("widths", (8, 12)),)),
        "resnet18": Small("timm/resnet18", "layer4", edge=64),
        "resnet18 of 9 places": Small("timm/resnet18", "layer4", edge=96),
        "sequential": Small("sequential", "4", split=True),
        "simple": Small("slidecam/simple_cnn", "features", args=(("input_px", 32),)),
        "vit": Small("timm/test_vit", "", args=(("img_size", 32), ("patch_size", 8))),
    }

    def named(name: str) -> Small:
        return known[name]

    return named


def classifier_of(network: nn.Module, edge: int, classes: int) -> Classifier:
    """Return a classifier of any network, for tiles of ``edge`` pixels and no spacing."""
    card = Card(
        name="any network",
        architecture="slidecam/test",
        class_names=tuple("ABCDE"[:classes]),
        activation="softmax",
        tile_px=edge,
        spacing=None,
        input_px=edge,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )
    return classifier_for(network.eval(), card, torch.device("cpu"))


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


@pytest.fixture
def hooked() -> Callable[[nn.Module, Small], nn.Module]:
    """Return what readies a layer for pytorch-grad-cam, and returns the layer to look at."""

    def ready(network: nn.Module, small: Small) -> nn.Module:
        copying = Copying(network.get_submodule(small.layer))
        network.set_submodule(small.layer, copying)
        network.requires_grad_(requires_grad=True)
        return copying

    return ready


@pytest.fixture
def as_theirs() -> Callable[[torch.Tensor, int], NDArray[Any]]:
    """Return what scales raw maps (B, h, w) by tile, enlarges and scales again.

    It does so as pytorch-grad-cam does.
    """

    def scale(raw: torch.Tensor, edge: int) -> NDArray[Any]:
        enlarged = F.interpolate(
            _scaled(raw)[:, None], (edge, edge), mode="bilinear", align_corners=False
        )[:, 0]
        return np.asarray(_scaled(enlarged.clamp_min(0)))

    return scale


def _scaled(maps: torch.Tensor) -> torch.Tensor:
    from_zero = maps - maps.amin((1, 2), keepdim=True)
    return from_zero / (1e-7 + from_zero.amax((1, 2), keepdim=True))


@pytest.fixture(scope="session")
def sample_tiles(sample_data: Path) -> torch.Tensor:
    """Return tiles of tissue cut from the synthetic slide, uint8 (B, 128, 128, 3)."""
    slide = tifffile.imread(sample_data / "slide.tif")
    cut = [
        slide[y : y + 128, x : x + 128]
        for y in range(300, 3900, 450)
        for x in range(300, 3900, 450)
    ]
    return torch.stack(
        [torch.from_numpy(tile.copy()) for tile in cut if tile.std((0, 1)).mean() > 15][:12]
    )
