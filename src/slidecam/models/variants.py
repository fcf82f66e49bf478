"""The ways to run one network: as it is or folded, in torch or elsewhere, whole or cut in two.

All compute the same.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slidecam.models.ensemble import Ensemble, SideBySide, first_of, layers_named
from slidecam.models.folding import NORMS, fold_batch_norms
from slidecam.models.graphs import (
    BlocksBefore,
    FeaturesOf,
    FromBlock,
    Runner,
    block_of,
    without_blocks_before,
)
from slidecam.models.splits import (
    TOKEN_AXES,
    ClassifierPass,
    NamedLayer,
    NetworkSplit,
    Precision,
    TorchBackbone,
    TwoHalves,
    Whole,
    inner_layout_of,
    layout_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


AGREEMENT = 1e-4
"""How far logits and activation may be from the plain network's, relative to the largest.

Usual is 1e-6.
"""

REFUSALS = (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
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
    runner
        What runs the backbone, where that is not torch itself; the head is torch's always.
    remarks
        Sentences on how it came to be made, which its `runner` may add to.
    """

    network: nn.Module
    words: str
    layer: str | None = None
    channels_last: bool = False
    whole: bool = False
    runner: Runner | None = None
    remarks: list[str] = field(default_factory=list, repr=False, compare=False)

    def split(self, precision: Precision) -> NetworkSplit:
        """Return the network cut in two, where it can be.

        A `runner` makes the backbone anew each time, which takes seconds; it raises one of
        `REFUSALS` where it cannot.
        """
        network = self.network
        if isinstance(network, Ensemble):
            each = [replace(self, network=member).split(precision) for member in network.members]
            return SideBySide(tuple(each), network.shares)
        if self.runner is not None:
            return self._run_by(self.runner, precision)
        if self.layer and not self.whole:
            return self._cut_at(network, self.layer, precision)
        halves = _halves(network)
        if self.whole or halves is None:
            return Whole(network, precision)
        features, head = halves
        backbone = TorchBackbone(features, self.channels_last, precision)
        return TwoHalves(backbone, head, partial(layout_of, network))

    def _cut_at(self, network: nn.Module, name: str, precision: Precision) -> NamedLayer:
        layer = network.get_submodule(name)
        layout = partial(inner_layout_of, _owner(network, name))
        return NamedLayer(network, layer, layout, self.channels_last, precision)

    def _run_by(self, runner: Runner, precision: Precision) -> NetworkSplit:
        network = self.network
        if self.layer and not self.whole:
            block = block_of(self.layer)
            rest = sharing_copy(network)
            without_blocks_before(rest, block)
            backbone = runner(BlocksBefore(network, block), precision)
            named = self._cut_at(rest, self.layer, "fp32")
            return FromBlock(backbone, named, rest.get_submodule(block))
        halves = _halves(network)
        if self.whole or halves is None:
            return Whole(runner(network, precision))
        backbone = runner(FeaturesOf(network), precision)
        return TwoHalves(backbone, halves[1], partial(layout_of, network))


Half = Callable[[Tensor], Tensor]


def _halves(network: nn.Module) -> tuple[Half, Half] | None:
    """Return what takes pixels to the activation and that to logits, where a network has both."""
    features = getattr(network, "forward_features", None)
    head = getattr(network, "forward_head", None)
    if callable(features) and callable(head):
        return features, head
    return None


def plain_copy(network: nn.Module, *, own: bool = False) -> nn.Module:
    """Return a frozen copy of ``network`` in eval mode.

    TorchScript cannot be copied, and is never given gradients. What nobody else holds (``own``) is
    taken as it is: the weights of a foundation model are gigabytes.
    """
    if is_script(network):
        return network.eval()
    if not own:
        network = copy.deepcopy(network)
    return network.eval().requires_grad_(requires_grad=False)


def sharing_copy(network: nn.Module) -> nn.Module:
    """Return a copy whose parameters are its own and their memory is the network's.

    What is then changed, by giving it another tensor, takes memory; all else does not.
    """
    memo: dict[int, Any] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False)
    return copy.deepcopy(network, memo)


