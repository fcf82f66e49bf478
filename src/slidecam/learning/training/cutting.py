"""A network cut in two at one of its layers.

A beginning that is frozen, and an end that is trained on its output.

Which layers run before the cut is not guessed from names: one pass is watched. The end is the
network itself, its weights and all, with those layers replaced by nothing; that this is the same
function is seen on a probe and not taken for granted.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from slidecam.errors import RecipeError
from slidecam.models.variants import REFUSALS, fold_batch_norms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

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
    channels_last
        Whether the pixels are laid out channels last.
    """

    network: nn.Module
    layer: nn.Module
    channels_last: bool = False

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the features (B, …), float32, of normalised pixels (B, 3, H, W)."""
        order = torch.contiguous_format
        if self.channels_last:
            order = torch.channels_last
        with torch.no_grad(), _stop_at(self.layer):
            try:
                self.network(pixels.contiguous(memory_format=order))
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
    for name, tensor in network.state_dict().items():
        if any(name.startswith(f"{before}.") for before in names):
            found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


class _ReachedError(Exception):
    """A pass has come to the layer whose input was wanted."""

    def __init__(self, features: Tensor) -> None:
        super().__init__("reached")
        self.features = features


def _layer(network: nn.Module, cut: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(network.named_modules())
    if not cut or cut not in known:
        near = difflib.get_close_matches(cut, list(known), n=3, cutoff=0.5)
        if near:
            remedy = f"Names like it are {', '.join(near)}."
        else:
            remedy = f"Name one of {', '.join(list(known)[1:20])}."
        raise RecipeError(f"features.cut is {cut!r}, and the network has no such layer.", remedy)
    return known[cut]


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
    return [name for name in names if not any(name.startswith(f"{outer}.") for outer in names)]


def _without(network: nn.Module, names: list[str]) -> nn.Module:
    """Return a copy that shares all tensors with ``network``, some layers replaced by nothing."""
    tensors = [*network.parameters(), *network.buffers()]
    end: nn.Module = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for name in names:
        end.set_submodule(name, nn.Identity())
    return end


def _agrees(network: nn.Module, end: nn.Module, features: Tensor, probe: Tensor) -> bool:
    with torch.no_grad(), suppress(*REFUSALS):
        logits: Tensor = end(features)
        return _close(logits, network(probe))
    return False


def _fast(network: nn.Module, cut: str, probe: Tensor, features: Tensor) -> Beginning:
    """Return the beginning, norms folded and memory channels last, if that computes the same."""
    own = copy.deepcopy(network).requires_grad_(requires_grad=False)
    with suppress(*REFUSALS):
        fold_batch_norms(own, probe[:1])
        fast = Beginning(
            own.to(memory_format=torch.channels_last), own.get_submodule(cut), channels_last=True
        )
        if _close(fast(probe), features):
            return fast
    own = copy.deepcopy(network).requires_grad_(requires_grad=False)
    return Beginning(own, own.get_submodule(cut))


def _close(values: Tensor, expected: Tensor) -> bool:
    return values.shape == expected.shape and bool(
        (values - expected).abs().max() <= CLOSE * expected.abs().max()
    )
