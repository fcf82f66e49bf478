"""What slidecam, or QuPath, has made of a slide: runs, heatmaps, areas by class, as layers.

And what stands in napari's menu of samples: the synthetic slide, as it is and classified.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import SourceError, StoreError
from slidecam.exchange.geojson import read_tiles_geojson
from slidecam.plugin.areas import annotation_layer
from slidecam.plugin.file_tiles import TILES_OF, tiles_layer
from slidecam.plugin.open_run import ShownRun, align, read_shown
from slidecam.plugin.opening import read_slide
from slidecam.plugin.overlays import (
    is_volume_run,
    opened_heat,
    run_layers,
    volume_heat_layers,
    volume_run_layers,
)
from slidecam.plugin.ownership import chosen_in, facts_in, owner_of
from slidecam.plugin.placing import Placing
from slidecam.plugin.slide import (
    KEY,
    LayerData,
    SlideFacts,
    is_annotations,
    is_heatmap,
    run_folder,
    shown_viewer,
    slide_layer,
)
from slidecam.plugin.tasks import inform, warn
from slidecam.prediction.pipeline import predict
from slidecam.runs import Run, RunRecord
from slidecam.runs.located import recorded_view
from slidecam.sources.discovery import sample_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    return [*_slide_of(run), *_anew(run_layers(run))]


def _anew(layers: list[LayerData]) -> list[LayerData]:
    """Take away what lies open of these overlays: what is opened twice is not laid twice."""
    viewer = shown_viewer()
    if viewer is not None:
        fresh = [_identity(meta["metadata"]) for _data, meta, _kind in layers]
        for layer in [one for one in viewer.layers if one.metadata.get("kind")]:
            if _identity(layer.metadata) in fresh:
                viewer.layers.remove(layer)
    return layers


def _identity(facts: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what tells one overlay from another: kind, class, and where it comes from."""
    folder = getattr(facts.get(KEY), "folder", None)
    return (facts.get("kind"), facts.get("class"), facts.get("heatmap") or str(folder))


def _volume_run(folder: Path) -> list[LayerData]:
    run = Run.open(folder)
    layers: list[LayerData] = []
    if not _is_open(run):
        path = _found(run, "volume")
        if path is not None:
            _close_others(run)
            layers += read_slide(path, _volume_of(run))
    return [*layers, *_anew(volume_run_layers(folder))]


def _is_open(run: Run) -> bool:
    """Whether the picture that a run classified lies open already."""
    viewer = shown_viewer()
    if viewer is None:
        return False
    facts = facts_in(viewer.layers, str(run.fingerprint))
    if facts is None:
        return False
    if facts.is_volume:
        return facts.is_volume_called(_volume_of(run))
    return facts.is_picture(run.seen)


def _volume_of(run: Run) -> str | None:
    return recorded_view(run.record.plan).volume


def _close_others(run: Run) -> None:
    """Take other volumes of a run's file away: its heat would lie over them, too."""
    viewer = shown_viewer()
    if viewer is None:
        return
    for layer in list(viewer.layers):
        facts = layer.metadata
        is_picture = isinstance(facts.get(KEY), SlideFacts)
        theirs = owner_of(layer) == run.fingerprint
        if theirs and (is_picture or "volume run" in facts):
            viewer.layers.remove(layer)


def _slide_of(run: ShownRun) -> list[LayerData]:
    """Return the run's slide, unless it lies open, or has been moved or replaced since."""
    if _is_open(run.stored):
        align(shown_viewer(), run)
        return []
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
        return _anew(volume_heat_layers(path))
    if folder is None:
        return _anew(opened_heat(path))
    return _anew(opened_heat(path, read_shown(folder)))


def read_annotations(path: Path) -> list[LayerData]:
    """Open areas by class on the slide of their name, else on the one that is chosen."""
    viewer = shown_viewer()
    slides: list[SlideFacts] = []
    if viewer is not None:
        slides = _slides_in(viewer.layers)
    if not slides:
        layers = _areas_and_tiles(path, Placing(None), None, "")
        warn("No slide is open, so these areas are shown in pixels: open their slide first.")
        return layers
    facts = _slide_of_areas(path, slides, chosen_in(viewer.layers))
    if len(slides) > 1:
        inform(f"Laid on {facts.name}: the areas of {path.name}.")
    return _areas_and_tiles(path, facts.placing, _shown_part(facts), facts.fingerprint)


def _areas_and_tiles(
    path: Path,
    placing: Placing,
    bounds: Box | None,
    slide: str,
) -> list[LayerData]:
    """Return what was drawn as shapes, and the tiles of a result as such."""
    areas = annotation_layer(path, placing, bounds, slide)
    tiles = read_tiles_geojson(path, bounds)
    if not len(tiles):
        return [areas]
    layers = [tiles_layer(path, tiles, placing, slide)]
    if areas[0]:
        layers.append(areas)
    return layers


def _slides_in(layers: Iterable[Any]) -> list[SlideFacts]:
    """Return the slides that lie open, the topmost first."""
    kept = [layer.metadata.get(KEY) for layer in layers]
    return [facts for facts in reversed(kept) if isinstance(facts, SlideFacts)]


def _slide_of_areas(path: Path, slides: Sequence[SlideFacts], chosen: str) -> SlideFacts:
    """Return the one open slide that a file of areas is called after, else the chosen one."""
    record = RunRecord.find(run_folder(path) or path.parent)
    for facts in slides:
        if record is not None and facts.fingerprint == record.input.fingerprint:
            return facts
    called = path.name.lower().removesuffix(".gz").removesuffix(".geojson")
    called = called.removesuffix(TILES_OF)
    named = [one for one in slides if called in {one.name.lower(), Path(one.path).stem.lower()}]
    if len({one.fingerprint for one in named}) == 1:
        return named[0]
    return next((one for one in slides if one.fingerprint == chosen), slides[0])


def _shown_part(facts: SlideFacts) -> Box | None:
    """Return the part of a slide that QuPath shows: its run's, else the scanned one."""
    for run in _kept_in_layers():
        if isinstance(run, ShownRun) and run.fingerprint == facts.fingerprint:
            return run.table.bounds
    return facts.bounds


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
