"""``slidecam export``: a finished run's results in another program's form."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from slidecam.cli.app import Json, Shown, app
from slidecam.cli.terminal import Terminal
from slidecam.errors import UsageError
from slidecam.geometry import Size


class Program(StrEnum):
    """Whom it is for."""

    QUPATH = "qupath"


class Tiles(StrEnum):
    """How tiles are written."""

    AUTO = "auto"
    GEOJSON = "geojson"
    CSV = "csv"


Runs = Annotated[Path, typer.Argument(help="The --out of predict, or a slide's folder in it.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder for the outputs. \\[default: qupath in each slide's]")
]


@app.command()
def export(
    runs: Runs,
    to: Annotated[Program, typer.Option(help="The program that it is for.")] = Program.QUPATH,
    out: Out = None,
    tiles: Annotated[
        Tiles, typer.Option(help="geojson to drag onto the slide beside the table of our scripts; auto: up to 100,000.")
    ] = Tiles.AUTO,
    shown: Shown = None,
    json: Json = False,
) -> None:
    """Write what QuPath loads: tiles, heatmaps as pictures and their places, from a run, without slide and model."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.exchange.finished import export_for_qupath

        for told in export_for_qupath(runs, out, size_shown(shown), tiles.value):
            if json:
                terminal.line({"event": "Exported", "to": to.value, **told})
            else:
                counts = {"tiles": told["tiles"]["count"], "as GeoJSON": told["tiles"]["geojson"] or "no"}
                terminal.table(told["folder"], {**counts, "heatmaps": len(told["heatmaps"])})


def size_shown(text: str | None) -> Size | None:
    """Return the size in ``WIDTHxHEIGHT``, or None where nothing was said."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,9})x([1-9]\d{0,9})", text.strip().lower())
    if match is None:
        raise UsageError(f"--shown {text!r} is no size.", "Pass --shown 40000x30000, in pixels.")
    return Size(int(match[1]), int(match[2]))
