"""A plot of a classifier's probabilities along a volume's slices; a click turns to the slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from qtpy.QtGui import QMouseEvent, QPaintEvent

    from slidecam.plugin.volume_run import Profile

LEFT, RIGHT, TOP, BOTTOM = 44, 14, 10, 26
HEIGHT = 170
GRID = (0.0, 0.5, 1.0)


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
        self.plot = ProfilePlot(viewer, profile)
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
        whole.addWidget(self.plot, 1)

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
            LEFT, TOP, max(1, self.width() - LEFT - RIGHT), max(1, self.height() - TOP - BOTTOM)
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
        return int(
            np.nanargmin(
                np.abs(self.profile.table.positions - self.viewer.dims.point[self.profile.axis])
            )
        )

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
            QPen(self.palette().color(QPalette.ColorRole.WindowText), 1, Qt.PenStyle.DashLine)
        )
        painter.drawLine(self.place_of(self.shown, 0), self.place_of(self.shown, 1))
        painter.end()

    def _draw_axes(self, painter: QPainter) -> None:
        painter.setPen(QPen(QColor(130, 135, 145), 1))
        for value in GRID:
            painter.drawLine(
                self.place_of(0, value), self.place_of(len(self.profile.table) - 1, value)
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
