"""What a call chooses of a slide: how it is opened, and the mask that it is given.

A run begins by it; whoever takes a call long before it runs refuses by it what does not fit.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from slidecam.errors import MaskError
from slidecam.files import marks_of
from slidecam.foreground import VOLUME_MASKS, load_head, mask_file
from slidecam.foreground.files import foreground_in, read_content
from slidecam.foreground.volumes import MEANT
from slidecam.models.card_parts import VolumeCard
from slidecam.sources import shown_corner
from slidecam.sources.apart import open_apart
from slidecam.sources.names import FoundSlide
from slidecam.sources.volume import VolumeSource
from slidecam.viewing import PictureView, VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.files import Mark
    from slidecam.foreground import Foreground, VolumeForeground
    from slidecam.models import Card
    from slidecam.runs.spec import PredictSpec
    from slidecam.sources import Source
    from slidecam.viewing import Profile

NO_VOLUME = "This is no volume: --axis without effect."


def view_of(card: Card, spec: PredictSpec) -> VolumeView:
    """Return how a slide or a volume is shown to a classifier.

    As its card says, along the axis and in the colours that the call names.
    """
    seen = card.volume or VolumeCard()
    # What a call says wins; pixels as stored are no choice, so that runs of earlier versions are
    # resumed.
    profile: Profile | None = None
    if (spec.profile or card.color_profile) == "srgb":
        profile = "srgb"
    return VolumeView(
        spec.axis or seen.axis,
        seen.slices,
        seen.window,
        spec.volume,
        spec.keep_identifiers,
        PictureView(spec.image, spec.plane, spec.time, spec.channels, profile, spec.window),
    )


def open_chosen(
    slide: FoundSlide | str, card: Card, spec: PredictSpec
) -> tuple[Source, PredictSpec, dict[Path, Mark]]:
    """Open what a call means by a slide.

    Parameters
    ----------
    slide
        A slide as it was found, or its path alone.
    card
        Of the classifier that sees it.
    spec
        How.

    Returns
    -------
    tuple
        The slide, the call with the slide's own mask and picture in it, and what tells its files
        from others that take their places.

    Raises
    ------
    SlidecamError
        If it cannot be opened, or leaves no room for a choice.
    """
    if not isinstance(slide, FoundSlide):
        return open_seen(slide, card, spec), spec, {}
    marks = marks_of(slide.own_places)
    spec = replace(spec, mask=slide.mask or spec.mask, image=slide.image or spec.image)
    source = open_seen(slide.path, card, spec)
    source.facts = slide.named(source.facts)
    return source, spec, marks


def open_seen(path: str, card: Card, spec: PredictSpec) -> Source:
    """Open a file as a call sees it, and say of a slide what is for volumes alone."""
    source = open_apart(path, spec.reader, view_of(card, spec), spec.slide_timeout)
    if spec.axis is not None and source.facts.stack is None:
        source.add_readings((NO_VOLUME,))
    return source


def given_head(source: VolumeSource, mask: Path) -> VolumeForeground:
    """Return the mask of a volume's planes; MaskError."""
    return load_head(mask_file(source.facts, mask, VOLUME_MASKS), source)


def given_mask(
    source: Source, mask: Path, spec: PredictSpec, content: bytes | None = None
) -> Foreground:
    """Return the mask of a slide, of a file or of the ``content`` that was sent; MaskError."""
    if content is None:
        mask = mask_file(source.facts, mask)
        content = read_content(mask)
    return foreground_in(mask, content, source.facts.size, corner_shown(source, spec))


def corner_shown(source: Source, spec: PredictSpec) -> tuple[int, int]:
    """Return the corner, in level-0 pixels, of what QuPath shows of a slide."""
    facts = source.facts
    return shown_corner(facts.path, facts.size, facts.bounds, spec.shown_size(facts))


def refuse_unfit(
    slide: FoundSlide, card: Card, spec: PredictSpec, drawn: bytes | None = None
) -> None:
    """Refuse a call whose choices do not fit its slide, or whose mask does not, as its run would.

    The slide is opened for it, where anything was chosen.

    Parameters
    ----------
    slide, card, spec
        As of `open_chosen`.
    drawn
        GeoJSON that was sent with the call: what ``spec.mask`` stands for, which is no file then.

    Raises
    ------
    SlidecamError
        If it cannot be opened so, or the mask is none.
    """
    if slide.mask is not None:
        drawn = None
    chosen = view_of(card, spec).slide.chosen.keys() - {"profile"}
    if not chosen and (spec.mask, spec.volume, spec.reader) == (None, None, None):
        return
    source, spec, _marks = open_chosen(slide, card, spec)
    try:
        if spec.mask is None:
            return
        if isinstance(source, VolumeSource):
            if drawn is not None:
                raise MaskError("A drawing is no mask of a volume.", MEANT, spec.mask)
            given_head(source, spec.mask)
        elif card.spacing is not None:  # else it sees whole pictures, and the run says so
            given_mask(source, spec.mask, spec, drawn)
    finally:
        source.let_go()
