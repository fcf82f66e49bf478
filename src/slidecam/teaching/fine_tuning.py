"""A classifier taught by what a person said of one slide's tiles, in seconds.

A new bundle beside the old one, with a card that says how it came about.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.drawing.style import default_colors
from slidecam.errors import BundleError
from slidecam.learning.data.known import LEARNT_FILE
from slidecam.learning.metrics import check_measures
from slidecam.models import save_bundle
from slidecam.models.backends import choose_device
from slidecam.steps import Step
from slidecam.teaching.corrections import beside
from slidecam.teaching.embedding import LastLayer, embed_tiles, open_tunable, with_last_layer
from slidecam.teaching.head_tuning import tune_head
from slidecam.teaching.held_out import (
    LEAST_SLIDES,
    HeldOut,
    Split,
    leave_places_out,
    too_few,
    too_few_slides,
)
from slidecam.teaching.labelling import label_tiles
from slidecam.teaching.tuning_task import (
    FineTuneSpec,
    TaughtRun,
    all_labelled,
    head_classes,
    joined,
    make_task,
    notes_of,
    refuse_none,
    refuse_other_models,
    rehearsed_rows,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.geojson import Annotation
    from slidecam.models import Bundle, Card
    from slidecam.runs import Run
    from slidecam.teaching.corrections import Corrections
    from slidecam.teaching.embedding import TunableClassifier
    from slidecam.teaching.head_tuning import Head
    from slidecam.teaching.labelling import LabelledTiles
    from slidecam.teaching.tuning_task import TuningTask


UNFITTED = (
    "1, not fitted: labels that a head learnt from cannot calibrate it. The old head's own was"
    " {temperature:.4g}; its logits were divided by that for good, so that tiles that nothing"
    " changed keep their probabilities"
)


@dataclass(frozen=True, eq=False)
class TunedHead:
    """The new head, what is known of it, and the runs of other slides that taught it, too."""

    task: TuningTask
    head: Head
    measured: HeldOut | None
    unmeasured: str
    notes: tuple[str, ...]
    others: tuple[Run, ...] = ()

    @property
    def right(self) -> tuple[float, float]:
        """Shares of the labels that the old and the new head call right."""
        labels = self.task.examples.labels
        old, new = (self._called(head) for head in (self.task.old, self.head))
        return float((old == labels).mean()), float((new == labels).mean())

    @property
    def changed(self) -> int:
        """Labelled tiles of another class than before."""
        return int((self._called(self.task.old) != self._called(self.head)).sum())

    def _called(self, head: Head) -> NDArray[np.int64]:
        examples = self.task.examples
        return examples.called(head.logits(examples.features))


def write_tuned_bundle(
    run: Run,
    out: Path,
    model: TunableClassifier,
    taught: TunedHead,
    spec: FineTuneSpec,
) -> Bundle:
    """Write the taught classifier's bundle into a folder that is not there yet."""
    head = taught.head
    bias = None
    if head.bias is not None:
        bias = torch.from_numpy(head.bias).float()
    layer = LastLayer(model.layer.name, torch.from_numpy(head.weight).float(), bias)
    weights = with_last_layer(model.bundle, layer)
    bundle = save_bundle(out, _card(run, model, taught, spec), weights)
    known = model.bundle.path / LEARNT_FILE
    if known.is_file():
        shutil.copyfile(known, out / LEARNT_FILE)
    return bundle


def _card(run: Run, model: TunableClassifier, taught: TunedHead, spec: FineTuneSpec) -> Card:
    card, task = model.bundle.card, taught.task
    fresh = iter(
        color for color in default_colors(len(task.names) * 2) if color not in card.class_colors
    )
    colors = [spec.colors.get(name) or next(fresh) for name in task.new_classes]
    taught_on = run.slide
    if taught.others:
        taught_on = f"{len(taught.others) + 1} slides"
    return replace(
        card,
        name=spec.name or f"{card.name}, taught on {taught_on}",
        class_names=task.names,
        class_colors=(*card.class_colors, *colors),
        thresholds=card.classes.grown_thresholds(len(task.new_classes)),
        temperature=1.0,
        class_biases=card.classes.grown_biases(len(task.new_classes)),
        calibrated_on=0,
        provenance=_provenance(run, model, taught, spec),
    )


