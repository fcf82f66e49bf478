"""An evaluation on disk: a record for programs, a table of all pictures, and a page to read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from slidecam.drawing.pen import stacked_bars
from slidecam.drawing.style import BLUE, GREEN, ORANGE
from slidecam.files import replacing, write_csv, write_json
from slidecam.learning.data.picture_files import some
from slidecam.learning.evaluation import plots as draw
from slidecam.learning.evaluation.figures import FIGURES
from slidecam.learning.metrics import CLASS_DEFINITIONS
from slidecam.learning.predictions import Predictions, doubtful_labels, group_count
from slidecam.learning.published import Published
from slidecam.pages import picture_uri, write_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from PIL import Image

    from slidecam.learning.data.picture_files import Part
    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.evaluation.figures import Figure


RECORD, TABLE, PAGE = "evaluation.json", "predictions.csv", "evaluation.html"
FIGURE_FOLDER = "figures"

DOUBTFUL = "doubtful_labels.csv"
"""Of a cross-validation: pictures whose labels are likely wrong."""

HEADLINES = ("accuracy", "balanced accuracy", "weighted F1", "macro AUC")
"""The figures that come first."""

LISTED = 50
"""Unreadable pictures that the page names; the record names all."""


@dataclass(frozen=True)
class Background:
    """What the report tells beside the figures.

    Attributes
    ----------
    title
        What was measured: the classifier's name.
    data
        On what: ``test part of brain_tumor_mri``.
    facts
        Label and value of each further fact: how the data were split, how many duplicates were
        found and what became of them.
    notes
        Warnings, as sentences: what a careful reader must know.
    history
        The training's rows, for the learning curve; see `figures.learning_curve`.
    counts
        How many pictures of the data each part has of each class, for a chart; nothing for none.
    published
        What others reported of the same kind of classifier; None where nothing is known.
    """

    title: str = "Evaluation"
    data: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    history: Sequence[Mapping[str, Any]] = ()
    counts: Mapping[Part, Mapping[str, int]] = field(default_factory=dict)
    published: Published | None = None


@dataclass(frozen=True)
class _Line:
    """One figure as the page tells it."""

    name: str
    meaning: str
    value: str
    interval: str
    spread: str
    note: str
    published: str = ""


def write_evaluation(
    evaluation: Evaluation,
    folder: Path,
    background: Background | None = None,
) -> None:
    """Write what is to be kept of an evaluation.

    Parameters
    ----------
    evaluation
        Of a classifier, or of a cross-validation's pooled folds.
    folder
        Gets ``evaluation.json``, ``predictions.csv``, ``evaluation.html`` and ``figures/*.png``;
        what is there under these names is replaced, each file whole.
    background
        What the page tells beside the figures; None for nothing.
    """
    background = background or Background()
    pictures = _pictures(evaluation, background)
    for name, picture in pictures.items():
        with replacing(folder / FIGURE_FOLDER / f"{name}.png") as fresh:
            picture.save(fresh, format="PNG")
    write_predictions(evaluation, folder / TABLE)
    _write_page(evaluation, folder / PAGE, background, pictures)
    write_record(evaluation, folder / RECORD)


def write_record(evaluation: Evaluation, path: Path) -> None:
    """Write `Evaluation.record` as JSON."""
    write_json(path, evaluation.record())


def write_predictions(evaluation: Evaluation, path: Path) -> None:
    """Write a row for each picture.

    Path, true, predicted, group where known, and ``prob_<class>`` of each class, or
    ``score_<class>`` of each output that is a raw score.
    """
    write_csv(path, _rows(evaluation.predictions))


def write_doubtful_labels(predictions: Predictions, path: Path) -> tuple[str, ...]:
    """Write the pictures whose labels are likely wrong as a table; return what is to be said.

    No table and no sentence where there are none.
    """
    found = doubtful_labels(predictions)
    if not found:
        return ()
    rows: list[list[object]] = [["path", "label", "likelier", "prob_label", "prob_likelier"]]
    shown: list[str] = []
    for each in found:
        rows.append([each.name, each.label, each.likelier, each.own, each.other])
        shown.append(f"{each.name} ({each.label}, likelier {each.likelier})")
    write_csv(path, rows)
    said = "Labels that are likely wrong, by predictions of networks without the picture"
    return (f"{said} ({len(found)}): {some(shown)}. Look at them; {path.name} lists all.",)


def _rows(predictions: Predictions) -> Iterator[list[str]]:
    names, groups = predictions.class_names, predictions.groups
    heading = ["path", "true", "predicted"]
    if groups:
        heading.append("group")
    columns = predictions.columns
    yield [*heading, *columns]
    for place in range(len(predictions.labels)):
        true = names[predictions.labels[place]]
        row = [predictions.titles[place], true, predictions.predicted_name(place)]
        if groups:
            row.append(groups[place])
        yield row + [f"{values[place]:.6g}" for values in columns.values()]


def _pictures(evaluation: Evaluation, background: Background) -> dict[str, Image.Image]:
    made = {
        "confusion": draw.confusion_figure(evaluation),
        "roc": draw.roc_figure(evaluation),
        "reliability": draw.reliability_figure(evaluation),
        "probabilities": draw.probability_figure(evaluation),
        "data": _data_figure(background.counts),
        "learning": draw.learning_curve(background.history),
        "worst": draw.worst_pictures(evaluation),
    }
    return {name: picture for name, picture in made.items() if picture is not None}


def _data_figure(counts: Mapping[Part, Mapping[str, int]]) -> Image.Image | None:
    """Return how many pictures there are of each class, part by part; None where nobody counted."""
    if not counts:
        return None
    classes = [*next(iter(counts.values()))]
    series: dict[str, list[int]] = {}
    for part, each in counts.items():
        series[part or "all"] = [each[name] for name in classes]
    colors = (ORANGE, BLUE, GREEN)[: len(series)]
    return stacked_bars(classes, series, colors, "Pictures of each class", "pictures")


def _write_page(
    evaluation: Evaluation,
    path: Path,
    background: Background,
    pictures: Mapping[str, Image.Image],
) -> None:
    predictions = evaluation.predictions
    lines, published = [], background.published or Published()
    for name, figure in evaluation.figures.items():
        line = _line(name, figure, FIGURES[name], _spread(evaluation, name))
        lines.append(replace(line, published=published.shown(name)))
    classes = []
    for name, figures in evaluation.per_class.items():
        cells = [_line(key, figure) for key, figure in figures.items()]
        classes.append((name, evaluation.support[name], cells))
    images = {}
    for name, picture in pictures.items():
        images[name] = picture_uri(picture, exact=name != "worst")
    write_page(
        "evaluation",
        path,
        background=background,
        published=background.published,
        headlines=[line for line in lines if line.name in HEADLINES],
        lines=lines,
        classes=classes,
        class_definitions=CLASS_DEFINITIONS,
        method=evaluation.method,
        folds=max((len(spread.values) for spread in evaluation.folds.values()), default=0),
        pictures=evaluation.pictures,
        groups=group_count(predictions.groups),
        failures=evaluation.failures,
        remedy=evaluation.remedy,
        listed=LISTED,
        calibration=predictions.outputs.calibration,
        bundle=evaluation.bundle,
        digest=evaluation.data_digest,
        images=images,
        record=RECORD,
        table=TABLE,
    )


def _line(
    name: str,
    figure: Figure,
    meaning: str = "",
    spread: str = "",
) -> _Line:
    value = interval = ""
    if figure.value is not None:
        value = f"{figure.value:.3f}"
    if figure.interval is not None:
        interval = f"{figure.interval} ({figure.interval.method})"
    return _Line(name, meaning, value, interval, spread, figure.note)


def _spread(evaluation: Evaluation, name: str) -> str:
    spread = evaluation.folds.get(name)
    if spread is None or spread.mean is None:
        return ""
    if spread.sd is None:
        return f"{spread.mean:.3f}"
    return f"{spread.mean:.3f} ± {spread.sd:.3f}"
