"""The tab that reads a result: legend, threshold, opacity, suspicious tiles, explanations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QPushButton,
    QSlider,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from slidecam.errors import SlidecamError
from slidecam.explain.catalogue import title_of
from slidecam.plugin.cards import class_rows, classes_left, tile_card
from slidecam.plugin.class_picker import ClassPicker
from slidecam.plugin.close_up_box import CloseUpBox
from slidecam.plugin.colour_bar import ColourBar, scale_shown
from slidecam.plugin.controls import form_layout, named
from slidecam.plugin.overlays import CLASS, HEAT, PROBABILITY
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.tasks import report_error
from slidecam.runs.legend import SHARE_MEANS

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.viewer_state import ViewerState

PERCENT = 100
HALF = 50
"""Per cent that the legend counts from where no threshold is set."""
SUSPICIOUS = (
    "tumour",
    "tumor",
    "cancer",
    "carcinoma",
    "malignan",
    "metasta",
    "lesion",
    "idc",
)
"""What a class is called that one looks for; else the last is suggested, and the user chooses."""

MOST_ROWS, MOST_LISTED = 8, 50
"""Classes that the legend shows without scrolling, and with."""

CLASS_SHOWN = (
    "Whose probability or heat is shown, and whose likeliest tiles N and P go through. Type a part"
    " of its name."
)
VOLUME_SHOWN = (
    "A volume's result is shown: heat on its voxels, and its slices below. The slice that is seen"
    " can be explained; all else here is for slides."
)
HINT = "Point at a tile. A click selects it."


class ReadTab(QWidget):
    """Legend, sliders, N and P, the card of a tile, *Explain this tile*.

    Parameters
    ----------
    state
        The viewer and what lies in it.
    """

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self.state, self.close_up = state, CloseUpBox(state)
        self._place = -1
        self._shown: tuple[int, object] = (NO_TILE, None)
        self._of: tuple[str, Path | None] = ("", None)
        self._make_fields()
        self._name_controls()
        self._lay_out()
        self._connect()
        self.refresh()

    def _make_fields(self) -> None:
        self.about = QLabel()
        self.legend = QTableWidget(0, 4)
        self.legend.verticalHeader().setVisible(False)
        header = self.legend.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.legend.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.legend.setSelectionMode(QTableWidget.SelectionMode.NoSelection)
        self.left, self.bar = QLabel(), ColourBar()
        self.layer = QComboBox()
        self.threshold, self.opacity = (QSlider(Qt.Orientation.Horizontal) for _ in range(2))
        self.threshold.setRange(0, PERCENT)
        self.opacity.setRange(0, PERCENT)
        self.opacity.setValue(60)
        self.threshold_label = QLabel("0 %")
        self.suspect = ClassPicker()
        self.previous, self.next = (
            QPushButton("◀ Previous"),
            QPushButton("Next ▶"),
        )
        self.ranked = QLabel()
        self.card = QLabel(HINT)
        self.card.setTextFormat(Qt.TextFormat.RichText)
        self.card.setWordWrap(True)
        self.card.setMinimumHeight(110)
        self.card.setAlignment(Qt.AlignmentFlag.AlignTop)
        for label in (self.about, self.left, self.ranked):
            label.setWordWrap(True)

    def _name_controls(self) -> None:
        for control, name, tip in (
            (self.legend, "Classes of the result", SHARE_MEANS),
            (self.layer, "Show", "What lies on the slide: one overlay at a time."),
            (self.suspect, "Class", CLASS_SHOWN),
            (self.threshold, "Threshold", "Tiles whose probability is lower are not shown."),
            (self.opacity, "Opacity", "How much the overlay covers the slide."),
            (self.previous, "Previous tile", "Of those likeliest of the class (key P)."),
            (self.next, "Next tile", "Of those likeliest of the class (key N)."),
        ):
            named(control, name, tip)

    def _lay_out(self) -> None:
        form = form_layout()
        cut = QHBoxLayout()
        cut.addWidget(self.threshold, 1)
        cut.addWidget(self.threshold_label)
        for title, field in (
            ("Show", self.layer),
            ("Class", self.suspect),
            ("Threshold", cut),
            ("Opacity", self.opacity),
        ):
            form.addRow(title, field)
        steps = QHBoxLayout()
        steps.addWidget(self.previous)
        steps.addWidget(self.next)
        whole = QVBoxLayout(self)
        whole.addWidget(self.about)
        whole.addWidget(self.legend)
        whole.addWidget(self.left)
        whole.addLayout(form)
        whole.addWidget(self.bar)
        whole.addLayout(steps)
        for field in (self.ranked, self.card, self.close_up):
            whole.addWidget(field)
        whole.addStretch(1)

    def _connect(self) -> None:
        self.layer.currentIndexChanged.connect(self._show_layer)
        self.threshold.valueChanged.connect(self._set_threshold)
        self.opacity.valueChanged.connect(lambda value: self.state.set_opacity(value / PERCENT))
        self.suspect.currentIndexChanged.connect(self._class_chosen)
        self.next.clicked.connect(lambda: self.step(1))
        self.previous.clicked.connect(lambda: self.step(-1))
        self.state.run_changed.connect(self.refresh)
        self.state.tile_selected.connect(self.show_tile)

    def refresh(self) -> None:
        """Show the run that is shown now."""
        run = self.state.run
        names: tuple[str, ...] = ()
        if run is None:
            self.about.setText(self._empty)
        else:
            self.about.setText(_about(run))
            names = run.table.class_names
        self._fill_legend(run)
        self.show_scale()
        if self.state.shown != self._of:
            # Nothing is left standing that was said of another slide, or by another model.
            self._of = self.state.shown
            self._start_over()
            self.hover(NO_TILE)
            self._fill_overlays(run)
        if names != self.suspect.names:
            wanted = [name for name in names if any(word in name.lower() for word in SUSPICIOUS)]
            self.suspect.fill(names, next(iter([*wanted, *names[-1:]]), ""))

    @property
    def _empty(self) -> str:
        if self.state.volume is None:
            return self.state.empty_text
        return VOLUME_SHOWN

    def _fill_legend(self, run: ShownRun | None) -> None:
        least = self.threshold.value() or HALF
        rows = [] if run is None else class_rows(run, least / PERCENT, MOST_LISTED)
        self.legend.setHorizontalHeaderLabels(["class", "tissue", "tiles", f"≥ {least} %"])
        self.legend.setRowCount(len(rows))
        # napari sizes the writing of labels and buttons, and not that of tables.
        for table in (self.legend, self.legend.horizontalHeader()):
            table.setFont(self.about.font())
        self.left.setText("" if run is None else classes_left(run, len(rows)))
        self.left.setVisible(bool(self.left.text()))
        for number, (name, color, figures) in enumerate(rows):
            named = QTableWidgetItem(name)
            named.setToolTip(name)
            named.setData(Qt.ItemDataRole.DecorationRole, QColor(*color))
            self.legend.setItem(number, 0, named)
            for column, words in enumerate(figures, 1):
                item = QTableWidgetItem(words)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.legend.setItem(number, column, item)
        self.legend.resizeRowsToContents()
        rows_high = sum(
            self.legend.rowHeight(number) for number in range(min(len(rows), MOST_ROWS))
        )
        self.legend.setFixedHeight(
            self.legend.horizontalHeader().sizeHint().height() + max(rows_high, 30) + 6
        )

    def _fill_overlays(self, run: ShownRun | None) -> None:
        """Offer what can be shown of a run: classes, a class's probability, or its heat."""
        chosen = self.layer.currentText()
        self.layer.blockSignals(True)  # noqa: FBT003  (Qt's own)
        self.layer.clear()
        if run is not None:
            self.layer.addItem("class of each tile", (CLASS, ""))
            self.layer.addItem("probability", (PROBABILITY, ""))
            for method in run.methods:
                self.layer.addItem(f"heat: {title_of(method)}", (HEAT, method))
            self.layer.setCurrentIndex(max(0, self.layer.findText(chosen)))
        self.layer.blockSignals(False)  # noqa: FBT003

    def show_scale(self) -> None:
        """Show what the colours mean that are seen now."""
        self.bar.show_scale(scale_shown(self.state))

    def _show_layer(self, _index: int) -> None:
        chosen = self.layer.currentData()
        if chosen is None or self.state.run is None:
            return
        kind, method = chosen
        try:
            self.state.show_class(kind, self.suspect.chosen, method)
        except SlidecamError as error:
            report_error(str(error))

    def _class_chosen(self, _index: int) -> None:
        self._start_over()
        chosen = self.layer.currentData()
        if chosen is not None and chosen[0] != CLASS:
            self._show_layer(0)

    def _set_threshold(self, value: int) -> None:
        self.threshold_label.setText(f"{value} %")
        self.state.set_threshold(value / PERCENT)
        self._fill_legend(self.state.run)
        self.show_scale()

    def _start_over(self, _text: str = "") -> None:
        self._place = -1
        self.ranked.setText("")

    def step(self, by: int) -> None:
        """Fly to the next most suspicious tile, or to the one before."""
        name = self.suspect.chosen
        run, order = self.state.run, self.state.suspicious(name)
        if run is None or not len(order):
            return
        self._place = min(max(self._place + by, 0), len(order) - 1)
        row = int(order[self._place])
        self.state.fly_to(row)
        chosen = run.table.probabilities[row, run.table.class_names.index(name)]
        self.ranked.setText(f"{self._place + 1} of {len(order)} for {name}: {100 * chosen:.1f} %")

    def hover(self, row: int) -> None:
        """Tell of the tile under the cursor; of the selected one where there is none."""
        shown, run = row, self.state.run
        if row == NO_TILE:
            shown = self.state.selected
        of = (self.state.chosen, id(run))
        if (shown, of) == self._shown:
            return
        self._shown = shown, of
        if run is None or shown == NO_TILE:
            self.card.setText(HINT)
        else:
            self.card.setText(tile_card(run, shown))

    def show_tile(self, row: int) -> None:
        """Tell of the tile that was selected."""
        self.hover(row)


def _about(run: ShownRun) -> str:
    name = run.stored.model
    done = int(run.table.done.sum())
    words = f"<b>{run.folder.name}</b> by {name}"
    if run.is_finished:
        return words
    return f"{words} (unfinished: {done:,} of {len(run.table):,} tiles)"
