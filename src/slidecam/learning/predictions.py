"""What a classifier said of labelled pictures, wherever it said it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from slidecam.classes import NO_CLASS, Activation, ClassSet, probabilities_of
from slidecam.drawing.style import default_colors
from slidecam.errors import DataSetError
from slidecam.learning.calibration import two_columns
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.pixels import RGB


Item = TypeVar("Item")


def group_count(groups: Sequence[str] | None) -> int | None:
    """Return how many patients or slides there are; None where nobody knows."""
    if groups is None:
        return None
    return len(set(groups))


COMPARED = "the most probable called class is compared with the one label of each picture"
"""What is said where a picture may be called several classes."""


@dataclass(frozen=True)
class UnreadPicture:
    """A picture that could not be classified: its name, the reason, and what to do about it."""

    name: str
    reason: str
    remedy: str = ""

    def record(self) -> dict[str, str]:
        """Return it as JSON values."""
        said = {"path": self.name, "reason": self.reason}
        if self.remedy:
            said["remedy"] = self.remedy
        return said


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier said of labelled pictures.

    Attributes
    ----------
    labels
        True classes, int64, (N,).
    logits
        (N, K); (N, 1) of a classifier of one logit, with two class names: of its absence, and its
        own.
    class_names
        K of them, at least 2.
    names
        What each picture is called in tables; empty where they have no names.
    groups
        Patient or slide of each picture; None where every picture is its own.
    activation, temperature, thresholds, biases, calibrated_on
        The card's: what makes probabilities of logits, and from where a class is called.
    paths
        Where the pictures lie; empty where they are no files of their own (tiles of a slide, nodes
        of a graph).
    class_colors
        For the figures; empty for the default palette.
    seen
        Which picture of each file in ``paths`` it is, and in which colours.
    """

    labels: NDArray[np.int64]
    logits: NDArray[np.floating]
    class_names: tuple[str, ...]
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    activation: Activation = "softmax"
    temperature: float = 1.0
    paths: tuple[Path, ...] = ()
    class_colors: tuple[RGB, ...] = ()
    thresholds: tuple[float, ...] = ()
    seen: PictureView = AS_THE_FILE_SAYS
    biases: tuple[float, ...] = ()
    calibrated_on: int = 0

    def __post_init__(self) -> None:
        labels = len(self.labels)
        # Names, groups and paths may be left out.
        counts = {
            "names": len(self.names) or labels,
            "groups": len(self.groups or ()) or labels,
            "paths": len(self.paths) or labels,
            "logits": len(self.logits),
        }
        for key, count in counts.items():
            if count != labels:
                raise DataSetError(
                    f"There are {labels} labels and {count} {key}.",
                    "Give one for each picture.",
                )
        if len(self.class_colors) != len(self.class_names):
            object.__setattr__(self, "class_colors", default_colors(len(self.class_names)))

    @cached_property
    def titles(self) -> tuple[str, ...]:
        """Their names, or their numbers from 1."""
        return self.names or tuple(map(str, range(1, len(self.labels) + 1)))

    @cached_property
    def outputs(self) -> ClassSet:
        """What the classifier's outputs are: one of one logit, else a class for each."""
        return ClassSet(
            self.class_names[-self.logits.shape[1] :],
            self.activation,
            thresholds=self.thresholds,
            temperature=self.temperature,
            biases=self.biases,
            calibrated_on=self.calibrated_on,
        )

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each class, (N, K); raw scores where `outputs` says that they are none."""
        return self._probabilities(self.temperature, self.biases)

    @cached_property
    def uncalibrated(self) -> NDArray[np.float64] | None:
        """What they were before calibration, (N, K); None where there was none."""
        if self.temperature == 1 and not self.biases:
            return None
        return self._probabilities(1.0, ())

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """What each picture is called, (N,): the most probable of its classes, -1 for none."""
        return self.outputs.labels(self.outputs.probabilities(self.logits))

    @property
    def several_words(self) -> str:
        """How many pictures are called several classes, and what then counts; or nothing."""
        if self.called_several is None:
            return ""
        return f"{self.called_several} ({COMPARED})"

    @property
    def called_several(self) -> int | None:
        """How many pictures are called several classes; None where none can be."""
        if not self.outputs.may_be_several:
            return None
        called = self.outputs.called(self.outputs.probabilities(self.logits))
        return int((called.sum(axis=1) > 1).sum())

    @cached_property
    def true_outputs(self) -> NDArray[np.float64]:
        """What speaks for each picture's true class, (N,): the lower, the more wrong it is."""
        true = self.probabilities[np.arange(len(self.labels)), self.labels]
        if self._is_one_score:
            # Both ways alike from where the class is called.
            threshold = self.outputs.thresholds[0]
            return true - np.where(self.labels == 1, threshold, -threshold)
        return true

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """What a table keeps of every picture, (N,), by its heading.

        Raw scores as they are: of a single one there is none of its absence.
        """
        names, values = self.class_names, self.probabilities
        if self._is_one_score:
            names, values = names[1:], values[:, 1:]
        prefix = "prob"
        if not self.outputs.are_probabilities:
            prefix = "score"
        return {f"{prefix}_{name}": values[:, place] for place, name in enumerate(names)}

    @property
    def _is_one_score(self) -> bool:
        return len(self.outputs) == 1 and not self.outputs.are_probabilities

    def predicted_name(self, row: int) -> str:
        """Return the name of what a picture is called; nothing where it is called none."""
        place = int(self.predicted[row])
        if place == NO_CLASS:
            return ""
        return self.class_names[place]

    def _probabilities(self, temperature: float, biases: tuple[float, ...]) -> NDArray[np.float64]:
        """Return (N, K); a single raw score ranks its absence by its negative."""
        if self._is_one_score:
            return np.concatenate([-self.logits, self.logits], axis=1, dtype=np.float64)
        if self.logits.shape[1] == 1:
            return probabilities_of(two_columns(self.logits), "softmax", temperature)
        return probabilities_of(self.logits, self.activation, temperature, biases)


