"""What slidecam, or QuPath, has made of a slide: runs, heatmaps, areas by class, as layers.

And what stands in napari's menu of samples: the synthetic slide, as it is and classified.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import SourceError, StoreError
from slidecam.plugin.areas import annotation_layer
from slidecam.plugin.open_run import ShownRun, read_shown
from slidecam.plugin.overlays import (
    heat_layers,
    is_volume_run,
    run_layers,
    volume_heat_layers,
    volume_run_layers,
)
from slidecam.plugin.placing import Placing
from slidecam.plugin.slide import (
    KEY,
    LayerData,
    SlideFacts,
    is_annotations,
    is_heatmap,
    read_slide,
    run_folder,
    shown_viewer,
    slide_layer,
)
from slidecam.plugin.tasks import inform, warn
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run
from slidecam.sources.discovery import sample_folder

if TYPE_CHECKING:
    from slidecam.geometry import Box


def read_result(path: Path) -> list[LayerData]:
    """Open areas by class, a heatmap, or a run."""
    if is_annotations(path):
        return read_annotations(path)
    if is_heatmap(path):
        return read_heatmap(path)
    return read_run_folder(path)


def read_run_folder(path: Path) -> list[LayerData]:
    """Open a run with its slide or volume below, wherever that is still there."""
    folder = run_folder(path) or path
    if is_volume_run(folder):
        return _volume_run(folder)
    run = read_shown(folder)
    return [*_slide_of(run), *run_layers(run)]


def _volume_run(folder: Path) -> list[LayerData]:
    run = Run.open(folder)
    layers: list[LayerData] = []
    path = _found(run, "volume")
    if path is not None:
        layers += read_slide(path)
    return [*layers, *volume_run_layers(folder)]


def _slide_of(run: ShownRun) -> list[LayerData]:
    """Return the run's slide, unless it has been moved or replaced since."""
    path = _found(run.stored, "slide")
    if path is None:
        return []
    layer, notes = slide_layer(path, run.spacing, run.stored.reader, run.stored.seen)
    for note in notes:
        warn(note)
    return [layer]


def _found(run: Run, kind: str) -> Path | None:
    """Return where the slide of a run lies; None, and a word of it, where it lies nowhere."""
    try:
        return Path(run.find_slide())
    except StoreError as error:
        warn(f"{error.problem} The run is shown without it.")
    except SourceError:
        below = "" if kind == "volume" else ", and it will lie below"
        inform(
            f"The {kind} of this run is not at {run.slide_path} any more: open it yourself{below}."
        )
    return None


def read_heatmap(path: Path) -> list[LayerData]:
    """Open a heatmap, with the names of its run's classes where it lies in one."""
    folder = run_folder(path)
    if folder is not None and is_volume_run(folder):
        return volume_heat_layers(path, folder.name)
    if folder is None:
        return heat_layers(path)
    return heat_layers(path, read_shown(folder))


def read_annotations(path: Path) -> list[LayerData]:
    """Open areas by class on the slide that is open."""
    facts = _open_slide()
    if facts is not None:
        bounds = _shown_part(facts)
        return [annotation_layer(path, facts.placing, bounds, facts.fingerprint)]
    layer = annotation_layer(path, Placing(None), None)
    warn("No slide is open, so these areas are shown in pixels: open their slide first.")
    return [layer]


def _shown_part(facts: SlideFacts) -> Box | None:
    """Return the part of a slide that QuPath shows: its run's, else the scanned one."""
    for run in _kept_in_layers():
        if isinstance(run, ShownRun) and run.stored.fingerprint == facts.fingerprint:
            return run.table.bounds
    return facts.bounds


def _open_slide() -> SlideFacts | None:
    """Return the slide of the viewer that the user looks at: annotations lie in its pixels."""
    for facts in reversed(_kept_in_layers()):
        if isinstance(facts, SlideFacts):
            return facts
    return None


def _kept_in_layers() -> list[Any]:
    """Return what the layers of the viewer keep for slidecam, from the lowest on."""
    viewer = shown_viewer()
    if viewer is None:
        return []
    return [layer.metadata.get(KEY) for layer in viewer.layers]


def sample_slide() -> list[LayerData]:
    """Return the synthetic slide as a layer."""
    return [slide_layer(sample_folder() / "slide.tif")[0]]


def sample_run() -> list[LayerData]:
    """Classify the synthetic slide, which takes some seconds, and return it with all overlays."""
    sample, out = sample_folder(), Path(tempfile.mkdtemp(prefix="slidecam-sample-"))
    try:
        for _event in predict(sample / "slide.tif", sample / "bundle", out):
            pass
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        raise
    return [*sample_slide(), *run_layers(read_shown(out / "slide"))]
