"""A list of classes that is searched by typing, however many they are."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QCompleter


class ClassPicker(QComboBox):
    """A box of classes.

    What is typed is looked for anywhere in their names; what is found nowhere chooses nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setEditable(True)
        self.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        search = QCompleter(self.model(), self)
        search.setFilterMode(Qt.MatchFlag.MatchContains)
        search.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        self.setCompleter(search)
        self.lineEdit().editingFinished.connect(self.choose_typed)

    def fill(self, names: tuple[str, ...], chosen: str) -> None:
        """Offer other classes, without a word to who listens."""
        self.blockSignals(True)  # noqa: FBT003  (Qt's own)
        self.clear()
        self.addItems(names)
        self.setCurrentText(chosen)
        self.setCurrentIndex(self.findText(chosen))
        self.blockSignals(False)  # noqa: FBT003

    def choose_typed(self) -> None:
        """Choose the class that was typed, or the first that holds what was typed."""
        typed = self.lineEdit().text()
        found = self.findText(typed, Qt.MatchFlag.MatchExactly)
        if found < 0 and typed:
            found = self.findText(typed, Qt.MatchFlag.MatchContains)
        if found >= 0:
            self.setCurrentIndex(found)
        self.lineEdit().setText(self.itemText(self.currentIndex()))

    @property
    def names(self) -> tuple[str, ...]:
        """The classes that are offered."""
        return tuple(self.itemText(number) for number in range(self.count()))

    @property
    def chosen(self) -> str:
        """The class that is chosen, whatever is being typed."""
        return str(self.itemText(self.currentIndex()))
