"""What `predict` may be set to, said once: every door makes its options from these fields.

The command line's options, the server's job options, napari's form and ``docs/options.md`` are read
from `PredictOptions`. A field names the doors that leave it out, each with its reason. Nothing
heavy is imported here, so that ``slidecam --help`` answers at once: `slidecam.runs.spec` adds the
checks that need readers and methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path  # noqa: TC003  (the doors read the types of the fields)
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_type_hints

from slidecam.geometry import COARSEST, FINEST, Axis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Value = TypeVar("Value")

Door = Literal["cli", "server", "napari"]

COUNT: Mapping[str, int] = MappingProxyType({"low": 1, "high": 1_000_000})
"""Of tiles per batch, threads and megabytes: what lies beyond is a slip of the finger."""

EVERY_METHOD = EVERY_SLIDE = "*"
"""What stands for every method where scales are set, and for every slide where sizes are."""

OWN_KEY = "slidecam"
"""Under which a field's `Option` lies in its metadata."""

BY_COMMAND = "the tab keeps to what is set often; the command line, which it shows, has it"
OF_THE_MACHINE = "threads and memory are the machine's, and its jobs share them"
ONE_SLIDE = "it is for several slides, and the tab runs the one that is open"
NO_TAB: Mapping[Door, str] = {"napari": BY_COMMAND}
BY_NAME: Mapping[Door, str] = {"server": "a job names its slides", "napari": ONE_SLIDE}


@dataclass(frozen=True)
class Option:
    """How doors show one field.

    Attributes
    ----------
    help
        One line of what it does.
    unset
        What holds where nothing is said, where the default's value does not say it: ``all``.
    flag, metavar
        The command line's name for it, where that is not the field's own, and for its value.
    low, high, step
        From where to where a number may lie, ends included, None where any will do; and by how much
        a form's arrows change it.
    without
        The doors that leave it out, each with its reason.
    """

    help: str
    unset: str = ""
    flag: str = ""
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    without: Mapping[Door, str] = field(default_factory=dict)


