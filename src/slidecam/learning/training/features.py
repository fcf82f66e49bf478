"""Features of a network's frozen beginning, computed once for all epochs.

Of every picture, and of augmented copies.

Training on them costs what the end of the network costs: for MobileNetV2 cut before ``blocks.5`` a
tenth of the whole. The price is that augmentation comes from a fixed number of copies, and that
features are rounded to float16.

The network is cut in two at one of its layers: a beginning that is frozen, and an end that is
trained on its output. Which layers run before the cut is not guessed from names: one pass is
watched. The end is the network itself, its weights and all, with those layers replaced by nothing;
that this is the same function is seen on a probe and not taken for granted.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from slidecam.errors import RecipeError
from slidecam.files import replacing
from slidecam.learning.data.augmentation import AugmentationSpec, augment, generator_of
from slidecam.models.classifier import normalised, scaled
from slidecam.models.folding import fold_batch_norms
from slidecam.models.stain import restained
from slidecam.models.variants import REFUSALS, close
from slidecam.settings import names_like
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.data.pixels import Pictures
    from slidecam.learning.recipes.tables import FeatureSpec
    from slidecam.models.card import Card


CLOSE = 1e-4
"""How far outputs may be apart, relative to the largest; folding batch norms moves them by 1e-6."""


@dataclass(frozen=True)
class CutNetwork:
    """Two halves that make up a network.

    Attributes
    ----------
    beginning
        Frozen, on a copy of its own: normalised pixels (B, 3, H, W) to features (B, …).
    end
        Features to logits (B, K). Its weights and buffers are the network's own: training one
        trains the other.
    digest
        SHA-256 of the beginning's weights and of where it ends.
    """

    beginning: Beginning
    end: nn.Module
    digest: str


@dataclass(frozen=True)
class Beginning:
    """What a network computes before one of its layers.

    Attributes
    ----------
    network, layer
        The whole, and the layer in it whose input is wanted; what comes after is not run.
    layout
        How the pixels lie in memory.
    """

    network: nn.Module
    layer: nn.Module
    layout: torch.memory_format = torch.contiguous_format

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the features (B, …), float32, of normalised pixels (B, 3, H, W)."""
        with torch.no_grad(), _stop_at(self.layer):
            try:
                self.network(pixels.contiguous(memory_format=self.layout))
            except _ReachedError as reached:
                return reached.features
        raise RecipeError("features.cut names a layer that does not run.", "Name another.")


def cut_network(network: nn.Module, cut: str, probe: Tensor) -> CutNetwork:
    """Cut a network before the layer called ``cut``.

    Parameters
    ----------
    network
        In eval mode.
    cut
        Name of the first layer of the end.
    probe
        Normalised pixels (B, 3, H, W) to try both halves on.

    Raises
    ------
    RecipeError
        If there is no such layer, it is not given one tensor, or the network is not a chain there
        (a shortcut runs past the cut, or its code does more between layers than call them).
    """
    layer = _layer(network, cut)
    plain = Beginning(network, layer)
    names = _names_before(network, layer, probe)
    features = plain(probe)
    end = _without(network, names)
    if not _agrees(network, end, features, probe):
        problem = (
            f"features.cut is {cut!r}, and the network cannot be cut there: it is no chain of"
            " layers at that place."
        )
        raise RecipeError(
            problem, "Name the first layer of a stage, for example blocks.4, layer4 or denseblock4."
        )
    return CutNetwork(_fast(network, cut, probe, features), end, _digest(network, names, cut))


def _digest(network: nn.Module, names: list[str], cut: str) -> str:
    found = hashlib.sha256(cut.encode())
    prefixes = tuple(f"{before}." for before in names)
    for name, tensor in network.state_dict().items():
        if name.startswith(prefixes):
            found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


class _ReachedError(Exception):
    """A pass has come to the layer whose input was wanted."""

    def __init__(self, features: Tensor) -> None:
        super().__init__("reached")
        self.features = features


def _layer(network: nn.Module, cut: str) -> nn.Module:
    layers: dict[str, nn.Module] = dict(network.named_modules())
    if not cut or cut not in layers:
        known = list(layers)
        remedy = names_like(cut, known, f"Name one of {', '.join(known[1:20])}.")
        raise RecipeError(f"features.cut is {cut!r}, and the network has no such layer.", remedy)
    return layers[cut]


