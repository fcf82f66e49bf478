"""What a classifier is fine-tuned on, and how.

Labelled tiles as examples for its last layer, and the notes on them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.class_names import normal_name
from slidecam.errors import DataSetError, RunMismatchError, UsageError
from slidecam.foreground import LabelRule
from slidecam.teaching.head_tuning import Head, LabelledEmbeddings, TuningSpec
from slidecam.teaching.held_out import places_of
from slidecam.teaching.labelling import LabelledTiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.geojson import Annotation
    from slidecam.models import Card
    from slidecam.pixels import RGB
    from slidecam.runs import Run
    from slidecam.teaching.corrections import Corrections
    from slidecam.teaching.embedding import Features, TunableClassifier


@dataclass(frozen=True)
class FineTuneSpec:
    """How a classifier is taught.

    Attributes
    ----------
    rule, renamed
        As for `label_tiles`.
    new_classes
        Classes that may be added to the classifier's; None for all that were drawn or said.
    colors
        Of new classes, by name.
    name
        Of the new classifier; None for the old one's with the slide's.
    head
        How hard the old head holds.
    rehearsed
        Other tiles of the slide that hold the head where it is, drawn by ``seed``.
    folds, seed
        Parts in which places are left out to measure, and the seed of all chance.
    beside
        Whether corrections beside the run are taken where none are named.
    device
        Where tiles are embedded.
    trust
        Whether a bundle that can run code may be loaded.
    """

    rule: LabelRule = field(default_factory=LabelRule)
    renamed: Mapping[str, str] = field(default_factory=dict)
    new_classes: tuple[str, ...] | None = None
    colors: Mapping[str, RGB] = field(default_factory=dict)
    name: str | None = None
    head: TuningSpec = field(default_factory=TuningSpec)
    rehearsed: int = 256
    folds: int = 5
    seed: int = 0
    beside: bool = True
    device: str = "auto"
    trust: bool = False

    def __post_init__(self) -> None:
        for name, value, low in (
            ("rehearsed", self.rehearsed, 0),
            ("folds", self.folds, 2),
            ("seed", self.seed, 0),
        ):
            if value < low:
                raise UsageError(f"The {name} {value} is out of range.", f"Pass {low} or more.")


@dataclass(frozen=True, eq=False)
class TaughtRun:
    """What was drawn and said of one slide.

    Attributes
    ----------
    run
        Whose tiles.
    annotations, corrections
        As for `label_tiles`.
    """

    run: Run
    annotations: Path | Sequence[Annotation] | None = None
    corrections: Corrections | Path | None = None


def refuse_other_models(runs: Sequence[Run]) -> None:
    """Refuse runs of several classifiers: one of them is taught."""
    for other in runs[1:]:
        if other.bundle_digest != runs[0].bundle_digest:
            problem = f"this is a run of another model than {runs[0].folder}."
            raise RunMismatchError(other.folder, problem, "Name runs of one model.")


def all_labelled(parts: Sequence[LabelledTiles]) -> LabelledTiles:
    """Return the labels of several slides as one; its rows are of no slide."""
    rows: list[int] = []
    names: list[str] = []
    corrected: list[bool] = []
    ambiguous = 0
    for part in parts:
        rows += part.rows.tolist()
        names += part.names
        corrected += part.corrected.tolist()
        ambiguous += part.ambiguous
    return LabelledTiles(
        np.array(rows, np.int64),
        tuple(names),
        np.array(corrected, np.bool_),
        ambiguous,
    )


CLOSE = 0.02
"""How far logits computed again may be from the run's, relative to the largest, without a word."""


def refuse_none(run: Run, labelled: LabelledTiles, spec: FineTuneSpec) -> None:
    """Refuse to teach nothing."""
    if not len(labelled):
        left = f" ({labelled.ambiguous} lie in areas of two classes)" if labelled.ambiguous else ""
        share = f"covers {spec.rule.min_share:.0%} of one"
        raise DataSetError(
            f"no tile has a label{left}: no annotation {share}, and no tile is corrected.",
            "Draw larger areas, correct some tiles, or pass a smaller --min-share.",
            run.folder,
        )


def head_classes(card: Card, labelled: LabelledTiles, spec: FineTuneSpec) -> tuple[str, ...]:
    """Return the classes of the new head. One logit stays one.

    Whatever is not its class is its absence.
    """
    unknown = tuple(name for name in labelled.counts if name not in card.class_names)
    if len(card.class_names) == 1 or not unknown:
        return card.class_names
    allowed = unknown
    if spec.new_classes is not None:
        allowed = tuple(map(normal_name, spec.new_classes))
    refused = [name for name in unknown if name not in allowed]
    if refused:
        raise UsageError(
            f"The model {card.name} does not know the class {refused[0]!r}; it knows"
            f" {', '.join(card.class_names)}.",
            f"Pass --new-class {refused[0]!r} to add it, or --map"
            f" {refused[0]!r}={card.class_names[0]!r} to rename it.",
        )
    return (*card.class_names, *unknown)


def rehearsed_rows(run: Run, labelled: LabelledTiles, spec: FineTuneSpec) -> NDArray[np.int64]:
    """Return the tiles that are to hold the head: some that have no label, by chance."""
    free = np.setdiff1d(np.flatnonzero(run.tiles.done), labelled.rows)
    return np.sort(np.random.default_rng(spec.seed).permutation(free)[: spec.rehearsed]).astype(
        np.int64
    )


