"""*Run several*: all slides that are open, or those of a folder, with one progress and one end."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton

from slidecam.plugin.cohort_job import CohortEnded, CohortJob, CohortStep
from slidecam.plugin.controls import named
from slidecam.plugin.job import Said
from slidecam.plugin.pausing import STOPS
from slidecam.plugin.slide import KEY, SlideFacts
from slidecam.plugin.tasks import (
    in_background,
    in_viewer_words,
    inform,
    report_error,
    warn,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from qtpy.QtWidgets import QWidget

    from slidecam.plugin.job import Silent
    from slidecam.runs.spec import PredictSpec

SEVERAL, ALL_OPEN, A_FOLDER = "Run several", "All open slides", "A folder of slides…"
WHOLE = "All tissue of each slide is classified: the region that is chosen is of one slide."
LEFT_OUT = (
    "{names}: another picture or volume of the file is shown than a call of several slides takes;"
    " run it by itself."
)


class CohortRun(QObject):
    """A run of several slides, and the button that begins it.

    Parameters
    ----------
    parent
        The tab that it belongs to.

    Attributes
    ----------
    words
        How far the run is, or what it came to.
    progress
        Tiles done and all tiles of the slide that is classified, and how the bar says it.
    """

    changed = Signal()
    """There is more to say."""

    over = Signal()
    """The run came to its end, and results may lie where there were none."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._window = parent
        self.job: CohortJob | None = None
        self.worker: Any = None
        self.words = ""
        self.progress = (0, 0, "%v / %m tiles")
        self.button, menu = QPushButton(SEVERAL), QMenu(parent)
        named(
            self.button,
            SEVERAL,
            "Classify all open slides, or a folder of slides, in turn.",
        )
        self.button.setMenu(menu)
        self.all_open, self.folder = menu.addAction(ALL_OPEN), menu.addAction(A_FOLDER)

    def ask_folder(self) -> list[str]:
        """Ask for a folder of slides, and return it; nothing where none is chosen."""
        title = "Folder of slides"
        folder = QFileDialog.getExistingDirectory(self._window, title)
        return list(filter(None, [folder]))

    def start(
        self,
        inputs: Iterable[str],
        bundle: Path,
        out: Path,
        spec: PredictSpec,
    ) -> None:
        """Classify slides in turn."""
        self.job = CohortJob(list(inputs), bundle, out, spec)
        self.progress = (0, 0, "%v / %m tiles")
        self.words = "Loading the classifier and finding slides …"
        self.worker = in_background(
            self.job.updates(),
            self._take,
            lambda _result: None,
            self._end,
            self._failed,
        )
        self.job.abandoned = partial(getattr, self.worker, "abort_requested")
        self.changed.emit()

    def _take(self, update: CohortStep | Said | Silent | CohortEnded) -> None:
        if isinstance(update, CohortStep):
            place = f"Slide {update.number} of {update.slides}"
            self.progress = (update.done, update.tiles, f"{place}: %v / %m tiles")
            self.words = f"{place}: {update.slide}"
        elif isinstance(update, CohortEnded):
            self.words = in_viewer_words(update.in_words)
            if update.failures:
                report_error(update.failures)
        elif isinstance(update, Said):
            warn(update.message)
        else:
            self.words = in_viewer_words(update.message)
        self.changed.emit()

    def _failed(self, error: Exception) -> None:
        self.words = in_viewer_words(str(error))

    def _end(self) -> None:
        self.job, self.worker = None, None
        self.over.emit()

    @property
    def going_on(self) -> str:
        """Which slides are run, and what becomes of that when the window is closed."""
        if self.job is None:
            return ""
        return f"Several slides are classified ({self.words}). {STOPS}"

    def halt(self) -> None:
        """Stop at the next batch."""
        if self.job is not None:
            self.job.stop()


def open_slides(layers: Iterable[Any]) -> list[str]:
    """Return the paths of the slides and volumes that lie open, each once.

    One of which another picture is shown than such a call takes is left out, in words.
    """
    paths: dict[str, None] = {}
    left_out: list[str] = []
    for layer in layers:
        facts = layer.metadata.get(KEY)
        if not isinstance(facts, SlideFacts):
            continue
        if facts.seen.image is not None or facts.volume is not None:
            left_out.append(facts.name)
        else:
            paths[facts.path] = None
    if left_out:
        inform(LEFT_OUT.format(names=", ".join(left_out)))
    return list(paths)


def of_several(
    spec: PredictSpec,
    layers: Iterable[Any],
    typed: Mapping[str, float],
) -> PredictSpec:
    """Return a call's settings for several slides: each has the µm/px that was typed for it."""
    spacings: dict[str, float] = {}
    for layer in layers:
        facts = layer.metadata.get(KEY)
        if isinstance(facts, SlideFacts) and facts.fingerprint in typed:
            spacings[facts.name] = typed[facts.fingerprint]
    return replace(spec, mpp=None, spacings=spacings)
