"""From a recipe and pictures to a bundle with its measures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import RecipeError, UsageError
from slidecam.files import refuse_inputs
from slidecam.learning.calibration import Calibration, fit_calibration, with_offsets
from slidecam.learning.cells.training import train_graph_bundle
from slidecam.learning.data.dataset import (
    Dataset,
    content_digest,
    dataset_for,
    split_record,
)
from slidecam.learning.data.pictures import counted
from slidecam.learning.data.pixels import Inputs, Pictures, hold_pictures
from slidecam.learning.evaluation.bundle import measure_bundle
from slidecam.learning.metrics import check_measures
from slidecam.learning.training.features import FeaturePlan, cached_features, cut_network
from slidecam.learning.training.folder import (
    SINGLE,
    TrainingFolder,
    TrainingOutcome,
    check_recipe,
    check_tensorboard,
    locked_folder,
    provenance_of,
    refuse_others,
    write_plan,
)
from slidecam.learning.training.loop import Progress, Samples, logits_of
from slidecam.learning.training.losses import loss_for
from slidecam.learning.training.setup import (
    PixelInputs,
    TrainingCall,
    calibrated,
    card_for,
    check_weights,
    network_for,
    weights_facts,
    with_tile_size,
)
from slidecam.learning.training.trainer import Trainer, check_same, read_checkpoint
from slidecam.models.backends import choose_device
from slidecam.models.bundle import Bundle, save_bundle
from slidecam.models.classifier import normalised
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import nn

    from slidecam.learning.data.picture_files import Part
    from slidecam.learning.data.pictures import PictureSet
    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.recipes.tables import Recipe
    from slidecam.models.card import Card


@dataclass(frozen=True, eq=False)
class Trained:
    """What a training has made.

    Attributes
    ----------
    bundle
        The classifier with its best weights, its card complete.
    history
        One row of figures for each epoch.
    best_epoch
        Which of them was kept, counted from 1.
    evaluations
        Measures of the validation and test parts, those of them that there are.
    notes
        What a careful user wants to know of the pictures, as sentences.
    """

    bundle: Bundle
    history: list[dict[str, Any]]
    best_epoch: int
    evaluations: Mapping[Part, Evaluation]
    notes: tuple[str, ...] = ()


def train(
    recipe: Recipe,
    data: Path,
    call: TrainingCall,
) -> Generator[Step, None, Trained]:
    """Train a recipe's classifier on the pictures in ``data``, measure it and leave it as a bundle.

    Raises
    ------
    DataSetError
        If there is nothing to learn from, or a picture cannot be read.
    RecipeError
        If the recipe does not fit its network, or training runs away.
    RunExistsError, CheckpointError
        If ``call.out`` may not be used, or holds another training than the one to resume.
    DeviceError, UsageError, WeightsError, UntrustedCodeError
        If the device or the first weights are not to be had.

    Notes
    -----
    Closing the generator stops the training; its last checkpoint stays, to be resumed. An error
    before the first epoch leaves ``call.out`` as it was; one before its end leaves nothing of the
    training there.
    """
    check_beginning(recipe, call)
    refuse_inputs([call.out], [data])
    fitted = with_tile_size(recipe, data)
    check_call(fitted, call)
    dataset = yield from dataset_for(data, fitted.data)
    return (yield from train_on(fitted, dataset, call))


def check_beginning(recipe: Recipe, call: TrainingCall) -> None:
    """Refuse packages, a device and weights that are not to be had, and a cache of nothing."""
    check_measures()
    choose_device(call.device)
    check_weights(recipe, call.weights)
    if call.tensorboard:
        check_tensorboard()
        if recipe.graph is not None:
            problem = "--tensorboard is for networks of pictures, and this recipe has a [graph]."
            raise UsageError(problem, "Leave it out; history.csv has every epoch.", recipe.path)
    if call.cache is not None and recipe.features is None:
        problem = "--cache keeps a recipe's features, and this recipe has no [features]."
        raise UsageError(problem, "Leave --cache out.", recipe.path)


def check_call(recipe: Recipe, call: TrainingCall) -> None:
    """Refuse what can be known to be wrong before any picture is looked at.

    The folder, a lock, another recipe.

    Raises
    ------
    RunExistsError, CheckpointError, UsageError
        As `train`.
    """
    refuse_others(call.out, SINGLE)
    with locked_folder(call.out, call.existing) as folder:
        if call.existing == "resume" and folder.checkpoint.exists():
            check_recipe(folder, recipe)


def train_on(
    recipe: Recipe,
    dataset: Dataset,
    call: TrainingCall,
) -> Generator[Step, None, Trained]:
    """Train on pictures whose parts are settled; see `train`."""
    dataset = dataset.noted(recipe.idle)
    for note in (counted(dataset.pictures), *dataset.pictures.notes):
        yield Step("data", 0, 0, message=note)
    if recipe.graph is not None:
        made = yield from train_graph_bundle(recipe, recipe.graph, dataset.pictures, call)
        bundle, history, best_epoch = made.bundle, made.history, made.best_epoch
    else:
        bundle, progress = yield from _train_network(recipe, dataset.pictures, call)
        history, best_epoch = progress.history, progress.best_epoch
    finished, evaluations = yield from measure_bundle(bundle, dataset, history, call)
    return Trained(finished, history, best_epoch, evaluations, dataset.pictures.notes)


def _train_network(
    recipe: Recipe,
    pictures: PictureSet,
    call: TrainingCall,
) -> Generator[Step, None, tuple[Bundle, Progress]]:
    device = choose_device(call.device)
    with locked_folder(call.out, call.existing) as folder:
        network = network_for(recipe, len(pictures.class_names), call.weights)
        card = card_for(recipe, network, pictures.class_names)
        facts = {
            "recipe": recipe.digest,
            "pictures": content_digest(pictures),
            "split": split_record(pictures, recipe.data.parting)["digest"],
            "first_weights": weights_facts(recipe, call.weights),
            "class_names": list(pictures.class_names),
        }
        begun = None
        if call.existing == "resume" and folder.checkpoint.exists():
            begun = read_checkpoint(folder.checkpoint)
            check_same(begun, facts, folder.checkpoint)
        trainer = yield from trainer_for(
            recipe,
            pictures,
            call,
            Start(network.to(device), card, facts, folder, device),
        )
        trainer.check()
        if begun is None:
            folder.clear()
            write_plan(folder, recipe, pictures)
        try:
            yield from trainer.follow(begun)
        finally:
            if not folder.checkpoint.exists():
                # no epoch has ended: there is nothing to go on with, and nothing to be in the way
                folder.clear()
        bundle, progress = _conclude(trainer, card, recipe, pictures), trainer.progress
        del trainer  # Windows removes no file that is mapped, as features may be
        folder.clear_features()
    return bundle, progress


@dataclass(frozen=True, eq=False)
class Start:
    """What is settled before anything is computed."""

    network: nn.Module
    card: Card
    facts: dict[str, Any]
    folder: TrainingFolder
    device: torch.device


def trainer_for(
    recipe: Recipe,
    pictures: PictureSet,
    call: TrainingCall,
    start: Start,
) -> Generator[Step, None, Trainer]:
    """Return a training before its first epoch: its pictures are held, its features computed."""
    if start.folder.note:
        yield Step("data", 0, 0, message=start.folder.note)
    held = yield from hold_pictures(
        pictures.paths, start.card, recipe.data.memory_mb, pictures.seen
    )
    parts = np.array(pictures.parts)
    rows = {part: np.flatnonzero(parts == part) for part in ("train", "val")}
    running, inputs = (
        start.network,
        PixelInputs(held, start.card, recipe.augment, start.device, _changed(recipe, pictures)),
    )
    given: Inputs = inputs
    if recipe.features is not None:
        running, given = yield from _on_features(recipe, held, rows["train"], call, start)
    seen = rows["train"]
    if recipe.data.repeat:
        seen = np.repeat(seen, recipe.data.times(pictures.rows(seen).names))
    samples = Samples(given, pictures.labels, seen, rows["val"], len(pictures.class_names))
    return Trainer(
        start.network,
        running,
        samples,
        recipe.phases,
        start.device,
        start.folder,
        start.facts,
        events=call.tensorboard,
    )


def _changed(recipe: Recipe, pictures: PictureSet) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
    """Return which pictures are augmented, bool (N,); None for all."""
    classes = recipe.augment.classes
    if not classes:
        return None
    for name in classes:
        if name not in pictures.class_names:
            raise RecipeError(
                f"augment.classes names {name!r}, and the data have no such class.",
                f"Name some of {', '.join(pictures.class_names)}, or none for all.",
            )
    chosen = [pictures.class_names.index(name) for name in classes]
    return np.isin(pictures.labels, chosen)


def _on_features(
    recipe: Recipe,
    held: Pictures,
    trained: np.ndarray[Any, np.dtype[np.int64]],
    call: TrainingCall,
    start: Start,
) -> Generator[Step, None, tuple[nn.Module, Inputs]]:
    spec = recipe.features
    assert spec is not None  # noqa: S101  (for the type checker)
    probe = normalised(held.batch(np.arange(min(2, len(held.paths)))).to(start.device), start.card)
    cut = cut_network(start.network, spec.cut, probe)
    kept = spec
    if call.cache is not None:
        kept = replace(spec, memory_mb=0)
    copied = trained
    if call.share:
        copied = np.arange(len(held.paths))
    plan = FeaturePlan(held, start.card, copied, recipe.augment, recipe.phases[0].seed, kept)
    source = f"{start.facts['pictures']} {cut.digest}"
    folder = call.cache or start.folder.features
    features = yield from cached_features(cut.beginning, plan, start.device, source, folder)
    return cut.end, features


def _offsets(trainer: Trainer) -> Sequence[float]:
    """Return what the last phase's loss added to the logits; nothing where it added nothing."""
    samples = trainer.samples
    added = loss_for(trainer.phases[-1], samples.targets(samples.train), samples.classes).offsets
    if added is None:
        return ()
    return tuple(map(float, added))


def _conclude(
    trainer: Trainer,
    card: Card,
    recipe: Recipe,
    pictures: PictureSet,
) -> Bundle:
    samples, progress = trainer.samples, trainer.progress
    offsets = _offsets(trainer)
    found = with_offsets(Calibration(1.0, "There is no validation picture."), offsets)
    if len(samples.val):
        logits = logits_of(trainer.running, samples.inputs, samples.val)
        weighted = recipe.phases[-1].balance != "none"
        labels = samples.labels[samples.val]
        found = fit_calibration(logits, labels, weighted=weighted, offsets=offsets)
    outcome = TrainingOutcome(
        content=trainer.facts["pictures"],
        first_weights=trainer.facts["first_weights"],
        epochs=progress.overall,
        best_epoch=progress.best_epoch,
        device=trainer.device,
    )
    provenance = provenance_of(recipe, pictures, outcome)
    finished = calibrated(replace(card, provenance=provenance), found)
    return save_bundle(trainer.folder.bundle, finished, trainer.network, overwrite=True)
