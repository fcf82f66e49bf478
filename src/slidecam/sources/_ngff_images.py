"""Where the images of an OME-Zarr lie: in its group, in a collection, in a plate; and their levels.

A collection is what bioformats2raw makes of a file with several pictures.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import zarr
from zarr.errors import ZarrUserWarning
from zarr.storage import FsspecStore, LocalStore

from slidecam.errors import RefusedSourceError, UnreadableSourceError, UsageError
from slidecam.extras import brought
from slidecam.geometry import Size
from slidecam.objects import remote_errors
from slidecam.sources._library import DECODING_ERRORS
from slidecam.sources._ngff import COMPLETE, multiscales_of, names_in_xml, ome_of
from slidecam.sources._probe import ZARR_MARKS, without_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import fsspec

    from slidecam.geometry import Spacing
    from slidecam.sources._ngff import ListedLevel, Multiscale
    from slidecam.sources._probe import Probe
    from slidecam.sources.images import FileImage
else:
    fsspec = brought("fsspec", "remote")

LISTED = 3
"""Wells, fields or folders that a message names."""

_NUMBERS = frozenset("0123456789/")
"""A name of these in a collection is the path of its group, and no name."""

_XML = "OME/METADATA.ome.xml"


@dataclass(frozen=True)
class StoredLevel:
    """One level of a multiscale image.

    Attributes
    ----------
    array, axes
        Its pixels, and the names of their axes.
    raw_spacing
        Width and height of a pixel in whatever unit; None where it is not said.
    spacing
        The same in µm; None where no unit is said.
    """

    array: zarr.Array[Any]
    axes: tuple[str, ...]
    raw_spacing: Spacing | None
    spacing: Spacing | None

    @property
    def size(self) -> Size:
        """Width and height."""
        return Size(self.length("x"), self.length("y"))

    @property
    def chunk(self) -> Size:
        """Width and height of a stored chunk."""
        chunks = self.array.chunks
        width = chunks[self.axes.index("x")]
        height = chunks[self.axes.index("y")]
        return Size(int(width), int(height))

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.length("x") * self.length("y")

    @property
    def stack(self) -> dict[str, int]:
        """Lengths of the axes that are neither y nor x."""
        return {axis: self.length(axis) for axis in self.axes if axis not in "yx"}

    def length(self, axis: str) -> int:
        """Return the length of an axis; 1 for one that is not there."""
        if axis in self.axes:
            return int(self.array.shape[self.axes.index(axis)])
        return 1

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        if self.array.dtype.kind == "b":
            return 1
        return 8 * int(self.array.dtype.itemsize)


@dataclass(frozen=True)
class StoredImage:
    """A multiscale image: what is said of it, and the group in which its arrays lie."""

    group: zarr.Group
    multiscale: Multiscale
    name: str

    def level(self, path: str, listed: ListedLevel) -> StoredLevel:
        """Return a level.

        Raises
        ------
        UnreadableSourceError
            If it is not there, or has other dimensions than the metadata say.
        """
        array, axes = self.group.get(listed.path), self.multiscale.axes
        if not isinstance(array, zarr.Array):
            problem = f"There is no array {listed.path!r}, which its metadata name."
            raise UnreadableSourceError(path, problem, COMPLETE)
        if array.ndim != len(axes):
            version = self.multiscale.version
            said = f"version {version} has the axes {', '.join(axes)}"
            problem = f"Array {listed.path!r} has {array.ndim} dimensions, and {said}."
            raise UnreadableSourceError(path, problem, COMPLETE)
        return StoredLevel(
            array=array,
            axes=axes,
            raw_spacing=self.multiscale.raw_spacing(listed),
            spacing=self.multiscale.spacing(listed),
        )

    def levels(self, path: str) -> list[StoredLevel]:
        """Return all levels, in the order in which they are listed."""
        return list(map(partial(self.level, path), self.multiscale.datasets))

    def size(self, path: str) -> Size:
        """Return width and height of the finest level, which is listed first or else last."""
        first = self.level(path, self.multiscale.datasets[0])
        last = self.level(path, self.multiscale.datasets[-1])
        return max(first, last, key=attrgetter("pixels")).size


@dataclass(frozen=True)
class StoredImages:
    """What `find_images` found.

    Attributes
    ----------
    images
        To choose from, in the file's order; of a plate, the one that was asked for.
    readings
        What to say of it.
    plate
        Whether it is one field of a plate.
    """

    images: tuple[StoredImage, ...]
    readings: tuple[str, ...] = ()
    plate: bool = False


def find_images(probe: Probe) -> StoredImages:
    """Return the images that may be the slide.

    Raises
    ------
    RefusedSourceError
        If it is no image: a level, a label image, a plate of which no field was chosen, a folder of
        images. The message says what to pass.
    UnreadableSourceError
        If something that its metadata name is not there.
    UsageError
        If a plate has no such field.
    """
    group = _opened(probe)
    ome = ome_of(group.attrs.asdict())
    _refuse_labels(probe, ome)
    if "plate" in ome:
        return _field_of_plate(probe, group, _paths(ome["plate"].get("wells")))
    if "well" in ome:
        return _field_of_well(probe, group, "", probe.view.slide.image)
    images = _images_of(probe, group)
    if not images and "bioformats2raw.layout" in ome:
        images = tuple(_collection(probe, group))
    if not images:
        raise _no_image(probe)
    return StoredImages(images)


def _opened(probe: Probe) -> zarr.Group:
    store = _store(probe)
    try:
        return zarr.open_group(store, mode="r")
    except DECODING_ERRORS:
        if _is_array(store):
            raise _one_level(probe) from None
        raise


def _store(probe: Probe) -> LocalStore | FsspecStore:
    if probe.local is not None:
        return LocalStore(probe.local, read_only=True)
    url, query = without_query(probe.given)
    options = {}
    if query:
        # A token in the query opens each of the folder's files.
        options["params"] = tuple(parse_qsl(query, keep_blank_values=True))
    return FsspecStore.from_url(url.rstrip("/"), options, read_only=True)


def _is_array(store: LocalStore | FsspecStore) -> bool:
    try:
        zarr.open_array(store, mode="r")
    except (*DECODING_ERRORS, *remote_errors()):
        return False
    return True


def _one_level(probe: Probe) -> RefusedSourceError:
    problem = "This is one array of an OME-Zarr, a level of an image perhaps, and not the image."
    remedy = "Pass the folder of the image that it lies in."
    above: list[Path] = []
    if probe.local is not None:
        above = list(probe.local.absolute().parents)[:LISTED]
    for folder in filter(_names_images, above):
        remedy = f"Pass the folder of its image: {folder}"
        break
    return RefusedSourceError(probe.given, problem, remedy)


def _refuse_labels(probe: Probe, ome: Mapping[str, Any]) -> None:
    if "image-label" in ome or ("labels" in ome and "multiscales" not in ome):
        problem = "These are labels of an image, whose numbers are objects and no colours."
        remedy = "Pass the image that they belong to."
        raise RefusedSourceError(probe.given, problem, remedy)


def _images_of(probe: Probe, group: zarr.Group, name: str = "") -> tuple[StoredImage, ...]:
    """Return the images of one group; a name of the file's metadata counts before its own."""
    found = multiscales_of(probe.given, ome_of(group.attrs.asdict()))
    return tuple(StoredImage(group, each, name or each.name) for each in found)


