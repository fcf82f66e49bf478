"""Train the toy bundle on other slides of the same generator.

Run from anywhere::

    python sample_data/train_bundle.py --out sample_data/bundle

The slides of the training and validation seeds are made in memory; the sample slide's seed is in
neither set. Tiles are 128 px at 0.5 µm per px. Some training slides come a second time without
their nuclei: on those tiles the answer is 'any class, equally', so that the network takes its
evidence from the nuclei, and not from what lies between them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from annotations import CLASS_COLORS
from make_slide import SPACING, synthesise
from tiles import EDGE, balanced, cut_tiles, grid_corners, random_corners, through_jpeg
from tissue import CLASS_NAMES
from torch.nn import functional

from slidecam.models import Card, save_bundle
from slidecam.models.networks import PocketResNet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
WIDTHS = (16, 32, 64)
"""Channels of the network's stages: 78,000 weights, and a map with one cell for every 8 by 8 px."""


@dataclass(frozen=True)
class Recipe:
    """How the toy classifier is trained.

    Attributes
    ----------
    train_seeds, validation_seeds
        Which slides are learnt from, and which only judge.
    bare_seeds
        Which training slides are also shown without nuclei.
    slide_px, tiles_per_slide
        Edge of those slides, and how many places are tried on each.
    epochs, batch, rate, decay
        Passes over the tiles, tiles per step, highest learning rate, weight decay.
    sparsity
        What the mean of the activation map adds to the loss: cells that give no evidence fall
        silent.
    seed
        Seeds weights, tile places, order and augmentation.
    """

    train_seeds: tuple[int, ...] = tuple(range(101, 109))
    validation_seeds: tuple[int, ...] = (201, 202, 203)
    bare_seeds: tuple[int, ...] = (101, 104, 107)
    slide_px: int = 2560
    tiles_per_slide: int = 800
    epochs: int = 6
    batch: int = 32
    rate: float = 4e-3
    decay: float = 0.02
    sparsity: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class Examples:
    """Pixels, uint8 (N, 3, EDGE, EDGE), and the class shares to be predicted, float32 (N, 3)."""

    pixels: Tensor
    targets: Tensor


def training_examples(recipe: Recipe) -> Examples:
    """Return tiles at random places of the training slides, classes balanced, with bare ones."""
    rng = np.random.default_rng(recipe.seed)
    parts = [_slide_examples(rng, recipe, seed, nucleated=True) for seed in recipe.train_seeds]
    parts += [_slide_examples(rng, recipe, seed, nucleated=False) for seed in recipe.bare_seeds]
    return _joined(parts)


