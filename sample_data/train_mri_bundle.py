"""Train the toy classifier of slices on other phantoms of the same generator.

Run from anywhere::

    python sample_data/train_mri_bundle.py --out sample_data/mri-bundle

Each training head comes twice, with its lesion and without: the slices through the lesion are
learnt from both, so that nothing but the lesion tells them apart, and some others come from the
healthy head. Slices are cut, windowed and resized by slidecam itself, as a prediction does it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from make_phantom import synthesise, write
from torch.nn import functional

from slidecam.foreground import find_head
from slidecam.models import Card, save_bundle
from slidecam.models.card_parts import Pooling, VolumeCard
from slidecam.models.networks import PocketResNet
from slidecam.sources import open_source
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.viewing import Window
from slidecam.volume_tiling import lay_planes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.sources.volume import VolumeSource

CLASSES = ("healthy", "lesion")
COLOR = (213, 94, 0)
EDGE = 64
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
WIDTHS = (12, 24, 48)
SEEN = VolumeCard("axial", 1, Window("percentile", 1.0, 99.5), Pooling("top-k", 5))
"""A lesion is in few slices: the mean over all of them would drown it."""

LEAST_SHARE = 0.1
CLEAR = 12
"""Voxels of lesion from which on a slice counts as one; what has fewer, but some, is left out."""

EVERY = 4
"""Which other slices of healthy heads are learnt from."""


@dataclass(frozen=True)
class Recipe:
    """How the toy classifier is trained.

    Attributes
    ----------
    train_seeds, validation_seeds
        Which heads are learnt from, and which only judge.
    epochs, batch, rate, decay
        Passes over the slices, slices per step, highest learning rate, weight decay.
    sparsity
        What the mean of the activation map adds to the loss: cells that give no evidence fall
        silent.
    seed
        Seeds weights, order and augmentation.
    """

    train_seeds: tuple[int, ...] = tuple(range(101, 131))
    validation_seeds: tuple[int, ...] = tuple(range(201, 207))
    epochs: int = 24
    batch: int = 32
    rate: float = 4e-3
    decay: float = 0.02
    sparsity: float = 0.05
    seed: int = 0


@dataclass(frozen=True)
class Slices:
    """Pictures, uint8 (N, 3, EDGE, EDGE), and their classes, int64 (N,)."""

    pixels: Tensor
    labels: Tensor


def slices_of(seeds: tuple[int, ...], every: int) -> Slices:
    """Return the slices through the lesions of some heads, and the same of their healthy twins.

    Every n-th other slice comes with them.
    """
    pixels, labels = [], []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            sick = synthesise(seed)
            voxels = sick.lesion.sum(axis=(0, 1))
            for phantom in (sick, synthesise(seed, lesion=False)):
                path = Path(folder) / "head.nii"
                write(path, phantom.voxels, phantom.affine)
                seen, planes = _seen(path)
                chosen = voxels[planes] >= CLEAR
                if not phantom.lesion.any():
                    chosen |= (voxels[planes] == 0) & (planes % every == 0)
                pixels.append(seen[chosen])
                labels.append((voxels[planes][chosen] > 0) & phantom.lesion.any())
    stacked = torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2).contiguous()
    return Slices(stacked, torch.from_numpy(np.concatenate(labels).astype(np.int64)))


def _seen(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return a head's slices as a prediction sees them, and their numbers."""
    with open_source(path) as opened:
        source = cast("VolumeSource", opened)
        grid = lay_planes(source.facts, find_head(source), EDGE, LEAST_SHARE)
        batches = [*stream_tiles(source, grid, StreamSpec(64, workers=1))]
    pixels = np.concatenate([batch.pixels for batch in batches])
    return pixels, grid.planes[np.concatenate([batch.rows for batch in batches])]


def normalised(pixels: Tensor) -> Tensor:
    """Return uint8 pixels (N, 3, H, W) as the float32 that the network takes."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def jittered(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures mirrored, shifted, and lit a little differently."""
    if torch.rand((), generator=generator) < 0.5:  # noqa: PLR2004 - half of the batches
        pixels = pixels.flip(3)
    down, across = (int(torch.randint(-4, 5, (), generator=generator)) for _ in range(2))
    moved = pixels.roll((down, across), (2, 3)).float()
    gain = 1 + 0.15 * torch.randn(len(pixels), 1, 1, 1, generator=generator)
    return (moved * gain).clamp(0, 255)


