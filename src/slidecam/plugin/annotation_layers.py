"""What a person teaches on one slide.

Areas drawn or painted by class, and tiles corrected by click. It knows no Qt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from napari.layers import Labels, Layer, Shapes

from slidecam.drawing.style import default_colors
from slidecam.errors import UsageError
from slidecam.plugin.areas import (
    AREA_TYPES,
    COLORS,
    FEATURE,
    FILL,
    SLIDE,
    corners_of,
    ring_in_pixels,
    shapes_layer,
    unit_color,
)
from slidecam.plugin.overlays import UNCLASSIFIED, label_colors
from slidecam.teaching import Annotation, Corrections, PaintedLabels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.viewer_state import ViewerState
    from slidecam.runs import Run

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

    def __init__(self, state: ViewerState) -> None:
        self.state = state
        self._new: list[str] = []

    @property
    def run(self) -> ShownRun:
        """The run that is taught; UsageError if none is shown."""
        if self.state.run is None:
            raise UsageError("No result is shown.", "Run a model, or open a run's folder.")
        return self.state.run

    @property
    def classes(self) -> dict[str, RGB]:
        """The classifier's classes and those that the user named, with their colours."""
        table = self.run.table
        known = dict(zip(table.class_names, table.class_colors, strict=True))
        fresh = [name for name in self._new if name not in known]
        colors = default_colors(len(known) + len(fresh))[len(known) :]
        return known | dict(zip(fresh, colors, strict=True))

    def name_class(self, name: str) -> None:
        """Take a class that the classifier does not know yet."""
        if name.strip() and name not in self.classes:
            self._new.append(name)

    def draw(self, class_name: str) -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer to draw areas in, ready for areas of one class."""
        self.name_class(class_name)
        layer = self._layer(DRAWN, Shapes) or self._add_drawn()
        color = unit_color(self.classes[class_name])
        layer.selected_data = set()
        layer.metadata[COLORS] = self.classes
        layer.feature_defaults = {FEATURE: class_name}
        layer.current_edge_color = (*color, 1.0)
        layer.current_face_color = (*color, FILL)
        self.state.viewer.layers.selection.active = layer
        return layer

    def _add_drawn(self) -> Any:  # noqa: ANN401
        run = self.run
        bounds = run.table.bounds
        data, meta, _kind = shapes_layer(DRAWN, [], [], self.classes, run.placing, bounds)
        meta["metadata"][SLIDE] = self._slide
        width = max(run.size.width, run.size.height) / 500
        layer = Shapes(data or None, **{**meta, "ndim": 2, "edge_width": width})
        self.state.viewer.add_layer(layer)
        return layer

    def paint(self, class_name: str) -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer to paint in, with its brush on one class."""
        self.name_class(class_name)
        layer = self._layer(PAINTED, Labels)
        if layer is None:
            pitch = max(1.0, max(self.run.size.width, self.run.size.height) / PAINT_LONGEST)
            shape = (
                round(self.run.size.height / pitch),
                round(self.run.size.width / pitch),
            )
            placed = self.run.placing.raster((pitch, pitch))
            kept = {"pitch": pitch, SLIDE: self._slide}
            layer = Labels(
                np.zeros(shape, np.uint8),
                name=PAINTED,
                opacity=0.5,
                metadata=kept,
                **placed,
            )
            self.state.viewer.add_layer(layer)
        names = list(self.classes)
        layer.colormap = label_colors(self.classes.values())
        layer.selected_label = names.index(class_name) + 1
        layer.metadata[FEATURE] = dict(enumerate(names, 1))
        self.state.viewer.layers.selection.active = layer
        return layer

    def annotations(self) -> tuple[Annotation, ...]:
        """Return all that was drawn and painted, in level-0 pixels."""
        return (*self._drawn(), *self._painted())

    def _drawn(self) -> list[Annotation]:
        colors, placing = self.classes, self.run.placing
        drawn: list[Annotation] = []
        for layer in self._areas():
            names = layer.features[FEATURE]
            for data, kind, name in zip(layer.data, layer.shape_type, names, strict=True):
                if kind in AREA_TYPES and name:
                    ring = ring_in_pixels(layer, corners_of(data, kind), placing)
                    drawn.append(Annotation(str(name), (ring,), colors.get(str(name))))
        return drawn

    def _areas(self) -> Iterator[Any]:
        """Yield this slide's layers of areas by class, those opened from QuPath's files too."""
        for layer in self.state.viewer.layers:
            of_this = layer.metadata.get(SLIDE) == self._slide
            if isinstance(layer, Shapes) and of_this and FEATURE in layer.features:
                yield layer

    def _painted(self) -> tuple[Annotation, ...]:
        layer = self._layer(PAINTED, Labels)
        if layer is None or not np.any(layer.data):
            return ()
        pitch = layer.metadata["pitch"]
        painted = PaintedLabels(
            np.asarray(layer.data),
            layer.metadata[FEATURE],
            scale=(pitch, pitch),
            colors=self.classes,
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
        layer = self._corrected_layer()
        if layer is None:
            if not labels:
                return
            features = pd.DataFrame({"index": range(len(names) + 1), "corrected to": ["", *names]})
            kept = {SLIDE: self._slide, TILES: self.run.stored.identity}
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
        layer.data = raster
        layer.colormap = label_colors(self.classes.values())

    def _corrected_raster(self, labels: Any) -> NDArray[np.uint8]:  # noqa: ANN401  (a mapping of rows to names)
        names = list(self.classes)
        values = np.full(len(self.run.table), UNCLASSIFIED, np.uint8)
        for row, name in labels.items():
            values[row] = names.index(name) + 1
        return self.run.cells.painted(values, UNCLASSIFIED)

    def _corrected_layer(self) -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer of corrected tiles.

        One of another grid would show them in wrong places, and is removed.
        """
        layer = self._layer(CORRECTED, Labels)
        if layer is not None and layer.metadata.get(TILES) != self.run.stored.identity:
            self.state.viewer.layers.remove(layer)
            return None
        return layer

    @property
    def _slide(self) -> str:
        return str(self.run.stored.fingerprint)

    def _layer(self, name: str, kind: type[Layer]) -> Any:  # noqa: ANN401  (a napari layer)
        """Return the layer of this slide that we gave a name.

        Other slides' are left alone.
        """
        for layer in self.state.viewer.layers:
            # napari numbers the names that are there already.
            ours = layer.name.split(" [")[0] == name and layer.metadata.get(SLIDE) == self._slide
            if isinstance(layer, kind) and ours:
                return layer
        return None
