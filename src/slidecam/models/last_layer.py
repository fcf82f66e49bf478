"""Linear heads, found by trying: of an activation's average, and the one that labels teach."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from slidecam.errors import BundleError
from slidecam.models.architectures import build_network
from slidecam.models.weights import load_strictly

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slidecam.models.bundle import Bundle
    from slidecam.models.classifier import Classifier
    from slidecam.models.splits import ClassifierPass, Through

AGREEMENT = 1e-5
"""How far the layer's outputs may be from the network's logits, relative to the largest."""


@dataclass(frozen=True, eq=False)
class LastLayer:
    """``logits = weight @ features + bias``, whatever made the features.

    Attributes
    ----------
    name
        Of the layer in the network.
    weight
        (K, D), float32, on the CPU.
    bias
        (K,), float32, on the CPU; None where the layer has none.
    """

    name: str
    weight: Tensor
    bias: Tensor | None

    def embed(self, classifier: Classifier, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, D) and logits (B, K) of tiles as `Classifier.run` takes them.

        Both are float32 on the CPU.
        """
        inputs: dict[str, Tensor] = {}
        with ExitStack() as hooks:
            _watch(classifier.network, self.name, hooks, inputs, {})
            passed = classifier.run(pixels, gradients=False)
        return inputs[self.name].detach().float().cpu(), passed.logits.detach().cpu()


def find_last_layer(classifier: Classifier, bundle: Bundle) -> LastLayer:
    """Return the linear layer whose outputs are a classifier's logits.

    Raises
    ------
    BundleError
        If there is none: TorchScript, or a network that does more to its logits.
    """
    edge, generator = classifier.card.input_px, torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (2, edge, edge, 3), generator=generator).to(torch.uint8)
    outputs: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, module in classifier.network.named_modules():
            if isinstance(module, nn.Linear):
                _watch(classifier.network, name, hooks, {}, outputs)
        logits = classifier.run(noise.to(classifier.device), gradients=False).logits
    found = [name for name, output in outputs.items() if _same(output, logits)]
    if not found:
        raise BundleError(
            bundle.path,
            f"The network {classifier.card.architecture} does not end with a linear layer that"
            " could be taught by itself.",
            "Train a classifier instead: slidecam tiles, then slidecam train.",
        )
    layer = classifier.network.get_submodule(found[-1])
    weight, bias = layer.weight.detach().float().cpu(), layer.bias  # type: ignore[operator]  # a linear layer's
    if isinstance(bias, torch.Tensor):
        return LastLayer(found[-1], weight, bias.detach().float().cpu())
    return LastLayer(found[-1], weight, None)


def _watch(
    network: nn.Module,
    name: str,
    hooks: ExitStack,
    inputs: dict[str, Tensor],
    outputs: dict[str, Tensor],
) -> None:
    """Note what a layer is given and returns, until the hooks are removed."""

    def note(_layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
        inputs[name], outputs[name] = given[0], output

    hooks.callback(network.get_submodule(name).register_forward_hook(note).remove)


def _same(output: Tensor, logits: Tensor) -> bool:
    if output.shape != logits.shape:
        return False
    most = AGREEMENT * logits.abs().max().clamp(min=AGREEMENT)
    return bool((output.float() - logits).abs().max() <= most)


def with_last_layer(bundle: Bundle, layer: LastLayer) -> Mapping[str, Tensor]:
    """Return a bundle's weights with another last layer, which may have more classes.

    Raises
    ------
    BundleError
        If its architecture cannot be built with so many, or its weights call the layer something
        else.
    """
    weights = dict(bundle.network().state_dict())
    taught = {f"{layer.name}.weight": layer.weight}
    if layer.bias is not None:
        taught[f"{layer.name}.bias"] = layer.bias
    unknown = sorted(taught.keys() - weights.keys())
    if unknown:
        problem = f"The bundle's weights hold no {unknown[0]}."
        raise BundleError(bundle.path, problem, "Train a classifier instead.")
    for name, tensor in taught.items():
        weights[name] = tensor.to(weights[name].dtype)
    card, path = bundle.card, bundle.card_path
    network = build_network(card.architecture, card.architecture_args, len(layer.weight), path)
    load_strictly(network, weights, path)
    return weights


_HEAD_AGREEMENT = 1e-4
"""How far logits may be from the linear head's, relative to the largest."""
_SIZES = (1e3, 1e7)
"""Of maps that drive every unit behind the average to both of its ends, be its bend near or far."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """``logits = weight @ mean(activation) + bias``, the mean over the map's places.

    Attributes
    ----------
    weight, bias
        (K, C) and (K,), float32.
    """

    weight: Tensor
    bias: Tensor

    def logits(self, activation: Tensor) -> Tensor:
        """Return logits (B, K) of activation maps (B, C, h, w)."""
        return activation.mean((2, 3)) @ self.weight.T + self.bias


def find_linear_head(
    passed: ClassifierPass, passed_through: Callable[[Through], ClassifierPass]
) -> LinearHead | None:
    """Return the head by which a pass's logits hang on its activation, or None if it is not linear.

    The pass is one with gradients.

    Parameters
    ----------
    passed
        A pass over at least two different tiles.
    passed_through
        Returns another pass over the same tiles whose activation went through something.

    Notes
    -----
    Weight and bias are read off one tile's gradients. The head is then tried on the other tiles and
    on maps of noise: with values below 0, which a rectifier between map and average would not let
    pass, and so large that every unit behind the average is driven to both of its ends, which a
    network of small activations never does by itself.
    """
    activation = passed.activation
    if activation is None:
        return None
    weight = _weight(passed.logits, activation)
    if weight is None:
        return None
    bias = passed.logits[0].detach() - weight @ activation[0].detach().mean((1, 2))
    head = LinearHead(weight, bias)
    if not _near(head.logits(activation.detach()), passed.logits):
        return None
    usual = float(activation.detach().abs().mean())
    plain = torch.randn(activation.shape, generator=torch.Generator().manual_seed(1))
    for size in (usual, *_SIZES):
        noise = plain * size
        passed = passed_through(partial(_replaced, noise))
        if not _near(head.logits(noise), passed.logits):
            return None
    return head


def _weight(logits: Tensor, activation: Tensor) -> Tensor | None:
    rows = []
    for index in range(logits.shape[1]):
        gradient = torch.autograd.grad(logits[0, index], activation, retain_graph=True)[0][0]
        first = gradient[:, :1, :1].expand_as(gradient)
        if not torch.allclose(gradient, first, rtol=_HEAD_AGREEMENT, atol=0):
            return None
        rows.append(gradient.sum((1, 2)))
    return torch.stack(rows)


def _replaced(noise: Tensor, _activation: Tensor) -> Tensor:
    return noise


def _near(values: Tensor, expected: Tensor) -> bool:
    expected = expected.detach()
    return bool((values - expected).abs().max() <= _HEAD_AGREEMENT * expected.abs().max())
