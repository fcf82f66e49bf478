"""Bundles side by side on the same pictures: figures, curves, and whether they differ.

Every bundle is measured on the pictures that none of them has learnt from. Differences have
intervals by a paired bootstrap, in which each resample is of the same pictures (patients) for both;
McNemar's test looks at the pictures that one of two calls rightly and the other does not.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import t as student
from sklearn.metrics import roc_curve

from slidecam.drawing.charts import add_legend, grid_of, picture_of, plain
from slidecam.drawing.style import LINE, MORE_HUES
from slidecam.errors import DataSetError, UsageError
from slidecam.learning.data.known import learnt_by
from slidecam.learning.evaluation.bundle import (
    BundleEvaluationSpec,
    dataset_to_evaluate,
)
from slidecam.learning.evaluation.classifying import evaluate
from slidecam.learning.evaluation.evaluation import EvaluationSpec
from slidecam.learning.evaluation.report import figure_in_words, write_comparison
from slidecam.learning.intervals import LEVEL, Interval, IntervalSpec, joined
from slidecam.learning.resampling import Resampler, resamples
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray
    from PIL import Image

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.predictions import Predictions
    from slidecam.models.bundle import Bundle

    _Tables = dict[str, Mapping[str, NDArray[np.float64]]]

COMPARED = ("accuracy", "balanced accuracy", "weighted F1", "macro F1", "macro AUC", "NLL")
"""Figures whose differences are looked at."""

PAIRED = "paired bootstrap"
MCNEMAR = (
    "McNemar's exact test: of the pictures that one of two calls rightly and the other does not,"
    " whether as many are one's as the other's. It takes pictures to be independent and is not"
    " adjusted for the number of pairs."
)

PANELS = 6
"""Classes whose curves are drawn at most."""


@dataclass(frozen=True)
class PairedDifference:
    """How two bundles differ on the same pictures.

    Attributes
    ----------
    first, second
        Their names.
    figures
        By name: the second's figure less the first's, and its 95 % interval; None where one has no
        such figure.
    only_first, only_second
        Pictures that one alone calls rightly.
    p
        McNemar's, exact and two-sided.
    """

    first: str
    second: str
    figures: Mapping[str, tuple[float, Interval | None] | None]
    only_first: int
    only_second: int
    p: float

    def row(self) -> dict[str, str]:
        """Return it as a row of a table."""
        row = {"pair": f"{self.second} less {self.first}"}
        for name, found in self.figures.items():
            row[name] = "none"
            if found is not None:
                value, interval = found
                row[name] = f"{value:+.3f}"
                if interval is not None:
                    row[name] += f" ({interval.low:+.3f} to {interval.high:+.3f})"
        row["right alone"] = f"{self.only_second} against {self.only_first}"
        row["McNemar p"] = f"{self.p:.3g}"
        return row

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        figures: dict[str, object] = {}
        for name, found in self.figures.items():
            figures[name] = None
            if found is not None:
                value, interval = found
                ends = None if interval is None else [interval.low, interval.high]
                figures[name] = {"value": value, "ci95": ends, "by": PAIRED}
        counts = {"only first right": self.only_first, "only second right": self.only_second}
        return {
            "first": self.first,
            "second": self.second,
            "second less first": figures,
            "McNemar": {**counts, "p": self.p},
        }


@dataclass(frozen=True, eq=False)
class Comparison:
    """Bundles measured on the same pictures.

    Attributes
    ----------
    evaluations
        By the bundles' names.
    differences
        Of every two.
    notes
        What a careful reader must know, as sentences.
    """

    evaluations: Mapping[str, Evaluation]
    differences: tuple[PairedDifference, ...]
    notes: tuple[str, ...]

    @property
    def test(self) -> str:
        """What the test of calls is, in words."""
        return MCNEMAR

    @property
    def is_whole(self) -> bool:
        """Whether every bundle could classify every picture."""
        return all(each.is_whole for each in self.evaluations.values())

    def rows(self) -> list[dict[str, str]]:
        """Return the bundles' figures as rows of a table."""
        rows: list[dict[str, str]] = []
        for name, found in self.evaluations.items():
            figures = {column: figure_in_words(found.figures[column]) for column in COMPARED}
            rows.append({"bundle": name, "pictures": str(found.pictures), **figures})
        return rows

    def record(self) -> dict[str, object]:
        """Return what ``comparison.json`` holds, as JSON values."""
        bundles: dict[str, object] = {}
        for name, each in self.evaluations.items():
            bundles[name] = each.record()
        return {
            "bundles": bundles,
            "differences": list(map(PairedDifference.record, self.differences)),
            "mcnemar": MCNEMAR,
            "notes": list(self.notes),
        }


