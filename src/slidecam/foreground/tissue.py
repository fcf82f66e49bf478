"""A thumbnail in, a mask out: what of a slide is tissue."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import UsageError
from slidecam.foreground.ink import find_ink, with_halo
from slidecam.foreground.mask import Foreground
from slidecam.geometry import Size, Spacing
from slidecam.pixels import least_of_channels, most_of_channels
from slidecam.registry import deferred
from slidecam.sources.overview import shrunk

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy import ndimage
    from skimage import filters, measure, morphology

    from slidecam.sources.source import Source
else:
    ndimage = deferred("scipy.ndimage")
    filters = deferred("skimage.filters")
    measure = deferred("skimage.measure")
    morphology = deferred("skimage.morphology")


PADDING = 12
"""Brightest value of what a scanner writes where it did not scan: black, give or take JPEG."""

DARK = 50
"""Median brightness below which a slide's background is dark, as in fluorescence."""

LIT = 100
"""Median brightness of all but black above which a dark slide is a bright one in black padding."""

GREY = 4
"""Most that the channels of a grey picture differ by."""

CONTRAST = 0.3, 3.0
"""Limits of the threshold on log brightness above a dark background.

From sensor drift to bright nuclei.
"""

BLACKEST = 10
"""Brightest that the background of a dark slide is taken to be."""

DARKNESS = 0.1, 0.3
"""Limits of the threshold on the optical density of a grey picture: from shadows to pale tissue."""

WHITE = 254
"""Darkest channel above which a scanner filled in or saturated: it tells nothing of glass tint."""

BRIGHT, TINT = 200, 20
"""Glass is brighter than `BRIGHT` in each channel, and its channels differ by less than `TINT`."""

GLASS_SHARE = 0.05
"""Least share of a slide that must look like glass before its tint is measured."""


@dataclass(frozen=True)
class ForegroundSpec:
    """Settings of `find_foreground`.

    Lengths in µm, areas in µm², so that they mean the same on every slide.

    Attributes
    ----------
    resolution_um
        µm per mask pixel aimed at: a tile of 100 µm still spans a dozen mask pixels.
    longest_px
        The mask's longest side at most: beyond it a whole slide costs seconds and no tile changes.
    least_px
        The mask's longest side at least, where the slide has it: a small crop gets a finer mask,
        but none of pixels below half of ``smoothing_um``, which would all say the same.
    smoothing_um
        Sigma of the Gaussian before any threshold: nuclei and pale stroma between them become one
        surface.
    floor
        Least chroma (optical density) of tissue: below lie the tints of glass, JPEG and scanner.
    ceiling
        Most chroma that tissue must have: on a slide full of tissue, Otsu would split it in two.
    closing_um
        Gaps up to twice this wide are closed: hairlines, and what removed ink leaves between two
        tissues.
    hole_um2
        Holes up to this area are filled: lumina and fat within tissue belong to it.
    speck_um2
        Pieces smaller than this are dropped: dust and cell debris, a fraction of one tile.
    pen
        Whether to leave out pen marks; switch it off for stains that are blue or green by
        themselves.
    ink_um2
        Least area of an ink-coloured piece that is taken for a pen mark rather than for a cell or a
        fringe.

    Raises
    ------
    UsageError
        If a value is outside its range.
    """

    resolution_um: float = 8.0
    longest_px: int = 2048
    least_px: int = 1024
    smoothing_um: float = 4.0
    floor: float = 0.06
    ceiling: float = 0.14
    closing_um: float = 12.0
    hole_um2: float = 30_000.0
    speck_um2: float = 3_000.0
    pen: bool = True
    ink_um2: float = 500.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value < float("inf"):
                raise UsageError(
                    f"ForegroundSpec.{field.name} is {value}.",
                    "Give a finite number of at least 0.",
                )
        if self.resolution_um == 0 or not 1 <= self.least_px <= self.longest_px:
            raise UsageError(
                f"ForegroundSpec has resolution_um {self.resolution_um}, least_px {self.least_px}"
                f" and longest_px {self.longest_px}.",
                "Give a resolution above 0 and 1 <= least_px <= longest_px.",
            )
        if self.floor > self.ceiling:
            raise UsageError(
                f"ForegroundSpec.floor {self.floor} is above ForegroundSpec.ceiling"
                f" {self.ceiling}.",
                "Give floor <= ceiling.",
            )


