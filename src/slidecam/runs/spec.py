"""What `predict` may be set to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from slidecam.errors import UsageError
from slidecam.explain.catalogue import heatmap_methods, slide_methods
from slidecam.geometry import AXES, Size
from slidecam.options import (
    EVERY_METHOD,
    EVERY_SLIDE,
    NamedOption,
    PredictOptions,
    options_of,
)
from slidecam.runs.outputs import check_outputs
from slidecam.settings import check_all
from slidecam.sources import reader_names
from slidecam.sources.names import Shard, names_of
from slidecam.thresholds import parse_threshold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from slidecam.sources import SourceFacts
    from slidecam.sources.names import FoundSlide


@dataclass(frozen=True)
class PredictSpec(PredictOptions):
    """What `predict` may be set to: the fields of `PredictOptions`, checked.

    Some of them need more words than an option has room for:

    - ``heatmap``: methods, separated by commas (``gradcam++,cam``), ``none``, or None for
      ``gradcam++`` where the bundle allows it and has few classes.
    - ``heatmap_scale``: raw values that are painted as 0 and as 1 on every slide, by method; the
      name ``*`` stands for every method.
    - ``mpp`` and ``spacings``: µm per level-0 pixel for every slide, or by file name or stem; they
      win over what the files say.
    - ``overlap``, ``grid``, ``edge``, ``min_tissue``: see `TilingSpec`.
    - ``shown``: width and height of slides as QuPath shows them, by file name or stem, or of all of
      them by the name ``*``. They say where its coordinates begin (see `shown_corner`), and a
      folder ``qupath`` is written for its scripts.
    - ``mask``: one file for the only slide, or a folder of ``<stem>.geojson`` / ``<stem>.png``.
    - ``table``: CSV with a row for each slide: its path, and where known its name, µm per pixel,
      mask and group.
    - ``outputs``: names of `slidecam.runs.outputs.OUTPUT_TABLE`; empty, or the name ``default``,
      for those that are written where none is named.

    Raises
    ------
    UsageError
        If a number is out of its option's range, or there is no such reader, axis, heatmap,
        threshold or output.
    """

    def __post_init__(self) -> None:
        check_all(_checks(self))

    def fixed_scale(self, method: str) -> tuple[float, float] | None:
        """Return the raw values that a method's heatmaps are painted from and to.

        None for each slide's own scale.
        """
        return self.heatmap_scale.get(method, self.heatmap_scale.get(EVERY_METHOD))

    def share_of(self, slides: Sequence[FoundSlide]) -> tuple[FoundSlide, ...]:
        """Return the slides that are this call's: all, or those of its ``shard``."""
        if self.shard is None:
            return tuple(slides)
        return tuple(filter(Shard.parse(self.shard).takes, slides))

    def shown_size(self, facts: SourceFacts) -> Size | None:
        """Return the size that QuPath shows one slide at, by the first of its names."""
        for name in (*names_of(facts), EVERY_SLIDE):
            if name in self.shown:
                return Size(*self.shown[name])
        return None


def _checks(spec: PredictSpec) -> Iterator[Callable[[], object]]:
    """Yield what holds the settings against what there is, each by itself."""
    for each in options_of():
        yield partial(_check_range, each, getattr(spec, each.name))
    yield partial(_check_name, "reader", spec.reader, reader_names())
    yield partial(_check_name, "axis", spec.axis, AXES)
    if spec.heatmap is not None:
        yield partial(heatmap_methods, spec.heatmap)
    yield partial(parse_threshold, spec.heatmap_threshold)
    if spec.shard is not None:
        yield partial(Shard.parse, spec.shard)
    yield partial(check_outputs, spec.outputs)
    for method, (low, high) in spec.heatmap_scale.items():
        yield partial(_check_scale, method, low, high)


def _check_name(kind: str, name: str | None, known: Sequence[str]) -> None:
    if name is not None and name not in known:
        raise UsageError(f"There is no {kind} {name!r}.", f"Pass --{kind} {', '.join(known)}.")


def _check_range(each: NamedOption, value: float | None) -> None:
    low, high = each.shown.low, each.shown.high
    if value is None or low is None or high is None:
        return
    # Written so that not-a-number is outside too.
    if not low <= value <= high:
        raise UsageError(
            f"The {each.name} {value} is out of range.",
            f"Pass a value from {low:g} to {high:g}.",
        )


def _check_scale(method: str, low: float, high: float) -> None:
    if method != EVERY_METHOD and method not in slide_methods():
        raise UsageError(
            f"There is no heatmap {method!r} to scale.",
            f"Use one of {', '.join(slide_methods())}.",
        )
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(
            f"A heatmap cannot run from {low:g} to {high:g}.",
            "Pass --heatmap-scale LOW,HIGH.",
        )
