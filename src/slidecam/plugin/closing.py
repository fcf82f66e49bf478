"""What becomes of a run when its window is closed: it is stopped, and the user is asked before.

napari waits for its workers when it ends, with the window frozen; so they are stopped first. What
is committed stays, and the command line goes on with it.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QDialog, QLabel, QMainWindow, QMessageBox, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

NAPARIS_QUESTION = "ConfirmCloseDialog"


def window_of(widget: QWidget) -> QMainWindow | None:
    """Return the main window that a widget lies in, however deep, docked or floating."""
    above: QWidget | None = widget
    while above is not None and not isinstance(above, QMainWindow):
        above = above.parentWidget()
    return above


class ClosingGuard(QObject):
    """Asks once before a window is closed in the middle of work, and stops the work then.

    Where napari asks itself (Ctrl+Q, Ctrl+W), its question says what goes on. A window that is
    closed by a script is closed without a question.

    Parameters
    ----------
    window
        The viewer's main window.
    going_on
        Says what goes on and what becomes of it, or nothing.
    stop
        Stops it.
    """

    def __init__(
        self, window: QMainWindow, going_on: Callable[[], str], stop: Callable[[], None]
    ) -> None:
        super().__init__()
        # Weakly, or a viewer that is closed would be kept by what watches it.
        self._window = weakref.ref(window)
        self._going_on, self._stop = going_on, stop
        window.installEventFilter(self)

    def release(self) -> None:
        """Let go of the window."""
        window = self._window()
        if window is not None:
            window.removeEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802  (Qt's name)
        """Hear of the window's closing, and of napari's question before it."""
        window = self._window()
        if event is None or window is None or watched is not window:
            return False
        if event.type() == QEvent.Type.ChildPolished:
            self._add_to_question(event.child())
        elif event.type() == QEvent.Type.Close:
            return self._closes(window, event)
        return False

    def _closes(self, window: QMainWindow, event: QEvent) -> bool:
        words = self._going_on()
        if not (words and event.spontaneous()):
            self._stop()
            if words:
                # napari waits here where it ends altogether, and would stand frozen on the screen.
                window.hide()
            return False
        event.ignore()
        if _agrees(window, words):
            self._stop()
            # Not the click itself any more: napari does not ask a second time.
            window.close()
        return True

    def _add_to_question(self, child: QObject | None) -> None:
        words = self._going_on()
        if not words or not isinstance(child, QDialog) or type(child).__name__ != NAPARIS_QUESTION:
            return
        for label in child.findChildren(QLabel):
            if label.text():
                label.setWordWrap(True)
                label.setText(f"{label.text()}\n\n{words}")
                return


def _agrees(window: QMainWindow, words: str) -> bool:
    buttons = QMessageBox.StandardButton
    answer = QMessageBox.question(
        window,
        "Close the window?",
        words,
        buttons.Close | buttons.Cancel,
        buttons.Cancel,
    )
    return bool(answer == buttons.Close)
