"""The classes of a classifier: how they are named, and which of them are called.

The one home of what an output means. Every door asks `ClassSet`: tables, legends, captions, figures
of an evaluation. A class is called, of outputs that

- exclude each other (``softmax``): if it is the largest, where a class's bias does not count;
- stand for themselves (``sigmoid``): if it is at least the class's threshold, so that none, one or
  several are called;
- are raw scores (``none``): if it is the largest of several, or the only one and at least its
  threshold.

Of equal outputs the one with the lowest index is the largest. What is not a number calls nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np

from slidecam.class_names import NONE_CALLED, TAKEN, doubled_name, normal_name, taken_name
from slidecam.drawing.style import default_colors
from slidecam.errors import UsageError
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from scipy import special

    from slidecam.pixels import RGB
else:
    special = deferred("scipy.special")

Activation = Literal["softmax", "sigmoid", "none"]
"""What turns logits into probabilities; ``none``: outputs stay raw scores."""

CALLED_FROM = 0.5
"""Output from which a class that stands for itself is called, unless its card says another."""

NO_CLASS = -1
"""Index of the winner where no class is called."""

NONE_COLOR = (206, 208, 212)
"""Of a row of tiles of no class."""

SEVERAL_CALLED = (
    "a tile may be called several classes, so that shares may add up to more than 100 %"
)
"""What is said beside counts and shares of classes that stand for themselves."""

_BYTE = 256
"""Values of one colour component."""


@dataclass(frozen=True)
class ClassSet:
    """The classes of one classifier, in the order of its outputs.

    Attributes
    ----------
    names
        One of its own for each class, in NFC whatever it is made of.
    activation
        What turns logits into probabilities.
    colors
        One for each class; empty for `default_colors`.
    thresholds
        Output from which each class is called; empty for `CALLED_FROM` each. It counts only where
        a class stands for itself (`has_thresholds`).
    temperature, biases
        What logits are divided by, and then added, before the activation; empty for no biases. Raw
        scores are left as they are. Biases make probabilities of a network that was taught as if
        classes were equally frequent; they change no call.
    calibrated_on
        Pictures that both were fitted on; 0 where it is not known.

    Raises
    ------
    UsageError
        If there is no class, two share a name, or colours or thresholds do not fit.
    """

    names: tuple[str, ...]
    activation: Activation = "softmax"
    colors: tuple[RGB, ...] = ()
    thresholds: tuple[float, ...] = ()
    temperature: float = 1.0
    biases: tuple[float, ...] = ()
    calibrated_on: int = 0

    def __post_init__(self) -> None:
        count = len(self.names)
        object.__setattr__(self, "names", tuple(map(normal_name, self.names)))
        object.__setattr__(self, "colors", self.colors or default_colors(count))
        object.__setattr__(self, "thresholds", self.thresholds or (CALLED_FROM,) * count)
        _check_names(self.names)
        _check_colors(self.names, self.colors)
        _check_thresholds(self.names, self.thresholds)
        if self.activation not in get_args(Activation):
            raise UsageError(
                f"There is no activation {self.activation!r}.",
                f"Use one of {', '.join(get_args(Activation))}.",
            )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> ClassSet:
        """Return the classes of a ``record`` as it was made before, by whatever version.

        Records that do not know thresholds or a temperature have those of their time: `CALLED_FROM`
        and 1.
        """
        colors = record.get("class_colors") or ()
        return cls(
            names=tuple(map(str, record["class_names"])),
            activation=cast("Activation", str(record["activation"])),  # checked when it is made
            colors=tuple((int(red), int(green), int(blue)) for red, green, blue in colors),
            thresholds=tuple(map(float, record.get("thresholds") or ())),
            temperature=float(record.get("temperature", 1.0)),
            biases=tuple(map(float, record.get("class_biases") or ())),
            calibrated_on=int(record.get("calibrated_on", 0)),
        )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_thresholds(self) -> bool:
        """Whether a class is called by its threshold, and not for being the largest."""
        return self.activation == "sigmoid" or len(self) == 1

    @property
    def are_probabilities(self) -> bool:
        """Whether its outputs are probabilities; else raw scores, of whatever scale."""
        return self.activation != "none"

    @property
    def are_distributions(self) -> bool:
        """Whether each row sums to one, with the absence of a single class, by its making."""
        return self.activation == "softmax" or (self.are_probabilities and len(self) == 1)

    @property
    def output_word(self) -> str:
        """What one output is, in a word."""
        if self.are_probabilities:
            return "probability"
        return "score"

    @property
    def may_be_several(self) -> bool:
        """Whether one tile may be called several classes."""
        return self.has_thresholds and len(self) > 1

    @property
    def rule(self) -> str:
        """When a class is called, in words: ``the largest``, ``from 0.9 (a), 0.4 (b)``."""
        if self.biases:
            weights = zip(self._weights.tolist(), self.names, strict=True)
            words = (f"{weight:.2g} ({name})" for weight, name in weights)
            return f"the largest times {', '.join(words)}"
        if not self.has_thresholds:
            return "the largest"
        if len(set(self.thresholds)) == 1:
            return f"from {self.thresholds[0]:g}"
        pairs = zip(self.thresholds, self.names, strict=True)
        return "from " + ", ".join(f"{threshold:g} ({name})" for threshold, name in pairs)

    def grown_biases(self, count: int) -> tuple[float, ...]:
        """Return a card's biases with ``count`` classes more, which have none."""
        if not self.biases:
            return ()
        return (*self.biases, *(0.0,) * count)

    def grown_thresholds(self, count: int) -> tuple[float, ...]:
        """Return a card's thresholds with ``count`` classes more, called from `CALLED_FROM`.

        Nothing where that is so of all, or the largest is called.
        """
        if not self.has_thresholds or set(self.thresholds) == {CALLED_FROM}:
            return ()
        return (*self.thresholds, *(CALLED_FROM,) * count)

    @property
    def calibration(self) -> str:
        """Whether the probabilities were calibrated, in words."""
        if not self.are_probabilities:
            return "no probabilities"
        if self.temperature == 1 and not self.biases:
            return "not calibrated"
        words = [f"T = {self.temperature:.3g}"]
        if self.biases:
            words.append("a bias for each class, which changes no call")
        if self.calibrated_on:
            words.append(f"on {self.calibrated_on} pictures")
        return f"calibrated ({', '.join(words)})"

    @property
    def values(self) -> str:
        """What the outputs are, in words: ``probabilities not calibrated``."""
        if not self.are_probabilities:
            return f"scores, {self.calibration}"
        return f"probabilities {self.calibration}"

    @property
    def record(self) -> dict[str, Any]:
        """As JSON values, for a run's record; thresholds only where they count."""
        record: dict[str, Any] = {
            "temperature": self.temperature,
            "probabilities": self.calibration,
            "activation": self.activation,
            "class_names": list(self.names),
            "class_colors": [list(color) for color in self.colors],
        }
        if self.has_thresholds:
            record["thresholds"] = list(self.thresholds)
        if self.biases:
            record["class_biases"] = list(self.biases)
        if self.calibrated_on:
            record["calibrated_on"] = self.calibrated_on
        return record

    def index(self, name: str) -> int:
        """Return the place of a class in whatever spelling; ValueError if there is none."""
        return self.names.index(normal_name(name))

    def __contains__(self, name: str) -> bool:
        """Whether there is a class of this name, in whatever spelling."""
        return normal_name(name) in self.names

    def probabilities(self, logits: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return what logits (n, K) become: probabilities, or the scores that they are.

        With the activation ``none`` they are the logits themselves, whatever their scale.
        """
        return probabilities_of(logits, self.activation, self.temperature, self.biases)

    def called(self, probabilities: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Return which classes are called: none, one or several of each row.

        Parameters
        ----------
        probabilities
            (n, K), as `probabilities` makes them. They are compared in float32, as runs keep them,
            so that a run that is read again calls what was called before.

        Returns
        -------
        ndarray
            bool, (n, K).
        """
        values = np.asarray(probabilities, np.float32)
        known = np.isfinite(values).all(axis=1, keepdims=True)
        if self.has_thresholds:
            return np.asarray(known & (values >= np.array(self.thresholds, np.float32)))
        best = np.argmax(np.where(known, values * self._weights, 0), axis=1)
        return np.asarray(known & (np.arange(len(self)) == best[:, None]))

    @property
    def _weights(self) -> NDArray[np.float32]:
        """What takes the biases out of probabilities again, (K,), but for what all have in common.

        A probability is ``exp(logit / temperature + bias)``, over a sum.
        """
        weights: NDArray[np.float32] = np.exp(
            -np.array(self.biases or (0.0,) * len(self), np.float32)
        )
        return weights

    def winners(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the most probable of each row's called classes, int64, (n,).

        `NO_CLASS` where none is called; ``probabilities`` are (n, K).
        """
        called = self.called(probabilities)
        values = np.where(called, np.asarray(probabilities, np.float32), -np.inf)
        return np.where(called.any(axis=1), np.argmax(values, axis=1), NO_CLASS)

    def foremost(self, probabilities: Sequence[float]) -> int:
        """Return the class of one row that is looked at first: its winner, else its largest."""
        row = np.asarray([probabilities], np.float32)
        winner = int(self.winners(row)[0])
        if winner != NO_CLASS:
            return winner
        return int(np.nan_to_num(row[0], nan=-np.inf).argmax())

    def called_names(self, probabilities: Sequence[float]) -> tuple[str, ...]:
        """Return the names of the classes that one row calls, the most probable first."""
        row = np.asarray([probabilities], np.float32)
        places = np.flatnonzero(self.called(row)[0])
        order = np.argsort(-row[0, places], kind="stable")
        return tuple(self.names[place] for place in places[order].tolist())

    def call(self, probabilities: Sequence[float]) -> str:
        """Return what one row calls, in words: all classes, or that it is none."""
        called = self.called_names(probabilities)
        if called:
            return " + ".join(called)
        if len(self) == 1:
            return f"not {self.names[0]}"
        return NONE_CALLED

    def caption(self, probabilities: Sequence[float]) -> str:
        """Return what one row calls and how probable that is, as it stands under a picture.

        ``tumour, 97.1 %``; ``not tumour (2.9 %)`` of one output; ``none called (tumour 2.9 %)`` of
        several that stand for themselves.
        """
        first = self.foremost(probabilities)
        value, called = (
            self.share(probabilities[first]),
            self.called_names(probabilities),
        )
        if len(called) > 1:
            places = map(self.names.index, called)
            return " + ".join(
                f"{self.names[place]} {self.share(probabilities[place])}" for place in places
            )
        if called:
            return f"{called[0]}, {value}"
        if len(self) > 1:
            value = f"{self.names[first]} {value}"
        return f"{self.call(probabilities)} ({value})"

    def share(self, value: float) -> str:
        """Return one probability in words: per cent, or a raw score as it is."""
        if not self.are_probabilities:
            return f"{value:.3f}"
        return f"{100 * value:.1f} %"

    def label_names(self, absence: str = "") -> tuple[str, ...]:
        """Return what labelled data can be of: the classes, or of one its absence and itself.

        ``absence`` names what is not the only class; nothing for ``not`` and its name.
        """
        if len(self) > 1:
            return self.names
        return (absence or f"not {self.names[0]}", self.names[0])

    def labels(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return what each row is called, as places among `label_names`, int64, (n,).

        `NO_CLASS` where none of several classes is called; of one, its absence.
        """
        winners = self.winners(probabilities)
        if len(self) == 1:
            return winners + 1
        return winners


def probabilities_of(
    logits: NDArray[np.floating],
    activation: Activation = "softmax",
    temperature: float = 1.0,
    biases: Sequence[float] = (),
) -> NDArray[np.float64]:
    """Return the probabilities (n, K) of logits (n, K), as a classifier's card makes them.

    With the activation ``none`` they are the logits themselves: scores, whatever their scale.
    """
    values = np.asarray(logits, np.float64)
    if activation == "none":
        return values
    cooled = values / temperature + np.array(biases or 0.0)
    if activation == "softmax":
        return np.asarray(special.softmax(cooled, axis=1))
    return np.asarray(special.expit(cooled))


def _check_names(names: tuple[str, ...]) -> None:
    if not names or doubled_name(names) is not None:
        raise UsageError(
            f"The classes are named {list(names)}.", "Give each class a name of its own."
        )
    if (taken := taken_name(names)) is not None:
        raise UsageError(f"A class is named {taken!r}, {TAKEN}.", "Name it otherwise.")


def _check_colors(names: tuple[str, ...], colors: tuple[RGB, ...]) -> None:
    in_range = all(0 <= value < _BYTE for value in chain.from_iterable(colors))
    if len(colors) != len(names) or not in_range:
        raise UsageError(
            f"The classes {list(names)} have the colours {list(colors)}.",
            "Give each class one colour of three values from 0 to 255.",
        )


def _check_thresholds(names: tuple[str, ...], thresholds: tuple[float, ...]) -> None:
    if len(thresholds) != len(names) or not np.isfinite(thresholds).all():
        raise UsageError(
            f"The classes {list(names)} have the thresholds {list(thresholds)}.",
            "Give each class one number.",
        )
