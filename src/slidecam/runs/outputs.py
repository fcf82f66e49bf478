"""What lies in a slide's folder.

The names, which of them a call leaves, and how they are cleared away.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from slidecam.explain.catalogue import method_for
from slidecam.store import RUN_FILE, STORE_FOLDER

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from slidecam.inference import MapRequest
    from slidecam.runs.spec import PredictSpec

HEATMAP = "heatmap.ome.zarr"
FURTHER_HEATMAPS = "heatmap-*.ome.zarr"
OUTPUTS = ("tiles.csv", "tiles.geojson", HEATMAP, "overview.png", "mask.png")
"""What lies in a slide's folder beside `run.json` and `run.zarr`; the names are a contract.

Each method after the first
has a heatmap of its own beside these (`heatmap_files`)."""

VOLUME_OUTPUTS = ("slices.csv", HEATMAP, "montage.png", "mask.nii.gz")
"""The same for a volume.

Beside each heatmap lies one NIfTI for each class that is mapped (`nifti_name`).
"""

NIFTIS = "heatmap*.nii.gz"

QUPATH_FOLDER = "qupath"
"""What our QuPath scripts load, where it was asked for."""

FINISHED = ("done", "partly", "skipped")
"""What ``run.json`` says of a slide whose outputs are all written."""


def heatmap_files(request: MapRequest | None) -> dict[str, str]:
    """Return the name of each method's heatmap in a slide's folder, in the order of the methods."""
    if request is None:
        return {}
    first, *further = request.methods
    return {first: HEATMAP, **{method: FURTHER_HEATMAPS.replace("*", method) for method in further}}


def output_names(
    request: MapRequest | None, volume_classes: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Return the names of all outputs in a slide's folder, beside `run.json` and `run.zarr`.

    ``volume_classes`` are the classifier's classes where the slide is a volume, else None.
    """
    heatmaps = tuple(heatmap_files(request).values())
    outputs = OUTPUTS if volume_classes is None else VOLUME_OUTPUTS
    place = outputs.index(HEATMAP)
    niftis = [
        nifti_name(name, volume_classes[index])
        for name in heatmaps
        for index in (() if request is None or volume_classes is None else request.classes)
        if volume_classes is not None
    ]
    return (*outputs[:place], *heatmaps, *niftis, *outputs[place + 1 :])


def nifti_name(heatmap: str, class_name: str) -> str:
    """Return the name of a class's NIfTI beside a volume's ``heatmap``, unique to the class."""
    return f"{heatmap.removesuffix('.ome.zarr')}.{quote(class_name, safe=' ')}.nii.gz"


def painting(request: MapRequest | None, spec: PredictSpec) -> dict[str, Any]:
    """Return how heatmaps are painted, as JSON.

    What may change when a run is continued without classifying again.
    """
    if request is None:
        return {}
    scales = {method: spec.fixed_scale(method) for method in request.methods}
    told: dict[str, Any] = {
        "methods": list(request.methods),
        "scales": {method: list(scale) for method, scale in scales.items() if scale is not None},
    }
    if any(method_for(name).thresholds for name in request.methods):
        told |= {
            "threshold": spec.heatmap_threshold,
            "threshold scope": spec.heatmap_threshold_scope,
        }
    return told


def all_written(
    folder: Path,
    record: Mapping[str, Any],
    request: MapRequest | None,
    spec: PredictSpec,
    names: Sequence[str],
) -> bool:
    """Whether an earlier call has finished a slide as it is wanted now.

    All of its outputs must still be there.
    """
    same = record.get("status") in FINISHED and record.get("ngff") == spec.ngff
    same = same and record.get("painting") == painting(request, spec)
    return same and all((folder / name).exists() for name in names)


def clear_outputs(folder: Path) -> None:
    """Remove all that an earlier run has left."""
    for name in (RUN_FILE, STORE_FOLDER, QUPATH_FOLDER, *OUTPUTS, *VOLUME_OUTPUTS):
        _remove(folder / name)
    clear_leftovers(folder)
    clear_heatmaps(folder, kept=())


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
