"""The tab that teaches: annotate, correct, fine-tune, run again and compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from slidecam import teaching
from slidecam.errors import SlidecamError
from slidecam.plugin.annotation_layers import AnnotationLayers
from slidecam.plugin.cards import (
    comparison_table,
    labels_in_words,
    others_in_words,
    tuned_in_words,
)
from slidecam.plugin.changes_box import ChangesBox
from slidecam.plugin.controls import form_layout, named
from slidecam.plugin.open_run import read_shown
from slidecam.plugin.tasks import (
    in_background,
    in_viewer_words,
    inform,
    now_and_then,
    report_error,
    step_in_words,
)
from slidecam.plugin.tools import Tool, Tools
from slidecam.runs import compare_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.viewer_state import ViewerState
    from slidecam.runs import Run
    from slidecam.steps import Step
    from slidecam.teaching import FineTuned

HANDS = {
    Tool.LOOK: "A click selects a tile, a drag moves the view.",
    Tool.DRAW: "Each click is a corner of an area; a double click ends it, Escape drops it.",
    Tool.PAINT: "A drag paints.",
    Tool.CORRECT: "A click says that a tile is of the class above; once more takes it back.",
}
SUGGESTED = 12
LIST_HEIGHT = 150
STATUS_HEIGHT = 96
"""Room for what is said at the end: Qt makes none for a label that grows by a line."""


class TeachTab(QWidget):
    """Draw, paint, correct; suggestions; *Export for training*, *Fine-tune*.

    Parameters
    ----------
    state
        The viewer and what lies in it.
    """

    taught = Signal(str)
    """A new bundle lies in this folder."""

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self.state, self.layers = state, AnnotationLayers(state)
        self.tools = Tools(self.layers)
        self.worker: Any = None
        self._of: tuple[str, Path | None] = ("", None)
        self._taught: dict[str, Taught] = {}
        self._others = ""
        self._make_fields()
        self._lay_out()
        self._connect()
        self.refresh()

    def _make_fields(self) -> None:
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.classes = QComboBox()
        self.classes.setEditable(True)
        self.hands: dict[Tool, QPushButton] = {}
        self.group = QButtonGroup(self)
        for tool in Tool:
            button = QPushButton(str(tool))
            button.setCheckable(True)
            named(button, str(tool), HANDS[tool])
            self.group.addButton(button)
            self.hands[tool] = button
        self.hands[Tool.LOOK].setChecked(True)
        self.undo = QPushButton("Undo correction")
        self.suggest = QPushButton("What to annotate next")
        self.suggestions = QListWidget()
        self.suggestions.setFixedHeight(LIST_HEIGHT)
        self.export = QPushButton("Export for training…")
        self.tune = QPushButton("Fine-tune the head")
        self.status = QLabel()
        self.again = QPushButton("Run the new model and compare")
        self.compared, self.changes = QLabel(), ChangesBox(self.state)
        for control, name, tip in (
            (self.classes, "Class", "Of what is drawn, painted or corrected; type a new one."),
            (self.undo, "Undo correction", "Take the last correction back."),
            (self.suggest, "What to annotate next", "List the tiles that teach most."),
            (self.suggestions, "Tiles to annotate", "A click flies to the tile."),
            (self.export, "Export for training", "Write areas and labelled tiles to a folder."),
            (self.tune, "Fine-tune the head", "Make a new model of what was said here."),
            (self.again, "Run the new model", "Classify the slide anew and compare the results."),
        ):
            named(control, name, tip)
        for label in (self.status, self.compared):
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.RichText)
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            label.setMinimumHeight(STATUS_HEIGHT)

    def _lay_out(self) -> None:
        form = form_layout()
        form.addRow("Class", self.classes)
        hands = QGridLayout()
        for number, button in enumerate(self.hands.values()):
            hands.addWidget(button, number // 2, number % 2)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addLayout(hands)
        for field in (
            self.undo,
            self.about,
            self.suggest,
            self.suggestions,
            self.tune,
            self.export,
            self.status,
            self.again,
            self.compared,
            self.changes,
        ):
            whole.addWidget(field)
        whole.addStretch(1)

    def _connect(self) -> None:
        for tool, button in self.hands.items():
            button.clicked.connect(lambda _checked=False, tool=tool: self.take(tool))
        self.tools.changed.connect(self._show_tool)
        self.classes.currentTextChanged.connect(self._class_changed)
        self.layers.changed.connect(self._show_counts)
        self.undo.clicked.connect(lambda: self._tried(self.layers.undo))
        self.suggest.clicked.connect(lambda: self._tried(self._suggest))
        self.suggestions.itemClicked.connect(
            lambda item: self.state.fly_to(item.data(Qt.ItemDataRole.UserRole))
        )
        self.export.clicked.connect(self._ask_export)
        self.tune.clicked.connect(self.fine_tune)
        self.again.clicked.connect(self._run_again)
        self.state.run_changed.connect(self.refresh)
        self.state.tile_selected.connect(self._clicked)

    def _tried(self, action: Any) -> None:  # noqa: ANN401  (what the buttons do)
        """Do what a button says; what goes wrong is said."""
        try:
            action()
        except SlidecamError as error:
            report_error(str(error))
        self.refresh()

    def _tried_quietly(self, action: Any) -> None:  # noqa: ANN401  (as above)
        """Do what nobody chose to do now; where it goes wrong it is said beside the counts."""
        try:
            action()
        except SlidecamError as error:
            self.about.setText(str(error))

    def refresh(self) -> None:
        """Show what was said of the run so far."""
        run = self.state.run
        self._belong_to(run)
        self.suggestions.setFont(self.about.font())
        ready = run is not None and self.worker is None
        for button in (*self.hands.values(), self.undo, self.suggest, self.export, self.tune):
            button.setEnabled(ready)
        self.again.setVisible(self.taught_here is not None)
        if run is None:
            self.about.setText(self.state.empty_text)
            return
        names, chosen = list(self.layers.classes), self.classes.currentText()
        if names != [self.classes.itemText(index) for index in range(self.classes.count())]:
            self.classes.blockSignals(True)  # noqa: FBT003  (Qt's own)
            self.classes.clear()
            self.classes.addItems(names)
            self.classes.setCurrentText(names[0])
            self.classes.setCurrentIndex(max(0, self.classes.findText(chosen)))
            self.classes.blockSignals(False)  # noqa: FBT003
        try:
            self._compare()
            self._find_others()
            self._show_counts()
        except SlidecamError as error:
            self.about.setText(str(error))

    def _belong_to(self, run: ShownRun | None) -> None:
        """Leave nothing standing that was of another slide or another run."""
        if self.state.shown == self._of:
            return
        if self.state.chosen == self._of[0]:
            self.changes.take_layers_away()
        self._of = self.state.shown
        self.suggestions.clear()
        self.compared.setText("")
        self.changes.clear()
        if self.worker is None:
            self.status.setText("")
        if run is not None:
            self._tried_quietly(self.layers.show_corrections)

    @property
    def taught_here(self) -> Taught | None:
        """What was taught on the slide that is chosen."""
        return self._taught.get(self.state.chosen)

    def _show_counts(self) -> None:
        if self.state.run is not None:
            said = labels_in_words(self.layers.annotations(), self.layers.corrections)
            self.about.setText(said + self._others)

    def _find_others(self) -> None:
        """Look at what was said of other open slides: not at every stroke on this one."""
        others, left_out = self.layers.others()
        names = [run.folder.name for run, _drawn in others]
        self._others = others_in_words(names, left_out)

    def take(self, tool: Tool) -> None:
        """Take a tool in hand; what keeps it from being taken is said."""
        self._tried(lambda: self.tools.take(tool, self.classes.currentText()))
        self._show_tool(self.tools.in_hand)

    def _show_tool(self, tool: Tool) -> None:
        self.hands[tool].setChecked(True)

    def _class_changed(self, name: str) -> None:
        if self.state.run is not None:
            self.layers.turn_to(name)

    def _clicked(self, row: int) -> None:
        if self.tools.in_hand is Tool.CORRECT and self.state.run is not None:
            self._tried(lambda: self.layers.correct(row, self.classes.currentText()))

    def _suggest(self) -> None:
        said = set(self.layers.corrections.labels)
        self.suggestions.clear()
        for each in teaching.suggest(self.layers.run.stored, SUGGESTED, exclude=said):
            item = QListWidgetItem(
                f"tile {each.row}: {' or '.join(each.classes)}? (uncertainty"
                f" {each.uncertainty:.2f})"
            )
            item.setData(Qt.ItemDataRole.UserRole, each.row)
            self.suggestions.addItem(item)

    def _ask_export(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Empty folder for the training set")
        if folder:
            self.export_to(Path(folder))

    def export_to(self, folder: Path) -> None:
        """Write annotations and labelled tiles into a folder."""
        self._work(
            lambda: teaching.export_training(
                self.layers.run.stored, folder, self.layers.annotations()
            ),
            self._exported,
        )

    def _exported(self, _result: object) -> None:
        self.status.setText("")
        inform(
            "The training set is written: annotations.geojson, and a folder of tiles for each"
            " class."
        )

    def fine_tune(self) -> None:
        """Teach the head what was said of this slide; the new bundle lies beside the run."""

        def work() -> Generator[Step, None, FineTuned]:
            run, areas, colors = self.layers.run, self.layers.annotations(), self.layers.classes
            others, _left_out = self.layers.others()
            out = fresh_folder(run.folder.parent)
            # A name of its own, so that its runs lie beside those of the model it came from.
            name = f"{run.stored.model}, {out.name}"

            def tune() -> Generator[Step, None, FineTuned]:
                spec = teaching.FineTuneSpec(name=name, colors=colors)
                more = [teaching.TaughtRun(one.stored, drawn) for one, drawn in others]
                return teaching.fine_tune(run.stored, out, areas, spec=spec, others=more)

            return _begun_there(tune)

        run = self.state.run
        if run is not None:
            self._work(work, partial(self._tuned, run))

    def _work(self, make: Any, on_result: Any) -> None:  # noqa: ANN401  (generators and slots)
        if self.worker is not None:
            return
        try:
            steps = make()
        except SlidecamError as error:
            report_error(str(error))
            return
        self.status.setText("Beginning …")
        self.worker = in_background(
            now_and_then(steps), self._progressed, on_result, self._over, self._failed
        )
        self.refresh()

    def _progressed(self, step: Step) -> None:
        self.status.setText(step_in_words(step))

    def _tuned(self, before: ShownRun, tuned: FineTuned) -> None:
        self._taught[before.fingerprint] = Taught(before.stored, tuned)
        if before.fingerprint != self.state.chosen:
            inform(f"The new model of {before.folder.name} is ready.")
            self.status.setText("")
            return
        self.compared.setText("")
        self.status.setText(tuned_in_words(tuned, before.stored.notes))

    def _failed(self, error: Exception) -> None:
        self.status.setText(escape(in_viewer_words(str(error))))

    def _over(self) -> None:
        self.worker = None
        self.refresh()

    def _run_again(self) -> None:
        taught = self.taught_here
        if taught is not None:
            self.taught.emit(str(taught.tuned.bundle.path))

    def _compare(self) -> None:
        """Tell what the new model sees otherwise, once its run is over."""
        run, taught = self.state.run, self.taught_here
        if run is None or taught is None or not run.is_finished:
            return
        if run.stored.bundle_digest == taught.tuned.bundle.digest:
            # What was said of these tiles is as true of them as before, and the next tuning builds
            # on it.
            self.layers.carry(taught.before)
            self.status.setText(tuned_in_words(taught.tuned, taught.before.notes))
            self._show_comparison(taught, run)

    def _show_comparison(self, taught: Taught, run: ShownRun) -> None:
        comparison = compare_runs(taught.before, run.stored)
        self.compared.setText(comparison_table(comparison, taught.tuned.labelled))
        self.changes.show_changes(comparison, read_shown(taught.before.folder))


@dataclass(frozen=True, eq=False)
class Taught:
    """A model that was taught on a slide, and the run that it was taught from."""

    before: Run
    tuned: FineTuned


def _begun_there(
    make: Callable[[], Generator[Step, None, Any]],
) -> Generator[Step, None, Any]:
    """Make a generator where it runs: its first word imports torch, for which no window waits."""
    return (yield from make())


def fresh_folder(beside: Path) -> Path:
    """Return a folder for a new bundle that is not there yet."""
    number = 1
    while (beside / f"taught-{number}").exists():
        number += 1
    return beside / f"taught-{number}"
