"""From picture files to what a classifier is fed: RGB, upright, resized once to a square.

Training reads pictures as inference does: TIFFs by the readers of slides, others by Pillow. Grey is
repeated, 16 bits are scaled by the format alone, what is transparent lies on white, and Pillow's
antialiased resize takes the whole picture to the network's edge. In training they are decoded once,
augmented anew each time, and normalised.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image

from slidecam.errors import (
    DataSetError,
    NothingToChooseError,
    SlidecamError,
    SourceError,
    UsageError,
)
from slidecam.geometry import LevelBox
from slidecam.icc import colours_of, icc_profile, in_colours
from slidecam.pixels import (
    RESAMPLING,
    frame_notes,
    is_deep_grey,
    picture_in_rgb,
    reason,
    upright,
)
from slidecam.sources.apart import open_apart
from slidecam.steps import Step
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView, VolumeView

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.models.card import Card
    from slidecam.sources import Source


Given = TypeVar("Given")
Result = TypeVar("Result")

AHEAD = 4
"""Pictures per thread that are decoded before they are wanted."""

REPORT_EVERY = 64
"""Pictures between two steps of `load_pictures`."""

TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PIXELS = 200_000_000
"""600 MB of RGB: larger TIFFs are slides, to be cut into tiles."""


def load_pixels(
    path: Path,
    edge: int,
    interpolation: str = "bilinear",
    seen: PictureView = AS_THE_FILE_SAYS,
) -> NDArray[np.uint8]:
    """Return a whole picture as a classifier sees it.

    Parameters
    ----------
    path
        A TIFF, level 0 of which is taken whole, or any other picture that Pillow reads. It is
        turned upright, in RGB, and what is transparent lies on white.
    edge
        Rows and columns of the result; the picture is stretched to the square.
    interpolation
        ``bilinear``, ``bicubic`` or ``nearest``, with Pillow's antialiasing.
    seen
        Which of the file's pictures it is, and whether its ICC profile is applied.

    Returns
    -------
    ndarray
        uint8, (edge, edge, 3).

    Raises
    ------
    DataSetError
        If the file cannot be read.
    UsageError
        If there is no such interpolation.
    """
    if interpolation not in RESAMPLING:
        raise UsageError(
            f"there is no interpolation {interpolation!r}.",
            f"Name one of {', '.join(RESAMPLING)}.",
        )
    with picture_boundary(path):
        picture = read_picture(path, seen=seen)
        if picture.size != (edge, edge):
            picture = picture.resize((edge, edge), RESAMPLING[interpolation])
        return np.asarray(picture)


@contextmanager
def picture_boundary(path: Path) -> Iterator[None]:
    """Name the picture in whatever goes wrong with it, as a `DataSetError`."""
    try:
        yield
    except SlidecamError:
        raise
    # Pillow's plugins promise no list of what they raise for files that they dislike.
    except Exception as error:
        raise DataSetError(
            f"this picture cannot be read: {reason(error)}.",
            "Copy it again, or take it out of the data.",
            path,
        ) from error


def read_picture(
    path: Path,
    content: bytes | None = None,
    seen: PictureView = AS_THE_FILE_SAYS,
) -> Image.Image:
    """Return a picture upright and in RGB, at its own size.

    Parameters
    ----------
    path
        The file.
    content
        What is in it, where it has been read already.
    seen
        Which of the file's pictures it is, and whether its ICC profile is applied.

    Raises
    ------
    DataSetError
        If the file cannot be read.
    """
    stored = stored_picture(path, content, seen)
    return in_colours(stored.picture, stored.profile, seen.profile)


@dataclass(frozen=True)
class StoredPicture:
    """A picture upright and in RGB, at its own size and in the colours that are stored.

    Attributes
    ----------
    picture
        Its pixels.
    profile
        Its ICC profile, if it has one.
    readings
        What had to be decided to read it, a sentence each.
    """

    picture: Image.Image
    profile: bytes | None = None
    readings: tuple[str, ...] = ()


def stored_picture(
    path: Path,
    content: bytes | None = None,
    seen: PictureView = AS_THE_FILE_SAYS,
) -> StoredPicture:
    """Return a picture as `read_picture` does, in stored colours."""
    if is_read_as_a_slide(path, content, seen):
        return _level_stored(path, content, seen)
    with (
        picture_boundary(path),
        Image.open(path if content is None else BytesIO(content)) as picture,
    ):
        if not is_deep_grey(picture):
            notes = frame_notes(picture)
            return StoredPicture(picture_in_rgb(upright(picture)), icc_profile(picture), notes)
    return _level_stored(path, content, seen)


def is_read_as_a_slide(path: Path, content: bytes | None, seen: PictureView) -> bool:
    """Whether the readers of slides read a picture: a TIFF, or one of several in its file.

    Of a file that cannot be opened Pillow says why.
    """
    if seen.chosen.keys() - {"profile"}:
        return True
    head = content or b""
    if content is None:
        with suppress(OSError), path.open("rb") as stream:
            head = stream.read(4)
    return head.startswith(TIFF_MARKS)


def open_picture(
    path: Path,
    content: bytes | None,
    seen: PictureView,
    reader: str | None = None,
) -> Source:
    """Open a picture as `slidecam predict` does, but for choices that a file leaves no room for.

    Of pictures to learn from some may be stacks: a plane is chosen of those alone, which
    `look_at_pictures` tells.
    """
    try:
        return open_apart(path, reader, VolumeView(slide=seen), content=content)
    except NothingToChooseError as error:
        if "image" in error.names:
            raise
        view = VolumeView(slide=seen.without(error.names))
        source = open_apart(path, reader, view, content=content)
        words = " and ".join(f"--{name}" for name in sorted(error.names))
        said = f"It leaves nothing to choose by {words}, and is read as it is."
        source.facts = replace(source.facts, readings=(*source.facts.readings, said))
        return source


def _level_stored(path: Path, content: bytes | None, seen: PictureView) -> StoredPicture:
    """Return level 0, read as `slidecam predict` reads it."""
    as_stored = replace(seen, profile=None)
    with (
        picture_boundary(path),
        _slide_boundary(),
        open_picture(path, content, as_stored) as source,
    ):
        size = source.facts.size
        if size.width * size.height > MOST_PIXELS:
            problem = f"this picture has {size.width}x{size.height} pixels, too many at once."
            raise DataSetError(problem, "Cut tiles out of it (`slidecam tiles`).", path)
        whole = source.read(0, LevelBox(0, 0, size.width, size.height))
        profile = source.color_profile()
        # What becomes of the profile is the caller's to choose and to say.
        not_applied = colours_of(profile, None)[1]
        readings = tuple(said for said in source.facts.readings if said not in not_applied)
        return StoredPicture(Image.fromarray(whole), profile, readings)


@contextmanager
def _slide_boundary() -> Iterator[None]:
    """Turn what a reader says of a picture into a `DataSetError` that names it."""
    try:
        yield
    except (SourceError, UsageError) as error:
        problem = f"this picture cannot be read: {error.clause}."
        raise DataSetError(problem, error.remedy) from error


def load_pictures(
    paths: Sequence[Path],
    edge: int,
    interpolation: str = "bilinear",
    workers: int = 4,
    seen: PictureView = AS_THE_FILE_SAYS,
) -> Generator[Step, None, torch.Tensor]:
    """Load pictures in parallel, telling how far it is.

    Memory is that of the result and of a few decoded pictures.

    Returns
    -------
    Tensor
        uint8, (pictures, edge, edge, 3), in the order of ``paths``.

    Raises
    ------
    DataSetError
        Naming the first picture that cannot be read.
    """
    pixels = np.empty((len(paths), edge, edge, 3), np.uint8)
    load = partial(load_pixels, edge=edge, interpolation=interpolation, seen=seen)
    with closing(in_order(load, paths, workers)) as loaded:
        for row, picture in enumerate(loaded):
            pixels[row] = picture
            if (row + 1) % REPORT_EVERY == 0 or row + 1 == len(paths):
                yield Step("reading pictures", row + 1, len(paths))
    return torch.from_numpy(pixels)


def in_order(
    job: Callable[[Given], Result],
    items: Iterable[Given],
    workers: int,
    ahead: int = 0,
) -> Generator[Result]:
    """Yield each job's result in order, with a bounded number of them done ahead.

    Closing cancels the rest.
    """
    waiting = iter(items)
    running: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="slidecam-pictures")
    try:
        for item in islice(waiting, AHEAD * workers + ahead):
            running.append(pool.submit(job, item))
        while running:
            result = running.popleft().result()
            for item in islice(waiting, 1):
                running.append(pool.submit(job, item))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


WORKERS = 4
"""Threads that decode."""


class Inputs(Protocol):
    """Pictures by their rows, as the network that is trained takes them."""

    def training(
        self,
        rows: NDArray[np.int64],
        epoch: int,
        generator: torch.Generator,
    ) -> Tensor:
        """Return augmented pictures, float32 (B, …), on the network's device.

        ``generator`` is the only source of chance; ``epoch`` counts from 0 over all phases.
        """

    def plain(self, rows: NDArray[np.int64]) -> Tensor:
        """Return pictures as inference sees them, float32 (B, …), on the network's device."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures at the network's size, by rows: from memory where they fit, else decoded each time.

    Attributes
    ----------
    paths
        One file each.
    edge, interpolation
        As on the card.
    held
        All of them, uint8 (N, edge, edge, 3), or None.
    seen
        Which picture of each file, and its colours.
    """

    paths: tuple[Path, ...]
    edge: int
    interpolation: str
    held: Tensor | None = None
    seen: PictureView = AS_THE_FILE_SAYS

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Return uint8 (B, edge, edge, 3)."""
        if self.held is not None:
            return self.held[torch.from_numpy(rows)]
        load = partial(
            load_pixels,
            edge=self.edge,
            interpolation=self.interpolation,
            seen=self.seen,
        )
        paths = [self.paths[row] for row in rows]
        return torch.from_numpy(np.stack(list(in_order(load, paths, WORKERS))))


def hold_pictures(
    paths: Sequence[Path],
    card: Card,
    memory_mb: int,
    seen: PictureView = AS_THE_FILE_SAYS,
) -> Generator[Step, None, Pictures]:
    """Decode all pictures, if they fit into ``memory_mb`` at the card's size.

    They are seen in the colours of the card where ``seen`` says nothing of colours.

    Raises
    ------
    DataSetError
        Naming the first picture that cannot be read.
    """
    fits = len(paths) * card.input_px**2 * 3 <= memory_mb * 2**20
    held, seen = None, seen_by(card, seen)
    if fits:
        held = yield from load_pictures(paths, card.input_px, card.interpolation, WORKERS, seen)
    return Pictures(tuple(paths), card.input_px, card.interpolation, held, seen)


def seen_by(card: Card, seen: PictureView) -> PictureView:
    """Return how a classifier sees a picture: in its card's colours where nothing else is said."""
    return replace(seen, profile=seen.profile or card.color_profile)
