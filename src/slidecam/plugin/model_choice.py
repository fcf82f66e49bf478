"""The choice of a model: its folder, what its card says, and its weights read beside the window."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog

from slidecam.errors import SlidecamError
from slidecam.models import open_bundle
from slidecam.plugin.cards import NAMED, bundle_card
from slidecam.plugin.tasks import in_background
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from qtpy.QtWidgets import QComboBox, QLabel, QPushButton

    from slidecam.models import Card

AT_ONCE = 32_000_000
"""Bytes of a model that are read and checked in the window's thread: a twentieth of a second."""

READING = "Reading the model and checking its weights …"


class ModelChoice(QObject):
    """A box of models' folders and the words on the one that is chosen.

    Parameters
    ----------
    box, browse, about
        Where a folder is typed or chosen, the button that looks for one, and where words go.

    Attributes
    ----------
    card
        Of the model that is chosen; None where none is, or it is not read yet.
    """

    opened = Signal()
    """Another model is chosen and read, or none can be."""

    def __init__(self, box: QComboBox, browse: QPushButton, about: QLabel) -> None:
        super().__init__(box)
        self._box, self._about = box, about
        self.card: Card | None = None
        self.worker: Any = None
        self._afterwards: Callable[[], None] | None = None
        box.currentTextChanged.connect(self._changed)
        browse.clicked.connect(self._browse)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self._box, "Folder of a model, or of several", self._box.currentText()
        )
        if folder:
            self._box.setCurrentText(folder)

    def when_read(self, call: Callable[[], None]) -> None:
        """Call something once the model that is chosen is read: now, or when it is."""
        if self.worker is None:
            call()
        else:
            self._afterwards = call

    def _changed(self, text: str) -> None:
        self.card, self.worker, self._afterwards = None, None, None
        folder = Path(text)
        if not text:
            self._about.setText("Choose a model.")
        elif self._offer_models(folder):
            pass
        elif not folder.is_dir():
            self._about.setText(f"There is no folder {escape(text)}.")
        elif _bytes_of(folder) > AT_ONCE:
            self._read_beside(text)
        else:
            self._take((text, *read_model(folder)))
            return
        self.opened.emit()

    def _offer_models(self, folder: Path) -> bool:
        """List the models of a folder that holds several and is none; say whether it does."""
        models = [path.parent for path in sorted(folder.glob("*/card.json"))]
        if not models or (folder / "card.json").exists():
            return False
        known = [self._box.itemText(number) for number in range(self._box.count())]
        self._box.addItems([str(one) for one in models if str(one) not in known])
        names = ", ".join(escape(one.name) for one in models[:NAMED])
        self._about.setText(f"This folder holds {len(models)} models ({names}): choose one above.")
        return True

    def _read_beside(self, text: str) -> None:
        self._about.setText(READING)
        # A method, which Qt forgets with the window.
        self.worker = in_background(_reading(text), _ignored, self._take, _ignored, _ignored)

    def _take(self, read: tuple[str, Card | None, str]) -> None:
        text, card, words = read
        if text != self._box.currentText():
            return  # another one was chosen meanwhile
        self.card, self.worker = card, None
        self._about.setText(words)
        self.opened.emit()
        afterwards, self._afterwards = self._afterwards, None
        if afterwards is not None:
            afterwards()


def _ignored(_given: object = None) -> None:
    """Take what nobody needs: what goes wrong is in what is returned."""


def _bytes_of(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    except OSError:
        return 0


def _reading(text: str) -> Generator[Step, None, tuple[str, Card | None, str]]:
    yield Step(READING, 0, 1)
    return (text, *read_model(Path(text)))


def read_model(folder: Path) -> tuple[Card | None, str]:
    """Return a model's card and what to say of it; without a card what is wrong with it."""
    try:
        card = open_bundle(folder).card
    except (SlidecamError, OSError) as error:
        return None, f"<b>Not usable:</b> {escape(str(error))}"
    return card, bundle_card(card)
