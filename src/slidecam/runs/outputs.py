"""What lies in a slide's folder: a table of outputs, and which of them a call leaves.

An output is a row here and the function that writes it. Other packages add rows by entry points of
the group ``slidecam.outputs`` (see `slidecam.registry`). Which files are written, whether a call
before has written all of them, what is cleared away, linked and listed: all of it is read here.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import quote

from slidecam.errors import UsageError
from slidecam.explain.catalogue import method_for
from slidecam.registry import Entry, Registry
from slidecam.store import RUN_FILE, STORE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from slidecam.explain.map_request import MapRequest
    from slidecam.runs.record import RunRecord
    from slidecam.runs.tiles import TileTable

SourceKind = Literal["slide", "volume"]

HEATMAP = "heatmap.ome.zarr"
FURTHER_HEATMAPS = "heatmap-*.ome.zarr"
NIFTIS = "heatmap*.nii.gz"
OVERVIEW = "overview.png"

QUPATH_FOLDER = "qupath"
"""What our QuPath scripts load, where the call says how QuPath shows it."""

DEFAULT = "default"
"""Stands for every output that is written where none is named."""


class HeatmapSettings(Protocol):
    """What of a `PredictSpec` decides how heatmaps are painted and written."""

    @property
    def ngff(self) -> str:
        """The version of their OME-Zarr."""

    @property
    def heatmap_threshold(self) -> str:
        """The rule of thresholded methods."""

    @property
    def heatmap_threshold_scope(self) -> str:
        """Over what it is found."""

    def fixed_scale(self, method: str) -> tuple[float, float] | None:
        """Return the raw values that a method is painted from and to, where they are fixed."""


class SlideOutputs(Protocol):
    """What a writer is given of a slide, at least: see `slidecam.prediction.outputs.Results`."""

    @property
    def table(self) -> TileTable:
        """Every tile with what became of it."""


@dataclass(frozen=True)
class Output(Entry):
    """One row: something that lies in a slide's folder beside ``run.json`` and ``run.zarr``.

    The name is that of its file or folder, and a contract.

    Attributes
    ----------
    write
        ``module:function``, or the function, that is given `SlideOutputs` and the path to write.
    media
        Its media type.
    kinds
        Of what it is written: slides, volumes.
    default
        Whether it is written where no output is named.
    wanted
        ``module:function``, or the function, that is given the `SlideWork` and says whether there
        is anything to write; empty where there always is.
    files
        The function that names what it leaves in the folder, given the maps that are computed and
        the classes of a volume (None of a slide); None for its own name.
    patterns
        What is cleared away with it, where that is more than its name.
    pictured
        Whether ``report.html`` shows it.
    """

    write: str | Callable[[Any, Path], None]
    media: str
    kinds: tuple[SourceKind, ...] = ("slide",)
    default: bool = True
    wanted: str | Callable[[Any], bool] = ""
    files: Callable[[MapRequest | None, Sequence[str] | None], tuple[str, ...]] | None = field(
        default=None, repr=False
    )
    patterns: tuple[str, ...] = ()
    pictured: bool = False

    @property
    def undone(self) -> str:
        """What cannot be done without its packages, as a clause."""
        return f"{self.name} cannot be written"


def heatmap_files(request: MapRequest | None) -> dict[str, str]:
    """Return the name of each method's heatmap in a slide's folder, in the order of the methods."""
    if request is None:
        return {}
    first, *further = request.methods
    return {first: HEATMAP, **{method: FURTHER_HEATMAPS.replace("*", method) for method in further}}


def nifti_name(heatmap: str, class_name: str) -> str:
    """Return the name of a class's NIfTI beside a volume's ``heatmap``, unique to the class."""
    return f"{heatmap.removesuffix('.ome.zarr')}.{quote(class_name, safe=' ')}.nii.gz"


def _heatmaps(request: MapRequest | None, volume_classes: Sequence[str] | None) -> tuple[str, ...]:
    """Return the heatmaps' names; beside those of a volume lies a NIfTI for each mapped class."""
    heatmaps = tuple(heatmap_files(request).values())
    if request is None or volume_classes is None:
        return heatmaps
    niftis: list[str] = []
    for name in heatmaps:
        niftis += [nifti_name(name, volume_classes[index]) for index in request.classes]
    return (*heatmaps, *niftis)


def _none(_request: MapRequest | None, _classes: Sequence[str] | None) -> tuple[str, ...]:
    return ()


_HERE = "slidecam.prediction.outputs"

OUTPUT_TABLE: Registry[Output] = Registry(
    "slidecam.outputs",
    Output,
    (
        Output(
            "tiles.csv",
            write=f"{_HERE}:tiles_csv",
            media="text/csv",
            help="a row for each classified tile, as WSInfer writes it",
        ),
        Output(
            "tiles.geojson",
            write=f"{_HERE}:tiles_geojson",
            media="application/geo+json",
            help="every classified tile as an object of QuPath",
        ),
        Output(
            "slices.csv",
            write=f"{_HERE}:slices_csv",
            media="text/csv",
            kinds=("volume",),
            help="a row for each slice of a volume",
        ),
        Output(
            HEATMAP,
            write=f"{_HERE}:heatmaps",
            media="application/vnd+zarr",
            kinds=("slide", "volume"),
            files=_heatmaps,
            patterns=(HEATMAP, FURTHER_HEATMAPS, NIFTIS),
            help="the heatmaps, one for each method; of a volume as NIfTI as well",
        ),
        Output(
            OVERVIEW,
            write=f"{_HERE}:overview",
            media="image/png",
            pictured=True,
            help="the slide with its classes and heatmaps",
        ),
        Output(
            "montage.png",
            write=f"{_HERE}:montage",
            media="image/png",
            kinds=("volume",),
            pictured=True,
            help="the slices that decided what a volume is called",
        ),
        Output(
            "mask.png",
            write=f"{_HERE}:slide_mask",
            media="image/png",
            help="where tissue was found",
        ),
        Output(
            "mask.nii.gz",
            write=f"{_HERE}:volume_mask",
            media="application/gzip",
            kinds=("volume",),
            help="where a volume's foreground was found",
        ),
        Output(
            QUPATH_FOLDER,
            write=f"{_HERE}:for_qupath",
            media="application/json",
            wanted=f"{_HERE}:is_for_qupath",
            files=_none,
            help="what our QuPath scripts load, where --shown says how QuPath shows the slide",
        ),
        Output(
            "tiles.parquet",
            write="slidecam.exchange.geoparquet:write_output",
            media="application/vnd.apache.parquet",
            default=False,
            packages=("pyarrow",),
            help="all tiles as GeoParquet, for DuckDB, pandas and GIS programs",
        ),
    ),
)
"""Every output, in the order in which they are written."""


