"""What a classifier says of a tile whose pixels were changed, and as they go in a map's order.

Deletion and insertion replace them by a baseline. ROAD fills them in, so that nothing betrays that
they are gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import splu

from slidecam.errors import UsageError
from slidecam.explain.baselines import check_baselines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.models import Classifier

BATCH = 16
"""Pictures in one pass; the fastest size on a CPU."""

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class ClassScores:
    """What a classifier says of one class on N pictures.

    Attributes
    ----------
    logits, probabilities
        (N,); probabilities by the card's activation.
    """

    logits: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __getitem__(self, some: slice) -> ClassScores:
        return ClassScores(self.logits[some], self.probabilities[some])


class Scorer(Protocol):
    """Scores pictures (C, H, W), normalised, that are made one by one as they are needed."""

    def __call__(self, pictures: Iterable[Tensor]) -> ClassScores:
        """Return the scores of the pictures, in their order."""


@dataclass(frozen=True)
class ClassScorer:
    """A classifier's scores of one class.

    Attributes
    ----------
    classifier
        On its device, where the pictures must be.
    index
        Of the logit.
    batch
        Pictures in one pass, and so in memory at one time.
    """

    classifier: Classifier
    index: int
    batch: int = BATCH

    def __call__(self, pictures: Iterable[Tensor]) -> ClassScores:
        """Return logits and probabilities of the class; see `Scorer`."""
        parts = [self._logits(torch.stack(some)) for some in _batches(pictures, self.batch)]
        if not parts:
            return ClassScores(np.zeros(0), np.zeros(0))

        logits = torch.cat(parts)
        probabilities = self.classifier.probabilities(logits)
        return ClassScores(_column(logits, self.index), _column(probabilities, self.index))

    def _logits(self, pictures: Tensor) -> Tensor:
        return self.classifier.run_normalised(pictures, gradients=False).logits.detach()


@dataclass(frozen=True, eq=False)
class Perturbation(Generic[Found]):
    """Changed pictures of one tile, and what is concluded from their scores.

    Attributes
    ----------
    pictures
        Made as they are needed.
    count
        How many there are.
    conclude
        Makes a finding of their scores.
    """

    pictures: Iterable[Tensor]
    count: int
    conclude: Callable[[ClassScores], Found]


def run_all(score: Scorer, perturbations: Sequence[Perturbation[Found]]) -> list[Found]:
    """Return the findings of several perturbations, whose pictures share batches."""
    scores = score(chain.from_iterable(one.pictures for one in perturbations))
    found = []
    start = 0
    for one in perturbations:
        found.append(one.conclude(scores[start : start + one.count]))
        start += one.count
    return found


def _batches(pictures: Iterable[Tensor], size: int) -> Iterator[list[Tensor]]:
    left = iter(pictures)
    while some := list(islice(left, size)):
        yield some


def _column(values: Tensor, index: int) -> NDArray[np.float64]:
    return values[:, index].cpu().numpy().astype(np.float64)


_NEIGHBOURS = (
    ((0, 1), 1 / 6), ((0, -1), 1 / 6), ((1, 0), 1 / 6), ((-1, 0), 1 / 6),
    ((1, 1), 1 / 12), ((1, -1), 1 / 12), ((-1, 1), 1 / 12), ((-1, -1), 1 / 12),
)  # fmt: skip
"""The eight pixels round a pixel (rows, columns), and what each weighs."""


@dataclass(frozen=True)
class CurveSpec:
    """Settings of deletion and insertion.

    Attributes
    ----------
    steps
        Steps from the whole tile to none of it. 28 moved an area by at most 0.0007 against RISE's
        own 224 on tiles of 224 px, at an eighth of the cost. ``rise`` takes as many as the tile has
        rows, so that each step changes as many pixels as a row has.
    baselines
        What takes the place of pixels; each gives a curve of its own, because it decides much of
        the area.
    """

    steps: int | Literal["rise"] = 28
    baselines: tuple[str, ...] = ("zero", "blur")

    def __post_init__(self) -> None:
        check_baselines(self.baselines)
        if self.steps != "rise" and self.steps < 1:
            problem = f"curves of {self.steps} steps cannot be drawn."
            raise UsageError(problem, "Use 1 or more, for example 28.")


@dataclass(frozen=True)
class RoadSpec:
    """Settings of ROAD.

    Attributes
    ----------
    shares
        Shares of the tile's pixels that are taken away, each once from the top of the map and once
        from its bottom.
    noise
        Standard deviation, in the network's units, of what is added to imputed pixels; it hides
        their smoothness.
    """

    shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    noise: float = 0.01

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < share < 1 for share in self.shares):
            problem = f"shares {self.shares} of a tile cannot be taken away."
            raise UsageError(problem, "Use numbers between 0 and 1.")


def ranks(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the place of every pixel in the order of a map (H, W): 0 for the highest.

    Pixels of equal value go row by row from the top left: maps are flat wherever they were cut off
    at 0, and the order there must not be the sort's whim.
    """
    order = np.argsort(-values, axis=None, kind="stable")
    places = np.empty(order.size, np.int64)
    places[order] = np.arange(order.size)
    return places.reshape(values.shape)


