"""Labelled pictures on disk in, a classifier's evaluation out.

The data's classes and the classifier's are matched by name, never by their order, which differs
silently. An unreadable picture is reported by name and stops nothing.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch

from slidecam.class_names import classes_meant, normal_name
from slidecam.errors import DataSetError, DeviceError, remedies_of
from slidecam.faithfulness.measure import MOST, measure_heatmaps
from slidecam.learning.data.pixels import in_order, load_pictures, load_pixels, seen_by
from slidecam.learning.evaluation.evaluation import (
    Evaluation,
    EvaluationSpec,
    digest_of_lines,
    evaluate_predictions,
)
from slidecam.learning.predictions import Predictions, UnreadPicture
from slidecam.models.classifier import NOT_A_NUMBER
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.models import Card, Classifier
    from slidecam.models.card_parts import MapEvidence
    from slidecam.pixels import RGB
    from slidecam.viewing import PictureView


_CHECK = "Check that these are pictures, and that the bundle predicts at all."


def measure_maps(
    classifier: Classifier,
    pictures: PictureSet,
    most: int = MOST,
) -> Generator[Step, None, MapEvidence | None]:
    """Measure a classifier's heatmaps on validation pictures, for its card.

    On ``most`` of them, drawn evenly by chance, each for its own class; see `measure_heatmaps`.
    """
    drawn = np.sort(np.random.default_rng(0).permutation(len(pictures))[:most])
    some, card = pictures.rows(drawn), classifier.card
    pixels = yield from load_pictures(
        some.paths, card.input_px, card.interpolation, seen=seen_by(card, pictures.seen)
    )
    on = f"{len(some)} validation pictures"
    return (yield from measure_heatmaps(classifier, pixels, some.labels.tolist(), on))


@dataclass(frozen=True, eq=False)
class Classified:
    """What a classifier said of pictures.

    Attributes
    ----------
    rows
        Which of the pictures it could classify, in their order.
    logits
        float32, (rows, K).
    failures
        All the others.
    digests
        SHA-256 of each picture's file, of the failed ones too.
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float32]
    failures: tuple[UnreadPicture, ...]
    digests: tuple[str, ...]


def classify_pictures(
    classifier: Classifier,
    pictures: PictureSet,
    batch: int,
    workers: int,
) -> Generator[Step, None, Classified]:
    """Classify whole pictures, resized to the card's ``input_px``.

    Parameters
    ----------
    classifier
        On its device.
    pictures
        At least one.
    batch, workers
        Pictures computed at once, and threads that read the next ones meanwhile.

    Raises
    ------
    DataSetError
        If no picture could be classified.
    DeviceError
        If a batch does not fit into the GPU's memory.
    """
    read: list[_Read] = []
    logits: list[NDArray[np.float32]] = []
    for some in _read_ahead(classifier.card, pictures.seen, pictures.paths, batch, workers):
        read += some
        logits.append(_logits(classifier, np.stack([one.pixels for one in some])))
        yield Step("classifying", len(read), len(pictures))
    values = np.concatenate(logits)
    rows: list[int] = []
    failures: list[UnreadPicture] = []
    for row, (name, one) in enumerate(zip(pictures.names, read, strict=True)):
        if one.reason:
            failures.append(UnreadPicture(name, one.reason, one.remedy))
        elif not np.isfinite(values[row]).all():
            failures.append(UnreadPicture(name, NOT_A_NUMBER))
        else:
            rows.append(row)
    if len(failures) == len(pictures):
        problem = (
            f"none of {len(pictures)} pictures could be classified; {failures[0].name}:"
            f" {failures[0].reason}."
        )
        raise DataSetError(
            problem,
            remedies_of(failures) or _CHECK,
        )
    digests = tuple(one.digest for one in read)
    return Classified(np.array(rows), values[rows], tuple(failures), digests)