DEFAULT_SPEC = ForegroundSpec()


@dataclass(frozen=True, eq=False)
class _Surface:
    """Values to threshold, which rise with tissue, where they count, and the threshold's limits."""

    values: NDArray[np.float32]
    counts: NDArray[np.bool_]
    floor: float
    ceiling: float
    origin: str
    ink: NDArray[np.bool_]


def find_foreground(
    source: Source,
    spacing: Spacing,
    spec: ForegroundSpec = DEFAULT_SPEC,
) -> Foreground:
    """Find the tissue of a slide on a thumbnail.

    Stained tissue differs from the slide's own glass in its saturation (the spread of the optical
    densities of red, green and blue, which the tint of glass does not disturb), grey pictures in
    darkness, slides with a dark background in brightness. Otsu's threshold is kept within limits,
    so that neither a white slide nor one full of tissue is cut in two, and what is paler counts
    where it is connected to what is above the threshold. ``origin`` says which it was.

    Parameters
    ----------
    source
        The slide. Where it cannot be decoded there may be tissue: it counts as tissue, so that the
        tiles there are tried and end as failed, not as skipped.
    spacing
        µm per level-0 pixel.
    spec
        Resolution, thresholds and areas.

    Raises
    ------
    RegionReadError
        If nothing of the slide can be decoded.
    """
    size = source.facts.size
    overview = source.overview(_longest_side(size.width * spacing.x, size.height * spacing.y, spec))
    pixels = _no_finer(overview.pixels, _pixel(size, spacing, overview.pixels), spec)
    rows, columns = pixels.shape[:2]
    mask, origin = segment(pixels, _pixel(size, spacing, pixels), spec)
    for gap in overview.gaps:
        left, top = gap.x * columns // size.width, gap.y * rows // size.height
        right = -(-gap.right * columns // size.width)
        bottom = -(-gap.bottom * rows // size.height)
        mask[top:bottom, left:right] = True
    unread = ""
    if overview.gaps:
        unread = f"; {len(overview.gaps)} unreadable blocks count as tissue"
    return Foreground(mask, size, origin + unread)


def _pixel(size: Size, spacing: Spacing, pixels: NDArray[np.uint8]) -> Spacing:
    """Return the µm per pixel of a picture of the whole slide."""
    rows, columns = pixels.shape[:2]
    return Spacing(spacing.x * size.width / columns, spacing.y * size.height / rows)


def _no_finer(pixels: NDArray[np.uint8], pixel: Spacing, spec: ForegroundSpec) -> NDArray[np.uint8]:
    """Return a picture without the detail that smoothing takes away: it only costs seconds."""
    shrink = spec.smoothing_um / 2 / max(pixel.x, pixel.y)
    if shrink <= 1:
        return pixels
    return shrunk(pixels, shrink)


def _longest_side(width_um: float, height_um: float, spec: ForegroundSpec) -> int:
    wanted = round(max(width_um, height_um) / spec.resolution_um)
    return min(max(wanted, spec.least_px), spec.longest_px)


def segment(
    pixels: NDArray[np.uint8],
    pixel: Spacing,
    spec: ForegroundSpec = DEFAULT_SPEC,
) -> tuple[NDArray[np.bool_], str]:
    """Return the tissue of a picture and how it was found.

    Parameters
    ----------
    pixels
        (rows, columns, 3) uint8.
    pixel
        µm per pixel of ``pixels``.
    spec
        Thresholds and areas; its resolution is not used.

    Returns
    -------
    tuple
        (rows, columns) bool, and the words for `Foreground.origin`.
    """
    surface = _surface(pixels, pixel, spec)
    counted = surface.values[surface.counts]
    otsu = surface.ceiling
    # Otsu needs two values; where there is one, no threshold lies between tissue and glass.
    if counted.size and counted.min() < counted.max():
        otsu = float(filters.threshold_otsu(counted))
    sure = min(max(otsu, surface.floor), surface.ceiling)
    pale = max(sure / 2, surface.floor)
    tissue = filters.apply_hysteresis_threshold(
        np.where(surface.counts, surface.values, 0), pale, sure
    )
    return _tidied(tissue, surface.ink, pixel, spec), surface.origin


def _surface(pixels: NDArray[np.uint8], pixel: Spacing, spec: ForegroundSpec) -> _Surface:
    padding = most_of_channels(pixels) <= PADDING
    nothing = np.zeros(padding.shape, np.bool_)
    if _dark_background(pixels, padding):
        contrast = _contrast(_smoothed(pixels, pixel, 4 * spec.smoothing_um))
        origin = "otsu on brightness (dark background)"
        return _Surface(contrast, ~nothing, *CONTRAST, origin, nothing)
    # Padding becomes glass, or smoothing would draw a grey rim of tissue round it.
    light = _smoothed(np.where(padding[..., None], np.uint8(255), pixels), pixel, spec.smoothing_um)
    density = _density_above_glass(light)
    if _spread(pixels).max() <= GREY:
        origin = "otsu on darkness (grey picture)"
        return _Surface(density.mean(axis=2), ~padding, *DARKNESS, origin, nothing)
    ink, origin = nothing, "otsu on saturation"
    if spec.pen:
        ink = find_ink(density, pixel, spec.ceiling, spec.ink_um2)
    if ink.any():
        origin += f", {ink.mean():.2%} left out as pen marks"
    counts = ~padding & ~with_halo(ink, pixel)
    return _Surface(_spread(density), counts, spec.floor, spec.ceiling, origin, ink)


def _spread(values: NDArray[Any]) -> NDArray[Any]:
    """Return how far the channels of each pixel lie apart."""
    spread: NDArray[Any] = most_of_channels(values) - least_of_channels(values)
    return spread


def _dark_background(pixels: NDArray[np.uint8], padding: NDArray[np.bool_]) -> bool:
    red, green, blue = np.moveaxis(pixels, 2, 0)
    brightness = (red.astype(np.uint16) + green + blue) / 3
    lit = brightness[~padding]
    return bool(np.median(brightness) < DARK and (lit.size == 0 or np.median(lit) < LIT))


def _smoothed(pixels: NDArray[np.uint8], pixel: Spacing, sigma_um: float) -> NDArray[np.float32]:
    sigma = (sigma_um / pixel.y, sigma_um / pixel.x, 0)
    smooth: NDArray[np.float32] = ndimage.gaussian_filter(pixels.astype(np.float32), sigma)
    return smooth


def _contrast(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return log brightness, the darkest hundredth of the slide being 0."""
    brightest = most_of_channels(light)
    background = min(float(np.percentile(brightest, 1)), BLACKEST)
    contrast: NDArray[np.float32] = np.log((brightest + 1) / (background + 1))
    return contrast


def _density_above_glass(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return optical density, the glass being 0: log(glass / light) for each channel."""
    density: NDArray[np.float32] = np.log((_glass(light) + 1) / (light + 1))
    return np.maximum(density, 0)


def _glass(light: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the colour of the slide's own glass, or white where too little looks like it."""
    least, most = least_of_channels(light), most_of_channels(light)
    white = least > WHITE
    like_glass = (least > BRIGHT) & (most - least < TINT) & ~white
    if like_glass.sum() < GLASS_SHARE * max(1, (~white).sum()):
        return np.full(3, 255, np.float32)
    colour: NDArray[np.float32] = np.median(light[like_glass], axis=0).astype(np.float32)
    return colour


def _tidied(
    tissue: NDArray[np.bool_],
    ink: NDArray[np.bool_],
    pixel: Spacing,
    spec: ForegroundSpec,
) -> NDArray[np.bool_]:
    """Close gaps, fill holes and drop specks; ink stays out."""
    area = pixel.x * pixel.y
    closed = tissue
    if tissue.any():
        closed = (
            morphology.isotropic_closing(tissue, spec.closing_um, spacing=(pixel.y, pixel.x)) & ~ink
        )
    glass = _without_small(~(closed | ink), spec.hole_um2 / area, keep_border=True)
    # A picture that is hardly larger than a speck, cut from the midst of tissue, is no speck.
    return _without_small(~glass & ~ink, min(spec.speck_um2 / area, tissue.size / 4))


def _without_small(
    mask: NDArray[np.bool_],
    least: float,
    *,
    keep_border: bool = False,
) -> NDArray[np.bool_]:
    """Return ``mask`` without its connected pieces of fewer than ``least`` pixels.

    With ``keep_border``, pieces at the border stay: they go on beyond it, and are no holes.
    """
    labels = measure.label(mask, connectivity=1)
    large = np.bincount(labels.ravel()) >= least
    if keep_border:
        for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
            large[line] = True
    large[0] = False
    kept: NDArray[np.bool_] = large[labels]
    return kept
