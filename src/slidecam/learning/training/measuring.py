"""A trained bundle on the pictures that it has not learnt from.

Figures into its card, reports beside it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slidecam.learning.data.pictures import PARTS
from slidecam.learning.evaluation.evaluation import evaluate
from slidecam.learning.evaluation.report import (
    RECORD,
    TABLE,
    Background,
    write_evaluation,
    write_predictions,
    write_record,
)
from slidecam.learning.training.beginning import device_for
from slidecam.learning.training.folder import TrainingFolder, write_json
from slidecam.models.bundle import save_bundle

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from slidecam.learning.data.dataset import Material
    from slidecam.learning.data.pictures import Part
    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.training.call import TrainingCall
    from slidecam.models.bundle import Bundle
    from slidecam.steps import Step

MEASURED: Mapping[Part, str] = {"val": "validation part", "test": "test part"}
"""The parts that a classifier is measured on, and what a report calls them."""


def measured(
    bundle: Bundle, material: Material, history: Sequence[Mapping[str, Any]], call: TrainingCall
) -> Generator[Step, None, tuple[Bundle, dict[Part, Evaluation]]]:
    """Measure a bundle on the validation and the test part, as inference runs it.

    Returns
    -------
    bundle, evaluations
        The bundle, the figures now in its card's provenance under ``measured``; and all that was
        found, by part. The reports are in ``evaluation/val`` and ``evaluation/test`` of the
        training's folder.
    """
    folder, pictures = TrainingFolder(call.out), material.pictures
    classifier = bundle.classifier(device_for(call.device))
    found: dict[Part, Evaluation] = {}
    for part in MEASURED:
        if len(pictures.part(part)):
            found[part] = yield from evaluate(classifier, pictures.part(part))
    figures = {
        part: {name: one.record() for name, one in each.figures.items()}
        for part, each in found.items()
    }
    card = replace(bundle.card, provenance={**bundle.card.provenance, "measured": figures})
    finished = save_bundle(bundle.path, card, bundle.network(), overwrite=True)
    for part, evaluation in found.items():
        told = replace(evaluation, bundle=finished.digest)
        if call.pages:
            background = background_of(
                material, history, f"{MEASURED[part]} of {pictures.root.name}", card.name
            )
            write_evaluation(told, folder.evaluation / part, background)
        else:
            write_record(told, folder.evaluation / part / RECORD)
            write_predictions(told, folder.evaluation / part / TABLE)
    if material.duplicates is not None:
        write_json(folder.duplicates, material.duplicates.record())
    return finished, found


def background_of(
    material: Material, history: Sequence[Mapping[str, Any]], data: str, title: str
) -> Background:
    """Return what a report tells beside its figures."""
    pictures, duplicates = material.pictures, material.duplicates
    facts = {"Pictures": ", ".join(f"{len(pictures.part(part))} {part}" for part in PARTS)}
    facts["Patients or slides"] = (
        "not known" if pictures.groups is None else str(len(set(pictures.groups)))
    )
    if duplicates is not None:
        facts["Duplicates"] = (
            f"{len(duplicates.clusters)} clusters, {len(duplicates.across)} of them across parts"
        )
    return Background(title=title, data=data, facts=facts, notes=pictures.notes, history=history)
