"""A slide or a volume as one layer, with all that its file says as metadata; and where a run lies.

A slide is multiscale, lazy and in µm. A volume lies the way radiologists hang it: arrays are
(S, P, L) and the world is LPS+ mm as (z, y, x); sliced, anterior is up and the patient's right is
on the left of the screen. In 3-D napari's own handedness would show the mirror image: see
`slidecam.plugin.hanging`.

It lies on the screen before torch would be loaded, so that nothing here may need that.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from slidecam.errors import SourceError, SpacingError, StoreError, UsageError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.plugin.placing import Placing
from slidecam.sources import Source, settle_spacing
from slidecam.sources.apart import open_apart
from slidecam.sources.display import displayed, readings_to_show
from slidecam.sources.images import choose_image
from slidecam.sources.tasks import TaskSlide
from slidecam.store import RUN_FILE, STORE_FOLDER
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView, VolumeView

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import Box, LevelBox, Size, Spacing
    from slidecam.sources.images import FileImage, FileVolume
    from slidecam.sources.volume import VolumeSource


LayerData = tuple[Any, dict[str, Any], str]
"""What napari makes a layer of: data, keyword arguments, and the type's name."""

KEY = "slidecam"
"""Under this name a layer's metadata hold what we must know of it."""

BLOCK = 512
"""Pixels that napari fetches at once, each way.

Panning was smooth with 512 and 1024, and not with 256 or 2048.
"""

LONGEST_COARSE = 2048
"""A slide whose coarsest level is longer than this gets one more, or zooming out reads it all."""

OVERVIEW = 1024
NO_SPACING = "It is shown in pixels; tell slidecam its µm per pixel before you classify it."


@dataclass(frozen=True)
class SlideFacts:
    """What the plugin keeps of a slide in its layer's metadata.

    Attributes
    ----------
    path, name
        Where it lies, and what its outputs are called.
    size
        Of level 0.
    spacing
        µm per level-0 pixel; None where nobody knows it, or nobody can believe it.
    bounds
        The part that holds the scan, or None for all of it: QuPath counts from its corner.
    fingerprint
        Of its content.
    is_volume
        Whether it is a stack of slices.
    own_spacing
        What the file says of its µm per pixel, whatever the user says; None for nothing that can
        be believed.
    seen
        Which picture of the file it is, as far as somebody chose.
    images, volumes
        The pictures or volumes of the file, where it has several.
    """

    path: str
    name: str
    size: Size
    spacing: Spacing | None
    bounds: Box | None
    fingerprint: str
    is_volume: bool = False
    seen: PictureView = AS_THE_FILE_SAYS
    images: tuple[FileImage, ...] = ()
    own_spacing: Spacing | None = None
    volumes: tuple[FileVolume, ...] = ()

    def is_picture(self, seen: PictureView) -> bool:
        """Whether a run that saw the file so classified the picture that is shown."""
        theirs = replace(seen, image=None, profile=None, window=None)
        if theirs != replace(self.seen, image=None, window=None):
            return False
        if not self.images:
            return True
        _images, classified, _readings = choose_image(self.path, self.images, seen.image)
        return any(one.chosen and one.number == classified.number for one in self.images)

    @property
    def volume(self) -> str | None:
        """Which of a file's volumes it is, as ``--volume`` names it; None for the first."""
        for one in self.volumes:
            if one.chosen and one.number:
                return str(one.number)
        return None

    def is_volume_called(self, wanted: str | None) -> bool:
        """Whether a run of the file's volume of this number or name classified what is shown."""
        for one in self.volumes:
            if one.chosen:
                return one.is_called(wanted)
        return True

    @property
    def placing(self) -> Placing:
        """Where the slide lies in napari's world."""
        return Placing(self.spacing)

    @property
    def in_words(self) -> str:
        """Its name, its size and its µm per pixel, in a line."""
        if self.is_volume:
            which = "volume"
            if self.volumes:
                which = f"volume {self.volume or 0} of {len(self.volumes)}, from 0"
            return f"{self.name} ({which}; its slices are classified)"
        size = f"{self.size.width} x {self.size.height} px"
        if self.spacing is None:
            return f"{self.name} ({size}, µm per pixel unknown)"
        return f"{self.name} ({size}, {self.spacing}/px)"


