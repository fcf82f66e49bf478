"""Which samples of a picture of more than 8 bits are shown as black and as white.

Colours by the format alone, so that they are alike in every slide of one scanner; and what is dark
by that is said to be. Grey that uses next to nothing of the format's range is shown through a
window, as volumes are, found once for all levels and tiles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from slidecam.errors import RefusedSourceError, RegionReadError
from slidecam.geometry import LevelBox
from slidecam.pixels import OPAQUE
from slidecam.sources._library import DECODING_ERRORS
from slidecam.viewing import FULL_RANGE, Window, window_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from slidecam.geometry import Size
    from slidecam.sources.source import Source, SourceFacts
    from slidecam.viewing import VolumeView

BITS = 8
_BRIGHT = 0.5
"""Share of the format's range from which on a sample is bright: 12 or 15 bits in 16 are not."""

_BRIGHT_SHARE = 1e-4
"""Of all samples, such as a sensor's hot pixels: so few may be bright in what is dark."""

_MOSTLY_DARK, _DIM = 95.0, 16
"""Percentile that is said to be dark where it is shown darker than this, of 255."""

_ALL_BUT = 0.5, 99.5
"""Percentiles between which a picture is said to have no contrast, where they are shown alike."""

_AT_ONCE = 2**22
"""Pixels of a level that is looked at whole."""

_EDGE, _ROWS = 512, 4
"""Of a larger one: boxes of this edge, so many along each side."""


def note_on_bits(bits: int) -> tuple[str, ...]:
    """Return the note of samples that are scaled to the 8 bits of RGB; nothing where they fit."""
    if bits > BITS:
        return (f"Samples of {bits} bits were scaled to 8.",)
    return ()


class Range(NamedTuple):
    """The samples that are black and white, and what is said of that.

    Attributes
    ----------
    low, high
        Samples; None for both where the format's own range holds.
    readings
        Sentences.
    """

    low: float | None = None
    high: float | None = None
    readings: tuple[str, ...] = ()

    @property
    def limits(self) -> tuple[float, float] | None:
        """Both ends; None where the format's own range holds."""
        if self.low is None or self.high is None:
            return None
        return self.low, self.high

    def put_into(self, facts: SourceFacts) -> SourceFacts:
        """Return facts that say so."""
        return replace(facts, window=self.limits, readings=(*facts.readings, *self.readings))


def range_of(
    path: str,
    samples: NDArray[np.generic],
    bits: int,
    view: VolumeView,
    *,
    grey: bool,
) -> Range | None:
    """Return which samples of a picture are shown as black and as white.

    None where nobody says so, and it has colours, whose range is that of their format.

    Parameters
    ----------
    path
        The file, for messages.
    samples
        All of them, or some from everywhere, any shape; the larger the lighter.
    bits
        Of a sample: the format's range ends at 2**bits - 1.
    view
        What was chosen, and the window of a volume's classifier.
    grey
        Whether a pixel is one sample.

    Raises
    ------
    RefusedSourceError
        If all of a grey picture is one sample that is shown black.
    """
    chosen, largest = view.slide.window, 2**bits - 1
    if chosen == FULL_RANGE:
        return Range()
    values = samples.astype(np.float32).ravel()
    if chosen is not None:
        low, high = _rounded(window_of(chosen).limits(values))
        said = f"Window {low:,.9g} to {high:,.9g} of {largest:,}, as --window says, is black to"
        return Range(low, high, (f"{said} white.",))
    if not grey or not values.size:
        return None
    return _range_of_grey(path, values, bits, view.window)


def _range_of_grey(path: str, values: NDArray[np.float32], bits: int, window: Window) -> Range:
    """Return which samples of a grey picture are black and white, where nobody says so."""
    largest = 2**bits - 1
    if not np.ptp(values):
        return Range(readings=tuple(_darkness(path, round(float(values[0]) / largest * OPAQUE))))
    if float((values >= _BRIGHT * largest).mean()) > _BRIGHT_SHARE:
        return Range(readings=tuple(_doubts(values, largest)))
    if window.kind == "fixed":  # in the unit of volumes, which a picture does not have
        window = Window()
    low, high = _rounded(window.limits(values))
    said = f"Window {low:,.9g} to {high:,.9g} of {largest:,} is black to white: {window.words} of"
    said = f"{said} its samples above air, which use little of the range of {bits} bits;"
    return Range(low, high, (f"{said} --window LOW,HIGH sets another, --window full none.",))


