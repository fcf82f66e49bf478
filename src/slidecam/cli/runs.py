"""``slidecam open``, ``export``, ``legend``, ``compare``, ``figure``: what is done is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slidecam.cli.app import (
    BundlePath,
    GroupPattern,
    Json,
    MinShare,
    MostOther,
    OverwriteSet,
    Renamed,
    RunFolder,
    Shown,
    SlidePath,
    Trust,
    app,
)
from slidecam.cli.teaching import (
    Annotations,
    CorrectionsPath,
    NoCorrections,
)
from slidecam.cli.terminal import EXIT_PARTLY, Terminal
from slidecam.errors import UsageError
from slidecam.geometry import Size

if TYPE_CHECKING:
    from slidecam.exchange.qupath import TileFormat

Purpose = Literal["training", "qupath"]
# As in slidecam.exchange, which loads zarr; a test holds the two together.
Tiles = Literal["auto", "geojson", "csv"]

Runs = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="One slide's folder in the --out of predict; for QuPath also the --out.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder to make. \\[default for QuPath: qupath in each slide's]",
    ),
]


@app.command(
    help=(
        "Write a run's labelled tiles as slidecam tiles does, or its tiles and heatmaps for QuPath"
        " (--to qupath)."
    )
)
def export(
    run: Runs,
    to: Annotated[
        Purpose,
        typer.Option(
            help="training: tiles with their labels, to train on. qupath: what QuPath loads."
        ),
    ] = "training",
    out: Out = None,
    annotations: Annotations = None,
    corrections: CorrectionsPath = None,
    no_corrections: NoCorrections = False,
    rename: Renamed = None,
    min_share: MinShare = 0.5,
    most_other: MostOther = 0.2,
    group_pattern: GroupPattern = "",
    bundle: BundlePath = None,
    slide: SlidePath = None,
    overwrite: OverwriteSet = False,
    trust: Trust = False,
    tiles: Annotated[
        Tiles,
        typer.Option(
            help=(
                "For QuPath: geojson to drag onto the slide beside our scripts' table; auto: if"
                " few."
            )
        ),
    ] = "auto",
    shown: Shown = None,
    zip_: Annotated[
        Path | None,
        typer.Option(
            "--zip",
            help=(
                "Of the --out of predict: write its report, tables and pictures as this file, for"
                " a colleague."
            ),
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Write a run's labelled tiles as slidecam tiles does, or its tiles and heatmaps for QuPath."""
    terminal = Terminal(json=json)
    with terminal.errors():
        if zip_ is not None:
            from slidecam.reports.report import write_zip

            facts = {"slides": write_zip(run, zip_), "bytes": zip_.stat().st_size}
            terminal.table(str(zip_), facts)
            return
        if to == "qupath":
            from slidecam.cli.output import size_shown

            _for_qupath(run, out, tiles, size_shown(shown), terminal, json=json)
            return
        from slidecam.cli.output import pairs_of, tile_set_facts
        from slidecam.foreground import LabelRule
        from slidecam.runs import Run
        from slidecam.teaching import ExportSpec, export_training

        spec = ExportSpec(
            rule=LabelRule(min_share, most_other),
            renamed=pairs_of("--map", rename or []),
            group_pattern=group_pattern,
            overwrite=overwrite,
            beside=not no_corrections,
            trust=trust,
        )
        folder = _needed(out)
        read = Run.open(run, bundle, slide)
        made = terminal.walk(export_training(read, folder, annotations, corrections, spec))
        terminal.table(str(folder), tile_set_facts(made))
        if not made.is_whole:
            raise typer.Exit(EXIT_PARTLY)


def _needed(out: Path | None) -> Path:
    if out is None:
        raise UsageError("No folder is named for the tiles.", "Pass --out.")
    return out


def _for_qupath(
    run: Path,
    out: Path | None,
    tiles: TileFormat,
    size: Size | None,
    terminal: Terminal,
    *,
    json: bool,
) -> None:
    from slidecam.exchange.qupath import export_for_qupath

    for exported in export_for_qupath(run, out, size, tiles):
        if json:
            terminal.line({"event": "Exported", "to": "qupath", **exported})
            continue
        counts = {
            "tiles": exported["tiles"]["count"],
            "as GeoJSON": exported["tiles"]["geojson"] or "no",
            "heatmaps": len(exported["heatmaps"]),
        }
        terminal.table(exported["folder"], counts)


Picture = Annotated[Path, typer.Option("--out", "-o", help="PNG to write.", show_default=False)]


# As in slidecam.reports, which loads matplotlib; a test holds the two together.
Overlaid = Literal["classes", "probability", "heatmap", "slide"]


