"""``slidecam train``, ``recipes``, ``tiles``, ``slices``: classifiers, and what they learn of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slidecam.cli.app import (
    BeginAnew,
    Device,
    GroupPattern,
    Json,
    MinShare,
    MostOther,
    Mpp,
    MppCsv,
    OverwriteSet,
    Reader,
    Renamed,
    Resume,
    Trust,
    app,
    of_existing,
)
from slidecam.cli.predicting import Seen, chooses_picture
from slidecam.cli.terminal import EXIT_PARTLY, Terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

Data = Annotated[
    Path,
    typer.Option(
        help="Folder of class folders, of train/val/test folders of them, or a CSV.",
        show_default=False,
    ),
]
STOPPED = (
    "What was trained up to the last whole epoch is safe in --out.",
    "Repeat the same command with --resume to go on exactly there.",
)
STOPPED_EARLY = (
    "No epoch had ended yet: there is nothing to go on with.",
    "Repeat the same command to begin anew.",
)


@app.command()
@chooses_picture
def train(
    recipe: Annotated[
        Path,
        typer.Argument(
            help="A recipe: a TOML file, or a name that slidecam recipes lists.", show_default=False
        ),
    ],
    data: Data,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Folder for the outputs.", show_default=False),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="TABLE.KEY=VALUE over the recipe; repeat for more. Several values, a,b,c, are each"
            " trained and judged on the validation part.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="File that the network begins from, if the recipe wants one."),
    ] = None,
    resume: Resume = False,
    overwrite: BeginAnew = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Cross-validate: train as many times, each on another part of the data.",
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Partitions into --folds.")] = 1,
    final: Annotated[
        bool,
        typer.Option("--final", help="After --folds, train on all pictures, unmeasured."),
    ] = False,
    lr_range: Annotated[
        bool,
        typer.Option("--lr-range", help="Train nothing: try learning rates and suggest one."),
    ] = False,
    tensorboard: Annotated[
        bool,
        typer.Option("--tensorboard", help="Write every epoch's figures for TensorBoard too."),
    ] = False,
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps a recipe's features for further trainings on the same data."
        ),
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    json: Json = False,
    *,
    seen: Seen,
) -> None:
    """Train a classifier by a recipe.

    bundle/ (of --folds their ensemble), evaluation/, history.csv and what else, in --out.
    """
    terminal = Terminal(json=json)
    with terminal.errors(lambda: _stopped(out)):
        from slidecam.files import refuse_inputs, refuse_missing
        from slidecam.learning.recipes.shipped import found_recipe

        recipe = found_recipe(recipe)
        refuse_missing(data)
        refuse_inputs([out], [data])

        from slidecam.cli.output import fold_facts, training_facts, training_record
        from slidecam.learning.training.folds import (
            FoldSpec,
            bundles_left,
            cross_validate,
        )
        from slidecam.learning.training.rate_range import range_test
        from slidecam.learning.training.setup import StartingWeights, TrainingCall
        from slidecam.learning.training.sweep import read_with_axes, sweep
        from slidecam.learning.training.training import train as work
        from slidecam.steps import noted

        call = TrainingCall(
            out=out,
            weights=StartingWeights(weights, trust),
            existing=of_existing(resume=resume, overwrite=overwrite),
            device=device,
            cache=cache,
            tensorboard=tensorboard,
        )
        read, axes, notes = read_with_axes(recipe, settings or (), seen())
        _refuse_idle(
            folds,
            {"--repeats": repeats > 1, "--final": final},
            {"--lr-range": lr_range, "several values with --set": bool(axes)},
        )
        if lr_range:
            tested = terminal.walk(noted(notes, range_test(read, data, call)))
            terminal.table(str(out), tested.record() if json else tested.facts)
            terminal.look_at(*out.glob("lr_range.png"))
        elif axes:
            swept = terminal.walk(noted(notes, sweep(read, axes, data, call)))
            if json:
                terminal.line(swept.record())
                return
            terminal.rows("combinations", swept.rows())
            terminal.say(swept.chosen)
        elif folds is None:
            trained = terminal.walk(noted(notes, work(read, data, call)))
            terminal.table(str(out), training_record(trained) if json else training_facts(trained))
            terminal.look_at(*sorted((out / "evaluation").glob("*/evaluation.html")))
        else:
            spec = FoldSpec(folds, repeats, final)
            pooled, done = terminal.walk(noted(notes, cross_validate(read, data, call, spec)))
            left = bundles_left(out)
            facts = {**left, **fold_facts(pooled, done)}
            terminal.table(str(out), pooled.record() | left if json else facts)
            terminal.look_at(out / "evaluation" / "evaluation.html")


def _refuse_idle(
    folds: int | None,
    of_folds: Mapping[str, bool],
    others: Mapping[str, bool],
) -> None:
    """Refuse options that have no effect beside the others; UsageError."""
    from slidecam.errors import UsageError

    chosen = [name for name, given in others.items() if given]
    for option, given in of_folds.items():
        if given and folds is None:
            raise UsageError(f"{option} is for --folds.", "Pass --folds N, or leave it out.")
    if folds is not None:
        chosen.append("--folds")
    if len(chosen) > 1:
        problem = f"{' and '.join(chosen)} do not go together: each is a search or a measure."
        raise UsageError(problem, "Pass one of them; one value with --set KEY=VALUE.")


def _stopped(out: Path) -> tuple[str, str]:
    """Return what is left of a training, or of the trainings of folds, after Ctrl-C."""
    from slidecam.learning.training.folder import CHECKPOINT_FILE

    if any(out.glob(CHECKPOINT_FILE)) or any(out.glob(f"*/{CHECKPOINT_FILE}")):
        return STOPPED
    return STOPPED_EARLY


@app.command()
def recipes(json: Json = False) -> None:
    """List the recipes that train takes by name, and where they lie."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.learning.recipes.shipped import shipped_recipes, summary_of

        rows = []
        for name, path in shipped_recipes().items():
            rows.append({"recipe": name, "for": summary_of(path), "file": str(path)})
        terminal.rows("recipes", rows)


