"""One slide's run on disk: a Zarr v3 group that is committed batch by batch, and `run.json` beside it.

Rows of the store are in streaming order, so that a batch is one contiguous piece. Every write replaces whole files,
and the status of a batch is written last: a run that is killed at any moment holds only whole batches, and a resumed
one computes exactly the missing ones, and those again of which tiles had failed.

The store itself remembers the plan it was made by, so that it does not depend on ``run.json``, which people may open
and harm. One process at a time works on it: a lock that the system drops with the process keeps others out.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from filelock import FileLock, Timeout

from slidecam.errors import RunExistsError, RunMismatchError, StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

ROWS_PER_CHUNK = 1024
"""Rows in one file of the store: few enough files for a network drive, small enough to rewrite at each batch."""

CHUNK_BYTES = 2_000_000
"""Largest file of raw maps that is rewritten at each batch."""

RUN_FILE = "run.json"
STORE_FOLDER = "run.zarr"
FAILURES_FOLDER = "failures"
LOCK_FILE = ".lock"

ARRAYS = ("grid_row", "boxes", "batch_starts", "status", "logits", "probabilities")
"""What every store holds; ``maps`` comes to it where an explanation was asked for."""

DIGESTS = ("slide", "model", "tissue mask")
"""Entries of a plan that are digests of content."""

BEGIN_ANEW = "Pass --overwrite to begin anew; what can still be read in it is lost then."


class Status(IntEnum):
    """What became of a tile."""

    PENDING = 0
    DONE = 1
    FAILED = 2


@dataclass(frozen=True)
class TileResults:
    """What one batch leaves behind; rows of failed tiles mean nothing until they are `blanked`.

    Attributes
    ----------
    logits, probabilities
        float32, (tiles, classes).
    maps
        Raw class-activation maps, float32, (tiles, mapped classes, height, width), or None. The store keeps them in
        float16: three digits, at half the size.
    failures
        Position in the batch and reason of every tile that failed.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    failures: Mapping[int, str]

    def blanked(self) -> TileResults:
        """Return the same with not-a-number in every row of a failed tile."""
        if not self.failures:
            return self
        maps = None if self.maps is None else _blanked(self.maps, self.failures)
        logits, probabilities = (_blanked(values, self.failures) for values in (self.logits, self.probabilities))
        return TileResults(logits, probabilities, maps, self.failures)


