"""A run's tiles with all that is known of them, read from its folder.

No pixel and no network is needed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.classes import ClassSet
from slidecam.errors import MaskError, StoreError, UsageError
from slidecam.foreground import load_foreground, whole_slide
from slidecam.foreground.mask import mask_digest
from slidecam.geometry import Box, Size, Spacing
from slidecam.models import open_bundle
from slidecam.runs.mosaic import Mosaic, lay_mosaic
from slidecam.runs.tiles import TileTable
from slidecam.sources import open_source
from slidecam.store import RunStore, read_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slidecam.foreground import Foreground

MASK = "mask.png"

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class RunTiles:
    """Every tile of one slide's run, finished or not.

    Attributes
    ----------
    folder
        The slide's output folder.
    slide, slide_path
        Its name and where it lies.
    table
        Boxes, status, probabilities, classes and their colours, in grid order.
    logits
        float32, (tiles, classes); NaN where a tile is not done.
    step
        Level-0 pixels from one tile to the next.
    size, spacing
        Of level 0; ``spacing`` in µm, None where nobody knows it.
    tissue
        The mask that the tiles were laid on; None if its file was lost or edited since.
    digest
        What decided every result, as the store has it (see `StorePlan`).
    bundle_path, model
        Folder and name of the classifier.
    temperature
        What the classifier's logits were divided by; 1 where probabilities were never calibrated.
    notes
        What a reader should know, as sentences.
    planes
        int64, (tiles,): the plane of a volume that each tile lies on; None on a slide.
    """

    folder: Path
    slide: str
    slide_path: str
    table: TileTable
    logits: NDArray[np.float32]
    step: int
    size: Size
    spacing: Spacing | None
    tissue: Foreground | None
    digest: Mapping[str, Any]
    bundle_path: str
    model: str
    temperature: float
    notes: tuple[str, ...] = ()
    planes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the slide's fingerprint and of all boxes.

        Which tiles these are, whatever a model says of them.
        """
        fingerprint = str(self.digest.get("slide"))
        planes = b"" if self.planes is None else self.planes.astype("<i8").tobytes()
        return hashlib.sha256(
            fingerprint.encode() + self.table.boxes.astype("<i8").tobytes() + planes
        ).hexdigest()

    @property
    def calibration(self) -> str:
        """Whether the probabilities were calibrated, in words."""
        return self.table.classes.calibration

    @property
    def unit_area(self) -> float:
        """Area of one level-0 pixel: in µm², or 1 where there is no spacing."""
        return 1.0 if self.spacing is None else self.spacing.x * self.spacing.y

    @cached_property
    def mosaic(self) -> Mosaic:
        """The slide's tissue cut along the edges of all tiles, for areas of unions."""
        if self.planes is not None:
            raise UsageError(
                f"{self.folder} is a run of a volume, and areas are those of a slide.",
                "The volume's own call and its slices.csv tell of it.",
            )
        return lay_mosaic(self.table.boxes, self.tissue_or_slide)

    @property
    def tissue_or_slide(self) -> Foreground:
        """The tissue, or the whole slide where its mask is not known."""
        return whole_slide(self.size) if self.tissue is None else self.tissue

    def index_of(self, class_name: str) -> int:
        """Return the place of a class among the classifier's.

        UsageError if it has none of that name.
        """
        names = self.table.class_names
        if class_name not in names:
            raise UsageError(
                f"{self.model} has no class {class_name!r}.",
                f"Its classes are {', '.join(names[:16])}.",
            )
        return names.index(class_name)

    def row_at(self, x: float, y: float, plane: int = 0) -> int | None:
        """Return the tile at a place in level-0 pixels.

        Where tiles overlap, it is the one with the nearest centre.

        Of a volume only tiles on ``plane`` are looked at.
        """
        left, top, width, height = self.table.boxes.T
        here = True if self.planes is None else self.planes == plane
        inside = np.flatnonzero(
            (left <= x) & (x < left + width) & (top <= y) & (y < top + height) & here
        )
        if not len(inside):
            return None
        centres = self.table.boxes[inside, :2] + self.table.boxes[inside, 2:] / 2
        return int(inside[np.square(centres - (x, y)).sum(axis=1).argmin()])


def read_run_tiles(
    folder: Path | str, bundle: Path | str | None = None, slide: str | None = None
) -> RunTiles:
    """Read one slide's run, be it finished, partly done or still going on.

    Parameters
    ----------
    folder
        The slide's folder in the output folder of `predict`.
    bundle, slide
        Where they lie now, if they are not where ``run.json`` says; both are asked for only where
        they are needed.

    Raises
    ------
    UsageError
        If there is no run in ``folder``.
    StoreError
        If the run cannot be read, or ``bundle`` is not the one that made it.
    """
    folder = Path(folder)
    record = read_run(folder)
    if record is None:
        raise UsageError(
            f"{folder}: there is no slide's run here.",
            "Name the folder of one slide in the --out of slidecam predict.",
        )
    store = RunStore.open(folder)
    path = slide or str(record.get("input", {}).get("path", ""))
    told = _classifier_told(folder, record, bundle)
    size, bounds = _extent(record, path)
    tissue, notes = _tissue(folder, size, store.digest)
    return RunTiles(
        folder=folder,
        slide=folder.resolve().name,
        slide_path=path,
        table=TileTable(
            boxes=store.boxes,
            status=store.status,
            probabilities=store.probabilities,
            classes=ClassSet.from_record(told),
            bounds=bounds,
        ),
        logits=store.logits,
        step=store.step,
        size=size,
        spacing=_spacing(store.digest),
        tissue=tissue,
        digest=store.digest,
        bundle_path=str(bundle or told["path"]),
        model=str(told["name"]),
        temperature=float(told["temperature"]),
        notes=notes,
        planes=store.planes if store.is_volume else None,
    )


def _classifier_told(folder: Path, record: Record, bundle: Path | str | None) -> Record:
    """Return what ``run.json`` says of the classifier.

    Of runs made before it told all, what the bundle says.
    """
    told: Record = record.get("bundle") or {}
    if bundle is None and "class_names" in told:
        return told
    opened = open_bundle(bundle or told.get("path", ""), trust=True)  # only its card is read
    if opened.digest != told.get("digest"):
        raise StoreError(
            folder, f"this run was made by another bundle than {opened.path}.", "Name that bundle."
        )
    card = opened.card
    return {"name": card.name, "path": str(opened.path), **card.classes.record}


def _extent(record: Record, path: str) -> tuple[Size, Box | None]:
    """Return the slide's size and scanned bounds.

    Runs that do not tell them have their slide opened for its header.
    """
    told = record.get("input", {})
    if "bounds_px" in told:
        return Size(*told["size_px"]), None if told["bounds_px"] is None else Box(
            *told["bounds_px"]
        )
    with open_source(path) as source:
        return source.facts.size, source.facts.bounds


def _spacing(digest: Mapping[str, Any]) -> Spacing | None:
    told = digest.get("µm/px")
    return None if told is None else Spacing(*map(float, told))


def _tissue(
    folder: Path, size: Size, digest: Mapping[str, Any]
) -> tuple[Foreground | None, tuple[str, ...]]:
    try:
        found = load_foreground(folder / MASK, size)
    except MaskError:
        return None, ()
    if mask_digest(found.mask) != digest.get("tissue mask"):
        return None, (
            f"{MASK} is not the mask that the tiles were laid on; areas are those of whole tiles.",
        )
    return found, ()
