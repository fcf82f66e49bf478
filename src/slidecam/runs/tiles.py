"""The classified tiles of one slide as plain arrays: what every writer of this room starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from slidecam.classes import NO_CLASS
from slidecam.errors import UsageError
from slidecam.store import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.classes import Activation, ClassSet
    from slidecam.geometry import Box
    from slidecam.pixels import RGB


@dataclass(frozen=True, eq=False)
class TileTable:
    """Every tile of a slide with what became of it, in grid order.

    Attributes
    ----------
    boxes
        int64, (tiles, 4): left, top, width, height in level-0 pixels of the whole slide, bounds or
        not.
    status
        uint8, (tiles,): a `slidecam.store.Status` each.
    probabilities
        float32, (tiles, classes); NaN where a tile is not done.
    classes
        What the probabilities are of, and which of them are called.
    bounds
        The part of the slide that QuPath shows, or None for all of it. It counts from its corner.

    Raises
    ------
    UsageError
        If the arrays do not fit each other or the classes.
    """

    boxes: NDArray[np.int64]
    status: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    classes: ClassSet
    bounds: Box | None = None

    def __post_init__(self) -> None:
        tiles, classes = len(self.status), len(self.classes)
        _expect("boxes", self.boxes, (tiles, 4), "int64")
        _expect("status", self.status, (tiles,), "uint8")
        _expect("probabilities", self.probabilities, (tiles, classes), "float32")

    def __len__(self) -> int:
        return len(self.status)

    @property
    def class_names(self) -> tuple[str, ...]:
        """One per class."""
        return self.classes.names

    @property
    def class_colors(self) -> tuple[RGB, ...]:
        """One per class."""
        return self.classes.colors

    @property
    def activation(self) -> Activation:
        """What made the probabilities."""
        return self.classes.activation

    @property
    def corner(self) -> tuple[int, int]:
        """Where QuPath counts from, in level-0 pixels."""
        if self.bounds is None:
            return (0, 0)
        return (self.bounds.x, self.bounds.y)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which tiles have a result, bool, (tiles,)."""
        return np.asarray(self.status == Status.DONE)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which tiles could not be read, bool, (tiles,)."""
        return np.asarray(self.status == Status.FAILED)

    @cached_property
    def called(self) -> NDArray[np.bool_]:
        """Which classes each tile is called: none, one or several, bool, (tiles, classes).

        A tile that is not done is called none.
        """
        return np.asarray(self.done[:, None] & self.classes.called(self.probabilities))

    @cached_property
    def winners(self) -> NDArray[np.int64]:
        """Index of the most probable class that each tile is called, int64, (tiles,).

        It is -1 where it is called none.
        """
        return np.where(self.done, self.classes.winners(self.probabilities), NO_CLASS)


def _expect(name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise UsageError(
            f"A tile table's {name} are {array.dtype} {array.shape}, not {dtype} {shape}.",
            "Pass one row per tile and one column per class.",
        )
