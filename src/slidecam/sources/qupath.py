"""QuPath's projects, and where its view of a slide begins.

A project is read from its JSON alone, and none is ever written to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from slidecam.errors import ShownSizeError, UsageError
from slidecam.geometry import Size
from slidecam.parsing import json_in
from slidecam.sources._probe import name_of
from slidecam.sources.names import FoundSlide

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slidecam.geometry import Box


PROJECT_SUFFIX = ".qpproj"

MICRONS = frozenset({"µm", "μm", "um"})
"""What QuPath calls micrometres: it writes the micro sign, and reads the Greek letter too."""

MOVING = frozenset(
    {
        "rotated",
        "affine",
        "cropped",
        "flipped",
        "sparse",
        "sliced",
        "z_projected",
        "z_concatenated",
    }
)
"""Builders that show pixels in another place than the file has them."""

OPEN_AGAIN = "Open the project in QuPath and save it again, or name the slides themselves."


@dataclass(frozen=True)
class ProjectImage:
    """One image of a project that lies in a file.

    Attributes
    ----------
    name
        What the project calls it.
    path
        Its file.
    mpp
        µm per pixel as the project has it, the mean of both axes; None where it has none.
    shown
        Width and height as QuPath shows it; None where the project does not say.
    series
        Which picture of the file it is, from 0, where QuPath says so: Bio-Formats counts them.
    """

    name: str
    path: Path
    mpp: float | None
    shown: Size | None
    series: int | None = None

    @property
    def image(self) -> str | None:
        """Which of the file's pictures it is, as ``--image`` counts them; None for the first."""
        if not self.series:
            return None
        return str(self.series + 1)

    @property
    def slide(self) -> FoundSlide:
        """The slide to work on; a picture that is not the first has its number in its name."""
        name = name_of(self.path)
        if self.image is not None:
            name += f"-image{self.image}"
        return FoundSlide(name, str(self.path), image=self.image)


@dataclass(frozen=True)
class Project:
    """What a project holds.

    Attributes
    ----------
    images
        Those that can be used.
    left_out
        A sentence for each image that cannot, and for each that is not the first of its file.
    """

    images: tuple[ProjectImage, ...]
    left_out: tuple[str, ...]


def read_project(path: Path) -> Project:
    """Read a ``.qpproj``.

    Images are looked for where it says, and then where the project has been moved to.

    Left out are images that QuPath shows rotated, cropped or otherwise moved, those that are in no
    local file, and those of a picture that is there already: a file and its series.

    Raises
    ------
    UsageError
        If the file cannot be read or is no project.
    """
    try:
        content = json_in(path)
        entries = content["images"]
        found = list(_entries(entries, content.get("uri"), path))
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise UsageError(
            f"This is no QuPath project that can be read ({error!r}).", OPEN_AGAIN, path
        ) from error
    images: dict[tuple[Path, str | None], ProjectImage] = {}
    left: list[str] = []
    for image in found:
        if isinstance(image, str):
            left.append(f"{path.name}: {image}")
            continue
        known = images.setdefault((image.path, image.image), image)
        if known is not image:
            picture = f"its file is that of {known.name}, and so is its series"
            left.append(f"{path.name}: {image.name} is left out: {picture}.")
        elif image.image is not None:
            read = f"image {image.image} of {image.path.name} is read"
            left.append(f"{path.name}: {image.name} is series {image.series}, from 0: {read}.")
    return Project(tuple(images.values()), tuple(left))


def views_of(
    images: Sequence[ProjectImage], slides: Sequence[FoundSlide]
) -> tuple[dict[str, float], dict[str, Size]]:
    """Return µm per pixel, and width and height as shown, by the names of the slides taken."""
    spacings: dict[str, float] = {}
    shown: dict[str, Size] = {}
    named = {(slide.path, slide.image): slide.name for slide in slides}
    for image in images:
        name = named.get((str(image.path), image.image))
        if name is None:  # --exclude leaves it out
            continue
        if image.mpp is not None:
            spacings[name] = image.mpp
        if image.shown is not None:
            shown[name] = image.shown
    return spacings, shown


def _entries(entries: list[Any], saved_at: object, path: Path) -> Iterator[ProjectImage | str]:
    """Yield each image, or a sentence on why it is left out."""
    for entry in entries:
        name = str(entry.get("imageName", "an image without a name"))
        try:
            builder, metadata = _innermost(entry["serverBuilder"])
        except _MovedError as error:
            shown = f"QuPath shows it {error}, so its places are not those of the file"
            yield f"{name} is left out: {shown}."
            continue
        file = _file(builder["uri"])
        if file is None:
            yield f"{name} is left out: {builder['uri']} is no file on this machine."
            continue
        found = _found(file, saved_at, path)
        yield ProjectImage(name, found, _mpp(metadata), _shown(metadata), _series(builder))