@dataclass(frozen=True, eq=False)
class Curve:
    """What became of a class's probability.

    Attributes
    ----------
    fractions
        (steps + 1,): share of the tile's pixels that were changed, 0 to 1.
    values
        (steps + 1,): the class's probability then.
    """

    fractions: NDArray[np.float64]
    values: NDArray[np.float64]

    @property
    def auc(self) -> float:
        """Area under the curve by the trapezoid rule, 0 to 1 as probabilities are."""
        return float(np.trapezoid(self.values, self.fractions))


def curves(
    picture: Tensor,
    baseline: Tensor,
    values: NDArray[np.float32],
    steps: int | Literal["rise"] = 28,
) -> Perturbation[tuple[Curve, Curve]]:
    """Return the question whose finding is (deletion, insertion) of a map on one tile.

    Parameters
    ----------
    picture, baseline
        (C, H, W), normalised: the tile, and what takes its pixels' place.
    values
        (H, W): the map, on the tile's pixels. Ties go row by row from the top left (`ranks`).
    steps
        As in `CurveSpec`.

    Notes
    -----
    Petsiuk et al., *RISE*, BMVC 2018 (arXiv:1806.07421), section 4.1. Deletion replaces pixels by
    the baseline, the most important first, all three colours at once: a small area is good.
    Insertion starts from the baseline and puts the tile's pixels back in the same order: a large
    area is good. RISE's code deletes to zero and inserts into a blur; here each baseline is used
    for both.
    """
    places = torch.from_numpy(ranks(values)).to(picture.device)
    total = values.size
    parts = len(values)
    if steps != "rise":
        parts = min(steps, total)
    counts = [round(step * total / parts) for step in range(parts + 1)]
    fractions = np.asarray(counts) / total

    def pictures() -> Iterator[Tensor]:
        for count in counts:
            yield torch.where(places < count, baseline, picture)
        # Where insertion begins, deletion has ended, and the other way round.
        for count in counts[1:-1]:
            yield torch.where(places < count, picture, baseline)

    def conclude(scores: ClassScores) -> tuple[Curve, Curve]:
        deleted, inserted = (
            scores.probabilities[: parts + 1],
            scores.probabilities[parts + 1 :],
        )
        restored = np.concatenate([deleted[-1:], inserted, deleted[:1]])
        return Curve(fractions, deleted), Curve(fractions, restored)

    return Perturbation(pictures(), 2 * parts, conclude)


