"""The tab that runs a classifier: what, where, how; run, pause, cancel."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal

from slidecam.errors import SlidecamError, UsageError
from slidecam.plugin.cards import end_in_words
from slidecam.plugin.classify_form import SHAPES, TISSUE, VIEW, ClassifyForm
from slidecam.plugin.cohort_run import WHOLE, of_several, open_slides
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
from slidecam.plugin.model_choice import ModelChoice
from slidecam.plugin.opening import another_of
from slidecam.plugin.pausing import STOPS
from slidecam.plugin.remembered import MODEL, OUT
from slidecam.plugin.run_request import RunRequest, drawn_region, quoted, region_in_view
from slidecam.plugin.tasks import in_background, in_viewer_words, inform, report_error, warn
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from slidecam.models import Card
    from slidecam.plugin.job import Update
    from slidecam.plugin.pausing import Pausable
    from slidecam.plugin.remembered import Remembered
    from slidecam.plugin.run_request import Region
    from slidecam.plugin.slide import SlideFacts
    from slidecam.plugin.viewer_state import ViewerState

WRITES_ON = "Its heatmaps and files are written to the end, unseen, when the window is closed."
"""What becomes with its window of a run whose tiles are done."""

REST_MS = 50
"""Milliseconds between a drawing and the next tiles, at least."""

REST_SHARE = 12
"""The window rests so many times as long as drawing took."""


class ClassifyTab(ClassifyForm):
    """Bundle, region, method, overlap, device; *Run*, *Pause*, *Cancel*.

    Parameters
    ----------
    state
        The viewer and what lies in it.
    remembered
        The model and the folder of results that were chosen last.
    """

    finished = Signal()
    """A run of the chosen slide came to its end."""

    def __init__(self, state: ViewerState, remembered: Remembered) -> None:
        super().__init__()
        self.state, self.remembered = state, remembered
        self.job: RunJob | None = None
        self.worker: Any = None
        self.model = ModelChoice(self.bundle, self.browse, self.about)
        self.facts: SlideFacts | None = None
        self._running: SlideFacts | None = None
        self._said: dict[str, str] = {}
        self._loading, self._writing = "", False
        self._progress: dict[str, tuple[int, int]] = {}
        self._connect()
        self.out.setText(remembered.folder(OUT) or self.out.text())
        self.bundle.setCurrentText(remembered.folder(MODEL))
        self.refresh()

    def _connect(self) -> None:
        self.model.opened.connect(self._model_read)
        self.run.clicked.connect(self.start)
        self.picture.activated.connect(self._show_picture)
        self.cohort.all_open.triggered.connect(self._run_open)
        self.cohort.folder.triggered.connect(self._run_folder)
        self.cohort.changed.connect(self._show_said)
        self.cohort.over.connect(self._over)
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
            self.state.show_instead(self.facts, another_of(self.facts, place))
        except SlidecamError as error:
            report_error(str(error))
        self.refresh()

    @property
    def card(self) -> Card | None:
        """Of the model that is chosen."""
        return self.model.card

    def _model_read(self) -> None:
        if self.card is not None:
            self.offer_classes(self.card.class_names)
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is open and chosen; show a run of it that lies there already."""
        facts = self.state.slide()
        self.refresh_buttons()
        if self.busy is not None or facts is None or self.card is None:
            return
        self._show_command()
        run = self.state.recognise(self.out_folder())
        # Nothing is left standing that was said of another slide or model.
        self._said[facts.fingerprint] = ""
        if run is not None:
            self._said[facts.fingerprint] = run.in_words
        self._show_said()

    def _show_command(self, _changed: object = None) -> None:
        facts = self.state.slide()
        if facts is None or self.card is None or self.where != TISSUE:
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
        chosen = {name: self.options[name].value() for name in filter(self.is_meant, self.options)}
        return PredictSpec(**chosen)

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
        if self.where == VIEW:
            region = region_in_view(self.state.viewer, facts)
        elif self.where == SHAPES:
            region = drawn_region(self.state.viewer, facts.placing)
        return RunRequest(
            facts.path,
            Path(self.bundle.currentText()),
            self.out_folder(region),
            replace(self.spec(), image=facts.seen.image, volume=facts.volume),
            region,
        )

    def _run_open(self) -> None:
        self.start_several(open_slides(self.state.viewer.layers))

    def _run_folder(self) -> None:
        self.start_several(self.cohort.ask_folder())

    def start_several(self, inputs: list[str]) -> None:
        """Run slides, and folders of slides, in turn: all of each, with what is chosen."""
        if not inputs or self._is_refused():
            return
        try:
            spec = of_several(self.spec(), self.state.viewer.layers, self.typed_spacings)
        except SlidecamError as error:
            report_error(str(error))
            return
        if self.where != TISSUE:
            inform(WHOLE)
        self._remember()
        self.cohort.start(inputs, Path(self.bundle.currentText()), self.out_folder(), spec)
        self.refresh_buttons()

    def _is_refused(self) -> bool:
        """Whether a run goes on, which is said."""
        if self.busy is not None:
            report_error("A run is going on. Wait until it is done, or cancel it.")
        return self.busy is not None

    @property
    def busy(self) -> Pausable | None:
        """What goes on: one slide's run, or that of several."""
        return self.job or self.cohort.job

    def _remember(self) -> None:
        self.remembered.choose(MODEL, self.bundle.currentText())
        self.remembered.choose(OUT, self.out.text())

    def start(self) -> None:
        """Run what is chosen."""
        if self._is_refused():
            return
        try:
            request = self.request()
        except SlidecamError as error:
            report_error(str(error))
            self.status.setText(in_viewer_words(str(error)))
            return
        self._remember()
        self.cohort.words = ""
        self.job, self._running = RunJob(request, awaits=True), self.state.slide()
        self._writing = False
        self._advance(0, 0)
        self._say("Loading the classifier and finding tissue …")
        self.worker = in_background(
            self.job.updates(), self.take, lambda _result: None, self._over, self._failed
        )
        self.job.abandoned = partial(getattr, self.worker, "abort_requested")
        self.refresh()

    def _say(self, words: str) -> None:
        """Say something of the slide that is run."""
        if self._running is not None:
            self._said[self._running.fingerprint] = words
        self._show_said()

    def say_loading(self, words: str) -> None:
        """Say what is loaded beside the window, wherever nothing else is said."""
        self._loading = words
        self._show_said()

    def _advance(self, done: int, total: int) -> None:
        """Show how far the slide is that is run."""
        if self._running is not None:
            self._progress[self._running.fingerprint] = (done, total)
        self._show_said()

    def _show_said(self) -> None:
        """Show words and progress of the chosen slide, or by name of another one that is run."""
        of, shown = self.state.chosen, "%v / %m tiles"
        words = self.cohort.words or self._said.get(of) or self._loading
        running = self._running
        if self.job is not None and running is not None and running.fingerprint != of:
            of, shown = running.fingerprint, f"%v / %m tiles of {running.name}"
            words = f"{running.name} is being classified meanwhile. {self._said.get(of, '')}"
        done, total = self._progress.get(of, (0, 0))
        if self.cohort.job is not None:
            done, total, shown = self.cohort.progress
        self.progress.setFormat(shown)
        if total:
            self.progress.setMaximum(total)
            self.progress.setValue(done)
        else:
            self.progress.reset()
        self.status.setText(words)

    def take(self, update: Update) -> None:
        """Show one update of a run."""
        if isinstance(update, Began):
            # Qt comes to it after this: the run goes on whatever becomes of the overlays.
            QTimer.singleShot(0, self._shown)
            self.state.began(update)
            self._advance(0, len(update.run.table))
        elif isinstance(update, NewTiles):
            self.state.tiles(update)
            self._advance(update.done, update.total)
            if self.job is None or not self.job.is_held:
                left = duration(update.seconds_left)
                self._say(f"{update.per_second:.0f} tiles/s, {left} left")
            # Qt comes to this after it has drawn.
            QTimer.singleShot(0, partial(self._drawn, time.perf_counter()))
        elif isinstance(update, Heat):
            self.state.heat(update)
        elif isinstance(update, Writing):
            self._writing = True
            self._say("All tiles are classified. Painting heatmaps and writing files …")
            self.hold.setEnabled(False)
            self.cancel.setEnabled(False)
        elif isinstance(update, Said):
            warn(update.message)
        elif isinstance(update, Silent):
            self._say(in_viewer_words(update.message))
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
        self._say(end_in_words(ended))
        if ended.volume is None and ended.run is None and not ended.stopped:
            report_error(ended.problem)
        elif ended.run is not None and not ended.stopped:
            total = len(ended.run.table)
            self._advance(total, total)
            if ended.run.fingerprint == self.state.chosen:
                self.finished.emit()
            if ended.problem:
                inform(ended.problem)

    def _failed(self, error: Exception) -> None:
        self._advance(0, 0)
        self._say(in_viewer_words(str(error)))

    def _over(self) -> None:
        self.job, self.worker = None, None
        self.hold.setText("Pause")
        if self.cohort.words:
            self.refresh()
        self.refresh_buttons()
        self._show_said()

    def refresh_buttons(self) -> None:
        """Name the slide, and set which buttons can be pressed."""
        facts, busy = self.state.slide(), self.busy is not None
        self.offer_pictures(facts)
        self.picture.setEnabled(not busy)
        self.show_kind(facts)
        self.show_spacing(facts)
        self.facts = facts
        self.slide.setText("none is open" if facts is None else facts.in_words)
        self.options["mpp"].widget.setEnabled(not busy)
        self.run.setEnabled(not busy and self.card is not None and facts is not None)
        self.cohort.button.setEnabled(not busy and self.card is not None)
        self.cohort.all_open.setEnabled(facts is not None)
        self.hold.setEnabled(busy)
        self.cancel.setEnabled(busy)

    def pause(self) -> None:
        """Pause a run, or let it go on."""
        if self.busy is None:
            return
        if self.busy.is_held:
            self.busy.go_on()
            self.hold.setText("Pause")
        else:
            self.busy.hold()
            self.hold.setText("Go on")
            self._say("Paused.")

    def stop(self) -> None:
        """Stop a run; what is done stays, and *Run* goes on with it."""
        if self.job is not None:
            self._say("Stopping …")
        self.halt()

    @property
    def going_on(self) -> str:
        """Which slide is run, how far it is, and what becomes of that when the window is closed."""
        if self.job is None or self._running is None:
            return self.cohort.going_on
        name = self._running.name
        if self._writing:
            return f"All tiles of {name} are classified. {WRITES_ON}"
        done, total = self._progress.get(self._running.fingerprint, (0, 0))
        far = ""
        if total:
            far = f" ({done} of {total} tiles)"
        return f"A run of {name} goes on{far}. {STOPS}"

    def halt(self) -> None:
        """Stop a run without a word."""
        if self.busy is not None:
            self.busy.stop()
