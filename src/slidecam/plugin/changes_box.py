"""What a taught model sees otherwise: changed tiles as a layer and a list, old and new in turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtWidgets import (
    QLabel,
    QListWidget,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from slidecam.plugin.controls import named
from slidecam.plugin.overlays import (
    CLASS,
    HEAT,
    LABEL,
    PROBABILITY,
    UNCLASSIFIED,
    class_layer,
    label_colors,
)
from slidecam.plugin.ownership import ON_TOP, SLIDE, owner_of, show

if TYPE_CHECKING:
    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.slide import LayerData
    from slidecam.plugin.viewer_state import ViewerState
    from slidecam.runs import RunComparison
    from slidecam.runs.comparison import ChangedTile

CHANGED, BEFORE = "changed tiles", "classes before"
"""Kinds of layers that compare two runs; they are of the slide, and come and go with it."""

MOST_LISTED, LIST_HEIGHT = 200, 150
OF_NO_CLASS = (150, 150, 150)
FLIP = "Show the old classes (H)"


class ChangesBox(QWidget):
    """The tiles that two runs call otherwise.

    Parameters
    ----------
    state
        The viewer and what lies in it.

    Attributes
    ----------
    tiles
        The changed tiles, those of which both runs were surest first.
    """

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self.state = state
        self.tiles: tuple[ChangedTile, ...] = ()
        self._hidden: list[Any] = []
        self.list, self.left = QListWidget(), QLabel()
        self.left.setWordWrap(True)
        self.list.setFixedHeight(LIST_HEIGHT)
        self.flip = QPushButton(FLIP)
        self.flip.setCheckable(True)
        named(
            self.list,
            "Changed tiles",
            "A click flies to the tile; N and P go through the list.",
        )
        named(
            self.flip,
            FLIP,
            "Show the classes of the run before in the place of the new ones, and back.",
        )
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        for field in (self.flip, self.list, self.left):
            whole.addWidget(field)
        self.list.currentRowChanged.connect(self._fly)
        self.flip.clicked.connect(self._flipped)
        self.clear()

    def show_changes(self, comparison: RunComparison, before: ShownRun) -> None:
        """List the changed tiles, and lay them and the old classes on the slide."""
        run = self.state.run
        if run is None:
            return
        self.tiles = comparison.changed
        self.list.setFont(self.left.font())
        self.list.blockSignals(True)  # noqa: FBT003  (Qt's own)
        self.list.clear()
        self.list.addItems(list(map(_in_words, self.tiles[:MOST_LISTED])))
        self.list.blockSignals(False)  # noqa: FBT003
        left = len(self.tiles) - MOST_LISTED
        self.left.setText(f"and {left:,} more, of which the runs were less sure")
        self.left.setVisible(left > 0)
        self.setVisible(bool(self.tiles))
        if self.tiles and not self._layers():
            self.state.lay([_changed_layer(self.tiles, run), _old_layer(before, run)])
        self.flip.setChecked(any(one.visible for one in self._layers(BEFORE)))

    def clear(self) -> None:
        """List nothing; layers stay with their slide."""
        self.tiles, self._hidden = (), []
        self.list.clear()
        self.flip.setChecked(False)
        self.setVisible(False)

    def take_layers_away(self) -> None:
        """Take the layers away: another run of their slide is shown."""
        for layer in self._layers():
            self.state.viewer.layers.remove(layer)

    def _layers(self, *kinds: str) -> list[Any]:
        wanted, chosen = kinds or (CHANGED, BEFORE), self.state.chosen
        found = [one for one in self.state.viewer.layers if one.metadata.get("kind") in wanted]
        return [one for one in found if owner_of(one) == chosen]

    def turn_over(self) -> None:
        """Show the old classes, or the new ones again, where there are both."""
        if self.tiles:
            self.flip.click()

    def step(self, by: int) -> None:
        """Fly to the next changed tile, or to the one before."""
        last = self.list.count() - 1
        self.list.setCurrentRow(min(max(self.list.currentRow() + by, 0), last))

    def _fly(self, place: int) -> None:
        if 0 <= place < len(self.tiles):
            self.state.fly_to(self.tiles[place].row)

    def _flipped(self, old: bool) -> None:  # noqa: FBT001  (Qt's signal)
        """Show the old classes in the place of what is seen of the new run, or the other way."""
        if old:
            new = (*self.state.overlays(CLASS, PROBABILITY, HEAT), *self._layers(CHANGED))
            self._hidden = [one for one in new if one.visible]
        elif not self._hidden:
            # Another slide was looked at meanwhile.
            self._hidden = [*self.state.overlays(CLASS), *self._layers(CHANGED)]
        for layer in self._hidden:
            show(layer, seen=not old)
        for layer in self._layers(BEFORE):
            show(layer, seen=old)


def _in_words(tile: ChangedTile) -> str:
    before = f"{tile.before} {100 * tile.p_before:.0f} %"
    return f"tile {tile.row}: {before} → {tile.after} {100 * tile.p_after:.0f} %"


def _changed_layer(tiles: tuple[ChangedTile, ...], run: ShownRun) -> LayerData:
    """Return the changed tiles as labels, each of its new class's colour."""
    table = run.table
    values = np.full(len(table), UNCLASSIFIED, LABEL)
    others = len(table.class_names) + 1
    known = dict(zip(table.class_names, range(1, others), strict=True))
    for tile in tiles:
        values[tile.row] = known.get(tile.after, others)
    meta = {
        "name": f"{run.folder.name}: changed tiles",
        "colormap": label_colors((*table.class_colors, OF_NO_CLASS)),
        "opacity": 1.0,
        "metadata": {"kind": CHANGED, SLIDE: run.fingerprint, ON_TOP: CHANGED},
        **run.cells.placed(run.placing),
    }
    return run.cells.painted(values, UNCLASSIFIED), meta, "labels"


def _old_layer(before: ShownRun, run: ShownRun) -> LayerData:
    """Return the classes of the run before, hidden."""
    pixels, meta, kind = class_layer(before)
    kept = {"kind": BEFORE, SLIDE: run.fingerprint, ON_TOP: BEFORE}
    name = f"{run.folder.name}: classes before"
    return pixels, {**meta, "name": name, "visible": False, "metadata": kept}, kind
