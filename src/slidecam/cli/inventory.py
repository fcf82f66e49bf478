"""``slidecam info``, ``models``, ``bundle``, ``card``, ``doctor``: what there is, a new bundle."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  (typer reads annotations at run time)
from typing import Annotated, Literal

import typer

from slidecam.cli.app import Json, Reader, Trust, app
from slidecam.cli.predicting import OfVolume, Seen, chooses_picture, chooses_volume
from slidecam.cli.terminal import EXIT_FAILED, EXIT_PARTLY, Terminal
from slidecam.errors import UsageError

# As in slidecam.models and .classes, which load torch and numpy; a test holds each pair together.
WeightNames = Literal["plain", "torchvision", "kimianet"]
Activation = Literal["softmax", "sigmoid", "none"]
Interpolation = Literal["bilinear", "bicubic", "nearest"]
HeadActivation = Literal["relu", "gelu", "silu"]


@app.command()
@chooses_picture
@chooses_volume
def info(
    file: Annotated[str, typer.Argument(help="A slide, picture, or URL.", show_default=False)],
    reader: Reader = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Read all of it, and say what cannot be read."),
    ] = False,
    json: Json = False,
    *,
    seen: Seen,
    of_volume: OfVolume,
) -> None:
    """Tell what a slide is: reader, levels, spacing and where it comes from.

    Its pixels are looked at with --check alone; what cannot be read of them ends it with 3.
    """
    from slidecam.cli.facts import describe_source, unreadable_parts

    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.viewing import VolumeView

        view = VolumeView(**of_volume, slide=seen())
        facts = describe_source(file, reader, view)
        if check:
            facts["unreadable"] = terminal.walk(unreadable_parts(file, reader, view), silent=True)
        terminal.table(facts["path"], facts)
        if facts.get("unreadable"):
            raise typer.Exit(EXIT_PARTLY)


@app.command()
def models(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Where to look.", show_default=False),
    ] = None,
    json: Json = False,
) -> None:
    """List the bundles in FOLDERS.

    Without any, in $SLIDECAM_MODELS, here, and in slidecam's own folders.
    """
    from slidecam.cli.facts import describe_bundles

    terminal = Terminal(json=json)
    with terminal.errors():
        rows = describe_bundles(folders or [])
        terminal.rows("bundles", rows)
        if any(row["problem"] for row in rows):
            raise typer.Exit(EXIT_PARTLY)


@app.command()
def bundle(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.", show_default=False)],
    checkpoint: Annotated[
        Path | None,
        typer.Argument(
            help="Weights, as --weights; or a folder of Hugging Face's, or a list of shards.",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Local file: .safetensors, or a pickle with --trust.",
            show_default=False,
        ),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            help=r"Architecture: a timm name, or one of slidecam's own. \[default: as lies beside]"
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help=(
                "Names, comma-separated (one with a comma in quotes: '\"a, b\",c'), or @FILE with"
                r" one per line. \[default: as lies beside the weights]"
            ),
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=r"Edge of a tile in pixels at --mpp. \[default: what the network sees]",
        ),
    ] = None,
    mpp: Annotated[
        float | None,
        typer.Option(
            help=(
                "µm per pixel that the classifier was trained at; leave it out for one that sees"
                " whole pictures."
            ),
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help=r"Name of the classifier. \[default: the folder's]"),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(min=1, help=r"Edge that tiles are resized to. \[default: --tile]"),
    ] = None,
    interpolation: Annotated[
        Interpolation | None,
        typer.Option(help=r"How tiles are resized. \[default: bilinear]"),
    ] = None,
    activation: Annotated[
        Activation | None,
        typer.Option(help=r"\[default: sigmoid for one class, else softmax]"),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help=r"Mean of R,G,B, or of grey, on 0…1. \[default: timm's for --arch]"),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help=r"Deviation of R,G,B, or of grey. \[default: timm's for --arch]"),
    ] = None,
    arch_arg: Annotated[
        list[str] | None,
        typer.Option(help="KEY=VALUE for the architecture; repeat for more."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Layer that ends the backbone, where timm does not know it."),
    ] = None,
    weights_format: Annotated[
        WeightNames,
        typer.Option(help="Whose names the weights have."),
    ] = "plain",
    weights_prefix: Annotated[
        str | None,
        typer.Option(
            help=r"What the weights' names begin with, where the file holds more. \[default: found]"
        ),
    ] = None,
    head_activation: Annotated[
        HeadActivation | None,
        typer.Option(help=r"Between the layers of a head of two. \[default: relu]"),
    ] = None,
    profile: Annotated[
        Literal["ignore", "srgb"],
        typer.Option(help="ICC profiles of its pictures: ignored, or applied to sRGB."),
    ] = "ignore",
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "not stated",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a bundle that lies there."),
    ] = False,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Make a bundle from local weights: a file, a checkpoint, shards, a folder of Hugging Face's.

    card.json and model.safetensors, proven by one forward pass. What lies beside the weights
    (config.json, a checkpoint's settings) says what no option does.
    """
    from slidecam.cli import output
    from slidecam.cli.facts import make_and_describe_bundle
    from slidecam.models import BundleSpec

    terminal = Terminal(json=json)
    with terminal.errors():
        spec = BundleSpec(
            architecture=arch or "",
            weights=_only_one(checkpoint, weights),
            class_names=output.class_names(classes or ""),
            spacing=mpp,
            tile_px=tile,
            architecture_args=output.architecture_arguments(tuple(arch_arg or ())),
            name=name,
            activation=activation,
            input_px=resize,
            interpolation=interpolation,
            mean=output.channel_numbers("--mean", mean),
            std=output.channel_numbers("--std", std),
            split=split,
            color_profile=profile,
            licence=licence,
            weights_format=weights_format,
            weights_prefix=weights_prefix,
            head_activation=head_activation,
            trust=trust,
            overwrite=overwrite,
        )
        terminal.table(str(out), make_and_describe_bundle(spec, out))


