"""The data's classes and the classifier's, matched by name.

Never by their order, which differs silently.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from slidecam.classes import normal_name
from slidecam.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.models.card import Card
    from slidecam.pixels import RGB

ABSENT_COLOR: RGB = (150, 156, 166)
"""Of whatever a classifier of one logit is not looking for."""


@dataclass(frozen=True, eq=False)
class MatchedClasses:
    """The data's labels as the classifier counts.

    Attributes
    ----------
    labels
        int64, (N,): places in ``names``.
    names, colors
        One for each class. A classifier of one logit has two: the absence of its class, then its
        class.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    colors: tuple[RGB, ...]


def match_classes(
    pictures: PictureSet, card: Card, mapping: Mapping[str, str] | None = None
) -> MatchedClasses:
    """Return the pictures' labels in the order of a card's classes.

    Parameters
    ----------
    pictures
        Only classes that have pictures are looked at.
    card
        The classifier's. A class of its that the data lack is no error: its figures are None.
    mapping
        What the data call a class, and what the card calls it.

    Raises
    ------
    DataSetError
        If a class of the data is none of the card's (with one logit: if none of them is), or
        ``mapping`` names a class that neither knows.
    """
    mapping = {normal_name(theirs): normal_name(ours) for theirs, ours in (mapping or {}).items()}
    _check_mapping(pictures, card, mapping)
    meant = [mapping.get(name, name) for name in pictures.class_names]
    used = [
        name
        for name, own in zip(meant, pictures.class_names, strict=True)
        if pictures.counts()[own]
    ]
    if len(card.class_names) == 1:
        return _one_class(pictures, card, meant, used)
    unknown = [name for name in dict.fromkeys(used) if name not in card.class_names]
    if unknown:
        raise DataSetError(
            f"the data have a class {unknown[0]!r} that {card.name} does not"
            f" know; it knows {', '.join(card.class_names)}.",
            f"Say which it is with --map {unknown[0]}=CLASS, or leave these pictures out.",
            pictures.root,
        )
    places = np.array(
        [card.class_names.index(name) if name in card.class_names else -1 for name in meant]
    )
    return MatchedClasses(
        places[pictures.labels].astype(np.int64), card.class_names, card.class_colors
    )


def _one_class(
    pictures: PictureSet, card: Card, meant: list[str], used: list[str]
) -> MatchedClasses:
    """Everything that is not the one class is its absence."""
    sought = card.class_names[0]
    others = sorted({name for name in used if name != sought})
    if sought not in used:
        raise DataSetError(
            f"{card.name} looks for {sought!r}, and the data have {', '.join(others)}.",
            f"Say which it is with --map {others[0]}={sought}.",
            pictures.root,
        )
    if len(others) == 1:
        absence = others[0]
    else:
        absence = f"not {sought}"
    is_sought = np.array([name == sought for name in meant])
    labels = is_sought[pictures.labels].astype(np.int64)
    return MatchedClasses(labels, (absence, sought), (ABSENT_COLOR, card.class_colors[0]))


def _check_mapping(pictures: PictureSet, card: Card, mapping: Mapping[str, str]) -> None:
    unknown = [name for name in mapping if name not in pictures.class_names]
    if unknown:
        raise DataSetError(
            f"there is no class {unknown[0]!r} in the data to call {mapping[unknown[0]]!r}.",
            f"The data's classes are {', '.join(pictures.class_names)}.",
            pictures.root,
        )
    wrong = [
        name
        for name in mapping.values()
        if name not in card.class_names and len(card.class_names) > 1
    ]
    if wrong:
        raise DataSetError(
            f"{card.name} has no class {wrong[0]!r}.",
            f"Its classes are {', '.join(card.class_names)}.",
        )