def fit(network: PocketResNet, slices: Slices, recipe: Recipe) -> Iterator[float]:
    """Train in place, both classes weighing the same; yield each epoch's mean loss."""
    generator = torch.Generator().manual_seed(recipe.seed)
    counts = torch.bincount(slices.labels, minlength=len(CLASSES)).float()
    steps = len(slices.labels) // recipe.batch * recipe.epochs
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=steps, pct_start=0.2
    )
    for _ in range(recipe.epochs):
        network.train()
        losses = []
        order = torch.randperm(len(slices.labels), generator=generator)
        for chosen in order[: len(order) // recipe.batch * recipe.batch].view(-1, recipe.batch):
            optimiser.zero_grad()
            features = network.forward_features(
                normalised(jittered(slices.pixels[chosen], generator))
            )
            logits = network.forward_head(features)
            loss = functional.cross_entropy(
                logits, slices.labels[chosen], weight=counts.sum() / counts / 2
            )
            loss = loss + recipe.sparsity * features.mean()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        yield float(np.mean(losses))


@torch.inference_mode()
def recall(network: PocketResNet, slices: Slices) -> dict[str, float]:
    """Return the share of each class's slices that are called so."""
    network.eval()
    guesses = torch.cat(
        [network(normalised(pixels)).argmax(1) for pixels in torch.split(slices.pixels, 64)]
    )
    right = guesses == slices.labels
    return {
        name: round(float(right[slices.labels == n].float().mean()), 4)
        for n, name in enumerate(CLASSES)
    }


def with_one_logit(network: PocketResNet) -> PocketResNet:
    """Return the same classifier with one logit, that of lesion over healthy.

    Sigmoid of it is the softmax of both.

    A head has lesion where some of its slices have; that it has healthy ones as well says nothing.
    """
    single = PocketResNet(1, WIDTHS)
    weights = {
        name: value for name, value in network.state_dict().items() if not name.startswith("fc.")
    }
    head = {f"fc.{part}": value[1:] - value[:1] for part, value in network.fc.state_dict().items()}
    single.load_state_dict(weights | head)
    return single.eval()


def card_of(recipe: Recipe, figures: dict[str, object]) -> Card:
    """Return the card of the bundle that ``recipe`` gave."""
    return Card(
        name="Toy lesion classifier (synthetic heads)",
        architecture="slidecam/pocket_resnet",
        architecture_args={"widths": list(WIDTHS)},
        class_names=CLASSES[1:],
        class_colors=(COLOR,),
        activation="sigmoid",
        tile_px=EDGE,
        spacing=None,
        input_px=EDGE,
        mean=MEAN,
        std=STD,
        licence="BSD-3-Clause",
        volume=SEEN,
        provenance={
            "data": (
                "synthetic heads from sample_data/make_phantom.py; no patient; of no medical use"
            ),
            "command": "python sample_data/train_mri_bundle.py --out sample_data/mri-bundle",
            "recipe": asdict(recipe),
            "torch": torch.__version__,
            "figures": figures,
        },
    )


def train(recipe: Recipe) -> tuple[PocketResNet, dict[str, object]]:
    """Return the trained network and its figures; report each epoch on standard error."""
    learnt, unseen = slices_of(recipe.train_seeds, EVERY), slices_of(recipe.validation_seeds, 1)
    torch.manual_seed(recipe.seed)
    network = PocketResNet(len(CLASSES), WIDTHS)
    for epoch, loss in enumerate(fit(network, learnt, recipe), start=1):
        sys.stderr.write(f"epoch {epoch} of {recipe.epochs}: loss {loss:.4f}\n")
    return network, {
        "training_slices": len(learnt.labels),
        "training_recall": recall(network, learnt),
        "validation_slices": len(unseen.labels),
        "validation_recall": recall(network, unseen),
    }


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train the toy classifier of slices.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the bundle into")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs, help="passes over the slices")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(mode=True)
    recipe = replace(Recipe(), epochs=options.epochs)
    network, figures = train(recipe)
    save_bundle(options.out, card_of(recipe, figures), with_one_logit(network), overwrite=True)
    sys.stderr.write(f"{figures}\n")


if __name__ == "__main__":
    main()
