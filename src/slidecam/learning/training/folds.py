"""A recipe trained on every fold: its figures, the folds' ensemble, and a training on everything.

The ensemble is the classifier that the figures speak for best: each picture's figure is one of its
members', which had not seen it. None is its own, since each picture was learnt from by one of them.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from statistics import median_high
from typing import TYPE_CHECKING, Any

from slidecam.errors import RecipeError
from slidecam.learning.data.dataset import (
    LEARNT_FROM,
    LEARNT_SLIDES,
    Dataset,
    folds_for,
    provenances,
    slide_prints,
)
from slidecam.learning.data.known import LEARNT_PICTURES, LearntPictures, learnt_by
from slidecam.learning.data.pictures import nameless
from slidecam.learning.evaluation.bundle import background_of
from slidecam.learning.evaluation.evaluation import Evaluation, pool_folds
from slidecam.learning.evaluation.figures import MEASURED_ON, records_of
from slidecam.learning.evaluation.report import (
    DOUBTFUL,
    write_doubtful_labels,
    write_evaluation,
)
from slidecam.learning.recipes.recipe import with_settings
from slidecam.learning.training.folder import FOLDS, TrainingFolder, refuse_others
from slidecam.learning.training.loop import Progress
from slidecam.learning.training.setup import TrainingCall, with_tile_size
from slidecam.learning.training.training import (
    Trained,
    check_beginning,
    check_call,
    train_on,
)
from slidecam.models.bundle import save_bundle, write_card
from slidecam.models.ensemble_bundle import ensemble_of
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from slidecam.learning.data.picture_files import Part
    from slidecam.learning.recipes.tables import Recipe, TrainSpec
    from slidecam.models.bundle import Bundle
    from slidecam.models.card import Card

FINAL_FOLDER = "final"
"""Where the training on everything lies, in ``--out``."""

MEMBERS_MEASURED = "members, each on the fold kept from it"
"""What an ensemble's figures are of, in its provenance."""

UNMEASURED = "unmeasured"
"""Where a provenance says that a classifier has no figures of its own."""


@dataclass(frozen=True)
class FoldSpec:
    """How often, and on what, a recipe is trained.

    Attributes
    ----------
    count, repeats
        Folds of a partition, and how many partitions.
    final
        Whether it is trained on all pictures afterwards, without any measure.
    """

    count: int = 5
    repeats: int = 1
    final: bool = False


def cross_validate(
    recipe: Recipe,
    data: Path,
    call: TrainingCall,
    spec: FoldSpec,
) -> Generator[Step, None, tuple[Evaluation, list[Trained]]]:
    """Train and measure a recipe on every fold, and leave the folds' ensemble as a bundle.

    Each fold is a training of its own in ``call.out/fold-<n>``, with its own validation part and
    temperature; a fold that is finished, or was stopped, is gone on with by ``resume``. Parts that
    the data bring are not heeded. ``call.out/bundle`` is their ensemble (see `models.ensemble`),
    and ``call.out/final`` the training on everything, where it is wanted.

    Returns
    -------
    evaluation, folds
        Of the test folds' predictions together, written to ``call.out/evaluation``; and each fold's
        training.

    Raises
    ------
    DataSetError
        If a class has fewer pictures, or patients, than there are folds. Else as `train`.
    RecipeError
        If the recipe has no meaning without a validation part, and ``spec.final`` is set.
    """
    check_beginning(recipe, call)
    fitted = with_tile_size(recipe, data)
    if spec.final:
        _refuse_final(fitted)
    refuse_others(call.out, FOLDS, spec.count * spec.repeats)
    check_call(fitted, _call_of(call, f"{FOLDS.begins}1"))
    if call.existing == "overwrite":
        for old in (TrainingFolder(call.out).bundle, call.out / FINAL_FOLDER):
            shutil.rmtree(old, ignore_errors=True)
    with suppress(OSError):  # it was there before, or holds something
        call.out.rmdir()
    datasets = yield from folds_for(data, fitted.data, spec.count, spec.repeats)
    done: list[Trained] = []
    for number, dataset in enumerate(datasets, 1):
        trained = yield from train_on(fitted, dataset, _call_of(call, f"{FOLDS.begins}{number}"))
        done.append(trained)
        figures = trained.evaluations["test"].figures
        shown = {name: figures[name].value or 0.0 for name in ("accuracy", "weighted F1")}
        yield Step("fold", number, len(datasets), shown)
    pooled = pool_folds([trained.evaluations["test"] for trained in done])
    folder = TrainingFolder(call.out)
    doubts = write_doubtful_labels(pooled.predictions, folder.evaluation / DOUBTFUL)
    for said in doubts:
        yield Step("data", 0, 0, message=said)
    notes = (*datasets[0].pictures.notes, *doubts)
    pooled = replace(pooled, measured="every fold", notes=notes)
    title = f"{recipe.name}, {spec.repeats} x {spec.count} folds"
    background = background_of(
        datasets[0],
        (),
        f"all of {data.name}, each picture by a network without it",
        title,
        recipe.published,
    )
    write_evaluation(pooled, folder.evaluation, replace(background, notes=notes))
    if fitted.graph is not None:
        said = "No ensemble is made of graphs of cells: each fold's bundle stands for itself."
        yield Step("data", 0, 0, message=said)
    else:
        _leave_ensemble(folder, fitted, done, pooled)
    if spec.final:
        yield from _train_final(fitted, datasets[0], call, done, pooled)
    folder.clear_features()
    return pooled, done


