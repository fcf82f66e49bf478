"""Overlays that grow while a run goes on: numpy rasters, written in place and drawn again.

Nothing here is lazy on purpose: napari keeps dask's blocks, and would show tiles as they were
before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import UsageError
from slidecam.explain.catalogue import method_for, title_of
from slidecam.plugin.overlays import (
    HEAT,
    OPACITY,
    PROBABILITY,
    commonest,
    heat_look,
    labels_of,
)
from slidecam.plugin.slide import KEY, LayerData
from slidecam.store import Status

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Layer
    from numpy.typing import NDArray

    from slidecam.plugin.job import Heat
    from slidecam.plugin.open_run import ShownRun


class LiveOverlays:
    """The layers of a run that goes on.

    Parameters
    ----------
    run
        As far as it was when it began.
    classes
        Its layer of classes. Others join it by `watch`, as they are chosen.

    Attributes
    ----------
    heats
        Layers of the heatmap as far as it goes.
    """

    def __init__(self, run: ShownRun, classes: Layer) -> None:
        self._run = run
        self._classes: Any = classes
        self._probabilities: list[Any] = []
        self._heat: Heat | None = None
        self.heats: list[Any] = []
        self._status, self._values = (
            run.table.status.copy(),
            run.table.probabilities.copy(),
        )

    @property
    def run(self) -> ShownRun:
        """The run as far as it is by now."""
        table = replace(self._run.table, status=self._status, probabilities=self._values)
        return self._run.with_table(table)

    def watch(self, layers: Iterable[Layer]) -> None:
        """Keep layers of the run as far as it goes from now on."""
        for layer in layers:
            if layer.metadata["kind"] == PROBABILITY:
                self._probabilities.append(layer)
            elif layer.metadata["kind"] == HEAT:
                self.heats.append(layer)
            else:
                self._classes = layer

    def add(
        self,
        boxes: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        threshold: float,
    ) -> None:
        """Show the results of some tiles."""
        places = self._run.cells.places_of(boxes)
        rows = self._run.cells.numbers[places]
        known = np.isfinite(probabilities).all(axis=1)
        self._status[rows] = np.where(known, Status.DONE, Status.FAILED)
        self._values[rows] = probabilities
        few = replace(
            self._run.table,
            boxes=boxes,
            status=self._status[rows],
            probabilities=probabilities,
        )
        self._classes.data[places] = labels_of(few.winners, probabilities, threshold)
        names = self._run.table.class_names
        for layer in self._probabilities:
            layer.data[places] = probabilities[:, names.index(layer.metadata["class"])]
        for layer in (self._classes, *self._probabilities):
            redraw(layer)

    def heat(self, heat: Heat) -> list[LayerData]:
        """Show a heatmap as far as it goes; return the layer to add where there is none yet."""
        self._heat = heat
        if not self.heats:
            return self.heat_of(commonest(heat.class_names, self.run))
        for layer in self.heats:
            levels = heat.levels[heat.class_names.index(layer.metadata["class"])]
            # The same arrays are kept: a layer whose data are replaced measures its extent and
            # contrast anew.
            for old, new in zip(layer.data, levels, strict=True):
                old[...] = new
            redraw(layer)
        return []

    def heat_of(self, name: str) -> list[LayerData]:
        """Return the heat of a class as far as it goes.

        Raises
        ------
        UsageError
            If none was painted yet, or not of this class.
        """
        heat, run = self._heat, self._run
        if heat is None or name not in heat.class_names:
            raise UsageError(f"No heat of {name} is painted yet.", "Wait for the run's end.")
        meta = {
            "name": f"{run.folder.name}: {title_of(heat.method)} {name} (so far)",
            "multiscale": True,
            "opacity": OPACITY[HEAT],
            "visible": False,
            **heat_look(signed=method_for(heat.method).signed),
            "metadata": {KEY: run, "kind": HEAT, "class": name, "method": heat.method},
            **run.placing.raster((heat.pitch, heat.pitch)),
        }
        return [(heat.levels[heat.class_names.index(name)], meta, "image")]


def redraw(layer: Any) -> None:  # noqa: ANN401  (any layer)
    """Draw a layer whose data were changed in place; a hidden one is drawn when it is shown."""
    if layer.visible:
        layer.refresh(thumbnail=False, extent=False)