@contextmanager
def _stop_at(layer: nn.Module) -> Iterator[None]:
    def stop(_layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
            problem = "features.cut names a layer that is not given one tensor."
            raise RecipeError(problem, "Name the first layer of a stage.")
        raise _ReachedError(inputs[0].detach().float())

    handle = layer.register_forward_pre_hook(stop)
    try:
        yield
    finally:
        handle.remove()


def _names_before(network: nn.Module, layer: nn.Module, probe: Tensor) -> list[str]:
    """Return the names of layers that have ended before ``layer`` begins, outermost only."""
    over: set[nn.Module] = set()

    def note(module: nn.Module, _inputs: Any, _output: Any) -> None:  # noqa: ANN401  (a hook's arguments)
        over.add(module)

    with ExitStack() as hooks:
        for module in network.modules():
            hooks.callback(module.register_forward_hook(note).remove)
        Beginning(network, layer)(probe)
    names = [name for name, module in network.named_modules() if module in over]
    inside = tuple(f"{name}." for name in names)
    return [name for name in names if not name.startswith(inside)]


def _without(network: nn.Module, names: list[str]) -> nn.Module:
    """Return a copy that shares all tensors with ``network``, some layers replaced by nothing."""
    shared: dict[int, Tensor] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        shared[id(tensor)] = tensor
    end: nn.Module = deepcopy(network, shared)
    for name in names:
        end.set_submodule(name, nn.Identity())
    return end


def _agrees(
    network: nn.Module,
    end: nn.Module,
    features: Tensor,
    probe: Tensor,
) -> bool:
    with torch.no_grad(), suppress(*REFUSALS):
        logits: Tensor = end(features)
        return close(logits, network(probe), CLOSE)
    return False


def _fast(
    network: nn.Module,
    cut: str,
    probe: Tensor,
    features: Tensor,
) -> Beginning:
    """Return the beginning, norms folded and memory channels last, if that computes the same."""
    own = deepcopy(network).requires_grad_(requires_grad=False)
    with suppress(*REFUSALS):
        fold_batch_norms(own, probe[:1])
        layout = torch.channels_last
        fast = Beginning(own.to(memory_format=layout), own.get_submodule(cut), layout)
        if close(fast(probe), features, CLOSE):
            return fast
    own = deepcopy(network).requires_grad_(requires_grad=False)
    return Beginning(own, own.get_submodule(cut))


_AT_ONCE = 16
"""Pictures per pass; more overflow a CPU's caches."""


@dataclass(frozen=True, eq=False)
class FeaturePlan:
    """What features are to be computed.

    Attributes
    ----------
    pictures, card
        Of what, and how it is normalised.
    trained
        Rows of the pictures whose augmented copies are wanted.
    augmentation, seed
        How copies are made.
    spec
        How many, and how they are kept.
    """

    pictures: Pictures
    card: Card
    trained: NDArray[np.int64]
    augmentation: AugmentationSpec
    seed: int
    spec: FeatureSpec

    def digest(self, source: str) -> str:
        """Return what features are known by; ``source`` tells pictures and network by content."""
        card = self.card
        facts = [source, len(self.pictures.paths), card.input_px, card.interpolation]
        facts += [] if card.stain is None else [card.stain.to_json()]
        facts += [card.mean, card.std, self.trained.tolist(), asdict(self.augmentation), self.seed]
        facts += [self.spec.copies, self.spec.dtype]
        seen = self.pictures.seen.chosen.items() - {("profile", "ignore")}
        facts += sorted({*seen, self.spec.precision} - {"fp32"}, key=str)
        return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class FeatureInputs:
    """`Inputs` of the end of a network, from cached features.

    Attributes
    ----------
    array
        (N + copies * T, …), float16 or float32: every picture plain, then copy after copy of the T
        trained ones.
    places
        (N,): which of the T a picture is, or -1.
    count, copies
        N, and how many copies there are.
    device
        Where features are wanted.
    """

    array: NDArray[Any]
    places: NDArray[np.int64]
    copies: int
    device: torch.device

    def training(self, rows: NDArray[np.int64], epoch: int, generator: torch.Generator) -> Tensor:  # noqa: ARG002  (chance was drawn before)
        """Return one copy of each picture, another every epoch until all have come."""
        if not self.copies:
            return self.plain(rows)
        places = self.places[rows]
        trained = int(self.places.max()) + 1
        copies = (epoch + places * 7) % self.copies
        return self._taken(len(self.places) + copies * trained + places)

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return features of pictures as inference sees them."""
        return self._taken(rows)

    def _taken(self, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(self.array[rows].astype(np.float32, copy=False)).to(self.device)


def cached_features(
    beginning: Callable[[Tensor], Tensor],
    plan: FeaturePlan,
    device: torch.device,
    source: str,
    folder: Path,
) -> Generator[Step, None, FeatureInputs]:
    """Return the features of a plan.

    Those kept in ``folder``, if they are of the same content, else computed.

    Parameters
    ----------
    beginning
        Normalised pixels (B, 3, H, W) to features (B, …).
    plan
        What is wanted.
    device
        Where to compute, and where features are wanted later.
    source
        Digest of the pictures' content and of the beginning's weights.
    folder
        Where features that are too large for memory are kept, and found again.

    Raises
    ------
    RecipeError
        If features do not fit into float16.
    """
    kept = folder / f"features-{plan.digest(source)[:32]}.npy"
    rows = len(plan.pictures.paths) + plan.spec.copies * len(plan.trained)
    places = np.full(len(plan.pictures.paths), -1, np.int64)
    places[plan.trained] = np.arange(len(plan.trained))
    if kept.is_file():
        return FeatureInputs(np.load(kept, mmap_mode="r"), places, plan.spec.copies, device)
    shape = (rows, *beginning(_first(plan, device)).shape[1:])
    if np.prod(shape) * np.dtype(plan.spec.dtype).itemsize <= plan.spec.memory_mb * 2**20:
        array = np.empty(shape, plan.spec.dtype)
        yield from _fill(array, beginning, plan, device)
        return FeatureInputs(array, places, plan.spec.copies, device)
    with replacing(kept) as fresh:
        mapped = np.lib.format.open_memmap(fresh, "w+", plan.spec.dtype, shape)
        yield from _fill(mapped, beginning, plan, device)
        mapped.flush()
        del mapped  # Windows moves no file that is mapped
    return FeatureInputs(np.load(kept, mmap_mode="r"), places, plan.spec.copies, device)


def _first(plan: FeaturePlan, device: torch.device) -> Tensor:
    return normalised(plan.pictures.batch(np.arange(1)).to(device), plan.card)


def _fill(
    array: NDArray[Any],
    beginning: Callable[[Tensor], Tensor],
    plan: FeaturePlan,
    device: torch.device,
) -> Iterator[Step]:
    """Compute features into ``array``; a copy's chance depends only on its number and its place."""
    largest = float(np.finfo(array.dtype).max)
    done = 0
    for copy, rows in _passes(plan):
        pixels = restained(plan.pictures.batch(rows).to(device), plan.card.stain)
        if copy:
            pixels = augment(pixels, plan.augmentation, generator_of(plan.seed, copy, done))
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.spec.precision == "bf16"):
            features = beginning(scaled(pixels, plan.card))
        if not bool(features.abs().max() <= largest):
            problem = (
                f"features before {plan.spec.cut} are not finite or too large for"
                f" {plan.spec.dtype}."
            )
            raise RecipeError(problem, 'Set features.dtype to "float32", or cut elsewhere.')
        array[done : done + len(rows)] = features.cpu().numpy()
        done += len(rows)
        yield Step("features", done, len(array))


def _passes(plan: FeaturePlan) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Yield batches of rows in the array's order; copy 0 is the plain picture."""
    everything = np.arange(len(plan.pictures.paths))
    for copy in range(plan.spec.copies + 1):
        rows = everything
        if copy:
            rows = plan.trained
        for start in range(0, len(rows), _AT_ONCE):
            yield copy, rows[start : start + _AT_ONCE]
