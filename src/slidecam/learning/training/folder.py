"""A training's output folder: what lies where, whether it may be used, and its plain files."""

from __future__ import annotations

import csv
import json
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from slidecam.errors import CheckpointError, RunExistsError, UsageError
from slidecam.files import replacing
from slidecam.learning.training.checkpoints import CHECKPOINT_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LOCK_FILE, BUNDLE_FOLDER = ".lock", "bundle"


@dataclass(frozen=True)
class TrainingFolder:
    """Where a training leaves what it makes; the names are a contract.

    Attributes
    ----------
    path
        The folder.
    """

    path: Path

    @property
    def bundle(self) -> Path:
        """The finished classifier."""
        return self.path / BUNDLE_FOLDER

    @property
    def checkpoint(self) -> Path:
        """The training after its last epoch."""
        return self.path / CHECKPOINT_FILE

    @property
    def history(self) -> Path:
        """The figures of every epoch, for the learning curve."""
        return self.path / "history.csv"

    @property
    def recipe(self) -> Path:
        """The recipe as it was run, with what was set over it."""
        return self.path / "recipe.toml"

    @property
    def split(self) -> Path:
        """Which picture is in which part: counts and digest."""
        return self.path / "split.json"

    @property
    def pictures(self) -> Path:
        """Which picture is in which part: a table that ``--data`` takes."""
        return self.path / "pictures.csv"

    @property
    def duplicates(self) -> Path:
        """What is there more than once."""
        return self.path / "duplicates.json"

    @property
    def features(self) -> Path:
        """Cached features, while the training lasts."""
        return self.path / "features"

    @property
    def evaluation(self) -> Path:
        """Measures of the validation and test parts."""
        return self.path / "evaluation"

    @property
    def protocols(self) -> Path:
        """Of a training on a graph: its measures beside the baselines'."""
        return self.path / "protocols"

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
        return set(self.path.iterdir()) <= {
            *plan,
            self.history,
            self.features,
            self.path / LOCK_FILE,
        }

    def clear_features(self) -> None:
        """Remove cached features, which nothing needs after the training."""
        shutil.rmtree(self.features, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a training left here, and nothing else."""
        for folder in (self.bundle, self.features, self.evaluation, self.protocols):
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
def claimed(path: Path, existing: str) -> Iterator[TrainingFolder]:
    """Give the folder to one training.

    It is made if it is not there, and removed again if nothing comes into it.

    Parameters
    ----------
    path
        The folder.
    existing
        Where a training was begun there: ``refuse``, ``resume`` or ``overwrite`` it.

    Raises
    ------
    RunExistsError
        If another process trains there; if a training was begun there, or other files lie there,
        and ``existing`` is ``refuse``.
    CheckpointError
        If there is nothing to resume.
    UsageError
        If the folder cannot be made or written in.
    """
    folder = TrainingFolder(path)
    check_usable(folder, existing)
    lock = FileLock(path / LOCK_FILE, timeout=0, thread_local=False)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        remedy = "Wait until it is done, or choose another --out."
        raise RunExistsError(
            path, "another slidecam is training in this folder.", remedy
        ) from error
    except OSError as error:
        problem = f"--out {path} cannot be made or written in: {error.strerror or error}."
        raise UsageError(
            problem, "Name a folder that may be written, or that can be made."
        ) from error
    try:
        yield folder
    finally:
        lock.release()
        (path / LOCK_FILE).unlink(missing_ok=True)
        if not folder.begun():
            folder.clear_features()
        if not any(path.iterdir()):
            path.rmdir()


def check_usable(folder: TrainingFolder, existing: str) -> None:
    """Refuse a folder that holds what must not be lost; see `claimed`."""
    path = folder.path
    if folder.abandoned():
        return
    if existing == "resume" and not folder.checkpoint.exists():
        begun = folder.bundle.exists()
        remedy = "Pass --overwrite to begin anew." if begun else "Leave --resume out to begin one."
        raise CheckpointError(
            f"{path}: there is no training to resume: no {CHECKPOINT_FILE}.", remedy
        )
    if existing != "refuse" or not path.exists():
        return
    if folder.begun():
        remedy = "Pass --resume to go on with it, --overwrite to begin anew, or another --out."
        raise RunExistsError(path, "a training was begun in this folder already.", remedy)
    if not path.is_dir() or any(each.name != LOCK_FILE for each in path.iterdir()):
        raise RunExistsError(
            path, "there is something else here already.", "Choose an empty folder for --out."
        )


def write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one row for each epoch."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(history)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a JSON object."""
    write_text(path, json.dumps(record, indent=2, ensure_ascii=False, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")
