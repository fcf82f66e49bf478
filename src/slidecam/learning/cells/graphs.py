"""Graphs of cells that look alike, and graph convolutions trained on them with PyTorch Geometric.

Two protocols are named apart, since their figures do not compare:

- *inductive*: the graph holds the training cells alone; each test cell is attached to it by itself,
  as a new cell in practice is. This network is what a bundle holds (`slidecam.models.cell_graph`),
  and compares with a CNN.
- *transductive*: the graph holds the test cells too, in training already, without their labels;
  test cells then lend each other their pictures. This is how such studies are published, and it
  needs every test cell beforehand.

Everything runs on the CPU, where the sums of a graph convolution come in the same order each time:
equal seeds give equal weights.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from slidecam.errors import DataSetError
from slidecam.extras import imported
from slidecam.learning.training.losses import class_weights
from slidecam.models.cell_graph import nearest_by_cosine, packed_names
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.learning.recipes.tables import GraphSpec


@dataclass(frozen=True, eq=False)
class Cells:
    """Embedded cells of one part of the data.

    Attributes
    ----------
    embeddings
        (M, D), float32.
    labels
        (M,), int64.
    names
        One for each, or none.
    """

    embeddings: Tensor
    labels: Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class NodeGraph:
    """Nodes and directed edges between them, without loops: convolutions add those.

    Attributes
    ----------
    nodes
        (N, D), float32: embeddings.
    edges
        (2, E), int64: from the nodes in the first row to those in the second.
    """

    nodes: Tensor
    edges: Tensor

    def degrees(self) -> Tensor:
        """Return how many edges come in at each node, its loop included, (N,), float32."""
        return torch.bincount(self.edges[1], minlength=len(self.nodes)).float() + 1

    def with_queries(self, queries: Tensor, neighbours: int) -> NodeGraph:
        """Return this graph with more nodes (M, D), each hanging on its nearest.

        The edges lead to the new node alone.
        """
        sources, _similarities = nearest_by_cosine(queries, self.nodes, neighbours)
        targets = torch.arange(len(queries)).repeat_interleave(neighbours) + len(self.nodes)
        edges = torch.stack([sources.flatten(), targets])
        return NodeGraph(torch.cat([self.nodes, queries]), torch.cat([self.edges, edges], 1))


def graph_of(embeddings: Tensor, neighbours: int, *, symmetric: bool = False) -> NodeGraph:
    """Return the exact cosine k-nearest-neighbour graph of cells.

    Parameters
    ----------
    embeddings
        (N, D), float32.
    neighbours
        ``k``: edges that come in at each cell from the others most like it.
    symmetric
        Whether every edge also leads back (each pair once).

    Raises
    ------
    DataSetError
        If there are not more cells than ``neighbours``.
    """
    check_enough(len(embeddings), neighbours)
    sources, _similarities = nearest_by_cosine(embeddings, embeddings, neighbours, themselves=False)
    targets = torch.arange(len(embeddings)).repeat_interleave(neighbours)
    edges = torch.stack([sources.flatten(), targets])
    return NodeGraph(embeddings, _both_ways(edges) if symmetric else edges)


def _both_ways(edges: Tensor) -> Tensor:
    both = torch.cat([edges, edges.flip(0)], 1)
    found: Tensor = torch.unique(both, dim=1)
    return found


def check_enough(cells: int, neighbours: int) -> None:
    """Refuse to give so few cells so many neighbours; DataSetError."""
    if cells <= neighbours:
        problem = f"{cells} training cells cannot each have {neighbours} neighbours."
        raise DataSetError(problem, "Train on more, or set graph.neighbours lower.")


INDUCTIVE = "GCN, inductive"
TRANSDUCTIVE = "GCN, transductive"


@dataclass(frozen=True, eq=False)
class Scored:
    """What a classifier says of the cells of one part.

    Attributes
    ----------
    name, part
        Of the classifier and its protocol, and of the part.
    labels
        (M,).
    logits
        (M, K).
    """

    name: str
    part: str
    labels: NDArray[np.int64]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class GraphEpoch:
    """Mean losses of an epoch; the validation's is not-a-number where there is none."""

    loss: float
    val_loss: float