def find_cut(
    plain: nn.Module,
    layer: str | None,
    probe: Tensor,
    logits: Tensor,
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
        return eager, passed
    tokens = _token_layer(first_of(plain))
    if tokens is not None:
        cut = replace(eager, layer=tokens)
        passed_tokens = _agreeing(cut, probe, logits)
        if passed_tokens is not None and passed_tokens.activation is not None:
            return cut, passed_tokens
    return eager, passed


def cause_of_no_map(plain: nn.Module, probe: Tensor, passed: ClassifierPass | None) -> str:
    """Return in a clause why a network has no map; an empty text where it has one.

    Parameters
    ----------
    plain, probe
        As `find_cut` was given them.
    passed
        What it returned.
    """
    if passed is not None and passed.activation is not None:
        return ""
    if is_script(plain):
        return "TorchScript cannot be cut in two"
    plain = first_of(plain)
    halves = _halves(plain)
    if halves is None:
        return 'it has no forward_features and forward_head, and its card names no layer, "split"'
    if passed is None:
        return "forward_features and forward_head, one after the other, do not give its logits"
    with torch.no_grad():
        raw = halves[0](probe)
    found = "nothing with places"
    if isinstance(raw, Tensor):
        found = f"{' x '.join(map(str, raw.shape[1:]))} values a tile"
        if raw.ndim == TOKEN_AXES:
            found = f"{raw.shape[1]} tokens a tile, which lie on no square grid"
    return f"forward_features gives {found}, and no blocks.N.norm1 gives tokens on a grid"


def as_it_is(_eager: Variant, _probe: Tensor) -> tuple[Variant, ...]:
    """Return no other way to run the network."""
    return ()


def folded(eager: Variant, probe: Tensor) -> Iterator[Variant]:
    """Yield faster ways to run the network, fastest first, each on a copy of its own."""
    if is_script(eager.network):
        return
    if not any(isinstance(layer, NORMS) for layer in eager.network.modules()):
        convolutions = [isinstance(layer, nn.Conv2d) for layer in eager.network.modules()]
        if sum(convolutions) <= 1:
            # A transformer: nothing to fold, and no memory to be laid out otherwise.
            return
    network = sharing_copy(eager.network)
    kept = layers_named(network, eager.layer)
    with suppress(*REFUSALS):  # code that reads its own batch norms; they stay in place then
        count = fold_batch_norms(network, probe[:1], kept=kept)
        words = f"torch, {count} batch norms folded, channels last"
        yield replace(eager, network=_channels_last(network), words=words, channels_last=True)
    network = _channels_last(sharing_copy(eager.network))
    yield replace(eager, network=network, words="torch, channels last", channels_last=True)


def agrees(variant: Variant, probe: Tensor, reference: ClassifierPass) -> bool:
    """Whether a variant gives the logits and activation of another one's pass over ``probe``."""
    passed = _agreeing(variant, probe, reference.logits)
    if passed is None:
        return False
    if passed.activation is None or reference.activation is None:
        return passed.activation is reference.activation
    return close(passed.activation, reference.activation)


def is_script(network: nn.Module) -> bool:
    """Whether ``network`` is TorchScript."""
    return isinstance(network, torch.jit.ScriptModule)


def _agreeing(variant: Variant, probe: Tensor, logits: Tensor) -> ClassifierPass | None:
    try:
        passed = variant.split("fp32")(probe, gradients=False)
    except REFUSALS:
        return None
    if close(passed.logits, logits):
        return passed
    return None


def close(values: Tensor, expected: Tensor, tolerance: float = AGREEMENT) -> bool:
    """Whether values are the expected ones, to a share of the largest of these."""
    if values.shape != expected.shape:
        return False
    return bool((values - expected).abs().max() <= tolerance * expected.abs().max())


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
    name = layer
    while "." in name:
        name = name.rpartition(".")[0]
        around = network.get_submodule(name)
        if hasattr(around, "patch_embed"):
            return around
    return network


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)