def _collection(probe: Probe, group: zarr.Group) -> Iterator[StoredImage]:
    """Yield the images of a collection, called as its OME-XML calls them."""
    paths = _series(group)
    names = names_in_xml(_bytes_of(probe, _XML))
    if len(names) != len(paths):
        names = [""] * len(paths)
    for path, name in zip(paths, names, strict=True):
        child = group.get(path)
        if not isinstance(child, zarr.Group):
            problem = f"There is no group {path!r}, which its metadata name."
            raise UnreadableSourceError(probe.given, problem, COMPLETE)
        for image in _images_of(probe, child, name):
            if set(image.name) <= _NUMBERS:
                yield StoredImage(child, image.multiscale, "")
            else:
                yield image


def _series(group: zarr.Group) -> list[str]:
    """Return the paths of a collection's images: as listed, else 0, 1, 2 and so on."""
    listed = group.get("OME")
    if isinstance(listed, zarr.Group):
        series = ome_of(listed.attrs.asdict()).get("series")
        if series:
            return list(map(str, series))
    paths: list[str] = []
    for number in count():
        if group.get(str(number)) is None:
            break
        paths.append(str(number))
    return paths


def _bytes_of(probe: Probe, below: str) -> bytes:
    """Return a file of the folder that is no part of the Zarr; nothing where it is not there."""
    try:
        if probe.local is not None:
            return (probe.local / below).read_bytes()
        url, query = without_query(probe.given)
        place = f"{url.rstrip('/')}/{below}"
        if query:
            place = f"{place}?{query}"
        system, path = fsspec.core.url_to_fs(place)
        with system.open(path, "rb") as stream:
            return bytes(stream.read())
    except (*DECODING_ERRORS, *remote_errors()):
        return b""


