"""DeepSHAP: DeepLIFT's multipliers in place of gradients, averaged over several baselines.

Tile and baseline pass the network together, as the two halves of a batch. Of every step that is not
linear the backward pass uses how much its output differs between the halves for how much its input
does. Steps are found as they are called, so that networks need not be made of torch's modules.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import max_pool2d
from torch.overrides import TorchFunctionMode

from slidecam.explain.attributions import Attribution
from slidecam.explain.baselines import BASELINES, check_baselines
from slidecam.explain.method_settings import DeepShapSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from slidecam.models import Classifier

_ELEMENTWISE = frozenset(
    {
        *("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "hardtanh", "softplus"),
        *("silu", "gelu", "mish", "hardswish", "hardsigmoid", "sigmoid", "tanh", "logsigmoid"),
    }
)
"""Functions of each number alone, by their names in torch, with or without ``_`` at the end."""

_PRODUCTS = frozenset({"mul", "multiply", "matmul", "bmm"})
"""Functions that are linear in each of two tensors, with or without underscores."""

_POOLS = frozenset({"max_pool2d"})
_POOL_SETTINGS = 5
"""Settings of a pool before it is said whether places are wanted."""

_ALIKE = 1e-6
"""Inputs that differ by less have the slope that the function has there."""


class DeepShap(Attribution[DeepShapSpec]):
    """What each pixel adds to the gain over baselines, by the rescale rule of DeepLIFT.

    Notes
    -----
    Lundberg and Lee, *A unified approach to interpreting model predictions*, NeurIPS 2017
    (arXiv:1705.07874), section 4.2: the mean over baselines of the rescale rule of Shrikumar et
    al., *Learning important features through propagating activation differences*, ICML 2017
    (arXiv:1704.02685), equations 6 to 8. Of a product, as gates make one, each factor's difference
    counts times the mean of the other, which is the Shapley value of both; of a largest value it
    counts as in Lundberg's shap. What else is not linear (softmax, layer norms) has its gradient,
    so that shares add up but for the gap that is said.
    """

    title, name = "DeepSHAP", "deep-shap"

    def __init__(self, classifier: Classifier, spec: DeepShapSpec) -> None:
        check_baselines(spec.baselines)
        super().__init__(classifier, spec)

    def attributed(self, picture: Tensor, index: int) -> tuple[Tensor, float]:
        """Return the shares, and how far they are from adding up to the mean gain."""
        baselines = torch.stack([BASELINES[name](picture[0]) for name in self.spec.baselines])
        shares = torch.zeros_like(picture[0])
        for baseline in baselines:
            both = torch.cat([picture, baseline[None]]).requires_grad_()
            with torch.enable_grad(), _DifferencesInPlaceOfSlopes():
                score = self.classifier.logits_of(both)[:, index].sum()
                (multipliers,) = torch.autograd.grad(score, both)
            shares += multipliers[0] * (picture[0] - baseline)
        shares /= len(baselines)
        return shares, float(shares.sum()) - self._gain(picture, baselines, index)

    def passes(self, edge: int) -> int:  # noqa: ARG002  (the same for every size)
        """Return the tile and a baseline for each of them, and once more for the gap."""
        return 3 * len(self.spec.baselines) + 1


class _DifferencesInPlaceOfSlopes(TorchFunctionMode):
    """While it is on, steps that are not linear pass back differences of a batch's two halves."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (whatever a function of torch returns)
        given = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        if name in _PRODUCTS and len(args) > 1 and all(map(_is_passed, args[:2])):
            return _product(func, *args[:2])
        rule = _RULES.get(name)
        if rule is None or not args or not _is_passed(args[0]):
            return func(*args, **given)
        return rule(func, args, given)


def _is_passed(value: object) -> bool:
    """Whether it is computed of the two halves: no number, no weight of the network."""
    if not isinstance(value, torch.Tensor) or not value.ndim or value.shape[0] % 2:
        return False
    return value.grad_fn is not None


def _with_slope(value: Tensor, line: Tensor) -> Tensor:
    """Return a value that passes back what a line does, which has the right slope alone."""
    return value.detach() + (line - line.detach())


def _apart(both: Tensor) -> Tensor:
    tile, baseline = both.detach().chunk(2)
    return tile - baseline


def _mean(both: Tensor) -> Tensor:
    tile, baseline = both.detach().chunk(2)
    return (tile + baseline).repeat(2, *[1] * (both.ndim - 1)) / 2


def _rescaled(func: Callable[..., Any], args: tuple[Any, ...], given: Mapping[str, Any]) -> Tensor:
    """Return a function of each number; equation 8 of DeepLIFT."""
    both, *settings = args
    # A copy, as some functions change what they are given.
    point = both.detach().clone().requires_grad_()
    value = func(point.clone(), *settings, **given)
    (slope,) = torch.autograd.grad(value.sum(), point)
    moved = _apart(both)
    is_apart = moved.abs() > _ALIKE
    ratio = _apart(value) / torch.where(is_apart, moved, 1.0)
    found = torch.where(
        is_apart.repeat(2, *[1] * (both.ndim - 1)), torch.cat([ratio, ratio]), slope
    )
    return _with_slope(value, both * found)


def _product(func: Callable[..., Any], one: Tensor, other: Tensor) -> Tensor:
    """Return a product, of which each factor passes back the mean of the other."""
    value = func(one.detach().clone(), other.detach().clone())
    line = func(one.clone(), _mean(other)) + func(_mean(one), other.clone())
    return _with_slope(value, line)


def _largest(_func: Callable[..., Any], args: tuple[Any, ...], given: Mapping[str, Any]) -> Tensor:
    """Return the largest of each window: what is gained lies where the largest is, or was."""
    both, *settings = args
    chosen = {**given, "return_indices": True}
    value, places = max_pool2d(both.detach(), *settings[:_POOL_SETTINGS], **chosen)
    tile, baseline = value.chunk(2)
    higher = torch.maximum(tile, baseline)
    moved = _apart(both)
    line = torch.zeros_like(value)
    for gained, at in zip((higher - baseline, tile - higher), places.chunk(2), strict=True):
        there = _at(moved, at)
        ratio = gained / torch.where(there == 0, torch.ones_like(there), there)
        line = line + torch.cat([ratio, ratio]) * _at(both, torch.cat([at, at]))
    return _with_slope(value, line)


def _at(values: Tensor, places: Tensor) -> Tensor:
    """Return values (B, C, H, W) at places (B, C, h, w) that count along H * W."""
    return values.flatten(2).gather(2, places.flatten(2)).view_as(places)


_RULES: Mapping[str, Callable[..., Tensor]] = MappingProxyType(
    {**dict.fromkeys(_ELEMENTWISE, _rescaled), **dict.fromkeys(_POOLS, _largest)}
)
