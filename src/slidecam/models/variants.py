"""The ways to run one network: as it is or folded, whole or cut in two.

And whether they all compute the same.
"""

from __future__ import annotations

import copy
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import torch

from slidecam.models.backbones import TorchBackbone
from slidecam.models.folding import fold_batch_norms
from slidecam.models.splits import NamedLayer, TwoHalves, Whole, inner_layout_of, layout_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn

    from slidecam.models.backbones import Precision
    from slidecam.models.splits import ClassifierPass, NetworkSplit

AGREEMENT = 1e-4
"""How far logits and activation may be from the plain network's, relative to the largest.

Usual is 1e-6.
"""

REFUSALS = (
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What networks raise for inputs that they cannot take, or after a change unexpected by them."""


@dataclass(frozen=True)
class Variant:
    """One way to run a network.

    Attributes
    ----------
    network
        In eval mode, frozen.
    words
        For `Classifier.backend`.
    layer
        Name of the layer behind which it is cut; None for ``forward_features`` / ``forward_head``.
    channels_last
        As in `TorchBackbone`.
    whole
        Whether it is not cut at all.
    """

    network: nn.Module
    words: str
    layer: str | None = None
    channels_last: bool = False
    whole: bool = False

    def split(self, precision: Precision) -> NetworkSplit:
        """Return the network cut in two, where it can be."""
        network = self.network
        if self.whole or not (self.layer or _has_halves(network)):
            return Whole(network, precision)
        if self.layer is not None:
            layer, layout = (
                network.get_submodule(self.layer),
                partial(inner_layout_of, _owner(network, self.layer)),
            )
            return NamedLayer(network, layer, layout, self.channels_last, precision)
        halves = cast("_Halves", network)
        backbone = TorchBackbone(halves.forward_features, self.channels_last, precision)
        return TwoHalves(backbone, halves.forward_head, partial(layout_of, network))


class _Halves(Protocol):
    def forward_features(self, pixels: Tensor) -> Tensor: ...

    def forward_head(self, features: Tensor) -> Tensor: ...


def plain_copy(network: nn.Module) -> nn.Module:
    """Return a frozen copy of ``network`` in eval mode.

    TorchScript cannot be copied, and is never given gradients.
    """
    if is_script(network):
        return network.eval()
    return copy.deepcopy(network).eval().requires_grad_(requires_grad=False)


def find_cut(
    plain: nn.Module, layer: str | None, probe: Tensor, logits: Tensor
) -> tuple[Variant, ClassifierPass | None]:
    """Return the plain network cut where it has a map, and what that makes of ``probe``.

    Parameters
    ----------
    plain
        Of `plain_copy`.
    layer
        The one to cut at; None for where it can be.
    probe, logits
        Normalised pixels, and what the network makes of them without any cut.

    Returns
    -------
    tuple
        The pass is None if nothing that was tried gives ``logits``, and has no activation where
        there is no map.
    """
    if is_script(plain):
        eager = Variant(plain, "torch, TorchScript", whole=True)
        return eager, _agreeing(eager, probe, logits)
    eager = Variant(plain, "torch, eager", layer)
    passed = _agreeing(eager, probe, logits)
    if layer or (passed and passed.activation is not None):
        tokens = None
    else:
        tokens = _token_layer(plain)
    if tokens is not None:
        cut = replace(eager, layer=tokens)
        passed_tokens = _agreeing(cut, probe, logits)
        if passed_tokens is not None and passed_tokens.activation is not None:
            return cut, passed_tokens
    return eager, passed


def as_it_is(_eager: Variant, _probe: Tensor) -> tuple[Variant, ...]:
    """Return no other way to run the network."""
    return ()


def folded(eager: Variant, probe: Tensor) -> Iterator[Variant]:
    """Yield faster ways to run the network, fastest first, each on a copy of its own."""
    if is_script(eager.network):
        return
    network = copy.deepcopy(eager.network)
    if eager.layer is None:
        kept = None
    else:
        kept = network.get_submodule(eager.layer)
    with suppress(*REFUSALS):  # code that reads its own batch norms; they stay in place then
        count = fold_batch_norms(network, probe[:1], kept=kept)
        words = f"torch, {count} batch norms folded, channels last"
        yield replace(eager, network=_channels_last(network), words=words, channels_last=True)
    network = _channels_last(copy.deepcopy(eager.network))
    yield replace(eager, network=network, words="torch, channels last", channels_last=True)


def agrees(variant: Variant, probe: Tensor, reference: ClassifierPass) -> bool:
    """Whether a variant gives the logits and activation of another one's pass over ``probe``."""
    passed = _agreeing(variant, probe, reference.logits)
    if passed is None:
        return False
    if passed.activation is None or reference.activation is None:
        return passed.activation is reference.activation
    return _close(passed.activation, reference.activation)


def is_script(network: nn.Module) -> bool:
    """Whether ``network`` is TorchScript."""
    return isinstance(network, torch.jit.ScriptModule)


def _agreeing(variant: Variant, probe: Tensor, logits: Tensor) -> ClassifierPass | None:
    try:
        passed = variant.split("fp32")(probe, gradients=False)
    except REFUSALS:
        return None
    if _close(passed.logits, logits):
        return passed
    return None


def _close(values: Tensor, expected: Tensor) -> bool:
    if values.shape != expected.shape:
        return False
    return bool((values - expected).abs().max() <= AGREEMENT * expected.abs().max())


def _token_layer(network: nn.Module) -> str | None:
    """Return the name of the first norm in the last block, if there is one.

    The name is as timm's transformers call it.

    What is behind it hangs on all tokens by attention. Behind the last block the logits hang on the
    class token alone, so that a gradient there is 0 for every patch.
    """
    last: str | None = None
    for name, _module in network.named_modules():
        if re.fullmatch(r"(.*\.)?blocks\.\d+\.norm1", name):
            last = name
    return last


def _owner(network: nn.Module, layer: str) -> nn.Module:
    """Return what knows how the layer's tokens lie.

    The transformer around it, or else the whole network.
    """
    around = (
        network.get_submodule(layer.rsplit(".", cut)[0]) for cut in range(1, layer.count(".") + 1)
    )
    return next((module for module in around if hasattr(module, "patch_embed")), network)


def _has_halves(network: nn.Module) -> bool:
    return all(
        callable(getattr(network, name, None)) for name in ("forward_features", "forward_head")
    )


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)
