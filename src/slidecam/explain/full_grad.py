"""FullGrad: the gradient with respect to the pixels and to every bias, together the whole logit."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from slidecam.explain.explainer import Explainer, Explanation, check_classes
from slidecam.models.classifier import normalised
from slidecam.models.light_timm import BatchNormAct2d
from slidecam.models.splits import arithmetic
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from slidecam.explain.method_settings import NoSettings
    from slidecam.models import Classifier

NAME, TITLE = "fullgrad", "FullGrad"
_MAP_AXES = 4


@dataclass(frozen=True)
class _Biased:
    """What a layer with biases returned: (1, C, h, w) or (1, C), and the biases in it (C,)."""

    output: Tensor
    bias: Tensor


class FullGrad(Explainer):
    """FullGrad of networks of convolutions, batch norms and rectifiers.

    One pass, and one backward for each class.

    Notes
    -----
    Srinivas and Fleuret, *Full-gradient representation for neural network visualization*, NeurIPS
    2019 (arXiv:1905.00780), equation 4: ``ψ(x ∘ dy/dx) + Σ ψ(b ∘ dy/db)`` over layers and channels,
    ``b`` the biases, a batch norm's own and what it takes off as its mean. ``ψ`` is here the
    magnitude, enlarged to the tile bilinearly; the paper also scales every layer, and
    pytorch-grad-cam every channel of every layer of every tile, to 0-1, so that nothing is left to
    compare tiles by. Ours are raw: the logit's own unit.

    Without magnitudes the terms add up to the logit where the network is linear by pieces
    (proposition 1). How far they do not is the completeness gap: it is large for smooth
    activations (SiLU, GELU), gates and attention, whose implicit biases this does not know.
    """

    def __init__(self, classifier: Classifier, _spec: NoSettings) -> None:
        super().__init__(classifier)

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tiles one by one; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        logits, maps, gap = [], [], 0.0
        for number, tile in enumerate(pixels[:, None]):
            found, terms = self._explained(normalised(tile, self.classifier.card), classes)
            logits.append(found)
            maps.append(torch.stack([term.map for term in terms]))
            gap = max(gap, *(abs(term.gap) for term in terms))
            yield Step(TITLE, number + 1, len(pixels))
        return Explanation(
            NAME,
            torch.cat(logits),
            torch.stack(maps),
            passes=1,
            facts={"completeness gap": gap, "unit": "logits"},
        )

    def _explained(self, pixels: Tensor, classes: Sequence[int]) -> tuple[Tensor, list[_Terms]]:
        """Return logits (1, K) and each class's terms of normalised pixels (1, C, H, W)."""
        # Gradients are wanted whatever the caller's modes are.
        with torch.enable_grad(), arithmetic(pixels.device, "fp32"):
            pixels = pixels.requires_grad_()
            with _biases_watched(self.classifier.network) as biased:
                logits = self.classifier.logits_of(pixels)
            return logits.detach(), [_Terms(pixels, biased, logits[0, index]) for index in classes]


class _Terms:
    """One tile's and class's terms.

    Their ``map`` (H, W), and the ``gap`` between their sum and the logit.
    """

    def __init__(self, pixels: Tensor, biased: list[_Biased], logit: Tensor) -> None:
        outputs = [pixels, *(one.output for one in biased)]
        gradients = torch.autograd.grad(logit, outputs, retain_graph=True, materialize_grads=True)
        biases = [pixels.detach()[0], *map(_in_place, biased)]
        terms = list(map(torch.mul, biases, gradients))
        self.gap = float(logit.detach().double() - sum(term.double().sum() for term in terms))
        size = (pixels.shape[2], pixels.shape[3])
        drawn = [_drawn(term, size) for term in terms if term.ndim == _MAP_AXES]
        self.map = torch.stack(drawn).sum(0)


def _in_place(one: _Biased) -> Tensor:
    """Return biases so that they multiply the output: (C, 1, 1) or (C,)."""
    if one.output.ndim == _MAP_AXES:
        return one.bias[:, None, None]
    return one.bias


def _drawn(term: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the magnitudes (H, W) of a term (1, C, h, w), added up over channels."""
    magnitudes = term.abs().sum(1, keepdim=True)
    return interpolate(magnitudes, size, mode="bilinear", align_corners=False)[0, 0]


@contextmanager
def _biases_watched(network: nn.Module) -> Iterator[list[_Biased]]:
    """Give a list that fills, inside, with what every layer with biases returns.

    The hooks are gone afterwards.
    """
    found: list[_Biased] = []
    with ExitStack() as stack:
        for module in network.modules():
            bias = _bias_of(module)
            if bias is not None:
                # A batch norm with its own activation adds its bias before it.
                place = module
                if isinstance(module, BatchNormAct2d):
                    place = module.drop
                hook = partial(_watch, found, bias)
                stack.callback(place.register_forward_hook(hook).remove)
        yield found


def _watch(
    found: list[_Biased],
    bias: Tensor,
    _layer: nn.Module,
    _inputs: object,
    output: Tensor,
) -> Tensor:
    found.append(_Biased(output, bias))
    return output.clone()  # what follows may compute in place


def _bias_of(module: nn.Module) -> Tensor | None:
    """Return the biases (C,) that a layer adds.

    Its own, and for a batch norm also what its mean amounts to.
    """
    if isinstance(module, nn.BatchNorm2d):
        if module.running_mean is None or module.running_var is None:
            return None
        scale = torch.rsqrt(module.running_var + module.eps)
        if module.weight is not None:
            scale = scale * module.weight.detach()
        shift = module.running_mean * scale
        if module.bias is None:
            return 0 - shift
        return module.bias.detach() - shift
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        return module.bias.detach()
    return None