def _slide_examples(
    rng: np.random.Generator, recipe: Recipe, seed: int, *, nucleated: bool
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    slide = synthesise(seed, recipe.slide_px, nucleated=nucleated)
    slide = replace(slide, pixels=through_jpeg(slide.pixels, int(rng.integers(70, 93))))
    tiles = cut_tiles(slide, random_corners(rng, recipe.slide_px, recipe.tiles_per_slide))
    chosen = balanced(rng, tiles.truth)
    uniform = np.full_like(tiles.shares, 1 / len(CLASS_NAMES))
    return tiles.pixels[chosen], (tiles.shares if nucleated else uniform)[chosen]


def validation_examples(recipe: Recipe) -> Examples:
    """Return every tile of the validation slides, side by side, as a prediction would cut them."""
    parts = []
    for seed in recipe.validation_seeds:
        slide = synthesise(seed, recipe.slide_px)
        slide = replace(slide, pixels=through_jpeg(slide.pixels, 80))
        tiles = cut_tiles(slide, grid_corners(recipe.slide_px))
        parts.append((tiles.pixels, tiles.shares))
    return _joined(parts)


def _joined(parts: Sequence[tuple[NDArray[np.uint8], NDArray[np.float32]]]) -> Examples:
    pixels, targets = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Examples(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(targets)
    )


def normalised(pixels: Tensor) -> Tensor:
    """Return uint8 pixels (N, 3, H, W) as the float32 that the network takes."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (pixels.float() / 255 - mean) / std


def jittered(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return uint8 tiles turned, mirrored and stained a little differently, each in its own way.

    Stain is changed in optical density: colours mix by a random matrix near the identity, and all
    are scaled.
    """
    count = len(pixels)
    pixels = pixels.rot90(int(torch.randint(4, (), generator=generator)), (2, 3))
    if torch.rand((), generator=generator) < 0.5:  # noqa: PLR2004 - half of the batches
        pixels = pixels.flip(3)
    density = -torch.log((pixels.float() + 1) / 256)
    mix = torch.eye(3) + 0.08 * torch.randn(count, 3, 3, generator=generator)
    strength = torch.exp(0.2 * torch.randn(count, 1, 1, 1, generator=generator))
    density = torch.einsum("nij,njhw->nihw", mix, density) * strength
    return (256 * torch.exp(-density.clamp_min(0)) - 1).clamp(0, 255)


def batches(
    examples: Examples, batch: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield augmented, shuffled batches of one epoch, the last short one left out."""
    order = torch.randperm(len(examples.pixels), generator=generator)
    for chosen in order[: len(order) // batch * batch].view(-1, batch):
        yield normalised(jittered(examples.pixels[chosen], generator)), examples.targets[chosen]


def fit(network: PocketResNet, examples: Examples, recipe: Recipe) -> Iterator[float]:
    """Train in place; yield each epoch's mean loss."""
    generator = torch.Generator().manual_seed(recipe.seed)
    steps = len(examples.pixels) // recipe.batch * recipe.epochs
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total_steps=steps, pct_start=0.2
    )
    for _ in range(recipe.epochs):
        network.train()
        losses = []
        for pixels, targets in batches(examples, recipe.batch, generator):
            optimiser.zero_grad()
            features = network.forward_features(pixels.to(memory_format=torch.channels_last))
            loss = functional.cross_entropy(network.forward_head(features), targets)
            loss = loss + recipe.sparsity * features.mean()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        yield float(np.mean(losses))


@torch.inference_mode()
def accuracy(network: nn.Module, examples: Examples) -> float:
    """Return the share of tiles whose likeliest class is that of most of their tissue."""
    network.eval()
    parts = torch.split(examples.pixels, 64)
    guesses = torch.cat([network(normalised(pixels)).argmax(1) for pixels in parts])
    return float((guesses == examples.targets.argmax(1)).float().mean())


def card_of(recipe: Recipe, figures: dict[str, float]) -> Card:
    """Return the card of the bundle that ``recipe`` gave."""
    return Card(
        name="Toy tissue classifier (synthetic)",
        architecture="slidecam/pocket_resnet",
        architecture_args={"widths": list(WIDTHS)},
        class_names=CLASS_NAMES,
        class_colors=CLASS_COLORS,
        activation="softmax",
        tile_px=EDGE,
        spacing=SPACING,
        input_px=EDGE,
        mean=MEAN,
        std=STD,
        licence="BSD-3-Clause",
        provenance={
            "data": (
                "synthetic slides from sample_data/make_slide.py; no patient; of no medical use"
            ),
            "command": "python sample_data/train_bundle.py --out sample_data/bundle",
            "recipe": asdict(recipe),
            "torch": torch.__version__,
            "figures": figures,
        },
    )


def train(recipe: Recipe) -> tuple[PocketResNet, dict[str, float]]:
    """Return the trained network and its accuracies; report each epoch on standard error."""
    learnt, unseen = training_examples(recipe), validation_examples(recipe)
    torch.manual_seed(recipe.seed)
    network = PocketResNet(len(CLASS_NAMES), WIDTHS).to(memory_format=torch.channels_last)
    for epoch, loss in enumerate(fit(network, learnt, recipe), start=1):
        sys.stderr.write(f"epoch {epoch} of {recipe.epochs}: loss {loss:.4f}\n")
    nucleated = learnt.targets.max(1).values > 1 / len(CLASS_NAMES) + 1e-3
    known = Examples(learnt.pixels[nucleated], learnt.targets[nucleated])
    return network, {
        "training_tiles": len(known.pixels),
        "training_accuracy": round(accuracy(network, known), 4),
        "validation_tiles": len(unseen.pixels),
        "validation_accuracy": round(accuracy(network, unseen), 4),
    }


def main(arguments: list[str] | None = None) -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description="Train the toy bundle.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the bundle into")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs, help="passes over the tiles")
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(mode=True)
    recipe = replace(Recipe(), epochs=options.epochs)
    network, figures = train(recipe)
    save_bundle(options.out, card_of(recipe, figures), network, overwrite=True)
    sys.stderr.write(f"{figures}\n")


if __name__ == "__main__":
    main()
