"""What moves while a command works: lines for machines, bars for people."""

from __future__ import annotations

import io
import math
import time
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from slidecam.events import (
    BatchDone,
    Finished,
    Planned,
    SlideFailed,
    SlideFinished,
    Started,
    TileFailed,
    Waiting,
    Warned,
    as_json,
)
from slidecam.settings import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console
    from rich.progress import TaskID

    from slidecam.events import Event
    from slidecam.steps import Step

    Line = Callable[[Mapping[str, Any]], None]

EVERY_LINE = 10.0
"""Seconds from one line on how far a call is to the next, where no bars can be drawn."""

EVERY_SECONDS = 1.0
"""How often machines get a step of the same phase; a training has thousands."""


class _Quiet:
    """A context that nothing is left of."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_exception: object) -> None:
        return None


class _Drawn:
    """Bars with ``field`` beside each, drawn while the context is open."""

    def __init__(self, console: Console, field: str) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{{task.fields[{field}]}}"),
            TimeRemainingColumn(),
            console=console,
        )

    def __enter__(self) -> None:
        self._progress.__enter__()

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()


class StepLines(_Quiet):
    """Steps as JSON lines: one a second of each phase, its last, and whatever has a message."""

    def __init__(self, line: Line, *, silent: bool) -> None:
        self._line, self._silent = line, silent
        self._shown_at: dict[str, float] = {}

    def show(self, step: Step) -> None:
        """Print one step as one line, unless the last one is too young."""
        now = time.monotonic()
        waited = now - self._shown_at.get(step.phase, -math.inf) >= EVERY_SECONDS
        if not self._silent and (waited or step.message or step.done == step.total):
            self._shown_at[step.phase] = now
            self._line({"event": "Step", **asdict(step)})


class StepBars(_Drawn):
    """Steps as one bar for each phase, its figures beside it."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "figures")
        self._tasks: dict[str, TaskID] = {}

    def show(self, step: Step) -> None:
        """Move the phase's bar, and print what a person should know.

        A step of nothing is a message alone.
        """
        if step.message:
            self._console.print(escape(step.message), highlight=False, soft_wrap=True)
        if step.message and not step.total:
            return
        if step.phase not in self._tasks:
            self._tasks[step.phase] = self._progress.add_task(
                escape(step.phase), figures="", total=step.total or None
            )
        task, figures = self._tasks[step.phase], escape(_figures(step))
        self._progress.update(task, completed=step.done, total=step.total or None, figures=figures)


class StepWords(_Quiet):
    """Steps as plain lines, for a file or another program: one line every `EVERY_LINE` seconds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at = time.monotonic()
        self._phases: dict[str, Step] = {}

    def show(self, step: Step) -> None:
        """Print what a person should know, and how far the phases are that go on."""
        if step.message:
            self._say(step.message)
        if step.message and not step.total:
            return
        self._phases[step.phase] = step
        now = time.monotonic()
        if now - self._said_at >= EVERY_LINE:
            self._said_at = now
            live = [each for each in self._phases.values() if each.done < each.total]
            self._say("; ".join(map(_how_far, live or [step])))

    def _say(self, text: str) -> None:
        self._console.print(escape(text), highlight=False, soft_wrap=True)


def _how_far(step: Step) -> str:
    place = f"{step.phase} {step.done}"
    if step.total:
        place += f" of {step.total}"
    return ", ".join(filter(None, (place, _figures(step))))


def _figures(step: Step) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in step.figures.items())


class EventLines(_Quiet):
    """Events as JSON lines."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def show(self, event: Event) -> None:
        """Print one event as one line."""
        self._line(as_json(event))


class StampedLines(io.StringIO):
    """A file of lines, each with the time before it, for whoever looks into it afterwards."""

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file
        self._begun = ""

    def write(self, text: str, /) -> int:
        """Write whole lines; what is left waits for its end."""
        *whole, self._begun = (self._begun + text).split("\n")
        for line in filter(None, whole):
            self._file.write(f"{now()} {line}\n")
        self._file.flush()
        return len(text)


def now() -> str:
    """Return the time as machines and people read it, with its place."""
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


