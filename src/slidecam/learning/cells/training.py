"""From a ``[graph]`` recipe and pictures of cells to a bundle, every protocol's figures beside it.

The embedder is not trained here: it begins from the weights that it is given and stays so. A graph
is trained in a minute, so that there are no checkpoints and nothing is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from slidecam.errors import RecipeError
from slidecam.learning.calibration import fit_calibration
from slidecam.learning.cells.graphs import (
    INDUCTIVE,
    Cells,
    GraphEpoch,
    GraphResult,
    Scored,
    check_enough,
    train_graph,
)
from slidecam.learning.cells.protocols import (
    SVM,
    Protocols,
    linear,
    plane_of,
    svm,
    write_protocols,
)
from slidecam.learning.data.dataset import content_digest
from slidecam.learning.data.picture_files import PARTS
from slidecam.learning.data.pixels import Pictures, hold_pictures, seen_by
from slidecam.learning.evaluation.evaluation import Evaluation, evaluate_predictions
from slidecam.learning.predictions import Predictions
from slidecam.learning.training.folder import (
    TrainingFolder,
    TrainingOutcome,
    locked_folder,
    provenance_of,
    write_history,
    write_plan,
)
from slidecam.learning.training.setup import (
    TrainingCall,
    calibrated,
    card_for,
    network_for,
    weights_facts,
)
from slidecam.models.backends import choose_device
from slidecam.models.bundle import Bundle, save_bundle
from slidecam.models.cell_graph import CellGraph
from slidecam.models.classifier import normalised
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.classes import Activation
    from slidecam.learning.data.pictures import PictureSet
    from slidecam.learning.recipes.tables import GraphSpec, Recipe
    from slidecam.models.card import Card


_AT_ONCE = 32
"""Cells embedded at a time."""


@dataclass(frozen=True, eq=False)
class GraphTrained:
    """What training on a graph has made.

    Attributes
    ----------
    bundle
        The inductive network with the training graph.
    history
        One row of figures for each epoch.
    best_epoch
        Which of them was kept, counted from 1.
    protocols
        Figures on the test cells (on the validation cells where there are none) by protocol and
        baseline; empty where there are neither.
    """

    bundle: Bundle
    history: list[dict[str, Any]]
    best_epoch: int
    protocols: Mapping[str, Evaluation]


def train_graph_bundle(
    recipe: Recipe,
    spec: GraphSpec,
    pictures: PictureSet,
    call: TrainingCall,
) -> Generator[Step, None, GraphTrained]:
    """Embed cells, train graph convolutions on them, measure by every protocol, and leave a bundle.

    Parameters
    ----------
    recipe
        Its architecture is a graph of ours; ``[train]`` says the seed and nothing else.
    spec
        Its ``[graph]``.
    pictures
        With their parts settled.
    call
        As for any training.

    Raises
    ------
    RecipeError
        If the architecture is no graph.
    DataSetError
        If there are too few training cells, or a picture cannot be read.
    UsageError
        If PyTorch Geometric is not installed.
    RunExistsError, CheckpointError, DeviceError, WeightsError, UntrustedCodeError
        As for any training.
    """
    device = choose_device(call.device)
    with locked_folder(call.out, call.existing) as folder:
        if folder.note:
            yield Step("data", 0, 0, message=folder.note)
        nodes = len(pictures.part("train"))
        check_enough(nodes, spec.neighbours)
        sized = _sized(recipe, spec, nodes)
        network = network_for(sized, len(pictures.class_names), call.weights)
        if not isinstance(network, CellGraph):
            raise RecipeError(
                f"[graph] is for graphs of cells, and the model is {recipe.model.architecture}.",
                'Set model.architecture to "slidecam/resnet18_gcn" or "slidecam/cell_graph".',
                recipe.path,
            )
        card = card_for(sized, network, pictures.class_names)
        cells = yield from _cells(network.to(device), card, pictures, recipe.data.memory_mb)
        result = yield from train_graph(
            cells, len(pictures.class_names), spec, recipe.phases[0].seed
        )
        network.cpu().load_state_dict(result.state, strict=False)
        folder.clear()
        write_plan(folder, recipe, pictures)
        finished = _calibrated(_facts(card, recipe, pictures, call, result), result, spec)
        bundle = save_bundle(folder.bundle, finished, network, overwrite=True)
        return (yield from _conclude(folder, bundle, pictures, cells, result))


def _sized(
    recipe: Recipe,
    spec: GraphSpec,
    nodes: int,
) -> Recipe:
    """Return the recipe with the graph's sizes, from data and ``[graph]``, among the arguments."""
    if not recipe.model.architecture.startswith("slidecam/"):
        return recipe
    arguments = {
        **recipe.model.architecture_args,
        "nodes": nodes,
        "neighbours": spec.neighbours,
        "hidden": spec.hidden,
        "dropout": spec.dropout,
    }
    if spec.thumbnail_px:
        arguments["thumbnail_px"] = spec.thumbnail_px
    return replace(recipe, model=replace(recipe.model, architecture_args=arguments))


