"""Which tiles of a run somebody said the class of: by drawing round them, or one by one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.classes import normal_name
from slidecam.errors import RunMismatchError
from slidecam.foreground import AMBIGUOUS, LabelRule, load_classes, sort_classes
from slidecam.teaching.corrections import Corrections, read_corrections

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.exchange.geojson import Annotation
    from slidecam.foreground import AnnotatedClasses
    from slidecam.runs import Run

DRAWN = Path("the annotations")
"""What messages call areas that come from no file."""


@dataclass(frozen=True, eq=False)
class LabelledTiles:
    """Tiles of a run with the class that a person gave them.

    Attributes
    ----------
    rows
        int64, (M,), ascending.
    names
        The class of each, in NFC.
    corrected
        bool, (M,): which were corrected one by one; a correction wins over an annotation.
    ambiguous
        Tiles that were left out since they lie in areas of two classes.
    notes
        What a careful user wants to know, as sentences.
    """

    rows: NDArray[np.int64]
    names: tuple[str, ...]
    corrected: NDArray[np.bool_]
    ambiguous: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(normal_name, self.names)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def counts(self) -> dict[str, int]:
        """How many tiles there are of each class."""
        return dict(sorted(Counter(self.names).items()))


def label_tiles(
    run: Run,
    annotations: Path | Sequence[Annotation] | None = None,
    corrections: Corrections | Path | None = None,
    rule: LabelRule | None = None,
    renamed: Mapping[str, str] | None = None,
) -> LabelledTiles:
    """Return the tiles that annotations and corrections give a class.

    Those that could not be read are left out.

    Parameters
    ----------
    run
        Whose tiles.
    annotations
        GeoJSON as QuPath exports it, or areas.
    corrections
        Of this run, or a file of any run of this slide: its tiles are found by their boxes.
    rule
        Which class a tile is of by the shares of it that are drawn on; None for the usual.
    renamed
        Other names for classes.

    Raises
    ------
    MaskError
        If the annotations cannot be read, or lie off the slide.
    StoreError, RunMismatchError
        If the corrections cannot be read, or are of another slide.
    """
    found: dict[int, str] = {}
    notes: list[str] = []
    ambiguous = 0
    classes = _classes(run, annotations, renamed)
    if classes is not None:
        labels = (rule or LabelRule()).labels(classes.coverage(run.tiles.boxes))
        found = {int(row): classes.names[labels[row]] for row in np.flatnonzero(labels >= 0)}
        ambiguous = int((labels == AMBIGUOUS).sum())
        notes += classes.notes
    corrected = _corrected(run, corrections, notes)
    found |= {row: (renamed or {}).get(name, name) for row, name in corrected.items()}
    rows = [row for row in sorted(found) if not run.tiles.failed[row]]
    return LabelledTiles(
        rows=np.array(rows, np.int64),
        names=tuple(found[row] for row in rows),
        corrected=np.array([row in corrected for row in rows], np.bool_),
        ambiguous=ambiguous,
        notes=tuple(notes),
    )


def _classes(
    run: Run,
    annotations: Path | Sequence[Annotation] | None,
    renamed: Mapping[str, str] | None,
) -> AnnotatedClasses | None:
    if annotations is None:
        return None
    if isinstance(annotations, Path):
        left, top = run.tiles.corner
        return load_classes(annotations, run.size, (float(left), float(top)), renamed)
    areas = [(each.class_name, list(each.area)) for each in annotations]
    return sort_classes(DRAWN, areas, run.size, renamed) if areas else None


def _corrected(
    run: Run, corrections: Corrections | Path | None, notes: list[str]
) -> dict[int, str]:
    if corrections is None:
        return {}
    if isinstance(corrections, Corrections):
        return dict(corrections.labels)
    saved = read_corrections(corrections)
    if saved.slide != run.fingerprint:
        raise RunMismatchError(
            corrections,
            f"these corrections are of another slide than {run.folder}.",
            "Name others.",
        )
    places = {box: row for row, box in enumerate(map(tuple, run.tiles.boxes.tolist()))}
    boxes = [tuple(box) for box in saved.boxes.tolist()]
    lost = sum(box not in places for box in boxes)
    if lost:
        notes.append(
            f"{corrections}: {lost} of {len(boxes)} corrected tiles are none of this run's, and"
            " left out."
        )
    return {
        places[box]: name for box, name in zip(boxes, saved.names, strict=True) if box in places
    }
