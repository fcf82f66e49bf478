"""A run as a figure for a paper.

The slide or a part of it, with its classes or one class's evidence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image

from slidecam.class_names import NONE_CALLED, classes_meant
from slidecam.classes import NONE_COLOR, SEVERAL_CALLED
from slidecam.drawing.style import percent_words
from slidecam.errors import UsageError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.explain.catalogue import title_of
from slidecam.geometry import Box, LevelBox, Size, nearest_better_level
from slidecam.reports.overlay import class_map, colored, heated, resampled, value_map
from slidecam.reports.picture import FigureClass, FigureFacts, write_figure_png
from slidecam.reports.sidebar import HeatScale, recorded_scale
from slidecam.runs.legend import SHARE_NAMES, legend
from slidecam.runs.tiles import cells
from slidecam.store import Status

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.runs.record_parts import RecordedHeatmap
    from slidecam.runs.run import Run
    from slidecam.runs.tiles import TileTable
    from slidecam.sources import Source

Shown = Literal["classes", "probability", "heatmap", "slide"]

LISTED = 12
"""Classes in the legend; of more, those of the largest share."""

BAND = 64
"""Rows of the picture that are read at a time."""


@dataclass(frozen=True)
class FigureSpec:
    """What a figure shows.

    Attributes
    ----------
    show
        ``classes``: the most probable class of each tile. ``probability`` of one class. ``heatmap``
        of one class. ``slide``: the slide alone.
    class_name
        For ``probability`` and ``heatmap``; None for the first one.
    method
        Of the heatmap (``gradcam++``); None for the run's first.
    region
        Level-0 pixels; None for the whole slide.
    threshold
        Probability below which a tile is left bare, for ``classes`` and ``probability``; None for
        none.
    longest
        Pixels of the picture's longer side, at most.
    title
        None for the slide's name.
    """

    show: Shown = "classes"
    class_name: str | None = None
    method: str | None = None
    region: Box | None = None
    threshold: float | None = None
    longest: int = 1600
    title: str | None = None

    def __post_init__(self) -> None:
        if self.show not in get_args(Shown):
            raise UsageError(
                f"a figure cannot show {self.show!r}.",
                f"Use one of {', '.join(get_args(Shown))}.",
            )
        if self.longest < 16:  # noqa: PLR2004  (less is no picture)
            raise UsageError(f"A figure of {self.longest} px shows nothing.", "Pass 16 or more.")


def write_figure(path: Path, run: Run, spec: FigureSpec | None = None) -> None:
    """Write a run as a PNG figure with scale bar and legend.

    Parameters
    ----------
    path
        The PNG.
    run
        Its slide is opened.
    spec
        None for the classes of the whole slide.

    Raises
    ------
    UsageError
        If the region lies off the slide, or there is no such class or heatmap.
    StoreError
        If another slide lies where the run's lay.
    SourceError
        If the slide cannot be read there.
    """
    spec = spec or FigureSpec()
    if run.is_volume:
        raise UsageError(
            "A figure shows a slide, and this is a run of a volume.",
            "Look at its montage.png.",
            run.folder,
        )
    region = _region(run, spec)
    overlay = _overlay(run, spec)
    with run.open_slide() as source:
        pixels = _pixels(source, region, spec.longest)
    shown, facts = overlay(pixels, region)
    spacing, subtitle = None, run.model
    if run.spacing is not None:
        spacing = run.spacing.x * region.width / pixels.shape[1]
    if facts.subtitle:
        subtitle += f"   ·   {facts.subtitle}"
    facts = replace(
        facts,
        title=spec.title or run.slide,
        subtitle=subtitle,
        um_per_px=spacing,
        details=(*facts.details, *_details(run, region)),
    )
    write_figure_png(path, shown, facts)


def _region(run: Run, spec: FigureSpec) -> Box:
    whole = Box(0, 0, run.size.width, run.size.height)
    if spec.region is None:
        return whole
    box = spec.region
    left, top = max(box.x, 0), max(box.y, 0)
    right, bottom = min(box.right, whole.width), min(box.bottom, whole.height)
    if right <= left or bottom <= top:
        raise UsageError(
            f"the region {box.x},{box.y},{box.width},{box.height} lies off the slide of"
            f" {whole.width} x {whole.height} px.",
            "Pass --region X,Y,WIDTH,HEIGHT in level-0 pixels.",
        )
    return Box(left, top, right - left, bottom - top)


def _pixels(source: Source, region: Box, longest: int) -> NDArray[np.uint8]:
    """Return the region, its longer side at most ``longest`` pixels, read in bands of one level."""
    shrink = max(1.0, max(region.width, region.height) / longest)
    columns, rows = (
        max(1, round(region.width / shrink)),
        max(1, round(region.height / shrink)),
    )
    level = nearest_better_level(source.facts.levels, shrink)
    picture = np.empty((rows, columns, 3), np.uint8)
    left, right = region.x / level.downsample, region.right / level.downsample
    for first in range(0, rows, BAND):
        last = min(first + BAND, rows)
        top, bottom = (
            (region.y + region.height * row / rows) / level.downsample for row in (first, last)
        )
        corner = int(np.floor(left)), int(np.floor(top))
        box = LevelBox(*corner, int(np.ceil(right)) - corner[0], int(np.ceil(bottom)) - corner[1])
        band = Image.fromarray(source.read(level.index, box))
        part = left - corner[0], top - corner[1], right - corner[0], bottom - corner[1]
        picture[first:last] = np.asarray(
            band.resize((columns, last - first), Image.Resampling.BOX, box=part)
        )
    return picture


class _Overlay:
    """What is laid over a region, and what is said of it."""

    def __init__(self, run: Run, spec: FigureSpec) -> None:
        self._run, self._spec = run, spec

    def __call__(
        self, pixels: NDArray[np.uint8], region: Box
    ) -> tuple[NDArray[np.uint8], FigureFacts]:
        """Return the slide itself."""
        del region
        return pixels, FigureFacts("", "", None)


class _Classes(_Overlay):
    def __call__(
        self, pixels: NDArray[np.uint8], region: Box
    ) -> tuple[NDArray[np.uint8], FigureFacts]:
        table = _sure(_within(self._run, region), self._spec.threshold)
        labels = class_map(
            table, Size(region.width, region.height), (pixels.shape[0], pixels.shape[1])
        )
        shown = colored(pixels, labels, np.array(table.class_colors, np.uint8))
        inside = replace(self._run, tiles=_centred(self._run, region))
        found, threshold = legend(inside, self._spec.threshold), self._spec.threshold
        rows = sorted(found.rows, key=lambda row: -row.called_share)[:LISTED]
        words, uncalled = "most probable class", NONE_CALLED
        shares = [row.called_share for row in rows]
        if threshold is not None:
            words += f", from a {table.classes.output_word} of {threshold:g}"
            shares = [row.share for row in rows]
            uncalled = f"none from {threshold:g}"
        elif table.classes.may_be_several:
            words += f"; {SEVERAL_CALLED}"
        entries = [
            FigureClass(row.name, row.color, percent_words(share))
            for row, share in zip(rows, shares, strict=True)
        ]
        if found.none_called.count:
            none = percent_words(found.none_called.share)
            entries.append(FigureClass(uncalled, NONE_COLOR, none))
        return shown, FigureFacts(
            "",
            words,
            None,
            tuple(entries),
            SHARE_NAMES[found.unit],
            details=_calibration(self._run),
        )


class _Probability(_Overlay):
    def __call__(
        self, pixels: NDArray[np.uint8], region: Box
    ) -> tuple[NDArray[np.uint8], FigureFacts]:
        run, spec = self._run, self._spec
        name = spec.class_name or run.tiles.class_names[0]
        index, table = run.index_of(name), _within(run, region)
        values = table.probabilities[:, index]
        kept = table.done & (values >= table.checked(spec.threshold))
        shape = pixels.shape[0], pixels.shape[1]
        heat = value_map(table.boxes[kept], values[kept], Size(region.width, region.height), shape)
        words = f"{run.tiles.classes.output_word} of {name}"
        scale = HeatScale(words)
        if spec.threshold is not None:
            words += f", from {spec.threshold:g}"
        return heated(pixels, heat), FigureFacts(
            "", words, None, heat=scale, details=_calibration(run)
        )


class _Heatmap(_Overlay):
    def __call__(
        self, pixels: NDArray[np.uint8], region: Box
    ) -> tuple[NDArray[np.uint8], FigureFacts]:
        run, spec = self._run, self._spec
        record = _heatmap_record(run, spec.method)
        image = read_heatmap_ome_zarr(run.folder / record.file)
        names = image.spec.class_names
        name = spec.class_name or names[0]
        if name not in names:
            raise UsageError(f"{record.file} has no class {name!r}.", classes_meant(name, names))
        wanted = (
            max(pixels.shape[:2])
            * max(run.size.width, run.size.height)
            / max(region.width, region.height)
        )
        level = image.level_for(round(wanted))
        values, corner, part = _cropped(
            image.levels[level], names.index(name), region, image.spec.pitch * 2**level
        )
        heat = resampled(values, part, (pixels.shape[0], pixels.shape[1]), corner)
        title = title_of(record.method)
        scale = recorded_scale(title, record, names.index(name), signed=image.spec.signed)
        return heated(pixels, heat, signed=image.spec.signed), FigureFacts(
            "",
            f"{title} for {name}",
            None,
            heat=scale,
            details=run.record.beside(record),
            said=record.said(names.index(name)),
        )


def _overlay(run: Run, spec: FigureSpec) -> _Overlay:
    kinds = {
        "slide": _Overlay,
        "classes": _Classes,
        "probability": _Probability,
        "heatmap": _Heatmap,
    }
    return kinds[spec.show](run, spec)


def _within(run: Run, region: Box) -> TileTable:
    """Return the tiles whose own part reaches into a region.

    That part, counted from the region's corner.
    """
    own = cells(run.tiles.boxes, run.steps)
    low, high = own[:, :2], own[:, :2] + own[:, 2:]
    inside = np.all((high > (region.x, region.y)) & (low < (region.right, region.bottom)), axis=1)
    return _some(
        replace(run.tiles, boxes=own - np.array([region.x, region.y, 0, 0])),
        np.asarray(inside),
    )


def _centred(run: Run, region: Box) -> TileTable:
    """Return the tiles whose centre lies in a region."""
    centres = run.tiles.boxes[:, :2] + run.tiles.boxes[:, 2:] / 2
    low, high = (region.x, region.y), (region.right, region.bottom)
    return _some(run.tiles, np.asarray(np.all((centres >= low) & (centres < high), axis=1)))


def _some(table: TileTable, kept: NDArray[np.bool_]) -> TileTable:
    own = table.disagreement
    if own is not None:
        own = own[kept]
    boxes, status = table.boxes[kept], table.status[kept]
    values = table.probabilities[kept]
    return replace(table, boxes=boxes, status=status, probabilities=values, disagreement=own)


def _sure(table: TileTable, threshold: float | None) -> TileTable:
    """Return the table with the tiles below a threshold as if they were not classified."""
    if threshold is None:
        return table
    unsure = ~(table.probabilities.max(axis=1, initial=-np.inf) >= threshold)
    status = np.where(unsure & table.done, np.uint8(Status.PENDING), table.status).astype(np.uint8)
    return replace(table, status=status)


def _heatmap_record(run: Run, method: str | None) -> RecordedHeatmap:
    """Return what ``run.json`` says of a method's heatmap."""
    recorded = run.record.heatmaps
    for heatmap in recorded:
        if method in {None, heatmap.method} and (run.folder / heatmap.file).exists():
            return heatmap
    wanted = "heatmap"
    if method:
        wanted = f"heatmap by {method}"
    known = ", ".join(heatmap.method for heatmap in recorded)
    if known:
        wanted += f" but by {known}"
    raise UsageError(
        f"There is no {wanted}.",
        "Repeat slidecam predict with --heatmap METHOD, or show something else.",
        run.folder,
    )


