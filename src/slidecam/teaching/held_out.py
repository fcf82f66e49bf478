"""How well a taught head does on labels that it was not taught: place after place is left out.

Neighbouring tiles look alike, so that leaving single tiles out would measure how well a head
remembers their neighbours. Whole places are left out instead, and intervals draw whole places. Of
one slide or two nothing here says how well the head does on another; of three or more each slide
is left out in turn, which does.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from slidecam.learning.evaluation.evaluation import Evaluation, EvaluationSpec, evaluate_predictions
from slidecam.learning.intervals import IntervalSpec
from slidecam.learning.predictions import Predictions
from slidecam.steps import Step
from slidecam.teaching.head_tuning import tune_head

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from slidecam.teaching.head_tuning import Head, LabelledEmbeddings, TuningSpec


BLOCK = 4
"""Tiles along an edge of the pieces that large places are cut into."""


def places_of(boxes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each tile, (N,), from 0.

    Tiles that touch, in pieces of `BLOCK` x `BLOCK` tiles at most.

    Parameters
    ----------
    boxes
        int64, (N, 4), level-0 pixels, all of one size.
    """
    if not len(boxes):
        return np.zeros(0, np.int64)
    edges = boxes[0, 2:]
    corners = boxes[:, :2] / edges
    # Corners one edge apart along both axes: the tiles touch, at a corner at least.
    pairs = cKDTree(corners).query_pairs(1 + 1e-9, p=np.inf, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(len(boxes), len(boxes)))
    _count, touching = connected_components(graph, directed=False)
    return _numbered(np.concatenate([touching[:, None], _pieces(corners, touching)], axis=1))


