"""A training's output folder: what lies where, whether it may be used, and what is written there.

Before a training, what is about to be done; after it, where a bundle comes from.
"""

from __future__ import annotations

import platform
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from slidecam.errors import CheckpointError, RunExistsError
from slidecam.extras import need
from slidecam.files import write_csv, write_json, write_text
from slidecam.learning.data.dataset import split_record
from slidecam.learning.data.picture_files import PICTURE_TABLE
from slidecam.learning.data.pictures import PictureSet, write_picture_table
from slidecam.learning.recipes.recipe import recipe_text
from slidecam.locks import LOCK_FILE, lock_folder
from slidecam.parsing import ParseError, toml_in, toml_of, whole_number
from slidecam.settings import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from slidecam.learning.recipes.tables import Recipe


BUNDLE_FOLDER = "bundle"
CHECKPOINT_FILE = "checkpoint.safetensors"


class TrainingFolder:
    """Where a training leaves what it makes; the names are a contract.

    Parameters
    ----------
    path
        The folder.

    Attributes
    ----------
    bundle
        The finished classifier.
    checkpoint
        The training after its last epoch.
    history
        The figures of every epoch, for the learning curve.
    recipe
        The recipe as it was run, with what was set over it.
    split
        Which picture is in which part: counts and digest.
    pictures
        Which picture is in which part: a table that ``--data`` takes.
    duplicates
        What is there more than once.
    features
        Cached features, while the training lasts.
    evaluation
        Measures of the validation and test parts.
    protocols
        Of a training on a graph: its measures beside the baselines'.
    events
        The history once more, where it is wanted for TensorBoard.
    note
        What a reader should know of the folder itself; empty as a rule.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.note = path, ""
        self.bundle = path / BUNDLE_FOLDER
        self.checkpoint = path / CHECKPOINT_FILE
        self.history = path / "history.csv"
        self.recipe = path / "recipe.toml"
        self.split = path / "split.json"
        self.pictures = path / PICTURE_TABLE
        self.duplicates = path / "duplicates.json"
        self.features = path / "features"
        self.evaluation = path / "evaluation"
        self.protocols = path / "protocols"
        self.events = path / "tensorboard"

    def begun(self) -> bool:
        """Whether there is a training here that is done, or can be gone on with."""
        return self.checkpoint.exists() or self.bundle.exists()

    def abandoned(self) -> bool:
        """Whether a training was killed here before an epoch had ended.

        Only its plan is left, and nothing is lost.
        """
        plan = {self.recipe, self.split, self.pictures}
        if self.begun() or not all(file.is_file() for file in plan):
            return False
        ours = {*plan, self.history, self.features, self.events, self.path / LOCK_FILE}
        return set(self.path.iterdir()) <= ours

    def clear_features(self) -> None:
        """Remove cached features, which nothing needs after the training."""
        shutil.rmtree(self.features, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a training left here, and nothing else."""
        left = (self.bundle, self.features, self.evaluation, self.protocols, self.events)
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        for file in (
            self.checkpoint,
            self.history,
            self.recipe,
            self.split,
            self.pictures,
            self.duplicates,
        ):
            file.unlink(missing_ok=True)


@contextmanager
def locked_folder(path: Path, existing: str) -> Iterator[TrainingFolder]:
    """Give the folder to one training.

    It is made if it is not there, and removed again if nothing comes into it.

    Parameters
    ----------
    path
        The folder.
    existing
        Where a training was begun there: ``refuse``, ``resume`` or ``overwrite`` it. ``resume``
        begins where none was.

    Raises
    ------
    RunExistsError
        If another process trains there; if a training was begun there, or other files lie there,
        and ``existing`` is ``refuse``.
    CheckpointError
        If a training has left its bundle and nothing to resume.
    UsageError
        If the folder cannot be made or written in.
    """
    folder = TrainingFolder(path)
    check_usable(folder, existing)
    lock = lock_folder(path, "another slidecam is training in this folder.")
    folder.note = lock.note
    try:
        yield folder
    finally:
        lock.release()
        (path / LOCK_FILE).unlink(missing_ok=True)
        if not folder.begun():
            folder.clear_features()
        if not any(path.iterdir()):
            path.rmdir()


@dataclass(frozen=True)
class CallKind:
    """A kind of call that `slidecam train` leaves a folder of its own for.

    Attributes
    ----------
    name
        What is begun by it, in words.
    begins
        How the folders of its trainings begin, a number behind; nothing where it is one training.
    """

    name: str
    begins: str = ""

    def begun_in(self, path: Path) -> list[int]:
        """Return the numbers of its trainings in a folder; 0 of a single one."""
        if not self.begins:
            return [0] * (path / CHECKPOINT_FILE).exists()
        numbers: list[int] = []
        for each in path.glob(f"{self.begins}*"):
            number = whole_number(each.name.removeprefix(self.begins))
            if number is not None and TrainingFolder(each).begun():
                numbers.append(number)
        return sorted(numbers)


SINGLE = CallKind("a training without folds")
FOLDS = CallKind("a cross-validation", "fold-")
SWEEP = CallKind("a search among several values", "set-")


def refuse_others(path: Path, kind: CallKind, count: int = 0) -> None:
    """Refuse a folder in which another kind of call was begun, or one of more than ``count``.

    What they left would be taken for a part of what is made now, also where that may overwrite.

    Raises
    ------
    RunExistsError
        In either case.
    """
    for other in (SINGLE, FOLDS, SWEEP):
        if other != kind and other.begun_in(path):
            problem = f"{other.name} was begun in this folder already."
            raise RunExistsError(path, problem, "Choose another folder for --out.")
    left = kind.begun_in(path)
    if kind.begins and left and left[-1] > count:
        problem = f"{kind.name} of {left[-1]} trainings or more was begun in this folder already."
        raise RunExistsError(path, problem, "Call it as it was begun, or choose another --out.")


