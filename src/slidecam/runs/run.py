"""One slide's run, read from its folder: its record, its tiles, and what lies beside them.

No pixel and no network is needed to open one. Whoever wants pixels, or the classifier, asks the run
for them (`Run.open_slide`, `Run.open_bundle`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.class_names import classes_meant
from slidecam.errors import MaskError, StoreError, UsageError
from slidecam.foreground import Foreground, load_foreground, whole_slide
from slidecam.foreground.mask import mask_digest
from slidecam.geometry import Size, Spacing
from slidecam.runs.arrays import run_anndata, run_arrays, run_frame, run_geoframe
from slidecam.runs.located import (
    open_recorded_bundle,
    open_recorded_slide,
    recorded_fingerprint,
    recorded_view,
    with_classes,
    with_extent,
)
from slidecam.runs.outputs import FURTHER_HEATMAPS, HEATMAP
from slidecam.runs.record import RUN_AGAIN, RunRecord
from slidecam.runs.record_parts import if_known
from slidecam.runs.slices import read_slices_csv
from slidecam.runs.tiles import TileTable
from slidecam.store import RunStore, has_run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from slidecam.models import Bundle
    from slidecam.runs.slices import SliceTable
    from slidecam.sources import Source
    from slidecam.viewing import PictureView

MASK = "mask.png"
SLICES = "slices.csv"


@dataclass(frozen=True, eq=False)
class Run:
    """One slide's run, finished or not. Make one with `Run.open`.

    Attributes
    ----------
    folder
        The slide's output folder.
    record
        ``run.json``; what an older run does not say was asked of its bundle or slide.
    tiles
        Boxes, status, probabilities, classes and their colours, in grid order; and where QuPath
        counts from.
    logits
        float32, (tiles, classes); NaN where a tile is not done.
    step, row_step
        Level-0 pixels from one tile to the next, along x and y; a ``row_step`` of 0 is the same.
    digest
        What decided every result, as the store has it (see `StorePlan`).
    tissue
        The mask that a slide's tiles were laid on, as the store keeps it; of an older store
        ``mask.png`` if that is still the same. None where nobody knows it.
    notes
        What a reader should know, as sentences.
    planes
        int64, (tiles,): the plane of a volume that each tile lies on; None on a slide.
    given_slide, given_bundle
        Where they lie now, if not where the record says.
    """

    folder: Path
    record: RunRecord
    tiles: TileTable
    logits: NDArray[np.float32]
    step: int
    digest: Mapping[str, Any]
    tissue: Foreground | None = None
    notes: tuple[str, ...] = ()
    planes: NDArray[np.int64] | None = None
    given_slide: str | None = None
    given_bundle: Path | str | None = None
    row_step: int = 0

    @classmethod
    def open(
        cls,
        folder: Path | str,
        bundle: Path | str | None = None,
        slide: str | None = None,
    ) -> Run:
        """Read one slide's run, be it finished, partly done or still going on.

        Parameters
        ----------
        folder
            The slide's folder in the output folder of `predict`.
        bundle, slide
            Where they lie now, if they are not where ``run.json`` says; they are looked for only
            where they are needed.

        Raises
        ------
        UsageError
            If there is no run in ``folder``.
        StoreError
            If the run cannot be read, or ``bundle`` is not the one that made it.
        """
        folder = Path(folder)
        if not has_run(folder):
            raise UsageError(
                "There is no slide's run here.",
                "Name the folder of one slide in the --out of slidecam predict.",
                folder,
            )
        record, store = RunRecord.read(folder), RunStore.open(folder)
        if bundle is not None or record.bundle.classes is None:
            record = with_classes(folder, record, store.digest, bundle)
        if record.input.size is None:
            record = with_extent(folder, record, store.digest, slide)
        tissue, notes = _tissue(folder, record, store)
        return cls(
            folder=folder,
            record=record,
            tiles=_tiles(folder, record, store),
            logits=store.logits,
            step=store.steps[0],
            digest=store.digest,
            tissue=tissue,
            notes=notes,
            planes=store.planes if store.is_volume else None,
            given_slide=slide,
            given_bundle=bundle,
            row_step=store.steps[1],
        )

    def __len__(self) -> int:
        return len(self.tiles)

    def __repr__(self) -> str:
        done = int(self.tiles.done.sum())
        classes = ", ".join(self.tiles.class_names[:6])
        return (
            f"<Run of {self.slide!r} by {self.model!r}: {done} of {len(self)} tiles done,"
            f" {len(self.tiles.class_names)} classes ({classes}), {self.status}, in {self.folder}>"
        )

    to_dask = run_arrays
    to_dataframe = run_frame
    to_geopandas = run_geoframe
    to_anndata = run_anndata

    @property
    def steps(self) -> tuple[int, int]:
        """Level-0 pixels from one tile to the next, along x and y."""
        return self.step, self.row_step or self.step

    @property
    def slide(self) -> str:
        """The slide's name, after which its folder is called."""
        return self.folder.resolve().name

    @property
    def slide_path(self) -> str:
        """Where the slide lies, as it was given or written down: for people to read."""
        if self.given_slide is None:
            return self.record.input.path
        return self.given_slide

    @property
    def fingerprint(self) -> str:
        """Digest of the slide's content."""
        return recorded_fingerprint(self.record, self.digest)

    @property
    def bundle_path(self) -> str:
        """Where the bundle lies, as it was given or written down: for people to read."""
        if self.given_bundle is None:
            return self.record.bundle.path
        return str(self.given_bundle)

    @property
    def bundle_digest(self) -> str:
        """What the classifier is known by."""
        return str(self.digest.get("model", self.record.bundle.digest))

    @property
    def map_methods(self) -> tuple[str, ...]:
        """Methods whose raw maps the store keeps, in its order."""
        return tuple(self.digest.get("heatmap") or ())

    @property
    def map_classes(self) -> tuple[str, ...]:
        """The classes that are mapped."""
        return tuple(self.digest.get("heatmap classes", ()))

    @property
    def reader(self) -> str | None:
        """Name of the reader that opened the slide."""
        return if_known(self.digest.get("reader", self.record.input.reader), str)

    @property
    def seen(self) -> PictureView:
        """Which picture of the file was classified, and in which colours."""
        return recorded_view(self.digest).slide

    @property
    def grid_kind(self) -> str:
        """Whose grid its tiles lie on, as `TilingSpec.grid`."""
        return str(self.digest.get("grid"))

    @property
    def size(self) -> Size:
        """Of the slide's level 0; StoreError where nobody knows it."""
        size = self.record.input.size
        if size is None:
            raise StoreError(self.folder, "Its run.json does not say the slide's size.", RUN_AGAIN)
        return size

    @property
    def spacing(self) -> Spacing | None:
        """µm per level-0 pixel; None where nobody knows it."""
        return if_known(self.digest.get("µm/px"), lambda um_px: Spacing(*map(float, um_px)))

    @property
    def model(self) -> str:
        """Name of the classifier."""
        return self.record.bundle.name

    @property
    def status(self) -> str:
        """What became of it, as `RunRecord.status`."""
        return self.record.status

    @property
    def is_volume(self) -> bool:
        """Whether its tiles lie on the planes of a volume."""
        return self.planes is not None

    @property
    def plane_numbers(self) -> NDArray[np.int64]:
        """The plane that each tile lies on, int64, (tiles,); a slide is one plane, 0."""
        if self.planes is None:
            return np.zeros(len(self), np.int64)
        return self.planes

    @property
    def heatmaps(self) -> tuple[Path, ...]:
        """The heatmaps that lie beside it, the first method's first."""
        return find_heatmaps(self.folder)

    @property
    def slices(self) -> SliceTable | None:
        """The slices of a volume; None of a slide, or before they are written."""
        path = self.folder / SLICES
        if not path.exists():
            return None
        table, volume = read_slices_csv(path), self.record.input.volume
        if volume is None:
            return table
        return replace(table, axis=volume.axis)

    @cached_property
    def identity(self) -> str:
        """SHA-256 of the slide's fingerprint and of all boxes.

        Which tiles these are, whatever a model says of them.
        """
        digest = hashlib.sha256(self.fingerprint.encode())
        digest.update(self.tiles.boxes.astype("<i8").tobytes())
        if self.planes is not None:
            digest.update(self.planes.astype("<i8").tobytes())
        return digest.hexdigest()

    @property
    def calibration(self) -> str:
        """Whether the probabilities were calibrated, in words."""
        return self.tiles.classes.calibration

    @property
    def tissue_or_slide(self) -> Foreground:
        """The tissue, or the whole slide where its mask is not known."""
        if self.tissue is None:
            return whole_slide(self.size)
        return self.tissue

    def open_slide(self) -> Source:
        """Open the slide as the run did: the one gate to its pixels.

        Raises
        ------
        StoreError
            If another slide lies where it lay.
        SourceError
            If it cannot be opened.
        """
        _place, source = self._located()
        return source

    def find_slide(self) -> str:
        """Return where the slide lies now; raises as `open_slide` does."""
        place, source = self._located()
        source.let_go()
        return place

    def _located(self) -> tuple[str, Source]:
        return open_recorded_slide(self.folder, self.record, self.digest, self.given_slide)

    def open_bundle(self, *, trust: bool = False) -> Bundle:
        """Open the classifier that made the run.

        Raises
        ------
        RunMismatchError
            If another bundle lies where it lay.
        BundleError
            If it cannot be opened.
        """
        return open_recorded_bundle(
            self.folder, self.record, self.digest, self.given_bundle, trust=trust
        )

    def index_of(self, class_name: str) -> int:
        """Return the place of a class among the classifier's.

        UsageError if it has none of that name.
        """
        classes = self.tiles.classes
        if class_name not in classes:
            raise UsageError(
                f"The model {self.model} has no class {class_name!r}.",
                classes_meant(class_name, classes.names),
            )
        return classes.index(class_name)


