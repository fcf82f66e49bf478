"""Batch norms folded into the convolutions before them, and which follows which.

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

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from slidecam.models.light_timm import BatchNormAct2d, Conv2dSame

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping


_CONVOLUTIONS = (nn.Conv2d, Conv2dSame)
NORMS = (nn.BatchNorm2d, BatchNormAct2d)
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
            elif type(module) in NORMS:
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
