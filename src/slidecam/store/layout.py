"""How a run lies on disk: its plan, and the arrays that are laid out for it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr
    from numpy.typing import NDArray
    from zarr import codecs
    from zarr.core.chunk_key_encodings import ChunkKeyEncodingLike
else:
    zarr = deferred("zarr")
    codecs = deferred("zarr.codecs")


GROWN = ("status", "logits", "probabilities", "disagreement", "maps")
"""What every batch adds to."""

ARRAYS = {
    "grid_row": ("iu", {1}),
    "boxes": ("iu", {2}),
    "batch_starts": ("iu", {1}),
    "status": ("iu", {1}),
    "logits": ("f", {2}),
    "probabilities": ("f", {2}),
}
"""What every store holds: NumPy's kinds of numbers, and how many axes."""

SOMETIMES = {
    "maps": ("f", {5}),
    "planes": ("iu", {1}),
    "tissue": ("iub", {2, 3}),
    "disagreement": ("f", {1}),
}
"""What comes to it where an explanation was asked for, where the source is a volume, of late, and
where the classifier is an ensemble."""

DAMAGE = (
    *(OSError, LookupError, ValueError, TypeError, AttributeError, RuntimeError, EOFError),
    ArithmeticError,
)
"""What zarr and its codecs raise of files that are cut off, empty or of other bytes."""

NO_ROWS = {"batch_starts", "tissue"}
"""Arrays without a row for each tile."""


@dataclass(frozen=True)
class StorePlan:
    """The shape of a run, fixed before its first batch.

    Attributes
    ----------
    boxes
        int64, (tiles, 4), level-0 pixels, in grid order.
    batches
        Grid rows of each batch, in streaming order.
    step, row_step
        Level-0 pixels from one tile to the next, along x and y; a ``row_step`` of 0 is the same.
    classes
        How many classes there are.
    map_shape
        (methods, mapped classes, height, width) of a tile's raw maps, or None where none are kept.
    digest
        What decides every result (slide, bundle, tiling, …), as JSON; a run is continued only if it
        is equal.
    planes
        int64, (tiles,): the plane of a volume that each tile is on; None for a slide, which is one
        plane.
    class_record
        What the classes are, as `ClassSet.record`: what ``run.json`` is held against. It is not
        compared when a run is continued, since the digest holds the bundle's. None where nobody
        says.
    tissue
        bool, (rows, columns) or (planes, rows, columns): the mask that tiles were laid on.
    found
        Of a mask that was found on the slide, and not given: ``from``, in words, and ``by``, who
        would find the same again.
    disagrees
        Whether the classifier is an ensemble, whose members' disagreement is kept.
    """

    boxes: NDArray[np.int64]
    batches: Sequence[NDArray[np.int64]]
    step: int
    classes: int
    map_shape: tuple[int, int, int, int] | None
    digest: Mapping[str, Any] = field(default_factory=dict)
    planes: NDArray[np.int64] | None = None
    class_record: Mapping[str, Any] | None = None
    tissue: NDArray[np.bool_] | None = None
    row_step: int = 0
    disagrees: bool = False
    found: Mapping[str, str] | None = None

    @property
    def order(self) -> NDArray[np.int64]:
        """Grid rows in streaming order."""
        if self.batches:
            return np.concatenate(self.batches).astype(np.int64)
        return np.zeros(0, np.int64)

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each batch begins in `order`."""
        sizes = list(map(len, self.batches))
        return np.cumsum([0, *sizes[:-1]], dtype=np.int64)[: len(sizes)]


ROWS_PER_CHUNK = 256
"""Rows in one file of the store.

Few enough files for a network drive, small enough to rewrite at each batch and to be the work of
one process among many: no two may write the same file at a time.
"""

BESIDE: ChunkKeyEncodingLike = {"name": "default", "separator": "."}
"""An array's files lie beside each other, and not in a folder for each of its axes.

