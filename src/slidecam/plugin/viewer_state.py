"""What lies before the user: a viewer, its slides, a run of each and its overlays. It knows no Qt.

The tabs of the dock act on it and listen to its signals, so that everything but the buttons is
tested without a screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Layer
from psygnal import Signal

from slidecam.errors import UsageError
from slidecam.plugin import compat
from slidecam.plugin.live import LiveOverlays
from slidecam.plugin.open_run import align, run_of
from slidecam.plugin.overlays import (
    CLASS,
    HEAT,
    PROBABILITY,
    class_layer,
    class_raster,
    heat_of,
    is_shown_by,
    leading_heat,
    method_looked_at,
    probability_layer,
    run_layers,
    show_alone,
    volume_run_layers,
)
from slidecam.plugin.ownership import (
    ON_TOP,
    SLIDE,
    OpenSlides,
    SlideState,
    came_with_its_slide,
    owner_of,
    show_only,
)
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.slide import KEY, SlideFacts
from slidecam.plugin.tile_explanation import MAP
from slidecam.runs import RunRecord, most_suspicious
from slidecam.runs.located import recorded_view
from slidecam.sources.discovery import find_slides
from slidecam.store import has_run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.plugin.job import Began, Ended, Heat, NewTiles
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.placing import Placing
    from slidecam.plugin.slide import LayerData

OVERLAYS = (CLASS, PROBABILITY, HEAT)

VIEW_TILES = 5
"""Tiles that fit into the canvas after flying to one."""

SPOT = "selected tile"
SPOT_WIDTH = 0.06
"""Of the frame around the selected tile, as a share of the tile."""


class ViewerState(OpenSlides):
    """A viewer and what is shown of its slides.

    All of it belongs to one slide: `run`, `volume` and `selected` are those of the slide that is
    chosen in the list of layers, and nothing of another one is seen meanwhile.

    Parameters
    ----------
    viewer
        napari's viewer, its model, or the proxy that widgets are given.

    Attributes
    ----------
    threshold
        Probability from which a tile is shown.
    """

    run_changed = Signal()
    """Another run is shown, or more of it, or another slide is chosen."""

    tile_selected = Signal(int)
    volume_shown = Signal(object)
    """A volume's run is shown, which lies in this folder."""

    def __init__(self, viewer: Any) -> None:  # noqa: ANN401  (the viewer, its model or a proxy)
        super().__init__(viewer)
        self.threshold = 0.0
        self._live: LiveOverlays | None = None
        self._followed = ""

    def follow(self) -> bool:
        """Show what belongs to the chosen slide and nothing else; return whether that is another.

        What was of slides that are closed by now is forgotten.
        """
        chosen = self.chosen
        self._forget()
        show_only(self.viewer.layers, chosen)
        if chosen == self._followed:
            return False
        self._followed = chosen
        self.set_threshold(self.threshold)
        self.run_changed.emit()
        return True

    def show_instead(self, facts: SlideFacts, layer: LayerData) -> None:
        """Show another picture or volume of a file in the place of the one that is shown."""
        self.clear()
        self._clear_volume(facts.fingerprint)
        for before in [one for one in self.viewer.layers if one.metadata.get(KEY) == facts]:
            self.viewer.layers.remove(before)
        (self.viewer.layers.selection.active,) = self.lay([layer])

    def overlays(self, *kinds: str) -> list[Any]:
        """Return the layers of the shown run that are of these kinds."""
        return self._overlays_of(self.run, kinds)

    def _overlays_of(self, run: ShownRun | None, kinds: tuple[str, ...] = OVERLAYS) -> list[Any]:
        if run is None:
            return []
        found = [one for one in self.viewer.layers if one.metadata.get("kind") in kinds]
        return [
            one for one in found if getattr(one.metadata.get(KEY), "folder", None) == run.folder
        ]

    def recognise(self, out: Path) -> ShownRun | None:
        """Show the run of the open slide that lies under ``out``, if there is one; return it."""
        facts = self.slide()
        if facts is None:
            return None
        folder = out / find_slides([facts.path]).slides[0].name
        if not has_run(folder):
            return None
        if self.run is not None and self.run.folder == folder and self.overlays(*OVERLAYS):
            return self.run
        if facts.is_volume or came_with_its_slide(self.viewer.layers, folder):
            self._recognise_volume(folder, facts)
            return None
        run = run_of(facts, folder)
        if run is not None:
            self.show(run)
        return run

    def _recognise_volume(self, folder: Path, facts: SlideFacts) -> None:
        if not facts.is_volume or came_with_its_slide(self.viewer.layers, folder):
            return
        record = RunRecord.find(folder)
        if record is None or record.input.fingerprint != facts.fingerprint:
            return
        if not facts.is_volume_called(recorded_view(record.plan).volume):
            return
        shown = any(layer.metadata.get("volume run") == str(folder) for layer in self.viewer.layers)
        if record.is_finished and not (shown and folder == self.volume):
            self.show_volume(folder)

    def show_volume(self, folder: Path) -> None:
        """Lay the heatmaps of a volume's run over it, and tell of the run."""
        self._clear_volume(str(RunRecord.read(folder).input.fingerprint))
        self.lay(volume_run_layers(folder))
        self.take_volume(folder)

    def _clear_volume(self, fingerprint: str) -> None:
        for layer in [one for one in self.viewer.layers if one.metadata.get("volume run")]:
            if owner_of(layer) == fingerprint:
                self.viewer.layers.remove(layer)
        if fingerprint in self._views:
            self._views[fingerprint].volume = None

    def take_volume(self, folder: Path) -> None:
        """Tell of a volume's run whose heat lies in the viewer."""
        self._view_of(str(RunRecord.read(folder).input.fingerprint)).volume = folder
        self.volume_shown.emit(folder)
        self.run_changed.emit()

    def show(self, run: ShownRun) -> None:
        """Show a run in the place of the one that was shown of its slide before.

        A run that is open already is taken as it is.
        """
        view = self._view_of(run.fingerprint)
        if view.run is not None and view.run.folder != run.folder:
            self._take_away(view)
        view.run, view.selected = run, NO_TILE
        align(self.viewer, run)
        if not self._overlays_of(run):
            self.lay(run_layers(run))
        self.run_changed.emit()

    def clear(self) -> None:
        """Take the shown run's layers away, and the frame around the tile that was selected."""
        self._take_away(self.view)

    def _take_away(self, view: SlideState) -> None:
        run = view.run
        if run is None:
            return
        frames = [one for one in self.viewer.layers if one.metadata.get("kind") == SPOT]
        theirs = [one for one in frames if owner_of(one) == run.fingerprint]
        for layer in (*self._overlays_of(run), *theirs):
            self.viewer.layers.remove(layer)
        view.run, view.selected = None, NO_TILE
        if self._live is not None and self._live.run.folder == run.folder:
            self._live = None

    def lay(self, layers: list[LayerData]) -> list[Layer]:
        """Add layers below what was drawn, and leave the choice of the user as it is."""
        mine = self.viewer.layers
        active = mine.selection.active
        made = [Layer.create(*layer) for layer in layers]
        for layer in made:
            drawn = [place for place, one in enumerate(mine) if one.metadata.get(ON_TOP)]
            mine.insert(min(drawn, default=len(mine)), layer)
        if active is not None and active in mine:
            mine.selection.active = active
        show_only(mine, self.chosen)
        return made

    def began(self, began: Began) -> None:
        """Lay the overlays of a run that goes on now."""
        view = self._view_of(began.run.fingerprint)
        self._take_away(view)
        view.run = began.run
        align(self.viewer, began.run)
        (classes,) = self.lay([class_layer(began.run)])
        self._live = LiveOverlays(began.run, classes)
        self.run_changed.emit()

    def tiles(self, tiles: NewTiles) -> None:
        """Show tiles that were classified just now."""
        live = self._live
        if live is None:
            return
        live.add(tiles.boxes, tiles.probabilities, self.threshold)
        view = self._views.get(live.run.fingerprint)
        if view is not None and view.run is not None and view.run.folder == live.run.folder:
            view.run = live.run

    def heat(self, heat: Heat) -> None:
        """Show the heatmap as far as it goes."""
        live = self._live
        if live is not None and self._overlays_of(live.run):
            live.watch(self.lay(live.heat(heat)))

    def ended(self, ended: Ended) -> None:
        """Show what a run has come to: its heatmaps as they were written, where it is finished."""
        live, self._live = self._live, None
        if ended.volume is not None and not ended.stopped:
            self.show_volume(ended.volume)
        run = ended.run
        if run is None:
            return
        if live is None or live.run.folder != run.folder:
            if run.fingerprint in self._owners():
                self.show(run)
            return
        # Who has taken the overlays away meanwhile, perhaps with the slide, wants no heatmap
        # either.
        tiles = self._overlays_of(run, (CLASS, PROBABILITY))
        for layer in live.heats:
            if layer in self.viewer.layers:
                self.viewer.layers.remove(layer)
        if run.fingerprint in self._owners():
            self._view_of(run.fingerprint).run = run
        for layer in tiles:
            layer.metadata[KEY] = run
        if run.is_finished and tiles:
            self.lay(leading_heat(run))
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

    def show_class(self, kind: str, name: str, method: str = "") -> None:
        """Show one class's probability or heatmap, or the classes' own layer; hide the others.

        What was not looked at before is made now. Without a ``method`` heat is by the one that is
        looked at, else by the one that leads.
        """
        if kind == HEAT:
            method = method or method_looked_at(self.overlays(HEAT))
        self._make(kind, name, method)
        show_alone(self.overlays(*OVERLAYS), kind, name, method)

    def _make(self, kind: str, name: str, method: str) -> None:
        run = self.run
        there = [layer.metadata for layer in self.overlays(kind)]
        if run is None or any(is_shown_by(facts, name, method) for facts in there):
            return
        live = self._live
        if live is not None and live.run.folder != run.folder:
            live = None
        if kind == PROBABILITY:
            made = self.lay([probability_layer(run, name)])
            self.set_threshold(self.threshold)
        elif kind == HEAT and live is not None:
            made = self.lay(live.heat_of(name))
        elif kind == HEAT:
            made = self.lay(heat_of(run, name, method))
        else:
            made = self.lay([class_layer(run, self.threshold)])
        if live is not None:
            live.watch(made)

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
        view = self.view
        if view.run is None or not 0 <= row < len(view.run.table):
            return
        view.selected = row
        x, y, width, height = (float(value) for value in view.run.table.boxes[row])
        corners = np.array([[y, x], [y, x + width], [y + height, x + width], [y + height, x]])
        self._frame(view.run, corners, SPOT_WIDTH * min(width, height))
        self.tile_selected.emit(row)

    def _frame(self, run: ShownRun, corners: NDArray[np.float64], width: float) -> None:
        """Draw the frame as four lines: napari compiles its shapes for 20 s before the first."""
        lines = np.stack([corners, np.roll(corners, -1, axis=0) - corners], axis=1)
        for layer in self.viewer.layers:
            if layer.metadata.get("kind") == SPOT and owner_of(layer) == run.fingerprint:
                layer.data, layer.edge_width = lines, width
                return
        look = {"edge_color": "#111111", "edge_width": width, "vector_style": "line"}
        kept = {"kind": SPOT, SLIDE: run.fingerprint, ON_TOP: SPOT}
        meta = {"name": SPOT, "opacity": 1.0, "metadata": kept, **look, **run.placing.vectors()}
        self.lay([(lines, meta, "vectors")])

    def lay_map(self, layer: LayerData) -> None:
        """Lay a map of a tile on it, in the place of the one before."""
        for one in list(self.viewer.layers):
            if one.metadata.get("kind") == MAP and owner_of(one) == self.chosen:
                self.viewer.layers.remove(one)
        self.lay([layer])

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
