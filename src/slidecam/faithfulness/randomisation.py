"""The model-randomisation check.

A map that stays when the network forgets what it learnt does not explain it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import nn

from slidecam.errors import ExplanationError, UsageError
from slidecam.faithfulness.correlation import pearson
from slidecam.faithfulness.mapping import enlarged, maps_of_tiles
from slidecam.models import classifier_for
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.explain.explainer import Explainer
    from slidecam.models import Card, Classifier

    Maps = NDArray[np.float32]

STAGES = ("head", "last quarter", "last half", "all")
"""How much of the network is made random, from its end.

The closing linear layers, shares of all layers, everything.
"""

SHARES = {"last quarter": 0.25, "last half": 0.5, "all": 1.0}
SSIM_EDGE, SSIM_WINDOW = 64, 7
"""Pixels of the maps whose structure is compared, and of the window: scikit-image's."""


@dataclass(frozen=True)
class RandomisationSpec:
    """Settings of the randomisation check.

    Attributes
    ----------
    stages
        Of `STAGES`, in the order in which they are shown.
    seeds
        Of the random weights; each gives a network of its own.
    batch
        Tiles explained at a time.
    """

    stages: tuple[str, ...] = STAGES
    seeds: tuple[int, ...] = (0,)
    batch: int = 16

    def __post_init__(self) -> None:
        wrong = [stage for stage in self.stages if stage not in STAGES]
        if wrong or not self.seeds:
            problem = "no seed was named."
            if wrong:
                problem = f"there is no stage {wrong[0]!r}."
            raise UsageError(problem, f"Stages are {', '.join(STAGES)}; seeds are numbers from 0.")


@dataclass(frozen=True, eq=False)
class Likeness:
    """How like a method's maps of a randomised network are to those of the real one.

    Attributes
    ----------
    method, stage
        Which maps, and how much of the network was random.
    correlation
        (N,): Spearman's rank correlation of each tile's two maps, mean over seeds; nan where a map
        is flat.
    structure
        (N,): structural similarity (SSIM) of both maps, each divided by its largest absolute value.
    """

    method: str
    stage: str
    correlation: NDArray[np.float64]
    structure: NDArray[np.float64]


def randomisation(
    network: nn.Module,
    card: Card,
    methods: Mapping[str, Callable[[Classifier], Explainer]],
    pixels: Tensor,
    classes: Sequence[int],
    spec: RandomisationSpec | None = None,
) -> Generator[Step, None, tuple[Likeness, ...]]:
    """Explain tiles by networks that are more and more random, step by step.

    Parameters
    ----------
    network
        As `Bundle.network` returns it, on the CPU. It is copied, and not changed.
    card
        Of its bundle.
    methods
        Makers of explainers by what the report calls them.
    pixels
        uint8, (N, H, W, 3), on the device to compute on; H and W are the card's ``input_px``.
    classes
        (N,): index of the logit that each tile is explained for, the same for every network.
    spec
        None for the defaults.

    Returns
    -------
    tuple of Likeness
        One for each method and stage.

    Raises
    ------
    ExplanationError
        If the network is TorchScript, whose layers cannot be made random, or a method refuses the
        classifier.

    Notes
    -----
    Adebayo et al., *Sanity Checks for Saliency Maps*, NeurIPS 2018 (arXiv:1810.03292), section 3:
    cascading randomisation from the top layer down. Layers are taken as the network registers them,
    last first.
    """
    spec = spec or RandomisationSpec()
    original = yield from _maps(network, card, methods, (pixels, classes), spec)
    found: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    rounds = [(stage, seed) for stage in spec.stages for seed in spec.seeds]
    for done, (stage, seed) in enumerate(rounds, 1):
        yield Step("randomisation", done, len(rounds), message=f"{stage} random, seed {seed}")
        maps = yield from _maps(
            randomised(network, stage, seed), card, methods, (pixels, classes), spec
        )
        for name in methods:
            found.setdefault((name, stage), []).append(likeness(maps[name], original[name]))
    return tuple(Likeness(*key, *_means(np.stack(values))) for key, values in found.items())