def pool_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of several networks as one's, calibrated as each of them was.

    Raises
    ------
    DataSetError
        If there is none, or they have different classes.
    """
    if not parts or len({part.class_names for part in parts}) > 1:
        raise DataSetError(
            "the folds have different classes, or there is none.", "Pool folds of one data set."
        )
    biases = [part.biases or (0.0,) * part.logits.shape[1] for part in parts]
    # What they have in common stays a bias: it changes no call.
    common = np.mean(biases, axis=0)
    kept: tuple[float, ...] = ()
    if common.any():
        kept = tuple(common.tolist())
    logits = []
    for part, own in zip(parts, biases, strict=True):
        logits.append(part.logits / part.temperature + (np.array(own) - common))
    return replace(
        parts[0],
        labels=np.concatenate([part.labels for part in parts]),
        logits=np.concatenate(logits),
        names=_joined(part.names for part in parts),
        groups=_pooled_groups(parts),
        temperature=1.0,
        biases=kept,
        calibrated_on=0,
        paths=_joined(part.paths for part in parts),
    )


def _joined(parts: Iterable[tuple[Item, ...]]) -> tuple[Item, ...]:
    """Return all parts in a row, or nothing if one of them is empty."""
    found = tuple(parts)
    if all(found):
        return tuple(chain.from_iterable(found))
    return ()


def _pooled_groups(parts: Sequence[Predictions]) -> tuple[str, ...] | None:
    """Return the patients or slides.

    Where they are not known, the pictures, if one is tested more than once.
    """
    groups = _joined(part.groups or () for part in parts)
    if groups:
        return groups
    names = _joined(part.names for part in parts)
    if len(names) > len(set(names)):
        return names
    return None


@dataclass(frozen=True)
class DoubtfulLabel:
    """A picture whose label is likely wrong: its name, its label, what it is likelier, and both."""

    name: str
    label: str
    likelier: str
    own: float
    other: float


def doubtful_labels(predictions: Predictions) -> list[DoubtfulLabel]:
    """Return pictures whose labels are likely wrong, the likeliest first.

    By confident learning (Northcutt et al., JAIR 2021): a class is confidently another picture's
    where its probability reaches the mean that the class has among its own. Predictions must be of
    networks that have not learnt from the picture; several of one picture are averaged. Nothing
    where the outputs are no distributions.
    """
    if not predictions.outputs.are_distributions or not predictions.names:
        return []
    names, first, members = np.unique(
        np.array(predictions.names), return_index=True, return_inverse=True
    )
    means = np.zeros((len(names), len(predictions.class_names)))
    np.add.at(means, members, predictions.probabilities)
    means /= np.bincount(members)[:, None]
    labels = predictions.labels[first]
    confident = np.full(len(predictions.class_names), np.inf)
    for label in np.unique(labels):
        confident[label] = means[labels == label, label].mean()
    found: list[DoubtfulLabel] = []
    for name, label, row in zip(names.tolist(), labels.tolist(), means, strict=True):
        likeliest = int(np.argmax(np.where(row >= confident, row, -1.0)))
        if likeliest != label and row[likeliest] >= confident[likeliest]:
            own, other = float(row[label]), float(row[likeliest])
            names_of = predictions.class_names
            found.append(DoubtfulLabel(name, names_of[label], names_of[likeliest], own, other))
    return sorted(found, key=lambda each: each.own - each.other)
