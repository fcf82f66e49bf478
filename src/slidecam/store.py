"""One slide's run on disk: a Zarr v3 group that is committed batch by batch, and `run.json` beside it.

Rows of the store are in streaming order, so that a batch is one contiguous piece. Every write replaces whole files,
and the status of a batch is written last: a run that is killed at any moment holds only whole batches, and a resumed
one computes exactly the missing ones.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

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


class Status(IntEnum):
    """What became of a tile."""

    PENDING = 0
    DONE = 1
    FAILED = 2


@dataclass(frozen=True)
class TileResults:
    """What one batch leaves behind; rows of failed tiles mean nothing.

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
    """

    boxes: NDArray[np.int64]
    batches: Sequence[NDArray[np.int64]]
    step: int
    classes: int
    map_shape: tuple[int, int, int] | None


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
        self._arrays = dict(group.arrays())
        self._starts = np.asarray(self._arrays["batch_starts"][:])
        failures: Any = group.attrs.get("failures", {})
        self._failures: dict[str, str] = dict(failures)

    @classmethod
    def create(cls, folder: Path, plan: StorePlan) -> RunStore:
        """Lay out an empty store for ``plan`` in ``folder``; what lay there of an earlier run is removed."""
        shutil.rmtree(folder / STORE_FOLDER, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(folder / STORE_FOLDER, mode="w", zarr_format=3)
        _lay_out(group, plan)
        return cls(folder, group)

    @classmethod
    def open(cls, folder: Path) -> RunStore:
        """Open the run in ``folder``; StoreError if there is none or it was never laid out to its end."""
        try:
            group = zarr.open_group(folder / STORE_FOLDER, mode="r+")
        except (FileNotFoundError, KeyError, ValueError) as error:
            raise StoreError(folder, f"there is no readable run here ({error}).", "Pass --overwrite.") from error
        if "complete" not in group.attrs:
            raise StoreError(folder, "the run here was cut off while it was laid out.", "Pass --overwrite.")
        return cls(folder, group)

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
    def failures(self) -> dict[int, str]:
        """Why each failed tile failed, by grid row."""
        order = self.order
        return {int(order[int(row)]): reason for row, reason in self._failures.items()}

    @property
    def maps(self) -> zarr.Array[Any] | None:
        """Raw maps in store order (see `order`), float16, (tiles, mapped classes, height, width), unread."""
        return self._arrays.get("maps")

    def pending_batches(self) -> list[int]:
        """Return the indices of the batches that are not committed yet."""
        status = np.asarray(self._arrays["status"][:])
        bounds = [*self._starts.tolist(), len(status)]
        return [i for i in range(len(self._starts)) if (status[bounds[i] : bounds[i + 1]] == Status.PENDING).any()]

    def commit(self, batch: int, results: TileResults) -> None:
        """Write one batch; its status goes last, so that a reader never meets half of it."""
        start = int(self._starts[batch])
        rows = slice(start, start + len(results.logits))
        status = np.full(len(results.logits), Status.DONE, np.uint8)
        status[list(results.failures)] = Status.FAILED
        failed = status == Status.FAILED
        self._arrays["logits"][rows] = _blanked(results.logits, failed)
        self._arrays["probabilities"][rows] = _blanked(results.probabilities, failed)
        if results.maps is not None:
            self._arrays["maps"][rows] = _blanked(_halved(results.maps), failed)
        if results.failures:
            self._failures |= {str(start + place): reason for place, reason in results.failures.items()}
            self._group.attrs["failures"] = self._failures
        self._arrays["status"][rows] = status

    def _in_grid_order(self, name: str) -> NDArray[Any]:
        values = np.asarray(self._arrays[name][:])
        ordered = np.empty_like(values)
        ordered[self.order] = values
        return ordered


def _blanked(values: NDArray[Any], failed: NDArray[np.bool_]) -> NDArray[Any]:
    if not failed.any():
        return values
    blanked = values.copy()
    blanked[failed] = np.nan
    return blanked


def _halved(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    # float16 ends at 65504: a map that explodes is cut off there instead of becoming infinite.
    return np.minimum(maps, np.finfo(np.float16).max).astype(np.float16)


def _lay_out(group: zarr.Group, plan: StorePlan) -> None:
    order = np.concatenate(plan.batches) if plan.batches else np.zeros(0, np.int64)
    sizes = [len(batch) for batch in plan.batches]
    starts = np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(sizes)]
    batch = max(sizes, default=1)
    _filled(group, "grid_row", order.astype(np.int64))
    _filled(group, "boxes", plan.boxes[order].astype(np.int64))
    _filled(group, "batch_starts", starts)
    _empty(group, "status", (len(order),), "uint8", batch)
    _empty(group, "logits", (len(order), plan.classes), "float32", batch)
    _empty(group, "probabilities", (len(order), plan.classes), "float32", batch)
    if plan.map_shape is not None:
        _empty(group, "maps", (len(order), *plan.map_shape), "float16", batch)
    group.attrs["step"] = plan.step
    group.attrs["complete"] = True


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
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return record if isinstance(record, dict) else None


def write_run(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace ``run.json`` in one step."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{RUN_FILE}.partial"
    fresh.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    fresh.replace(folder / RUN_FILE)


def open_or_create(folder: Path, plan: StorePlan, digest: Mapping[str, Any], existing: str) -> RunStore:
    """Continue the run in ``folder`` or begin one.

    Parameters
    ----------
    folder
        The slide's output folder.
    plan
        What to lay out if there is nothing to continue.
    digest
        What decides every result (slide, bundle, spec); a run is continued only if its ``plan`` equals this.
    existing
        ``refuse``, ``resume`` or ``overwrite``.

    Raises
    ------
    RunExistsError
        If there is a run and ``existing`` is ``refuse``.
    RunMismatchError
        If there is a run of another plan and ``existing`` is ``resume``.
    """
    record = read_run(folder)
    if record is None or existing == "overwrite":
        return RunStore.create(folder, plan)
    if existing == "refuse":
        raise RunExistsError(folder, "there is a run here already.", "Pass --resume to continue it or --overwrite.")
    _refuse_other_plan(folder, record.get("plan", {}), digest)
    try:
        return RunStore.open(folder)
    except StoreError:
        # Killed while it was laid out: it holds no batch yet, so there is nothing to lose.
        return RunStore.create(folder, plan)


def _refuse_other_plan(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        told = "; ".join(f"{key} was {before.get(key)!r}, is {now.get(key)!r}" for key in changed)
        raise RunMismatchError(
            folder,
            f"the run here was made by another plan: {told}.",
            "Repeat the first call's options, pass --overwrite, or choose another --out.",
        )
