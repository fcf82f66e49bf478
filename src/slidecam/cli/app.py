"""The commands. Their names and options are a contract.

QuPath scripts and other programs call them.

What a command needs is imported in its body, so that ``slidecam --help`` answers at once.
"""

from __future__ import annotations

import io
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from slidecam.cli.terminal import EXIT_FAILED, Terminal

app = typer.Typer(
    name="slidecam",
    help=(
        "Classify whole slides and show why: predictions and heatmaps in one pass. Research use"
        " only."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


class Scope(StrEnum):
    """Over what a threshold is found."""

    SLIDE = "slide"
    TILE = "tile"


class Grid(StrEnum):
    """Where tiles lie."""

    SLIDECAM = "slidecam"
    WSINFER = "wsinfer"


class Edge(StrEnum):
    """What happens to tiles that overhang the slide."""

    PAD = "pad"
    DROP = "drop"


class WeightNames(StrEnum):
    """Whose names the tensors of a weights file have."""

    PLAIN = "plain"
    TORCHVISION = "torchvision"
    KIMIANET = "kimianet"


class SliceAxis(StrEnum):
    """Along which the slices of a volume follow each other."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


class Precision(StrEnum):
    """Number format of the backbone."""

    FP32 = "fp32"
    BF16 = "bf16"


class Backend(StrEnum):
    """What runs the backbone."""

    FOLDED = "folded"
    EAGER = "eager"


class Ngff(StrEnum):
    """Version of OME-Zarr."""

    V04 = "0.4"
    V05 = "0.5"


class Activation(StrEnum):
    """What turns logits into probabilities."""

    SOFTMAX = "softmax"
    SIGMOID = "sigmoid"
    NONE = "none"


Json = Annotated[
    bool, typer.Option("--json", help="Print JSON for machines (one event per line for predict).")
]
Shown = Annotated[
    str | None,
    typer.Option(
        metavar="WIDTHxHEIGHT",
        help=(
            "Size of the slide as QuPath shows it, for its scripts. \\[default: the scanned bounds]"
        ),
        show_default=False,
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Load weights that can run code (TorchScript, pickles). Only from a source you trust.",
    ),
]

Run = Annotated[
    Path,
    typer.Argument(help="One slide's folder in the --out of slidecam predict.", show_default=False),
]
BundlePath = Annotated[
    Path | None, typer.Option("--bundle", help="Where the bundle lies, if not where run.json says.")
]
SlidePath = Annotated[
    str | None, typer.Option("--slide", help="Where the slide lies, if not where run.json says.")
]


@app.command(
    help=(
        "Classify slides: tiles.csv, tiles.geojson, heatmap.ome.zarr and overview.png for each,"
        " and one report."
    )
)
def predict(
    slides: Annotated[
        list[str],
        typer.Argument(
            help="Slides, URLs, folders of slides, or QuPath projects.", show_default=False
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Folder of the model bundle.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the outputs.", show_default=False)
    ],
    heatmap: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD[,METHOD]",
            help=(
                "cam, gradcam, gradcam++, hirescam, layercam, eigencam, finer-cam, dt-gradcam, or"
                " none. "
                "\\[default: gradcam++ up to 16 classes]"
            ),
        ),
    ] = None,
    heatmap_class: Annotated[
        list[str] | None, typer.Option(help="Class to map; repeat for more. \\[default: all]")
    ] = None,
    heatmap_against: Annotated[
        str | None,
        typer.Option(help="Class that finer-cam compares with. \\[default: the other one of two]"),
    ] = None,
    heatmap_scale: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[METHOD=]LOW,HIGH",
            help=(
                "Raw values painted as 0 and 1 on every slide; repeat for more. \\[default: a scale"
                " for each slide]"
            ),
        ),
    ] = None,
    heatmap_threshold: Annotated[
        str,
        typer.Option(help="dt-gradcam's threshold: otsu, mean+1.5, quantile:0.9 or fraction:0.5."),
    ] = "otsu",
    heatmap_threshold_scope: Annotated[
        Scope, typer.Option(help="Whether that is one threshold of the slide or each tile's own.")
    ] = Scope.SLIDE,
    mpp: Annotated[
        float | None,
        typer.Option(help="µm per level-0 pixel, where the file does not say or is wrong."),
    ] = None,
    mpp_csv: Annotated[
        Path | None, typer.Option(help="CSV with columns slide,mpp: µm per pixel for each slide.")
    ] = None,
    overlap: Annotated[
        float, typer.Option(help="Share of a tile that its neighbour repeats, 0 to below 1.")
    ] = 0.0,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="GeoJSON or PNG of the tissue, or a folder of <stem>.geojson / <stem>.png."
        ),
    ] = None,
    shown: Shown = None,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Tiles per batch. \\[default: found from memory]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="Number format of the backbone.")
    ] = Precision.FP32,
    existing: Annotated[
        bool | None,
        typer.Option(
            "--resume/--overwrite",
            help="Where a run exists: continue it, or begin anew.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan every slide, write nothing.")
    ] = False,
    grid: Annotated[
        Grid, typer.Option(help="slidecam's grid, or exactly WSInfer's.")
    ] = Grid.SLIDECAM,
    edge: Annotated[
        Edge, typer.Option(help="Tiles that overhang the slide: pad them, or drop them.")
    ] = Edge.PAD,
    min_tissue: Annotated[
        float, typer.Option(help="Least share of tissue in a tile (slidecam grid).")
    ] = 0.1,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode.")] = 4,
    memory: Annotated[int, typer.Option(min=1, help="MB for prefetched pixels.")] = 512,
    backend: Annotated[
        Backend, typer.Option(help="folded (conv + batch norm, channels last) or eager.")
    ] = Backend.FOLDED,
    outputs: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help=(
                "What to write for each slide, comma-separated: default, tiles.csv, tiles.geojson,"
                " heatmap.ome.zarr, overview.png, mask.png, qupath, tiles.parquet; of volumes"
                " slices.csv, montage.png, mask.nii.gz. \\[default: all but tiles.parquet]"
            ),
        ),
    ] = None,
    ngff: Annotated[Ngff, typer.Option(help="OME-Zarr version of the heatmap.")] = Ngff.V04,
    reader: Annotated[
        str | None, typer.Option(help="Reader to use instead of the one the content suggests.")
    ] = None,
    axis: Annotated[
        SliceAxis | None,
        typer.Option(help="Of volumes: along which slices are taken. \\[default: the card's]"),
    ] = None,
    volume: Annotated[
        str | None,
        typer.Option(
            metavar="N|NAME", help="Which volume of a 4-D file, from 0. \\[default: the first]"
        ),
    ] = None,
    keep_identifiers: Annotated[
        bool,
        typer.Option(
            "--keep-identifiers", help="Call outputs after files that are called after a patient."
        ),
    ] = False,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Classify slides, and write one report of them all.

    Each slide has tiles.csv, tiles.geojson, heatmap.ome.zarr and overview.png.
    """
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cli.output import heatmap_scales, size_shown
        from slidecam.prediction.pipeline import predict as events
        from slidecam.runs.spec import EVERY_SLIDE, PredictSpec
        from slidecam.sources import read_spacings

        size = size_shown(shown)
        spec = PredictSpec(
            heatmap=heatmap,
            heatmap_classes=tuple(heatmap_class or ()),
            heatmap_against=heatmap_against,
            heatmap_scale=heatmap_scales(tuple(heatmap_scale or ())),
            heatmap_threshold=heatmap_threshold,
            heatmap_threshold_scope=heatmap_threshold_scope.value,
            mpp=mpp,
            spacings=read_spacings(mpp_csv) if mpp_csv else {},
            shown={EVERY_SLIDE: (size.width, size.height)} if size else {},
            overlap=overlap,
            grid=grid.value,
            edge=edge.value,
            min_tissue=min_tissue,
            mask=mask,
            batch=batch,
            workers=workers,
            memory_mb=memory,
            device=device,
            precision=precision.value,
            backend=backend.value,
            existing="refuse" if existing is None else "resume" if existing else "overwrite",
            dry_run=dry_run,
            outputs=tuple(part.strip() for part in outputs.split(",")) if outputs else (),
            ngff=ngff.value,
            trust=trust,
            reader=reader,
            axis=None if axis is None else axis.value,
            volume=volume,
            keep_identifiers=keep_identifiers,
        )
        raise typer.Exit(terminal.follow(events(slides, model, out, spec), out))


@app.command()
def info(
    file: Annotated[str, typer.Argument(help="A slide, picture, or URL.", show_default=False)],
    reader: Annotated[
        str | None, typer.Option(help="Reader to use instead of the one the content suggests.")
    ] = None,
    json: Json = False,
) -> None:
    """Tell what a slide is: reader, levels, spacing and where it comes from."""
    from slidecam.cli.output import told_of_source

    terminal = Terminal(json=json)
    with terminal.errors():
        terminal.table(file, told_of_source(file, reader))


@app.command()
def models(
    folders: Annotated[
        list[Path] | None, typer.Argument(help="Where to look.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """List the bundles in FOLDERS.

    Without any, in $SLIDECAM_MODELS, here, and in slidecam's own folders.
    """
    from slidecam.cli.output import told_of_bundles

    terminal = Terminal(json=json)
    with terminal.errors():
        terminal.rows("bundles", told_of_bundles(folders or []))


@app.command()
def bundle(
    arch: Annotated[
        str,
        typer.Option(
            help="Architecture: a timm name, or one of slidecam's own.", show_default=False
        ),
    ],
    weights: Annotated[
        Path,
        typer.Option(
            help="Local file: .safetensors, or a pickle with --trust.", show_default=False
        ),
    ],
    classes: Annotated[
        str,
        typer.Option(
            help="Names, comma-separated, or @FILE with one per line.", show_default=False
        ),
    ],
    tile: Annotated[
        int, typer.Option(min=1, help="Edge of a tile in pixels at --mpp.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to make.", show_default=False)],
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
        str | None, typer.Option(help="Name of the classifier. \\[default: the folder's]")
    ] = None,
    resize: Annotated[
        int | None, typer.Option(min=1, help="Edge that tiles are resized to. \\[default: --tile]")
    ] = None,
    activation: Annotated[
        Activation | None, typer.Option(help="\\[default: sigmoid for one class, else softmax]")
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="Mean of R,G,B on 0…1. \\[default: timm's for --arch]")
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Deviation of R,G,B. \\[default: timm's for --arch]")
    ] = None,
    arch_arg: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE for the architecture; repeat for more.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Layer that ends the backbone, where timm does not know it.")
    ] = None,
    weights_format: Annotated[
        WeightNames, typer.Option(help="Whose names the weights have.")
    ] = WeightNames.PLAIN,
    licence: Annotated[str, typer.Option(help="Licence of the weights.")] = "not stated",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a bundle that lies there.")
    ] = False,
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Make a bundle from local weights.

    card.json and model.safetensors, proven by one forward pass.
    """
    from slidecam.cli import output
    from slidecam.models import BundleSpec

    terminal = Terminal(json=json)
    with terminal.errors():
        spec = BundleSpec(
            architecture=arch,
            weights=weights,
            class_names=output.class_names(classes),
            spacing=mpp,
            tile_px=tile,
            architecture_args=output.architecture_arguments(tuple(arch_arg or ())),
            name=name,
            activation=None if activation is None else activation.value,
            input_px=resize,
            mean=output.three_numbers("--mean", mean),
            std=output.three_numbers("--std", std),
            split=split,
            licence=licence,
            weights_format=weights_format.value,
            trust=trust,
            overwrite=overwrite,
        )
        terminal.table(str(out), output.told_of_new_bundle(spec, out))


@app.command()
def doctor(json: Json = False) -> None:
    """Say what is installed, which readers and devices work, and what to do about what does not."""
    from slidecam.cli.checkup import examine

    findings = examine()
    Terminal(json=json).rows("checks", [finding.to_row() for finding in findings])
    raise typer.Exit(
        EXIT_FAILED if any(finding.needed and not finding.well for finding in findings) else 0
    )


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the outputs.")] = Path(
        "demo-output"
    ),
    json: Json = False,
) -> None:
    """Classify the sample slide with the sample bundle and say where to look."""
    from slidecam.prediction.pipeline import predict as events
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources.samples import sample_folder

    terminal = Terminal(json=json)
    with terminal.errors():
        sample = sample_folder()
        spec = PredictSpec(overlap=0.5, existing="overwrite")
        code = terminal.follow(events(sample / "slide.tif", sample / "bundle", out, spec), out)
        terminal.look_at(out / "report.html", out / "slide" / "overview.png")
        raise typer.Exit(code)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"slidecam {version('slidecam')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    """Classify whole slides and show why. Research use only."""


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; what stands on ``sys.argv`` decides."""
    # A program that ends us politely (QuPath, a batch queue) gets the same clean stop as Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file name need not be text
    app()
