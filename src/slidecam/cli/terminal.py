"""What a person or a machine sees of a command.

Progress, tables, errors with their remedy, exit codes.
"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import closing, contextmanager
from traceback import TracebackException
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table

from slidecam.class_names import in_one_line
from slidecam.cli.progress import (
    EventBars,
    EventLines,
    EventWords,
    StampedLines,
    StepBars,
    StepLines,
    StepWords,
    now,
)
from slidecam.errors import SlidecamError, UsageError, without_secrets
from slidecam.events import Error, Finished, Stopped, as_json
from slidecam.objects import said
from slidecam.system_errors import call_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import ConsoleOptions, RenderableType
    from rich.text import Text

    from slidecam.events import Event
    from slidecam.steps import Result, Step

    Left = tuple[str, str] | Callable[[], tuple[str, str]]

EXIT_FAILED, EXIT_USAGE, EXIT_PARTLY = 1, 2, 3
"""Beside 0: the run failed, wrong usage, partly done (the manifest lists what was not)."""


def exit_code_of(error: SlidecamError) -> int:
    """Return 2 where the call was wrong, 1 where the call was right and failed."""
    if error.usage:
        return EXIT_USAGE
    return EXIT_FAILED


WIDE = 1 << 16
"""Characters of a line where no terminal shows it."""

LAYOUT = "\n\t"
"""Control characters that are the layout of what is printed."""


class PlainConsole(Console):
    """A console on which whatever a file is called stands as text and moves no cursor."""

    def render_str(self, text: str, **form: Any) -> Text:  # noqa: ANN401  (rich's own)
        """Return a text, control characters in it escaped."""
        return super().render_str(in_one_line(text, LAYOUT), **form)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield what is printed, control characters in it escaped; a console's own stay."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(in_one_line(segment.text, LAYOUT), segment.style)


class Terminal:
    """Where a command's words go: results to stdout, progress and errors to stderr.

    With ``json`` all to stdout.
    """

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._out = PlainConsole(soft_wrap=True)
        if not self._out.is_terminal:
            # A table in a file or for another program: a name is broken nowhere.
            self._out.width = WIDE
        self._err = PlainConsole(stderr=True)
        self._log: Console | None = None
        if not json:
            # Libraries log what concerns their developers; slidecam's own warnings come as events.
            logging.getLogger("tifffile").setLevel(logging.CRITICAL)

    @contextmanager
    def logged(self, path: Path | None) -> Iterator[None]:
        """Write what is said of a run to the end of a file too, each line with its time.

        None for no file; UsageError if it cannot be written.
        """
        if path is None:
            yield
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            problem = f"--log {path} cannot be written: {error.strerror or error}."
            raise UsageError(problem, "Name a file that may be written.") from error
        with file:
            self._log = PlainConsole(file=StampedLines(file), color_system=None, soft_wrap=True)
            yield
        self._log = None

    def _to_log(self, text: str) -> None:
        if self._log is not None:
            self._log.print(said(text), highlight=False, soft_wrap=True)

    @contextmanager
    def errors(
        self, stopped: Left = ("Nothing was written.", "Repeat the call.")
    ) -> Iterator[None]:
        """Turn slidecam's and the system's errors into a message with its remedy and an exit code.

        ``stopped`` is what is left after Ctrl-C, and how to go on; or a function that says so then.
        """
        try:
            yield
        except SlidecamError as error:
            self.failed([error])
            raise typer.Exit(exit_code_of(error)) from error
        except OSError as error:
            self._refused(error, "OSError")
            raise typer.Exit(EXIT_FAILED) from error
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        # The boundary of a command: libraries, and other packages' entries, promise no list of what
        # they raise, and Python's own words help nobody who did not write them.
        except Exception as error:
            if call_fault(error) is None:
                self._unforeseen(error)
            else:
                self._refused(error, type(error).__name__)
            raise typer.Exit(EXIT_FAILED) from error
        except KeyboardInterrupt as error:
            self._stopped(*(stopped() if callable(stopped) else stopped))
            raise typer.Exit(EXIT_PARTLY) from error

    def failed(self, errors: Iterable[SlidecamError]) -> None:
        """Say what is wrong and what to do about it."""
        for error in errors:
            self._error(error.problem, error.remedy, type(error).__name__, error.traceback())

    def _refused(self, error: Exception, kind: str) -> None:
        """Say what the system refused."""
        words, fault = without_secrets(str(error)), call_fault(error)
        problem, remedy = words, "Check that the folder is there, can be written and is not full."
        if fault is not None:
            problem, remedy = f"{fault.problem} ({words or kind})", fault.remedy
        self._error(f"{problem}.", remedy, kind)

    def _unforeseen(self, error: Exception) -> None:
        """Say what nobody foresaw, and in which file's line; machines are given all of them."""
        trace = TracebackException.from_exception(error)
        problem = without_secrets(": ".join(filter(None, (type(error).__name__, str(error)))))
        last = trace.stack[-1]
        self._error(
            f"{problem} ({last.filename}, line {last.lineno}).",
            "slidecam did not foresee this; please report it.",
            type(error).__name__,
            without_secrets("".join(trace.format())).splitlines(),
        )

    def _error(self, problem: str, remedy: str, kind: str, traceback: Sequence[str] = ()) -> None:
        problem, remedy = said(problem), said(remedy)
        self._to_log(escape(" ".join(filter(None, (f"Error: {problem}", remedy)))))
        if self._json:
            self.line(as_json(Error(kind, problem, remedy, tuple(traceback))))
            return
        message = f"[red]Error:[/] {escape(problem)}"
        if remedy:
            message += f"\n[green]Remedy:[/] {escape(remedy)}"
        self._err.print(message, highlight=False, soft_wrap=True)

    def follow(self, events: Generator[Event], out: str) -> int:
        """Show a run's events to its end and return the exit code; Ctrl-C stops it cleanly."""
        shown, log = self._events_shown(), None
        if self._log is not None:
            log = EventWords(self._log)
        code = EXIT_FAILED
        try:
            with shown, closing(events) as running:
                for event in running:
                    shown.show(event)
                    if log is not None:
                        log.show(event)
                    if isinstance(event, Finished):
                        code = event.exit_code
        except KeyboardInterrupt:
            self._stopped(
                f"What was classified so far is safe in {without_secrets(out)}.",
                "Repeat the same command with --resume to go on.",
            )
            return EXIT_PARTLY
        return code

    def _events_shown(self) -> EventLines | EventBars | EventWords:
        if self._json:
            return EventLines(self.line)
        if self._err.is_terminal:
            return EventBars(self._err)
        return EventWords(self._err)

    def _steps_shown(self, *, silent: bool) -> StepLines | StepBars | StepWords:
        if self._json:
            return StepLines(self.line, silent=silent)
        if self._err.is_terminal:
            return StepBars(self._err)
        return StepWords(self._err)

    def walk(self, work: Generator[Step, None, Result], *, silent: bool = False) -> Result:
        """Show long work step by step to its end and return its result.

        Ctrl-C closes it and is passed on.

        ``silent`` prints nothing for machines, for commands whose only line is their result.
        """
        shown = self._steps_shown(silent=silent)
        with closing(work), shown:
            while True:
                try:
                    step = next(work)
                except StopIteration as end:
                    result: Result = end.value
                    return result
                shown.show(step)

    def table(self, title: str, facts: Mapping[str, Any]) -> None:
        """Print one thing's facts."""
        if self._json:
            self.line(dict(facts))
            return
        table = Table(title=escape(said(title)), title_justify="left", show_header=False, box=None)
        table.add_column()
        table.add_column(overflow="fold")
        for key, value in facts.items():
            table.add_row(f"[bold]{escape(key)}[/]", escape(_plain(value)))
        self._out.print(table)

    def rows(self, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Print several things' facts, one row each."""
        if self._json:
            self.line({key: [dict(row) for row in rows]})
            return
        if not rows:
            self._out.print(f"No {key} found.")
            return
        table = Table(box=None, header_style="bold")
        for column in rows[0]:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(escape(_plain(value)) for value in row.values()))
        self._out.print(table)

    def say(self, text: str) -> None:
        """Print text for a person, broken nowhere: a link in it can be clicked and copied."""
        if not self._json:
            sys.stdout.write(in_one_line(said(text), LAYOUT) + "\n")
            sys.stdout.flush()

    def look_at(self, *paths: Path) -> None:
        """Say where the results are."""
        if not self._json:
            for path in paths:
                self._out.print(f"Look at [bold]{escape(said(path.resolve()))}[/]")

    def _stopped(self, state: str, remedy: str) -> None:
        self._to_log(escape(f"Stopped. {state} {remedy}"))
        if self._json:
            self.line(as_json(Stopped(state, remedy)))
        else:
            self._err.print(f"[yellow]Stopped.[/] {escape(state)} {escape(remedy)}", soft_wrap=True)

    def line(self, record: Mapping[str, Any]) -> None:
        """Print one JSON object on a line of its own; what happens has its time."""
        if "event" in record:
            record = {**record, "time": now()}
        text = said(json.dumps(record, ensure_ascii=False, default=str))
        # JSON escapes those below the space; a terminal takes others for commands too.
        sys.stdout.write(text.translate(C1) + "\n")
        sys.stdout.flush()


C1 = {code: f"\\u{code:04x}" for code in (0x7F, *range(0x80, 0xA0))}
"""Control characters that JSON lets pass, as JSON may write them too."""


def _plain(value: object) -> str:
    if isinstance(value, list | tuple) and any(str(each).endswith(".") for each in value):
        # Sentences, each on a line of its own.
        return "\n".join(map(_plain, value))
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    if value is None:
        return ""
    return in_one_line(said(str(value)))