@dataclass(frozen=True, eq=False)
class _Read:
    pixels: NDArray[np.uint8]
    digest: str
    reason: str = ""
    remedy: str = ""


def _read_ahead(
    card: Card,
    seen: PictureView,
    paths: Sequence[Path],
    batch: int,
    workers: int,
) -> Iterator[list[_Read]]:
    """Yield pictures batch by batch, the next batch being read meanwhile."""
    read = partial(_read, card, seen_by(card, seen))
    with closing(in_order(read, paths, workers, ahead=batch)) as pictures:
        while some := list(islice(pictures, batch)):
            yield some


def _read(
    card: Card,
    seen: PictureView,
    path: Path,
) -> _Read:
    """Return a picture with its digest; one that cannot be read is black, and says why."""
    edge = card.input_px
    black = np.zeros((edge, edge, 3), np.uint8)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return _Read(black, "", f"this file cannot be opened: {error.strerror or error}")
    except Exception as error:  # noqa: BLE001  (the boundary of a picture: it is reported by its name)
        return _Read(black, "", f"this file cannot be read: {error}")
    try:
        pixels = load_pixels(path, edge, card.interpolation, seen)
        return _Read(pixels, digest)
    except DataSetError as error:
        return _Read(black, digest, _reason(error, path), error.remedy)


def _reason(error: DataSetError, path: Path) -> str:
    """Return what is wrong without the folders above the file, which no report should show."""
    said = error.clause.removesuffix(f" ({path})")
    for written in (repr(str(path))[1:-1], str(path)):
        said = said.replace(written, path.name)
    return said


def _logits(classifier: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:
        logits = classifier.run(
            torch.from_numpy(pixels).to(classifier.device), gradients=False
        ).logits
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{len(pixels)} pictures of {pixels.shape[1]} px do not fit into the GPU's memory.",
            "Pass a smaller --batch.",
        ) from error
    landed: NDArray[np.float32] = logits.detach().float().cpu().numpy()
    return landed


def evaluate(
    classifier: Classifier,
    pictures: PictureSet,
    spec: EvaluationSpec | None = None,
) -> Generator[Step, None, Evaluation]:
    """Classify pictures and return how well that went.

    Whole pictures are resized to the card's ``input_px``, as `predict` does with pictures that are
    one tile.

    Parameters
    ----------
    classifier
        On its device. One logit is matched with the data's class of its name, and all others are
        its absence.
    pictures
        Their classes are matched with the classifier's by name.
    spec
        None for the usual.

    Raises
    ------
    DataSetError
        If the data have a class that the classifier does not know, or no picture can be read.
    DeviceError
        If a batch does not fit into the GPU's memory.
    """
    spec = spec or EvaluationSpec()
    if not len(pictures):
        raise DataSetError(
            "there is no picture to measure on.",
            "Name another folder or part.",
            pictures.root,
        )
    card = classifier.card
    matched = match_classes(pictures, card, spec.mapping)
    found = yield from classify_pictures(classifier, pictures, spec.batch, spec.workers)
    classified = pictures.rows(found.rows)
    predictions = Predictions(
        labels=matched.labels[found.rows],
        logits=found.logits,
        class_names=matched.names,
        names=classified.names,
        groups=classified.groups,
        activation=card.activation,
        temperature=card.temperature,
        biases=card.class_biases,
        calibrated_on=card.calibrated_on,
        thresholds=card.thresholds,
        paths=classified.paths,
        seen=seen_by(card, classified.seen),
        class_colors=matched.colors,
    )
    labelled = []
    for digest, label in zip(found.digests, matched.labels, strict=True):
        labelled.append(f"{digest} {matched.names[label]}")
    evaluation = evaluate_predictions(
        predictions, spec, failures=found.failures, data_digest=digest_of_lines(labelled)
    )
    return replace(evaluation, notes=matched.notes)


ABSENT_COLOR: RGB = (150, 156, 166)
"""Of whatever a classifier of one logit is not looking for."""


