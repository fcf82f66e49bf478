"""What a person teaches on one slide.

Areas drawn or painted by class, and tiles corrected by click. It knows no Qt.

Layers are known by what they were made for and by their slide, whatever they are called by now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels, Shapes
from psygnal import Signal

from slidecam.drawing.style import default_colors
from slidecam.errors import UsageError
from slidecam.plugin.areas import (
    COLORS,
    FEATURE,
    FILL,
    areas_of,
    in_pixels,
    shapes_layer,
    unit_color,
)
from slidecam.plugin.overlays import LABEL, UNCLASSIFIED, label_colors
from slidecam.plugin.ownership import ON_TOP, SLIDE, owner_of
from slidecam.registry import deferred
from slidecam.teaching import Annotation, Corrections, PaintedLabels

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.viewer_state import ViewerState
    from slidecam.runs import Run
else:
    pd = deferred("pandas")

DRAWN, PAINTED, CORRECTED = "annotations", "painting", "corrected tiles"

TILES = "of tiles"
"""A layer of corrections remembers the identity of the run's tiles under this name."""

PAINT_LONGEST = 2048
"""Longest side of a layer to paint on, in its own pixels."""


class AnnotationLayers:
    """The annotations and corrections of the run in a viewer.

    Parameters
    ----------
    state
        The viewer and what lies in it.
    """

    changed = Signal()
    """Something was drawn, painted or taken away."""

    def __init__(self, state: ViewerState) -> None:
        self.state = state
        self._named: dict[str, list[str]] = {}

    def watch(self, layer: Any) -> None:  # noqa: ANN401  (a layer that was added to the viewer)
        """Follow what is drawn and painted in a layer."""
        if isinstance(layer, Shapes):
            layer.events.data.connect(self._drawn_in)
        elif isinstance(layer, Labels) and layer.metadata.get(ON_TOP) == PAINTED:
            layer.events.paint.connect(self._painted_in)

    def _drawn_in(self, event: Any) -> None:  # noqa: ANN401  (napari's event)
        """Take away the class of a shape that was begun and dropped, which napari keeps.

        The next shape would be given it.
        """
        layer = event.source
        if FEATURE in layer.features and len(layer.features) > len(layer.data):
            layer.features = layer.features.iloc[: len(layer.data)]
        self.changed.emit()

    def _painted_in(self, _event: Any) -> None:  # noqa: ANN401  (napari's event)
        self.changed.emit()

    @property
    def run(self) -> ShownRun:
        """The run that is taught; UsageError if none is shown."""
        if self.state.run is None:
            raise UsageError("No result is shown.", "Run a model, or open a run's folder.")
        return self.state.run

    @property
    def classes(self) -> dict[str, RGB]:
        """The classifier's classes and those that the user named, with their colours."""
        return self._classes_of(self.run)

    def _classes_of(self, run: ShownRun) -> dict[str, RGB]:
        table = run.table
        known = dict(zip(table.class_names, table.class_colors, strict=True))
        fresh = [name for name in self._named.get(run.fingerprint, ()) if name not in known]
        colors = default_colors(len(known) + len(fresh))[len(known) :]
        return known | dict(zip(fresh, colors, strict=True))

    def name_class(self, name: str) -> None:
        """Take a class that the classifier does not know yet."""
        if name.strip() and name not in self.classes:
            self._named.setdefault(self._slide, []).append(name)

    def draw(self, class_name: str) -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer to draw areas in, ready for areas of one class."""
        self.name_class(class_name)
        layer = self._layer(DRAWN) or self._add_drawn()
        color = unit_color(self.classes[class_name])
        layer.selected_data = set()
        layer.metadata[COLORS] = self.classes
        layer.feature_defaults = {FEATURE: class_name}
        layer.current_edge_color = (*color, 1.0)
        layer.current_face_color = (*color, FILL)
        self.state.viewer.layers.selection.active = layer
        return layer

    def turn_to(self, class_name: str) -> None:
        """Draw or paint areas of another class from now on, if either is done now."""
        active = self.state.viewer.layers.selection.active
        if active is None or owner_of(active) != self._slide or class_name not in self.classes:
            return
        made_for = active.metadata.get(ON_TOP)
        if made_for == DRAWN:
            self.draw(class_name)
        elif made_for == PAINTED:
            self.paint(class_name)

    def _add_drawn(self) -> Any:  # noqa: ANN401
        run = self.run
        bounds = run.table.bounds
        data, meta, _kind = shapes_layer(DRAWN, [], [], self.classes, run.placing, bounds)
        meta["metadata"] |= {SLIDE: self._slide, ON_TOP: DRAWN}
        width = max(run.size.width, run.size.height) / 500
        layer = Shapes(data or None, **{**meta, "ndim": 2, "edge_width": width})
        self.state.viewer.add_layer(layer)
        return layer

    def paint(self, class_name: str) -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer to paint in, with its brush on one class."""
        self.name_class(class_name)
        layer = self._layer(PAINTED) or self._add_painted()
        # What was painted keeps its class, whichever classes another model has, in what order.
        named: dict[int, str] = layer.metadata[FEATURE]
        for name in named.values():
            self.name_class(name)
        for name in self.classes:
            if name not in named.values():
                named[max(named, default=0) + 1] = name
        layer.colormap = label_colors(self.classes[name] for name in named.values())
        layer.selected_label = next(value for value, name in named.items() if name == class_name)
        self.state.viewer.layers.selection.active = layer
        return layer

    def _add_painted(self) -> Any:  # noqa: ANN401  (a napari layer)
        size = self.run.size
        pitch = max(1.0, max(size.width, size.height) / PAINT_LONGEST)
        layer = Labels(
            np.zeros((round(size.height / pitch), round(size.width / pitch)), LABEL),
            name=PAINTED,
            opacity=0.5,
            metadata={"pitch": pitch, SLIDE: self._slide, ON_TOP: PAINTED, FEATURE: {}},
            **self.run.placing.raster((pitch, pitch)),
        )
        self.state.viewer.add_layer(layer)
        return layer

    def annotations(self) -> tuple[Annotation, ...]:
        """Return all that was drawn and painted, in level-0 pixels."""
        return self._annotations_of(self.run)

    def _annotations_of(self, run: ShownRun) -> tuple[Annotation, ...]:
        return (*self._drawn(run), *self._painted(run))

    def others(self) -> tuple[list[tuple[ShownRun, tuple[Annotation, ...]]], list[str]]:
        """Return the runs of other open slides of which something was said, with what was drawn.

        And the names of those that are left out, whose results are of another model.
        """
        found: list[tuple[ShownRun, tuple[Annotation, ...]]] = []
        left_out: list[str] = []
        for run in self.state.runs:
            if run.fingerprint == self._slide:
                continue
            drawn = self._annotations_of(run)
            if not drawn and not len(Corrections.open(run.stored)):
                continue
            if run.stored.bundle_digest == self.run.stored.bundle_digest:
                found.append((run, drawn))
            else:
                left_out.append(run.folder.name)
        return found, left_out

    def _drawn(self, run: ShownRun) -> list[Annotation]:
        colors, placing = self._classes_of(run), run.placing
        drawn: list[Annotation] = []
        for layer in self._areas(run.fingerprint):
            for _number, name, rings in areas_of(layer.data, layer.shape_type, layer.features):
                if name:
                    placed = in_pixels(layer, rings, placing)
                    drawn.append(Annotation(name, placed, colors.get(name)))
        return drawn

    def _areas(self, slide: str) -> Iterator[Any]:
        """Yield a slide's layers of areas by class, those opened from QuPath's files too."""
        for layer in self.state.viewer.layers:
            of_this = layer.metadata.get(SLIDE) == slide
            if isinstance(layer, Shapes) and of_this and FEATURE in layer.features:
                yield layer

    def _painted(self, run: ShownRun) -> tuple[Annotation, ...]:
        layer = self._layer(PAINTED, run.fingerprint)
        if layer is None or not np.any(layer.data):
            return ()
        pitch = layer.metadata["pitch"]
        painted = PaintedLabels(
            np.asarray(layer.data),
            layer.metadata[FEATURE],
            scale=(pitch, pitch),
            colors=self._classes_of(run),
        )
        return painted.annotations()

    @property
    def corrections(self) -> Corrections:
        """The corrected tiles of the run, as they lie beside it."""
        return Corrections.open(self.run.stored)

    def correct(self, row: int, class_name: str) -> None:
        """Say of which class a tile is; once more the same takes it back."""
        self.name_class(class_name)
        corrections = self.corrections
        if corrections.labels.get(row) == class_name:
            corrections.clear(row)
        else:
            corrections.set(row, class_name)
        self.show_corrections(corrections)

    def carry(self, before: Run) -> None:
        """Take over the corrections of another run of the same tiles, if there are none yet."""
        mine = self.corrections
        if mine.path.exists() or before.identity != self.run.stored.identity:
            return
        theirs = Corrections.open(before)
        for name in theirs.counts:
            mine.set([row for row, said in theirs.labels.items() if said == name], name)
        if len(mine):
            self.show_corrections(mine)

    def undo(self) -> None:
        """Take the last correction back."""
        corrections = self.corrections
        corrections.undo()
        self.show_corrections(corrections)

    def show_corrections(self, corrections: Corrections | None = None) -> None:
        """Show which tiles were corrected, each in its class's colour."""
        labels = (corrections or self.corrections).labels
        for name in labels.values():
            self.name_class(name)
        raster, names = self._corrected_raster(labels), list(self.classes)
        features = pd.DataFrame({"index": range(len(names) + 1), "corrected to": ["", *names]})
        layer = self._corrected_layer()
        if layer is None:
            if not labels:
                return
            kept = {SLIDE: self._slide, ON_TOP: CORRECTED, TILES: self.run.stored.identity}
            look = {"opacity": 0.9, "features": features, "metadata": kept}
            look |= self.run.cells.placed(self.run.placing)
            layer = Labels(
                raster,
                name=CORRECTED,
                colormap=label_colors(self.classes.values()),
                **look,
            )
            active = self.state.viewer.layers.selection.active
            self.state.viewer.add_layer(layer)
            layer.contour = 1
            self.state.viewer.layers.selection.active = active
            return
        layer.data, layer.features = raster, features
        layer.colormap = label_colors(self.classes.values())

    def _corrected_raster(self, labels: Any) -> NDArray[np.uint16]:  # noqa: ANN401  (a mapping of rows to names)
        names = list(self.classes)
        values = np.full(len(self.run.table), UNCLASSIFIED, LABEL)
        for row, name in labels.items():
            values[row] = names.index(name) + 1
        return self.run.cells.painted(values, UNCLASSIFIED)

    def _corrected_layer(self) -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer of corrected tiles.

        One of another grid would show them in wrong places, and is removed.
        """
        layer = self._layer(CORRECTED)
        if layer is not None and layer.metadata.get(TILES) != self.run.stored.identity:
            self.state.viewer.layers.remove(layer)
            return None
        return layer

    @property
    def _slide(self) -> str:
        return self.run.fingerprint

    def _layer(self, made_for: str, slide: str = "") -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer of a slide, of this one if none is named, that we made for something."""
        owner = slide or self._slide
        for layer in self.state.viewer.layers:
            if layer.metadata.get(ON_TOP) == made_for and owner_of(layer) == owner:
                return layer
        return None
