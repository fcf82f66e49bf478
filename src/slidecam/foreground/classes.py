"""What a person has drawn and named on a slide.

The areas of each class, and how much of a place belongs to which.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.class_names import normal_name
from slidecam.errors import MaskError, UsageError
from slidecam.foreground.annotations import (
    drawn_areas_of,
    is_ignored,
    is_set_apart,
    moved_area,
    pixel_of,
    rasterise,
    set_apart_words,
    words_on_planes,
)
from slidecam.foreground.files import (
    off_the_slide,
    offset_of,
    reaches_the_slide,
    read_content,
    text_of,
    words_off_the_slide,
)
from slidecam.foreground.mask import Foreground
from slidecam.geometry import Size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.foreground.annotations import Area

UNANNOTATED, AMBIGUOUS = -1, -2
"""Labels of places that belong to no class, and of those that belong to several."""


@dataclass(frozen=True)
class LabelRule:
    """Which class a tile is of, by the shares of it that are annotated.

    Attributes
    ----------
    min_share
        Share of a tile that has to be annotated as its class.
    most_other
        Share of a tile that may be annotated as another class; with more it is ambiguous.
    """

    min_share: float = 0.5
    most_other: float = 0.2

    def __post_init__(self) -> None:
        for name, value, low in (
            ("min_share", self.min_share, 1e-9),
            ("most_other", self.most_other, 0.0),
        ):
            if not low <= value <= 1:
                raise UsageError(
                    f"The {name} {value:g} is out of range.",
                    "Pass a share of a tile from 0 to 1.",
                )

    def labels(self, shares: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the place of each tile's class, `UNANNOTATED` or `AMBIGUOUS`, int64, (N,).

        Parameters
        ----------
        shares
            float64, (N, classes), as from `AnnotatedClasses.coverage`.
        """
        labels: NDArray[np.int64] = shares.argmax(axis=1).astype(np.int64)
        others = shares.copy()
        most = np.take_along_axis(others, labels[:, None], 1)[:, 0]
        np.put_along_axis(others, labels[:, None], 0.0, 1)
        second = others.max(axis=1)
        labels[(second > self.most_other) | (second == most)] = AMBIGUOUS
        labels[most < self.min_share] = UNANNOTATED
        return labels


@dataclass(frozen=True, eq=False)
class AnnotatedClasses:
    """The areas of each class on one slide.

    Attributes
    ----------
    areas
        Polygons of each class in level-0 pixels, by class name.
    ignored
        Polygons that belong to no class, whatever else is drawn there (``Ignore*``).
    size
        Width and height of level 0.
    notes
        What was passed over, as sentences.
    """

    areas: Mapping[str, list[Area]]
    ignored: list[Area]
    size: Size
    notes: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The classes, sorted."""
        return tuple(sorted(self.areas))

    def coverage(self, boxes: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return which share of each box is annotated as each class.

        Parameters
        ----------
        boxes
            int64, (N, 4): x, y, width, height in level-0 pixels.

        Returns
        -------
        ndarray
            float64, (N, classes), 0 to 1, in the order of `names`. Where areas of two classes
            overlap, both count.
        """
        pixel = pixel_of([*chain(*self.areas.values()), *self.ignored], self.size)
        ignored = rasterise(self.ignored, self.size, pixel)
        shares = np.zeros((len(boxes), len(self.areas)))
        for place, name in enumerate(self.names):
            mask = rasterise(self.areas[name], self.size, pixel) & ~ignored
            shares[:, place] = Foreground(mask, self.size, name).coverage(boxes)
        return shares

    def masks(self, name: str, boxes: NDArray[np.int64], edge: int) -> NDArray[np.bool_]:
        """Return where a class was drawn in each box, bool (N, edge, edge); nowhere if it was not.

        Boxes are int64, (N, 4): x, y, width, height in level-0 pixels.
        """
        size = Size(edge, edge)
        masks = np.zeros((len(boxes), edge, edge), np.bool_)
        for mask, (x, y, width, height) in zip(masks, boxes.tolist(), strict=True):
            scale = np.array([edge / width, edge / height])
            near: list[Area] = []
            for area in self.areas.get(name, []):
                rings = [(ring - (x, y)) * scale for ring in area]
                if (rings[0].max(0) > 0).all() and (rings[0].min(0) < edge).all():
                    near.append(rings)
            mask[:] = rasterise(near, size, 1.0)
        return masks


def load_classes(
    path: str | Path,
    size: Size,
    offset: tuple[float, float] = (0.0, 0.0),
    renamed: Mapping[str, str] | None = None,
) -> AnnotatedClasses:
    """Read annotations with classes, as QuPath and our napari plugin export them.

    Parameters
    ----------
    path
        GeoJSON in level-0 pixels, plain or gzipped. Annotations without a class are passed over, as
        are classes whose name ends in a star; those of ``Ignore*`` are cut out of all others.
    size
        Width and height of the slide's level 0.
    offset
        x, y in level-0 pixels that are added to the coordinates: the corner of `SourceFacts.bounds`
        where QuPath showed the slide cropped to its bounds. A file of our QuPath scripts says
        itself what QuPath showed.
    renamed
        Other names for classes; two that are given one name become one class.

    Raises
    ------
    MaskError
        If the file cannot be read or has no area with a class on the slide.
    """
    path = Path(path)
    content = read_content(path)
    drawn = drawn_areas_of(path, text_of(path, content))
    corner = np.asarray(offset_of(path, content, size, offset), np.float64)
    moved = [(one.class_name, moved_area(one.area, corner)) for one in drawn]
    classes = sort_classes(path, moved, size, renamed)
    return replace(classes, notes=(*classes.notes, *words_on_planes(path, drawn)))


def sort_classes(
    path: Path,
    found: Sequence[tuple[str, Area]],
    size: Size,
    renamed: Mapping[str, str] | None = None,
) -> AnnotatedClasses:
    """Return areas in level-0 pixels by their class, as `load_classes` does.

    ``path`` is what messages name.

    Raises
    ------
    MaskError
        If none has a class, or none lies on the slide.
    """
    new_names = {normal_name(old): normal_name(new) for old, new in (renamed or {}).items()}
    areas: dict[str, list[Area]] = {}
    for name, area in found:
        areas.setdefault(new_names.get(name, name), []).append(area)
    unnamed = areas.pop("", [])
    notes: list[str] = []
    if unnamed:
        notes.append(f"{path.name}: areas without a class, passed over: {len(unnamed)}.")
    ignored: list[Area] = []
    for name in filter(is_set_apart, list(areas)):
        starred = areas.pop(name)
        if is_ignored(name):
            ignored.extend(starred)
        notes.append(set_apart_words(path, name))
    drawn = [*chain(*areas.values())]
    if not drawn:
        raise MaskError(
            "No area has a class.",
            "Give each annotation its class (in QuPath: Set class) and export.",
            path,
        )
    if not reaches_the_slide(drawn, size):
        raise off_the_slide(path, drawn, size)
    notes.extend(words_off_the_slide(path, drawn, size))
    return AnnotatedClasses(areas, ignored, size, tuple(notes))
