"""The maps of many tiles, each explained for a class of its own, on the pixels of their tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from slidecam.class_names import classes_meant
from slidecam.errors import ExplanationError, UsageError
from slidecam.explain.facts import facts_of_tiles, facts_record

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

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
    explainer: Explainer,
    pixels: Tensor,
    classes: Sequence[int],
    *,
    batch: int,
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
    classifier: Classifier,
    pixels: Tensor,
    classes: str | Sequence[int],
    *,
    batch: int,
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
    if not isinstance(classes, str):
        indices = tuple(map(int, classes))
        return indices, _own_classes(indices, known.names, len(pixels))
    if classes in known:
        index = known.index(classes)
        return (index,) * len(pixels), f"class {known.names[index]}"
    if classes != PREDICTED:
        remedy = f"Use {PREDICTED!r}, or a class. {classes_meant(classes, known.names)}"
        raise UsageError(f"The model {classifier.card.name} has no class {classes!r}.", remedy)
    rows: list[list[float]] = []
    for chunk in pixels.split(batch):  # type: ignore[no-untyped-call]
        logits = classifier.run(chunk.to(classifier.device), gradients=False).logits
        rows += classifier.probabilities(logits).tolist()
    words = "the predicted class"
    if not all(map(known.called_names, rows)):
        words += ", or the most probable one where none is called"
    return tuple(map(known.foremost, rows)), words


def _own_classes(indices: tuple[int, ...], names: Sequence[str], tiles: int) -> str:
    """Return how a sentence calls a class of each tile; UsageError if that cannot be."""
    remedy = f"Give each tile one index from 0 to {len(names) - 1}."
    for index in indices:
        if not 0 <= index < len(names):
            raise UsageError(f"there is no class {index}.", remedy)
    if len(indices) != tiles:
        raise UsageError(f"{len(indices)} classes were given for {tiles} tiles.", remedy)
    if len(set(indices)) == 1:
        return f"class {names[indices[0]]}"
    return "each tile's own class"


def _same_class(classes: Sequence[int], batch: int) -> Iterator[tuple[int, list[int]]]:
    """Yield batches of tiles of one class: the class and the tiles' places."""
    for index in dict.fromkeys(classes):
        places: list[int] = np.flatnonzero(np.equal(classes, index)).tolist()
        for start in range(0, len(places), batch):
            yield index, places[start : start + batch]


def refuse_no_numbers(values: NDArray[np.float32], method: str, tiles: Sequence[int]) -> None:
    """Refuse maps (N, h, w) with values that are not finite.

    ExplanationError, naming the method and the tile.
    """
    broken = ~np.isfinite(values).all((1, 2))
    if broken.any():
        tile = tiles[int(broken.argmax())]
        problem = f"The method {method} gave a map with values that are no numbers for tile {tile}."
        raise ExplanationError(problem, "Leave the method out, or give it other settings.")