def _pieces(corners: NDArray[np.float64], touching: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return which piece of its group of touching tiles each one lies in, (N, 2).

    Pieces are counted from the group's corner.
    """
    first = np.full((touching.max() + 1, 2), np.inf)
    np.minimum.at(first, touching, corners)
    return np.asarray(np.floor((corners - first[touching]) / BLOCK + 1e-9), np.int64)


def _numbered(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    _keys, numbers = np.unique(keys, axis=0, return_inverse=True)
    return np.asarray(numbers.ravel(), np.int64)


LEAST_PLACES, LEAST_OF_A_CLASS = 10, 2
"""Places with labels, and those of each class, below which nothing is measured."""

REPORTED = ("accuracy", "balanced accuracy", "macro F1")

WORDS = (
    "every place was predicted by a head that had learnt from the other places alone; on this"
    " slide, of the tiles that were labelled, which nobody drew by chance"
)


SLIDE_WORDS = (
    "every slide was predicted by a head that had learnt from the other slides alone; of the tiles"
    " that were labelled, which nobody drew by chance"
)

LEAST_SLIDES = 3
"""Slides with labels from which on whole slides are left out, and not places of them."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Figures of the old and the new head on places, or slides, that were left out.

    Attributes
    ----------
    before, after
        Of the old head and of heads taught without the place; of the same tiles.
    places
        How many places there were, or slides.
    of_slides
        Whether whole slides were left out.
    """

    before: Evaluation
    after: Evaluation
    places: int
    of_slides: bool = False

    @property
    def in_words(self) -> str:
        """What was left out, and the accuracy there before and now."""
        figures = [str(one.figures["accuracy"]) for one in (self.before, self.after)]
        accuracy = f"accuracy {figures[0]}, now {figures[1]}"
        if self.of_slides:
            return f"{self.places} slides, each by a head that did not see it: {accuracy}"
        return f"{self.places} places: {accuracy}, on the slides that taught it"

    def record(self) -> dict[str, object]:
        """Return the first figures as JSON values."""
        figures = {
            name: {
                "before": self.before.figures[name].record(),
                "after": self.after.figures[name].record(),
            }
            for name in REPORTED
        }
        kind, how = "places", WORDS
        if self.of_slides:
            kind, how = "slides", SLIDE_WORDS
        facts = {
            "tiles": len(self.after.predictions.labels),
            kind: self.places,
            "counts": dict(self.after.support),
        }
        return {**facts, **figures, "intervals": self.after.method, "how": how}


def too_few(labels: NDArray[np.int64], places: NDArray[np.int64], names: Sequence[str]) -> str:
    """Return a sentence if the labels are too few to leave some out; nothing if they are enough."""
    total = len(np.unique(places))
    of_class = {
        names[label]: len(np.unique(places[labels == label]))
        for label in np.unique(labels).tolist()
    }
    poor = [f"{name} ({count})" for name, count in of_class.items() if count < LEAST_OF_A_CLASS]
    if len(of_class) < 2:  # noqa: PLR2004  (a class and another)
        return "Too few labels to measure: all are of one class."
    if poor:
        fewer = ", ".join(poor)
        need = f"each class needs {LEAST_OF_A_CLASS} places apart, and these have fewer"
        return f"Too few labels to measure: {need}: {fewer}."
    if total < LEAST_PLACES:
        return f"Too few labels to measure: {total} places apart, and it takes {LEAST_PLACES}."
    return ""


def too_few_slides(
    labels: NDArray[np.int64], slides: NDArray[np.int64], names: Sequence[str]
) -> str:
    """Return a sentence if slides cannot be left out; nothing if they can."""
    known = np.unique(labels).tolist()
    alone = [names[label] for label in known if len(np.unique(slides[labels == label])) == 1]
    if len(known) < 2:  # noqa: PLR2004  (a class and another)
        return "Too few labels to measure: all are of one class."
    if alone:
        return f"Slides are not left out: on one slide alone lie labels of {', '.join(alone)}."
    return ""


def leave_places_out(
    old: Head,
    examples: LabelledEmbeddings,
    spec: TuningSpec,
    split: Split,
) -> Generator[Step, None, HeldOut]:
    """Teach a head without each part of the places in turn, and measure it there.

    Parameters
    ----------
    old, examples, spec
        As for `tune_head`.
    split
        Places and parts; `too_few` has nothing against them.
    """
    parts = parts_of(examples.labels, split)
    logits = np.zeros((len(examples.labels), len(old.weight)))
    for part in range(parts.max() + 1):
        out = np.flatnonzero(parts == part)
        head = tune_head(old, examples.part(np.flatnonzero(parts != part)), spec)
        logits[out] = head.logits(examples.features[out])
        yield Step("leaving out", part + 1, int(parts.max()) + 1)
    before, after = (
        _evaluated(values, examples, split) for values in (old.logits(examples.features), logits)
    )
    return HeldOut(before, after, len(np.unique(split.places)))


@dataclass(frozen=True, eq=False)
class Split:
    """How places are left out.

    Attributes
    ----------
    places
        int64, (N,): which place each labelled tile belongs to.
    class_names
        Of all classes, the new ones behind.
    folds
        Parts of about as many places of every class.
    seed
        Of the parts and the intervals.
    """

    places: NDArray[np.int64]
    class_names: tuple[str, ...]
    folds: int = 5
    seed: int = 0


def parts_of(labels: NDArray[np.int64], split: Split) -> NDArray[np.int64]:
    """Return the part that each label is in, (N,).

    Places stay whole, and those of a class are dealt in turn.
    """
    places = np.unique(split.places)
    usual = {place: _most_common(labels[split.places == place]) for place in places.tolist()}
    drawn = np.random.default_rng(split.seed).permutation(places).tolist()
    dealt = sorted(drawn, key=lambda place: usual[place])  # stable: by chance within a class
    parts = np.empty(len(split.places), np.int64)
    for number, place in enumerate(dealt):
        parts[split.places == place] = number % min(split.folds, len(dealt))
    return parts


def _most_common(labels: NDArray[np.int64]) -> int:
    return int(Counter(labels.tolist()).most_common(1)[0][0])


def _evaluated(
    logits: NDArray[np.float64],
    examples: LabelledEmbeddings,
    split: Split,
) -> Evaluation:
    predictions = Predictions(
        labels=examples.labels,
        logits=logits,
        class_names=split.class_names,
        groups=tuple(map(str, split.places.tolist())),
        activation=examples.activation,
        thresholds=examples.thresholds,
        biases=examples.biases,
    )
    return evaluate_predictions(
        predictions, EvaluationSpec(intervals=IntervalSpec(seed=split.seed))
    )