@dataclass(frozen=True, eq=False)
class GraphResult:
    """What training on a graph gives.

    Attributes
    ----------
    state
        Weights and buffers of a `CellGraph` by name, all but its embedder's.
    scores
        For each protocol the validation and test part.
    hidden
        Hidden states (M, H) of the test cells, attached one by one; for a picture of them.
    curve, kept
        The inductive network's losses, and the epoch (from 0) whose weights were kept.
    """

    state: dict[str, Tensor]
    scores: tuple[Scored, ...]
    hidden: Tensor
    curve: tuple[GraphEpoch, ...]
    kept: int


class GraphNetwork(nn.Module):
    """Two graph convolutions, ReLU and dropout between them.

    Parameters
    ----------
    first, second
        PyTorch Geometric's ``GCNConv``: D to H, and H to K.
    dropout
        Share of the hidden units that is left out in training.
    """

    def __init__(self, first: nn.Module, second: nn.Module, dropout: float) -> None:
        super().__init__()
        self.first, self.second, self.dropout = first, second, dropout

    def states(self, graph: NodeGraph) -> Tensor:
        """Return hidden states (N, H)."""
        return torch.relu(self.first(graph.nodes, graph.edges))

    def forward(self, graph: NodeGraph, chance: torch.Generator | None = None) -> Tensor:
        """Return logits (N, K); with ``chance``, which decides what is left out, as in training."""
        states = self.states(graph)
        if chance is not None and self.dropout:
            kept = torch.rand(states.shape, generator=chance) >= self.dropout
            states = states * kept / (1 - self.dropout)
        logits: Tensor = self.second(states, graph.edges)
        return logits


def graph_network(length: int, classes: int, spec: GraphSpec, seed: int) -> GraphNetwork:
    """Return untrained convolutions for embeddings of a length, equal for equal seeds.

    Raises
    ------
    UsageError
        If PyTorch Geometric is not installed.
    """
    convolution = _convolution()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second = convolution(length, spec.hidden), convolution(spec.hidden, classes)
    return GraphNetwork(first, second, spec.dropout)


def train_graph(
    parts: tuple[Cells, Cells, Cells], classes: int, spec: GraphSpec, seed: int = 0
) -> Generator[Step, None, GraphResult]:
    """Train on a graph of cells, and measure by both protocols.

    Parameters
    ----------
    parts
        Training, validation and test cells; the last two may be empty.
    classes
        Number of logits.
    spec
        How.
    seed
        Of the first weights and of dropout.

    Raises
    ------
    DataSetError
        If there are too few training cells.
    UsageError
        If PyTorch Geometric is not installed.
    """
    train, val, test = parts
    graph = graph_of(train.embeddings, spec.neighbours, symmetric=spec.symmetric)
    network = graph_network(train.embeddings.shape[1], classes, spec, seed)
    trained = _Labelled(graph, slice(0, len(train)), train.labels)
    checked, tested = _attached(graph, val, spec), _attached(graph, test, spec)
    curve, kept = yield from _fit(network, (trained, checked), INDUCTIVE, spec, seed)
    scores = _scored(network, checked, tested, INDUCTIVE)
    if spec.transductive and len(test):
        scores += yield from _transductive(parts, classes, spec, seed)
    with torch.no_grad():
        hidden = network.states(tested.graph)[tested.rows]
    state = _exported(network, graph, train, spec)
    return GraphResult(state, tuple(scores), hidden, curve, kept)


@dataclass(frozen=True, eq=False)
class _Labelled:
    """Nodes of a graph that are trained or measured on."""

    graph: NodeGraph
    rows: slice
    labels: Tensor

    def logits(self, network: GraphNetwork, chance: torch.Generator | None = None) -> Tensor:
        """Return their logits (M, K); see `GraphNetwork.forward`."""
        logits: Tensor = network(self.graph, chance)
        return logits[self.rows]


def _attached(graph: NodeGraph, cells: Cells, spec: GraphSpec) -> _Labelled:
    whole = graph
    if len(cells):
        whole = graph.with_queries(cells.embeddings, spec.neighbours)
    return _Labelled(whole, slice(len(graph.nodes), len(whole.nodes)), cells.labels)


