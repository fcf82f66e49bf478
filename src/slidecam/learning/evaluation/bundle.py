"""A bundle on the pictures that it has not learnt from, where that can be known.

After a training: figures into its card, reports beside it. Later: which pictures a finished bundle
may be measured on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from slidecam.errors import BundleError, DataSetError
from slidecam.faithfulness.measure import FEWEST, MOST
from slidecam.files import refuse_inputs, write_json
from slidecam.learning.data.dataset import (
    Dataset,
    dataset_for,
    split_record,
)
from slidecam.learning.data.known import (
    NOTHING_KEPT,
    Learnt,
    Sifted,
    is_learnt_from,
    learnt_by,
    learnt_of,
    sift,
    with_learnt,
)
from slidecam.learning.data.picture_files import PARTS, Part
from slidecam.learning.data.picture_tables import scale_notes
from slidecam.learning.data.pictures import nameless, read_picture_set
from slidecam.learning.data.readings import look_at_pictures, reading_for
from slidecam.learning.evaluation.classifying import evaluate, measure_maps
from slidecam.learning.evaluation.evaluation import Evaluation, EvaluationSpec
from slidecam.learning.evaluation.figures import MEASURED_ON, records_of
from slidecam.learning.evaluation.report import (
    RECORD,
    TABLE,
    Background,
    write_evaluation,
    write_predictions,
    write_record,
)
from slidecam.learning.metrics import check_measures
from slidecam.learning.predictions import group_count
from slidecam.learning.published import Published, published_of
from slidecam.learning.training.folder import TrainingFolder
from slidecam.models.backends import choose_device
from slidecam.models.bundle import Bundle, open_bundle, save_bundle
from slidecam.models.stain import sight_notes
from slidecam.steps import Step
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    import torch

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.learning.data.readings import OpenedPictures
    from slidecam.learning.recipes.tables import DataSpec
    from slidecam.learning.training.setup import TrainingCall
    from slidecam.models.card import Card


MEASURED: Mapping[Part, str] = {"val": "validation part", "test": "test part"}
"""The parts that a classifier is measured on, and what a report calls them."""


def measure_bundle(
    bundle: Bundle,
    dataset: Dataset,
    history: Sequence[Mapping[str, Any]],
    call: TrainingCall,
) -> Generator[Step, None, tuple[Bundle, dict[Part, Evaluation]]]:
    """Measure a bundle on the validation and the test part, as inference runs it.

    Returns
    -------
    bundle, evaluations
        The bundle, the figures now in its card's provenance under ``measured``; and all that was
        found, by part. The reports are in ``evaluation/val`` and ``evaluation/test`` of the
        training's folder.
    """
    folder, pictures = TrainingFolder(call.out), dataset.pictures
    classifier = bundle.classifier(choose_device(call.device))
    found: dict[Part, Evaluation] = {}
    for part in MEASURED:
        if len(pictures.part(part)):
            found[part] = yield from evaluate(classifier, pictures.part(part))
    figures = {part: records_of(each.figures) for part, each in found.items()}
    extents = {part: each.extent for part, each in found.items()}
    learnt = yield from learnt_of(dataset)
    provenance = dict(bundle.card.provenance)
    parent = _bundle_of(call.weights.file)
    if parent is not None:
        provenance["parent"] = parent.as_parent
        learnt = learnt.and_those(learnt_by(parent).pictures)
    known = with_learnt(provenance, learnt, pictures, bundle.path)
    caveats = list(map(nameless, pictures.notes))
    # Of a fold the fewest: what its ensemble says adds up those of all.
    tiles = FEWEST if call.share else MOST
    card = replace(
        bundle.card,
        provenance={**known, "measured": figures, MEASURED_ON: extents, "caveats": caveats},
        heatmap_evidence=(yield from measure_maps(classifier, pictures.part("val"), tiles)),
    )
    finished = save_bundle(bundle.path, card, bundle.network(), overwrite=True)
    for part, evaluation in found.items():
        sealed = replace(
            evaluation, bundle=finished.digest, measured=MEASURED[part], notes=pictures.notes
        )
        found[part] = sealed
        if call.pages:
            background = background_of(
                dataset,
                history,
                f"{MEASURED[part]} of {pictures.root.name}",
                card.name,
                published_of(card.provenance),
            )
            write_evaluation(sealed, folder.evaluation / part, background)
        else:
            write_record(sealed, folder.evaluation / part / RECORD)
            write_predictions(sealed, folder.evaluation / part / TABLE)
    if dataset.duplicates is not None:
        write_json(folder.duplicates, dataset.duplicates.record())
    return finished, found


def _bundle_of(weights: Path | None) -> Bundle | None:
    """Return the bundle whose weights a training began from; None for a file of its own."""
    if weights is None:
        return None
    with suppress(BundleError):
        bundle = open_bundle(weights.parent)
        if bundle.path / bundle.card.weights_file == weights:
            return bundle
    return None


def background_of(
    dataset: Dataset,
    history: Sequence[Mapping[str, Any]],
    data: str,
    title: str,
    published: Published | None = None,
) -> Background:
    """Return what a report tells beside its figures."""
    pictures, duplicates = dataset.pictures, dataset.duplicates
    facts = {"Patients or slides": str(group_count(pictures.groups) or "not known")}
    if pictures.is_split:
        parts = [f"{len(pictures.part(part))} {part}" for part in PARTS]
        facts = {"Parts": ", ".join(parts), **facts}
    if duplicates is not None:
        facts["Duplicates"] = (
            f"{len(duplicates.clusters)} clusters, {len(duplicates.across)} of them across parts"
        )
    return Background(
        title=title,
        data=data,
        facts=facts,
        notes=pictures.notes,
        history=history,
        counts=pictures.counts_by_part(),
        published=published,
    )


PartChoice = Literal["auto", "train", "val", "test", "all"]

ALL = "all pictures"
NOT_KEPT = (
    "The bundle keeps no digests of pictures that it has learnt from: whether some of these are"
    " among them cannot be known."
)


@dataclass(frozen=True)
class BundleEvaluationSpec:
    """What a bundle is measured on, and how.

    Attributes
    ----------
    part
        ``auto`` is the test part of data that are parted, or of the data that the bundle was
        trained on; else all.
    group_pattern
        How the patient is found in a picture's name; empty for what the bundle's recipe says.
    only_pattern
        Which pictures are taken, by their path; None for those that the bundle's recipe takes.
    mapping
        What the data call a class and what the bundle calls it.
    batch
        Pictures computed at once.
    seen
        Which picture of files that hold several, over what the bundle's recipe says.
    """

    part: PartChoice = "auto"
    group_pattern: str = ""
    only_pattern: str | None = None
    mapping: Mapping[str, str] | None = None
    batch: int = 16
    seen: PictureView = AS_THE_FILE_SAYS


def evaluate_bundle(
    bundle: Bundle,
    data: Path,
    device: torch.device,
    spec: BundleEvaluationSpec,
    out: Path | None,
) -> Generator[Step, None, Evaluation]:
    """Measure a bundle on labelled pictures and write the report to ``out``, if there is one.

    Raises
    ------
    DataSetError
        If there is no such part, or a class that the bundle does not know.
    DeviceError, CardError, WeightsError
        If the bundle cannot run there.
    """
    check_measures()
    refuse_inputs(filter(None, [out]), [data])
    chosen = yield from dataset_to_evaluate(data, bundle.card, spec, learnt_by(bundle))
    notes = (
        *scale_notes(data, bundle.card),
        *chosen.dataset.pictures.notes,
        *sight_notes(bundle.card.channels, bundle.card.stain),
    )
    for said in notes:
        yield Step("data", 0, 0, message=said)
    settings = EvaluationSpec(batch=spec.batch, mapping=spec.mapping or {}, bundle=bundle.digest)
    evaluation = yield from evaluate(bundle.classifier(device), chosen.dataset.pictures, settings)
    for said in evaluation.notes:
        yield Step("data", 0, 0, message=said)
    notes = (*notes, *evaluation.notes)
    evaluation = replace(
        evaluation,
        measured=chosen.measured,
        notes=notes,
        left_out=chosen.left_out,
    )
    if out is not None:
        where = f"{data.name}: {chosen.measured}"
        published = published_of(bundle.card.provenance)
        background = background_of(chosen.dataset, (), where, bundle.card.name, published)
        write_evaluation(evaluation, out, replace(background, notes=notes))
    return evaluation


@dataclass(frozen=True, eq=False)
class MeasuredData:
    """What a bundle is measured on.

    Attributes
    ----------
    dataset
        The pictures.
    measured
        Which they are, in words.
    left_out
        How many were left out, as the bundle has learnt from them, and by what they were known.
    """

    dataset: Dataset
    measured: str
    left_out: Mapping[str, int] = field(default_factory=dict)


def dataset_to_evaluate(
    data: Path,
    card: Card,
    spec: BundleEvaluationSpec,
    learnt: Learnt = NOTHING_KEPT,
) -> Generator[Step, None, MeasuredData]:
    """Return the pictures to measure on: those of a part, without what the bundle has learnt from.

    Data that are not parted are parted again as the bundle's provenance says; if that gives the
    parting of its training, to the digest, only the test part is measured. Whatever the part, the
    pictures that are known by ``learnt`` are left out; the training's own parts, where they are
    asked for by name, are measured and said to be known.

    Raises
    ------
    DataSetError
        If there is no such part, or no picture that the bundle has not learnt from.
    """
    reading, said = reading_for(data, card, spec.seen, spec.group_pattern, spec.only_pattern)
    # Nobody learns here: one class can be measured as far as it goes.
    found = read_picture_set(data, replace(reading.reading, class_names=()), fewest=1)
    found = replace(found, seen=reading.seen, notes=(*said, *found.notes))
    opened = yield from look_at_pictures(found)
    opened.refuse_unheard(spec.seen)
    for name in opened.unheard(reading.seen):
        # The recipe's choice of a plane means nothing to data without any.
        reading = replace(reading, **{name: getattr(AS_THE_FILE_SAYS, name)})
    dataset, measured = yield from _part_of(data, card, spec, reading, opened, learnt)
    sifted = yield from sift(dataset.pictures, learnt)
    return _without_known(dataset, measured, sifted, learnt, spec.part)


def _part_of(
    data: Path,
    card: Card,
    spec: BundleEvaluationSpec,
    reading: DataSpec,
    opened: OpenedPictures,
    learnt: Learnt,
) -> Generator[Step, None, tuple[Dataset, str]]:
    """Return the pictures of the part that is wanted, and in words which they are."""
    pictures = opened.noted()
    if spec.part == "all" or pictures.is_split:
        return _chosen(Dataset(pictures), _part_wanted(spec, pictures), data)
    known: Any = card.provenance.get("data")
    if spec.part == "auto" and opened.is_broken and learnt.pictures is not None:
        return Dataset(pictures), ALL  # by their digests its own are known without being parted
    if isinstance(known, dict) and set(pictures.class_names) == set(card.class_names):
        again = yield from _parted_again(data, reading, opened, known.get("digest"))
        if again is not None and (yield from is_learnt_from(again, learnt)):
            part = _part_wanted(spec, again.pictures)
            dataset, measured = _chosen(again, part, data)
            said = "of the training's own data"
            if part == "test":
                said = f"{said}, kept from it"
            return dataset, f"{measured} {said}"
    if spec.part != "auto":
        problem = "these pictures are in no parts, and the bundle was not trained on them."
        raise DataSetError(problem, "Leave --part out to measure on all of them.", data)
    return Dataset(pictures), ALL


def _part_wanted(spec: BundleEvaluationSpec, pictures: PictureSet) -> PartChoice:
    if spec.part == "auto" and "test" in pictures.parts:
        return "test"
    return spec.part


def _without_known(
    dataset: Dataset, measured: str, sifted: Sifted, learnt: Learnt, part: PartChoice
) -> MeasuredData:
    pictures = sifted.pictures
    total, known = len(pictures), int(sifted.known.sum())
    if not known:
        said = "none of which the bundle has learnt from"
        if learnt.pictures is None:
            said = "of which some may have been learnt from"
            pictures = replace(pictures, notes=(*pictures.notes, NOT_KEPT))
        return MeasuredData(replace(dataset, pictures=pictures), f"{measured}, {said}")
    if part in {"train", "val"}:
        note = (
            f"The bundle has learnt from {known} of these {total} pictures, or was chosen by them"
            f" ({sifted.reasons}): the figures say how well, and nothing of new pictures."
        )
        pictures = replace(pictures, notes=(*pictures.notes, note))
        return MeasuredData(replace(dataset, pictures=pictures), f"{measured}, learnt from")
    if known == total:
        problem = f"the bundle has learnt from all {total} pictures ({sifted.reasons})."
        raise DataSetError(
            problem, "Measure it on pictures that were kept from its training.", pictures.root
        )
    note = (
        f"{known} of {total} pictures are left out, as the bundle has learnt from them:"
        f" {sifted.reasons}."
    )
    left = sifted.unknown()
    left = replace(left, notes=(*left.notes, note))
    said = f"without {known} of {total} that the bundle has learnt from"
    return MeasuredData(replace(dataset, pictures=left), f"{measured}, {said}", sifted.record())


def _parted_again(
    data: Path, reading: DataSpec, opened: OpenedPictures, digest: object
) -> Generator[Step, None, Dataset | None]:
    """Return data as the bundle's recipe parts them; None unless it makes the parts of a digest."""
    yield from opened.refuse_broken()
    with suppress(DataSetError):  # nobody has trained on them
        again = yield from dataset_for(data, reading)
        if split_record(again.pictures, reading.parting)["digest"] == digest:
            return again
    return None


def _chosen(
    dataset: Dataset,
    part: PartChoice,
    data: Path,
) -> tuple[Dataset, str]:
    if part in {"all", "auto"}:
        return dataset, ALL
    pictures = dataset.pictures.part(part)  # type: ignore[arg-type]  # the others were seen to above
    if not len(pictures):
        held = ", ".join(sorted(filter(None, set(dataset.pictures.parts)))) or "none"
        raise DataSetError(f"there is no {part} part.", f"Its parts are: {held}.", data)
    return replace(dataset, pictures=pictures), f"the {part} part"