@app.command(
    help=(
        "Tell how a run's tissue divides among the classes; where tiles overlap, a place counts"
        " once."
    )
)
def legend(
    run: RunFolder,
    threshold: Annotated[
        float | None,
        typer.Option(
            help=(
                "Probability or score from which a tile counts for a class. \\[default: the classes"
                " that it is called]"
            )
        ),
    ] = None,
    bundle: BundlePath = None,
    json: Json = False,
) -> None:
    """Tell how a run's tissue divides among the classes; overlapping places count once."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.output import legend_facts
        from slidecam.runs import Run
        from slidecam.runs import legend as legend_of

        read = Run.open(run, bundle)
        found = legend_of(read, threshold)
        if json:
            terminal.line(found.record())
        else:
            terminal.table(f"{run} ({read.tiles.classes.values})", legend_facts(found))


@app.command()
def compare(
    before: Annotated[
        Path,
        typer.Argument(
            help="One slide's folder of the old run; or the --out of predict.", show_default=False
        ),
    ],
    after: Annotated[
        Path,
        typer.Argument(
            help="The same slide's folder of the new run; or another --out.", show_default=False
        ),
    ],
    json: Json = False,
) -> None:
    """Hold two runs of one slide, or of all slides, beside each other.

    Areas and counts by class, tiles of another class, agreement; of two folders of outputs the
    share of each class, slide by slide.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.cohorts import is_cohort, show_comparison

        if is_cohort(before) and is_cohort(after):
            show_comparison(before, after, terminal, json=json)
            return
        from slidecam.cli.output import comparison_facts
        from slidecam.runs import Run, compare_runs

        found = compare_runs(Run.open(before), Run.open(after))
        if json:
            terminal.line(found.record())
        else:
            terminal.table(f"{before} and {after}", comparison_facts(found))


@app.command()
def summary(
    out: Annotated[Path, typer.Argument(help="The --out of slidecam predict.", show_default=False)],
    csv_dialect: Annotated[
        Literal["comma", "semicolon"],
        typer.Option(
            help=(
                "How --csv is written: comma, or semicolon with decimal commas, as spreadsheets of"
                " most of Europe read it."
            )
        ),
    ] = "comma",
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write the table here too, with all columns.")
    ] = None,
    json: Json = False,
) -> None:
    """Tell what became of every slide of a folder of outputs, and how much of each class it has."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.cohorts import show_cohort
        from slidecam.exchange.manifest import remembered
        from slidecam.exchange.tables import slide_rows, write_slides_csv

        reports = remembered(out).slides
        rows = slide_rows(reports)
        if csv is not None:
            write_slides_csv(rows, csv, csv_dialect)
        show_cohort(out, reports, rows, terminal, json=json)


@app.command()
def figure(
    run: RunFolder,
    out: Picture,
    show: Annotated[Overlaid, typer.Option(help="What to lay over the slide.")] = "classes",
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
        from slidecam.cli.output import box_of
        from slidecam.reports.run_figure import FigureSpec, write_figure
        from slidecam.runs import Run

        spec = FigureSpec(show, class_, method, box_of(region), threshold, longest, title)
        write_figure(out, Run.open(run, bundle, slide), spec)
        if json:
            terminal.line({"event": "Drawn", "out": str(out)})
        terminal.look_at(out)


LOOKED_AT = (
    "report.html",
    "panel.html",
    "faithfulness.html",
    "evaluation.html",
    "slides.html",
    "overview.png",
    "montage.png",
)
"""What a folder of results is opened by, the first that is there."""


@app.command(name="open")
def open_result(
    result: Annotated[
        Path,
        typer.Argument(
            help="A folder that slidecam has written, or one slide's folder in it.",
            show_default=False,
        ),
    ],
    json: Json = False,
) -> None:
    """Open the report, panel, evaluation or picture of a folder of results in the browser."""
    terminal = Terminal(json=json)
    with terminal.errors():
        page = _page_of(result)
        if json:
            terminal.line({"event": "Opened", "file": str(page)})
        terminal.look_at(page)
        if typer.launch(str(page)):
            terminal.say("No browser could be started: open the file above in one.")


def _page_of(result: Path) -> Path:
    """Return the page to open of a folder; UsageError if nothing there is looked at."""
    from slidecam.files import refuse_missing

    refuse_missing(result)
    if result.is_file():
        return result
    # A training keeps the pages of its parts below.
    for place in ("", "evaluation/", "evaluation/*/"):
        for name in LOOKED_AT:
            pages = sorted(result.glob(f"{place}{name}"))
            if pages:
                return pages[0]
    listed = ", ".join(LOOKED_AT)
    problem = "Nothing there can be looked at in a browser."
    raise UsageError(problem, f"Name a folder that holds one of {listed}.", result)