def find_heatmaps(folder: Path) -> tuple[Path, ...]:
    """Return the heatmaps that lie in a slide's folder, the first method's first."""
    return (*folder.glob(HEATMAP), *sorted(folder.glob(FURTHER_HEATMAPS)))


def _tiles(folder: Path, record: RunRecord, store: RunStore) -> TileTable:
    """Return the tiles of a store with the classes and the shift of its record."""
    classes = record.bundle.classes
    if classes is None:
        raise StoreError(folder, "Its run.json does not name the classes.", RUN_AGAIN)
    try:
        return TileTable(
            boxes=store.boxes,
            status=store.status,
            probabilities=store.probabilities,
            classes=classes,
            bounds=record.shown_part,
            disagreement=store.disagreement,
        )
    except UsageError as error:
        problem = f"Its run.json does not belong to its run.zarr: {error.clause}."
        raise StoreError(folder, problem, RUN_AGAIN) from error


def _tissue(
    folder: Path, record: RunRecord, store: RunStore
) -> tuple[Foreground | None, tuple[str, ...]]:
    if record.input.size is None or store.is_volume:
        return None, ()
    kept = store.tissue
    if kept is not None:
        return Foreground(kept, record.input.size, _origin(record)), ()
    try:
        found = load_foreground(folder / MASK, record.input.size)
    except MaskError:
        return None, (_unknown(folder, f"there is no {MASK}"),)
    if mask_digest(found.mask) != store.digest.get("tissue mask"):
        problem = f"{MASK} is not the mask that the tiles were laid on"
        return None, (_unknown(folder, problem),)
    return found, ()


def _origin(record: RunRecord) -> str:
    if record.foreground is None:
        return ""
    return record.foreground.origin


def _unknown(folder: Path, problem: str) -> str:
    """Return what a reader should know of a run that has lost its tissue."""
    return (
        f"The tissue of {folder} is not known ({problem}, and its run.zarr keeps none, as an older"
        " slidecam wrote it): areas and shares are those of whole tiles."
    )