@dataclass(frozen=True)
class StorePlan:
    """The shape of a run, fixed before its first batch.

    Attributes
    ----------
    boxes
        int64, (tiles, 4), level-0 pixels, in grid order.
    batches
        Grid rows of each batch, in streaming order.
    step
        Level-0 pixels from one tile to the next.
    classes
        How many classes there are.
    map_shape
        (mapped classes, height, width) of a tile's raw maps, or None where none are kept.
    digest
        What decides every result (slide, bundle, tiling, …), as JSON; a run is continued only if it is equal.
    """

    boxes: NDArray[np.int64]
    batches: Sequence[NDArray[np.int64]]
    step: int
    classes: int
    map_shape: tuple[int, int, int] | None
    digest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def order(self) -> NDArray[np.int64]:
        """Grid rows in streaming order."""
        return np.concatenate(self.batches).astype(np.int64) if self.batches else np.zeros(0, np.int64)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each batch begins in `order`."""
        sizes = [len(batch) for batch in self.batches]
        return np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(sizes)]


class RunStore:
    """The results of one slide, growing batch by batch.

    Make one with `RunStore.create` or `RunStore.open`.

    Attributes
    ----------
    folder
        The slide's output folder, which holds ``run.zarr`` and ``run.json``.
    """

    def __init__(self, folder: Path, group: zarr.Group) -> None:
        self.folder = folder
        self._group = group
        # Opened once: looking an array up reads its metadata again, at every batch.
        self._arrays = {name: _array(group, name) for name in (*ARRAYS, *(["maps"] if "maps" in group else []))}
        self._starts = np.asarray(self._arrays["batch_starts"][:])

    @classmethod
    def create(cls, folder: Path, plan: StorePlan) -> RunStore:
        """Lay out an empty store for ``plan`` in ``folder``; what lay there of an earlier run is removed."""
        for name in (STORE_FOLDER, FAILURES_FOLDER):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(folder / STORE_FOLDER, mode="w", zarr_format=3)
        _lay_out(group, plan)
        return cls(folder, group)

    @classmethod
    def open(cls, folder: Path) -> RunStore:
        """Open the run in ``folder``; StoreError if there is none, or it is damaged."""
        try:
            group = zarr.open_group(folder / STORE_FOLDER, mode="r+")
            if "complete" in group.attrs:
                return cls(folder, group)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise StoreError(folder, f"its run.zarr cannot be read ({error}).", BEGIN_ANEW) from error
        raise StoreError(folder, "its run.zarr was cut off while it was laid out.", BEGIN_ANEW)

    def __len__(self) -> int:
        return int(self._arrays["status"].shape[0])

    @property
    def step(self) -> int:
        """Level-0 pixels from one tile to the next; less than a tile's edge where tiles overlap."""
        step: Any = self._group.attrs["step"]
        return int(step)

    @property
    def order(self) -> NDArray[np.int64]:
        """Grid row of each row of the store, int64, (tiles,)."""
        return np.asarray(self._arrays["grid_row"][:])

    @property
    def boxes(self) -> NDArray[np.int64]:
        """Boxes in grid order, int64, (tiles, 4), level-0 pixels."""
        return self._in_grid_order("boxes")

    @property
    def status(self) -> NDArray[np.uint8]:
        """`Status` of each tile, in grid order, uint8, (tiles,)."""
        return self._in_grid_order("status")

    @property
    def logits(self) -> NDArray[np.float32]:
        """Logits in grid order, float32, (tiles, classes); NaN where there are none."""
        return self._in_grid_order("logits")

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities in grid order, float32, (tiles, classes); NaN where there are none."""
        return self._in_grid_order("probabilities")

    @property
    def digest(self) -> dict[str, Any]:
        """What decided every result; see `StorePlan`."""
        digest: Any = self._group.attrs["digest"]
        return dict(digest)

    @property
    def failures(self) -> dict[int, str]:
        """Why each failed tile failed, by grid row."""
        order = self.order
        told: dict[int, str] = {}
        for path in sorted(self._failures_folder.glob("*.json")):
            start = int(self._starts[int(path.stem)])
            reasons = json.loads(path.read_text(encoding="utf-8"))
            told |= {int(order[start + int(place)]): str(reason) for place, reason in reasons.items()}
        return told

    @property
    def maps(self) -> zarr.Array[Any] | None:
        """Raw maps in store order (see `order`), float16, (tiles, mapped classes, height, width), unread."""
        return self._arrays.get("maps")

    def pending_batches(self) -> list[int]:
        """Return the indices of the batches with a tile that is not done: never committed, or failed the last time."""
        if not len(self):
            return []
        undone = (np.asarray(self._arrays["status"][:]) != Status.DONE) | self._holes()
        return [int(batch) for batch in np.flatnonzero(np.logical_or.reduceat(undone, self._starts))]

    def _holes(self) -> NDArray[np.bool_]:
        """Return which rows have no numbers: Zarr gives not-a-number where a chunk's file was lost."""
        holes = np.isnan(np.asarray(self._arrays["probabilities"][:])).any(axis=1)
        if "maps" in self._arrays:
            holes |= np.isnan(np.asarray(self._arrays["maps"][:, 0, 0, 0]))
        return np.asarray(holes)

    def commit(self, batch: int, results: TileResults) -> None:
        """Write one batch; its status goes last, so that a reader never meets half of it."""
        start = int(self._starts[batch])
        rows = slice(start, start + len(results.logits))
        status = np.full(len(results.logits), Status.DONE, np.uint8)
        status[list(results.failures)] = Status.FAILED
        blanked = results.blanked()
        self._arrays["logits"][rows] = blanked.logits
        self._arrays["probabilities"][rows] = blanked.probabilities
        if blanked.maps is not None:
            self._arrays["maps"][rows] = _halved(blanked.maps)
        self._tell_failures(batch, results.failures)
        self._arrays["status"][rows] = status

    @property
    def _failures_folder(self) -> Path:
        return self.folder / FAILURES_FOLDER

    def _tell_failures(self, batch: int, failures: Mapping[int, str]) -> None:
        # A file for each batch that has any: one table for all would be rewritten for every batch of a damaged slide.
        path = self._failures_folder / f"{batch}.json"
        if failures:
            _replace(path, json.dumps({str(place): reason for place, reason in failures.items()}))
        else:
            path.unlink(missing_ok=True)

    def fits(self, plan: StorePlan) -> bool:
        """Whether the store's rows are the plan's tiles, batch by batch."""
        return (
            np.array_equal(self.order, plan.order)
            and np.array_equal(self._starts, plan.starts)
            and np.array_equal(self.boxes, plan.boxes)
        )

    def _in_grid_order(self, name: str) -> NDArray[Any]:
        values = np.asarray(self._arrays[name][:])
        ordered = np.empty_like(values)
        ordered[self.order] = values
        return ordered