def _field_of_plate(probe: Probe, plate: zarr.Group, wells: Sequence[str]) -> StoredImages:
    wanted = (probe.view.slide.image or "").strip("/")
    if not wanted:
        first = (wells or ["A/1"])[0]
        problem = f"This OME-Zarr is a plate of {len(wells)} wells, and none of them is the slide."
        remedy = f"Pass --image WELL/FIELD, for example --image {first}/0; its wells: "
        raise RefusedSourceError(probe.given, problem, f"{remedy}{_some(wells)}.")
    for path in wells:
        well = plate.get(path)
        if f"{wanted}/".startswith(f"{path}/") and isinstance(well, zarr.Group):
            return _field_of_well(probe, well, f"{path}/", wanted[len(path) + 1 :])
    problem = f"There is no image {wanted!r} in this plate."
    remedy = f"Pass --image WELL/FIELD, of the wells {_some(wells)}."
    raise UsageError(problem, remedy, probe.given)


def _field_of_well(probe: Probe, well: zarr.Group, prefix: str, wanted: str | None) -> StoredImages:
    """Return one field of a well; the only one need not be chosen."""
    fields = _paths(ome_of(well.attrs.asdict())["well"].get("images"))
    reason = ", which was asked for,"
    if not wanted and len(fields) == 1:
        wanted, reason = fields[0], ", the only one of its well,"
    example = _some(list(map(f"{prefix}{{}}".format, fields)))
    remedy = f"Pass --image with one of {example}."
    if not wanted:
        problem = f"This well has {len(fields)} fields, and none of them is the slide."
        raise RefusedSourceError(probe.given, problem, remedy)
    name = f"{prefix}{wanted}"
    if wanted not in fields:
        problem = f"There is no image '{name}' in it."
        raise UsageError(problem, remedy, probe.given)
    field = well.get(wanted)
    images: tuple[StoredImage, ...] = ()
    if isinstance(field, zarr.Group):
        images = _images_of(probe, field, name)
    if not images:
        problem = f"There is no image in field {name}."
        raise UnreadableSourceError(probe.given, problem, COMPLETE)
    said = f"Field {name} of a plate{reason} is read; --image WELL/FIELD reads another."
    return StoredImages(images, (said,), plate=True)


def _paths(listed: Sequence[Mapping[str, Any]] | None) -> list[str]:
    return list(map(str, map(itemgetter("path"), listed or ())))


def _some(names: Sequence[str]) -> str:
    left = len(names) - LISTED
    if left > 0:
        return f"{', '.join(names[:LISTED])} and {left} more"
    return ", ".join(names) or "none"


def _no_image(probe: Probe) -> UnreadableSourceError:
    """Return the error of a folder without an image, naming those that lie in it."""
    problem = "This Zarr has no OME-Zarr multiscales metadata."
    if probe.local is None:
        return UnreadableSourceError(probe.given, problem, COMPLETE)
    children = probe.local.glob("*")
    grandchildren = probe.local.glob("*/*")
    inside = sorted(filter(_names_images, (*children, *grandchildren)))
    if not inside:
        return UnreadableSourceError(probe.given, problem, COMPLETE)
    problem = f"This Zarr is no image itself, but {len(inside)} lie in it."
    if len(inside) == 1:
        problem = "This Zarr is no image itself, but one lies in it."
    listed = _some(list(map(str, inside)))
    remedy = f"Pass the image's own folder: {listed}"
    return RefusedSourceError(probe.given, problem, remedy)


def _names_images(folder: Path) -> bool:
    """Whether a folder's metadata name multiscale images; a label image's do as well."""
    for mark in ZARR_MARKS:
        try:
            text = (folder / mark).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if '"multiscales"' in text and '"image-label"' not in text:
            return True
    return False


def associated_images(
    stored: Sequence[StoredImage],
    listed: Sequence[FileImage],
) -> dict[str, StoredImage]:
    """Return the images that are called label, macro or thumbnail, by what people call them."""
    found: dict[str, StoredImage] = {}
    for each, image in zip(stored, listed, strict=False):
        if image.associated and not image.chosen:
            found.setdefault(image.associated, each)
    return found


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep zarr's remarks on old metadata from people, who can do nothing about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZarrUserWarning)
        yield
