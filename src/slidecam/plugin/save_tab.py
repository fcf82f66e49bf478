"""The tab that saves: for QuPath, spreadsheets, other viewers, and a picture of what is seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton, QVBoxLayout, QWidget

from slidecam.errors import SlidecamError, UsageError
from slidecam.plugin import compat
from slidecam.plugin.controls import named
from slidecam.plugin.file_tiles import TILES_OF
from slidecam.plugin.slide import KEY
from slidecam.plugin.tasks import inform, report_error
from slidecam.registry import deferred

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.plugin import writing
    from slidecam.plugin.viewer_state import ViewerState
else:
    # matplotlib comes with it.
    writing = deferred("slidecam.plugin.writing")


class SaveTab(QWidget):
    """Buttons that write files.

    Parameters
    ----------
    state
        The viewer and what lies in it.
    """

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self.state = state
        self.about = QLabel()
        self.about.setWordWrap(True)
        whole = QVBoxLayout(self)
        whole.addWidget(self.about)
        self.buttons: dict[str, QPushButton] = {}
        for name, title, tip in (
            ("geojson", "Tiles for QuPath (GeoJSON)…", "Each tile with its class."),
            ("csv", "Table of tiles (CSV)…", "Each tile's place, class and probabilities."),
            ("zarr", "Heatmap (OME-Zarr)…", "The heat of all classes that were mapped."),
            ("png", "Figure of the view (PNG)…", "The canvas with legend and scale bar."),
        ):
            button = QPushButton(title)
            named(button, title.rstrip("…"), tip)
            button.clicked.connect(lambda _checked=False, name=name: self._ask(name))
            self.buttons[name] = button
            whole.addWidget(button)
        whole.addStretch(1)
        state.run_changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show what there is to save."""
        run = self.state.run
        folder = self.state.volume
        if run is not None:
            folder = run.folder
        if folder is None:
            self.about.setText("No result is shown yet.")
        else:
            self.about.setText(f"All files of the run lie in {folder}.")
        for name, button in self.buttons.items():
            button.setEnabled(run is not None and (name != "zarr" or bool(run.heatmaps)))

    def _ask(self, name: str) -> None:
        run = self.state.run
        if run is None:
            return
        suggested = f"{run.folder.name}{TILES_OF}.{name}"
        if name == "zarr":
            suggested = f"{run.folder.name}-heatmap.ome.zarr"
        path, _kind = QFileDialog.getSaveFileName(self, "Save as", str(Path.home() / suggested))
        if path:
            self.save(name, path)

    def save(self, name: str, path: str) -> None:
        """Write one kind of file; what goes wrong is said."""
        try:
            self._write(name, path)
        except SlidecamError as error:
            report_error(str(error))
            return
        except OSError as error:
            report_error(
                f"The file cannot be written: {error.strerror or error} ({path}). Choose another"
                " place, or make room."
            )
            return
        inform(f"Written: {path}")

    def _write(self, name: str, path: str) -> None:
        run = self.state.run
        if run is None:
            raise UsageError("No result is shown.", "Run a model, or open a run's folder.")
        if name == "png":
            writing.write_view(Path(path), self._canvas(), self.state)
            return
        write: Any = {
            "geojson": writing.write_tiles_geojson,
            "csv": writing.write_tiles_csv,
            "zarr": writing.write_ome_zarr,
        }[name]
        # Of the run, whatever layers of it the user has taken away.
        write(
            path,
            None,
            {
                "name": run.folder.name,
                "metadata": {KEY: run, "heatmap": next(iter(run.heatmaps), None)},
            },
        )

    def _canvas(self) -> NDArray[np.uint8]:
        """Return what is seen, without napari's scale bar, as the figure has its own, and handles.

        Handles are those of areas and points that are selected.
        """
        viewer = self.state.viewer
        bar = compat.scale_bar(viewer)
        seen = bar.visible
        bar.visible = False
        selected: list[tuple[Any, set[int]]] = []
        for layer in viewer.layers:
            chosen = set(getattr(layer, "selected_data", ()))
            if chosen:
                selected.append((layer, chosen))
                layer.selected_data = set()
        try:
            return np.asarray(viewer.screenshot(canvas_only=True, flash=False))[:, :, :3]
        finally:
            bar.visible = seen
            for layer, chosen in selected:
                layer.selected_data = chosen
