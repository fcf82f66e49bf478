"""``slidecam export``: a finished run's results in the form that something else wants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from slidecam.cli.app import BundlePath, Json, Shown, SlidePath, Trust, app
from slidecam.cli.teaching import (
    Annotations,
    CorrectionsPath,
    MinShare,
    MostOther,
    NoCorrections,
    Renamed,
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
        "--out", "-o", help="Folder to make. \\[default for QuPath: qupath in each slide's]"
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
    group_pattern: Annotated[
        str,
        typer.Option(
            help="Regular expression with (?P<group>…) for the patient in the slide's name."
        ),
    ] = "",
    bundle: BundlePath = None,
    slide: SlidePath = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a tile set that lies there.")
    ] = False,
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
    json: Json = False,
) -> None:
    """Write a run's labelled tiles as slidecam tiles does, or its tiles and heatmaps for QuPath."""
    terminal = Terminal(json=json)
    with terminal.errors():
        if to == "qupath":
            from slidecam.cli.output import size_shown

            _for_qupath(run, out, tiles, size_shown(shown), terminal, json=json)
            return
        from slidecam.cli.learning_output import pairs_of, told_of_tiles
        from slidecam.foreground import LabelRule
        from slidecam.runs import read_run_tiles
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
        read = read_run_tiles(run, bundle, slide)
        made = terminal.walk(export_training(read, folder, annotations, corrections, spec))
        terminal.table(str(folder), told_of_tiles(made))
        if not made.is_whole:
            raise typer.Exit(EXIT_PARTLY)


def _needed(out: Path | None) -> Path:
    if out is None:
        raise UsageError("no folder is named for the tiles.", "Pass --out.")
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

    for told in export_for_qupath(run, out, size, tiles):
        if json:
            terminal.line({"event": "Exported", "to": "qupath", **told})
        else:
            counts = {
                "tiles": told["tiles"]["count"],
                "as GeoJSON": told["tiles"]["geojson"] or "no",
            }
            terminal.table(told["folder"], {**counts, "heatmaps": len(told["heatmaps"])})
