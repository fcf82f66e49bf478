"""The tab that runs a classifier: what, where, how; run, pause, cancel."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
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
from slidecam.models import open_bundle
from slidecam.plugin.cards import bundle_card
from slidecam.plugin.job import (
    Began,
    Ended,
    Heat,
    NewTiles,
    RunJob,
    Said,
    Silent,
    Writing,
    duration,
)
from slidecam.plugin.option_fields import option_fields
from slidecam.plugin.run_request import RunRequest, drawn_region, quoted, region_in_view
from slidecam.plugin.tasks import in_background, in_viewer_words, inform, report_error, warn
from slidecam.runs.spec import PredictSpec
from slidecam.sources.discovery import sample_folders

if TYPE_CHECKING:
    from slidecam.models import Card
    from slidecam.plugin.job import Update
    from slidecam.plugin.run_request import Region
    from slidecam.plugin.slide import SlideFacts
    from slidecam.plugin.viewer_state import ViewerState

TISSUE, VIEW, SHAPES = "Whole tissue", "Tissue in the current view", "Selected shapes"
RESULTS = "slidecam-results"
STATUS_HEIGHT = 54
REST_MS = 50
"""Milliseconds between a drawing and the next tiles, at least."""

REST_SHARE = 12
"""The window rests so many times as long as drawing took."""


class ClassifyTab(QWidget):
    """Bundle, region, method, overlap, device; *Run*, *Pause*, *Cancel*.

    Parameters
    ----------
    state
        The viewer and what lies in it.
    """

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self.state = state
        self.job: RunJob | None = None
        self.worker: Any = None
        self.card: Card | None = None
        self.facts: SlideFacts | None = None
        self._make_fields()
        self._make_controls()
        self._lay_out()
        self._connect()
        self.refresh()

    def _make_fields(self) -> None:
        self.slide = _label()
        self.picture = QComboBox()
        self.picture.setToolTip("Which of the file's pictures is shown and classified.")
        self.bundle = QComboBox()
        self.bundle.setEditable(True)
        self.bundle.lineEdit().setPlaceholderText("folder of a model bundle")
        self.bundle.addItems([str(folder / "bundle") for folder in sample_folders()])
        self.bundle.setCurrentIndex(-1)
        self.browse = QPushButton("…")
        self.browse.setMaximumWidth(32)
        self.about = _label("Choose a model bundle.")
        self.about.setTextFormat(Qt.TextFormat.RichText)
        self.region = QComboBox()
        self.region.addItems([TISSUE, VIEW, SHAPES])
        self.options = option_fields()
        self.out = QLineEdit()
        self._name_results()

    def _make_controls(self) -> None:
        self.run = QPushButton("Run")
        self.hold = QPushButton("Pause")
        self.cancel = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress.setFormat("%v / %m tiles")
        self.progress.reset()
        self.status = _label()
        self.status.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Room for what is said at the end: Qt makes none for a label that grows by a line.
        self.status.setMinimumHeight(STATUS_HEIGHT)
        self.command = _label()
        self.command.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        chosen = QHBoxLayout()
        chosen.addWidget(self.bundle, 1)
        chosen.addWidget(self.browse)
        titled = {name: field for name, field in self.options.items() if field.title}
        untitled = [field for field in self.options.values() if not field.title]
        form.addRow("Slide", self.slide)
        form.addRow("Picture", self.picture)
        self.form = form
        # The slide's own, so it stands beside it; the others follow in the options' order.
        spacing = titled.pop("mpp")
        form.addRow(spacing.title, spacing.widget)
        form.addRow("Model", chosen)
        form.addRow("Region", self.region)
        for field in titled.values():
            form.addRow(field.title, field.widget)
        form.addRow("Results", self.out)
        buttons = QHBoxLayout()
        for button in (self.run, self.hold, self.cancel):
            buttons.addWidget(button)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addWidget(self.about)
        for field in untitled:
            whole.addWidget(field.widget)
        whole.addLayout(buttons)
        whole.addWidget(self.progress)
        whole.addWidget(self.status)
        whole.addWidget(self.command)
        whole.addStretch(1)

    def _connect(self) -> None:
        self.bundle.currentTextChanged.connect(self._bundle_changed)
        self.browse.clicked.connect(self._browse)
        self.run.clicked.connect(self.start)
        self.picture.activated.connect(self._show_picture)
        self.hold.clicked.connect(self.pause)
        self.cancel.clicked.connect(self.stop)
        self.out.editingFinished.connect(self._name_results)
        self.out.editingFinished.connect(self.refresh)
        self.region.currentIndexChanged.connect(self._show_command)
        for field in self.options.values():
            field.changed.connect(self._show_command)

    def _show_picture(self, place: int) -> None:
        if self.facts is None:
            return
        try:
            self.state.show_image(self.facts, self.facts.images[place])
        except SlidecamError as error:
            report_error(str(error))
        self.refresh()

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
        if not text:
            self.about.setText("Choose a model bundle.")
        elif not Path(text).is_dir():
            self.about.setText(f"There is no folder {escape(text)}.")
        else:
            self._open_bundle(Path(text))
        self.refresh()

    def _open_bundle(self, folder: Path) -> None:
        try:
            self.card = open_bundle(folder).card
            self.about.setText(bundle_card(self.card))
        except (SlidecamError, OSError) as error:
            self.about.setText(f"<b>Not usable:</b> {escape(str(error))}")

    def refresh(self) -> None:
        """Look again at what is open and chosen; show a run of it that lies there already."""
        facts = self.state.slide()
        self.refresh_buttons()
        if self.job is not None or facts is None or self.card is None:
            return
        self._show_command()
        run = self.state.recognise(self.out_folder())
        # Nothing is left standing that was said of another slide or model.
        self.status.setText("" if run is None else run.in_words)

    def _show_command(self, _changed: object = None) -> None:
        facts = self.state.slide()
        if facts is None or self.card is None or self.region.currentText() != TISSUE:
            # A region's mask is written when it is run; until then there is no command that means
            # the same.
            self.command.setText("")
            return
        try:
            command = quoted(self.request().command)
        except UsageError as error:
            self.command.setText(escape(in_viewer_words(str(error))))
            return
        self.command.setText(f"<small>On the command line: <code>{escape(command)}</code></small>")

    def out_folder(self, region: Region | None = None) -> Path:
        """Return the folder of this bundle's runs, and within it those of a region."""
        name = ""
        if self.card is not None:
            name = re.sub(r"[^\w.-]+", "-", self.card.name).strip("-").lower()
        folder = Path(self.out.text()).expanduser() / (name or "model")
        if region is None:
            return folder
        return folder / region.name

    def spec(self) -> PredictSpec:
        """Return what is chosen, as the pipeline takes it; UsageError if that is out of range."""
        return PredictSpec(**{name: field.value() for name, field in self.options.items()})

    def request(self) -> RunRequest:
        """Return what *Run* would run.

        Raises
        ------
        UsageError
            If no slide is open, the region cannot be had, or an option is out of range.
        """
        facts = self.state.slide()
        if facts is None:
            raise UsageError("No slide is open.", "Open one first: drag it into the window.")
        region = None
        if self.region.currentText() == VIEW:
            region = region_in_view(self.state.viewer, facts)
        elif self.region.currentText() == SHAPES:
            region = drawn_region(self.state.viewer, facts.placing)
        return RunRequest(
            facts.path,
            Path(self.bundle.currentText()),
            self.out_folder(region),
            replace(self.spec(), image=facts.seen.image),
            region,
        )

    def start(self) -> None:
        """Run what is chosen."""
        if self.job is not None:
            report_error("A run is going on. Wait until it is done, or cancel it.")
            return
        try:
            request = self.request()
        except SlidecamError as error:
            report_error(str(error))
            self.status.setText(in_viewer_words(str(error)))
            return
        self.job = RunJob(request, awaits=True)
        self.progress.reset()
        self.status.setText("Loading the classifier and finding tissue …")
        self.worker = in_background(
            self.job.updates(), self.take, lambda _result: None, self._over, self._failed
        )
        self.refresh()

    def take(self, update: Update) -> None:
        """Show one update of a run."""
        if isinstance(update, Began):
            # Qt comes to it after this: the run goes on whatever becomes of the overlays.
            QTimer.singleShot(0, self._shown)
            self.state.began(update)
            self.progress.setMaximum(max(1, len(update.run.table)))
        elif isinstance(update, NewTiles):
            self.state.tiles(update)
            self.progress.setMaximum(max(1, update.total))
            self.progress.setValue(update.done)
            left = duration(update.seconds_left)
            self.status.setText(f"{update.per_second:.0f} tiles/s, {left} left")
            # Qt comes to this after it has drawn.
            QTimer.singleShot(0, partial(self._drawn, time.perf_counter()))
        elif isinstance(update, Heat):
            self.state.heat(update)
        elif isinstance(update, Writing):
            self.status.setText("All tiles are classified. Painting heatmaps and writing files …")
            self.hold.setEnabled(False)
            self.cancel.setEnabled(False)
        elif isinstance(update, Said):
            warn(update.message)
        elif isinstance(update, Silent):
            self.status.setText(in_viewer_words(update.message))
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
        self.state.ended(ended)
        if ended.volume is not None:
            self.status.setText("Stopped." if ended.stopped else f"Done: {ended.volume}")
        elif ended.run is None and ended.stopped:
            self.status.setText("Stopped before the first tile.")
        elif ended.run is None:
            report_error(ended.problem)
            self.status.setText(in_viewer_words(ended.problem))
        elif ended.stopped:
            self.status.setText(
                f"Stopped at {int(ended.run.table.done.sum())} of {len(ended.run.table)} tiles."
            )
        else:
            self.progress.setMaximum(max(1, len(ended.run.table)))
            self.progress.setValue(len(ended.run.table))
            self.status.setText(f"Done: {ended.run.folder}")
            if ended.problem:
                inform(ended.problem)

    def _failed(self, error: Exception) -> None:
        self.progress.reset()
        self.status.setText(in_viewer_words(str(error)))

    def _over(self) -> None:
        self.job, self.worker = None, None
        self.hold.setText("Pause")
        self.refresh_buttons()

    def refresh_buttons(self) -> None:
        """Name the slide, and set which buttons can be pressed."""
        facts, busy = self.state.slide(), self.job is not None
        self._offer_pictures(facts)
        self.facts = facts
        self.slide.setText("none is open" if facts is None else facts.in_words)
        self.options["mpp"].widget.setEnabled(not busy)
        self.run.setEnabled(not busy and self.card is not None and facts is not None)
        self.hold.setEnabled(busy)
        self.cancel.setEnabled(busy)

    def _offer_pictures(self, facts: SlideFacts | None) -> None:
        images = () if facts is None else facts.images
        self.picture.clear()
        self.picture.addItems(list(map(str, images)))
        self.picture.setCurrentText("".join(str(image) for image in images if image.chosen))
        self.form.setRowVisible(self.picture, bool(images))
        self.picture.setEnabled(self.job is None)

    def pause(self) -> None:
        """Pause a run, or let it go on."""
        if self.job is None:
            return
        if self.job.is_held:
            self.job.go_on()
            self.hold.setText("Pause")
        else:
            self.job.hold()
            self.hold.setText("Go on")
            self.status.setText("Paused.")

    def stop(self) -> None:
        """Stop a run; what is done stays, and *Run* goes on with it."""
        if self.job is not None:
            self.status.setText("Stopping …")
        self.halt()

    def halt(self) -> None:
        """Stop a run without a word."""
        if self.job is not None:
            self.job.stop()


def _label(text: str = "") -> QLabel:
    return QLabel(text, wordWrap=True)