def randomised(network: nn.Module, stage: str, seed: int) -> nn.Module:
    """Return a copy whose last layers have random weights, as they had before training.

    Parameters
    ----------
    network
        On the CPU. It is not changed, nor is torch's random state.
    stage
        Of `STAGES`.
    seed
        A layer's random weights depend on it and on the layer's place, so that stages are nested.

    Raises
    ------
    ExplanationError
        If the network is TorchScript.
    """
    check_randomisable(network)
    copied = copy.deepcopy(network)
    layers = [
        module
        for module in copied.modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    first = len(layers) - layers_of_stage(layers, stage)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for place, layer in enumerate(layers[first:], first):
            torch.manual_seed(seed * len(layers) + place)
            _reset(layer)
    return copied


def check_randomisable(network: nn.Module) -> None:
    """Refuse a TorchScript network, whose layers cannot be made random; ExplanationError."""
    if isinstance(network, torch.jit.ScriptModule):
        problem = (
            "the randomisation check makes layers random, and a TorchScript network does not show"
            " its layers."
        )
        raise ExplanationError(problem, "Pass --no-randomisation, or make a bundle of its weights.")


def layers_of_stage(layers: Sequence[nn.Module], stage: str) -> int:
    """Return how many of the layers with weights, from the end, a stage makes random.

    The head is the linear layers that the network ends in, or its last layer if that is no linear
    one.
    """
    head = next(
        (n for n, layer in enumerate(reversed(layers)) if not isinstance(layer, nn.Linear)),
        len(layers),
    )
    head = max(head, 1)
    if stage == "head":
        return head
    return max(head, round(SHARES[stage] * len(layers)))


def likeness(maps: Maps, originals: Maps) -> NDArray[np.float64]:
    """Return rank correlation and structural similarity (2, N) of maps (N, h, w) to originals."""
    pairs = list(zip(maps, originals, strict=True))
    return np.asarray(
        [[rank_correlation(*pair) for pair in pairs], [structure(*pair) for pair in pairs]]
    )


def rank_correlation(one: Maps, other: Maps) -> float:
    """Return Spearman's rank correlation of two maps (h, w), ties at their mean rank.

    Nan if either is flat.
    """
    return pearson(rankdata(one), rankdata(other))


def structure(one: Maps, other: Maps) -> float:
    """Return the structural similarity (Wang et al.

    2004) of two maps (h, w), each scaled to -1 to 1.
    """
    scaled = [
        enlarged(values / max(float(np.abs(values).max()), 1e-30), (SSIM_EDGE, SSIM_EDGE))
        for values in (one, other)
    ]
    return float(structural_similarity(*scaled, win_size=SSIM_WINDOW, data_range=2.0))


def _reset(layer: nn.Module) -> None:
    reset = getattr(layer, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    # Tokens, positions and scales that belong to a module without a way to start: random, as large
    # as they were.
    for parameter in layer.parameters(recurse=False):
        spread = float(parameter.std(correction=0))
        parameter.copy_(torch.randn_like(parameter) * spread + parameter.mean())


def _maps(
    network: nn.Module,
    card: Card,
    methods: Mapping[str, Callable[[Classifier], Explainer]],
    tiles: tuple[Tensor, Sequence[int]],
    spec: RandomisationSpec,
) -> Generator[Step, None, dict[str, Maps]]:
    """Return every method's maps (N, h, w) of the tiles, by a network as it is."""
    classifier = classifier_for(network, card, tiles[0].device, backend="eager")
    found: dict[str, Maps] = {}
    for name, make in methods.items():
        found[name] = (yield from maps_of_tiles(make(classifier), *tiles, batch=spec.batch)).maps
    return found


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means (2, N) of (seeds, 2, N), of the seeds that gave a number."""
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(0)
    means = np.full(total.shape, np.nan)
    np.divide(total, known.sum(0), out=means, where=known.any(0))
    return means