class EventBars(_Drawn):
    """One bar for the slide on the device, one for all slides of the call, with tiles per second.

    However many slides a call has, no more than these two are drawn.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(console, "speed")
        self._slide: TaskID | None = None
        self._shown = ""
        self._all: TaskID | None = None
        self._ended = 0

    def show(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Planned):
            self._planned(event)
            return
        if isinstance(event, BatchDone):
            self._advance(event)
            return
        self._console.print(_sentence(event), highlight=False, soft_wrap=True)
        if isinstance(event, SlideFinished | SlideFailed):
            self._ended += 1
            self._show_all()

    def _planned(self, event: Planned) -> None:
        self._console.print(
            f"[bold]{escape(event.slide)}[/]: {_plan(event)}", highlight=False, soft_wrap=True
        )
        if self._all is None and event.slides > 1:
            self._all = self._progress.add_task("all slides", total=event.slides, speed="")
            self._show_all()
        if self._slide is not None:
            self._progress.remove_task(self._slide)
        self._shown = event.slide
        self._slide = self._progress.add_task(
            escape(event.slide),
            total=event.tiles,
            completed=event.tiles - event.pending,
            speed="",
        )

    def _show_all(self) -> None:
        if self._all is not None:
            self._progress.update(self._all, completed=self._ended)

    def _advance(self, event: BatchDone) -> None:
        # On a cluster several slides are going on at a time.
        if self._slide is None or event.slide != self._shown:
            return
        self._progress.update(self._slide, completed=event.done)
        speed = next((each.speed for each in self._progress.tasks if each.id == self._slide), None)
        self._progress.update(self._slide, speed=f"{speed:.1f} tiles/s" if speed else "")


class EventWords(_Quiet):
    """Events as plain lines, for a file or another program: what bars show stands in a line.

    One line every `EVERY_LINE` seconds says how far the call is, beside those on what happens.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said_at = self._begun = time.monotonic()
        self._planned: Planned | None = None
        self._ended = self._tiles = 0

    def show(self, event: Event) -> None:
        """Print one event, where it is one to be told; or how far the call is."""
        if isinstance(event, BatchDone):
            self._tiles += len(event.boxes)
            self._say_how_far(event)
            return
        if isinstance(event, Planned):
            self._planned = event
            self._say(f"{escape(event.slide)}: {_plan(event)}")
            return
        if isinstance(event, SlideFinished | SlideFailed):
            self._ended += 1
        self._say(_sentence(event))

    def _say_how_far(self, event: BatchDone) -> None:
        now = time.monotonic()
        if now - self._said_at < EVERY_LINE:
            return
        self._said_at = now
        slides = ""
        if self._planned is not None and self._planned.slides > 1:
            slides = f"{self._ended} of {self._planned.slides} slides, "
        speed = self._tiles / (now - self._begun)
        tiles = f"{event.done} of {event.total} tiles, {speed:.1f} tiles/s"
        self._say(f"{slides}{escape(event.slide)}: {tiles}")

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _plan(event: Planned) -> str:
    done = event.tiles - event.pending
    if event.spacing is None:
        before = ", done before" if done else ""
        return f"one tile, the whole picture{before}"
    again = f", {done} of them done before" if done else ""
    return (
        f"{counted(event.tiles, 'tile')} of {event.tile_px} px{again}"
        f" ({event.candidates - event.tiles} of the grid's {event.candidates} places are"
        f" background), {event.spacing:.4g} µm/px"
        f" ({escape(event.spacing_from)}), level {event.level}"
    )


def _sentence(event: Event) -> str:
    if isinstance(event, TileFailed):
        x, y, *_size = event.box
        return f"[yellow]{escape(event.slide)}: tile at {x},{y} failed:[/] {escape(event.reason)}"
    if isinstance(event, Warned | Waiting):
        slide = f"{event.slide}: " if event.slide else ""
        return f"[yellow]Note:[/] {escape(slide + event.message)}"
    if isinstance(event, SlideFailed):
        return (
            f"[red]{escape(event.slide)} failed:[/] {escape(event.problem)}"
            f" [green]{escape(event.remedy)}[/]"
        )
    if isinstance(event, SlideFinished):
        return _finished(event)
    if isinstance(event, Finished):
        ended = f"{counted(event.slides, 'slide')}, {event.failed} failed. {escape(event.report)}"
        return "\n".join(filter(None, (escape(" ".join(event.heatmaps)), ended)))
    return _started(event) if isinstance(event, Started) else ""


def _started(event: Started) -> str:
    slides = counted(event.slides, "slide")
    if event.found > event.slides:
        slides += f" of {event.found}"
    return escape(f"slidecam {event.slidecam}: {slides} by {event.bundle} → {event.out}")


def _finished(event: SlideFinished) -> str:
    reason, lost = "", ""
    if event.reason:
        reason = f" ({escape(event.reason)})"
    if event.failed:
        lost = f", {event.failed} of them failed"
    tiles = counted(event.tiles, "tile")
    return (
        f"[green]{escape(event.slide)} {event.status}[/]{reason}: {tiles}{lost} in "
        f"{event.seconds:.1f} s → {escape(event.folder)}"
    )