def compare_bundles(
    bundles: Sequence[Bundle],
    data: Path,
    device: torch.device,
    spec: BundleEvaluationSpec,
    out: Path | None,
) -> Generator[Step, None, Comparison]:
    """Measure bundles on the labelled pictures that are new to all of them; see the module.

    Raises
    ------
    UsageError
        If they are of different classes, or one is named twice.
    DataSetError
        If no picture is new to all, or one of them cannot be measured there.
    DeviceError, CardError, WeightsError
        If a bundle cannot run there.
    """
    names = _names_of(bundles)
    pictures, notes = yield from _common(dict(zip(names, bundles, strict=True)), data, spec)
    for said in notes:
        yield Step("data", 0, 0, message=said)
    evaluations: dict[str, Evaluation] = {}
    for name, bundle in zip(names, bundles, strict=True):
        settings = EvaluationSpec(
            batch=spec.batch, mapping=spec.mapping or {}, bundle=bundle.digest
        )
        found = yield from evaluate(bundle.classifier(device), pictures, settings)
        evaluations[name] = replace(found, measured="pictures new to all", notes=notes)
    compared = Comparison(evaluations, differences_of(evaluations), notes)
    if out is not None:
        write_comparison(compared, out, data.name, roc_curves(evaluations))
    return compared


def _names_of(bundles: Sequence[Bundle]) -> list[str]:
    """Return what to call bundles: their cards' names, and folders where two have one name."""
    paths: Counter[Path] = Counter()
    cards: Counter[str] = Counter()
    classes: set[frozenset[str]] = set()
    known: list[str] = []
    for bundle in bundles:
        card = bundle.card
        paths[bundle.path.resolve()] += 1
        cards[card.name] += 1
        classes.add(frozenset(card.class_names))
        known.append(f"{card.name} knows {', '.join(card.class_names)}")
    if max(paths.values()) > 1:
        problem = f"{next(iter(paths))} is named more than once."
        raise UsageError(problem, "Name different bundles.")
    if len(classes) > 1:
        raise UsageError(
            f"these bundles are of different classes: {'; '.join(known)}.",
            "Compare those of the same ones.",
        )
    names: list[str] = []
    for bundle in bundles:
        name = bundle.card.name
        if cards[name] > 1:
            name = f"{name} ({bundle.path})"
        names.append(name)
    return names


def _common(
    bundles: Mapping[str, Bundle], data: Path, spec: BundleEvaluationSpec
) -> Generator[Step, None, tuple[PictureSet, tuple[str, ...]]]:
    """Return the pictures that are new to all bundles, and what is to be said of them."""
    notes: dict[str, None] = {}
    first: PictureSet | None = None
    known: set[Path] = set()
    for name, bundle in bundles.items():
        try:
            chosen = yield from dataset_to_evaluate(data, bundle.card, spec, learnt_by(bundle))
        except DataSetError as error:
            problem = f"{name} cannot be measured here: {error.clause}."
            raise DataSetError(problem, error.remedy) from error
        pictures = chosen.dataset.pictures
        notes |= dict.fromkeys((f"{name}: {chosen.measured}.", *pictures.notes))
        if first is None:
            first, known = pictures, set(pictures.paths)
            continue
        known &= set(pictures.paths)
        if first.groups is None and pictures.groups is not None:
            first = pictures
    assert first is not None  # noqa: S101  (for the type checker: there is a bundle)
    rows = [row for row, path in enumerate(first.paths) if path in known]
    if not rows:
        problem = "no picture is new to all of these bundles."
        raise DataSetError(problem, "Measure them on pictures that were kept from all.", data)
    notes |= dict.fromkeys((f"All are measured on the same {len(rows)} pictures, new to each.",))
    return first.rows(rows), tuple(notes)


def differences_of(
    evaluations: Mapping[str, Evaluation], spec: IntervalSpec | None = None
) -> tuple[PairedDifference, ...]:
    """Return how every two of some evaluations of the same pictures differ."""
    predictions = _of_common_pictures(evaluations)
    first = next(iter(predictions.values()))
    members = np.arange(len(first.labels))
    if first.groups is not None:
        _names, members = np.unique(np.array(first.groups), return_inverse=True)
    wholes, drawn = _resampled(predictions, members, spec or IntervalSpec())
    units = int(members.max()) + 1
    found: list[PairedDifference] = []
    for one, other in combinations(predictions, 2):
        figures: dict[str, tuple[float, Interval | None] | None] = {}
        for name in COMPARED:
            value = float(wholes[other][name][0] - wholes[one][name][0])
            figures[name] = None
            if math.isfinite(value):
                spread = drawn[other][name] - drawn[one][name]
                figures[name] = (value, _paired_interval(value, spread, units))
        mine = predictions[one].predicted == predictions[one].labels
        theirs = predictions[other].predicted == predictions[other].labels
        alone = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
        found.append(PairedDifference(one, other, figures, *alone, mcnemar(*alone)))
    return tuple(found)


