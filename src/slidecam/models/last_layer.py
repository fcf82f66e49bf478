"""The linear layer that a network ends with, found by trying.

What labels can teach while all else stays.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from slidecam.errors import BundleError
from slidecam.models.architectures import build_network
from slidecam.models.weights import load_strictly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

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
        given: dict[str, Tensor] = {}
        layer = classifier.network.get_submodule(self.name)
        handle = layer.register_forward_hook(partial(_note_input, given, self.name))
        try:
            passed = classifier.run(pixels, gradients=False)
        finally:
            handle.remove()
        return given[self.name].detach().float().cpu(), passed.logits.detach().cpu()


def find_last_layer(classifier: Classifier, bundle: Bundle) -> LastLayer:
    """Return the linear layer whose outputs are a classifier's logits.

    Raises
    ------
    BundleError
        If there is none: TorchScript, or a network that does more to its logits.
    """
    edge = classifier.card.input_px
    noise = torch.randint(
        0, 256, (2, edge, edge, 3), generator=torch.Generator().manual_seed(0)
    ).to(torch.uint8)
    outputs: dict[str, Tensor] = {}
    with ExitStack() as hooks:
        for name, module in classifier.network.named_modules():
            if isinstance(module, nn.Linear):
                hooks.callback(
                    module.register_forward_hook(partial(_note_output, outputs, name)).remove
                )
        logits = classifier.run(noise.to(classifier.device), gradients=False).logits
    found = [name for name, output in outputs.items() if _same(output, logits)]
    if not found:
        raise BundleError(
            bundle.path,
            f"{classifier.card.architecture} does not end with a linear layer that could be taught"
            " by itself.",
            "Train a classifier instead: slidecam tiles, then slidecam train.",
        )
    layer = classifier.network.get_submodule(found[-1])
    bias = layer.bias
    return LastLayer(
        name=found[-1],
        weight=layer.weight.detach().float().cpu(),  # type: ignore[operator]  # a linear layer's
        bias=bias.detach().float().cpu() if isinstance(bias, torch.Tensor) else None,
    )


def _note_input(
    given: dict[str, Tensor], name: str, _layer: nn.Module, inputs: tuple[Tensor, ...], _out: Tensor
) -> None:
    given[name] = inputs[0]


def _note_output(
    outputs: dict[str, Tensor],
    name: str,
    _layer: nn.Module,
    _inputs: tuple[Tensor, ...],
    output: Tensor,
) -> None:
    outputs[name] = output


def _same(output: Tensor, logits: Tensor) -> bool:
    return output.shape == logits.shape and bool(
        (output.float() - logits).abs().max() <= AGREEMENT * logits.abs().max().clamp(min=AGREEMENT)
    )


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
        raise BundleError(
            bundle.path, f"its weights hold no {unknown[0]}.", "Train a classifier instead."
        )
    weights |= {name: tensor.to(weights[name].dtype) for name, tensor in taught.items()}
    card = bundle.card
    network = build_network(
        card.architecture, card.architecture_args, len(layer.weight), bundle.card_path
    )
    load_strictly(network, weights, bundle.card_path)
    return weights