def bundles_left(out: Path) -> dict[str, str]:
    """Return the folders of the bundles that folds have left, by what they are."""
    found = {
        "bundle": TrainingFolder(out).bundle,
        "final": TrainingFolder(out / FINAL_FOLDER).bundle,
    }
    return {name: str(path) for name, path in found.items() if path.is_dir()}


def _call_of(call: TrainingCall, name: str) -> TrainingCall:
    """Return the call of one fold; features are the same for all, and one page tells of all."""
    folder = TrainingFolder(call.out / name)
    existing = call.existing
    if existing == "resume" and not folder.checkpoint.exists():
        existing = "refuse"
    return replace(
        call,
        out=folder.path,
        existing=existing,
        cache=call.cache or TrainingFolder(call.out).features,
        pages=False,
        share=True,
    )


def _leave_ensemble(
    folder: TrainingFolder,
    recipe: Recipe,
    done: Sequence[Trained],
    pooled: Evaluation,
) -> Bundle:
    """Write the folds' ensemble; what it has learnt from is what any of them has."""
    bundles = [trained.bundle for trained in done]
    count = len(bundles)
    card, weights = ensemble_of(bundles, f"{recipe.name}, mean of {count}")
    folder.bundle.mkdir(parents=True, exist_ok=True)
    own = dict(bundles[0].card.provenance)
    for key in ("measured", MEASURED_ON, "parent", "best_epoch", "epochs", "calibration"):
        own.pop(key, None)
    said = (
        "No figure is of the ensemble itself, since each picture was learnt from by a member: each"
        f" of the {count} was measured on the fold kept from it, accuracy"
        f" {pooled.figures['accuracy']}."
    )
    provenance = {
        **own,
        **card.provenance,
        "data": _learnt_data(bundles, folder),
        "measured": {MEMBERS_MEASURED: records_of(pooled.figures)},
        MEASURED_ON: {MEMBERS_MEASURED: pooled.extent},
        "calibration": {
            "pictures": card.calibrated_on,
            "note": (
                f"Of {count} members, each on its own validation part; their mean cannot be"
                " calibrated on pictures that one of them has learnt from."
            ),
        },
        "caveats": [said, *map(nameless, pooled.notes)],
    }
    sealed = replace(card, provenance=provenance)
    return save_bundle(folder.bundle, sealed, dict(weights), overwrite=True)


