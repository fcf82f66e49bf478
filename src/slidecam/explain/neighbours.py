"""Which training cells made a graph network call a new cell what it does.

A `CellGraph` classifies a cell by its own picture and by those of its nearest training cells. Its
logit is a sum, set out here term by term. With `slidecam.models.cell_graph`'s equations,
``m`` the 0/1 mask of the hidden units that are above 0, and ``v = c_q (w ∘ m)`` for the class's row
``w`` of ``W₂``, which is how the logit hangs on each hidden unit:

- own picture: ``v · W₁ c_q x_q``. It is the gradient times the embedding, so that activation maps
  of this network, which follow that gradient, show where in the picture this term comes from, and
  nothing of the others;
- each neighbour: ``v · W₁ c_j x_j + w · c_j h_j``: what it puts into the cell's hidden state, and
  its own state;
- bias: ``v · b₁ + b₂``, of neither.

They add up to the logit exactly, since a ReLU does nothing but choose the mask. The own picture's
term carries ``c_q²``, 1/121 with ten neighbours: most of what a picture decides in such a network,
it decides by which neighbours it finds, and of that no gradient, and so no heatmap that follows
gradients, knows anything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from slidecam.errors import ExplanationError
from slidecam.explain.explainer import check_classes
from slidecam.models.cell_graph import Attachment, CellGraph
from slidecam.models.classifier import normalised
from slidecam.models.splits import arithmetic, laid_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.models import Card, Classifier

EXPLAINED = (
    "The logit of one class for one cell, hung on the training cells most like it, told as a sum:"
    " what its own picture adds, what each of these neighbours adds, and a bias. The graph and the"
    " choice of neighbours are taken as they are: that another picture would have found other"
    " neighbours is no part of it. What a neighbour adds includes what it heard from its own"
    " neighbours in training. A heatmap of this network shows the own picture's part alone."
)
"""What these figures mean, in words to print beside them."""


@dataclass(frozen=True)
class Neighbour:
    """A training cell that a new cell hangs on.

    Attributes
    ----------
    index, name
        Its place in the training graph, and what it was called; empty if it had no name.
    label, class_name
        What it was said to be.
    similarity
        Cosine between both embeddings.
    contribution
        What it adds to the logit.
    picture
        What it looked like, uint8 (edge, edge, 3); None where the bundle holds no pictures.
    """

    index: int
    name: str
    label: int
    class_name: str
    similarity: float
    contribution: float
    picture: NDArray[np.uint8] | None = field(default=None, compare=False, repr=False)

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "index": self.index,
            "name": self.name,
            "class": self.class_name,
            "similarity": self.similarity,
            "contribution": self.contribution,
        }


@dataclass(frozen=True)
class NeighbourAccount:
    """One logit of one cell as a sum: ``logit = own + bias + Σ contributions``.

    Attributes
    ----------
    class_index
        Whose logit.
    logit, own, bias
        The sum, and its terms that are of no neighbour.
    neighbours
        Nearest first.
    """

    class_index: int
    logit: float
    own: float
    bias: float
    neighbours: tuple[Neighbour, ...]

    def record(self, class_names: Sequence[str]) -> dict[str, object]:
        """Return it as JSON values."""
        return {
            "class": class_names[self.class_index],
            "logit": self.logit,
            "own picture": self.own,
            "bias": self.bias,
            "neighbours": [each.record() for each in self.neighbours],
        }

    def summary(self) -> str:
        """Return it in one line.

        ``logit +1.20 = own picture +0.31, neighbours +0.99 (8 ALL, 2 HEM), bias -0.10``.
        """
        together = sum(each.contribution for each in self.neighbours)
        counted = Counter(each.class_name for each in self.neighbours).most_common()
        labels = ", ".join(f"{count} {name}" for name, count in counted)
        return (
            f"logit {self.logit:+.2f} = own picture {self.own:+.2f}, neighbours {together:+.2f}"
            f" ({labels}), bias {self.bias:+.2f}"
        )


def has_neighbours(classifier: Classifier) -> bool:
    """Whether the classifier is a graph of cells, to which `neighbour_accounts` applies."""
    return isinstance(classifier.network, CellGraph)


def neighbour_accounts(
    classifier: Classifier,
    pixels: Tensor,
    classes: Sequence[int],
) -> tuple[tuple[NeighbourAccount, ...], ...]:
    """Return for each cell an account of each class's logit, from one pass.

    Parameters
    ----------
    classifier
        Of a `CellGraph`, on its device.
    pixels
        uint8, (B, H, W, 3), red, green, blue, on the classifier's device; H and W are the card's
        ``input_px``.
    classes
        Indices of the logits to explain.

    Raises
    ------
    ExplanationError
        If the classifier is no graph of cells, or there is no such class.
    """
    network = classifier.network
    if not isinstance(network, CellGraph):
        card = classifier.card
        problem = f"The model {card.name} ({card.architecture}) knows no training cells."
        remedy = "Neighbours are listed for slidecam/resnet18_gcn and slidecam/cell_graph."
        raise ExplanationError(problem, remedy)
    check_classes(classifier, classes)
    with torch.no_grad(), arithmetic(classifier.device, "fp32"):
        scaled = normalised(pixels, classifier.card)
        inputs = laid_out(scaled, channels_last=classifier.channels_last)
        embedding = network.embedding(network.forward_features(inputs))
        logits = network.graph_logits(embedding)[:, list(classes)]
        split = _Split.of(network, embedding, classes)
    accounts = []
    for cell, scores in enumerate(logits.tolist()):
        of_cell = []
        for place, (index, logit) in enumerate(zip(classes, scores, strict=True)):
            own, bias = float(split.own[cell, place]), float(split.bias[cell, place])
            neighbours = _neighbours(classifier.card, network, split, cell, place)
            of_cell.append(NeighbourAccount(index, logit, own, bias, neighbours))
        accounts.append(tuple(of_cell))
    return tuple(accounts)


@dataclass(frozen=True, eq=False)
class _Split:
    """The terms of K' logits of B cells: own and bias (B, K'), neighbours' (B, K', k)."""

    edges: Attachment
    own: Tensor
    bias: Tensor
    neighbours: Tensor

    @classmethod
    def of(cls, network: CellGraph, embedding: Tensor, classes: Sequence[int]) -> _Split:
        """Return the terms, in float64, so that they add up to within the logits' own rounding."""
        edges = network.attach(embedding)
        above = network.first(edges.gathered(embedding, network.embeddings)) > 0
        last = network.second.weight[list(classes)].double()
        through = edges.own * torch.einsum("kh,bh->bkh", last, above.double())
        felt = through @ network.first.weight.double()
        weights = edges.weights.double()
        inputs = torch.einsum("bkd,bjd->bkj", felt, network.embeddings[edges.indices].double())
        states = torch.einsum("kh,bjh->bkj", last, network.hidden[edges.indices].double())
        return cls(
            edges,
            own=edges.own * torch.einsum("bkd,bd->bk", felt, embedding.double()),
            bias=through @ network.first.bias.double()
            + network.second.bias[list(classes)].double(),
            neighbours=weights[:, None] * (inputs + states),
        )


def _neighbours(
    card: Card,
    network: CellGraph,
    split: _Split,
    cell: int,
    place: int,
) -> tuple[Neighbour, ...]:
    """Return what each neighbour of a cell adds to the logit at a place among those explained."""
    found = []
    for rank, index in enumerate(split.edges.indices[cell].tolist()):
        label = int(network.labels[index])
        similarity = float(split.edges.similarities[cell, rank])
        adds = float(split.neighbours[cell, place, rank])
        name, picture = network.node_name(index), network.node_picture(index)
        class_name = card.class_names[label]
        found.append(Neighbour(index, name, label, class_name, similarity, adds, picture))
    return tuple(found)
