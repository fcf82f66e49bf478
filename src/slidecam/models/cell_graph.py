"""The leukaemia study's network.

A cell's embedding, hung on a graph of training cells, through two convolutions.

The training graph travels with the weights, so that a new cell can be classified, and each alone,
whoever else is in its batch. With ``x_j`` the training cells' embeddings and ``d_j`` their numbers
of incoming edges, their own included:

- a new cell ``q`` with embedding ``x_q`` takes edges from the ``k`` training cells ``S`` of highest
  cosine similarity, and gives none: no training cell, and no ``d_j``, changes by it. Its own edge
  included, ``d_q = k + 1``;
- Kipf and Welling's graph convolution (ICLR 2017, equation 2, as PyTorch Geometric's ``GCNConv``
  normalises directed edges) weighs an edge ``j → q`` with ``c_j = 1 / √(d_j d_q)`` and the cell's
  own with ``c_q = 1 / d_q``, so that

  ``h_q = relu(W₁ (c_q x_q + Σ_{j∈S} c_j x_j) + b₁)``,
  ``logits = W₂ (c_q h_q + Σ_{j∈S} c_j h_j) + b₂``,

  where ``h_j``, the training cells' hidden states, are constants that were computed when the graph
  was closed.

Which cells are the nearest is a choice and has no gradient. Where two candidates for the last place
are equally near, to within rounding, rounding decides which is taken; logits then jump by about ``1
/ (k + 1)`` of how far the states of the two differ. A cell of the training set that is classified
again finds itself as its nearest neighbour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from slidecam.models.networks import (
    SplitNetwork,
    embedder,
    embedding_length,
    map_channels,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

NAME_BYTES = 64
"""Room for the name of a training cell, in UTF-8; of longer ones the end is kept."""

LARGEST_THUMBNAIL = 256
"""Ten thousand of 48 px are 69 MB of a bundle."""

_AT_ONCE = 4096
"""Rows of similarities held at a time."""


@dataclass(frozen=True, eq=False)
class Attachment:
    """How new cells hang on the training graph.

    Attributes
    ----------
    indices
        (B, k), int64: the training cells that each takes edges from, nearest first.
    similarities
        (B, k), float32: cosines to them.
    weights
        (B, k), float32: ``c_j`` of these edges.
    own
        ``c_q``, the weight of a new cell's edge to itself.
    """

    indices: Tensor
    similarities: Tensor
    weights: Tensor
    own: float

    def gathered(self, states: Tensor, nodes: Tensor) -> Tensor:
        """Return ``c_q s_q + Σ c_j s_j``, (B, D).

        The states are those of the new cells, (B, D), and of the training cells, (N, D).
        """
        return self.own * states + torch.einsum("bk,bkd->bd", self.weights, nodes[self.indices])


class CellGraph(SplitNetwork):
    """An embedder, the graph of the training cells, and two graph convolutions.

    See the module for the equations.

    The activation map is the embedder's. Gradients of a logit reach it through the cell's own place
    in the graph, with the graph and the neighbours as they are; they are small, by ``1 / (k +
    1)²``.

    Parameters
    ----------
    num_classes
        Number of logits.
    backbone, backbone_args
        timm's name of the embedder, and keyword arguments for it.
    nodes
        Training cells ``N``.
    neighbours
        ``k``, at most ``nodes``.
    hidden, dropout
        Units between the convolutions, and the share of them that is left out in training.
    in_chans
        Channels of the pixels, where ``backbone_args`` do not say them: 3, or 1 for grey.
    thumbnail_px
        Edge of the small pictures of the training cells that it holds; 0 for none.

    Attributes
    ----------
    embeddings, hidden
        Of the training cells: ``x_j``, (N, D), and ``h_j``, (N, H); float32 buffers, as all that
        follow are buffers.
    degrees
        ``d_j``, (N,), float32.
    neighbours
        (N, k), int64: the cells most like each training cell, itself left out; a record, which
        inference does not need.
    labels, names
        (N,), int64, and (N, `NAME_BYTES`), uint8: what the training cells were said to be, and what
        they were called.
    thumbnails
        (N, thumbnail_px, thumbnail_px, 3), uint8; None where it holds no pictures.

    Raises
    ------
    ValueError
        If there is no such backbone, or there are more neighbours than nodes.
    """

    embeddings: Tensor
    hidden: Tensor
    degrees: Tensor
    neighbours: Tensor
    labels: Tensor
    names: Tensor
    thumbnails: Tensor | None

    def __init__(  # noqa: PLR0913, PLR0917  (each is a key of the card's architecture_args)
        self,
        num_classes: int,
        backbone: str = "resnet18",
        nodes: int = 64,
        neighbours: int = 10,
        hidden: int = 128,
        dropout: float = 0.5,
        backbone_args: Mapping[str, object] | None = None,
        in_chans: int = 3,
        thumbnail_px: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= thumbnail_px <= LARGEST_THUMBNAIL:
            raise ValueError(f"thumbnail_px is {thumbnail_px}, not from 0 to {LARGEST_THUMBNAIL}")
        if not 1 <= neighbours <= nodes:
            problem = f"neighbours is {neighbours}, not from 1 to the number of nodes, {nodes}"
            raise ValueError(problem)
        self.backbone = embedder(backbone, backbone_args, in_chans)
        self.num_features = map_channels(self.backbone)
        length = embedding_length(self.backbone)
        self.first, self.second = (
            nn.Linear(length, hidden),
            nn.Linear(hidden, num_classes),
        )
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("embeddings", torch.zeros(nodes, length))
        self.register_buffer("hidden", torch.zeros(nodes, hidden))
        self.register_buffer("degrees", torch.full((nodes,), float(neighbours + 1)))
        self.register_buffer("neighbours", torch.zeros(nodes, neighbours, dtype=torch.int64))
        self.register_buffer("labels", torch.zeros(nodes, dtype=torch.int64))
        self.register_buffer("names", torch.zeros(nodes, NAME_BYTES, dtype=torch.uint8))
        # A bundle without pictures has no such tensor, as those of before have none.
        shape = (nodes, thumbnail_px, thumbnail_px, 3)
        pictures = torch.zeros(shape, dtype=torch.uint8) if thumbnail_px else None
        self.register_buffer("thumbnails", pictures)

    def forward_features(self, pixels: Tensor) -> Tensor:
        """Return the embedder's map of normalised pixels (B, C, H, W), in its own order of axes."""
        features: Tensor = self.backbone.forward_features(pixels)  # type: ignore[operator]  # timm's networks have it
        return features

    def forward_head(self, features: Tensor) -> Tensor:
        """Return logits (B, K) of an activation map."""
        return self.graph_logits(self.embedding(features))

    def embedding(self, features: Tensor) -> Tensor:
        """Return embeddings (B, D) of an activation map: its average, for most embedders."""
        embedding: Tensor = self.backbone.forward_head(features)  # type: ignore[operator]  # timm's networks have it
        return embedding

    def attach(self, embedding: Tensor) -> Attachment:
        """Return how cells with these embeddings (B, D) hang on the graph; without gradients."""
        count = self.neighbours.shape[1]
        with torch.no_grad():
            indices, similarities = nearest_by_cosine(embedding, self.embeddings, count)
            weights = (self.degrees[indices] * (count + 1)).rsqrt()
        return Attachment(indices, similarities, weights, 1 / (count + 1))

    def graph_logits(self, embedding: Tensor) -> Tensor:
        """Return logits (B, K) of embeddings (B, D), differentiable to them."""
        edges = self.attach(embedding)
        states = torch.relu(self.first(edges.gathered(embedding, self.embeddings)))
        logits: Tensor = self.second(edges.gathered(self.dropout(states), self.hidden))
        return logits

    def node_name(self, index: int) -> str:
        """Return the name of a training cell; empty if it has none."""
        return bytes(self.names[index].tolist()).rstrip(b"\0").decode(errors="replace")

    def node_picture(self, index: int) -> NDArray[np.uint8] | None:
        """Return the small picture of a training cell, uint8 (edge, edge, 3), if it holds one."""
        if self.thumbnails is None:
            return None
        return self.thumbnails[index].cpu().numpy()