def check_usable(folder: TrainingFolder, existing: str) -> None:
    """Refuse a folder that holds what must not be lost; see `locked_folder`."""
    path = folder.path
    if folder.abandoned():
        return
    if existing == "resume" and not folder.checkpoint.exists():
        if folder.bundle.exists():
            problem = f"there is no training to resume: no {CHECKPOINT_FILE}."
            raise CheckpointError(problem, "Pass --overwrite to begin anew.", path)
        existing = "refuse"  # nothing was begun: it begins, where nothing else lies
    if existing != "refuse" or not path.exists():
        return
    if folder.begun():
        remedy = "Pass --resume to go on with it, --overwrite to begin anew, or another --out."
        raise RunExistsError(path, "a training was begun in this folder already.", remedy)
    if not path.is_dir() or any(each.name != LOCK_FILE for each in path.iterdir()):
        raise RunExistsError(
            path,
            "there is something else here already.",
            "Choose an empty folder for --out.",
        )


def write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one row for each epoch."""
    columns: dict[str, Any] = {}
    for row in history:
        columns |= row
    rows = [[row.get(key) for key in columns] for row in history]
    write_csv(path, [list(columns), *rows])


def check_tensorboard() -> None:
    """Refuse to write for TensorBoard where it is not installed; UsageError."""
    need("tensorboard", otherwise="leave it out")


class EventWriter:
    """Writes a training's figures as TensorBoard reads them, one event file for each process.

    Parameters
    ----------
    folder
        Of the event files.
    begun
        Epochs that are over already. TensorBoard forgets what an earlier process wrote of later
        ones.
    """

    def __init__(self, folder: Path, begun: int) -> None:
        check_tensorboard()
        # An extra, which not everybody has.
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        self._writer: Any = SummaryWriter(str(folder), purge_step=begun + 1)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write the figures of one epoch, by their names in ``history.csv``."""
        for name, value in row.items():
            if name != "epoch" and isinstance(value, int | float):
                part, _line, figure = name.partition("_")
                tag = name
                if part in {"train", "val"}:
                    tag = f"{figure}/{part}"
                self._writer.add_scalar(tag, value, row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


PACKAGES = ("slidecam", "torch", "timm", "numpy", "pillow")


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training came to, for the provenance.

    Attributes
    ----------
    content
        Digest of the pictures' content.
    first_weights
        Where the network began.
    epochs, best_epoch
        How many there were, and which of them was kept, counted from 1.
    device
        Where it was trained.
    packages
        What was used beside `PACKAGES`.
    """

    content: str
    first_weights: Mapping[str, Any]
    epochs: int
    best_epoch: int
    device: torch.device
    packages: tuple[str, ...] = ()


def write_plan(
    folder: TrainingFolder,
    recipe: Recipe,
    pictures: PictureSet,
) -> None:
    """Write the recipe as it is run, and which picture is in which part."""
    write_text(folder.recipe, recipe_text(recipe.table))
    write_json(folder.split, split_record(pictures, recipe.data.parting))
    write_picture_table(pictures, folder.pictures)


def check_recipe(folder: TrainingFolder, recipe: Recipe) -> None:
    """Refuse to go on with another recipe than the one that was run, naming the keys that differ.

    CheckpointError.
    """
    try:
        before = toml_in(folder.recipe)
    except (OSError, ParseError):
        return  # it was removed or written over: the checkpoint knows the digest
    was, now = _keys(before), _keys(toml_of(recipe_text(recipe.table)))
    changed = [key for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)]
    if changed:
        differences = [f"{key} (was {_shown(was, key)}, is {_shown(now, key)})" for key in changed]
        raise CheckpointError(
            f"this training was begun with another recipe: {', '.join(differences)}.",
            "Call it as it was begun, or begin anew with --overwrite.",
            folder.path,
        )


def _keys(table: Mapping[str, Any]) -> dict[str, object]:
    """Return a recipe's values by key: ``train.lr``, ``phase.0.lr``."""
    found: dict[str, object] = {}
    for name, value in table.items():
        tables: dict[str, Any] = {name: value}
        if isinstance(value, list):
            tables = {f"{name}.{place}": each for place, each in enumerate(value)}
        for prefix, each in tables.items():
            if not isinstance(each, dict):
                found[prefix] = each
                continue
            for key, setting in each.items():
                found[f"{prefix}.{key}"] = setting
    return found


def _shown(table: Mapping[str, object], key: str) -> str:
    if key in table:
        return shown(table[key])
    return "left out"


def provenance_of(
    recipe: Recipe,
    pictures: PictureSet,
    outcome: TrainingOutcome,
) -> dict[str, Any]:
    """Return where a bundle comes from, as JSON values: recipe, data, weights, versions, time."""
    device = outcome.device
    place = "cpu"
    if device.type == "cuda":
        place = torch.cuda.get_device_name(device)
    versions = {name: version(name) for name in (*PACKAGES, *outcome.packages)}
    published = {}
    if recipe.published is not None:
        published["published"] = recipe.published.record()
    return {
        **published,
        "recipe": recipe_text(recipe.table),
        "data": {
            **split_record(pictures, recipe.data.parting),
            "content": outcome.content,
        },
        "first_weights": dict(outcome.first_weights),
        "seed": recipe.phases[0].seed,
        "epochs": outcome.epochs,
        "best_epoch": outcome.best_epoch,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "with": {**versions, "python": platform.python_version(), "device": place},
    }
