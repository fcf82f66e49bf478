"""The maps of many tiles, each explained for a class of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import ExplanationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.explain.explainer import Explainer, Explanation
    from slidecam.models import Classifier
    from slidecam.steps import Step

PREDICTED = "predicted"
"""Stands for the class that the classifier finds most probable, of each tile."""


@dataclass(frozen=True, eq=False)
class TileMaps:
    """One method's maps of N tiles.

    Attributes
    ----------
    maps
        (N, h, w), float32, raw.
    passes, facts
        As in `Explanation`, of the first tiles.
    """

    maps: NDArray[np.float32]
    passes: int
    facts: Mapping[str, Any]


def maps_of_tiles(
    explainer: Explainer, pixels: Tensor, classes: Sequence[int], *, batch: int
) -> Generator[Step, None, TileMaps]:
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
    first: Explanation | None = None
    with explainer:
        for index, some in _same_class(classes, batch):
            explanation = yield from explainer.steps(pixels[some], [index])
            values = explanation.maps[:, 0].detach().float().cpu().numpy()
            refuse_no_numbers(values, explanation.method, some)
            if maps is None or first is None:
                maps, first = np.empty((len(classes), *values.shape[1:]), np.float32), explanation
            maps[some] = values
    if maps is None or first is None:
        raise UsageError("there is no tile to explain.", "Name at least one.")
    return TileMaps(maps, first.passes, first.facts)


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
        A class's name; ``predicted``; or an index for each tile, such as its true class.
    batch
        Tiles in one pass, where predictions are needed.

    Raises
    ------
    UsageError
        If there is no such class, or not one index for each tile.
    """
    names = classifier.card.class_names
    if not isinstance(classes, str):
        return _own(tuple(int(index) for index in classes), names, len(pixels))
    if classes in names:
        return (names.index(classes),) * len(pixels), f"class {classes}"
    if classes != PREDICTED:
        remedy = f"Use {PREDICTED!r}, or one of {', '.join(names)}."
        raise UsageError(f"{classifier.card.name} has no class {classes!r}.", remedy)
    starts = range(0, len(pixels), batch)
    chunks = (pixels[start : start + batch].to(classifier.device) for start in starts)
    parts = [classifier.run(chunk, gradients=False).logits.argmax(1).tolist() for chunk in chunks]
    return tuple(index for part in parts for index in part), "the predicted class"


def _own(classes: tuple[int, ...], names: Sequence[str], tiles: int) -> tuple[tuple[int, ...], str]:
    wrong = [index for index in classes if not 0 <= index < len(names)]
    if wrong or len(classes) != tiles:
        problem = (
            f"there is no class {wrong[0]}."
            if wrong
            else f"{len(classes)} classes were given for {tiles} tiles."
        )
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