def _transductive(
    parts: tuple[Cells, Cells, Cells], classes: int, spec: GraphSpec, seed: int
) -> Generator[Step, None, list[Scored]]:
    """Train another network on the graph of all cells, knowing only the training cells' labels."""
    everything = torch.cat([cells.embeddings for cells in parts])
    graph = graph_of(everything, spec.neighbours, symmetric=spec.symmetric)
    network = graph_network(everything.shape[1], classes, spec, seed)
    found = []
    start = 0
    for cells in parts:
        rows = slice(start, start + len(cells))
        found.append(_Labelled(graph, rows, cells.labels))
        start = rows.stop
    trained, checked, tested = found
    yield from _fit(network, (trained, checked), TRANSDUCTIVE, spec, seed)
    return _scored(network, checked, tested, TRANSDUCTIVE)


def _fit(
    network: GraphNetwork,
    nodes: tuple[_Labelled, _Labelled],
    phase: str,
    spec: GraphSpec,
    seed: int,
) -> Generator[Step, None, tuple[tuple[GraphEpoch, ...], int]]:
    """Train ``network`` in place on the first nodes; leave it at its best epoch on the others."""
    trained, checked = nodes
    weights = None
    if spec.balance == "weights":
        classes = int(network.second.out_channels)  # type: ignore[arg-type]  # PyTorch Geometric's
        weights = class_weights(trained.labels, classes)
    optimiser = torch.optim.Adam(network.parameters(), spec.lr, weight_decay=spec.weight_decay)
    chance = torch.Generator().manual_seed(seed)
    curve: list[GraphEpoch] = []
    best, kept, state = math.inf, spec.epochs - 1, network.state_dict()
    for epoch in range(spec.epochs):
        optimiser.zero_grad()
        loss = cross_entropy(trained.logits(network, chance), trained.labels, weights)
        torch.autograd.backward(loss)
        optimiser.step()
        curve.append(GraphEpoch(float(loss.detach()), _loss(network, checked, weights)))
        if spec.keep == "best" and curve[-1].val_loss < best:
            best, kept, state = curve[-1].val_loss, epoch, copy.deepcopy(network.state_dict())
        yield Step(phase, epoch + 1, spec.epochs, _figures(curve[-1]))
    if best < math.inf:
        network.load_state_dict(state)
    return tuple(curve), kept


def _loss(network: GraphNetwork, nodes: _Labelled, weights: Tensor | None) -> float:
    if not len(nodes.labels):
        return math.nan
    with torch.no_grad():
        return float(cross_entropy(nodes.logits(network), nodes.labels, weights))


def _figures(epoch: GraphEpoch) -> dict[str, float]:
    figures = {"loss": epoch.loss, "validation loss": epoch.val_loss}
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _scored(network: GraphNetwork, val: _Labelled, test: _Labelled, name: str) -> list[Scored]:
    scores = []
    for part, nodes in (("val", val), ("test", test)):
        if len(nodes.labels):
            with torch.no_grad():
                logits = nodes.logits(network)
            scores.append(Scored(name, part, nodes.labels.numpy(), logits.numpy()))
    return scores


def _exported(
    network: GraphNetwork, graph: NodeGraph, train: Cells, spec: GraphSpec
) -> dict[str, Tensor]:
    """Return what a `CellGraph` needs of a trained network and its closed graph."""
    first, second = network.first.state_dict(), network.second.state_dict()
    with torch.no_grad():
        hidden = network.states(graph)
    neighbours, _similarities = nearest_by_cosine(
        graph.nodes, graph.nodes, spec.neighbours, themselves=False
    )
    return {
        "first.weight": first["lin.weight"],
        "first.bias": first["bias"],
        "second.weight": second["lin.weight"],
        "second.bias": second["bias"],
        "embeddings": graph.nodes,
        "hidden": hidden,
        "degrees": graph.degrees(),
        "neighbours": neighbours,
        "labels": train.labels,
        "names": packed_names(train.names or ("",) * len(train)),
    }


def _convolution() -> Any:  # noqa: ANN401  (PyTorch Geometric has no types)
    """Return PyTorch Geometric's graph convolution.

    Imported when a graph is trained and not before; UsageError where it is not installed.
    """
    with warnings.catch_warnings():
        # It compiles with torch.jit, which torch calls deprecated.
        warnings.simplefilter("ignore")
        undone = "nothing can be trained on a graph"
        return imported("torch_geometric.nn", "train", undone).GCNConv
