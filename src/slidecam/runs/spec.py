"""What `predict` may be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from slidecam.errors import UsageError
from slidecam.explain.catalogue import slide_methods
from slidecam.geometry import Size
from slidecam.runs.outputs import check_outputs
from slidecam.sources import COARSEST, FINEST, reader_names
from slidecam.thresholds import parse_threshold
from slidecam.viewing import AXES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.sources import SourceFacts
    from slidecam.viewing import Axis

LARGEST_NUMBER = 1_000_000
"""Of tiles per batch, threads and megabytes: what lies beyond is a slip of the finger."""

EVERY_METHOD = EVERY_SLIDE = "*"
"""What stands for every method where scales are told, and for every slide where sizes are."""


@dataclass(frozen=True)
class PredictSpec:
    """What `predict` may be told; the command line's options of the same names.

    Attributes
    ----------
    heatmap
        Methods, separated by commas (``gradcam++,cam``), ``none``, or None: ``gradcam++`` where the
        bundle allows it and has few classes.
    heatmap_classes
        Names of the classes to map; empty for all.
    heatmap_against
        Name of the class that Finer-CAM compares the others with; None for the other one of two.
    heatmap_scale
        Raw values that are painted as 0 and as 1 on every slide, by method; the name ``*`` stands
        for every method. Methods without an entry have a scale of the slide's own.
    heatmap_threshold, heatmap_threshold_scope
        Rule of DT Grad-CAM's threshold (see `parse_threshold`), and whether it is the slide's or
        each tile's own.
    mpp, spacings
        µm per level-0 pixel for every slide, or by file name or stem; they win over what the files
        say.
    overlap, grid, edge, min_tissue
        See `TilingSpec`.
    shown
        Width and height of slides as QuPath shows them, by file name or stem, or of all of them by
        the name ``*``. They say where its coordinates begin (see `shown_corner`), and a folder
        ``qupath`` is written for its scripts.
    mask
        GeoJSON or PNG that replaces the tissue detection: one file for the only slide, or a folder
        of ``<stem>.geojson`` / ``<stem>.png``.
    batch, workers, memory_mb
        Tiles per batch (None: found from memory), decoding threads, and what prefetched pixels may
        take.
    device, precision, backend
        ``auto``, ``cpu``, ``cuda``; ``fp32``, ``bf16``; ``folded``, ``eager``.
    existing
        What to do where a run lies already: ``refuse``, ``resume`` or ``overwrite``.
    dry_run
        Plan every slide and write nothing.
    outputs
        Names of the outputs to write for each slide (see `slidecam.runs.outputs.OUTPUT_TABLE`);
        empty, or the name ``default``, for those that are written where none is named.
    ngff
        Version of the heatmap's OME-Zarr: ``0.4`` or ``0.5``.
    trust
        Whether a bundle that can run code (TorchScript) may be loaded.
    reader
        Name of the reader to use instead of the one that the content suggests.
    axis, volume
        Of volumes: the axis along which slices are taken (None: the card's), and which volume of a
        4-D file, by its number from 0 or its name (None: the first).
    keep_identifiers
        Whether outputs may be called after files and folders that are called after a patient.
    """

    heatmap: str | None = None
    heatmap_classes: tuple[str, ...] = ()
    heatmap_against: str | None = None
    heatmap_scale: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    heatmap_threshold: str = "otsu"
    heatmap_threshold_scope: Literal["slide", "tile"] = "slide"
    mpp: float | None = None
    spacings: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    overlap: float = 0.0
    grid: Literal["slidecam", "wsinfer"] = "slidecam"
    edge: Literal["pad", "drop"] = "pad"
    min_tissue: float = 0.1
    mask: Path | None = None
    batch: int | None = None
    workers: int = 4
    memory_mb: int = 512
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    backend: Literal["folded", "eager"] = "folded"
    existing: Literal["refuse", "resume", "overwrite"] = "refuse"
    dry_run: bool = False
    outputs: tuple[str, ...] = ()
    ngff: Literal["0.4", "0.5"] = "0.4"
    trust: bool = False
    reader: str | None = None
    axis: Axis | None = None
    volume: str | None = None
    keep_identifiers: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("overlap", self.overlap, 0.0, 0.999),
            ("min_tissue", self.min_tissue, 0.0, 1.0),
            ("mpp", 1.0 if self.mpp is None else self.mpp, FINEST, COARSEST),
            ("batch", 1 if self.batch is None else self.batch, 1, LARGEST_NUMBER),
            ("workers", self.workers, 1, LARGEST_NUMBER),
            ("memory_mb", self.memory_mb, 1, LARGEST_NUMBER),
        ):
            # Written so that not-a-number is outside too.
            if not low <= value <= high:
                raise UsageError(
                    f"{name} {value} is out of range.", f"Pass a value from {low:g} to {high:g}."
                )
        if self.reader is not None and self.reader not in reader_names():
            raise UsageError(
                f"there is no reader {self.reader!r}.", f"Pass one of {', '.join(reader_names())}."
            )
        if self.axis is not None and self.axis not in AXES:
            raise UsageError(f"there is no axis {self.axis!r}.", f"Pass --axis {', '.join(AXES)}.")
        parse_threshold(self.heatmap_threshold)
        check_outputs(self.outputs)
        for method, (low, high) in self.heatmap_scale.items():
            _check_scale(method, low, high)

    def fixed_scale(self, method: str) -> tuple[float, float] | None:
        """Return the raw values that a method's heatmaps are painted from and to.

        None for each slide's own scale.
        """
        return self.heatmap_scale.get(method, self.heatmap_scale.get(EVERY_METHOD))

    def of_slide(self, facts: SourceFacts) -> tuple[float | None, Size | None]:
        """Return what was said of one slide, by its file name or else its stem.

        This is µm per pixel, and the size shown.
        """
        names = (Path(facts.path).name, facts.name)
        mpp = next((self.spacings[name] for name in names if name in self.spacings), self.mpp)
        shown = next(
            (self.shown[name] for name in (*names, EVERY_SLIDE) if name in self.shown), None
        )
        return mpp, None if shown is None else Size(*shown)


def _check_scale(method: str, low: float, high: float) -> None:
    if method != EVERY_METHOD and method not in slide_methods():
        raise UsageError(
            f"a scale for {method!r}: there is no such heatmap.",
            f"Use one of {', '.join(slide_methods())}.",
        )
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(
            f"a heatmap cannot run from {low:g} to {high:g}.", "Pass --heatmap-scale LOW,HIGH."
        )