def _provenance(
    run: Run,
    model: TunableClassifier,
    taught: TunedHead,
    spec: FineTuneSpec,
) -> dict[str, object]:
    card, task = model.bundle.card, taught.task
    before, after = taught.right
    others: dict[str, object] = {}
    if taught.others:
        others["other_slides"] = {one.slide: one.fingerprint for one in taught.others}
    return {
        "command": "slidecam fine-tune",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "slide": run.slide,
        "slide_fingerprint": run.fingerprint,
        **others,
        "labelled_tiles": dict(task.labelled),
        "corrected_one_by_one": task.corrected,
        "new_classes": list(task.new_classes),
        "rehearsed_tiles": len(task.examples.rehearsed),
        "taught_layer": model.layer.name,
        "settings": asdict(spec.head),
        "seed": spec.seed,
        "temperature": UNFITTED.format(temperature=card.temperature),
        "right_on_its_own_labels": {"before": before, "after": after},
        "held_out": taught.unmeasured if taught.measured is None else taught.measured.record(),
        "parent": model.bundle.as_parent,
    }


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
    measured, unmeasured
        Figures on places that were left out; or None, and the reason.
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
    unmeasured: str
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
            "why_not": self.unmeasured,
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
    others: Sequence[TaughtRun] = (),
) -> Generator[Step, None, FineTuned]:
    """Teach a run's classifier what was drawn and said on its slide, and write the new one.

    What was drawn and said on other slides teaches it, too, where these are named.

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
    others
        Runs of other slides by the same classifier, with what was drawn and said there. One
        without labels is left out, in words.

    Raises
    ------
    BundleError
        If something lies in ``out``, or the classifier has no layer that could be taught.
    RunMismatchError
        If another run is of another classifier.
    DataSetError
        If no tile has a label.
    SlidecamError
        Whatever is wrong with the annotations, the slide or the bundle.
    """
    check_measures()
    spec = spec or FineTuneSpec()
    start = time.perf_counter()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BundleError(
            out,
            "something lies here already.",
            "Name another folder for the new bundle.",
        )
    said = (TaughtRun(run, annotations, corrections), *others)
    refuse_other_models([one.run for one in said])
    slides, silent = _labelled(said, spec)
    everything = all_labelled(list(slides.values()))
    refuse_none(run, everything, spec)
    model = open_tunable(run, choose_device(spec.device), trust=spec.trust)
    names = head_classes(model.bundle.card, everything, spec)
    tasks: list[TuningTask] = []
    notes, embedded = list(silent), 0
    for each, labelled in slides.items():
        rehearsed = rehearsed_rows(each, labelled, spec)
        features = yield from embed_tiles(each, model, np.concatenate([labelled.rows, rehearsed]))
        tasks.append(make_task(each, model, labelled, rehearsed, features, names))
        found = notes_of(each, labelled, features, tasks[-1], model)
        notes += _of_slide(each, found, alone=len(slides) == 1)
        embedded += features.computed
    task = joined(tasks)
    yield Step("training", 0, 1)
    head = tune_head(task.old, task.examples, spec.head)
    yield Step("training", 1, 1)
    measured, unmeasured = yield from _measured(task, spec)
    first, *more = slides
    taught = TunedHead(task, head, measured, unmeasured, tuple(notes), tuple(more))
    yield Step("writing", 0, 1)
    bundle = write_tuned_bundle(first, out, model, taught, spec)
    yield Step("writing", 1, 1)
    return _result(bundle, model, taught, embedded, time.perf_counter() - start)


def _labelled(
    said: Sequence[TaughtRun],
    spec: FineTuneSpec,
) -> tuple[dict[Run, LabelledTiles], list[str]]:
    """Return the slides that have labels, with them, and a sentence on each of those without."""
    labelled: dict[Run, LabelledTiles] = {}
    silent: list[str] = []
    for one in said:
        run = one.run
        corrections = beside(run, one.corrections, wanted=spec.beside)
        labels = label_tiles(
            run,
            one.annotations,
            corrections,
            spec.rule,
            spec.renamed,
        )
        if len(labels) or len(said) == 1:
            labelled[run] = labels
        else:
            silent.append(f"{run.slide}: no tile has a label, and nothing is learnt of it.")
    return labelled, silent


def _of_slide(run: Run, notes: Sequence[str], *, alone: bool) -> list[str]:
    """Return notes, of one slide of several with its name."""
    if alone:
        return list(notes)
    return [f"{run.slide}: {note}" for note in notes]


def _measured(
    task: TuningTask,
    spec: FineTuneSpec,
) -> Generator[Step, None, tuple[HeldOut | None, str]]:
    names = task.names
    if len(names) == 1:
        names = (f"not {names[0]}", names[0])
    slides = len(np.unique(task.slides))
    of_slides, left_out, folds = slides >= LEAST_SLIDES, task.places, spec.folds
    if of_slides:
        left_out, folds = task.slides, slides
        unmeasured = too_few_slides(task.examples.labels, left_out, names)
    else:
        unmeasured = too_few(task.examples.labels, left_out, names)
    if unmeasured:
        return None, unmeasured
    split = Split(left_out, names, folds, spec.seed)
    found = yield from leave_places_out(task.old, task.examples, spec.head, split)
    return replace(found, of_slides=of_slides), ""


def _result(
    bundle: Bundle,
    model: TunableClassifier,
    taught: TunedHead,
    embedded: int,
    seconds: float,
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
        unmeasured=taught.unmeasured,
        rehearsed=len(taught.task.examples.rehearsed),
        embedded=embedded,
        seconds=seconds,
        notes=taught.notes,
    )
