"""``slidecam explain``, ``faithfulness`` and ``methods``: a few tiles, looked at closely."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from slidecam.cli.app import Backend, Device, Json, Mpp, Precision, Reader, Trust, app
from slidecam.cli.predicting import OfVolume, Seen, chooses_picture, chooses_volume
from slidecam.cli.terminal import EXIT_PARTLY, Terminal

Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Folder of the model bundle.", show_default=False),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="Folder of a model bundle; repeat to compare several.",
        show_default=False,
    ),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Folder for the outputs.", show_default=False)
]
Methods = Annotated[
    str,
    typer.Option(
        help="Methods, comma-separated; slidecam methods lists them. usual is what predict makes."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="METHOD.KEY=VALUE, for example lime.samples=1000; repeat for more."),
]
Against = Annotated[
    str | None,
    typer.Option(help="Class that finer-cam compares with. \\[default: the other one of two]"),
]
At = Annotated[
    list[str] | None,
    typer.Option(help="X,Y: the tile round this place, level-0 pixels; repeat for more."),
]
Slices = Annotated[
    list[int] | None,
    typer.Option("--slice", help="Of a volume: this slice, as in slices.csv; repeat for more."),
]
Region = Annotated[Path | None, typer.Option(help="GeoJSON of an area: the tiles in it.")]
Top = Annotated[int | None, typer.Option(min=1, help="The N tiles most like the first --class.")]
Random = Annotated[
    int | None,
    typer.Option(min=1, help="N tiles of the tissue, or N pictures of a folder, by chance."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of --random.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result in --out.")]
Masks = Annotated[
    Path | None,
    typer.Option(
        help="GeoJSON of a slide's classes, or a folder of pictures' masks: where the class is."
    ),
]


@app.command()
@chooses_picture
@chooses_volume
def explain(
    source: Annotated[
        str,
        typer.Argument(help="A slide, a picture, or a folder of pictures.", show_default=False),
    ],
    model: Models,
    out: Out,
    methods: Methods = "usual,score-cam-clustered",
    settings: Settings = None,
    against: Against = None,
    class_: Annotated[
        list[str] | None,
        typer.Option(
            "--class",
            help="Class to explain; repeat for more. \\[default: each tile's predicted one]",
        ),
    ] = None,
    at: At = None,
    region: Region = None,
    top: Top = None,
    random: Random = None,
    slices: Slices = None,
    seed: Seed = 0,
    curves: Annotated[bool, typer.Option(help="Deletion and insertion curves of each map.")] = True,
    mpp: Mpp = None,
    reader: Reader = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    backend: Backend = "folded",
    overwrite: Overwrite = False,
    trust: Trust = False,
    json: Json = False,
    *,
    seen: Seen,
    of_volume: OfVolume,
) -> None:
    """Explain tiles by several methods, or models, side by side.

    panel.html, panel.png, explanation.json, maps.npz.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.output import places
        from slidecam.close_up.checks import EXPLANATION, CloseUpCall

        chosen = (_names(methods), _settings(settings, against, methods))
        call = CloseUpCall(source, tuple(model), *chosen, (region,), trust)
        call.refuse_unclear(out, EXPLANATION, overwrite=overwrite)
        named, view = places(at or []), seen()

        from slidecam.cli.output import spreads_in_words
        from slidecam.close_up import (
            CloseUpSpec,
            TileChoice,
            compare_models,
            explain_tiles,
        )
        from slidecam.faithfulness.removal import CurveSpec

        choice = TileChoice(
            at=named,
            region=region,
            top=top,
            random=random,
            seed=seed,
            of=class_[0] if class_ else None,
            mpp=mpp,
            reader=reader,
            seen=view,
            slices=tuple(slices or ()),
            **of_volume,
        )
        spec = CloseUpSpec(
            methods=call.methods,
            settings=call.settings,
            classes=tuple(class_ or ()),
            tiles=choice,
            curves=CurveSpec() if curves else None,
            device=device,
            precision=precision,
            backend=backend,
            trust=trust,
            overwrite=overwrite,
        )
        if len(model) == 1:
            looked = {"": terminal.walk(explain_tiles(source, model[0], out, spec))}
        else:
            looked = terminal.walk(compare_models(source, model, out, spec))
        if json:
            tiles = len(next(iter(looked.values())).tiles)
            terminal.line({"event": "Explained", "tiles": tiles, "out": str(out)})
        for line in spreads_in_words(looked):
            terminal.say(line)
        terminal.look_at(out / "panel.html", out / "panel.png")
        failed = [error for found in looked.values() for error in found.failed.values()]
        if failed:
            terminal.failed(failed)
            raise typer.Exit(EXIT_PARTLY)


