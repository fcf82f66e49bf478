"""Which picture of a TIFF is the slide, and of a stack which plane, time and channels.

Which of several pictures it is, `choose_image` says, the rule of all formats.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from slidecam.errors import RefusedSourceError, UsageError
from slidecam.parsing import json_of
from slidecam.sources._tiff_colours import EXPORT, alpha_of
from slidecam.sources._tiff_layers import name_of
from slidecam.sources._tiff_pages import PageRaster, same_file
from slidecam.sources._tiff_pyramids import pictures_of
from slidecam.sources.channels import Channel, choose_channels
from slidecam.sources.images import FileImage, associated_name, choose_image, offering_others

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tifffile import TiffFile

    from slidecam.sources._tiff_colours import Page
    from slidecam.sources._tiff_layers import Layer, Picture
    from slidecam.viewing import PictureView

_COLOURS = 3
_UNNAMED = {"I": "pages", "Q": "planes"}
"""Axes of which the file says no more than that they are there."""

_UNSAID = ": planes of one picture or scans of their own, which the file does not say"
_MOST_NAMED = 6
"""Pages that a message names."""

_QPI_NAME = re.compile(r"<(?:Biomarker|Name)>([^<]+)</")


@dataclass(frozen=True)
class ChosenPicture:
    """The picture that is read.

    Attributes
    ----------
    rasters
        Its levels, finest first.
    ome
        Attributes of its OME Pixels element; empty where there is none.
    images, offers, readings
        As in `SourceFacts`.
    associated
        Label, macro and thumbnail.
    """

    rasters: tuple[PageRaster, ...]
    ome: Mapping[str, str]
    images: tuple[FileImage, ...]
    offers: frozenset[str]
    readings: tuple[str, ...]
    associated: Mapping[str, PageRaster]

    @property
    def page(self) -> Page:
        """The page whose tags hold for level 0."""
        return self.rasters[0].keyframe


def choose_picture(path: str, tiff: TiffFile, view: PictureView) -> ChosenPicture:
    """Choose the slide among a TIFF's pictures, and of a stack its plane and channels.

    Parameters
    ----------
    path
        The file, for messages.
    tiff
        It, with one series at least.
    view
        What was asked for.

    Raises
    ------
    RefusedSourceError
        If it is a stack and no plane was asked for, its channels are no colours, or pages of it are
        missing or in other files.
    UsageError
        If there is no such image, plane, time or channel.
    """
    pictures, others = pictures_of(path, tiff)
    images: list[FileImage] = []
    for number, each in enumerate(pictures, 1):
        images.append(FileImage(number, each.name, each.finest.size, each.finest.is_reduced))
    _refuse_page_as_image(path, pictures, view.image)
    marked, image, said = choose_image(path, images, view.image)
    chosen = pictures[image.number - 1]
    with offering_others(marked):
        section = _choose_section(path, chosen, view)
    offers = section.offers
    if len(images) > 1:
        offers |= {"image"}
    return ChosenPicture(
        rasters=_rasters(path, tiff, chosen, section),
        ome=chosen.ome.pixels,
        images=marked if len(marked) > 1 else (),
        offers=offers,
        readings=said + chosen.readings + section.readings,
        associated=_associated([each for each in pictures + others if each is not chosen]),
    )


def _refuse_page_as_image(path: str, pictures: Sequence[Picture], wanted: str | None) -> None:
    """Refuse the number or name of a page as an image, where pages of one size are planes.

    Raises
    ------
    UsageError
        With the option that reads it.
    """
    layer = pictures[0].finest
    if wanted in {None, "1"} or len(pictures) > 1 or not _is_unnamed(layer):
        return
    names = _page_names(layer)
    for number, name in enumerate(names, 1):
        if wanted in {name, str(number)}:
            problem = (
                f"It holds {len(names)} pages of one size as one picture, no image {wanted!r}."
            )
            remedy = f"Pass --plane {number}, which reads that page."
            raise UsageError(problem, remedy, path)


def _is_unnamed(layer: Layer) -> bool:
    """Whether there are pages of one size, of which the file does not say what they are."""
    letters = {letter for letter, _ in layer.axes}
    return bool(letters) and letters <= _UNNAMED.keys()


def _page_names(layer: Layer) -> list[str]:
    """Return what the pages of a layer are called; empty where they are not."""
    count = math.prod(length for _, length in layer.axes)
    return [name_of(page) if page else "" for page in map(layer.page, range(count))]


@dataclass(frozen=True)
class _Section:
    """What is read of a stack: which pages, and which samples of them (None for all)."""

    indices: tuple[int, ...]
    samples: tuple[int, ...] | None
    offers: frozenset[str]
    readings: tuple[str, ...]


def _choose_section(path: str, picture: Picture, view: PictureView) -> _Section:
    layer = picture.finest
    axes = [(_role(letter, layer), length) for letter, length in layer.axes]
    places = {"plane": 0, "time": 0, "channels": 0}
    lengths = {"plane": 1, "time": 1, "channels": 1}
    for role, length in axes:
        lengths[role] *= length
    wanted = {"plane": view.plane, "time": view.time}
    stacked = {role: lengths[role] for role in wanted if lengths[role] > 1}
    readings: list[str] = []
    for role, length in stacked.items():
        number = wanted[role]
        if number is None:
            raise _stack_refusal(path, layer, stacked)
        if number > length:
            problem = f"There is no {role} {number} in it."
            raise UsageError(problem, f"Pass --{role} with a number from 1 to {length}.", path)
        places[role] = number - 1
        doubt = ""
        if _is_unnamed(layer):
            doubt = f", a page of the same size as the others{_UNSAID}"
        readings.append(
            f"{role.title()} {number} of {length} is read{doubt}; --{role} reads another."
        )
    per_page = _samples(layer)
    if per_page * lengths["channels"] == 1:
        if not layer.is_coloured:
            readings += choose_channels(path, _channels_said(picture, 1))[1]
        return _Section((_index(axes, places),), None, frozenset(stacked), tuple(readings))
    channels, said = _choose_channels(path, picture, per_page, lengths["channels"], view)
    offers, readings = frozenset({*stacked, "channels"}), [*readings, *said]
    if per_page > 1:
        return _Section((_index(axes, places),), channels, offers, tuple(readings))
    indices = tuple(_index(axes, {**places, "channels": channel}) for channel in channels)
    return _Section(indices, None, offers, tuple(readings))


def _role(letter: str, layer: Layer) -> str:
    """Return which choice an axis is; colour pictures have no further channels but planes."""
    if letter == "C" and not layer.is_coloured:
        return "channels"
    if letter == "T":
        return "time"
    return "plane"


def _stack_refusal(path: str, layer: Layer, stacked: Mapping[str, int]) -> RefusedSourceError:
    listed = ", ".join(f"{_UNNAMED.get(letter, letter)}={length}" for letter, length in layer.axes)
    options = " and ".join(f"--{role} N (1 to {length})" for role, length in stacked.items())
    problem = f"This TIFF is a stack of planes ({listed}), not one picture."
    if _is_unnamed(layer):
        names, size = _page_names(layer), layer.size
        called = ", ".join(map(repr, filter(None, names[:_MOST_NAMED])))
        called = called and f", called {called}"
        held = f"This TIFF holds {len(names)} pages of {size.width}x{size.height} px{called}"
        problem = f"{held}: a stack of planes ({listed}) or scans of their own, it does not say."
    return RefusedSourceError(path, problem, f"Pass {options} to read one of them. {EXPORT}")


def _index(axes: Sequence[tuple[str, int]], places: Mapping[str, int]) -> int:
    """Return which page of a stack lies at a plane, time and channel; the last axis is fastest."""
    left = dict(places)
    index, step = 0, 1
    for role, length in reversed(axes):
        index += left[role] % length * step
        left[role] //= length
        step *= length
    return index


def _samples(layer: Layer) -> int:
    """Return how many samples of a pixel are channels of their own."""
    page = layer.keyframe
    if layer.is_coloured or alpha_of(page) is not None:
        return 1
    return int(page.samplesperpixel)


def _choose_channels(
    path: str,
    picture: Picture,
    per_page: int,
    pages: int,
    view: PictureView,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return which channels are shown, in the order of red, green and blue, and what to say."""
    if per_page > 1 and pages > 1:
        problem = f"Each of its {pages} channels has {per_page} samples."
        raise RefusedSourceError(path, problem, EXPORT)
    said = _channels_said(picture, per_page * pages)
    channels, readings = choose_channels(path, said, view.channels)
    if len(channels) > _COLOURS:
        left_out = f"Channel {channels[-1] + 1}, which is called transparency, is left out."
        return channels[:_COLOURS], (*readings, left_out)
    return channels, readings


