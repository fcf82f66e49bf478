"""How maps move: when the tile hardly changes, and when the network forgets what it learnt.

Max-sensitivity: how far a map can move when the tile changes by less than an eye sees. The
model-randomisation check: a map that stays although the weights are random explains no classifier.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.stats import rankdata
from skimage.metrics import structural_similarity
from torch import Tensor, nn

from slidecam.errors import ExplanationError, UsageError
from slidecam.faithfulness.correlation import mean_of_known, pearson
from slidecam.faithfulness.mapping import enlarged, maps_of_tiles
from slidecam.models import Card, Classifier, classifier_for
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.explain.explainer import Explainer

    Maps = NDArray[np.float32]

FULL_SCALE = 255


@dataclass(frozen=True)
class StabilitySpec:
    """Settings of max-sensitivity.

    Attributes
    ----------
    radius
        Largest change of a pixel's colour, as a share of the full scale: 0.02 is 5 of 255 grey
        levels.
    repeats
        Changed tiles of which the worst counts. Each is explained anew.
    tiles
        Tiles that a report measures so, the first ones: a costly method would take ten times as
        long as without.
    """

    radius: float = 0.02
    repeats: int = 10
    tiles: int = 8

    def __post_init__(self) -> None:
        if min(self.levels, self.repeats, self.tiles) < 1:
            raise UsageError(
                f"{self.repeats} changes of {self.levels} grey levels on {self.tiles} tiles measure"
                " nothing.",
                "Use 1 or more of each; a radius of 0.004 is one grey level.",
            )

    @property
    def levels(self) -> int:
        """The radius in grey levels."""
        return round(self.radius * FULL_SCALE)


def max_sensitivity(
    explain: Callable[[Tensor], Maps],
    pixels: Tensor,
    spec: StabilitySpec,
    rngs: Sequence[np.random.Generator],
    original: Maps | None = None,
) -> Generator[Step, None, NDArray[np.float64]]:
    """Measure step by step how far the maps of some tiles move.

    Parameters
    ----------
    explain
        Returns maps (B, h, w) of tiles (B, H, W, 3), uint8.
    pixels
        The tiles.
    spec
        How much to change them, and how often.
    rngs
        One for each tile draws its changes, so that a tile's figure does not hang on its
        neighbours.
    original
        Their maps, if they are there already.

    Returns
    -------
    NDArray
        (B,): 0 for a map that stays, 1 for one that moves by its own length; nan where a map is 0
        everywhere.

    Notes
    -----
    Yeh et al., *On the (In)fidelity and Sensitivity of Explanations*, NeurIPS 2019
    (arXiv:1901.09392), definition 2, estimated as captum does: the largest of some random
    ``|Phi(x + d) - Phi(x)| / |Phi(x)|`` with ``|d|∞ <= r`` and the Euclidean norm of maps.
    Explainers are given bytes, so ``d`` is whole grey levels, and a colour that would leave the
    scale stops at its end.
    """
    maps = explain(pixels) if original is None else original
    worst = np.zeros(len(pixels))
    for repeat in range(spec.repeats):
        changed = explain(disturbed(pixels, spec.levels, rngs))
        worst = np.maximum(worst, _moved(changed, maps))
        yield Step("max-sensitivity", repeat + 1, spec.repeats)
    return worst


def disturbed(pixels: Tensor, levels: int, rngs: Sequence[np.random.Generator]) -> Tensor:
    """Return tiles, uint8 (B, H, W, 3), every value changed by at most ``levels``, evenly drawn."""
    noise = np.empty(pixels.shape, np.int16)
    for tile, rng in zip(noise, rngs, strict=True):
        tile[:] = rng.integers(-levels, levels, tile.shape, np.int16, endpoint=True)
    changed = pixels.to(torch.int16) + torch.from_numpy(noise).to(pixels.device)
    return changed.clamp_(0, FULL_SCALE).to(torch.uint8)


def _moved(changed: Maps, maps: Maps) -> NDArray[np.float64]:
    length = np.sqrt(np.square(maps, dtype=np.float64).sum((1, 2)))
    distance = np.sqrt(np.square(changed.astype(np.float64) - maps).sum((1, 2)))
    moved = np.full(len(maps), np.nan)
    np.divide(distance, length, out=moved, where=length > 0)
    return moved


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
        remedy = f"Stages are {', '.join(STAGES)}; seeds are numbers from 0."
        for stage in self.stages:
            if stage not in STAGES:
                raise UsageError(f"there is no stage {stage!r}.", remedy)
        if not self.seeds:
            raise UsageError("no seed was named.", remedy)


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
    explain = partial(_maps, card, methods, pixels, classes, spec.batch)
    original = yield from explain(network)
    found: dict[tuple[str, str], list[NDArray[np.float64]]] = {}
    rounds = list(product(spec.stages, spec.seeds))
    for done, (stage, seed) in enumerate(rounds, 1):
        yield Step("randomisation", done, len(rounds), message=f"{stage} random, seed {seed}")
        maps = yield from explain(randomised(network, stage, seed))
        for name in methods:
            found.setdefault((name, stage), []).append(likeness(maps[name], original[name]))
    likenesses = []
    for (name, stage), values in found.items():
        correlations, structures = mean_of_known(np.stack(values), 0)
        likenesses.append(Likeness(name, stage, correlations, structures))
    return tuple(likenesses)


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
        raise ExplanationError(
            "the randomisation check makes layers random, and a TorchScript network does not show"
            " its layers.",
            "Pass --no-randomisation, or make a bundle of its weights.",
        )


def layers_of_stage(layers: Sequence[nn.Module], stage: str) -> int:
    """Return how many of the layers with weights, from the end, a stage makes random.

    The head is the linear layers that the network ends in, or its last layer if that is no linear
    one.
    """
    head = 0
    while head < len(layers) and isinstance(layers[-1 - head], nn.Linear):
        head += 1
    head = max(head, 1)
    if stage == "head":
        return head
    return max(head, round(SHARES[stage] * len(layers)))


def likeness(maps: Maps, originals: Maps) -> NDArray[np.float64]:
    """Return rank correlation and structural similarity (2, N) of maps (N, h, w) to originals."""
    found = np.empty((2, len(maps)))
    for number, (one, other) in enumerate(zip(maps, originals, strict=True)):
        found[:, number] = rank_correlation(one, other), structure(one, other)
    return found


def rank_correlation(one: Maps, other: Maps) -> float:
    """Return Spearman's rank correlation of two maps (h, w), ties at their mean rank.

    Nan if either is flat.
    """
    return pearson(rankdata(one), rankdata(other))


def structure(one: Maps, other: Maps) -> float:
    """Return the structural similarity of two maps (h, w), each scaled to -1 to 1.

    Wang et al. 2004.
    """
    scaled = []
    for values in (one, other):
        largest = max(float(np.abs(values).max()), 1e-30)
        scaled.append(enlarged(values / largest, (SSIM_EDGE, SSIM_EDGE)))
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
    card: Card,
    methods: Mapping[str, Callable[[Classifier], Explainer]],
    pixels: Tensor,
    classes: Sequence[int],
    batch: int,
    network: nn.Module,
) -> Generator[Step, None, dict[str, Maps]]:
    """Return every method's maps (N, h, w) of the tiles, by a network as it is."""
    classifier = classifier_for(network, card, pixels.device, backend="eager")
    found: dict[str, Maps] = {}
    for name, make in methods.items():
        mapped = yield from maps_of_tiles(make(classifier), pixels, classes, batch=batch)
        found[name] = mapped.maps
    return found