@app.command(
    help=(
        "Measure how far to trust methods' maps, beside a random map: faithfulness.html, .json,"
        " .csv."
    )
)
@chooses_picture
@chooses_volume
def faithfulness(
    source: Annotated[
        str,
        typer.Argument(help="A slide, or a folder of pictures in classes.", show_default=False),
    ],
    model: Model,
    out: Out,
    methods: Methods = "usual,score-cam-clustered",
    settings: Settings = None,
    against: Against = None,
    class_: Annotated[
        str,
        typer.Option("--class", help="A class; predicted; or labelled: each picture's own."),
    ] = "predicted",
    at: At = None,
    region: Region = None,
    top: Top = None,
    random: Random = None,
    slices: Slices = None,
    seed: Seed = 0,
    measures: Annotated[
        str | None, typer.Option(help="Comma-separated. \\[default: all that apply]")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Random draws that every figure is repeated with.")
    ] = 3,
    randomisation: Annotated[
        bool,
        typer.Option(help="Check whether maps change when weights are made random."),
    ] = True,
    masks: Masks = None,
    card: Annotated[
        bool, typer.Option("--card", help="Keep what was found on the bundle's card.")
    ] = False,
    mpp: Mpp = None,
    reader: Reader = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    backend: Backend = "folded",
    overwrite: Overwrite = False,
    trust: Trust = False,
    json: Json = False,
    *,
    seen: Seen,
    of_volume: OfVolume,
) -> None:
    """Measure how far to trust methods' maps, beside a random map: faithfulness files."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.output import places
        from slidecam.close_up.checks import FAITHFULNESS, CloseUpCall

        chosen = (_names(methods), _settings(settings, against, methods))
        call = CloseUpCall(source, (model,), *chosen, (region, masks), trust)
        call.refuse_unclear(out, FAITHFULNESS, overwrite=overwrite)
        round_places, view = places(at or []), seen()

        from slidecam.close_up import MeasureSpec, TileChoice, measure_tiles
        from slidecam.faithfulness import (
            MEASURES,
            FaithfulnessSpec,
            RandomisationSpec,
            sentences,
        )

        named = at or region or top or random or slices
        choice = TileChoice(
            at=round_places,
            region=region,
            top=top,
            random=random if named else 40,
            seed=seed,
            of=None if class_ in {"predicted", "labelled"} else class_,
            mpp=mpp,
            reader=reader,
            seen=view,
            masks=masks,
            slices=tuple(slices or ()),
            **of_volume,
        )
        spec = MeasureSpec(
            methods=call.methods,
            settings=call.settings,
            explained=class_,
            tiles=choice,
            faithfulness=FaithfulnessSpec(
                _names(measures) if measures else tuple(MEASURES), tuple(range(seeds))
            ),
            randomisation=RandomisationSpec() if randomisation else None,
            onto_card=card,
            device=device,
            precision=precision,
            backend=backend,
            trust=trust,
            overwrite=overwrite,
        )
        report = terminal.walk(measure_tiles(source, model, out, spec))
        found = {str(number): sentence for number, sentence in enumerate(sentences(report), 1)}
        terminal.table("What was found", found)
        terminal.look_at(out / "faithfulness.html")


@app.command()
def methods(json: Json = False) -> None:
    """List the methods of explain and faithfulness, with their settings."""
    from slidecam.close_up.methods import listed_methods

    Terminal(json=json).rows("methods", listed_methods())


def _settings(settings: list[str] | None, against: str | None, methods: str) -> tuple[str, ...]:
    """Return the settings, ``--against`` among them."""
    from slidecam.errors import UsageError

    if against is None:
        return tuple(settings or ())
    if "finer-cam" not in _names(methods):
        raise UsageError(
            f"--against {against}: {methods} compares no classes.",
            "Add finer-cam to --methods.",
        )
    return (*(settings or ()), f"finer-cam.against={against}")


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
