"""``slidecam predict`` and ``slidecam demo``: slides classified.

The options of `predict` are made from `PredictOptions`; here stands only what a shell's text
becomes.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slidecam.cli.app import BeginAnew, Json, Resume, app, of_existing
from slidecam.cli.stopping import heeded
from slidecam.cli.terminal import EXIT_PARTLY, Terminal
from slidecam.options import EVERY_SLIDE, option_of, options_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slidecam.options import NamedOption
    from slidecam.viewing import PictureView

TYPED: Mapping[str, Any] = {
    "heatmap_classes": list[str] | None,
    "heatmap_scale": list[str] | None,
    "exclude": list[str] | None,
    "spacings": Path | None,
    "shown": str | None,
    "outputs": str | None,
    "channels": str | None,
}
"""What a shell passes for the fields that no single word can say."""

EXISTING: Mapping[str, Any] = {"resume": Resume, "overwrite": BeginAnew}
"""The two words for what becomes of what lies in the output folder, of which one may be said."""

Slides = Annotated[
    list[str] | None,
    typer.Argument(help="Slides, URLs, folders of slides, or QuPath projects.", show_default=False),
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", help="Folder of the model bundle.", show_default=False),
]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Folder for the outputs, or its URL.",
        show_default=False,
    ),
]


Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS|local[:N]|FILE.yaml",
        help=(
            "Dask cluster that does the work: a scheduler's tcp://host:8786, N workers of this"
            " machine, or a YAML file. \\[default: this process]"
        ),
        show_default=False,
        rich_help_panel="Machine",
    ),
]


Log = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write what happens here too, each line with its time; appended."
    ),
]


def predict(
    model: str,
    out: str,
    *,
    slides: list[str] | None = None,
    cluster: str | None = None,
    log: Path | None = None,
    json: bool = False,
    **options: object,
) -> None:
    """Classify slides, and write one report of them all.

    Each slide has tiles.csv, tiles.geojson, heatmap.ome.zarr and overview.png.
    """
    terminal = Terminal(json=json)
    # An error of the call stands in its log, and one of the log itself on the terminal.
    with terminal.errors(), terminal.logged(log), terminal.errors():
        from slidecam.cluster import predict as events
        from slidecam.runs.spec import PredictSpec

        spec = PredictSpec(**_settings(options))
        run = events(slides or [], model, out, spec, cluster=cluster)
        raise typer.Exit(terminal.follow(heeded(run), out))


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the options say as fields; those that say nothing keep their defaults."""
    settings: dict[str, Any] = {}
    said = dict(options)
    if EXISTING.keys() <= said.keys():
        settings["existing"] = of_existing(**{name: said.pop(name) for name in EXISTING})
    for name, value in said.items():
        if value is not None:
            read = READ.get(name)
            settings[name] = value if read is None else read(value)
    return settings


def _scales(texts: list[str]) -> Mapping[str, tuple[float, float]]:
    from slidecam.cli.output import heatmap_scales

    return heatmap_scales(tuple(texts))


def _spacings(path: Path) -> Mapping[str, float]:
    from slidecam.sources import read_spacings

    return read_spacings(path)


def _size_of_every_slide(text: str) -> Mapping[str, tuple[int, int]]:
    from slidecam.cli.output import size_shown

    size = size_shown(text)
    return {} if size is None else {EVERY_SLIDE: (size.width, size.height)}


