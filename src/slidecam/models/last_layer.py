"""The linear layer that a network ends with, found by trying: what labels can teach alone."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from slidecam.errors import BundleError
from slidecam.models.architectures import build_network
from slidecam.models.weights import load_strictly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.models.bundle import Bundle
    from slidecam.models.classifier import Classifier

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