def _cropped(
    array: Any,  # noqa: ANN401  (a Zarr array)
    index: int,
    region: Box,
    pitch: float,
) -> tuple[NDArray[np.float32], tuple[float, float], tuple[float, float]]:
    """Return what a region needs of a heatmap's level, with the region's corner and size in it."""
    left, top, right, bottom = (
        edge / pitch for edge in (region.x, region.y, region.right, region.bottom)
    )
    x, y = max(int(left) - 1, 0), max(int(top) - 1, 0)
    values = np.asarray(
        array[index, y : int(np.ceil(bottom)) + 1, x : int(np.ceil(right)) + 1],
        np.float32,
    )
    return values, (left - x, top - y), (right - left, bottom - top)


def _calibration(run: Run) -> tuple[tuple[str, str], ...]:
    kind = "Scores"
    if run.tiles.classes.are_probabilities:
        kind = "Probabilities"
    rows = [(kind, run.calibration)]
    rows += [("Members", said) for said in run.tiles.disagreement_words]
    return tuple(rows)


def _details(run: Run, region: Box) -> list[tuple[str, str]]:
    details = []
    if region != Box(0, 0, run.size.width, run.size.height):
        place = f"x {region.x}, y {region.y}; {region.width} x {region.height} px"
        details.append(("Region", place))
    if run.spacing is not None:
        details.append(("Slide", f"{run.spacing}/px"))
    return [*details, ("Tiles", f"{int(run.tiles.done.sum()):,} classified")]
