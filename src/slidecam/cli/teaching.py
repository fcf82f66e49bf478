"""``slidecam suggest`` and ``fine-tune``: classifiers taught."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slidecam.cli.app import (
    BundlePath,
    Device,
    Json,
    MinShare,
    MostOther,
    Renamed,
    RunFolder,
    SlidePath,
    Trust,
    app,
)
from slidecam.cli.terminal import Terminal

Annotations = Annotated[
    Path | None,
    typer.Option(help="GeoJSON of areas with classes, as QuPath exports it.", show_default=False),
]
CorrectionsPath = Annotated[
    Path | None,
    typer.Option("--corrections", help="Corrected tiles. \\[default: corrections.json in RUN]"),
]
NoCorrections = Annotated[
    bool,
    typer.Option("--no-corrections", help="Leave the corrections beside the run alone."),
]


@app.command(name="fine-tune")
def fine_tune(
    run: RunFolder,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder of the new bundle.", show_default=False),
    ],
    annotations: Annotations = None,
    corrections: CorrectionsPath = None,
    no_corrections: NoCorrections = False,
    new_class: Annotated[
        list[str] | None,
        typer.Option(help="Class to add to the classifier's; repeat for more."),
    ] = None,
    rename: Renamed = None,
    min_share: MinShare = 0.5,
    most_other: MostOther = 0.2,
    name: Annotated[
        str | None,
        typer.Option(help="Of the new classifier. \\[default: the old one's]"),
    ] = None,
    pull: Annotated[float, typer.Option(help="What a change of the head costs.")] = 0.01,
    hold: Annotated[float, typer.Option(help="How much the tiles that hold the head weigh.")] = 1.0,
    rehearse: Annotated[
        int, typer.Option(min=0, help="Other tiles of the slide that hold the head.")
    ] = 256,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance.")] = 0,
    device: Device = "auto",
    bundle: BundlePath = None,
    slide: SlidePath = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Teach a run's classifier what was drawn and said of its slide, in seconds.

    A new bundle with its provenance.
    """
    terminal = Terminal(json=json)
    with terminal.errors(
        ("Nothing was written but features beside the run.", "Repeat the command.")
    ):
        from slidecam.cli.output import fine_tuning_facts, pairs_of
        from slidecam.runs import Run

        read = Run.open(run, bundle, slide)

        from slidecam.foreground import LabelRule
        from slidecam.teaching import FineTuneSpec
        from slidecam.teaching import fine_tune as work
        from slidecam.teaching.head_tuning import TuningSpec

        spec = FineTuneSpec(
            rule=LabelRule(min_share, most_other),
            renamed=pairs_of("--map", rename or []),
            new_classes=tuple(new_class or ()),
            name=name,
            head=TuningSpec(pull, hold),
            rehearsed=rehearse,
            seed=seed,
            beside=not no_corrections,
            device=device,
            trust=trust,
        )
        tuned = terminal.walk(work(read, out, annotations, corrections, spec))
        if json:
            terminal.line({"event": "FineTuned", **tuned.record()})
        else:
            terminal.table(str(out), fine_tuning_facts(tuned))


@app.command()
def suggest(
    run: RunFolder,
    number: Annotated[int, typer.Option("--number", "-n", min=1, help="Tiles to suggest.")] = 20,
    annotations: Annotations = None,
    corrections: CorrectionsPath = None,
    no_corrections: NoCorrections = False,
    seed: Annotated[int, typer.Option(min=0, help="Decides between equals.")] = 0,
    bundle: BundlePath = None,
    json: Json = False,
) -> None:
    """List the tiles to label next.

    The least sure first, spread over the slide, without those that have a label.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.output import suggestion_rows
        from slidecam.runs import Run
        from slidecam.teaching import SuggestionSpec, label_tiles
        from slidecam.teaching import suggest as suggestions
        from slidecam.teaching.corrections import beside

        read = Run.open(run, bundle)
        labelled = label_tiles(
            read, annotations, beside(read, corrections, wanted=not no_corrections)
        )
        found = suggestions(read, number, labelled.rows.tolist(), SuggestionSpec(seed=seed))
        terminal.rows("suggestions", suggestion_rows(found))
