"""The Zarr group of one run: laid out once, then filled batch by batch."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from slidecam.errors import StoreError
from slidecam.files import write_text
from slidecam.parsing import json_in
from slidecam.pixels import reason
from slidecam.registry import deferred
from slidecam.store.layout import (
    ARRAYS,
    DAMAGE,
    GROWN,
    SOMETIMES,
    array_of,
    fault_of,
    halved,
    laid_at,
    lay_out,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray

    from slidecam.store.layout import StorePlan

    Values = TypeVar("Values", NDArray[np.float32], NDArray[np.float32] | None)
else:
    zarr = deferred("zarr")


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
        Raw class-activation maps, float32, (tiles, methods, mapped classes, height, width), or
        None. The store keeps them in float16: three digits, at half the size.
    failures
        Position in the batch and reason of every tile that failed.
    disagreement
        Of an ensemble's members, float32, (tiles,), from 0 to 1; None of a single network.
    """

    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    maps: NDArray[np.float32] | None
    failures: Mapping[int, str]
    disagreement: NDArray[np.float32] | None = None

    def blanked(self) -> TileResults:
        """Return the same with not-a-number in every row of a failed tile."""
        if not self.failures:
            return self
        maps, disagreement = map(self._blank, (self.maps, self.disagreement))
        logits, probabilities = self._blank(self.logits), self._blank(self.probabilities)
        return TileResults(logits, probabilities, maps, self.failures, disagreement)

    def _blank(self, values: Values) -> Values:
        if values is None:
            return values
        blank = values.copy()
        blank[list(self.failures)] = np.nan
        return blank


STORE_FOLDER = "run.zarr"
FAILURES_FOLDER = "failures"

_Selection = EllipsisType | tuple[slice | int, ...]

BEGIN_ANEW = "Pass --overwrite to begin anew; what can still be read in it is lost then."


class Pushed(Protocol):
    """A folder whose changes are put elsewhere."""

    def push(self) -> None:
        """Put what has changed."""