@app.command()
@chooses_picture
def tiles(
    slides: Annotated[
        list[str],
        typer.Argument(help="Slides, or folders of slides.", show_default=False),
    ],
    annotations: Annotated[
        Path,
        typer.Option(
            help="GeoJSON of the only slide, or a folder of <stem>.geojson for each.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.", show_default=False)],
    tile: Annotated[int, typer.Option(min=8, help="Edge of a tile in pixels at --spacing.")] = 224,
    spacing: Annotated[float, typer.Option(help="µm per pixel of the tiles.")] = 0.5,
    like: Annotated[
        Path | None,
        typer.Option(help="Bundle whose tiles to cut, instead of --tile, --spacing and --resize."),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(min=8, help="Edge of the pictures that are written. \\[default: --tile]"),
    ] = None,
    overlap: Annotated[
        float,
        typer.Option(help="Share of a tile that its neighbour repeats, 0 to below 1."),
    ] = 0.0,
    min_tissue: Annotated[
        float,
        typer.Option(help="Least share of tissue in a tile; 0 does not look for it."),
    ] = 0.1,
    min_share: MinShare = 0.5,
    most_other: MostOther = 0.2,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Class to take; repeat for more.")
    ] = None,
    rename: Renamed = None,
    group_pattern: GroupPattern = "",
    mpp: Mpp = None,
    mpp_csv: MppCsv = None,
    reader: Reader = None,
    overwrite: OverwriteSet = False,
    json: Json = False,
    *,
    seen: Seen,
) -> None:
    """Cut annotated slides into pictures to learn from.

    <class>/*.png, pictures.csv and tile_set.json.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.output import pairs_of, tile_set_facts
        from slidecam.foreground import LabelRule
        from slidecam.models import open_bundle
        from slidecam.sources import read_spacings
        from slidecam.tile_sets import TileSetSpec, write_tile_set

        spec = TileSetSpec(
            tile_px=tile,
            spacing=spacing,
            input_px=resize,
            overlap=overlap,
            min_tissue=min_tissue,
            rule=LabelRule(min_share, most_other),
            classes=tuple(classes or ()),
            renamed=pairs_of("--map", rename or []),
            group_pattern=group_pattern,
            mpp=mpp,
            spacings=read_spacings(mpp_csv) if mpp_csv else {},
            reader=reader,
            seen=seen(),
            overwrite=overwrite,
        )
        cut = spec if like is None else spec.like(open_bundle(like).card)
        made = terminal.walk(write_tile_set(slides, annotations, out, cut))
        terminal.table(str(out), tile_set_facts(made))
        if not made.is_whole:
            raise typer.Exit(EXIT_PARTLY)


@app.command()
def slices(
    table: Annotated[
        Path,
        typer.Argument(
            help="CSV of volumes: path,label[,first,last,step,mask,outside,volume,group,split].",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.", show_default=False)],
    recipe: Annotated[
        Path | None,
        typer.Option(help="Recipe, a file or a name, whose size and \\[volume] make the slices."),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(help="Bundle that the slices are made for, instead of --recipe.")
    ] = None,
    min_tissue: Annotated[
        float,
        typer.Option(help="Least foreground of a slice, as a share of the fullest slice's."),
    ] = 0.1,
    overwrite: OverwriteSet = False,
    json: Json = False,
) -> None:
    """Make slices of volumes into pictures to learn from, as predict would see them.

    <class>/*.png, pictures.csv and slice_set.json.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.errors import UsageError
        from slidecam.learning.recipes.recipe import read_recipe
        from slidecam.learning.recipes.shipped import found_recipe
        from slidecam.models import open_bundle
        from slidecam.tile_sets import SliceSetSpec, write_slice_set

        if (recipe is None) == (like is None):
            raise UsageError(
                "How the slices are to be seen is not clear.", "Pass one of --recipe and --like."
            )
        if recipe is not None:
            spec = SliceSetSpec.of_recipe(
                read_recipe(found_recipe(recipe)), min_tissue, overwrite=overwrite
            )
        else:
            assert like is not None  # noqa: S101  (for the type checker: one of both is given)
            card = open_bundle(like).card
            spec = SliceSetSpec.of_card(card, min_tissue, overwrite=overwrite)
        made = terminal.walk(write_slice_set(table, out, spec))
        facts = {"slices": sum(made.slices.values()), **made.slices, **made.volumes}
        terminal.table(str(out), facts)
        if not made.is_whole:
            raise typer.Exit(EXIT_PARTLY)