def road(
    picture: Tensor,
    values: NDArray[np.float32],
    spec: RoadSpec,
    rng: np.random.Generator,
) -> Perturbation[float]:
    """Return the question whose finding is ROAD's combined score of a map on one tile.

    Large is good.

    Parameters
    ----------
    picture
        (C, H, W), normalised.
    values
        (H, W): the map, on the tile's pixels. Ties go row by row from the top left (`ranks`).
    spec
        What to take away.
    rng
        Draws the noise.

    Notes
    -----
    Rong et al., *A Consistent and Efficient Evaluation Strategy for Attribution Methods*, ICML 2022
    (arXiv:2202.00449). The least relevant pixels are removed and imputed, then the most relevant:
    the score is half the mean difference of the class's probability, ``(LeRF - MoRF) / 2``, as
    pytorch-grad-cam's ``ROADCombined`` has it. Not by that library, because its noise comes from
    torch's global random state, and because it takes away all pixels of equal value together: of a
    map that is 0 on two thirds of the tile, two thirds where a fifth was wanted.
    """
    places, total = ranks(values), values.size
    counts = [round(share * total) for share in spec.shares]

    def pictures() -> Iterator[Tensor]:
        for count in counts:
            yield imputed(picture, places >= total - count, spec.noise, rng)
        for count in counts:
            yield imputed(picture, places < count, spec.noise, rng)

    def conclude(scores: ClassScores) -> float:
        least, most = np.split(scores.probabilities, 2)
        return float((least - most).mean() / 2)

    return Perturbation(pictures(), 2 * len(counts), conclude)


def imputed(
    picture: Tensor,
    removed: NDArray[np.bool_],
    noise: float,
    rng: np.random.Generator,
) -> Tensor:
    """Return a picture (C, H, W), its removed pixels (H, W) filled in by noisy linear imputation.

    Notes
    -----
    Each removed pixel is the weighted mean of its eight neighbours (`_NEIGHBOURS`), removed ones
    included: one sparse linear system for the whole tile, symmetric and positive, with the three
    colours as right-hand sides.
    """
    if removed.all():
        return torch.zeros_like(picture)
    if not removed.any():
        return picture
    colours = picture.cpu().numpy().astype(np.float64)
    matrix, right = _system(removed, colours)
    # Orders for symmetric matrices and no pivoting: half the time, or less, of the solver's
    # defaults.
    factors = splu(
        matrix,
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    found = factors.solve(right).T
    colours[:, removed] = found + noise * rng.standard_normal(found.shape)
    return torch.from_numpy(colours.astype(np.float32)).to(picture.device)


def _system(
    removed: NDArray[np.bool_],
    colours: NDArray[np.float64],
) -> tuple[sparse.csc_array, NDArray[np.float64]]:
    """Return the matrix (N, N) and the right-hand sides (N, C) of the N removed pixels."""
    numbers = np.cumsum(removed).reshape(removed.shape) - 1
    weights, known = np.zeros(removed.shape), np.zeros(colours.shape)
    height, width = removed.shape
    diagonal = np.arange(removed.sum())
    values, rows, columns = [], [], []
    for (down, right), weight in _NEIGHBOURS:
        here = _inside(height, down), _inside(width, right)
        there = _inside(height, -down), _inside(width, -right)
        weights[here] += weight
        known[:, *here] += weight * colours[:, *there] * ~removed[there]
        both = removed[here] & removed[there]
        values.append(np.full(both.sum(), -weight))
        rows.append(numbers[here][both])
        columns.append(numbers[there][both])
    matrix = sparse.csc_array(
        (
            np.concatenate([*values, weights[removed]]),
            (np.concatenate([*rows, diagonal]), np.concatenate([*columns, diagonal])),
        ),
        shape=(len(diagonal),) * 2,
    )
    return matrix, known[:, removed].T.copy()


def _inside(edge: int, step: int) -> slice:
    """Return along one axis the pixels whose neighbour ``step`` pixels on is inside as well."""
    return slice(max(0, -step), edge - max(0, step))
