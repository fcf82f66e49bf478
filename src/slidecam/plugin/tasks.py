"""Long work beside the viewer: generators in napari's workers, so that windows stay alive."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils.notifications import show_error, show_info, show_warning

from slidecam.errors import SlidecamError, ViewerError
from slidecam.steps import Milestone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from slidecam.steps import Step

EVERY = 0.3
"""Seconds between two steps that are shown."""


def in_background(
    work: Generator[Any, None, Any],
    on_update: Callable[[Any], None],
    on_result: Callable[[Any], None],
    on_end: Callable[[], None],
    on_error: Callable[[Exception], None],
) -> Any:  # noqa: ANN401  (napari's worker)
    """Run a generator in a thread of its own.

    Parameters
    ----------
    work
        What it yields goes to ``on_update``, what it returns to ``on_result``; both run in the
        viewer's thread.
    on_update, on_result
        See ``work``.
    on_end
        Called last, whether it went well or not.
    on_error
        Given what went wrong; it is shown to the user here.

    Returns
    -------
    worker
        napari's worker; ``quit`` ends it after the next update.
    """
    worker = create_worker(
        guarded, work, _start_thread=False, _ignore_errors=True, _worker_class=_Worker
    )
    worker.yielded.connect(on_update)
    worker.returned.connect(on_result)
    worker.errored.connect(on_error)
    worker.errored.connect(_report)
    worker.finished.connect(on_end)
    worker.start()
    return worker


class _Worker(GeneratorWorker):
    """A worker that closes its generator however it ends, in the thread that ran it.

    napari's drops one that is to quit: its threads and locks would stay. The viewer's thread cannot
    close it, for that waits for this one when napari ends.
    """

    def __init__(self, func: Any, work: Generator[Any, None, Any], **given: Any) -> None:  # noqa: ANN401  (napari's)
        super().__init__(func, work, **given)
        self._own = work

    def work(self) -> Any:  # noqa: ANN401  (what the generator returns)
        """Run the generator to its end, or until the worker is to quit."""
        try:
            return super().work()
        finally:
            self._own.close()


def _report(error: Exception) -> None:
    """Show an error of ours in its own words, as a traceback mends no folder.

    Any other is napari's to show.
    """
    if not isinstance(error, SlidecamError):
        raise error
    report_error(str(error))


def now_and_then(work: Generator[Step, None, Any]) -> Generator[Step, None, Any]:
    """Pass on a step only a few times a second, but every milestone.

    Every word drawn costs the whole window where nothing draws for us.
    """
    passed_on = -EVERY
    try:
        while True:
            step = next(work)
            if isinstance(step, Milestone) or time.monotonic() - passed_on >= EVERY:
                passed_on = time.monotonic()
                yield step
    except StopIteration as end:
        return end.value
    finally:
        work.close()


def step_in_words(step: Step) -> str:
    """Return how far a piece of work is: ``embedding: 32 of 180``."""
    if not step.total:
        return f"{step.phase}: {step.done}"
    return f"{step.phase}: {step.done} of {step.total}"


def guarded(work: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
    """Pass on what a generator yields and returns, and turn a RuntimeError into one of ours.

    napari's workers swallow RuntimeErrors of generators: neither the error nor the end would ever
    be shown, and all that torch raises are such.
    """
    try:
        return (yield from work)
    except RuntimeError as error:
        raise ViewerError(f"{type(error).__name__}: {error}.", UNFORESEEN) from error


VIEWER_WORDS = (
    ("pass --overwrite", "tick “begin anew where a run lies already”"),
    ("Pass another --out", "Choose another folder in “Results”"),
    ("choose another --out", "choose another folder in “Results”"),
    (
        "Pass --mpp X (µm per pixel, for example --mpp 0.25) or a CSV with the columns slide,mpp",
        "Set “µm/px”",
    ),
    ("Name those to map with --heatmap-class", "Choose one in “Heat of”, under “More options”"),
    ("Name the ones to map with --heatmap-class NAME", "Choose one in “Heat of”"),
    ("Leave it out of --heatmap-class", "Choose another in “Heat of”"),
    (", or pass a smaller --overlap", ""),
    (", or pass a smaller --min-share", ""),
    ("; pass --volume to read another", "; “Volume” in “Classify” chooses another"),
)
"""Remedies as the pipeline words them, for the command line, and what the same is in the viewer."""

UNFORESEEN = "Please report it; what was committed before is safe."
"""What to do about an error of a kind that slidecam does not raise itself."""


def in_viewer_words(words: str) -> str:
    """Return what went wrong with its remedy as it is had in the viewer."""
    for typed, clicked in VIEWER_WORDS:
        words = words.replace(typed, clicked)
    return words


def inform(words: str) -> None:
    """Tell something that is worth knowing."""
    show_info(in_viewer_words(words))


def warn(words: str) -> None:
    """Tell something that the user should look at."""
    show_warning(in_viewer_words(words))


def report_error(words: str) -> None:
    """Tell that something went wrong, and what to do."""
    show_error(in_viewer_words(words))