class RunStore:
    """The results of one slide, growing batch by batch.

    Make one with `RunStore.create` or `RunStore.open`.

    Attributes
    ----------
    folder
        The slide's output folder, which holds ``run.zarr`` and ``run.json``.
    mirror
        What puts each batch to a URL, where the folder is of one; else None.
    mends
        Whether files of batches that cannot be decoded are removed when they are read, so that
        their tiles are pending again: whoever continues the run, alone in its folder, says so.
    """

    def __init__(self, folder: Path, group: zarr.Group) -> None:
        self.folder = folder
        self.mirror: Pushed | None = None
        self.mends = False
        self._group = group
        # Opened once: looking an array up reads its metadata again, at every batch.
        store = folder / STORE_FOLDER
        present = [*ARRAYS, *(name for name in SOMETIMES if (store / name).is_dir())]
        self._arrays = {name: array_of(group, name) for name in present}
        self._starts = self._values("batch_starts")
        self._laid = laid_at(store)

    @classmethod
    def create(cls, folder: Path, plan: StorePlan) -> RunStore:
        """Lay out an empty store for ``plan`` in ``folder``.

        What lay there of an earlier run is removed.
        """
        for name in (STORE_FOLDER, FAILURES_FOLDER):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
        folder.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(folder / STORE_FOLDER, mode="w", zarr_format=3)
        lay_out(group, plan)
        return cls(folder, group)

    @classmethod
    def open(cls, folder: Path) -> RunStore:
        """Open the run in ``folder``; StoreError if there is none, or it is damaged."""
        try:
            # Numbers that no run writes are refused here, where zarr takes them.
            said = json_in(folder / STORE_FOLDER / "zarr.json")
            group = zarr.open_group(folder / STORE_FOLDER, mode="r+")
            if "complete" in said["attributes"]:
                return cls(folder, group).checked()
        except StoreError:
            raise
        except DAMAGE as error:
            problem = f"The run.zarr cannot be read: {reason(error)}."
            raise StoreError(folder, problem, BEGIN_ANEW) from error
        raise StoreError(folder, "The run.zarr was cut off while it was laid out.", BEGIN_ANEW)

    def checked(self) -> RunStore:
        """Return the store itself; StoreError if its arrays are not as they are laid out."""
        if fault := fault_of(self._arrays, self.order):
            raise StoreError(self.folder, f"The run.zarr is damaged: {fault}.", BEGIN_ANEW)
        return self

    def __repr__(self) -> str:
        left, batches = len(self.pending_batches()), len(self._starts)
        said = f"{len(self)} tiles, {left} of {batches} batches pending"
        return f"<RunStore of {said}, {self.folder}>"

    def __len__(self) -> int:
        return int(self._arrays["status"].shape[0])

    @property
    def steps(self) -> tuple[int, int]:
        """Level-0 pixels from one tile to the next, along x and y.

        Less than a tile's edge where tiles overlap.
        """
        across: Any = self._group.attrs["step"]
        down: Any = self._group.attrs.get("row step", across)
        return int(across), int(down)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Grid row of each row of the store, int64, (tiles,)."""
        return self._values("grid_row")

    @property
    def boxes(self) -> NDArray[np.int64]:
        """Boxes in grid order, int64, (tiles, 4), level-0 pixels."""
        return self._in_grid_order("boxes")

    @property
    def is_volume(self) -> bool:
        """Whether its tiles lie on the planes of a volume."""
        return "planes" in self._arrays

    @property
    def planes(self) -> NDArray[np.int64]:
        """The plane that each tile is on, in grid order, int64, (tiles,); 0 on a slide."""
        if self.is_volume:
            return self._in_grid_order("planes")
        return np.zeros(len(self), np.int64)

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
    def disagreement(self) -> NDArray[np.float32] | None:
        """Of an ensemble's members, in grid order, float32, (tiles,); None of a single network."""
        if "disagreement" in self._arrays:
            return self._in_grid_order("disagreement")
        return None

    @property
    def digest(self) -> dict[str, Any]:
        """What decided every result; see `StorePlan`."""
        digest: Any = self._group.attrs["digest"]
        return dict(digest)

    @property
    def tissue(self) -> NDArray[np.bool_] | None:
        """The mask that tiles were laid on, as `StorePlan.tissue`; None where an older run ends."""
        if "tissue" not in self._arrays:
            return None
        return self._values("tissue").astype(np.bool_)

    @property
    def failures(self) -> dict[int, str]:
        """Why each failed tile failed, by grid row."""
        order = self.order
        failures: dict[int, str] = {}
        for path in sorted(self._failures_folder.glob("*.json")):
            start = int(self._starts[int(path.stem)])
            reasons = json_in(path)
            for place, said in reasons.items():
                failures[int(order[start + int(place)])] = str(said)
        return failures

    @property
    def maps(self) -> zarr.Array[Any] | None:
        """Raw maps in store order (see `order`), float16, unread.

        Their shape is (tiles, methods, mapped classes, height, width).
        """
        return self._arrays.get("maps")

    @property
    def batches_per_part(self) -> int:
        """How many batches lie in files that no other batch lies in.

        Processes that share a run each take such parts, or they would write the same files.
        """
        grown = filter(self._arrays.__contains__, GROWN)
        rows = math.lcm(*(self._arrays[name].chunks[0] for name in grown))
        starts = self._starts.tolist()
        batch = starts[1] if len(starts) > 1 else max(1, len(self))
        return max(1, rows // batch)

    def read_batches(self, batches: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the grid rows of some batches and their probabilities, in the store's order."""
        ends = [*self._starts[1:].tolist(), len(self)]
        inside = np.zeros(len(self), np.bool_)
        for batch in batches:
            inside[int(self._starts[batch]) : ends[batch]] = True
        places = np.flatnonzero(inside)
        values = np.asarray(self._arrays["probabilities"].oindex[places], np.float32)
        return self.order[places], values

    def uncommitted_batches(self) -> list[int]:
        """Return the batches that were never committed whole; failed tiles are committed."""
        return self._batches_with(Status.PENDING)

    def pending_batches(self) -> list[int]:
        """Return the indices of the batches with a tile that is not done.

        Never committed, or failed the last time.
        """
        return self._batches_with(Status.PENDING, Status.FAILED)

    def _batches_with(self, *undone: Status) -> list[int]:
        """Return the batches with a tile of such a status, or one that has lost its numbers."""
        if not len(self):
            return []
        status = self._values("status")
        found = np.isin(status, undone) | (self._holes() & (status != Status.FAILED))
        return list(map(int, np.flatnonzero(np.logical_or.reduceat(found, self._starts))))

    def _holes(self) -> NDArray[np.bool_]:
        """Return which rows have no numbers.

        Zarr gives not-a-number where a chunk's file was lost.
        """
        holes = np.zeros(len(self), np.bool_)
        for name in ("logits", "probabilities"):
            holes |= np.isnan(self._values(name)).any(axis=1)
        if "maps" in self._arrays:
            # One value of each tile: to read it a file is decoded whole.
            holes |= np.isnan(self._values("maps", (slice(None), 0, 0, 0, 0)))
        if "disagreement" in self._arrays:
            holes |= np.isnan(self._values("disagreement"))
        return np.asarray(holes)

    def commit(self, batch: int, results: TileResults) -> None:
        """Write one batch; its status goes last, so that a reader never meets half of it.

        StoreError if the run was begun anew meanwhile: what comes late belongs to the one before.
        """
        if laid_at(self.folder / STORE_FOLDER) != self._laid:
            remedy = "Leave it to the call that began it anew."
            raise StoreError(self.folder, "The run is another one than this batch is of.", remedy)
        start = int(self._starts[batch])
        rows = slice(start, start + len(results.logits))
        status = np.full(len(results.logits), Status.DONE, np.uint8)
        status[list(results.failures)] = Status.FAILED
        blanked = results.blanked()
        self._arrays["logits"][rows] = blanked.logits
        self._arrays["probabilities"][rows] = blanked.probabilities
        if blanked.disagreement is not None and "disagreement" in self._arrays:
            self._arrays["disagreement"][rows] = blanked.disagreement
        if blanked.maps is not None:
            self._arrays["maps"][rows] = halved(blanked.maps)
        self._write_failures(batch, results.failures)
        self._arrays["status"][rows] = status
        if self.mirror is not None:
            self.mirror.push()

    @property
    def _failures_folder(self) -> Path:
        return self.folder / FAILURES_FOLDER

    def _write_failures(self, batch: int, failures: Mapping[int, str]) -> None:
        # A file for each batch that has any: one table for all would be rewritten for every batch
        # of a damaged slide.
        path = self._failures_folder / f"{batch}.json"
        if failures:
            reasons = {str(place): reason for place, reason in failures.items()}
            write_text(path, json.dumps(reasons))
        else:
            path.unlink(missing_ok=True)

    def fits(self, plan: StorePlan) -> bool:
        """Whether the store's rows are the plan's tiles, batch by batch."""
        return (
            np.array_equal(self.order, plan.order)
            and np.array_equal(self._starts, plan.starts)
            and np.array_equal(self.boxes, plan.boxes)
            and (plan.planes is None or np.array_equal(self.planes, plan.planes))
        )

    def _values(self, name: str, selection: _Selection = ...) -> NDArray[Any]:
        """Return an array, or a part of it; StoreError if a file of it cannot be decoded."""
        try:
            return np.asarray(self._arrays[name][selection])
        except DAMAGE as error:
            remedy = BEGIN_ANEW
            if name in GROWN:
                remedy = "Repeat slidecam predict with --resume: it computes anew what is lost."
            if not (self.mends and name in GROWN):
                said = f"A file of {name} in run.zarr is damaged: {reason(error)}."
                raise StoreError(self.folder, said, remedy) from error
        self._lose_damaged(name)
        return np.asarray(self._arrays[name][selection])

    def _lose_damaged(self, name: str) -> None:
        """Remove the files of an array that cannot be decoded; their tiles count as not done."""
        array, beyond = self._arrays[name], [0] * (self._arrays[name].ndim - 1)
        rows = array.chunks[0]
        for number in range(-(-len(self) // rows)):
            try:
                array[number * rows : (number + 1) * rows]
            except DAMAGE:
                key = array.metadata.encode_chunk_key((number, *beyond))
                (self.folder / STORE_FOLDER / name / key).unlink(missing_ok=True)

    def _in_grid_order(self, name: str) -> NDArray[Any]:
        values = self._values(name)
        ordered = np.empty_like(values)
        ordered[self.order] = values
        return ordered