def _learnt_data(bundles: Sequence[Bundle], folder: TrainingFolder) -> dict[str, Any]:
    """Return what an ensemble's provenance says of its data, having written all digests."""
    pictures: LearntPictures | None = None
    groups: set[str] = set()
    slides: set[object] = set()
    for bundle in bundles:
        learnt = learnt_by(bundle)
        groups |= learnt.groups
        if learnt.pictures is not None:
            pictures = learnt.pictures.and_those(pictures)
        for provenance in provenances(bundle.card.provenance):
            slides |= slide_prints(provenance)
    first: Mapping[str, Any] = bundles[0].card.provenance
    data: dict[str, Any] = {
        "content": first["data"]["content"],
        "pictures": first["data"]["pictures"],
    }
    if groups:
        data[LEARNT_FROM] = sorted(groups)
    if pictures is not None:
        data[LEARNT_PICTURES] = pictures.distinct().save(folder.bundle)
    known = sorted(map(str, filter(None, slides)))
    if known:
        data[LEARNT_SLIDES] = known
    return data


def _refuse_final(recipe: Recipe) -> None:
    """Refuse a training on everything of a recipe that watches a validation part.

    RecipeError.
    """
    if recipe.graph is not None:
        raise RecipeError(
            "--final is not for a graph of cells, which keeps its best epoch by validation.",
            "Leave --final out.",
            recipe.path,
        )
    for phase in recipe.phases:
        if phase.schedule == "plateau":
            raise RecipeError(
                "--final has no validation loss, and train.schedule is plateau.",
                'Leave --final out, or pass --set train.schedule="none".',
                recipe.path,
            )


def _train_final(
    recipe: Recipe,
    dataset: Dataset,
    call: TrainingCall,
    done: Sequence[Trained],
    pooled: Evaluation,
) -> Generator[Step, None, Bundle]:
    """Train on all pictures for as long as the folds' median needed, and call it unmeasured."""
    pictures = dataset.pictures
    parts: list[Part] = ["train"] * len(pictures)
    whole = replace(dataset, pictures=pictures.with_parts(parts))
    fitted = with_settings(recipe, _final_settings(recipe, [each.history for each in done]))
    made = yield from train_on(fitted, whole, _call_of(call, FINAL_FOLDER))
    said = (
        "unmeasured: trained on all pictures; figures are those of the cross-validation"
        f" (accuracy {pooled.figures['accuracy']} of the folds), not its own"
    )
    card = _unmeasured(made.bundle.card, said)
    yield Step("data", 0, 0, message=f"{made.bundle.path} is {said}.")
    return write_card(made.bundle, card)


def _unmeasured(card: Card, said: str) -> Card:
    own = dict(card.provenance)
    for key in ("measured", MEASURED_ON):
        own.pop(key, None)
    caveats: Any = own.get("caveats") or ()
    return replace(
        card,
        name=f"{card.name}, final",
        provenance={
            **own,
            UNMEASURED: said,
            "calibration": {"pictures": 0, "note": f"{said[0].upper()}{said[1:]}."},
            "caveats": [f"{said[0].upper()}{said[1:]}.", *caveats],
        },
    )


def _final_settings(
    recipe: Recipe,
    histories: Sequence[Sequence[Mapping[str, Any]]],
) -> list[str]:
    """Return what is set over a recipe for a training without validation.

    Each phase has as many epochs as the median fold needed to its best one; a schedule that falls
    with the epochs falls within these.
    """
    settings = ["data.train=1.0", "data.val=0.0", "data.test=0.0"]
    settings.append('train.monitor="last"')
    lengths = [epochs_to_best(recipe.phases, rows) for rows in histories]
    single = "phase" not in recipe.table
    for number in range(len(recipe.phases)):
        # A phase that helped no fold keeps one epoch: what it trains is then as the others left it.
        epochs = max(1, median_high([each[number] for each in lengths]))
        table = "train" if single else f"phase.{number}"
        settings.append(f"{table}.epochs={epochs}")
        if not single:
            settings.append(f'{table}.monitor="last"')
        if recipe.phases[number].patience:
            settings.append(f"{table}.patience=0")
    return settings


def epochs_to_best(
    phases: Sequence[TrainSpec],
    history: Sequence[Mapping[str, Any]],
) -> list[int]:
    """Return how many epochs of each phase lie before the best one that it leaves."""
    progress = Progress()
    needed = [0] * len(phases)
    for row in history:
        number = int(row["phase"])
        while progress.phase < number:
            progress.next_phase()
        if progress.note(dict(row), phases[number].monitor):
            needed[number] = progress.epoch
    return needed
