"""The tab that runs a classifier: what, where, how; run, pause, cancel."""

from __future__ import annotations

import re
import time
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from slidecam.errors import SlidecamError, UsageError
from slidecam.explain.catalogue import slide_methods
from slidecam.geometry import COARSEST
from slidecam.inference import DEFAULT_METHOD, NO_METHOD
from slidecam.models import open_bundle
from slidecam.options import option_of
from slidecam.plugin.cards import bundle_card
from slidecam.plugin.job import (
    Began,
    Ended,
    Heat,
    NewTiles,
    RunJob,
    RunOrder,
    Said,
    Writing,
    quoted,
)
from slidecam.plugin.notices import by_hand, complain, tell, warn
from slidecam.plugin.rate import duration
from slidecam.plugin.region import Region
from slidecam.plugin.tasks import in_background
from slidecam.runs.spec import PredictSpec
from slidecam.sources.discovery import sample_folders

if TYPE_CHECKING:
    from slidecam.models import Card
    from slidecam.plugin.job import Update
    from slidecam.plugin.slide import SlideFacts
    from slidecam.plugin.viewer_state import Desk

TISSUE, VIEW, SHAPES = "Whole tissue", "Tissue in the current view", "Selected shapes"
RESULTS = "slidecam-results"
MOST_OVERLAP = 0.75
STATUS_HEIGHT = 54
REST_MS = 50
"""Milliseconds between a drawing and the next tiles, at least."""

REST_SHARE = 12
"""The window rests so many times as long as drawing took."""