def option(
    default: Value | Callable[[], Value],
    help: str,  # noqa: A002  (what typer calls it)
    **shown: Any,  # noqa: ANN401  (the other fields of `Option`, which checks their names)
) -> Value:
    """Return a dataclass's field with its `Option`; a callable default is called for each."""
    metadata = {OWN_KEY: Option(help, **shown)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PredictOptions:
    """The fields of `slidecam.runs.spec.PredictSpec`; what each means is its option's help."""

    heatmap: str | None = option(
        None,
        "cam, gradcam, gradcam++, hirescam, layercam, eigencam, finer-cam, dt-gradcam, or none.",
        unset="cam where the head is linear, and gradcam++; up to 16 classes",
        metavar="METHOD[,METHOD]",
    )
    heatmap_classes: tuple[str, ...] = option(
        (),
        "Class to map; repeat for more.",
        unset="all",
        flag="--heatmap-class",
    )
    heatmap_against: str | None = option(
        None, "Class that finer-cam compares with.", unset="the other one of two", without=NO_TAB
    )
    heatmap_scale: Mapping[str, tuple[float, float]] = option(
        dict,
        "Raw values painted as 0 and 1 on every slide; repeat for more.",
        unset="a scale for each slide",
        metavar="[METHOD=]LOW,HIGH",
        without={"napari": ONE_SLIDE},
    )
    heatmap_threshold: str = option(
        "otsu",
        "dt-gradcam's threshold: otsu, mean+1.5, quantile:0.9 or fraction:0.5.",
        without=NO_TAB,
    )
    heatmap_threshold_scope: Literal["slide", "tile"] = option(
        "slide", "Whether that is one threshold of the slide or each tile's own.", without=NO_TAB
    )
    mpp: float | None = option(
        None,
        "µm per level-0 pixel, where the file does not say or is wrong.",
        unset="as the file says",
        low=FINEST,
        high=COARSEST,
        step=0.05,
    )
    spacings: Mapping[str, float] = option(
        dict,
        "CSV with columns slide,mpp: µm per pixel for each slide.",
        flag="--mpp-csv",
        without={"napari": ONE_SLIDE},
    )
    shown: Mapping[str, tuple[int, int]] = option(
        dict,
        "Size of the slide as QuPath shows it, for its scripts.",
        unset="the scanned bounds",
        metavar="WIDTHxHEIGHT",
        without={"napari": "it is for QuPath's scripts, which call the command line"},
    )
    overlap: float = option(
        0.0,
        "Share of a tile that its neighbour repeats, 0 to below 1.",
        low=0.0,
        high=0.999,
        step=0.25,
    )
    grid: Literal["slidecam", "wsinfer"] = option(
        "slidecam", "slidecam's grid, or exactly WSInfer's.", without=NO_TAB
    )
    edge: Literal["pad", "drop"] = option(
        "pad", "Tiles that overhang the slide: pad them, or drop them.", without=NO_TAB
    )
    min_tissue: float = option(
        0.1, "Least share of tissue in a tile (slidecam grid).", low=0.0, high=1.0, without=NO_TAB
    )
    mask: Path | None = option(
        None,
        "GeoJSON or PNG of the tissue, or a folder of <stem>.geojson / <stem>.png.",
        without={"napari": "the tab's Region is the mask: the view, or shapes that are drawn"},
    )
    batch: int | None = option(
        None, "Tiles per batch.", unset="found from memory", **COUNT, without=NO_TAB
    )
    workers: int = option(
        4, "Threads that decode.", **COUNT, without={"server": OF_THE_MACHINE, "napari": BY_COMMAND}
    )
    memory_mb: int = option(
        512,
        "MB for prefetched pixels.",
        flag="--memory",
        **COUNT,
        without={"server": OF_THE_MACHINE, "napari": BY_COMMAND},
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:N.")
    precision: Literal["fp32", "bf16"] = option(
        "fp32", "Number format of the backbone.", without=NO_TAB
    )
    backend: str = option(
        "folded",
        "auto (by a trial), folded, eager, compiled, openvino, or another package's.",
    )
    existing: Literal["refuse", "resume", "overwrite"] = option(
        "refuse", "Where a run exists: continue it, or begin anew.", flag="--resume/--overwrite"
    )
    dry_run: bool = option(
        False,  # noqa: FBT003  (a field's default)
        "Plan every slide, write nothing.",
        without={
            "server": "a job is sent for what it writes, and this writes nothing",
            "napari": "the tab shows tiles, and this classifies none",
        },
    )
    outputs: tuple[str, ...] = option(
        (),
        "What to write for each slide, comma-separated: default, tiles.csv, tiles.geojson,"
        " heatmap.ome.zarr, overview.png, mask.png, qupath, tiles.parquet; of volumes"
        " slices.csv, montage.png, mask.nii.gz.",
        unset="all but tiles.parquet",
        metavar="NAME,...",
        without=NO_TAB,
    )
    ngff: Literal["0.4", "0.5"] = option("0.4", "OME-Zarr version of the heatmap.", without=NO_TAB)
    trust: bool = option(
        False,  # noqa: FBT003  (a field's default)
        "Load weights that can run code (TorchScript, pickles). Only from a source you trust.",
        without={
            "server": "only who starts the server may say so, of its own bundle: serve --trust",
            "napari": "trust is given in a command that is read, not by a tick in passing",
        },
    )
    reader: str | None = option(
        None,
        "Reader to use instead of the one the content suggests.",
        without={"napari": "napari's own menu chooses who opens a file"},
    )
    axis: Axis | None = option(
        None, "Of volumes: along which slices are taken.", unset="the card's"
    )
    volume: str | None = option(
        None,
        "Which volume of a 4-D file, from 0.",
        unset="the first",
        metavar="N|NAME",
        without=NO_TAB,
    )
    image: str | None = option(
        None,
        "Which picture of a file with several, from 1.",
        unset="the largest that is no label, macro or thumbnail",
        metavar="N|NAME",
        without=NO_TAB,
    )
    plane: int | None = option(
        None,
        "Which plane of a stack, from 1.",
        unset="a stack is refused",
        metavar="N",
        without=NO_TAB,
    )
    time: int | None = option(
        None,
        "Which point in time of a series, from 1.",
        unset="a series is refused",
        metavar="N",
        without=NO_TAB,
    )
    channels: tuple[str, ...] = option(
        (),
        "Channels that are red, green and blue, by number from 1 or by name; one alone is grey.",
        unset="as the file says",
        metavar="R,G,B",
        without=NO_TAB,
    )
    profile: Literal["ignore", "srgb"] | None = option(
        None,
        "A file's ICC profile: ignore it, or show its colours in sRGB.",
        unset="the card's",
        without=NO_TAB,
    )
    recursive: bool = option(
        False,  # noqa: FBT003  (a field's default)
        "Search the folders of a folder too.",
        without=BY_NAME,
    )
    exclude: tuple[str, ...] = option(
        (), "Leave out this name or path, with * and ?.", metavar="PATTERN", without=BY_NAME
    )
    table: Path | None = option(
        None, "CSV of slides: path, and name, mpp, mask, group.", flag="--slides", without=BY_NAME
    )
    csv_dialect: Literal["comma", "semicolon"] = option(
        "comma",
        "How slides.csv and tiles.csv are written: semicolon has decimal commas.",
        without=BY_NAME,
    )
    shard: str | None = option(
        None,
        "Classify the K-th of N parts of the slides; a slide's name decides its part.",
        unset="all slides",
        metavar="K/N",
        without=BY_NAME,
    )
    window: str | None = option(
        None,
        "Of grey of more than 8 bits and of volumes: the intensities that are black and white, the"
        " percentiles (1%,99.5%), or full for the whole range.",
        unset="the card's, or found",
        metavar="LOW,HIGH",
        without=NO_TAB,
    )
    keep_identifiers: bool = option(
        False,  # noqa: FBT003  (a field's default)
        "Call outputs after files that are called after a patient.",
        without=NO_TAB,
    )
    slide_timeout: float | None = option(
        None,
        "Seconds after which a slide is given up, and a read of it that does not answer.",
        unset="a slide may take its time, one read 900 s",
        metavar="SECONDS",
        low=1,
        high=10_000_000,
        without=NO_TAB,
    )


@dataclass(frozen=True)
class NamedOption:
    """One field of `PredictOptions` with its `Option`.

    Attributes
    ----------
    name, kind, default
        The field's name, its type and what holds where nothing is said.
    shown
        How doors show it.
    """

    name: str
    kind: Any
    default: Any
    shown: Option

    @property
    def flag(self) -> str:
        """The command line's name for it: ``--heatmap-scale``, ``--resume/--overwrite``."""
        return self.shown.flag or f"--{self.name.replace('_', '-')}"


def options_of(door: Door | None = None) -> tuple[NamedOption, ...]:
    """Return the options that a door has, in the order of the fields; all of them for None."""
    return tuple(each for each in _OPTIONS.values() if door not in each.shown.without)


def option_of(name: str) -> NamedOption:
    """Return the option of one field; KeyError if there is none."""
    return _OPTIONS[name]


def _named_options() -> Iterator[NamedOption]:
    kinds, plain = get_type_hints(PredictOptions), PredictOptions()
    for one in fields(PredictOptions):
        name, shown = one.name, one.metadata[OWN_KEY]
        yield NamedOption(name, kinds[name], getattr(plain, name), shown)


_OPTIONS = MappingProxyType({each.name: each for each in _named_options()})


def command_words(spec: PredictOptions) -> list[str]:
    """Return what ``slidecam predict`` needs for ``spec``: each option off its default.

    ``spacings`` and sizes of single slides stand in files and folders, and are not among them.
    """
    words: list[str] = []
    for each in options_of("cli"):
        value = getattr(spec, each.name)
        if value != each.default:
            words += _words(each, value)
    return words


def _words(each: NamedOption, value: Any) -> list[str]:  # noqa: ANN401  (any field's value)
    if each.name == "existing":
        return [f"--{value}"]
    if value is True:
        return [each.flag]
    if each.name in {"outputs", "channels"}:
        return [each.flag, ",".join(value)]
    if not isinstance(value, tuple | Mapping):
        return [each.flag, number_or_text(value)]
    words: list[str] = []
    for part in value:
        if isinstance(value, tuple):
            words += [each.flag, part]
        else:
            words += _keyed_words(each, part, value[part])
    return words


def _keyed_words(each: NamedOption, key: str, value: Any) -> list[str]:  # noqa: ANN401  (as above)
    if each.name == "heatmap_scale":
        low, high = (number_or_text(part) for part in value)
        return [each.flag, f"{key}={low},{high}".removeprefix(f"{EVERY_METHOD}=")]
    if each.name == "shown" and key == EVERY_SLIDE:
        return [each.flag, f"{value[0]}x{value[1]}"]
    return []


def number_or_text(value: object) -> str:
    """Return a value as a command line and its help have it: whole numbers without a point."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return str(value)
