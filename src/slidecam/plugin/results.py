"""What slidecam, or QuPath, has made of a slide: runs, heatmaps, areas by class, as layers."""

from __future__ import annotations

from pathlib import Path

from slidecam.plugin.areas import annotation_layer
from slidecam.plugin.notices import tell, warn
from slidecam.plugin.open_run import ShownRun, read_shown
from slidecam.plugin.opening import (
    is_annotations,
    is_heatmap,
    read_slide,
    run_folder,
    shown_viewer,
)
from slidecam.plugin.overlays import heat_layers, run_layers
from slidecam.plugin.placing import Placing
from slidecam.plugin.slide import KEY, LayerData, SlideFacts, slide_layer
from slidecam.plugin.volume_run import is_volume_run, volume_heat_layers, volume_run_layers
from slidecam.store import read_run


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
    record = read_run(folder) or {}
    path = Path(str(record.get("input", {}).get("path", "")))
    below = read_slide(path) if path.exists() else []
    if not below:
        tell(f"The volume of this run is not at {path} any more: open it yourself.")
    return [*below, *volume_run_layers(folder)]


def _slide_of(run: ShownRun) -> list[LayerData]:
    """Return the run's slide, unless it has been moved since."""
    if not Path(run.tiles.slide_path).exists():
        tell(
            f"The slide of this run is not at {run.tiles.slide_path} any more: open it yourself,"
            " and it will lie below."
        )
        return []
    layer, notes = slide_layer(run.tiles.slide_path, run.spacing)
    for note in notes:
        warn(note)
    return [layer]


def read_heatmap(path: Path) -> list[LayerData]:
    """Open a heatmap, with the names of its run's classes where it lies in one."""
    folder = run_folder(path)
    if folder is not None and is_volume_run(folder):
        return volume_heat_layers(path, folder.name)
    return heat_layers(path, None if folder is None else read_shown(folder))


def read_annotations(path: Path) -> list[LayerData]:
    """Open areas by class on the slide that is open."""
    facts = _open_slide()
    if facts is not None:
        return [annotation_layer(path, facts.placing, facts.bounds, facts.fingerprint)]
    layer = annotation_layer(path, Placing(None), None)
    warn("No slide is open, so these areas are shown in pixels: open their slide first.")
    return [layer]


def _open_slide() -> SlideFacts | None:
    """Return the slide of the viewer that the user looks at: annotations are told in its pixels."""
    viewer = shown_viewer()
    kept = [] if viewer is None else [layer.metadata.get(KEY) for layer in viewer.layers]
    return next((facts for facts in reversed(kept) if isinstance(facts, SlideFacts)), None)
