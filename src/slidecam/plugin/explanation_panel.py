"""The pictures of one explained tile side by side; a click lays a method's map on the slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import QHBoxLayout, QLabel, QScrollArea, QVBoxLayout, QWidget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qtpy.QtGui import QMouseEvent

    from slidecam.plugin.tile_explanation import Why, WhyPicture

EDGE = 224
"""Screen pixels of a picture."""


class WhyPanel(QWidget):
    """A row of pictures, the tile itself first."""

    chosen = Signal(object)
    """A method's picture was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.title = QLabel("Click a tile, then “Explain this tile”.")
        self.row = QHBoxLayout()
        self.row.setAlignment(Qt.AlignmentFlag.AlignLeft)
        inner = QWidget()
        inner.setLayout(self.row)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inner)
        area.setMinimumHeight(EDGE + 90)
        whole = QVBoxLayout(self)
        whole.addWidget(self.title)
        whole.addWidget(area)

    def show_why(self, why: Why) -> None:
        """Show what was found of a tile."""
        x, y, *_size = why.box
        called = "" if why.call in {"", why.class_name} else f" (called: {why.call})"
        self.title.setText(
            f"<b>Why {why.class_name}?</b> &nbsp; {100 * why.probability:.1f} %{called} at x"
            f" {x}, y {y}. A faithful map has a small deletion and a large insertion area. Click a"
            " map to lay it on the slide."
        )
        while self.row.count():
            self.row.takeAt(0).widget().deleteLater()
        self.row.addWidget(_Picture(why.tile, "the tile", ""))
        for picture in why.pictures:
            shown = _Picture(picture.pixels, picture.title, _scores(picture))
            shown.pressed.connect(lambda _=None, picture=picture: self.chosen.emit((why, picture)))
            self.row.addWidget(shown)


class _Picture(QWidget):
    """One picture with its name above and its scores below."""

    pressed = Signal()

    def __init__(self, pixels: NDArray[np.uint8], title: str, scores: str) -> None:
        super().__init__()
        column = QVBoxLayout(self)
        column.setSpacing(2)
        picture = QLabel()
        picture.setPixmap(pixmap(pixels))
        for label in (QLabel(f"<b>{title}</b>"), picture, QLabel(scores)):
            label.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            column.addWidget(label)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Tell that it was clicked."""
        super().mousePressEvent(event)
        self.pressed.emit()


def pixmap(pixels: NDArray[np.uint8], edge: int = EDGE) -> QPixmap:
    """Return a picture, uint8 (height, width, 3), as Qt shows it."""
    height, width, _bands = pixels.shape
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    smooth = Qt.TransformationMode.SmoothTransformation
    return QPixmap.fromImage(image).scaled(edge, edge, Qt.AspectRatioMode.KeepAspectRatio, smooth)


def _scores(picture: WhyPicture) -> str:
    return f"deletion {picture.deletion:.2f} · insertion {picture.insertion:.2f}"
