"""The panels below the viewer: one explained tile's pictures, and a profile along slices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPalette, QPen, QPixmap, QPolygonF
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from slidecam.errors import StoreError
from slidecam.plugin.class_picker import ClassPicker
from slidecam.plugin.controls import named
from slidecam.plugin.ownership import show
from slidecam.runs import Run
from slidecam.runs.record import RUN_AGAIN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from qtpy.QtGui import QMouseEvent, QPaintEvent

    from slidecam.plugin.tile_explanation import MethodMap, TileExplanation
    from slidecam.runs.slices import SliceTable


EDGE = 224
"""Screen pixels of a picture."""


HOW_TO_READ = (
    "A faithful map has a small deletion and a large insertion area. Click a map to lay it on the"
    " slide."
)


class ExplanationPanel(QWidget):
    """A row of pictures for each tile, the tile itself first."""

    chosen = Signal(object)
    """A method's picture was clicked."""

    def __init__(self) -> None:
        super().__init__()
        self.title = QLabel("Click a tile, then “Explain this tile”.")
        self.row = QGridLayout()
        self.row.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignTop)
        inner = QWidget()
        inner.setLayout(self.row)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inner)
        area.setMinimumHeight(EDGE + 90)
        whole = QVBoxLayout(self)
        whole.addWidget(self.title)
        whole.addWidget(area)

    def show_explanations(self, explained: Sequence[TileExplanation]) -> None:
        """Show what was found of a tile or slice, or of several: a row each."""
        head, name = f"<b>Why these {len(explained)} tiles?</b>", ""
        if len(explained) == 1:
            head = _headline(explained[0])
            name = ("the tile", "the slice")[explained[0].number is not None]
        self.title.setText(f"{head} {HOW_TO_READ}")
        while self.row.count():
            self.row.takeAt(0).widget().deleteLater()
        for number, found in enumerate(explained):
            self._add_row(number, found, name or _in_short(found))

    def _add_row(self, number: int, found: TileExplanation, name: str) -> None:
        self.row.addWidget(_Picture(found.tile, name, ""), number, 0)
        for column, picture in enumerate(found.pictures, 1):
            shown = _Picture(picture.pixels, picture.title, _scores(picture))
            shown.pressed.connect(
                lambda _=None, picture=picture: self.chosen.emit((found, picture))
            )
            self.row.addWidget(shown, number, column)


def _headline(found: TileExplanation) -> str:
    called = ""
    if found.call not in {"", found.class_name}:
        called = f" (called: {found.call})"
    share = f"{100 * found.probability:.1f} %"
    return f"<b>Why {found.class_name}?</b> &nbsp; {share}{called} at {found.place}."


def _in_short(found: TileExplanation) -> str:
    return f"{found.class_name} {100 * found.probability:.0f} %, {found.place}"


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


def pixmap(pixels: NDArray[np.uint8], edge: int | None = EDGE) -> QPixmap:
    """Return a picture, uint8 (height, width, 3), as Qt shows it; as it is without an edge."""
    height, width, _bands = pixels.shape
    image = QImage(pixels.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888)
    shown = QPixmap.fromImage(image)
    if edge is None:
        return shown
    smooth = Qt.TransformationMode.SmoothTransformation
    return shown.scaled(edge, edge, Qt.AspectRatioMode.KeepAspectRatio, smooth)


def _scores(picture: MethodMap) -> str:
    if np.isnan(picture.deletion):
        areas = "deletion and insertion follow"
    else:
        areas = f"deletion {picture.deletion:.2f} · insertion {picture.insertion:.2f}"
    high = f"{picture.top:.3g} {picture.unit}".strip()
    ends = f"0 … {high}"
    if picture.signed:
        ends = f"-{picture.top:.3g} … {high}"
    return "\n".join((areas, ends, *picture.notes))


LEFT, RIGHT, TOP, BOTTOM = 44, 14, 10, 26
HEIGHT = 170
GRID = (0.0, 0.5, 1.0)
ANATOMIC = {"axial": 0, "coronal": 1, "sagittal": 2}


@dataclass(frozen=True, eq=False)
class Profile:
    """A classifier's probabilities along the slices of a volume.

    Attributes
    ----------
    table
        One row for each slice.
    axis
        Which of napari's axes it runs along: 0 S, 1 P, 2 L.
    colors
        Of the classes.
    called
        What the volume was called, in words.
    folder
        The run's.
    """

    table: SliceTable
    axis: int
    colors: tuple[tuple[int, int, int], ...]
    called: str
    folder: Path


def read_profile(folder: Path) -> Profile:
    """Read the profile of a volume's run; StoreError if it is none, or damaged."""
    run = Run.open(folder)
    volume, table, call = run.record.input.volume, run.slices, run.record.call
    if volume is None or table is None:
        raise StoreError(folder, "this is no finished run of a volume.", RUN_AGAIN)
    called = "nothing" if call is None else call.words
    colors = run.tiles.class_colors
    return Profile(table, ANATOMIC[volume.axis], colors, called, folder)


def slice_seen(viewer: Any, profile: Profile) -> int:  # noqa: ANN401  (napari's viewer or a proxy)
    """Return the slice that a viewer shows, or that lies nearest."""
    apart = np.abs(profile.table.positions - viewer.dims.point[profile.axis])
    return int(np.nanargmin(apart))


