"""The command line itself, and the options that several commands share.

Commands' names and options are a contract: QuPath scripts and other programs call them. What a
command needs is imported in its body, so that ``slidecam --help`` answers at once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import typer

from slidecam.cli.stopping import Stopping, leave
from slidecam.cli.terminal import Terminal
from slidecam.files import refuse_inputs, refuse_missing
from slidecam.objects import url_of
from slidecam.options import option_of

Function = TypeVar("Function", bound=Callable[..., object])


APART = ("source", "annotations", "masks", "mask", "region")
"""Parameters of commands that name what is read, among which nothing is written."""

NEEDED = ("source", "checkpoint")
"""Parameters of commands that name what must be there."""

PANELS = {
    **dict.fromkeys(("demo", "info", "predict", "open", "doctor"), "First"),
    **dict.fromkeys(("summary", "legend", "compare", "figure"), "Results"),
    **dict.fromkeys(("export", "report", "gather", "serve"), "Results"),
    **dict.fromkeys(("explain", "faithfulness", "methods"), "How far to trust it"),
    **dict.fromkeys(("evaluate", "pooling"), "How far to trust it"),
    **dict.fromkeys(("models", "bundle", "card", "export-onnx"), "Classifiers"),
    **dict.fromkeys(("train", "recipes", "tiles", "slices", "suggest", "fine-tune"), "Learning"),
}
"""Under which words of the help each command is listed."""


class _LocalPaths(typer.Typer):
    """The command line, whose commands see files and folders of this machine alone.

    What reads slides takes URLs, and is declared as text.
    """

    def command(
        self,
        name: str | None = None,
        **settings: Any,  # noqa: ANN401  (Typer's own)
    ) -> Callable[[Function], Function]:
        """Register a command whose files at URLs are fetched and put, or refused."""

        def registered(function: Function) -> Function:
            called = name or function.__name__.replace("_", "-")
            register = super(_LocalPaths, self).command(
                name, rich_help_panel=PANELS.get(called), **settings
            )
            register(_of_this_machine(function))
            return function

        return registered


def _of_this_machine(function: Function) -> Function:
    @wraps(function)
    def checked(**given: object) -> object:
        terminal = Terminal(json=bool(given.get("json")))
        with ExitStack() as cleanup:
            if any(map(_has_url, given.values())):
                # Needed by few calls.
                from slidecam.cli.urls import on_this_machine

                cleanup.enter_context(terminal.errors())
                given = cleanup.enter_context(on_this_machine(function.__name__, given))
            with terminal.errors():
                _refuse_unclear(given)
            return function(**given)

    return cast("Function", checked)


def _several(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _refuse_unclear(given: Mapping[str, object]) -> None:
    """Refuse what is not there, and an output among what is read, before a network is loaded."""
    apart: list[str | Path] = []
    for name in dict.fromkeys((*NEEDED, *APART)):
        path = given.get(name)
        if not isinstance(path, str | Path):
            continue
        if name in NEEDED:
            refuse_missing(path)
        if name in APART:
            apart.append(path)
    for name in ("out", "log"):
        path = given.get(name)
        if isinstance(path, Path):
            refuse_inputs([path], apart, option=f"--{name}")


def _has_url(given: object) -> bool:
    return any(isinstance(path, Path) and url_of(path) for path in _several(given))


app = _LocalPaths(
    name="slidecam",
    help=(
        "Classify whole slides and show why: predictions and heatmaps in one pass. Research use"
        " only."
    ),
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


Json = Annotated[
    bool,
    typer.Option("--json", help="Print JSON for machines (one event per line for predict)."),
]
Mpp = Annotated[float | None, typer.Option(help=option_of("mpp").shown.help)]
MppCsv = Annotated[Path | None, typer.Option(help=option_of("spacings").shown.help)]
Reader = Annotated[str | None, typer.Option(help=option_of("reader").shown.help)]
Device = Annotated[str, typer.Option(help=option_of("device").shown.help)]
Precision = Annotated[Literal["fp32", "bf16"], typer.Option(help=option_of("precision").shown.help)]
Backend = Annotated[str, typer.Option(help=option_of("backend").shown.help)]
Shown = Annotated[
    str | None,
    typer.Option(
        metavar=option_of("shown").shown.metavar,
        help=f"{option_of('shown').shown.help} \\[default: {option_of('shown').shown.unset}]",
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help=option_of("trust").shown.help),
]

RunFolder = Annotated[
    Path,
    typer.Argument(help="One slide's folder in the --out of slidecam predict.", show_default=False),
]
BundlePath = Annotated[
    Path | None,
    typer.Option("--bundle", help="Where the bundle lies, if not where run.json says."),
]
SlidePath = Annotated[
    str | None,
    typer.Option("--slide", help="Where the slide lies, if not where run.json says."),
]

Renamed = Annotated[
    list[str] | None,
    typer.Option("--map", help="THEIRS=OURS: another name for a class."),
]
MinShare = Annotated[
    float, typer.Option(help="Least share of a tile that is annotated as its class.")
]
MostOther = Annotated[
    float, typer.Option(help="Most of a tile that may be annotated as another class.")
]
GroupPattern = Annotated[
    str,
    typer.Option(help="Regular expression with (?P<group>…) for the patient in a slide's name."),
]
OverwriteSet = Annotated[
    bool, typer.Option("--overwrite", help="Replace a set of tiles or slices that lies there.")
]

Resume = Annotated[bool, typer.Option("--resume", help="Go on with what was begun there.")]
BeginAnew = Annotated[bool, typer.Option("--overwrite", help="Begin anew what was begun there.")]


def of_existing(*, resume: bool, overwrite: bool) -> Literal["refuse", "resume", "overwrite"]:
    """Return what becomes of what lies in the output folder; UsageError if both are said."""
    if resume and overwrite:
        from slidecam.errors import UsageError

        problem = "--resume and --overwrite contradict each other."
        raise UsageError(problem, "Pass --resume to go on, or --overwrite to begin anew.")
    if resume:
        return "resume"
    return "overwrite" if overwrite else "refuse"


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"slidecam {version('slidecam')}")
        raise typer.Exit


NEXT_STEPS = """
slidecam classifies whole slides and volumes and shows what speaks for it. Research use only.

  slidecam demo                                         see it, on a sample slide
  slidecam bundle --help                                make a bundle of a classifier of yours
  slidecam predict SLIDE --model BUNDLE --out RESULTS   classify a slide of yours

slidecam --help lists all commands; slidecam doctor says what works on this machine.
"""
"""What the name alone prints."""


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001  (its callback prints it)
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version and leave.",
        ),
    ] = False,
) -> None:
    """Classify whole slides and show why. Research use only."""
    if context.invoked_subcommand is None:
        typer.echo(NEXT_STEPS.strip())


def main() -> None:
    """Run the command line; what stands on ``sys.argv`` decides."""
    Stopping().heed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be text
    try:
        app()
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        leave(end.code or 0)
