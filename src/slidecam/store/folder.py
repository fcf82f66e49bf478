"""A slide's output folder: ``run.json``, lock, and whether the run in it may be continued."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import RunExistsError, RunMismatchError, UsageError
from slidecam.files import write_json
from slidecam.foreground.mask import Foreground, mask_digest
from slidecam.locks import lock_folder
from slidecam.parsing import json_in
from slidecam.registry import deferred
from slidecam.store.layout import DAMAGE
from slidecam.store.run_store import BEGIN_ANEW, STORE_FOLDER, RunStore

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import zarr

    from slidecam.geometry import Size
    from slidecam.locks import FolderLock
    from slidecam.store.layout import StorePlan
else:
    zarr = deferred("zarr")

RUN_FILE = "run.json"

WHEN_WHOLE = "Wait until the slide is whole, then repeat the call with --overwrite."
"""What to do about a slide that was written while it was read."""

DIGESTS = ("slide", "model", "tissue mask")
"""Entries of a plan that are digests of content."""


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return what ``run.json`` says, or None where there is no readable one."""
    try:
        record = json_in(folder / RUN_FILE)
    except (OSError, ValueError):
        return None
    if isinstance(record, dict):
        return record
    return None


def read_attributes(folder: Path) -> dict[str, Any]:
    """Return what ``run.zarr`` says of itself without opening it; nothing where it cannot."""
    try:
        return dict(json_in(folder / STORE_FOLDER / "zarr.json")["attributes"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def kept_tissue(
    folder: Path, size: Size, picture: Mapping[str, Any], finder: str
) -> Foreground | None:
    """Return the tissue that a run's tiles were laid on, where it was found and not given.

    None where there is none, or nobody knows whether the same would be found now: on another
    picture, by another ``finder``, or because the mask itself is damaged.

    Parameters
    ----------
    folder
        The slide's output folder.
    size
        Of its level 0.
    picture
        Entries of a plan that say which picture is looked at; None where the plan has none.
    finder
        Who would look for tissue now.
    """
    kept = read_attributes(folder)
    found, digest = kept.get("tissue found", {}), kept.get("digest", {})
    now = json.loads(json.dumps(dict(picture)))
    if found.get("by") != finder or any(digest.get(key) != now[key] for key in now):
        return None
    try:
        packed = zarr.open_array(folder / STORE_FOLDER / "tissue", mode="r")
        mask = np.asarray(packed[...], np.bool_)
    except DAMAGE:
        return None
    if mask_digest(mask) != digest.get("tissue mask"):
        return None
    return Foreground(mask, size, str(found["from"]))


def spoil_run(folder: Path, words: str) -> None:
    """Note in ``run.zarr`` why nobody may continue it, as a sentence."""
    zarr.open_group(folder / STORE_FOLDER, mode="r+").attrs["spoiled"] = words


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace ``run.json`` in one step."""
    write_json(folder / RUN_FILE, record, ascii_only=True)


def find_runs(folder: Path) -> tuple[Path, ...]:
    """Return the slides' folders of a run: ``folder`` itself, or those in it.

    Raises
    ------
    UsageError
        If there is none.
    """
    if _is_run(folder):
        return (folder,)
    found: list[Path] = []
    if folder.is_dir():
        found = sorted(filter(_is_run, folder.iterdir()))
    if not found:
        raise UsageError(
            "There is no run of slidecam predict here.",
            "Pass the folder given as its --out.",
            folder,
        )
    return tuple(found)


def has_run(folder: Path) -> bool:
    """Whether a run was begun in ``folder``."""
    if (folder / STORE_FOLDER).exists():
        return True
    return (folder / RUN_FILE).exists() and not _came_to_nothing(read_run(folder))


def _is_run(folder: Path) -> bool:
    record = read_run(folder)
    if record is None:
        return False
    return (folder / STORE_FOLDER).exists() or not _came_to_nothing(record)


def _came_to_nothing(record: Mapping[str, Any] | None) -> bool:
    """Whether ``run.json`` without a store tells of a slide that failed before it was begun."""
    return record is not None and record.get("status") == "failed"


def lock_run(folder: Path) -> FolderLock:
    """Keep other processes out of ``folder`` until the lock is released or this process ends.

    Raises
    ------
    RunExistsError
        If another process is at work there; it is ``claimed`` then.
    """
    try:
        return lock_folder(folder, "Another slidecam is at work in this folder.")
    except RunExistsError as error:
        error.claimed = True
        raise


def open_or_create(folder: Path, plan: StorePlan, existing: str) -> RunStore:
    """Continue the run in ``folder`` or begin one.

    Parameters
    ----------
    folder
        The slide's output folder.
    plan
        What to lay out if there is nothing to continue, and what a run that is continued must be
        equal to.
    existing
        ``refuse``, ``resume`` or ``overwrite``.

    Raises
    ------
    RunExistsError
        If there is a run and ``existing`` is ``refuse``.
    RunMismatchError
        If there is a run of another plan and ``existing`` is ``resume``.
    StoreError
        If there is a run that cannot be read and ``existing`` is not ``overwrite``.
    """
    if existing == "overwrite" or not (folder / STORE_FOLDER).exists() or _was_cut_off(folder):
        return RunStore.create(folder, plan)
    if existing == "refuse":
        error = RunExistsError(
            folder,
            "There is a run here already.",
            "Pass --resume to continue it or --overwrite.",
        )
        # None was there when the call began: another process has begun and ended it meanwhile.
        error.claimed = True
        raise error
    store = RunStore.open(folder)
    store.mends = True
    _refuse_other_plan(store, plan)
    return store


def _was_cut_off(folder: Path) -> bool:
    """Whether a run was killed while it was laid out.

    It holds no batch yet, so there is nothing to lose.
    """
    if "complete" in read_attributes(folder):
        return False
    try:
        group = zarr.open_group(folder / STORE_FOLDER, mode="r")
    except FileNotFoundError:
        return not any((folder / STORE_FOLDER).iterdir())
    except DAMAGE:
        return False
    return "complete" not in group.attrs


def _refuse_other_plan(store: RunStore, plan: StorePlan) -> None:
    before, now = store.digest, json.loads(json.dumps(dict(plan.digest)))
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        changes = "; ".join(_change(key, before.get(key), now.get(key)) for key in changed)
        problem = f"The run here was made by another plan: {changes}."
        remedy = "Call it as the first time, pass --overwrite, or choose another --out."
        raise RunMismatchError(store.folder, problem, remedy)
    spoiled = read_attributes(store.folder).get("spoiled")
    if spoiled:
        raise RunMismatchError(store.folder, str(spoiled), WHEN_WHOLE)
    if not store.fits(plan):
        problem = "The run.zarr is damaged or holds other tiles than these."
        raise RunMismatchError(store.folder, problem, BEGIN_ANEW)


def _change(key: str, before: object, now: object) -> str:
    # A digest says nothing to a person but that it differs.
    if key in DIGESTS:
        return f"{key} has changed"
    return f"{key} was {before!r}, is {now!r}"