A drive of ten thousand slides runs out of files before it runs out of bytes.
"""

BOX_NUMBERS = 4

CHUNK_BYTES = 2_000_000
"""Largest file of raw maps that is rewritten at each batch."""


def lay_out(group: zarr.Group, plan: StorePlan) -> None:
    """Make the arrays of an empty run; that it is complete is written last."""
    order, rows = plan.order, len(plan.boxes)
    batch = max(map(len, plan.batches), default=1)
    _filled(group, "grid_row", order)
    _filled(group, "boxes", plan.boxes[order].astype(np.int64))
    _filled(group, "batch_starts", plan.starts)
    if plan.planes is not None:
        _filled(group, "planes", plan.planes[order].astype(np.int64))
    _empty(group, "status", (rows,), "uint8", batch)
    _empty(group, "logits", (rows, plan.classes), "float32", batch)
    _empty(group, "probabilities", (rows, plan.classes), "float32", batch)
    if plan.disagrees:
        _empty(group, "disagreement", (rows,), "float32", batch)
    if plan.map_shape is not None:
        _empty(group, "maps", (rows, *plan.map_shape), "float16", batch)
    if plan.tissue is not None:
        packed = plan.tissue.astype(np.uint8)
        group.create_array("tissue", data=packed, chunks=packed.shape, chunk_key_encoding=BESIDE)
    kept: dict[str, Any] = {"step": plan.step, "digest": dict(plan.digest)}
    if plan.row_step not in {0, plan.step}:
        kept["row step"] = plan.row_step
    if plan.class_record is not None:
        kept["classes"] = dict(plan.class_record)
    if plan.found is not None:
        kept["tissue found"] = dict(plan.found)
    group.attrs.update({**kept, "complete": True})


def laid_at(store: Path) -> tuple[int, int] | None:
    """Return what tells a store from one that was laid out in its place later; None if it is gone.

    By a file that is written once, when a store is laid out.
    """
    # Opened, and not only looked at: a network drive answers from its cache until then.
    try:
        with (store / "batch_starts" / "zarr.json").open("rb") as file:
            facts = os.fstat(file.fileno())
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def halved(maps: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return maps in half the bytes, cut off at ±65504, where float16 ends.

    A map that explodes would become infinite.
    """
    largest = np.finfo(np.float16).max
    return np.clip(maps, -largest, largest).astype(np.float16)


def array_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """Return an array of a store; KeyError or TypeError if there is none of that name."""
    array = group[name]
    if not isinstance(array, zarr.Array):
        raise TypeError(f"{name} is no array")
    return array


def fault_of(arrays: Mapping[str, zarr.Array[Any]], order: NDArray[np.int64]) -> str:
    """Return which array is none that `lay_out` makes, in words; nothing if all are.

    ``order`` is the grid's row of each row, as stored.
    """
    rows = arrays["status"].shape[:1]
    for name, array in arrays.items():
        kinds, axes = {**ARRAYS, **SOMETIMES}[name]
        if array.dtype.kind not in kinds or array.ndim not in axes:
            return f"{name} is of {array.dtype}, with {array.ndim} axes"
        if name not in NO_ROWS and array.shape[:1] != rows:
            return f"{name} has {array.shape[0]} rows, and status {rows[0]}"
    if arrays["boxes"].shape[1] != BOX_NUMBERS:
        return f"boxes has {arrays['boxes'].shape[1]} columns"
    if arrays["logits"].shape != arrays["probabilities"].shape:
        return f"logits is {arrays['logits'].shape}, probabilities {arrays['probabilities'].shape}"
    if not np.array_equal(np.sort(order), np.arange(rows[0])):
        return "grid_row does not name each row of the grid once"
    return ""


def _filled(group: zarr.Group, name: str, values: NDArray[np.int64]) -> None:
    chunks = (max(1, min(len(values), 1 << 16)), *values.shape[1:])
    array = group.create_array(
        name, shape=values.shape, dtype="int64", chunks=chunks, chunk_key_encoding=BESIDE
    )
    array[...] = values


def _empty(group: zarr.Group, name: str, shape: tuple[int, ...], dtype: str, batch: int) -> None:
    row_bytes = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(dtype).itemsize
    most = max(1, ROWS_PER_CHUNK // batch)
    batches = max(1, min(most, CHUNK_BYTES // max(1, batch * row_bytes)))
    # Every array's files end where those of the others do, so that a part of them is one process's.
    while most % batches:
        batches -= 1
    fill: int | float = 0 if dtype == "uint8" else float("nan")
    group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(batch * batches, *shape[1:]),
        compressors=codecs.ZstdCodec(level=0, checksum=True),
        fill_value=fill,
        chunk_key_encoding=BESIDE,
    )