def _channels_said(picture: Picture, count: int) -> Sequence[Channel]:
    """Return what a file says of ``count`` channels; of each nothing where it is silent."""
    pages = picture.finest.pages
    said = [picture.ome.channels, tuple(_from_description(pages[0]))]
    if picture.kind == "imagej":
        said.append(tuple(_from_imagej(pages[0], count)))
    if picture.kind == "qpi":
        said.append(tuple(map(_from_qpi, pages)))
    for channels in said:
        if len(channels) == count:
            return channels
    return [Channel()] * count


def _from_imagej(page: Page, count: int) -> Iterator[Channel]:
    """Yield ImageJ's labels of slices and the last colour of each channel's table."""
    said = page.parent.imagej_metadata or {}
    names, tables = said.get("Labels") or [], said.get("LUTs") or []
    for index in range(count):
        name, color = "", None
        if len(names) == count > 1:  # ImageJ calls a single plane by its file
            name = str(names[index] or "")
        if len(tables) == count:
            red, green, blue = map(int, tables[index][:, -1])
            color = red, green, blue
        yield Channel(name, color)


def _from_description(page: Page) -> Iterator[Channel]:
    """Yield the channels that tifffile was given as metadata, and wrote as JSON."""
    try:
        said = json_of(page.description)["Channel"]["Name"]
    except (ValueError, TypeError, KeyError, AttributeError):  # not every page has all its tags
        return
    if isinstance(said, list):
        for name in said:
            yield Channel(str(name))