def _blanked(values: NDArray[Any], failed: Mapping[int, str]) -> NDArray[Any]:
    blanked = values.copy()
    blanked[list(failed)] = np.nan
    return blanked


def _halved(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    # float16 ends at 65504: a map that explodes is cut off there instead of becoming infinite.
    return np.minimum(maps, np.finfo(np.float16).max).astype(np.float16)


def _lay_out(group: zarr.Group, plan: StorePlan) -> None:
    order, rows = plan.order, len(plan.boxes)
    batch = max((len(each) for each in plan.batches), default=1)
    _filled(group, "grid_row", order)
    _filled(group, "boxes", plan.boxes[order].astype(np.int64))
    _filled(group, "batch_starts", plan.starts)
    _empty(group, "status", (rows,), "uint8", batch)
    _empty(group, "logits", (rows, plan.classes), "float32", batch)
    _empty(group, "probabilities", (rows, plan.classes), "float32", batch)
    if plan.map_shape is not None:
        _empty(group, "maps", (rows, *plan.map_shape), "float16", batch)
    group.attrs.update({"step": plan.step, "digest": dict(plan.digest), "complete": True})


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is no array")
    return array


def _filled(group: zarr.Group, name: str, values: NDArray[np.int64]) -> None:
    chunks = (max(1, min(len(values), 1 << 16)), *values.shape[1:])
    group.create_array(name, shape=values.shape, dtype="int64", chunks=chunks)[...] = values


def _empty(group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, batch: int) -> None:
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
    batches = max(1, min(ROWS_PER_CHUNK // batch, CHUNK_BYTES // max(1, batch * row_bytes)))
    fill: int | float = 0 if dtype == "uint8" else float("nan")
    group.create_array(name, shape=shape, dtype=dtype, chunks=(batch * batches, *shape[1:]), fill_value=fill)


def read_run(folder: Path) -> dict[str, Any] | None:
    """Return what ``run.json`` says, or None where there is no readable one."""
    try:
        record = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace ``run.json`` in one step."""
    _replace(folder / RUN_FILE, json.dumps(record, indent=2, allow_nan=False) + "\n")


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.partial")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def has_run(folder: Path) -> bool:
    """Whether a run was begun in ``folder``."""
    return (folder / STORE_FOLDER).exists() or (folder / RUN_FILE).exists()


def lock_run(folder: Path) -> FileLock:
    """Keep other processes out of ``folder`` until the lock is released or this process ends.

    Raises
    ------
    RunExistsError
        If another process is at work there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout as error:
        remedy = "Wait until it is done, or choose another --out."
        raise RunExistsError(folder, "another slidecam is at work in this folder.", remedy) from error
    return lock


def open_or_create(folder: Path, plan: StorePlan, existing: str) -> RunStore:
    """Continue the run in ``folder`` or begin one.

    Parameters
    ----------
    folder
        The slide's output folder.
    plan
        What to lay out if there is nothing to continue, and what a run that is continued must be equal to.
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
        raise RunExistsError(folder, "there is a run here already.", "Pass --resume to continue it or --overwrite.")
    store = RunStore.open(folder)
    _refuse_other_plan(store, plan)
    return store


def _was_cut_off(folder: Path) -> bool:
    """Whether a run was killed while it was laid out: it holds no batch yet, so there is nothing to lose."""
    try:
        group = zarr.open_group(folder / STORE_FOLDER, mode="r")
    except FileNotFoundError:
        return not any((folder / STORE_FOLDER).iterdir())
    except (OSError, KeyError, ValueError, TypeError):
        return False
    return "complete" not in group.attrs


def _refuse_other_plan(store: RunStore, plan: StorePlan) -> None:
    before, now = store.digest, json.loads(json.dumps(dict(plan.digest)))
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        told = "; ".join(_change(key, before.get(key), now.get(key)) for key in changed)
        remedy = "Call it as the first time, pass --overwrite, or choose another --out."
        raise RunMismatchError(store.folder, f"the run here was made by another plan: {told}.", remedy)
    if not store.fits(plan):
        raise RunMismatchError(store.folder, "its run.zarr is damaged or holds other tiles than these.", BEGIN_ANEW)


def _change(key: str, before: object, now: object) -> str:
    # A digest says nothing to a person but that it differs.
    return f"{key} has changed" if key in DIGESTS else f"{key} was {before!r}, is {now!r}"
