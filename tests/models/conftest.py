"""Cards, networks and bundles small enough to make for every test."""

from __future__ import annotations

import functools
import io
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest
import safetensors.torch
import torch

from slidecam.models import Card, save_bundle
from slidecam.models.architectures import build_network

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from slidecam.models import Bundle

NAMES = ("stroma", "tumour", "necrosis", "fat", "mucus")


class MakeCard(Protocol):
    def __call__(self, classes: int = 3, **changes: object) -> Card: ...


class MakeBundle(Protocol):
    def __call__(self, card: Card | None = None) -> Bundle: ...


class MakeZoo(Protocol):
    def __call__(
        self, changes: Mapping[str, object] | None = None, *, classes: int = 2, script: bool = False
    ) -> Path: ...


@pytest.fixture
def make_card() -> MakeCard:
    """Return a maker of cards for a pocket ResNet of 32 px tiles."""

    def make(classes: int = 3, **changes: object) -> Card:
        values: dict[str, object] = {
            "name": "pocket",
            "architecture": "slidecam/pocket_resnet",
            "architecture_args": {"widths": [8, 12]},
            "class_names": NAMES[:classes],
            "activation": "sigmoid" if classes == 1 else "softmax",
            "tile_px": 48,
            "spacing": 0.5,
            "input_px": 32,
            "mean": (0.7, 0.6, 0.7),
            "std": (0.2, 0.25, 0.2),
        }
        return Card(**{**values, **changes})  # type: ignore[arg-type]  # tests write impossible cards too

    return make


@pytest.fixture
def lively() -> Callable[[nn.Module], nn.Module]:
    """Return what gives a network weights and statistics off the defaults, the same each time."""
    return _lively


def _lively(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator)
            is_scale = values.ndim == 1 and name.endswith(("weight", "running_var"))
            values.copy_(0.5 + noise if is_scale else (noise - 0.5) * _spread(values))
    return network


def _spread(values: torch.Tensor) -> float:
    return 0.4 if values.ndim == 1 else float(12 / values[0].numel()) ** 0.5


@pytest.fixture
def make_saved(tmp_path: Path, make_card: MakeCard) -> MakeBundle:
    """Return a maker of saved bundles."""

    def make(card: Card | None = None) -> Bundle:
        card = make_card() if card is None else card
        classes, folder = len(card.class_names), tmp_path / "bundle"
        network = _lively(build_network(card.architecture, card.architecture_args, classes, folder))
        return save_bundle(folder, card, network, overwrite=True)

    return make


@pytest.fixture
def make_zoo(tmp_path: Path, torchscript: Callable[[int], bytes]) -> MakeZoo:
    """Return a maker of WSInfer folders with timm's smallest ResNet."""

    def make(
        changes: Mapping[str, object] | None = None, *, classes: int = 2, script: bool = False
    ) -> Path:
        folder = tmp_path / "zoo-model"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(zoo_config(classes) | dict(changes or {})))
        if script:
            (folder / "torchscript_model.pt").write_bytes(torchscript(classes))
        else:
            tensors = _zoo_network(classes).state_dict()
            safetensors.torch.save_file(tensors, folder / "model.safetensors")
        return folder

    return make


def zoo_config(classes: int) -> dict[str, object]:
    return {
        "spec_version": "1.0",
        "architecture": "test_resnet",
        "num_classes": classes,
        "patch_size_pixels": 350,
        "spacing_um_px": 0.25,
        "class_names": list(NAMES[:classes]),
        "transform": [
            {"name": "Resize", "arguments": {"size": 64}},
            {"name": "ToTensor"},
            {"name": "Normalize", "arguments": {"mean": [0.7, 0.6, 0.7], "std": [0.1, 0.2, 0.1]}},
        ],
    }


def _zoo_network(classes: int) -> nn.Module:
    return _lively(build_network("timm/test_resnet", {}, classes, Path("test_resnet")))


@pytest.fixture(scope="session")
def torchscript() -> Callable[[int], bytes]:
    """Return a maker of TorchScript files, which remembers them: tracing takes a second."""

    trace: Callable[..., object] = torch.jit.trace
    save: Callable[..., None] = torch.jit.save

    @functools.cache
    def make(classes: int) -> bytes:
        file = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # torch calls TorchScript deprecated; the zoo is made of it
            save(trace(_zoo_network(classes), torch.zeros(1, 3, 64, 64)), file)
        return file.getvalue()

    return make