def resnet18_gcn(
    num_classes: int,
    nodes: int = 64,
    neighbours: int = 10,
    hidden: int = 128,
    dropout: float = 0.5,
    in_chans: int = 3,
    thumbnail_px: int = 0,
) -> CellGraph:
    """Return the leukaemia study's network: `CellGraph` on ResNet-18, the identity as ``fc``."""
    sizes = (nodes, neighbours, hidden, dropout)
    return CellGraph(num_classes, "resnet18", *sizes, in_chans=in_chans, thumbnail_px=thumbnail_px)


def nearest_by_cosine(
    queries: Tensor,
    nodes: Tensor,
    count: int,
    *,
    themselves: bool = True,
    at_once: int = _AT_ONCE,
) -> tuple[Tensor, Tensor]:
    """Return the ``count`` nodes of highest cosine similarity to each query, nearest first; exact.

    Parameters
    ----------
    queries, nodes
        (M, D) and (N, D), float32. The cosine to a vector of zeros is 0.
    count
        At most N, or N - 1 where not ``themselves``.
    themselves
        Whether row i of ``queries`` may find row i of ``nodes``; False where both are the same
        cells.
    at_once
        Queries compared at a time; memory is ``at_once`` times N numbers.

    Returns
    -------
    indices, similarities
        (M, count), int64 and float32.
    """
    directions = nn.functional.normalize(nodes, dim=1).T
    indices, similarities = [], []
    for start in range(0, len(queries), at_once):
        part = nn.functional.normalize(queries[start : start + at_once], dim=1) @ directions
        if not themselves:
            rows = torch.arange(len(part), device=part.device)
            part[rows, rows + start] = -torch.inf
        top = part.topk(count, dim=1)
        indices.append(top.indices)
        similarities.append(top.values)
    return torch.cat(indices), torch.cat(similarities)


def packed_names(names: Sequence[str]) -> Tensor:
    """Return names as the buffer `CellGraph.names`, uint8 (N, `NAME_BYTES`).

    The end of those that are longer.
    """
    ends = b"".join(name.encode()[-NAME_BYTES:].ljust(NAME_BYTES, b"\0") for name in names)
    return torch.tensor(list(ends), dtype=torch.uint8).reshape(-1, NAME_BYTES)
