"""The ways to run one network: as it is or folded, whole or cut in two, all computing the same.

Folding puts a batch norm into the convolution before it: the same function, with fewer passes over
memory. Batch norm in eval mode is ``(y - m) / sqrt(v + e) * g + b`` for each channel, so that after
a convolution with weight ``W`` and bias ``c`` both are one convolution with weight ``W * s`` and
bias ``(c - m) * s + b``, ``s = g / sqrt(v + e)``.

Which norm follows which convolution is not guessed from names: one plain forward pass is watched. A
pair is folded only if the norm was given the very tensor that the convolution returned, nothing
else used that tensor, and both ran once. Unlike symbolic tracing, that works for any network that
runs, and the network's own code stays in place, so that `forward_features`, `forward_head` and
named layers are still there afterwards.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from slidecam.models.ensemble import Ensemble, SideBySide, first_of, layers_named
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
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping


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
    """

    network: nn.Module
    words: str
    layer: str | None = None
    channels_last: bool = False
    whole: bool = False

    def split(self, precision: Precision) -> NetworkSplit:
        """Return the network cut in two, where it can be."""
        network = self.network
        if isinstance(network, Ensemble):
            each = [replace(self, network=member).split(precision) for member in network.members]
            return SideBySide(tuple(each), network.shares)
        features = getattr(network, "forward_features", None)
        head = getattr(network, "forward_head", None)
        if self.layer and not self.whole:
            layer = network.get_submodule(self.layer)
            layout = partial(inner_layout_of, _owner(network, self.layer))
            return NamedLayer(network, layer, layout, self.channels_last, precision)
        if self.whole or not (callable(features) and callable(head)):
            return Whole(network, precision)
        backbone = TorchBackbone(features, self.channels_last, precision)
        return TwoHalves(backbone, head, partial(layout_of, network))


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
    features = getattr(plain, "forward_features", None)
    if not (callable(features) and callable(getattr(plain, "forward_head", None))):
        return 'it has no forward_features and forward_head, and its card names no layer, "split"'
    if passed is None:
        return "forward_features and forward_head, one after the other, do not give its logits"
    with torch.no_grad():
        raw = features(probe)
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
    if not any(isinstance(layer, _NORMS) for layer in eager.network.modules()):
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
    name = layer
    while "." in name:
        name = name.rpartition(".")[0]
        around = network.get_submodule(name)
        if hasattr(around, "patch_embed"):
            return around
    return network


def _channels_last(network: nn.Module) -> nn.Module:
    return network.to(memory_format=torch.channels_last)


_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)
"""Exactly these: subclasses compute otherwise (standardised weights, synchronised statistics)."""


@dataclass
class _Uses(TorchFunctionMode):
    """Counts for each convolution's result how many operations take it in, while it is active.

    A look at a tensor's shape or device returns no tensor and is no use.
    """

    counts: Counter[int] = field(default_factory=Counter)
    results: dict[int, tuple[nn.Module, Tensor]] = field(default_factory=dict)
    pairs: list[tuple[nn.Module, nn.Module, Tensor]] = field(default_factory=list)
    calls: Counter[nn.Module] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (whatever the operation returns)
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            given = set(map(id, tree_leaves((args, kwargs))))
            self.counts.update(given & self.results.keys())
        return result

    def after_convolution(self, conv: nn.Module, _inputs: tuple[Any, ...], result: Tensor) -> None:
        """Remember whose result this is; holding it keeps its identity unique."""
        self.calls[conv] += 1
        self.results[id(result)] = (conv, result)

    def before_norm(self, norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Remember whose result the norm is given, if a convolution's."""
        self.calls[norm] += 1
        if inputs and id(inputs[0]) in self.results:
            conv, result = self.results[id(inputs[0])]
            self.pairs.append((conv, norm, result))


def fold_batch_norms(
    network: nn.Module, pixels: Tensor, *, kept: Collection[nn.Module] = ()
) -> int:
    """Fold every batch norm of ``network`` that can be, in place, and return how many were.

    Parameters
    ----------
    network
        In eval mode, float32, on the device of ``pixels``.
    pixels
        Float32, (B, C, H, W): what the network is run on, once, to see what follows what.
    kept
        Convolutions or norms whose own output is wanted afterwards, and so stay as they are.
    """
    pairs = [pair for pair in _watched_pairs(network, pixels) if set(kept).isdisjoint(pair)]
    names = {module: name for name, module in network.named_modules(remove_duplicate=False)}
    for conv, norm in pairs:
        _fold(conv, norm)
        network.set_submodule(names[norm], _what_is_left(norm))
    return len(pairs)


def _watched_pairs(network: nn.Module, pixels: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    uses = _Uses()
    named = Counter(dict(network.named_modules(remove_duplicate=False)).values())
    with ExitStack() as stack:
        for module in named:
            if type(module) in _CONVOLUTIONS:
                stack.callback(module.register_forward_hook(uses.after_convolution).remove)
            elif type(module) in _NORMS:
                stack.callback(module.register_forward_pre_hook(uses.before_norm).remove)
        with torch.no_grad(), uses:
            network(pixels)
    pairs = []
    for conv, norm, result in uses.pairs:
        once = uses.counts[id(result)] == 1
        for module in (conv, norm):
            once = once and uses.calls[module] == named[module] == 1
        if not once or not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            continue
        if norm.running_mean is not None:
            pairs.append((conv, norm))
    return pairs


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """Give ``conv`` the weight and bias of both; in float64, so that rounding happens once."""
    mean = _double(norm.running_mean, 0.0, norm)
    variance = _double(norm.running_var, 1.0, norm)
    scale = _double(norm.weight, 1.0, norm) / torch.sqrt(variance + norm.eps)
    weight = conv.weight.detach().double() * scale[:, None, None, None]
    bias = (_double(conv.bias, 0.0, norm) - mean) * scale + _double(norm.bias, 0.0, norm)
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=False)


def _double(values: Tensor | None, otherwise: float, norm: nn.BatchNorm2d) -> Tensor:
    if values is None:
        return torch.full((norm.num_features,), otherwise, dtype=torch.float64)
    return values.detach().double()


def _what_is_left(norm: nn.BatchNorm2d) -> nn.Module:
    if isinstance(norm, BatchNormAct2d):
        return nn.Sequential(norm.drop, norm.act)
    return nn.Identity()
