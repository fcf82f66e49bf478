"""A classifier taught by what a person said of one slide's tiles, in seconds.

A new bundle beside the old one.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import BundleError
from slidecam.models.backends import choose_device
from slidecam.steps import Step
from slidecam.teaching.corrections import beside
from slidecam.teaching.embedding import embed_tiles, open_teachable
from slidecam.teaching.head_tuning import tune_head
from slidecam.teaching.held_out import HeldOut, Split, leave_places_out, too_few
from slidecam.teaching.labelling import label_tiles
from slidecam.teaching.lessons import head_classes, make_task, notes_of, refuse_none, rehearsed_rows
from slidecam.teaching.places import places_of
from slidecam.teaching.spec import FineTuneSpec
from slidecam.teaching.tuned_bundle import Taught, write_taught

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from slidecam.exchange.geojson import Annotation
    from slidecam.models import Bundle
    from slidecam.runs import Run
    from slidecam.teaching.corrections import Corrections
    from slidecam.teaching.embedding import Features, Teachable
    from slidecam.teaching.lessons import Task


@dataclass(frozen=True, eq=False)
class FineTuned:
    """A taught classifier.

    Attributes
    ----------
    bundle
        The new one.
    parent
        Digest of the old one.
    labelled
        Labelled tiles it learnt from, by class.
    new_classes
        Those that the old one did not know.
    changed
        Labelled tiles that are of another class now than before.
    right_before, right_after
        Shares of the labelled tiles that the old and the new one call right. It learnt from these
        very tiles: this says nothing of others.
    measured, why_not
        Figures on places that were left out; or None, and why not.
    rehearsed, embedded
        Tiles that held the head, and tiles whose features were computed and not found beside the
        run.
    seconds
        From reading labels to the written bundle.
    notes
        What a careful user wants to know, as sentences.
    """

    bundle: Bundle
    parent: str
    labelled: Mapping[str, int]
    new_classes: tuple[str, ...]
    changed: int
    right_before: float
    right_after: float
    measured: HeldOut | None
    why_not: str
    rehearsed: int
    embedded: int
    seconds: float
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "bundle": str(self.bundle.path),
            "digest": self.bundle.digest,
            "parent": self.parent,
            "classes": list(self.bundle.card.class_names),
            "labelled": dict(self.labelled),
            "new_classes": list(self.new_classes),
            "changed": self.changed,
            "right_before": self.right_before,
            "right_after": self.right_after,
            "held_out": None if self.measured is None else self.measured.record(),
            "why_not": self.why_not,
            "rehearsed": self.rehearsed,
            "embedded": self.embedded,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


def fine_tune(
    run: Run,
    out: Path,
    annotations: Path | Sequence[Annotation] | None = None,
    corrections: Corrections | Path | None = None,
    spec: FineTuneSpec | None = None,
) -> Generator[Step, None, FineTuned]:
    """Teach a run's classifier what was drawn and said on its slide, and write the new one.

    Only the last linear layer learns (see `slidecam.teaching.head_tuning`); a class that the
    classifier does not know becomes a row more of it. Features of tiles are kept beside the run, so
    that teaching again embeds nothing twice.

    Parameters
    ----------
    run
        Whose tiles and classifier.
    out
        Folder of the new bundle; nothing may lie there.
    annotations, corrections
        As for `label_tiles`; without corrections those beside the run are taken, if there are any.
    spec
        Everything else.

    Raises
    ------
    BundleError
        If something lies in ``out``, or the classifier has no layer that could be taught.
    DataSetError
        If no tile has a label.
    SlidecamError
        Whatever is wrong with the annotations, the slide or the bundle.
    """
    spec = spec or FineTuneSpec()
    start = time.perf_counter()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(
            out, "something lies here already.", "Name another folder for the new bundle."
        )
    labelled = label_tiles(
        run, annotations, beside(run, corrections, wanted=spec.beside), spec.rule, spec.renamed
    )
    refuse_none(run, labelled, spec)
    model = open_teachable(run, choose_device(spec.device), trust=spec.trust)
    names = head_classes(model.bundle.card, labelled, spec)
    rehearsed = rehearsed_rows(run, labelled, spec)
    features = yield from embed_tiles(run, model, np.concatenate([labelled.rows, rehearsed]))
    task = make_task(model, labelled, rehearsed, features, names)
    yield Step("training", 0, 1)
    head = tune_head(task.old, task.lesson, spec.head)
    yield Step("training", 1, 1)
    measured, why_not = yield from _measured(run, task, spec)
    taught = Taught(task, head, measured, why_not, notes_of(run, labelled, features, task, model))
    yield Step("writing", 0, 1)
    bundle = write_taught(run, out, model, taught, spec)
    yield Step("writing", 1, 1)
    return _result(bundle, model, taught, features, time.perf_counter() - start)


def _measured(
    run: Run, task: Task, spec: FineTuneSpec
) -> Generator[Step, None, tuple[HeldOut | None, str]]:
    names = (f"not {task.names[0]}", task.names[0]) if len(task.names) == 1 else task.names
    places = places_of(run.tiles.boxes[task.rows])
    why_not = too_few(task.lesson.labels, places, names)
    if why_not:
        return None, why_not
    split = Split(places, names, spec.folds, spec.seed)
    return (yield from leave_places_out(task.old, task.lesson, spec.head, split)), ""


def _result(
    bundle: Bundle, model: Teachable, taught: Taught, features: Features, seconds: float
) -> FineTuned:
    before, after = taught.right
    return FineTuned(
        bundle=bundle,
        parent=model.bundle.digest,
        labelled=taught.task.labelled,
        new_classes=taught.task.new_classes,
        changed=taught.changed,
        right_before=before,
        right_after=after,
        measured=taught.measured,
        why_not=taught.why_not,
        rehearsed=len(taught.task.lesson.rehearsed),
        embedded=features.computed,
        seconds=seconds,
        notes=taught.notes,
    )
