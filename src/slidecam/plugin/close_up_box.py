"""The part of *Read* that explains: a tile, the tiles of an area, or the slice that is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from slidecam.close_up.methods import USUAL_METHODS
from slidecam.errors import SlidecamError
from slidecam.explain.catalogue import title_of
from slidecam.plugin.class_picker import ClassPicker
from slidecam.plugin.controls import named
from slidecam.plugin.panels import read_profile, slice_seen
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.run_request import drawn_region
from slidecam.plugin.subjects import area_of, slice_of, tile_of
from slidecam.plugin.tasks import (
    in_background,
    in_viewer_words,
    now_and_then,
    report_error,
    step_in_words,
)
from slidecam.plugin.tile_explanation import METHODS, TilesSoFar, explain
from slidecam.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.panels import Profile
    from slidecam.plugin.subjects import Subject
    from slidecam.plugin.tile_explanation import TileExplanation
    from slidecam.plugin.viewer_state import ViewerState
    from slidecam.steps import Step

EXPLAIN, EXPLAIN_SLICE = "Explain this tile", "Explain this slice"
EXPLAIN_AREA, CANCEL = "Explain the drawn area", "Stop explaining"
LEAVING_OFF = "Stopping …"
AS_CALLED = "for the class it is called"
METHOD_TITLES = {USUAL_METHODS: "the model's usual ones"}
EXPLAINED_BY = (
    *METHODS,
    "score-cam-clustered",
    "occlusion",
    "integrated-gradients",
    "smoothgrad",
)
"""Methods that can be ticked; those of `METHODS` are at first, the quickest in front."""


class CloseUpBox(QWidget):
    """Buttons that explain, by which methods and for which class, and how far that is.

    Parameters
    ----------
    state
        The viewer and what lies in it.

    Attributes
    ----------
    explaining
        Of which slide and run the last explanation is.
    """

    explained = Signal(object)
    """A `TileExplanation` of each tile, as far as they are there."""

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self.state = state
        self.worker: Any = None
        self.explaining: tuple[str, Path | None] | None = None
        self._of: tuple[str, Path | None] | None = None
        self._profile: Profile | None = None
        self._make_fields()
        self._lay_out()
        self.button.clicked.connect(self.start)
        self.area.clicked.connect(self.start_area)
        state.run_changed.connect(self.refresh)
        state.tile_selected.connect(self._selected)
        self.refresh()

    def _make_fields(self) -> None:
        self.button, self.area = QPushButton(EXPLAIN), QPushButton(EXPLAIN_AREA)
        self.of_class = ClassPicker()
        self.choice, self.methods = QPushButton("Methods"), QMenu(self)
        self.choice.setMenu(self.methods)
        for method in EXPLAINED_BY:
            action = self.methods.addAction(METHOD_TITLES.get(method) or title_of(method))
            action.setCheckable(True)
            action.setChecked(method in METHODS)
            action.setData(method)
        self.status = QLabel()
        self.status.setWordWrap(True)
        for control, name, tip in (
            (self.button, EXPLAIN, "Show what in the tile or slice speaks for the class."),
            (self.area, EXPLAIN_AREA, "Explain each tile of the selected shapes, at most 64."),
            (self.of_class, "Class to explain", "For which class the maps speak."),
            (self.choice, "Methods", "By which methods it is explained."),
        ):
            named(control, name, tip)

    def _lay_out(self) -> None:
        how = QHBoxLayout()
        how.addWidget(self.of_class, 1)
        how.addWidget(self.choice)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.button)
        whole.addWidget(self.area)
        whole.addLayout(how)
        whole.addWidget(self.status)

    def _selected(self, _row: int) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Offer what can be explained of what is shown now."""
        if self.state.shown != self._of:
            # Nothing is left standing that was said of another slide, or by another model.
            self._of = self.state.shown
            self._offer_classes()
            if self.worker is None:
                self.status.setText("")
        is_volume, busy = self._profile is not None, self.worker is not None
        words = EXPLAIN
        if busy:
            words = CANCEL
        elif is_volume:
            words = EXPLAIN_SLICE
        self.button.setText(words)
        self.button.setEnabled(busy or is_volume or self.state.selected != NO_TILE)
        self.area.setVisible(not is_volume)
        self.area.setEnabled(not busy and self.state.run is not None)

    def _offer_classes(self) -> None:
        names: tuple[str, ...] = ()
        self._profile = None
        if self.state.run is not None:
            names = self.state.run.table.class_names
        elif self.state.volume is not None:
            try:
                self._profile = read_profile(self.state.volume)
                names = self._profile.table.class_names
            except SlidecamError as error:
                self.status.setText(in_viewer_words(str(error)))
        self.of_class.fill((AS_CALLED, *names), AS_CALLED)

    @property
    def chosen_methods(self) -> tuple[str, ...]:
        """The methods that are ticked; all usual ones where none is."""
        ticked = [one.data() for one in self.methods.actions() if one.isChecked()]
        return tuple(ticked) or METHODS

    @property
    def class_name(self) -> str | None:
        """The class that maps are to speak for; None for the one that is called."""
        if self.of_class.currentIndex() <= 0:
            return None
        return self.of_class.chosen

    def start(self) -> None:
        """Explain the selected tile, or the slice that is seen; or leave off explaining."""
        if self.worker is not None:
            self.status.setText(LEAVING_OFF)
            self.worker.quit()
            return
        run, row, folder = self.state.run, self.state.selected, self.state.volume
        if run is not None and row != NO_TILE:
            self._begin(tile_of(run.stored, row))
        elif self._profile is not None and folder is not None:
            number = slice_seen(self.state.viewer, self._profile)
            self._begin(slice_of(Run.open(folder), number))

    def start_area(self) -> None:
        """Explain the tiles of the area that was drawn."""
        run, facts = self.state.run, self.state.slide()
        if self.worker is not None or run is None or facts is None:
            return
        try:
            region = drawn_region(self.state.viewer, run.placing)
        except SlidecamError as error:
            report_error(str(error))
            return
        self._begin(area_of(run.stored, region, facts.bounds))

    def _begin(self, subject: Subject) -> None:
        self.explaining = self.state.shown
        self.worker = in_background(
            now_and_then(explain(subject, self.class_name, self.chosen_methods)),
            self._progressed,
            self._explained,
            self._over,
            self._failed,
        )
        self.status.setText("Loading the classifier …")
        self.refresh()

    def _progressed(self, step: Step) -> None:
        if self.explaining == self.state.shown and self.status.text() != LEAVING_OFF:
            self.status.setText(step_in_words(step))
        if isinstance(step, TilesSoFar):
            self.explained.emit(step.explanations)

    def _explained(self, found: tuple[TileExplanation, ...]) -> None:
        self.status.setText("")
        self.explained.emit(found)

    def _failed(self, error: Exception) -> None:
        self.status.setText(in_viewer_words(str(error)))

    def _over(self) -> None:
        self.worker = None
        self.refresh()
        if self.status.text() == LEAVING_OFF:
            self.status.setText("Stopped: maps that were done stay.")
