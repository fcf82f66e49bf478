"""Cells as nodes of a graph, whose edges lead from look-alikes to look-alikes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slidecam.errors import DataSetError
from slidecam.models.cell_graph import nearest_by_cosine


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
