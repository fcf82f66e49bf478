"""A slide's pictures: heatmaps painted from its store method by method, and ``overview.png``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import RegionReadError
from slidecam.exchange.ome_zarr import (
    RasterSpec,
    read_heatmap_ome_zarr,
    write_heatmap_ome_zarr,
)
from slidecam.explain.catalogue import method_for, title_of
from slidecam.explain.facts import map_note, measured, said_of_methods, shown_by, unit_of
from slidecam.foreground.tissue import DEFAULT_SPEC
from slidecam.heatmap import PaintSpec, paint
from slidecam.reports.picture import OverviewFacts, OverviewHeat, write_overview_png
from slidecam.runs.outputs import clear_heatmaps, heatmap_files
from slidecam.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.explain.map_request import MapRequest
    from slidecam.heatmap import Heatmap
    from slidecam.heatmap.maps import Scale
    from slidecam.models import Card
    from slidecam.prediction.work import SlideWork
    from slidecam.runs.legend import OwnParts
    from slidecam.runs.spec import PredictSpec
    from slidecam.runs.tiles import TileTable
    from slidecam.sources import Source

SHARE = "share of raw_at_1 over raw_at_0, from 0 to 1"
SIGNED_SHARE = (
    "share of raw_at_1, from -1 to 1: above 0 speaks for the class, below 0 against it, 0 is no"
    " evidence"
)
"""What the values of a heatmap mean, for whoever reads the file."""


@dataclass(frozen=True)
class WrittenHeatmap:
    """One method's heatmap on disk.

    Attributes
    ----------
    path, method, class_names
        Where it lies, what made it, and its channels.
    heatmap
        As it was painted: its scales and thresholds.
    against
        The class that the others were compared with; empty where none was.
    measured
        In a sentence how faithful the method was on other tiles; empty where nobody has measured.
    """

    path: Path
    method: str
    class_names: tuple[str, ...]
    heatmap: Heatmap
    against: str = ""
    measured: str = ""

    @property
    def title(self) -> str:
        """The method as people read it."""
        title = title_of(self.method)
        if self.against:
            return f"{title} against {self.against}"
        return title

    @property
    def notes(self) -> tuple[str, ...]:
        """For each channel why there is little or nothing to see, or an empty text."""
        _classes, height, width = self.heatmap.maps.shape
        unit = unit_of(self.method)
        return tuple(
            map_note(self.method, unit, scale.peak, height * width) for scale in self.heatmap.scales
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on the channels where there is little or nothing to see."""
        found = []
        for name, note in zip(self.class_names, self.notes, strict=True):
            if note:
                found.append(f"{self.title} of {name} is {note}.")
        return tuple(found)

    def record(self) -> dict[str, Any]:
        """Return what ``run.json`` says of it."""
        return {
            "file": self.path.name,
            "classes": list(self.class_names),
            **attributes(self),
        }


AT_ONCE = 2
"""Heatmaps that are painted at once: one is computed while another is packed and written."""


def write_heatmaps(work: SlideWork) -> tuple[WrittenHeatmap, ...]:
    """Write the heatmap of every method, in their order.

    Those that an earlier call left besides are removed.
    """
    request = work.model.request
    files = heatmap_files(request)
    clear_heatmaps(work.folder, kept=files.values())
    if request is None:
        return ()
    places = [work.folder / name for name in files.values()]
    with ThreadPoolExecutor(AT_ONCE, "slidecam-heatmap") as painters:
        written = painters.map(partial(_write, work), places, files)
        return tuple(one for one in written if one is not None)


def _write(work: SlideWork, path: Path, method: str) -> WrittenHeatmap | None:
    run, request, card = work.run, work.model.request, work.card
    if run is None or request is None:
        return None
    heatmap = paint(run.store, work.source.facts.size, paint_spec(method, request, card, work.spec))
    if heatmap is None:
        return None
    names = tuple(card.class_names[index] for index in request.classes)
    written = WrittenHeatmap(
        path, method, names, heatmap, rival(method, request, card), measured(card, method)
    )
    write_heatmap_ome_zarr(path, heatmap.bands(), _raster(written, work))
    return written


