"""A slide's heatmaps: painted from its store method by method, and told of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.exchange.ome_zarr import RasterSpec, write_heatmap_ome_zarr
from slidecam.explain.catalogue import method_for, title_of
from slidecam.heatmap import PaintSpec, paint
from slidecam.runs.outputs import clear_heatmaps, heatmap_files
from slidecam.thresholds import parse_threshold

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.heatmap import Heatmap
    from slidecam.inference import MapRequest
    from slidecam.models import Card
    from slidecam.prediction.work import SlideWork
    from slidecam.runs.spec import PredictSpec

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
    """

    path: Path
    method: str
    class_names: tuple[str, ...]
    heatmap: Heatmap
    against: str = ""

    @property
    def title(self) -> str:
        """The method as people read it."""
        return (
            f"{title_of(self.method)} against {self.against}"
            if self.against
            else title_of(self.method)
        )

    def record(self) -> dict[str, Any]:
        """Return what ``run.json`` says of it."""
        return {"file": self.path.name, "classes": list(self.class_names), **attributes(self)}


def write_heatmaps(work: SlideWork) -> tuple[WrittenHeatmap, ...]:
    """Write the heatmap of every method, in their order.

    Those that an earlier call left besides are removed.
    """
    request = work.model.request
    files = heatmap_files(request)
    clear_heatmaps(work.folder, kept=files.values())
    if request is None:
        return ()
    written = (_write(work.folder / name, method, work) for method, name in files.items())
    return tuple(one for one in written if one is not None)


def _write(path: Path, method: str, work: SlideWork) -> WrittenHeatmap | None:
    run, request, card = work.run, work.model.request, work.card
    if run is None or request is None:
        return None
    heatmap = paint(run.store, work.source.facts.size, paint_spec(method, request, card, work.spec))
    if heatmap is None:
        return None
    names = tuple(card.class_names[index] for index in request.classes)
    written = WrittenHeatmap(path, method, names, heatmap, rival(method, request, card))
    write_heatmap_ome_zarr(path, heatmap.bands(), _raster(written, work))
    return written


def paint_spec(method: str, request: MapRequest, card: Card, spec: PredictSpec) -> PaintSpec:
    """Return how a method's maps are painted."""
    return PaintSpec(
        method=request.place(method),
        classes=request.classes,
        activation=card.activation,
        thresholds=card.thresholds,
        signed=method_for(method).signed,
        fixed=spec.fixed_scale(method),
        threshold=parse_threshold(spec.heatmap_threshold)
        if method_for(method).thresholds
        else None,
        scope=spec.heatmap_threshold_scope,
    )


def rival(method: str, request: MapRequest, card: Card) -> str:
    """Return the class that a method compares the others with; empty where it compares none."""
    if not method_for(method).compares:
        return ""
    return "the other class" if request.against is None else card.class_names[request.against]


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
        "scale": "slide" if spec.fixed is None else "fixed",
        "raw_at_0": [scale.low for scale in painted.scales],
        "raw_at_1": [scale.high for scale in painted.scales],
    }
    if spec.fixed is None:
        record["presence"] = [scale.presence for scale in painted.scales]
    if written.against:
        record["against"] = written.against
    if spec.threshold is not None:
        record |= {
            "threshold": str(spec.threshold),
            "threshold_scope": spec.scope,
            "thresholds": _cuts(painted),
        }
    return record


def _cuts(painted: Heatmap) -> list[float] | None:
    return None if painted.cuts is None else list(painted.cuts)