class ProfilePanel(QWidget):
    """The profile with its heading.

    Parameters
    ----------
    viewer
        Whose slider it moves, and whose slider moves its mark.
    profile
        What to plot.
    """

    def __init__(self, viewer: Any, profile: Profile) -> None:  # noqa: ANN401  (napari's viewer or a proxy)
        super().__init__()
        self.plot, self.heat = ProfilePlot(viewer, profile), ClassPicker()
        self.heat.fill(profile.table.class_names, "")
        self.heat.lineEdit().setPlaceholderText("class whose heat is shown")
        named(
            self.heat,
            "Heat of",
            "The class whose heat lies on the volume. Type a part of its name.",
        )
        self.heat.currentIndexChanged.connect(self._show_heat)
        names = zip(profile.table.class_names, profile.colors, strict=True)
        legend = " &nbsp; ".join(
            f'<span style="color:rgb{color}">▬</span> {name}' for name, color in names
        )
        whole = QVBoxLayout(self)
        whole.addWidget(
            QLabel(
                f"<b>Called {profile.called}</b> &nbsp; {legend} &nbsp; (click a slice to turn"
                " to it)"
            )
        )
        whole.addWidget(self.heat)
        whole.addWidget(self.plot, 1)

    def _show_heat(self, _place: int) -> None:
        """Show the heat of the class that was chosen, and hide that of the others."""
        theirs = str(self.plot.profile.folder)
        for layer in self.plot.viewer.layers:
            if layer.metadata.get("volume run") == theirs:
                show(layer, seen=layer.metadata["class"] == self.heat.chosen)

    def release(self) -> None:
        """Let go of the viewer."""
        self.plot.viewer.dims.events.current_step.disconnect(self.plot.moved)


class ProfilePlot(QWidget):
    """Probabilities over slices, one line for each class; gaps where a slice has no result."""

    def __init__(self, viewer: Any, profile: Profile) -> None:  # noqa: ANN401
        super().__init__()
        self.viewer, self.profile = viewer, profile
        self.setMinimumHeight(HEIGHT)
        viewer.dims.events.current_step.connect(self.moved)

    def moved(self, _event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        """Draw the mark where the slider is now."""
        self.update()

    @property
    def room(self) -> QRectF:
        """Where the lines are."""
        return QRectF(
            LEFT,
            TOP,
            max(1, self.width() - LEFT - RIGHT),
            max(1, self.height() - TOP - BOTTOM),
        )

    def slice_at(self, x: float) -> int:
        """Return the slice at a place of the plot."""
        last = max(1, len(self.profile.table) - 1)
        return int(np.clip(round((x - self.room.left()) / self.room.width() * last), 0, last))

    def place_of(self, number: int, probability: float) -> QPointF:
        """Return where a slice's probability lies in the plot."""
        last = max(1, len(self.profile.table) - 1)
        x = self.room.left() + number / last * self.room.width()
        return QPointF(x, self.room.bottom() - probability * self.room.height())

    def mousePressEvent(self, event: QMouseEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Turn to the slice that was clicked."""
        if event is not None:
            self.turn(event.position().x())

    def turn(self, x: float) -> None:
        """Turn the viewer to the slice at a place of the plot."""
        position = float(self.profile.table.positions[self.slice_at(x)])
        # In millimetres: the viewer's own steps are those of the finest volume that is open.
        self.viewer.dims.set_point(self.profile.axis, position)

    @property
    def shown(self) -> int:
        """The slice that the viewer shows, or that lies nearest."""
        return slice_seen(self.viewer, self.profile)

    def paintEvent(self, event: QPaintEvent | None) -> None:  # noqa: ARG002, N802  (Qt's name)
        """Draw axes, lines and the slice that is shown."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self._draw_axes(painter)
        for values, color in zip(
            self.profile.table.probabilities.T, self.profile.colors, strict=True
        ):
            painter.setPen(QPen(QColor(*color), 2))
            for run in _runs(values):
                painter.drawPolyline(
                    QPolygonF([self.place_of(number, float(values[number])) for number in run])
                )
        painter.setPen(
            QPen(
                self.palette().color(QPalette.ColorRole.WindowText),
                1,
                Qt.PenStyle.DashLine,
            )
        )
        painter.drawLine(self.place_of(self.shown, 0), self.place_of(self.shown, 1))
        painter.end()

    def _draw_axes(self, painter: QPainter) -> None:
        painter.setPen(QPen(QColor(130, 135, 145), 1))
        for value in GRID:
            painter.drawLine(
                self.place_of(0, value),
                self.place_of(len(self.profile.table) - 1, value),
            )
            painter.drawText(QPointF(6, self.place_of(0, value).y() + 4), f"{100 * value:.0f} %")
        positions = self.profile.table.positions
        for number in (0, len(positions) - 1):
            words = f"{positions[number]:.0f} mm"
            if number == 0:
                offset = 0
            else:
                offset = -painter.fontMetrics().horizontalAdvance(words)
            painter.drawText(
                QPointF(self.place_of(number, 0).x() + offset, self.height() - 6), words
            )


def _runs(values: np.ndarray[Any, Any]) -> list[list[int]]:
    """Return the slices that have a result, in unbroken runs."""
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return []
    return [list(map(int, run)) for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1)]