def paint_spec(method: str, request: MapRequest, card: Card, spec: PredictSpec) -> PaintSpec:
    """Return how a method's maps are painted."""
    threshold = None
    if method_for(method).thresholds:
        threshold = parse_threshold(spec.heatmap_threshold)
    return PaintSpec(
        method=request.place(method),
        classes=request.classes,
        activation=card.activation,
        thresholds=card.thresholds,
        signed=method_for(method).signed,
        fixed=spec.fixed_scale(method),
        threshold=threshold,
        scope=spec.heatmap_threshold_scope,
    )


def rival(method: str, request: MapRequest, card: Card) -> str:
    """Return the class that a method compares the others with; empty where it compares none."""
    if not method_for(method).compares:
        return ""
    if request.against is None:
        return "the other class"
    return card.class_names[request.against]


def _raster(written: WrittenHeatmap, work: SlideWork) -> RasterSpec:
    colors = dict(zip(work.card.class_names, work.card.class_colors, strict=True))
    return RasterSpec(
        name=work.source.facts.name,
        class_names=written.class_names,
        class_colors=tuple(colors[name] for name in written.class_names),
        size=written.heatmap.raster.size,
        pitch=written.heatmap.raster.pitch,
        spacing=work.um_per_pixel,
        signed=written.heatmap.spec.signed,
        ngff=work.spec.ngff,
        attributes=attributes(written),
    )


def attributes(written: WrittenHeatmap) -> dict[str, Any]:
    """Return what a reader of the values must know, as JSON.

    Raw = raw_at_0 + value * (raw_at_1 - raw_at_0).

    There is one raw value per channel: a class that no tile was called has a ``presence`` below 1,
    and is painted fainter (see `slide_scales`).
    """
    painted, spec = written.heatmap, written.heatmap.spec
    record: dict[str, Any] = {
        "method": written.method,
        "values": SIGNED_SHARE if spec.signed else SHARE,
        "shows": shown_by(written.method),
        "unit": unit_of(written.method),
        "measured": written.measured,
        "scale": "fixed" if spec.fixed else "slide",
        "raw_at_0": [scale.low for scale in painted.scales],
        "raw_at_1": [scale.high for scale in painted.scales],
    }
    if any(written.notes):
        record["notes"] = list(written.notes)
    if spec.fixed is None:
        record["presence"] = [scale.presence for scale in painted.scales]
    if written.against:
        record["against"] = written.against
    if spec.threshold is not None:
        cuts = None
        if painted.cuts is not None:
            cuts = list(painted.cuts)
        record |= {
            "threshold": str(spec.threshold),
            "threshold_scope": spec.scope,
            "thresholds": cuts,
        }
    return record


THUMBNAIL = DEFAULT_SPEC.least_px
"""Longest side of the slide in the overview, in pixels.

That of the picture on which tissue is looked for, on most slides: it is made once for both.
"""

SHOWN = 6
"""Heatmaps up to which every method is shown; of more, the first method's alone."""

NOT_CALLED = "not called"


def write_overview(
    path: Path,
    slide: str,
    work: SlideWork,
    results: tuple[TileTable, OwnParts, Sequence[WrittenHeatmap]],
    shown_as: NDArray[np.uint8],
) -> None:
    """Draw a slide with its classes and heatmaps.

    ``results`` are its tiles, what each of them counts for, and what was written of its maps;
    ``shown_as`` its `thumbnail`.
    """
    table, parts, written = results
    shown, whose = written, "slide"
    # Where nobody named methods, the one that leads is looked at, and the other lies beside it.
    if work.spec.heatmap is None or sum(len(one.class_names) for one in written) > SHOWN:
        shown = written[:1]
    if work.model.sees_pictures:
        whose = "picture"
    heats = [_heat(one, _label(one, whose), alone=len(shown) == 1) for one in shown]
    facts = _facts(slide, work, written)
    write_overview_png(path, shown_as, table, parts, heats, facts)