def _cells(
    network: CellGraph,
    card: Card,
    pictures: PictureSet,
    memory_mb: int,
) -> Generator[Step, None, tuple[Cells, Cells, Cells]]:
    held = yield from hold_pictures(pictures.paths, card, memory_mb, pictures.seen)
    embeddings = yield from _embeddings(network, card, held, len(pictures))
    if network.thumbnails is not None:
        rows = np.flatnonzero(np.array(pictures.parts) == "train")
        network.thumbnails.copy_(_thumbnails(held, rows, network.thumbnails.shape[1]))
    labels, parts = torch.from_numpy(pictures.labels), np.array(pictures.parts)
    found = []
    for part in PARTS:
        rows = np.flatnonzero(parts == part)
        found.append(Cells(embeddings[rows], labels[rows], pictures.part(part).names))
    train, val, test = found
    return train, val, test


def _embeddings(
    network: CellGraph,
    card: Card,
    held: Pictures,
    count: int,
) -> Generator[Step, None, Tensor]:
    device = next(network.parameters()).device
    found = []
    for start in range(0, count, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, count))
        with torch.no_grad():
            pixels = normalised(held.batch(rows).to(device), card)
            found.append(network.embedding(network.forward_features(pixels)).cpu())
        yield Step("embedding", int(rows[-1]) + 1, count)
    return torch.cat(found)


def _thumbnails(held: Pictures, rows: NDArray[np.int64], edge: int) -> Tensor:
    """Return pictures of so many px, uint8 (rows, edge, edge, 3)."""
    small = []
    for start in range(0, len(rows), _AT_ONCE):
        for pixels in held.batch(rows[start : start + _AT_ONCE]).numpy():
            picture = Image.fromarray(pixels)
            small.append(np.asarray(picture.resize((edge, edge), Image.Resampling.LANCZOS)))
    return torch.from_numpy(np.stack(small))


def _calibrated(card: Card, result: GraphResult, spec: GraphSpec) -> Card:
    for scored in result.scores:
        if (scored.name, scored.part) == (INDUCTIVE, "val"):
            weighted = spec.balance != "none"
            found = fit_calibration(scored.logits, scored.labels, weighted=weighted)
            return calibrated(card, found)
    return card


def _facts(
    card: Card,
    recipe: Recipe,
    pictures: PictureSet,
    call: TrainingCall,
    result: GraphResult,
) -> Card:
    """Return the card with its provenance."""
    outcome = TrainingOutcome(
        content=content_digest(pictures),
        first_weights=weights_facts(recipe, call.weights),
        epochs=len(result.curve),
        best_epoch=result.kept + 1,
        device=choose_device(call.device),
        packages=("torch_geometric",),
    )
    return replace(card, provenance=provenance_of(recipe, pictures, outcome))


def _conclude(
    folder: TrainingFolder,
    bundle: Bundle,
    pictures: PictureSet,
    cells: tuple[Cells, Cells, Cells],
    result: GraphResult,
) -> Generator[Step, None, GraphTrained]:
    """Measure every protocol on the test cells, or on the validation cells where there are none."""
    history = [_row(number, epoch) for number, epoch in enumerate(result.curve, 1)]
    write_history(folder.history, history)
    train, val, test = cells
    part, measured = "test", test
    if not len(test):
        part, measured = "val", val
    if not len(measured):
        return GraphTrained(bundle, history, result.kept + 1, {})
    scores = [each for each in result.scores if each.part == part]
    classes = len(pictures.class_names)
    scores += [baseline(train, val, measured, part, classes) for baseline in (linear, svm)]
    protocols = {}
    for done, scored in enumerate(scores, 1):
        protocols[scored.name] = evaluate_predictions(_predictions(scored, bundle.card, pictures))
        yield Step("measuring protocols", done, len(scores))
    planes = dict(_planes(measured, result, part))
    write_protocols(folder.protocols, Protocols(bundle.card, part, protocols, planes))
    return GraphTrained(bundle, history, result.kept + 1, protocols)


def _row(number: int, epoch: GraphEpoch) -> dict[str, Any]:
    row = {"epoch": number, "phase": 0, "train_loss": epoch.loss}
    if not np.isnan(epoch.val_loss):
        row["val_loss"] = epoch.val_loss
    return row


def _predictions(
    scored: Scored,
    card: Card,
    pictures: PictureSet,
) -> Predictions:
    tested = pictures.part("val")
    if scored.part == "test":
        tested = pictures.part("test")
    activation: Activation = "softmax"
    if scored.name == SVM:
        activation = "none"
    predictions = Predictions(
        labels=scored.labels,
        logits=scored.logits,
        class_names=pictures.class_names,
        names=tested.names,
        groups=tested.groups,
        activation=activation,
        paths=tested.paths,
        seen=seen_by(card, tested.seen),
        class_colors=card.class_colors,
    )
    if scored.name != INDUCTIVE:
        return predictions
    return replace(
        predictions,
        temperature=card.temperature,
        biases=card.class_biases,
        calibrated_on=card.calibrated_on,
    )


def _planes(
    measured: Cells,
    result: GraphResult,
    part: str,
) -> Iterator[tuple[str, Any]]:
    """Yield t-SNE of the cells' embeddings, and of their states in the graph."""
    labels = measured.labels.numpy()
    yield "embeddings", plane_of(measured.embeddings.numpy(), labels)
    if part == "test":
        yield "hidden states", plane_of(result.hidden.numpy(), labels)