def _names(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    return tuple(part.strip() for part in text.split(","))


READ: Mapping[str, Callable[[Any], Any]] = {
    "heatmap_classes": tuple,
    "exclude": tuple,
    "heatmap_scale": _scales,
    "spacings": _spacings,
    "shown": _size_of_every_slide,
    "outputs": _names,
    "channels": _names,
}
"""From what a shell passes to the field's own type."""


OfVolume = dict[str, Any]
"""What a command is called with for which volume is meant, and how it is shown."""

Seen = Callable[[], "PictureView"]
"""What a command calls, where its errors are worded, for how a slide is to be seen."""

VIEW_OPTIONS = ("image", "plane", "time", "channels", "profile", "window")
"""Fields of `PredictOptions` that are those of `PictureView`."""

VOLUME_OPTIONS = ("volume", "axis", "keep_identifiers")
"""Fields of `PredictOptions` on a volume that are those of `TileChoice`."""


PANELS = {
    **dict.fromkeys(("recursive", "exclude", "table"), "Which slides"),
    **dict.fromkeys(("mpp", "spacings", "reader", "volume", "axis"), "Reading a file"),
    **dict.fromkeys(VIEW_OPTIONS, "Reading a file"),
    **dict.fromkeys(("overlap", "grid", "edge", "min_tissue", "mask"), "Tiling"),
    **dict.fromkeys(("heatmap", "heatmap_classes", "heatmap_against"), "Heatmap"),
    **dict.fromkeys(("heatmap_scale", "heatmap_threshold"), "Heatmap"),
    **dict.fromkeys(("heatmap_threshold_scope", "ngff"), "Heatmap"),
    **dict.fromkeys(("device", "precision", "backend", "batch", "workers", "memory_mb"), "Machine"),
    **dict.fromkeys(("shard", "slide_timeout"), "Machine"),
}
"""Under which words of the help each option stands; the others are what is said most."""


def _parameters() -> Iterator[inspect.Parameter]:
    yield _parameter("slides", Slides, None)
    yield _parameter("model", Model)
    yield _parameter("out", Out)
    for each in options_of("cli"):
        if each.name == "existing":
            yield from (_parameter(name, kind, default=False) for name, kind in EXISTING.items())
            continue
        default = None if each.name in TYPED else each.default
        yield _parameter(each.name, Annotated[_typed(each), _shown(each)], default)
    yield _parameter("cluster", Cluster, None)
    yield _parameter("log", Log, None)
    yield _parameter("json", Json, False)  # noqa: FBT003  (a parameter's default)


def _parameter(
    name: str,
    annotation: Any,  # noqa: ANN401  (a type)
    default: object = inspect.Parameter.empty,
) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


def chooses_picture(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `PictureView`; it is called with ``seen``, what they amount to.

    A keyword-only ``seen`` is among its own parameters.
    """

    def seen(said: Mapping[str, Any]) -> Seen:
        from slidecam.viewing import PictureView

        return partial(PictureView, **_settings(said))

    return _with_options(command, VIEW_OPTIONS, "seen", seen)


def chooses_volume(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command `VOLUME_OPTIONS`; it is called with ``of_volume``, what they say by name.

    A keyword-only ``of_volume`` is among its own parameters.
    """
    return _with_options(command, VOLUME_OPTIONS, "of_volume", _settings)


def _with_options(
    command: Callable[..., None],
    names: tuple[str, ...],
    taken: str,
    read: Callable[[Mapping[str, Any]], object],
) -> Callable[..., None]:
    """Give a command some options of `PredictOptions`, which it takes as one parameter, ``taken``.

    They stand before its last one, ``json``.
    """
    signature = inspect.signature(command, eval_str=True)
    own = [each for name, each in signature.parameters.items() if name != taken]
    last = [name for name in signature.parameters if name not in {"seen", "of_volume"}][-1]
    added = [
        _parameter(each.name, Annotated[_typed(each), _shown(each)], default=None)
        for each in map(option_of, names)
    ]

    def with_options(**options: Any) -> None:  # noqa: ANN401  (each is of its own type)
        said = {name: options.pop(name) for name in names}
        command(**options, **{taken: read(said)})

    with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
    place = [each.name for each in own].index(last)
    parameters = [
        each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in (*own[:place], *added, *own[place:])
    ]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return with_options


def _typed(each: NamedOption) -> Any:  # noqa: ANN401  (a type)
    return TYPED.get(each.name, each.kind)


def _shown(each: NamedOption) -> Any:  # noqa: ANN401  (typer's own)
    shown = each.shown
    default = f" \\[default: {shown.unset}]" if shown.unset else ""
    # A share or a spacing out of range is refused by PredictSpec, in the words of every door.
    counts = isinstance(shown.low, int)
    return typer.Option(
        each.flag,
        help=shown.help + default,
        metavar=shown.metavar,
        min=shown.low if counts else None,
        rich_help_panel=PANELS.get(each.name),
        show_default=each.default not in ((), {}) and each.name not in TYPED,
    )


# Typer reads a command's options from its signature.
predict.__signature__ = inspect.Signature(list(_parameters()))  # type: ignore[attr-defined]
app.command(
    help=(
        "Classify slides: tiles.csv, tiles.geojson, heatmap.ome.zarr and overview.png for each,"
        " and one report."
    )
)(predict)


@app.command("report")
@app.command()
def gather(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="The --out of predict.", show_default=False)
    ],
    json: Json = False,
) -> None:
    """Make manifest.json, report.html and the tables of a folder anew from its slides' records."""
    terminal = Terminal(json=json)
    with terminal.errors():
        from slidecam.cluster.gathering import RECOVERED
        from slidecam.cluster.gathering import gather as gathered

        log = gathered(out)
        counts = Counter(str(report.status) for report in log.reports)
        facts: dict[str, object] = {"slides": len(log.reports)}
        facts.update(counts)
        lost = [report.slide for report in log.reports if report.remedy == RECOVERED]
        if lost:
            facts["without a readable record"] = lost
        if json:
            facts = {"event": "Gathered", **facts}
        terminal.table(str(out), facts)
        for warned in log.warnings():
            terminal.say(warned.message)
        terminal.look_at(out / "report.html")
        if lost:
            raise typer.Exit(EXIT_PARTLY)


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
    from slidecam.sources.discovery import sample_folder

    terminal = Terminal(json=json)
    with terminal.errors():
        sample = sample_folder()
        spec = PredictSpec(overlap=0.5, existing="overwrite")
        run = events(sample / "slide.tif", sample / "bundle", out, spec)
        code = terminal.follow(heeded(run), str(out))
        terminal.look_at(out / "report.html", out / "slide" / "overview.png")
        raise typer.Exit(code)