@dataclass(frozen=True, eq=False)
class MatchedClasses:
    """The data's labels as the classifier counts.

    Attributes
    ----------
    labels
        int64, (N,): places in ``names``.
    names, colors
        One for each class. A classifier of one logit has two: the absence of its class, then its
        class.
    notes
        What a careful reader must know of how they were matched, as sentences.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    colors: tuple[RGB, ...]
    notes: tuple[str, ...] = ()


def match_classes(
    pictures: PictureSet,
    card: Card,
    mapping: Mapping[str, str] | None = None,
) -> MatchedClasses:
    """Return the pictures' labels in the order of a card's classes.

    Parameters
    ----------
    pictures
        Only classes that have pictures are looked at.
    card
        The classifier's. A class of its that the data lack is no error: its figures are None.
    mapping
        What the data call a class, and what the card calls it.

    Raises
    ------
    DataSetError
        If a class of the data is none of the card's, or ``mapping`` names a class that neither
        knows. With one logit every class may be its absence, which a note says where all are.
    """
    mapping = {normal_name(theirs): normal_name(ours) for theirs, ours in (mapping or {}).items()}
    _check_mapping(pictures, card, mapping)
    names = [mapping.get(name, name) for name in pictures.class_names]
    used = [mapping.get(name, name) for name, count in pictures.counts().items() if count]
    if len(card.class_names) == 1:
        return _one_class(pictures, card, names, used)
    unknown = [name for name in used if name not in card.class_names]
    if unknown:
        raise DataSetError(
            f"the data have a class {unknown[0]!r} that {card.name} does not"
            f" know; it knows {', '.join(card.class_names)}.",
            f"Say which it is with --map {unknown[0]}=CLASS, or leave these pictures out.",
            pictures.root,
        )
    known = {name: place for place, name in enumerate(card.class_names)}
    places = np.array([known.get(name, -1) for name in names], np.int64)
    return MatchedClasses(places[pictures.labels], card.class_names, card.class_colors)


def _one_class(
    pictures: PictureSet,
    card: Card,
    names: list[str],
    used: list[str],
) -> MatchedClasses:
    """Everything that is not the one class is its absence."""
    sought = card.class_names[0]
    others = sorted({*used} - {sought})
    absence = f"not {sought}"
    if len(others) == 1:
        absence = others[0]
    is_sought = np.array([name == sought for name in names])
    labels = is_sought[pictures.labels].astype(np.int64)
    notes: tuple[str, ...] = ()
    if sought not in used:
        notes = (without_the_class(f"all {len(pictures)} pictures", sought, others),)
    return MatchedClasses(labels, (absence, sought), (ABSENT_COLOR, card.class_colors[0]), notes)


def without_the_class(what: str, sought: str, others: Sequence[str]) -> str:
    """Return what is to be said of data that hold nothing of the class that is looked for.

    ``what`` are they, counted: ``all 12 pictures``.
    """
    said = (
        f"Nothing here is of {sought!r}: {what} ({', '.join(others)}) count as without it, and"
        " what is measured is how often that is seen, the specificity"
    )
    if len(others) == 1:
        return f"{said}."
    return f"{said} (--map THEIRS=OURS where one of them is that class by another name)."


def _check_mapping(
    pictures: PictureSet,
    card: Card,
    mapping: Mapping[str, str],
) -> None:
    unknown = [name for name in mapping if name not in pictures.class_names]
    if unknown:
        raise DataSetError(
            f"there is no class {unknown[0]!r} in the data to call {mapping[unknown[0]]!r}.",
            classes_meant(unknown[0], pictures.class_names),
            pictures.root,
        )
    wrong = [name for name in mapping.values() if name not in card.class_names]
    if wrong and len(card.class_names) > 1:
        raise DataSetError(
            f"The model {card.name} has no class {wrong[0]!r}.",
            classes_meant(wrong[0], card.class_names),
        )
