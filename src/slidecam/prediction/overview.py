"""``overview.png`` of one slide: what is shown on it and what is said beside it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import RegionReadError
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.explain.catalogue import title_of
from slidecam.reports.picture import OverviewFacts, OverviewHeat, write_overview_png

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.models import Card
    from slidecam.prediction.heatmaps import WrittenHeatmap
    from slidecam.prediction.work import SlideWork
    from slidecam.runs.tiles import TileTable
    from slidecam.sources import Source

THUMBNAIL = 1200
"""Longest side of the slide in the overview, in pixels."""

SHOWN = 6
"""Heatmaps up to which every method is shown; of more, the first method's alone."""

NOT_CALLED = "not called"


def write_overview(
    path: Path,
    slide: str,
    work: SlideWork,
    results: tuple[TileTable, Sequence[WrittenHeatmap]],
) -> None:
    """Draw a slide with its classes and heatmaps.

    ``results`` are its tiles and what was written of its maps.
    """
    table, written = results
    shown = written if sum(len(one.class_names) for one in written) <= SHOWN else written[:1]
    whose = "picture" if work.model.sees_pictures else "slide"
    heats = [_heat(one, _label(one, whose), alone=len(shown) == 1) for one in shown]
    write_overview_png(path, _thumbnail(work.source), table, heats, _facts(slide, work, written))


def _thumbnail(source: Source) -> NDArray[np.uint8]:
    """Return the best picture of the slide that can still be decoded.

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
        (max(1, round(size.height * shrink)), max(1, round(size.width * shrink)), 3), 255, np.uint8
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
        notes=tuple("" if scale.called else NOT_CALLED for scale in painted.scales),
    )


def _label(written: WrittenHeatmap, whose: str) -> str:
    if written.heatmap.spec.fixed is None:
        return f"{written.title}, share of the {whose}'s scale"
    return f"{written.title}, raw values on a fixed scale"


def _ticks(written: WrittenHeatmap) -> tuple[str, str, str]:
    """Return what stands at the ends and in the middle of the colours."""
    spec, scale = written.heatmap.spec, written.heatmap.scales[0]
    low, high = (0.0, 1.0) if spec.fixed is None else (scale.low, scale.high)
    low = -high if spec.signed else low
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
    )


def _details(
    work: SlideWork, card: Card, written: Sequence[WrittenHeatmap]
) -> Iterator[tuple[str, str]]:
    if card.spacing is None:
        yield "Tile", f"the whole picture, as {card.input_px} x {card.input_px} px"
    else:
        yield "Tile", f"{card.tile_px} px at {card.spacing:g} µm/px"
    if work.spacing is not None:
        yield "Slide", f"{work.spacing.spacing.mean:.4g} µm/px ({work.spacing.origin})"
    if card.spacing is not None:
        yield "Tissue", work.foreground.origin
    if card.activation != "none":
        yield "Probabilities", card.classes.calibration
    for one in written:
        yield from _scale_rows(one)


def _scale_rows(written: WrittenHeatmap) -> Iterator[tuple[str, str]]:
    painted = written.heatmap
    if painted.spec.fixed is None:
        unit = " logits" if written.method == "cam" else ""
        yield (
            title_of(written.method),
            f"1 is raw {min(scale.high for scale in painted.scales):.3g}{unit}",
        )
    if painted.spec.threshold is not None:
        yield "Threshold", f"{painted.spec.threshold} of the {painted.spec.scope}"