def _from_qpi(page: Page) -> Channel:
    found = _QPI_NAME.search(getattr(page, "description", "") or "")
    if found:
        return Channel(found[1])
    return Channel()


def _rasters(
    path: str,
    tiff: TiffFile,
    picture: Picture,
    section: _Section,
) -> tuple[PageRaster, ...]:
    """Return the chosen pages of each layer; those that do not say so lie as the finest does."""
    rasters: list[PageRaster] = []
    orientation = 1
    for layer in picture.layers:
        pages = tuple(map(layer.page, section.indices))
        if not same_file(pages, tiff):
            problem = "This TIFF is spread over several files, or planes of it are missing."
            raise RefusedSourceError(path, problem, EXPORT)
        raster = PageRaster.of(pages, orientation)
        if not rasters:
            orientation = raster.orientation
        rasters.append(replace(raster, samples=section.samples))
    return tuple(rasters)


def _associated(pictures: Sequence[Picture]) -> dict[str, PageRaster]:
    """Return the pictures that are called label, macro or thumbnail, by what people call them."""
    found: dict[str, PageRaster] = {}
    for picture in pictures:
        name, layer = associated_name(picture.name), picture.finest
        if name is not None and not layer.axes:
            found.setdefault(name, PageRaster.of((layer.pages[0],)))
    return found