def facts_of(
    source: Source, mpp: Spacing | float | None = None, seen: PictureView = AS_THE_FILE_SAYS
) -> tuple[SlideFacts, str]:
    """Return what is kept of a slide, and what the user must hear of its spacing (or nothing)."""
    facts = source.facts
    try:
        settled = settle_spacing(facts, mpp)
        spacing, said = settled.spacing, settled.warning or ""
    except SpacingError as error:
        spacing, said = None, f"{error.problem} {NO_SPACING}"
    own = spacing
    if mpp is not None:
        own = facts_of(source)[0].own_spacing
    kept = SlideFacts(
        str(facts.path),
        facts.name,
        facts.size,
        spacing,
        facts.bounds,
        facts.fingerprint,
        facts.stack is not None,
        seen,
        facts.images,
        own,
        facts.volumes,
    )
    return kept, said


def slide_layer(
    path: str | Path,
    mpp: Spacing | float | None = None,
    reader: str | None = None,
    seen: PictureView = AS_THE_FILE_SAYS,
) -> tuple[LayerData, tuple[str, ...]]:
    """Open a slide as a layer; its file stays open as long as the layer's data.

    Parameters
    ----------
    path
        Whatever `open_apart` opens.
    mpp
        µm per level-0 pixel, where the file does not say or is wrong.
    reader
        Who reads it; None for whoever suits it best.
    seen
        Which picture of the file. It is shown in sRGB, whatever its classifier sees.

    Returns
    -------
    tuple
        The layer, and sentences that the user should read.

    Raises
    ------
    SourceError
        If it cannot be opened.
    """
    view = VolumeView(slide=replace(seen, profile="srgb"))
    source = KeptSource(open_apart(path, reader, view))
    kept, said = facts_of(source, mpp, replace(seen, profile=None))
    levels = _levels(source)
    metadata = {
        KEY: kept,
        "slide": _described(source, kept),
        "associated images": _associated(source),
    }
    meta = {
        "name": kept.name,
        "rgb": True,
        "multiscale": True,
        "contrast_limits": (0, 255),
        "metadata": metadata,
        **kept.placing.raster(),
    }
    notes = readings_to_show(source.facts)
    if said:
        notes = (said, *notes)
    return (levels, meta, "image"), notes


class KeptSource(Source):
    """A source that closes itself when nobody holds its levels any more.

    Napari forgets layers without a word.
    """

    def __init__(self, inner: Source) -> None:
        super().__init__(inner.facts)
        self.opening = inner.opening
        self._inner = inner
        self._finish = weakref.finalize(self, inner.close)

    @property
    def token(self) -> str:
        """What tells its pixels from others, as `Source.token`."""
        return self._inner.token

    def _is_absent(self, level: int, box: LevelBox) -> bool:
        return self._inner.is_absent(level, box)

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        return self._inner.read(level, box)

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return an associated image; KeyError if there is none of that name."""
        return self._inner.associated_image(name)

    def close(self) -> None:
        """Release the file, now instead of later."""
        self._finish()


def _levels(source: Source) -> list[da.Array]:
    levels = [source.level_array(level.index, BLOCK) for level in source.facts.levels]
    coarsest = source.facts.levels[-1].size
    if max(coarsest.width, coarsest.height) > LONGEST_COARSE:
        levels.append(_coarser(source, coarsest))
    return levels


def _coarser(source: Source, size: Size) -> da.Array:
    """Return the whole slide, read once when somebody first looks at it from afar."""
    shrink = max(size.width, size.height) / OVERVIEW
    shape = (max(1, round(size.height / shrink)), max(1, round(size.width / shrink)), 3)
    name, slide = f"overview-{source.token}", TaskSlide(source)

    def read(block_info: Mapping[Any, Any] | None = None) -> NDArray[np.uint8]:  # noqa: ARG001  (dask's protocol)
        with slide.opened() as opened:
            return fitted(opened.overview(OVERVIEW).pixels, shape)

    blocks: da.Array = da.map_blocks(
        read, chunks=shape, dtype=np.uint8, meta=np.empty((0, 0, 0), np.uint8), name=name
    )  # type: ignore[no-untyped-call]  # dask types it in part
    return blocks


def fitted(pixels: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return a picture cut or repeated at its edges by the pixel that rounding may cost or add."""
    rows = np.minimum(np.arange(shape[0]), pixels.shape[0] - 1)
    columns = np.minimum(np.arange(shape[1]), pixels.shape[1] - 1)
    return np.asarray(pixels[rows][:, columns])