def _rounded(limits: tuple[float, float]) -> tuple[float, float]:
    """Return limits with as many digits as float32 has, so that what is said is what is done."""
    low, high = (float(f"{end:.7g}") for end in limits)
    return low, high


def _doubts(values: NDArray[np.float32], largest: int) -> Iterator[str]:
    """Yield that nearly all of a grey picture is dark, or alike, though some of it is bright."""
    shown = np.percentile(values, (*_ALL_BUT, _MOSTLY_DARK)) / largest * OPAQUE
    low, high, most = shown.tolist()
    if most < _DIM:
        said = f"{_MOSTLY_DARK:g} % of it are darker than {most:.1f} of {OPAQUE}, as few samples"
        yield f"{said} use the range; --window LOW,HIGH shows more."
    elif high - low < _DIM:
        said = f"It has little contrast: nearly all of it is shown as {low:.0f} to {high:.0f} of"
        said = f"{said} {OPAQUE}, as its samples use little of the range;"
        yield f"{said} --window LOW,HIGH shows more."


def samples_of(
    size: Size,
    read: Callable[[LevelBox], NDArray[np.generic]],
    blank: int | None = None,
) -> NDArray[np.generic]:
    """Return the samples of a level, or of parts from all over it; (any,).

    Parameters
    ----------
    size
        Of the level.
    read
        Returns a box of it.
    blank
        The sample that stands where a file holds nothing, which is left out.
    """
    found: list[NDArray[np.generic]] = []
    for box in _looked_at(size):
        try:
            part = read(box).ravel()
        except DECODING_ERRORS:
            continue  # reading it says so
        if blank is not None:
            part = part[part != blank]
        found.append(part)
    if not found:
        return np.zeros(0, np.uint8)
    return np.concatenate(found)


def _darkness(
    path: str,
    brightest: int,
    *,
    whole: bool = True,
    windowed: bool = True,
) -> Iterator[str]:
    """Yield that a picture is dark, if it is by its brightest value, from 0 to 255.

    RefusedSourceError if the ``whole`` of it was looked at, and is black. ``windowed`` is whether
    ``--window`` would show more.
    """
    if brightest >= _BRIGHT * (OPAQUE + 1):
        return
    remedy, more = "Save it with 8 bits and a window.", "save it with 8 bits and a window to"
    if windowed:
        remedy = "Pass --window LOW,HIGH, the samples that are black and white."
        more = "pass --window LOW,HIGH to"
    if whole and not brightest:
        problem = "All of it is black: its samples use next to nothing of the range of 16 bits."
        raise RefusedSourceError(path, problem, remedy)
    said = f"It is dark: its brightest pixel is {brightest} of {OPAQUE}, as its samples use"
    yield f"{said} little of the range of 16 bits; {more} see more."


def with_darkness(source: Source, brightest: int, *, whole: bool = True) -> SourceFacts:
    """Return a slide's facts that say so if it is dark, by its brightest value from 0 to 255.

    RefusedSourceError if the ``whole`` of it was looked at, and is black.
    """
    facts = source.facts
    windowed = "window" in facts.offers
    said = _darkness(facts.path, brightest, whole=whole, windowed=windowed)
    return replace(facts, readings=(*facts.readings, *said))


def say_if_dark(source: Source) -> None:
    """Put it into a slide's readings if it is dark: by its coarsest level, or parts of that.

    One that is all black is closed and refused.
    """
    level = source.facts.levels[-1]
    brightest = 0
    for box in _looked_at(level.size):
        try:
            brightest = max(brightest, int(source.read(level.index, box).max()))
        except RegionReadError:
            return  # reading it says so
    whole = level.size.width * level.size.height <= _AT_ONCE
    try:
        source.facts = with_darkness(source, brightest, whole=whole)
    except RefusedSourceError:
        source.close()
        raise


def _looked_at(size: Size) -> Iterator[LevelBox]:
    if size.width * size.height <= _AT_ONCE:
        yield LevelBox(0, 0, size.width, size.height)
        return
    for row in range(_ROWS):
        for column in range(_ROWS):
            x = (size.width - _EDGE) * column // (_ROWS - 1)
            y = (size.height - _EDGE) * row // (_ROWS - 1)
            yield LevelBox(max(0, x), max(0, y), _EDGE, _EDGE).clipped(size)