def _only_one(checkpoint: Path | None, weights: Path | None) -> Path:
    named = [path for path in (checkpoint, weights) if path is not None]
    if len(named) != 1:
        problem = "Which weights make the bundle is not said."
        if named:
            problem = f"Weights are named twice: {named[0]} and --weights {named[1]}."
        raise UsageError(problem, "Name one file or folder of weights.")
    return named[0]


@app.command()
def card(
    bundle: Annotated[Path, typer.Argument(help="Folder of a model bundle.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The page. \\[default: card.html in the bundle]"),
    ] = None,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Write a bundle's model card as a page, and print it.

    What it is, sees and comes from, its figures with their intervals, caveats, heatmaps' evidence.
    With --json the page is written where --out says so alone.
    """
    from slidecam.models.bundle import open_bundle
    from slidecam.reports.card_page import PAGE, card_page, write_card_page

    terminal = Terminal(json=json)
    with terminal.errors():
        opened = open_bundle(bundle, trust=trust)
        page = card_page(opened)
        path = out
        if path is None and not json:
            path = opened.path / PAGE
        if path is not None:
            write_card_page(page, path)
        if json:
            terminal.line({**page.record(), "page": path})
            return
        for title, facts in page.tables():
            terminal.table(title, facts)
        if path is not None:
            terminal.look_at(path)


@app.command("export-onnx")
def export_onnx(
    bundle: Annotated[Path, typer.Argument(help="Folder of a model bundle.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The .onnx file.", show_default=False)],
    tolerance: Annotated[
        float,
        typer.Option(help="How far a logit may be from torch's, relative to the largest above 1."),
    ] = 1e-4,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: Json = False,
) -> None:
    """Write a bundle's network as ONNX, compared with torch.

    Normalisation, temperature and names of classes stand in its metadata. Needs the extra onnx.
    """
    from slidecam.models.bundle import open_bundle

    terminal = Terminal(json=json)
    with terminal.errors():
        opened = open_bundle(bundle, trust=True)
        if out.exists() and not overwrite:
            raise UsageError("This file exists already.", "Pass --overwrite to replace it.", out)
        from slidecam.models.onnx_export import export_onnx as export

        made = export(opened, out, tolerance)
        facts = {
            "path": str(made.path),
            "largest difference of a logit": f"{made.difference:.3g}",
            "allowed": f"{made.tolerance:g}",
            "compared on": f"{made.tiles} tiles",
        }
        if opened.card.stain is not None:
            facts["stain"] = "Stain normalisation is not in the graph: see stain in its metadata."
        terminal.table(str(out), {**facts, "metadata": list(made.metadata)})


@app.command()
def doctor(json: Json = False) -> None:
    """Say what is installed, which readers and devices work, and what to do about what does not."""
    from slidecam.cli.facts import examine

    findings = examine()
    Terminal(json=json).rows("checks", [finding.to_row() for finding in findings])
    if any(finding.needed and not finding.well for finding in findings):
        raise typer.Exit(EXIT_FAILED)
