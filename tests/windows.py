"""Hands for the tests of windows: real clicks and keys on napari's canvas, and patience."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication

from slidecam.plugin import compat
from stopping import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def until(condition: Callable[[], object]) -> None:
    """Let Qt work until something is so."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        QApplication.processEvents()
        time.sleep(0.01)


class Hand:
    """A mouse over the canvas of a viewer whose window is shown.

    Parameters
    ----------
    viewer
        napari's.
    """

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        viewer.window._qt_window.activateWindow()
        QApplication.processEvents()

    @property
    def canvas(self) -> Any:
        """The widget that is clicked on; nothing keeps it longer than its window."""
        return self.viewer.window._qt_viewer.canvas.native

    def place(self, world: Sequence[float]) -> QPoint:
        """Return where y, x of the viewer's world lie on the canvas."""
        camera = compat.camera(self.viewer)
        half = np.array([self.canvas.height(), self.canvas.width()]) / 2
        y, x = (np.array(world) - np.array(camera.center[-2:])) * camera.zoom + half
        return QPoint(round(x), round(y))

    def move(self, world: Sequence[float]) -> None:
        """Move the mouse to a place."""
        self._move(world, Qt.MouseButton.NoButton)

    def _move(self, world: Sequence[float], held: Qt.MouseButton) -> None:
        """Send the move itself: QTest's goes by the system's pointer, and comes when it comes."""
        here = QPointF(self.place(world))
        there = QPointF(self.canvas.mapToGlobal(self.place(world)))
        none = Qt.KeyboardModifier.NoModifier
        kind = QEvent.Type.MouseMove
        event = QMouseEvent(kind, here, there, Qt.MouseButton.NoButton, held, none)
        QApplication.sendEvent(self.canvas, event)
        QApplication.processEvents()

    def click(self, world: Sequence[float]) -> None:
        """Click on a place."""
        self.move(world)
        QTest.mouseClick(
            self.canvas,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            self.place(world),
        )
        QApplication.processEvents()

    def double_click(self, world: Sequence[float]) -> None:
        """Click twice on a place, as fast as a person does."""
        self.move(world)
        QTest.mouseDClick(
            self.canvas,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
            self.place(world),
        )
        QApplication.processEvents()

    def drag(self, *worlds: Sequence[float]) -> None:
        """Press at the first place, move over the others and let go at the last."""
        button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        self.move(worlds[0])
        QTest.mousePress(self.canvas, button, none, self.place(worlds[0]))
        for world in worlds[1:]:
            self._move(world, button)
        QTest.mouseRelease(self.canvas, button, none, self.place(worlds[-1]))
        QApplication.processEvents()

    def press(self, key: Qt.Key) -> None:
        """Press a key over the canvas."""
        QTest.keyClick(self.canvas, key)
        QApplication.processEvents()
