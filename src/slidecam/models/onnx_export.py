"""A bundle's network as an ONNX graph, held against torch before it is kept.

The graph takes pixels as `slidecam.models.classifier.normalised` gives them and returns logits.
What is before and after it (resize, normalisation, temperature, names of classes) stands in its
metadata.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.errors import BundleError, UsageError
from slidecam.extras import imported, need
from slidecam.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from slidecam.models.bundle import Bundle
    from slidecam.models.card import Card

TOLERANCE = 1e-4
"""How far a logit may be from torch's, relative to the largest of them where that is above 1."""

INPUT, OUTPUT = "pixels", "logits"
OPSET = 18
BATCHES = (1, 3, 8)
"""Tiles in each of the batches that are compared."""


@dataclass(frozen=True)
class OnnxExport:
    """What was written, and how near it is to torch.

    Attributes
    ----------
    path
        The graph.
    difference
        The largest difference of a logit, as `TOLERANCE` has it.
    tolerance
        What it was held against.
    tiles
        How many tiles it was found on.
    metadata
        What stands in the graph beside it.
    """

    path: Path
    difference: float
    tolerance: float
    tiles: int
    metadata: dict[str, str]


def export_onnx(bundle: Bundle, path: Path, tolerance: float = TOLERANCE) -> OnnxExport:
    """Write a bundle's network as ONNX, having compared onnxruntime's logits of it with torch's.

    Parameters
    ----------
    bundle
        One whose network is built here; TorchScript is not.
    path
        The file; it is there whole and compared, or as it was.
    tolerance
        See `TOLERANCE`.

    Raises
    ------
    UsageError
        If the packages of the extra ``onnx`` are not installed, or the tolerance is none.
    BundleError
        If the network cannot be exported, or differs by more.
    """
    if not tolerance > 0:
        raise UsageError(f"--tolerance {tolerance} is none.", f"Pass --tolerance {TOLERANCE}.")
    need("onnx")
    runtime = imported("onnxruntime", "onnx")
    if bundle.kind == "wsinfer-torchscript":
        problem = "Its network is a TorchScript program, which cannot be exported."
        raise BundleError(bundle.path, problem, "Use a model with model.safetensors.")
    network, card = bundle.network(), bundle.card
    graph = _graph(network, card, bundle)
    metadata = metadata_of(bundle)
    for key, value in metadata.items():
        graph.metadata_props.add(key=key, value=value)
    try:
        content = graph.SerializeToString()
    except ValueError as error:
        problem = f"The graph is too large for one file: {error}."
        raise BundleError(bundle.path, problem, "Use the bundle itself.") from error
    difference = _compared(runtime, content, network, card)
    if not difference <= tolerance:
        problem = f"onnxruntime's logits differ from torch's by {difference:.2g}, at most"
        raise BundleError(
            bundle.path,
            f"{problem} {tolerance:g} is allowed.",
            "Nothing was written. Pass a larger --tolerance if so much does not matter.",
        )
    with replacing(path) as fresh:
        fresh.write_bytes(content)
    return OnnxExport(path, difference, tolerance, sum(BATCHES), metadata)


def metadata_of(bundle: Bundle) -> dict[str, str]:
    """Return what a graph's metadata says, JSON values by name: all that is not in the graph."""
    card = bundle.card
    stain = None
    if card.stain is not None:
        stain = card.stain.to_json()
    values: dict[str, object] = {
        "name": card.name,
        "class_names": list(card.class_names),
        "activation": card.activation,
        "thresholds": list(card.thresholds),
        "temperature": card.temperature,
        "class_biases": list(card.class_biases),
        "probabilities": "activation(logits / temperature + class_biases)",
        "input": "NCHW float32: (pixel / 255 - mean) / std",
        "mean": list(card.mean),
        "std": list(card.std),
        "channels": card.channels,
        "tile_px": card.tile_px,
        "spacing_um_px": card.spacing,
        "input_px": card.input_px,
        "interpolation": card.interpolation,
        "color_profile": card.color_profile,
        "stain": stain,
        "architecture": card.architecture,
        "licence": card.licence,
        "bundle_digest": bundle.digest,
        "slidecam": version("slidecam"),
    }
    return {key: json.dumps(value, ensure_ascii=False) for key, value in values.items()}


def _graph(network: nn.Module, card: Card, bundle: Bundle) -> Any:  # noqa: ANN401  (onnx's model)
    """Return the network's graph, of any number of tiles."""
    export: Callable[..., Any] = torch.onnx.export
    batch = torch.export.Dim("batch")
    try:
        with warnings.catch_warnings():
            # The exporter's words on its own changes, which concern no one here.
            warnings.simplefilter("ignore")
            program = export(
                network,
                (_tiles(card, 2, seed=0),),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
                verbose=False,
            )
    # The boundary of torch's exporter, which has no error for a network that it cannot trace.
    except Exception as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        problem = f"The network {card.architecture} cannot be exported: {line}."
        raise BundleError(bundle.path, problem, "Use the bundle itself.") from error
    return program.model_proto


def _tiles(card: Card, count: int, seed: int) -> Tensor:
    """Return normalised noise of as many tiles as the network could be given."""
    draw = torch.Generator().manual_seed(seed)
    mean, std = torch.tensor(card.mean), torch.tensor(card.std)
    noise = torch.rand(count, card.channels, card.input_px, card.input_px, generator=draw)
    return (noise - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)


def _compared(runtime: Any, content: bytes, network: nn.Module, card: Card) -> float:  # noqa: ANN401  (a module)
    """Return the largest difference of a logit from torch's, relative to the largest above 1."""
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    most = 0.0
    for seed, count in enumerate(BATCHES, 1):
        tiles = _tiles(card, count, seed)
        with torch.no_grad():
            expected = network(tiles).numpy()
        (found,) = session.run([OUTPUT], {INPUT: tiles.numpy()})
        if found.shape != expected.shape or not np.isfinite(found).all():
            return float("inf")
        scale = max(1.0, float(np.abs(expected).max()))
        most = max(most, float(np.abs(found - expected).max()) / scale)
    return most