def _written_always(kind: SourceKind) -> tuple[str, ...]:
    return tuple(
        row.name for row in OUTPUT_TABLE.own if kind in row.kinds and row.default and not row.wanted
    )


OUTPUTS = _written_always("slide")
"""What lies in a slide's folder where the call names nothing else, beside `run.json` and
`run.zarr`.

Each method after the first has a heatmap of its own beside these (`heatmap_files`)."""

VOLUME_OUTPUTS = _written_always("volume")
"""The same for a volume.

Beside each heatmap lies one NIfTI for each class that is mapped (`nifti_name`).
"""


def check_outputs(names: Sequence[str]) -> None:
    """Refuse names of outputs that there are not; UsageError, listing those that there are."""
    if "" in names:
        raise UsageError(
            "--outputs holds an empty name.",
            "Leave out a comma, or all of --outputs for the default ones.",
        )
    for name in names:
        if name != DEFAULT and name not in OUTPUT_TABLE:
            raise UsageError(
                f"There is no output {name!r}.",
                f"{OUTPUT_TABLE.remedy(name)} {DEFAULT!r} stands for those that are written where"
                " none is named.",
            )


def check_packages(names: Sequence[str]) -> None:
    """Refuse outputs whose packages are not installed; UsageError."""
    for name in names:
        row = OUTPUT_TABLE.get(name)
        if row is not None:
            row.refuse_absent(f"leave {name} out of --outputs")


def chosen_outputs(names: Sequence[str], *, volume: bool) -> tuple[Output, ...]:
    """Return the outputs of a slide or a volume that a call leaves.

    Parameters
    ----------
    names
        As in ``--outputs``; empty for the default ones.
    volume
        Whether the source is a volume.
    """
    kind: SourceKind = "slide"
    if volume:
        kind = "volume"
    wanted = names or (DEFAULT,)
    chosen = []
    for row in OUTPUT_TABLE.values():
        named = row.name in wanted or (DEFAULT in wanted and row.default)
        if named and kind in row.kinds:
            chosen.append(row)
    return tuple(chosen)


def output_names(
    request: MapRequest | None,
    volume_classes: Sequence[str] | None = None,
    names: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the names of all outputs in a slide's folder, beside `run.json` and `run.zarr`.

    Parameters
    ----------
    request
        The maps that are computed.
    volume_classes
        The classifier's classes where the slide is a volume, else None.
    names
        Outputs that a call names; empty for the default ones.
    """
    found: list[str] = []
    for row in chosen_outputs(names, volume=volume_classes is not None):
        if row.files is None:
            found.append(row.name)
        else:
            found += row.files(request, volume_classes)
    return tuple(found)


def painting(request: MapRequest | None, spec: HeatmapSettings) -> dict[str, Any]:
    """Return how heatmaps are painted, as JSON.

    What may change when a run is continued without classifying again.
    """
    if request is None:
        return {}
    scales = {method: spec.fixed_scale(method) for method in request.methods}
    record: dict[str, Any] = {
        "methods": list(request.methods),
        "scales": {method: list(scale) for method, scale in scales.items() if scale is not None},
    }
    if any(method_for(name).thresholds for name in request.methods):
        record |= {
            "threshold": spec.heatmap_threshold,
            "threshold scope": spec.heatmap_threshold_scope,
        }
    return record


def all_written(
    folder: Path,
    record: RunRecord | None,
    request: MapRequest | None,
    spec: HeatmapSettings,
    names: Sequence[str],
) -> bool:
    """Whether an earlier call has finished a slide as it is wanted now.

    All of its outputs must still be there.
    """
    if record is None or not record.is_finished:
        return False
    same = record.ngff == spec.ngff and record.painting == painting(request, spec)
    return same and all((folder / name).exists() for name in names)


def clear_outputs(folder: Path) -> None:
    """Remove all that an earlier run has left."""
    for name in (RUN_FILE, STORE_FOLDER):
        _remove(folder / name)
    clear_leftovers(folder)
    clear_others(folder, kept=())


def clear_others(folder: Path, kept: Collection[Output]) -> None:
    """Remove outputs that are not wanted any more, which may be of other tiles than the run's."""
    for row in OUTPUT_TABLE.values():
        if row not in kept:
            for pattern in row.patterns or (row.name,):
                for path in folder.glob(pattern):
                    _remove(path)


def clear_heatmaps(folder: Path, kept: Collection[str]) -> None:
    """Remove the heatmaps of methods that are not wanted any more; ``kept`` are file names."""
    for path in (folder / HEATMAP, *folder.glob(FURTHER_HEATMAPS), *folder.glob(NIFTIS)):
        if path.name not in kept:
            _remove(path)


def clear_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written."""
    for path in folder.glob(".*.partial"):
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