def _series(builder: Mapping[str, Any]) -> int | None:
    """Return which picture of its file QuPath shows; None where its arguments do not say."""
    args = [str(arg) for arg in builder.get("args") or []]
    if "--series" not in args[:-1]:
        return None
    return int(args[args.index("--series") + 1])


class _MovedError(Exception):
    """An image is shown in another frame than that of its file; what it says is how."""


def _innermost(builder: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the innermost builder, which has the URI, and the outermost metadata.

    The way down goes through what only changes colours.
    """
    metadata: Mapping[str, Any] = {}
    while True:
        metadata = metadata or builder.get("metadata") or {}
        kind = builder.get("builderType")
        if kind == "uri":
            return builder, metadata
        if kind in MOVING:
            raise _MovedError(str(kind).replace("_", " "))
        if "builder" not in builder:
            raise _MovedError(f"by a builder {kind!r}")
        builder = builder["builder"]


def _file(uri: object) -> Path | None:
    """Return the path of a ``file:`` URI."""
    parts = urlsplit(str(uri))
    if parts.scheme != "file":
        return None
    host = ""
    if parts.netloc not in {"", "localhost"}:
        host = f"//{parts.netloc}"
    return Path(url2pathname(host + parts.path))


def _found(file: Path, saved_at: object, project: Path) -> Path:
    """Return the file, or where it would lie if slides and project have been moved together."""
    before = _file(saved_at)
    if file.exists() or before is None:
        return file
    # Up to the folder that both have in common, and down again from where the project lies now.
    for up, folder in enumerate(before.parents):
        if file.is_relative_to(folder):
            here = project.resolve().parents
            if up < len(here):
                moved = here[up] / file.relative_to(folder)
                if moved.exists():
                    return moved
            return file
    return file


def _mpp(metadata: Mapping[str, Any]) -> float | None:
    calibration = metadata.get("pixelCalibration") or {}
    sides = [calibration.get(side) or {} for side in ("pixelWidth", "pixelHeight")]
    if any(side.get("unit") not in MICRONS for side in sides):
        return None
    width, height = (float(side["value"]) for side in sides)
    return (width + height) / 2


def _shown(metadata: Mapping[str, Any]) -> Size | None:
    width, height = metadata.get("width"), metadata.get("height")
    if width and height:
        return Size(int(width), int(height))
    return None


_REMEDY = (
    "Open the slide itself there, neither cropped nor rotated, with the reader that the program"
    " suggests."
)


@dataclass(frozen=True)
class QuPathView:
    """How QuPath shows a slide; the one place that says where its coordinates begin.

    Attributes
    ----------
    corner
        x, y of the level-0 pixel that it calls (0, 0).
    size
        Width and height that it is known to show; None where nobody said.
    """

    corner: tuple[int, int] = (0, 0)
    size: Size | None = None

    def part(self, size: Size | None, bounds: Box | None) -> Box | None:
        """Return the part of a slide that it shows; None for all of it.

        Parameters
        ----------
        size, bounds
            Of the slide's level 0, and the part of it that was scanned.
        """
        if bounds is None or self.corner != (bounds.x, bounds.y):
            return None
        if self.size is not None and self.size == size:
            return None
        return bounds


def shown_corner(
    path: str, size: Size, bounds: Box | None, shown: Size | None = None
) -> tuple[int, int]:
    """Return the level-0 pixel that QuPath calls (0, 0).

    QuPath crops what OpenSlide reads to the scanned bounds, unless it is run with ``--no-crop``;
    other readers of it do not crop. The size that it shows tells the two apart, whatever its
    version writes into its paths.

    Parameters
    ----------
    path
        The slide, for the message.
    size, bounds
        Its level 0, and the part of it that was scanned (see `SourceFacts`).
    shown
        Width and height that QuPath shows; None where that is not known: its default, the scanned
        bounds.

    Raises
    ------
    ShownSizeError
        If ``shown`` is neither the size of the slide nor that of its scanned bounds.
    """
    if shown == size:
        return 0, 0
    scanned = ""
    if bounds is not None:
        if shown in {None, Size(bounds.width, bounds.height)}:
            return bounds.x, bounds.y
        scanned = f" and {bounds.width} x {bounds.height} px of it were scanned"
    if shown is None:
        return 0, 0
    raise ShownSizeError(
        path,
        f"The slide is shown as {shown.width} x {shown.height} px, and it has "
        f"{size.width} x {size.height} px{scanned}.",
        _REMEDY,
    )
