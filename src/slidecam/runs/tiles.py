"""The classified tiles of one slide as plain arrays: what every writer of this room starts from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import UsageError
from slidecam.store import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Box
    from slidecam.pixels import RGB

CALLED_FROM = 0.5
"""Probability from which a classifier with a single output says yes."""

BYTE = 256
"""Values of one colour component."""


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
    class_names, class_colors
        One of each per class.
    activation
        ``softmax``, ``sigmoid`` or ``none``.
    bounds
        The part of the slide that QuPath shows, or None for all of it. It counts from its corner.

    Raises
    ------
    UsageError
        If the arrays do not fit each other, or two classes share a name.
    """

    boxes: NDArray[np.int64]
    status: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    class_colors: tuple[RGB, ...]
    activation: str
    bounds: Box | None = None

    def __post_init__(self) -> None:
        tiles, classes = len(self.status), len(self.class_names)
        _expect("boxes", self.boxes, (tiles, 4), "int64")
        _expect("status", self.status, (tiles,), "uint8")
        _expect("probabilities", self.probabilities, (tiles, classes), "float32")
        _check_classes(self.class_names, self.class_colors)

    def __len__(self) -> int:
        return len(self.status)

    @property
    def corner(self) -> tuple[int, int]:
        """Where QuPath counts from, in level-0 pixels."""
        return (0, 0) if self.bounds is None else (self.bounds.x, self.bounds.y)

    @property
    def done(self) -> NDArray[np.bool_]:
        """Which tiles have a result, bool, (tiles,)."""
        return np.asarray(self.status == Status.DONE)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which tiles could not be read, bool, (tiles,)."""
        return np.asarray(self.status == Status.FAILED)

    @cached_property
    def winners(self) -> NDArray[np.int64]:
        """Index of each tile's most probable class, int64, (tiles,).

        It is -1 where there is none: the tile is not done, a probability is not a number, or the
        only class stays below `CALLED_FROM`.
        """
        known = self.done & np.isfinite(self.probabilities).all(axis=1)
        if len(self.class_names) == 1:
            return np.where(known & (self.probabilities[:, 0] >= CALLED_FROM), 0, -1)
        best = np.argmax(np.where(known[:, None], self.probabilities, 0), axis=1)
        return np.where(known, best, -1)


def _expect(name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise UsageError(
            f"A tile table's {name} are {array.dtype} {array.shape}, not {dtype} {shape}.",
            "Pass one row per tile and one column per class.",
        )


def _check_classes(names: tuple[str, ...], colors: tuple[RGB, ...]) -> None:
    if not names or len(set(names)) != len(names):
        raise UsageError(
            f"The classes are named {list(names)}.", "Give each class a name of its own."
        )
    if len(colors) != len(names) or any(
        not 0 <= value < BYTE for color in colors for value in color
    ):
        raise UsageError(
            f"The classes {list(names)} have the colours {list(colors)}.",
            "Give each class one colour of three values from 0 to 255.",
        )