def _of_common_pictures(evaluations: Mapping[str, Evaluation]) -> dict[str, Predictions]:
    """Return predictions of the pictures that all of them have, in one order."""
    common: set[str] | None = None
    for evaluation in evaluations.values():
        names = set(evaluation.predictions.names)
        common = names if common is None else common & names
    chosen: dict[str, Predictions] = {}
    for name, evaluation in evaluations.items():
        each = evaluation.predictions
        places = dict(zip(each.names, range(len(each.names)), strict=True))
        rows = list(map(places.__getitem__, sorted(common or ())))
        groups = each.groups
        if groups is not None:
            groups = tuple(map(groups.__getitem__, rows))
        chosen[name] = replace(
            each,
            labels=each.labels[rows],
            logits=each.logits[rows],
            names=tuple(map(each.names.__getitem__, rows)),
            groups=groups,
            paths=(),
        )
    return chosen


def _resampled(
    predictions: Mapping[str, Predictions], members: NDArray[np.intp], spec: IntervalSpec
) -> tuple[_Tables, _Tables]:
    """Return each one's figures, and those of the same resamples for all, (R,) by name."""
    wholes: _Tables = {}
    resamplers: dict[str, Resampler] = {}
    chunks: dict[str, list[Mapping[str, NDArray[np.float64]]]] = {}
    every, width = np.ones((1, len(members))), 0
    for name, each in predictions.items():
        resampler = Resampler(
            each.labels,
            each.probabilities,
            each.predicted,
            distributions=each.outputs.are_distributions,
        )
        resamplers[name], chunks[name] = resampler, []
        wholes[name] = resampler.figures(every).figures
        width = max(width, resampler.width)
    for weights in resamples(members, spec.resamples, spec.seed, width):
        for name, resampler in resamplers.items():
            chunks[name].append(resampler.figures(weights).figures)
    drawn: _Tables = {}
    for name, parts in chunks.items():
        drawn[name] = joined(parts)
    return wholes, drawn


def _paired_interval(value: float, resampled: NDArray[np.float64], units: int) -> Interval | None:
    """Return a difference's 95 % interval by the spread of resamples of G units.

    They show (G - 1) / G of the variance, with G - 1 degrees of freedom.
    """
    known = resampled[np.isfinite(resampled)]
    if units < 2 or len(known) < 2:  # noqa: PLR2004  (one alone has no spread)
        return None
    free = units - 1
    reach = student.ppf((1 + LEVEL) / 2, free) * known.std(ddof=1) * (1 + 1 / free) ** 0.5
    return Interval(float(value - reach), float(value + reach), PAIRED)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (Psychometrika 12, 1947).

    Twice the chance that of so many pictures, each of which falls to one side as to the other, the
    fewer side gets no more than it has; 1 at most.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    tail = 0
    for count in range(fewer + 1):
        tail += math.comb(total, count)
    return min(1.0, float(2 * tail / 2**total))


def roc_curves(evaluations: Mapping[str, Evaluation]) -> Image.Image | None:
    """Return the ROC curves of all bundles in one plot, a panel for each class.

    Of two classes the second alone, as the first's is the same; None where no class has both
    pictures of its own and others.
    """
    first = next(iter(evaluations.values()))
    names = [
        name for name, count in first.support.items() if 0 < count < sum(first.support.values())
    ]
    if len(first.support) == 2:  # noqa: PLR2004  (a class and its absence)
        names = names[1:]
    names = names[:PANELS]
    if not names:
        return None
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, grid = grid_of(lines, columns, 4.6 * columns + 1.0, 4.4 * lines)
    for axes, name in zip(grid, names, strict=False):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        for place, (title, evaluation) in enumerate(evaluations.items()):
            predictions = evaluation.predictions
            index = predictions.class_names.index(name)
            scores = predictions.probabilities[:, index]
            false, true, _ = roc_curve(predictions.labels == index, scores)
            area = evaluation.per_class[name]["AUC"].value or 0.0
            color = MORE_HUES[place % len(MORE_HUES)]
            axes.plot(false, true, color=color, label=f"{plain(title)}: {area:.3f}")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=plain(name))
        add_legend(axes, "lower right", "AUC")
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    return picture_of(figure)
