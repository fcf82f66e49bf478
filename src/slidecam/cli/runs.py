"""``slidecam legend``, ``compare`` and ``figure``: runs, read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from slidecam.cli.app import BundlePath, Json, Run, SlidePath, app
from slidecam.cli.terminal import Terminal

Picture = Annotated[Path, typer.Option("--out", "-o", help="PNG to write.", show_default=False)]


# As in slidecam.reports, which loads matplotlib; a test holds the two together.
Shown = Literal["classes", "probability", "heatmap", "slide"]


@app.command(
    help=(
        "Tell how a run's tissue divides among the classes; where tiles overlap, a place counts"
        " once."
    )
)
def legend(
    run: Run,
    threshold: Annotated[
        float, typer.Option(help="Probability from which a tile counts for a class.")
    ] = 0.5,
    bundle: BundlePath = None,
    json: Json = False,
) -> None:
    """Tell how a run's tissue divides among the classes; overlapping places count once."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.learning_output import told_of_legend
        from slidecam.runs import legend as legend_of
        from slidecam.runs import read_run_tiles

        found = legend_of(read_run_tiles(run, bundle), threshold)
        if json:
            terminal.line(found.record())
        else:
            terminal.table(f"{run} (probabilities {found.calibration})", told_of_legend(found))


@app.command()
def compare(
    before: Annotated[
        Path, typer.Argument(help="One slide's folder of the old run.", show_default=False)
    ],
    after: Annotated[
        Path, typer.Argument(help="The same slide's folder of the new run.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Hold two runs of one slide beside each other.

    Areas and counts by class, tiles of another class, agreement.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.learning_output import told_of_comparison
        from slidecam.runs import compare_runs, read_run_tiles

        found = compare_runs(read_run_tiles(before), read_run_tiles(after))
        if json:
            terminal.line(found.record())
        else:
            terminal.table(f"{before} and {after}", told_of_comparison(found))


@app.command()
def figure(
    run: Run,
    out: Picture,
    show: Annotated[Shown, typer.Option(help="What to lay over the slide.")] = "classes",
    class_: Annotated[
        str | None,
        typer.Option("--class", help="For probability and heatmap. \\[default: the first]"),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Of the heatmap. \\[default: the run's first]")
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Level-0 pixels.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability below which a tile stays bare.")
    ] = None,
    longest: Annotated[
        int, typer.Option(min=16, help="Pixels of the picture's longer side.")
    ] = 1600,
    title: Annotated[str | None, typer.Option(help="\\[default: the slide's name]")] = None,
    bundle: BundlePath = None,
    slide: SlidePath = None,
    json: Json = False,
) -> None:
    """Draw a run, or a part of it, as a figure with scale bar and legend."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.learning_output import box_of
        from slidecam.reports.run_figure import FigureSpec, write_figure
        from slidecam.runs import read_run_tiles

        spec = FigureSpec(show, class_, method, box_of(region), threshold, longest, title)
        write_figure(out, read_run_tiles(run, bundle, slide), spec)
        if json:
            terminal.line({"event": "Drawn", "out": str(out)})
        terminal.look_at(out)
