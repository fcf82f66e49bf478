"""Partition SHAP: Shapley values of rectangles halved repeatedly, within a budget of passes."""

from __future__ import annotations

import heapq
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import torch

from slidecam.explain.baselines import BASELINES, Parts, check_baselines, logits_of_parts
from slidecam.explain.explainer import Explainer, Explanation, check_classes, check_least
from slidecam.models.classifier import normalised
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

    from slidecam.explain.method_settings import PartitionShapSpec
    from slidecam.models import Classifier


class Rectangle(NamedTuple):
    """Rows and columns of cells, the last ones not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> int:
        """How many cells it has."""
        return (self.bottom - self.top) * (self.right - self.left)

    def halves(self) -> tuple[Rectangle, Rectangle]:
        """Return both halves along the longer side; a square is cut into left and right."""
        if self.right - self.left >= self.bottom - self.top:
            middle = (self.left + self.right) // 2
            return self._replace(right=middle), self._replace(left=middle)
        middle = (self.top + self.bottom) // 2
        return self._replace(bottom=middle), self._replace(top=middle)


@dataclass(frozen=True, eq=False)
class CellBlock:
    """A rectangle in one context: what is shown beside it, and the logits without and with it.

    Attributes
    ----------
    place
        The rectangle.
    shown
        bool, (cells, cells): the context, this rectangle covered.
    without, within
        (K,): logits of the context, and of the context with this rectangle.
    weight
        The context's share of the value.
    """

    place: Rectangle
    shown: Tensor
    without: Tensor
    within: Tensor
    weight: float

    @property
    def gain(self) -> Tensor:
        """What the rectangle brings in this context, (K,), times the context's share."""
        return (self.within - self.without) * self.weight

    def uncovered(self, place: Rectangle) -> Tensor:
        """Return the context with ``place`` shown too."""
        shown = self.shown.clone()
        shown[place.top : place.bottom, place.left : place.right] = True
        return shown


@dataclass(eq=False)
class _Queue:
    """Pieces, those first that bring most; equals in the order in which they came."""

    entries: list[tuple[float, int, CellBlock]] = field(default_factory=list)
    numbers: count[int] = field(default_factory=count)

    def push(self, piece: CellBlock) -> None:
        heapq.heappush(self.entries, (-float(piece.gain.abs().max()), next(self.numbers), piece))

    def pop(self) -> CellBlock:
        return heapq.heappop(self.entries)[2]


class PartitionShap(Explainer):
    """Owen values over halved rectangles.

    All classes come from the same passes, and the sum is exact.

    Notes
    -----
    Owen, *Values of games with a priori unions*, 1977; for pictures, `PartitionExplainer` of
    Lundberg's shap. A rectangle ``R`` that brings ``f(S + R) - f(S)`` in a context ``S`` is halved
    into ``A`` and ``B``, and each half's share is the mean over both orders: ``A`` brings
    ``½ [f(S + A) - f(S)] + ½ [f(S + R) - f(S + B)]``. The four terms are halved further, those
    first that bring most to any class. Shares always add up to ``f(tile) - f(baseline)``, in
    logits.
    """

    name, title = "partition-shap", "Partition SHAP"

    def __init__(self, classifier: Classifier, spec: PartitionShapSpec) -> None:
        super().__init__(classifier)
        check_baselines([spec.baseline])
        check_least(self.title, spec, cells=1, evaluations=2)
        self.spec = spec

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tile by tile; see `Explainer.steps`."""
        check_classes(self.classifier, classes)
        values, logits, gaps = [], [], []
        for number, tile in enumerate(pixels.split(1)):  # type: ignore[no-untyped-call]
            parts = self._parts(tile)
            whole = self._whole(parts)
            done = number * self.spec.evaluations
            shares = yield from self._shared(parts, whole, done, len(pixels))
            values.append(shares[list(classes)])
            logits.append(whole.within)
            gaps.append(float((shares.sum((1, 2)) - whole.gain)[list(classes)].abs().max()))
        return Explanation(
            method=self.name,
            logits=torch.stack(logits),
            maps=torch.stack(values),
            passes=self.spec.evaluations,
            facts={**asdict(self.spec), "completeness gap": max(gaps)},
        )

    def _parts(self, tile: Tensor) -> Parts:
        picture = normalised(tile, self.classifier.card)[0]
        edge = picture.shape[-1]
        cells = min(self.spec.cells, edge)
        along = torch.arange(edge, device=picture.device) * cells // edge
        baseline = BASELINES[self.spec.baseline](picture)
        return Parts(picture, baseline, along[:, None] * cells + along)

    def _whole(self, parts: Parts) -> CellBlock:
        """Return the piece that is the whole tile, over nothing."""
        cells = int(parts.labels[0, -1]) + 1
        nothing = torch.zeros((cells, cells), dtype=torch.bool, device=parts.labels.device)
        which = torch.stack([nothing.flatten(), ~nothing.flatten()])
        logits = logits_of_parts(self.classifier, parts, which)
        return CellBlock(Rectangle(0, cells, 0, cells), nothing, logits[0], logits[1], 1.0)

    def _shared(
        self,
        parts: Parts,
        whole: CellBlock,
        before: int,
        tiles: int,
    ) -> Generator[Step, None, Tensor]:
        """Return shares (K, cells, cells)."""
        shares = whole.within.new_zeros((len(whole.within), *whole.shown.shape))
        queue, spent = _Queue(), 2
        queue.push(whole)
        while queue.entries:
            pieces = self._next(queue, shares, (self.spec.evaluations - spent) // 2)
            if not pieces:
                break
            halved = self._halved(parts, pieces)
            spent += 2 * len(pieces)
            for piece in halved:
                queue.push(piece)
            yield Step(self.title, before + spent, tiles * self.spec.evaluations)
        for _gain, _number, piece in queue.entries:
            _add(shares, piece)
        return shares

    def _next(self, queue: _Queue, shares: Tensor, allowed: int) -> list[CellBlock]:
        """Take the pieces to halve next off the queue.

        Those of one cell are put to the shares instead.
        """
        pieces: list[CellBlock] = []
        while queue.entries and len(pieces) < min(allowed, max(1, self.spec.batch // 2)):
            piece = queue.pop()
            if piece.place.size > 1:
                pieces.append(piece)
            else:
                _add(shares, piece)
        return pieces

    def _halved(self, parts: Parts, pieces: Sequence[CellBlock]) -> list[CellBlock]:
        contexts: list[Tensor] = []
        for piece in pieces:
            contexts += map(piece.uncovered, piece.place.halves())
        which = torch.stack(contexts)
        logits = logits_of_parts(self.classifier, parts, which.flatten(1))
        found = []
        pairs = zip(pieces, which.split(2), logits.split(2), strict=True)  # type: ignore[no-untyped-call]
        for piece, shown, scores in pairs:
            found += _orders(piece, shown, scores)
        return found


def _orders(piece: CellBlock, contexts: Tensor, logits: Tensor) -> list[CellBlock]:
    """Return both halves, each as the first and as the second to be uncovered."""
    one, other = piece.place.halves()
    weight = piece.weight / 2
    return [
        CellBlock(one, piece.shown, piece.without, logits[0], weight),
        CellBlock(one, contexts[1], logits[1], piece.within, weight),
        CellBlock(other, piece.shown, piece.without, logits[1], weight),
        CellBlock(other, contexts[0], logits[0], piece.within, weight),
    ]


def _add(shares: Tensor, piece: CellBlock) -> None:
    top, bottom, left, right = piece.place
    shares[:, top:bottom, left:right] += (piece.gain / piece.place.size)[:, None, None]