def thumbnail(source: Source) -> NDArray[np.uint8]:
    """Return the best picture of a slide that can still be decoded, (rows, columns, 3).

    Damage costs sharpness, then everything.
    """
    for longest in (THUMBNAIL, THUMBNAIL // 3, THUMBNAIL // 9):
        try:
            return source.overview(longest).pixels
        except RegionReadError:
            continue
    size = source.facts.size
    shrink = THUMBNAIL / max(size.width, size.height)
    return np.full(
        (max(1, round(size.height * shrink)), max(1, round(size.width * shrink)), 3),
        255,
        np.uint8,
    )


def _heat(written: WrittenHeatmap, label: str, *, alone: bool) -> OverviewHeat:
    image = read_heatmap_ome_zarr(written.path)
    level = image.level_for(THUMBNAIL)
    painted = written.heatmap
    return OverviewHeat(
        values=np.asarray(image.levels[level][:]),
        pitch=image.spec.pitch * 2**level,
        class_names=written.class_names,
        label=label,
        title="Heatmap" if alone else title_of(written.method),
        signed=painted.spec.signed,
        ticks=_ticks(written),
        notes=tuple(map(_aside, painted.scales, written.notes)),
    )


def _aside(scale: Scale, note: str) -> str:
    """Return what a reader must know of one panel, or nothing."""
    called = ""
    if not scale.called:
        called = NOT_CALLED
    # The record says it in full.
    return ", ".join(filter(None, (called, note.partition(":")[0])))


def _label(written: WrittenHeatmap, whose: str) -> str:
    if written.heatmap.spec.fixed is None:
        return f"{written.title}, share of the {whose}'s scale"
    return f"{written.title}, raw values on a fixed scale"


def _ticks(written: WrittenHeatmap) -> tuple[str, str, str]:
    """Return what stands at the ends and in the middle of the colours."""
    spec, scale = written.heatmap.spec, written.heatmap.scales[0]
    low, high = 0.0, 1.0
    if spec.fixed is not None:
        low, high = scale.low, scale.high
    if spec.signed:
        low = -high
    return f"{low:g}", f"{(low + high) / 2:g}", f"{high:g}"


def _facts(slide: str, work: SlideWork, written: Sequence[WrittenHeatmap]) -> OverviewFacts:
    return OverviewFacts(
        slide=slide,
        model=work.card.name,
        method=", ".join(title_of(method) for method in work.model.methods),
        date=datetime.now(UTC).date().isoformat(),
        size=work.source.facts.size,
        spacing=work.um_per_pixel,
        details=tuple(_details(work, work.card, written)),
        whole_picture=work.model.sees_pictures,
        said=tuple(_said(work, written)),
    )


def _said(work: SlideWork, written: Sequence[WrittenHeatmap]) -> Iterator[str]:
    """Yield what must be known of the heatmaps, and of those where there is little to see."""
    yield from said_of_methods(work.card, work.model.methods)
    for one in written:
        yield from one.warnings


def _details(
    work: SlideWork, card: Card, written: Sequence[WrittenHeatmap]
) -> Iterator[tuple[str, str]]:
    if card.spacing is None:
        yield "Tile", f"the whole picture, as {card.input_px} x {card.input_px} px"
    else:
        yield "Tile", f"{card.tile_px} px at {card.spacing:g} µm/px"
    if work.spacing is not None:
        yield "Slide", f"{work.spacing.spacing}/px ({work.spacing.origin})"
    if card.spacing is not None:
        yield "Tissue", work.foreground.origin
    if card.activation != "none":
        yield "Probabilities", card.classes.calibration
    for one in written:
        yield from _scale_rows(one)


def _scale_rows(written: WrittenHeatmap) -> Iterator[tuple[str, str]]:
    painted = written.heatmap
    if painted.spec.fixed is None:
        raw = f"1 is raw {min(scale.high for scale in painted.scales):.3g}"
        unit = unit_of(written.method)
        yield title_of(written.method), f"{raw} ({unit})" if unit else raw
    if painted.spec.threshold is not None:
        yield "Threshold", f"{painted.spec.threshold} of the {painted.spec.scope}"