@dataclass(frozen=True, eq=False)
class TuningTask:
    """What is learnt: the old head with rows for new classes, the examples, and whose tiles.

    ``rows`` are those of each slide, ``places`` and ``slides`` say of each labelled tile in which
    place it lies and on which slide, from 0.
    """

    old: Head
    examples: LabelledEmbeddings
    rows: NDArray[np.int64]
    labelled: Mapping[str, int]
    corrected: int
    names: tuple[str, ...]
    new_classes: tuple[str, ...]
    places: NDArray[np.int64]
    slides: NDArray[np.int64]


def make_task(
    run: Run,
    model: TunableClassifier,
    labelled: LabelledTiles,
    rehearsed: NDArray[np.int64],
    features: Features,
    names: tuple[str, ...],
) -> TuningTask:
    """Return what is to be learnt; tiles that could not be read are left out.

    Raises
    ------
    DataSetError
        If none could be read.
    """
    card, layer = model.bundle.card, model.layer
    read = np.isin(labelled.rows, features.rows)
    rows = labelled.rows[read]
    said = [name for name, known in zip(labelled.names, read.tolist(), strict=True) if known]
    if not said:
        raise DataSetError(
            "none of the labelled tiles could be read.",
            "Copy the slide again.",
            model.bundle.path,
        )
    held = rehearsed[np.isin(rehearsed, features.rows)]
    new = names[len(card.class_names) :]
    bias = None
    if layer.bias is not None:
        bias = layer.bias.double().numpy() / card.temperature
    old = Head(layer.weight.double().numpy() / card.temperature, bias).grown(
        len(new), card.activation
    )
    if len(names) == 1:
        labels = [int(name == names[0]) for name in said]
    else:
        labels = [names.index(name) for name in said]
    examples = LabelledEmbeddings(
        features.of(rows),
        np.array(labels, np.int64),
        features.of(held),
        card.activation,
        len(new),
        card.classes.grown_thresholds(len(new)),
        card.classes.grown_biases(len(new)),
    )
    corrected = int(labelled.corrected[read].sum())
    places = places_of(run.tiles.boxes[rows])
    slides = np.zeros(len(rows), np.int64)
    return TuningTask(old, examples, rows, _counts(said), corrected, names, new, places, slides)


def joined(tasks: Sequence[TuningTask]) -> TuningTask:
    """Return the tasks of several slides as one: the same head, and the examples of all."""
    first, *others = tasks
    if not others:
        return first
    labelled: Counter[str] = Counter()
    corrected, places = 0, 0
    columns: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)
    for number, task in enumerate(tasks):
        labelled.update(task.labelled)
        corrected += task.corrected
        columns["features"].append(task.examples.features)
        columns["labels"].append(task.examples.labels)
        columns["rehearsed"].append(task.examples.rehearsed)
        columns["rows"].append(task.rows)
        columns["slides"].append(np.full(len(task.rows), number, np.int64))
        # Places are numbered on: no two slides share one.
        columns["places"].append(task.places + places)
        places += int(task.places.max()) + 1
    whole = {name: np.concatenate(parts) for name, parts in columns.items()}
    examples = replace(
        first.examples,
        features=whole["features"],
        labels=whole["labels"],
        rehearsed=whole["rehearsed"],
    )
    return replace(
        first,
        examples=examples,
        rows=whole["rows"],
        labelled=dict(sorted(labelled.items())),
        corrected=corrected,
        places=whole["places"],
        slides=whole["slides"],
    )


def _counts(names: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def notes_of(
    run: Run,
    labelled: LabelledTiles,
    features: Features,
    task: TuningTask,
    model: TunableClassifier,
) -> tuple[str, ...]:
    """Return what a careful user wants to know of the examples, as sentences."""
    notes = [*run.notes, *labelled.notes]
    if labelled.ambiguous:
        notes.append(f"{labelled.ambiguous} tiles lie in areas of two classes and were left out.")
    unread = len(labelled) - len(task.rows)
    if unread:
        notes.append(f"{unread} labelled tiles could not be read and were left out.")
    if task.new_classes:
        notes.append(f"New classes: {', '.join(task.new_classes)}.")
    if len(task.names) == 1:
        other = [name for name in labelled.counts if name != task.names[0]]
        if other:
            notes.append(f"Taken for the absence of {task.names[0]}: {', '.join(other)}.")
    before = task.examples.called(task.old.logits(task.examples.features))
    if (before == task.examples.labels).all():
        notes.append(
            "The classifier called every labelled tile right already: nothing was to be learnt."
        )
    notes += _deviation(run, features, model)
    return tuple(dict.fromkeys(notes))


def _deviation(run: Run, features: Features, model: TunableClassifier) -> list[str]:
    """Tell if the classifier says something else of a tile now than when it was run.

    A sign that something differs.
    """
    before = run.logits[features.rows]
    known = np.isfinite(before).all(axis=1)
    if not known.any():
        return []
    far = float(
        np.abs(before - features.logits)[known].max()
        / max(float(np.abs(before[known]).max()), 1e-9)
    )
    if far <= CLOSE:
        return []
    device = model.classifier.backend
    return [
        (
            f"Logits differ from the run's by up to {far:.1%} of the largest (here: {device}); the"
            " run's stand."
        )
    ]