def _described(source: Source, kept: SlideFacts) -> dict[str, Any]:
    facts = source.facts
    return {
        "path": kept.path,
        "reader": facts.reader,
        "format": facts.format,
        "size_px": [kept.size.width, kept.size.height],
        "spacing_um_px": None if kept.spacing is None else [kept.spacing.x, kept.spacing.y],
        "spacing_from": facts.spacing_from,
        "levels": len(facts.levels),
        "notes": list(readings_to_show(facts)),
    }


def _associated(source: Source) -> dict[str, NDArray[np.uint8]]:
    """Return the label, macro and thumbnail images that can be read.

    A damaged one does not keep a slide shut.
    """
    images = {}
    for name in source.facts.associated:
        try:
            images[name] = source.associated_image(name)
        except (SourceError, KeyError):
            continue
    return images


VOLUME_AXES = ("S", "P", "L")


def volume_layer(source: VolumeSource) -> LayerData:
    """Return a volume as a layer in mm; its file stays open as long as the layer's data."""
    facts = source.facts
    if facts.stack is None:
        raise UsageError("This is no volume.", "Open it as a slide.", facts.path)
    shown = displayed(source.array(), facts.stack.grid)
    weakref.finalize(shown.array, source.close)
    meta: dict[str, Any] = {
        "name": facts.name,
        "rgb": source.is_colour,
        "metadata": {
            KEY: facts_of(source)[0],
            "slide": {"path": str(facts.path), "resampled": shown.resampled},
        },
        **volume_place(shown.scale, shown.translate),
    }
    if not source.is_colour:
        meta["contrast_limits"] = source.limits
    return shown.array, meta, "image"


def volume_place(scale: Any, translate: Any) -> dict[str, Any]:  # noqa: ANN401  (three numbers each)
    """Return where a layer of (S, P, L) lies, in millimetres, as napari takes it."""
    place = {
        "scale": tuple(map(float, scale)),
        "translate": tuple(map(float, translate)),
    }
    return {**place, "axis_labels": VOLUME_AXES, "units": ("mm",) * 3}


GEOJSON = (".geojson", ".geojson.gz")


def run_folder(path: Path) -> Path | None:
    """Return the slide's output folder that ``path`` is or lies in, or None."""
    for folder in (path, path.parent):
        if (folder / STORE_FOLDER).is_dir() and (folder / RUN_FILE).is_file():
            return folder
    return None


def is_annotations(path: Path) -> bool:
    """Whether a file is called as areas drawn in QuPath are."""
    return path.name.lower().endswith(GEOJSON)


def is_heatmap(path: Path) -> bool:
    """Whether a folder is a heatmap of ours."""
    if not path.is_dir():
        return False
    try:
        read_heatmap_ome_zarr(path)
    except StoreError:
        return False
    return True


def shown_viewer() -> Any:  # noqa: ANN401  (napari's viewer)
    """Return the viewer that the user looks at, if there is one."""
    from napari import current_viewer  # noqa: PLC0415  (loads Qt's half of napari, which a reader in a script lacks)

    return current_viewer()
