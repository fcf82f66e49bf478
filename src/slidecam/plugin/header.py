"""The head of the dock: open a slide or a result without a question, those of before, samples."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from slidecam.plugin.controls import named
from slidecam.plugin.ownership import opened_by_another
from slidecam.plugin.remembered import FOLDER, Remembered
from slidecam.plugin.tasks import report_error
from slidecam.sources import suffixes_for_viewers
from slidecam.sources.discovery import sample_folder

if TYPE_CHECKING:
    from slidecam.plugin.viewer_state import ViewerState

SAMPLES = {"Synthetic slide": "slide.tif", "Synthetic head (MRI)": "brain.nii.gz"}
BY_ANOTHER = (
    "{name} was opened by another reader, in pixels and without its levels: a large slide may fill"
    " the memory."
)


class Header(QWidget):
    """*Open slide…*, *Open folder…* and a menu of what was opened before.

    Parameters
    ----------
    state
        The viewer and what lies in it.
    remembered
        What was opened before.
    """

    def __init__(self, state: ViewerState, remembered: Remembered) -> None:
        super().__init__()
        self.state, self.remembered = state, remembered
        self.slide, self.folder = QPushButton("Open slide…"), QPushButton("Open folder…")
        any_format = "A slide, a picture or a volume of any format that slidecam reads."
        named(self.slide, "Open slide", any_format)
        named(
            self.folder,
            "Open folder",
            "A result of slidecam, or a DICOM slide or series.",
        )
        self.before = QPushButton("Recent")
        named(
            self.before,
            "Recent",
            "What was opened last, and samples.",
        )
        self.menu = QMenu(self)
        self.before.setMenu(self.menu)
        self.another, self.again = QLabel(), QPushButton("Open it with slidecam")
        self.another.setWordWrap(True)
        named(
            self.again,
            "Open it with slidecam",
            "Close the picture and open its file anew.",
        )
        buttons = QHBoxLayout()
        buttons.setSpacing(3)
        for button in (self.slide, self.folder, self.before):
            buttons.addWidget(button)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(2, 6, 2, 0)
        whole.addLayout(buttons)
        whole.addWidget(self.another)
        whole.addWidget(self.again)
        self.slide.clicked.connect(self._choose_slide)
        self.folder.clicked.connect(self._choose_folder)
        self.menu.aboutToShow.connect(self.fill_menu)
        self.again.clicked.connect(self._open_again)
        self.refresh()

    def refresh(self) -> None:
        """Say whether the chosen slide came through another reader."""
        layer = opened_by_another(self.state.viewer.layers, self.state.chosen)
        for field in (self.another, self.again):
            field.setVisible(layer is not None)
        if layer is not None:
            self.another.setText(BY_ANOTHER.format(name=layer.name))

    def fill_menu(self) -> None:
        """List what was opened before, and the samples."""
        self.menu.clear()
        for path in self.remembered.recent():
            self.menu.addAction(path, partial(self.open, path))
        self.menu.addSection("Samples")
        for title, name in SAMPLES.items():
            self.menu.addAction(title, partial(self.open, str(sample_folder() / name)))

    def _choose_slide(self) -> None:
        known = " ".join(f"*{suffix}" for suffix in suffixes_for_viewers())
        path, _kind = QFileDialog.getOpenFileName(
            self, "Open a slide", self.remembered.folder(FOLDER), f"Slides ({known});;All files (*)"
        )
        if path:
            self.open(path)

    def _choose_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(
            self, "Open a result, or a DICOM slide or series", self.remembered.folder(FOLDER)
        )
        if path:
            self.open(path)

    def open(self, path: str) -> None:
        """Open what lies there by slidecam's own reader; what goes wrong is said."""
        try:
            self.state.viewer.open(path, plugin="slidecam")
        # The boundary of what napari opens: a reader that refuses has said its reason itself, and
        # napari raises errors of its own kinds about it.
        except Exception as error:  # noqa: BLE001  (the boundary of one opening: it is said)
            report_error(f"{Path(path).name} was not opened: {error}")
            return
        self.remembered.open(path)

    def _open_again(self) -> None:
        layer = opened_by_another(self.state.viewer.layers, self.state.chosen)
        if layer is not None:
            path = layer.source.path
            self.state.viewer.layers.remove(layer)
            self.open(path)
