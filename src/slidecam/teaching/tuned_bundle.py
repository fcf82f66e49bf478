"""The bundle of a taught classifier: its weights, and a card that says how it came about."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from slidecam.classes import default_colors
from slidecam.models import save_bundle
from slidecam.models.last_layer import LastLayer, with_last_layer

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.models import Bundle, Card
    from slidecam.runs import Run
    from slidecam.teaching.embedding import Teachable
    from slidecam.teaching.head_tuning import Head
    from slidecam.teaching.held_out import HeldOut
    from slidecam.teaching.lessons import Task
    from slidecam.teaching.spec import FineTuneSpec

UNFITTED = (
    "1, not fitted: labels that a head learnt from cannot calibrate it. The old head's own was"
    " {temperature:.4g}; its logits were divided by that for good, so that tiles that nothing"
    " changed keep their probabilities"
)


@dataclass(frozen=True, eq=False)
class Taught:
    """The new head, and what is known of it."""

    task: Task
    head: Head
    measured: HeldOut | None
    why_not: str
    notes: tuple[str, ...]

    @property
    def right(self) -> tuple[float, float]:
        """Shares of the labels that the old and the new head call right."""
        labels = self.task.lesson.labels
        old, new = (self._called(head) for head in (self.task.old, self.head))
        return float((old == labels).mean()), float((new == labels).mean())

    @property
    def changed(self) -> int:
        """Labelled tiles of another class than before."""
        return int((self._called(self.task.old) != self._called(self.head)).sum())

    def _called(self, head: Head) -> NDArray[np.int64]:
        lesson = self.task.lesson
        return lesson.called(head.logits(lesson.features))


def write_taught(
    run: Run, out: Path, model: Teachable, taught: Taught, spec: FineTuneSpec
) -> Bundle:
    """Write the taught classifier's bundle into a folder that is not there yet."""
    head = taught.head
    bias = None if head.bias is None else torch.from_numpy(head.bias).float()
    layer = LastLayer(model.layer.name, torch.from_numpy(head.weight).float(), bias)
    weights = with_last_layer(model.bundle, layer)
    return save_bundle(out, _card(run, model, taught, spec), weights)


def _card(run: Run, model: Teachable, taught: Taught, spec: FineTuneSpec) -> Card:
    card, task = model.bundle.card, taught.task
    fresh = iter(
        color for color in default_colors(len(task.names) * 2) if color not in card.class_colors
    )
    colors = [spec.colors.get(name) or next(fresh) for name in task.new_classes]
    return replace(
        card,
        name=spec.name or f"{card.name}, taught on {run.slide}",
        class_names=task.names,
        class_colors=(*card.class_colors, *colors),
        thresholds=card.classes.grown_thresholds(len(task.new_classes)),
        temperature=1.0,
        provenance=_provenance(run, model, taught, spec),
    )


def _provenance(
    run: Run, model: Teachable, taught: Taught, spec: FineTuneSpec
) -> dict[str, object]:
    card, task = model.bundle.card, taught.task
    before, after = taught.right
    return {
        "command": "slidecam fine-tune",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "slide": run.slide,
        "slide_fingerprint": run.fingerprint,
        "labelled_tiles": dict(task.labelled),
        "corrected_one_by_one": task.corrected,
        "new_classes": list(task.new_classes),
        "rehearsed_tiles": len(task.lesson.rehearsed),
        "taught_layer": model.layer.name,
        "settings": asdict(spec.head),
        "seed": spec.seed,
        "temperature": UNFITTED.format(temperature=card.temperature),
        "right_on_its_own_labels": {"before": before, "after": after},
        "held_out": taught.why_not if taught.measured is None else taught.measured.record(),
        "parent": {
            "name": card.name,
            "digest": model.bundle.digest,
            "temperature": card.temperature,
            "provenance": dict(card.provenance),
        },
    }