class ClassifyTab(QWidget):
    """Bundle, region, method, overlap, device; *Run*, *Pause*, *Cancel*.

    Parameters
    ----------
    desk
        The viewer and what lies in it.
    """

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self.job: RunJob | None = None
        self.worker: Any = None
        self.card: Card | None = None
        self.facts: SlideFacts | None = None
        self._make_fields()
        self._lay_out()
        self._connect()
        self.refresh()

    def _make_fields(self) -> None:
        self.slide = QLabel()
        self.slide.setWordWrap(True)
        self.bundle = QComboBox()
        self.bundle.setEditable(True)
        self.bundle.lineEdit().setPlaceholderText("folder of a model bundle")
        self.bundle.addItems([str(folder / "bundle") for folder in sample_folders()])
        self.bundle.setCurrentIndex(-1)
        self.browse = QPushButton("…")
        self.browse.setMaximumWidth(32)
        self.about = QLabel("Choose a model bundle.")
        self.about.setWordWrap(True)
        self.about.setTextFormat(Qt.TextFormat.RichText)
        self.mpp = _spin(COARSEST, 0.05)
        self.mpp.setDecimals(4)
        self.mpp.setSpecialValueText("as the file says")
        self.region = QComboBox()
        self.region.addItems([TISSUE, VIEW, SHAPES])
        self.method = QComboBox()
        for name, method in slide_methods().items():
            self.method.addItem(method.title, name)
        self.method.addItem("none", NO_METHOD)
        self.method.setCurrentIndex(self.method.findData(DEFAULT_METHOD))
        self.overlap = _spin(MOST_OVERLAP, 0.25)
        self.device = QComboBox()
        self.device.addItems(["auto", "cpu", "cuda"])
        self.out = QLineEdit()
        self._name_results()
        self.anew = QCheckBox("begin anew where a run lies already")
        self.options: dict[str, QWidget] = {
            "heatmap": self.method,
            "mpp": self.mpp,
            "overlap": self.overlap,
            "device": self.device,
            "existing": self.anew,
        }
        for name, widget in self.options.items():
            widget.setToolTip(option_of(name).shown.help)
        self.run = QPushButton("Run")
        self.hold = QPushButton("Pause")
        self.cancel = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress.setFormat("%v / %m tiles")
        self.progress.reset()
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Room for what is told at the end: Qt makes none for a label that grows by a line.
        self.status.setMinimumHeight(STATUS_HEIGHT)
        self.command = QLabel()
        self.command.setWordWrap(True)
        self.command.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        chosen = QHBoxLayout()
        chosen.addWidget(self.bundle, 1)
        chosen.addWidget(self.browse)
        for title, field in (
            ("Slide", self.slide),
            ("µm/px", self.mpp),
            ("Model", chosen),
            ("Region", self.region),
            ("Heatmap", self.method),
            ("Overlap", self.overlap),
            ("Device", self.device),
            ("Results", self.out),
        ):
            form.addRow(title, field)
        buttons = QHBoxLayout()
        for button in (self.run, self.hold, self.cancel):
            buttons.addWidget(button)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addWidget(self.about)
        whole.addWidget(self.anew)
        whole.addLayout(buttons)
        whole.addWidget(self.progress)
        whole.addWidget(self.status)
        whole.addWidget(self.command)
        whole.addStretch(1)

    def _connect(self) -> None:
        self.bundle.currentTextChanged.connect(self._bundle_changed)
        self.browse.clicked.connect(self._browse)
        self.run.clicked.connect(self.start)
        self.hold.clicked.connect(self.pause)
        self.cancel.clicked.connect(self.stop)
        self.out.editingFinished.connect(self._name_results)
        self.out.editingFinished.connect(self.refresh)
        self.mpp.valueChanged.connect(self._tell_command)
        self.overlap.valueChanged.connect(self._tell_command)
        self.method.currentIndexChanged.connect(self._tell_command)
        self.device.currentIndexChanged.connect(self._tell_command)
        self.anew.toggled.connect(self._tell_command)
        self.region.currentIndexChanged.connect(self._tell_command)

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of a model bundle")
        if folder:
            self.bundle.setCurrentText(folder)

    def _name_results(self) -> None:
        """Fill in where results go, where nobody says it.

        An empty path would be wherever napari was started.
        """
        if not self.out.text().strip():
            self.out.setText(str(Path.home() / RESULTS))

    def _bundle_changed(self, text: str) -> None:
        self.card = None
        if text and Path(text).is_dir():
            try:
                self.card = open_bundle(Path(text)).card
                self.about.setText(bundle_card(self.card))
            except (SlidecamError, OSError) as error:
                self.about.setText(f"<b>Not usable:</b> {escape(str(error))}")
        else:
            self.about.setText(
                f"There is no folder {escape(text)}." if text else "Choose a model bundle."
            )
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is open and chosen; show a run of it that lies there already."""
        facts = self.desk.slide()
        self.refresh_buttons()
        if self.job is not None or facts is None or self.card is None:
            return
        self._tell_command()
        run = self.desk.recognise(self.out_folder())
        # Nothing is left standing that was said of another slide or model.
        self.status.setText("" if run is None else run.in_words)

    def _tell_command(self, _changed: object = None) -> None:
        facts = self.desk.slide()
        if facts is None or self.card is None or self.region.currentText() != TISSUE:
            # A region's mask is written when it is run; until then there is no command that means
            # the same.
            self.command.setText("")
            return
        command = escape(quoted(self.order().command))
        self.command.setText(f"<small>On the command line: <code>{command}</code></small>")

    def out_folder(self, region: Region | None = None) -> Path:
        """Return the folder of this bundle's runs, and within it those of a region."""
        name = (
            re.sub(r"[^\w.-]+", "-", self.card.name if self.card else "").strip("-").lower()
            or "model"
        )
        folder = Path(self.out.text()).expanduser() / name
        return folder if region is None else folder / region.name

    def spec(self) -> PredictSpec:
        """Return what is chosen, as the pipeline takes it."""
        return PredictSpec(
            heatmap=self.method.currentData(),
            mpp=self.mpp.value() or None,
            overlap=self.overlap.value(),
            device=self.device.currentText(),
            existing="overwrite" if self.anew.isChecked() else "resume",
        )

    def order(self) -> RunOrder:
        """Return what *Run* would run.

        Raises
        ------
        UsageError
            If no slide is open, or the region cannot be had.
        """
        facts = self.desk.slide()
        if facts is None:
            raise UsageError("no slide is open.", "Open one first: drag it into the window.")
        region = None
        if self.region.currentText() == VIEW:
            region = Region(view=self.desk.view())
        elif self.region.currentText() == SHAPES:
            region = Region(rings=self.desk.drawn())
        return RunOrder(
            facts.path,
            Path(self.bundle.currentText()),
            self.out_folder(region),
            self.spec(),
            region,
        )

    def start(self) -> None:
        """Run what is chosen."""
        if self.job is not None:
            complain("A run is going on. Wait until it is done, or cancel it.")
            return
        try:
            order = self.order()
        except SlidecamError as error:
            complain(str(error))
            self.status.setText(by_hand(str(error)))
            return
        self.job = RunJob(order, awaits=True)
        self.progress.reset()
        self.status.setText("Loading the classifier and finding tissue …")
        self.worker = in_background(
            self.job.updates(), self.take, lambda _result: None, self._over, self._failed
        )
        self.refresh()

    def take(self, update: Update) -> None:
        """Show one update of a run."""
        if isinstance(update, Began):
            # Before the overlays are laid, so that the run goes on whatever becomes of them; Qt
            # comes to it after.
            QTimer.singleShot(0, self._shown)
            self.desk.began(update)
            self.progress.setMaximum(max(1, len(update.run.table)))
        elif isinstance(update, NewTiles):
            self.desk.tiles(update)
            self.progress.setMaximum(max(1, update.total))
            self.progress.setValue(update.done)
            left = duration(update.seconds_left)
            self.status.setText(f"{update.per_second:.0f} tiles/s, {left} left")
            # Qt comes to this after it has drawn.
            QTimer.singleShot(0, partial(self._drawn, time.perf_counter()))
        elif isinstance(update, Heat):
            self.desk.heat(update)
        elif isinstance(update, Writing):
            self.status.setText("All tiles are classified. Painting heatmaps and writing files …")
            self.hold.setEnabled(False)
            self.cancel.setEnabled(False)
        elif isinstance(update, Said):
            warn(update.message)
        else:
            self._ended(update)

    def _drawn(self, begun: float) -> None:
        """Let the window rest in proportion to what drawing took.

        Without a graphics card it would stand still.
        """
        took_ms = 1000 * (time.perf_counter() - begun)
        QTimer.singleShot(round(max(REST_MS, REST_SHARE * took_ms)), self._shown)

    def _shown(self) -> None:
        if self.job is not None:
            self.job.shown()

    def _ended(self, ended: Ended) -> None:
        self.desk.ended(ended)
        if ended.volume is not None:
            self.status.setText("Stopped." if ended.stopped else f"Done: {ended.volume}")
        elif ended.run is None and ended.stopped:
            self.status.setText("Stopped before the first tile.")
        elif ended.run is None:
            complain(ended.problem)
            self.status.setText(by_hand(ended.problem))
        elif ended.stopped:
            self.status.setText(
                f"Stopped at {int(ended.run.table.done.sum())} of {len(ended.run.table)} tiles."
            )
        else:
            self.progress.setMaximum(max(1, len(ended.run.table)))
            self.progress.setValue(len(ended.run.table))
            self.status.setText(f"Done: {ended.run.folder}")
            if ended.problem:
                tell(ended.problem)

    def _failed(self, error: Exception) -> None:
        self.progress.reset()
        self.status.setText(by_hand(str(error)))

    def _over(self) -> None:
        self.job, self.worker = None, None
        self.hold.setText("Pause")
        self.refresh_buttons()

    def refresh_buttons(self) -> None:
        """Name the slide, and set which buttons can be pressed."""
        facts, busy = self.desk.slide(), self.job is not None
        self.facts = facts
        self.slide.setText("none is open" if facts is None else facts.in_words)
        self.mpp.setEnabled(not busy)
        self.run.setEnabled(not busy and self.card is not None and facts is not None)
        self.hold.setEnabled(busy)
        self.cancel.setEnabled(busy)

    def pause(self) -> None:
        """Pause a run, or let it go on."""
        if self.job is None:
            return
        if self.job.is_held:
            self.job.go_on()
        else:
            self.job.hold()
            self.status.setText("Paused.")
        self.hold.setText("Go on" if self.job.is_held else "Pause")

    def stop(self) -> None:
        """Stop a run; what is done stays, and *Run* goes on with it."""
        if self.job is not None:
            self.status.setText("Stopping …")
        self.halt()

    def halt(self) -> None:
        """Stop a run without a word."""
        if self.job is not None:
            self.job.stop()


def _spin(most: float, step: float) -> QDoubleSpinBox:
    spin = QDoubleSpinBox()
    spin.setRange(0, most)
    spin.setSingleStep(step)
    return spin
