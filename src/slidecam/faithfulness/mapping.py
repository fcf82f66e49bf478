"""The maps of many tiles, each explained for a class of its own.

They are enlarged to the pixels of their tile, put in order and summed over cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.facts import facts_of_tiles, facts_record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.explain.explainer import Explainer, Explanation
    from slidecam.models import Classifier
    from slidecam.steps import Step


def enlarged(grid: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return a map (h, w) on the pixels of its tile (H, W): bilinear, corners not aligned.

    A cell's value stands in the cell's middle, as it does when a slide's heatmap is painted.
    """
    if grid.shape == size:
        return grid
    values = torch.from_numpy(np.ascontiguousarray(grid, np.float32))[None, None]
    return np.asarray(interpolate(values, size, mode="bilinear", align_corners=False)[0, 0])


def ranks(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the place of every pixel in the order of a map (H, W): 0 for the highest.

    Pixels of equal value go row by row from the top left: maps are flat wherever they were cut off
    at 0, and the order there must not be the sort's whim.
    """
    order = np.argsort(-values, axis=None, kind="stable")
    places = np.empty(order.size, np.int64)
    places[order] = np.arange(order.size)
    return places.reshape(values.shape)


def cell_numbers(size: tuple[int, int], cells: int) -> NDArray[np.int64]:
    """Return for every pixel (H, W) the number of its cell, of ``cells`` x ``cells``, row by row.

    All cells are equally large: a larger one would matter more to any classifier, and get more from
    any map, so that even a random map would seem to know something. What is left at the tile's
    border, less than a cell's share, is numbered ``cells * cells``.
    """
    rows, columns = (_cells_along(edge, cells) for edge in size)
    numbers = rows[:, None] * cells + columns[None, :]
    return np.where((rows[:, None] < cells) & (columns[None, :] < cells), numbers, cells * cells)


def cell_sums(values: NDArray[np.float32], cells: int) -> NDArray[np.float64]:
    """Return the sum of a map (H, W) over each of its cells, (cells * cells,).

    The border left over is in none.

    Sums, and not means, add up to what a whole subset of cells is given.
    """
    height, width = values.shape
    numbers = cell_numbers((height, width), cells)
    sums: NDArray[np.float64] = np.bincount(numbers.ravel(), values.ravel(), cells * cells).astype(
        np.float64
    )
    return sums[: cells * cells]


def _cells_along(edge: int, cells: int) -> NDArray[np.int64]:
    """Return the number of each pixel's cell along an edge.

    ``cells`` for those at either end that are in none.
    """
    pixels = edge // cells
    places = np.arange(edge) - (edge - pixels * cells) // 2
    return np.where((places >= 0) & (places < pixels * cells), places // pixels, cells)


PREDICTED = "predicted"
"""Stands for the class that each tile is called; where none is, for the most probable one."""


@dataclass(frozen=True, eq=False)
class MethodMaps:
    """One method's maps of N tiles.

    Attributes
    ----------
    maps
        (N, h, w), float32, raw.
    passes, facts
        As in `Explanation`: the most passes, and the worst beside the typical where tiles differ.
    """

    maps: NDArray[np.float32]
    passes: int
    facts: Mapping[str, Any]


def maps_of_tiles(
    explainer: Explainer, pixels: Tensor, classes: Sequence[int], *, batch: int
) -> Generator[Step, None, MethodMaps]:
    """Explain tiles step by step, each for its own class.

    Parameters
    ----------
    explainer
        Its ``with`` block is entered here, and left before anything else is asked of the network.
    pixels
        uint8, (N, H, W, 3), on the classifier's device.
    classes
        (N,) indices of logits.
    batch
        Tiles of one class that are explained at a time.

    Raises
    ------
    ExplanationError
        If the method refuses, or gives something that is no number.
    """
    maps: NDArray[np.float32] | None = None
    explanations: list[Explanation] = []
    with explainer:
        for index, some in _same_class(classes, batch):
            explanation = yield from explainer.steps(pixels[some], [index])
            values = explanation.maps[:, 0].detach().float().cpu().numpy()
            refuse_no_numbers(values, explanation.method, some)
            if maps is None:
                maps = np.empty((len(classes), *values.shape[1:]), np.float32)
            maps[some] = values
            explanations.append(explanation)
    if maps is None:
        raise UsageError("there is no tile to explain.", "Name at least one.")
    facts = facts_record(facts_of_tiles([each.facts for each in explanations]))
    return MethodMaps(maps, max(each.passes for each in explanations), facts)


def explained_classes(
    classifier: Classifier, pixels: Tensor, classes: str | Sequence[int], *, batch: int
) -> tuple[tuple[int, ...], str]:
    """Return which logit each tile is explained for, and how a sentence calls that.

    Parameters
    ----------
    classifier
        On its device.
    pixels
        uint8, (N, H, W, 3), on any device.
    classes
        A class's name; ``predicted``, of a tile that is called nothing the most probable class; or
        an index for each tile, such as its true class.
    batch
        Tiles in one pass, where predictions are needed.

    Raises
    ------
    UsageError
        If there is no such class, or not one index for each tile.
    """
    known = classifier.card.classes
    names = known.names
    if not isinstance(classes, str):
        return _own(tuple(map(int, classes)), names, len(pixels))
    if classes in known:
        index = known.index(classes)
        return (index,) * len(pixels), f"class {names[index]}"
    if classes != PREDICTED:
        remedy = f"Use {PREDICTED!r}, or one of {', '.join(names)}."
        raise UsageError(f"{classifier.card.name} has no class {classes!r}.", remedy)
    starts = range(0, len(pixels), batch)
    chunks = (pixels[start : start + batch].to(classifier.device) for start in starts)
    return _predicted(classifier, chunks)


def _predicted(classifier: Classifier, chunks: Iterable[Tensor]) -> tuple[tuple[int, ...], str]:
    known = classifier.card.classes
    rows: list[list[float]] = []
    for chunk in chunks:
        logits = classifier.run(chunk, gradients=False).logits
        rows += classifier.probabilities(logits).tolist()
    indices = tuple(map(known.foremost, rows))
    if all(map(known.called_names, rows)):
        return indices, "the predicted class"
    return indices, "the predicted class, or the most probable one where none is called"


def _own(classes: tuple[int, ...], names: Sequence[str], tiles: int) -> tuple[tuple[int, ...], str]:
    wrong = [index for index in classes if not 0 <= index < len(names)]
    if wrong or len(classes) != tiles:
        if wrong:
            problem = f"there is no class {wrong[0]}."
        else:
            problem = f"{len(classes)} classes were given for {tiles} tiles."
        raise UsageError(problem, f"Give each tile one index from 0 to {len(names) - 1}.")
    return classes, (
        f"class {names[classes[0]]}" if len(set(classes)) == 1 else "each tile's own class"
    )


def _same_class(classes: Sequence[int], batch: int) -> list[tuple[int, list[int]]]:
    """Return batches of tiles of one class: the class and the tiles' places."""
    places = {
        index: [place for place, one in enumerate(classes) if one == index]
        for index in dict.fromkeys(classes)
    }
    return [
        (index, some[at : at + batch])
        for index, some in places.items()
        for at in range(0, len(some), batch)
    ]


def refuse_no_numbers(values: NDArray[np.float32], method: str, tiles: Sequence[int]) -> None:
    """Refuse maps (N, h, w) with values that are not finite.

    ExplanationError, naming the method and the tile.
    """
    broken = ~np.isfinite(values).all((1, 2))
    if broken.any():
        problem = (
            f"{method} gave a map with values that are no numbers for tile"
            f" {tiles[int(broken.argmax())]}."
        )
        raise ExplanationError(problem, "Leave the method out, or give it other settings.")
