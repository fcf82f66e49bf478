"""What lies before the user: a viewer, its slide, one run of it and its overlays. It knows no Qt.

The tabs of the dock act on it and listen to its signals, so that everything but the buttons is
tested without a screen.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from psygnal import Signal

from slidecam.errors import SlidecamError, UsageError
from slidecam.plugin import compat
from slidecam.plugin.live import LiveOverlays
from slidecam.plugin.open_run import align, read_shown
from slidecam.plugin.overlays import (
    CLASS,
    HEAT,
    PROBABILITY,
    class_raster,
    heatmap_layers,
    run_layers,
    show_alone,
    volume_run_layers,
)
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.slide import KEY, SlideFacts, facts_of, run_folder, slide_layer
from slidecam.plugin.tasks import warn
from slidecam.runs import RunRecord, most_suspicious
from slidecam.sources.apart import open_apart
from slidecam.sources.discovery import find_slides
from slidecam.store import has_run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slidecam.plugin.job import Began, Ended, Heat, NewTiles
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.placing import Placing
    from slidecam.sources.images import FileImage

OVERLAYS = (CLASS, PROBABILITY, HEAT)

VIEW_TILES = 5
"""Tiles that fit into the canvas after flying to one."""

SPOT = "selected tile"
SPOT_WIDTH = 0.06
"""Of the frame around the selected tile, as a share of the tile."""


class ViewerState:
    """A viewer and the run that is shown in it.

    Parameters
    ----------
    viewer
        napari's viewer, its model, or the proxy that widgets are given.

    Attributes
    ----------
    run
        What is shown, or None.
    threshold
        Probability from which a tile is shown.
    selected
        The tile that the user chose, or `NO_TILE`.
    """

    run_changed = Signal()
    """Another run is shown, or more of it."""

    tile_selected = Signal(int)
    volume_shown = Signal(object)
    """A volume's run is shown, which lies in this folder."""

    def __init__(self, viewer: Any) -> None:  # noqa: ANN401  (the viewer, its model or a proxy)
        self.viewer = viewer
        self.run: ShownRun | None = None
        self.threshold = 0.0
        self.selected = NO_TILE
        self.volume: Path | None = None
        self._live: LiveOverlays | None = None
        self._opened: dict[str, SlideFacts] = {}
        self._looked_at: SlideFacts | None = None

    def slide(self) -> SlideFacts | None:
        """Return the slide that the user looks at.

        The active layer's, else the one before, else the topmost one's.
        """
        active = self.viewer.layers.selection.active
        facts = None
        if active is not None:
            facts = self._facts(active)
        if facts is None:
            open_now = list(filter(None, map(self._facts, reversed(list(self.viewer.layers)))))
            if self._looked_at not in open_now:
                self._looked_at = next(iter(open_now), None)
            return self._looked_at
        self._looked_at = facts
        return facts

    def _facts(self, layer: Any) -> SlideFacts | None:  # noqa: ANN401  (any layer)
        facts = layer.metadata.get(KEY)
        if isinstance(facts, SlideFacts):
            return facts
        return self._of_another_reader(layer)

    def _of_another_reader(self, layer: Any) -> SlideFacts | None:  # noqa: ANN401  (any layer)
        """Return the facts of a picture that napari or another plugin opened.

        None where slidecam does not read it too.
        """
        path = layer.source.path
        if not path or not getattr(layer, "rgb", False):
            return None
        if path not in self._opened:
            try:
                with open_apart(path) as source:
                    self._opened[path] = facts_of(source)[0]
            except SlidecamError:
                return None
        return self._opened[path]

    def show_image(self, facts: SlideFacts, image: FileImage) -> None:
        """Show another picture of a slide's file in its place.

        Raises
        ------
        SourceError
            If it cannot be opened: what is shown stays then.
        """
        layer, readings = slide_layer(facts.path, seen=replace(facts.seen, image=str(image.number)))
        for before in [one for one in self.viewer.layers if one.metadata.get(KEY) == facts]:
            self.viewer.layers.remove(before)
        self.clear()
        self._add([layer])
        for reading in readings:
            warn(reading)

    def overlays(self, *kinds: str) -> Iterator[Any]:
        """Yield the layers of the shown run that are of these kinds."""
        for layer in list(self.viewer.layers):
            shown, kind = layer.metadata.get(KEY), layer.metadata.get("kind")
            if (
                kind in kinds
                and self.run is not None
                and getattr(shown, "folder", None) == self.run.folder
            ):
                yield layer

    def recognise(self, out: Path) -> ShownRun | None:
        """Show the run of the open slide that lies under ``out``, if there is one; return it."""
        facts = self.slide()
        if facts is None:
            return None
        folder = out / find_slides([facts.path]).slides[0].name
        if not has_run(folder):
            return None
        if self.run is not None and self.run.folder == folder and any(self.overlays(*OVERLAYS)):
            return self.run
        if facts.is_volume or self._comes_with_its_slide(folder):
            self._recognise_volume(folder, facts)
            return None
        run = _run_of(facts, folder)
        if run is not None:
            self.show(run)
        return run

    def _comes_with_its_slide(self, folder: Path) -> bool:
        """Whether the slide was opened as part of this run.

        The reader brings the overlays, a moment later.
        """
        slides = [
            layer for layer in self.viewer.layers if isinstance(layer.metadata.get(KEY), SlideFacts)
        ]
        opened = [run_folder(Path(layer.source.path)) for layer in slides if layer.source.path]
        return folder.resolve() in [one.resolve() for one in opened if one is not None]

    def _recognise_volume(self, folder: Path, facts: SlideFacts) -> None:
        if not facts.is_volume or self._comes_with_its_slide(folder):
            return
        record = RunRecord.find(folder)
        if record is None or record.input.fingerprint != facts.fingerprint:
            return
        shown = any(layer.metadata.get("volume run") == str(folder) for layer in self.viewer.layers)
        if record.is_finished and not (shown and folder == self.volume):
            self.show_volume(folder)

    def show_volume(self, folder: Path) -> None:
        """Lay the heatmaps of a volume's run over it, and tell of the run."""
        self.clear()
        for layer in [one for one in self.viewer.layers if one.metadata.get("volume run")]:
            self.viewer.layers.remove(layer)
        self.volume = folder
        self._add(volume_run_layers(folder))
        self.volume_shown.emit(folder)
        self.run_changed.emit()

    @property
    def empty_text(self) -> str:
        """What the tabs that are about tiles say while there are none."""
        if self.volume is None:
            return "No result is shown yet: run a model in “Classify”."
        return (
            "A volume's result is shown: heat on its voxels, and its slices below. This tab is for"
            " slides."
        )

    def show(self, run: ShownRun) -> None:
        """Show a run in the place of the one that was shown before.

        A run that is open already is taken as it is.
        """
        if self.run is not None and self.run.folder != run.folder:
            self.clear()
        self.run, self.selected = run, NO_TILE
        align(self.viewer, run)
        if not any(self.overlays(*OVERLAYS)):
            self._add(run_layers(run))
        self.run_changed.emit()

    def clear(self) -> None:
        """Take the shown run's layers away, and the frame around the tile that was selected."""
        frames = [layer for layer in self.viewer.layers if layer.name == SPOT]
        for layer in (*self.overlays(*OVERLAYS), *frames):
            self.viewer.layers.remove(layer)
        self.run, self._live = None, None

    def _add(self, layers: list[tuple[Any, dict[str, Any], str]]) -> list[Layer]:
        active = self.viewer.layers.selection.active
        made = [Layer.create(*layer) for layer in layers]
        for layer in made:
            self.viewer.add_layer(layer)
        if active is not None:
            self.viewer.layers.selection.active = active
        return made

    def began(self, began: Began) -> None:
        """Lay the overlays of a run that goes on now."""
        if self.run is not None:
            self.clear()
        self.run = began.run
        align(self.viewer, began.run)
        layers = run_layers(replace(began.run, with_heatmaps=False))
        self._live = LiveOverlays(began.run, self._add(layers))
        self.run_changed.emit()

    def tiles(self, tiles: NewTiles) -> None:
        """Show tiles that were classified just now."""
        if self._live is not None and self.run is not None:
            self._live.add(tiles.boxes, tiles.probabilities, self.threshold)
            self.run = self._live.run

    def heat(self, heat: Heat) -> None:
        """Show the heatmap as far as it goes."""
        if self._live is not None and any(self.overlays(*OVERLAYS)):
            fresh = self._live.heat(heat)
            self._live.heats += self._add(fresh)

    def ended(self, ended: Ended) -> None:
        """Show what a run has come to: its heatmaps as they were written, where it is finished."""
        if ended.volume is not None and not ended.stopped:
            self.show_volume(ended.volume)
        if ended.run is None:
            return
        if self._live is None or self.run is None:
            self.show(ended.run)
            return
        for layer in self._live.heats:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        self.run, self._live = ended.run, None
        tiles = list(self.overlays(CLASS, PROBABILITY))
        for layer in tiles:
            layer.metadata[KEY] = ended.run
        # Who has taken the overlays away meanwhile, perhaps with the slide, wants no heatmap
        # either.
        if ended.run.is_finished and tiles:
            self._add(heatmap_layers(ended.run))
        self.run_changed.emit()

    def set_threshold(self, threshold: float) -> None:
        """Hide tiles whose probability is below a threshold."""
        self.threshold = threshold
        if self.run is None:
            return
        for layer in self.overlays(CLASS):
            layer.data[...] = class_raster(self.run, threshold)
            layer.refresh(thumbnail=False, extent=False)
        for layer in self.overlays(PROBABILITY):
            layer.contrast_limits = (min(threshold, 0.999), 1)

    def set_opacity(self, opacity: float) -> None:
        """Set how much the overlays cover the slide."""
        for layer in self.overlays(*OVERLAYS):
            layer.opacity = opacity

    def show_class(self, kind: str, name: str) -> None:
        """Show one class's probability or heatmap, or the classes' own layer; hide the others."""
        show_alone(list(self.overlays(*OVERLAYS)), kind, name)

    def place_of(self, world: Any) -> tuple[float, float]:  # noqa: ANN401  (napari's cursor position)
        """Return x, y in level-0 pixels of a place in the viewer's world."""
        if self.run is not None:
            placing = self.run.placing
        else:
            placing = self.placing()
        x, y = placing.to_pixels(np.asarray(world, np.float64)[-2:])[0]
        return float(x), float(y)

    def placing(self) -> Placing:
        """Return where the slide that the user looks at lies; UsageError if none is open."""
        facts = self.slide()
        if facts is None:
            raise UsageError("No slide is open.", "Open one first.")
        return facts.placing

    def tile_at(self, world: Any) -> int:  # noqa: ANN401  (napari's cursor position)
        """Return the tile of the shown run at a place in the viewer's world, or `NO_TILE`."""
        if self.run is None or len(world) < 2:  # noqa: PLR2004  (a plane)
            return NO_TILE
        return self.run.cells.tile_at(*self.place_of(world))

    def select(self, row: int) -> None:
        """Frame one tile, and tell of it."""
        if self.run is None or not 0 <= row < len(self.run.table):
            return
        self.selected = row
        x, y, width, height = (float(value) for value in self.run.table.boxes[row])
        ring = np.array([[y, x], [y, x + width], [y + height, x + width], [y + height, x]])
        self._frame(ring, SPOT_WIDTH * min(width, height))
        self.tile_selected.emit(row)

    def _frame(self, ring: NDArray[np.float64], edge_width: float) -> None:
        if self.run is None:
            return
        if SPOT in self.viewer.layers:
            self.viewer.layers[SPOT].data = [ring]
            return
        placed = self.run.placing.vectors()
        look = {
            "edge_color": "#111111",
            "face_color": "transparent",
            "edge_width": edge_width,
            "opacity": 1.0,
        }
        self._add(
            [
                (
                    [ring],
                    {"name": SPOT, "shape_type": "polygon", **look, **placed},
                    "shapes",
                )
            ]
        )

    def fly_to(self, row: int) -> None:
        """Select a tile and move the camera to it."""
        self.select(row)
        if self.run is None or self.selected != row:
            return
        x, y, width, height = (float(value) for value in self.run.table.boxes[row])
        centre = self.run.placing.to_world(np.array([x + width / 2, y + height / 2]))[0]
        camera, unit = compat.camera(self.viewer), self.run.placing.unit
        camera.center = (0.0, float(centre[0]), float(centre[1]))
        camera.zoom = min(compat.canvas_size(self.viewer)) / (
            VIEW_TILES * max(width * unit.x, height * unit.y)
        )

    def suspicious(self, class_name: str) -> NDArray[np.int64]:
        """Return the classified tiles, the most probable ones of a class first."""
        if self.run is None or class_name not in self.run.table.class_names:
            return np.zeros(0, np.int64)
        return most_suspicious(self.run.stored, class_name)


def _run_of(facts: SlideFacts, folder: Path) -> ShownRun | None:
    """Return the run in a folder; None where it cannot be read, or is of another slide."""
    try:
        run = read_shown(folder)
    except SlidecamError:
        return None
    same = run.stored.fingerprint == facts.fingerprint and facts.is_picture(run.stored.seen)
    if not same:
        return None
    return run
