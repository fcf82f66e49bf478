"""What every reader offers: the facts of a slide, and its pixels by level and box."""

from __future__ import annotations

import hashlib
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from slidecam.errors import ReaderFailedError, SlidecamError, without_secrets
from slidecam.geometry import LevelBox
from slidecam.icc import NO_PROFILE, colours_of
from slidecam.pixels import GLASS
from slidecam.registry import load
from slidecam.sources.overview import overview
from slidecam.sources.tasks import LevelView
from slidecam.viewing import AS_THE_FILE_SAYS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    import dask.array as da
    from numpy.typing import NDArray

    from slidecam.geometry import Box, Level, Size, Spacing
    from slidecam.icc import ToSrgb
    from slidecam.pixels import RGB
    from slidecam.sources.images import FileImage, FileVolume
    from slidecam.sources.overview import Overview
    from slidecam.sources.tasks import Opening
    from slidecam.sources.volume_grid import PlaneStack
    from slidecam.viewing import PictureView

_LOG = logging.getLogger(__name__)

_TOKEN = 12
_READABLE = "Check that its file or server is still there and can be read, then repeat the call."


@dataclass(frozen=True)
class SourceFacts:
    """What a file says of itself, unchecked.

    Attributes
    ----------
    path
        The path or URL as it was given.
    name
        The stem that names outputs: ``CMU-1`` for ``/data/CMU-1.svs``.
    reader, format
        Who reads it (``openslide``) and what it is (``aperio``).
    levels
        The pyramid, finest first; level 0 has downsample 1.0.
    spacing, spacing_from
        µm per level-0 pixel and the property it came from, or None where the file says nothing.
    bounds
        The part of level 0 that holds the scan (``openslide.bounds-*``), or None for all of it.
        QuPath's coordinates start at its corner.
    chunk
        For each level, the size of the blocks that it is best decoded in, in pixels of that level.
    associated
        Names of the label, macro and thumbnail images.
    fingerprint
        Digest of the file's size and of samples of its content, stable across copies and renames.
    readings
        Every choice that was made about what the file means, as sentences: which of its pictures,
        which of its planes, whose colours, what was mended or scaled. Told wherever the slide is.
    images, volumes
        Its pictures that ``--image`` may name, and volumes that ``--volume`` may, where it has
        several.
    offers
        Fields of `PictureView` that this file leaves to choose: of others a choice is refused.
    stack
        Where the planes of a volume lie; None for a slide or picture, which is one plane.
    window
        The samples that are black and white, where a picture is shown through a window; None where
        it is by the range of its format. `VolumeSource.limits` is that of a volume.
    aliases
        Other names that what belongs to it may be called by, in the call that it is opened in.
    """

    path: str
    name: str
    reader: str
    format: str
    levels: tuple[Level, ...]
    spacing: Spacing | None
    spacing_from: str | None
    bounds: Box | None
    chunk: tuple[Size, ...]
    associated: tuple[str, ...]
    fingerprint: str
    readings: tuple[str, ...] = ()
    images: tuple[FileImage, ...] = ()
    offers: frozenset[str] = frozenset()
    stack: PlaneStack | None = None
    window: tuple[float, float] | None = None
    aliases: tuple[str, ...] = ()
    volumes: tuple[FileVolume, ...] = ()

    @property
    def file_name(self) -> str:
        """The last part of the path; of a URL, without its query."""
        return Path(without_secrets(self.path)).name

    @property
    def notes(self) -> tuple[str, ...]:
        """The readings, as programs know them from before and as ``slidecam info`` lists them."""
        return self.readings

    @property
    def planes(self) -> int:
        """How many planes there are, each of them a picture of ``size``: a slide has one."""
        if self.stack is None:
            return 1
        return self.stack.shape[0]

    @property
    def size(self) -> Size:
        """Width and height of level 0."""
        return self.levels[0].size


class Source(ABC):
    """A slide that can be read region by region, from any thread.

    A pixel of a level has one value, whatever box it is read in: a reader whose library
    interpolates must read on a fixed grid. Readers implement `_decode`, `associated_image` and
    `close`, and `color_profile` where their files may hold one.

    Attributes
    ----------
    facts
        What the file says of itself, and how it was read.
    seen
        What was chosen of the file, and in which colours it is shown.
    opening
        What `open_source` was called with; None where it was made otherwise.

    Examples
    --------
    >>> with open_source("slide.svs") as slide:
    ...     pixels = slide.read(0, LevelBox(0, 0, 256, 256))
    """

    seen: PictureView = AS_THE_FILE_SAYS
    opening: Opening | None = None
    _to_srgb: ToSrgb | None = None
    _last_overview: tuple[int, Overview | None] = (0, None)
    # Whether it may be closed though a thread still reads: a native reader would die of it.
    closes_under_reads = False

    def __init__(self, facts: SourceFacts) -> None:
        self.facts = facts

    def __repr__(self) -> str:
        size, kind = self.facts.size, type(self).__name__.lstrip("_")
        return (
            f"<{kind} {self.facts.name}: {size.width} x {size.height} px,"
            f" {self.facts.spacing or 'no spacing'}, {len(self.facts.levels)} levels>"
        )

    def color_profile(self) -> bytes | None:
        """Return the ICC profile of the picture that is read, as the file holds it, or None.

        Empty where there is one that cannot be read.
        """
        return None

    def show(self, seen: PictureView) -> None:
        """Take what was chosen of the file, and show its colours as is chosen there.

        `open_source` does so before anybody reads; what it means for the colours is one more of
        ``facts.readings``. Of a volume, and of the label and macro images, no profile is applied.
        """
        self.seen = seen
        if self.facts.stack is not None:
            if seen.profile == "srgb":
                self.add_readings((NO_PROFILE,))
            return
        self._to_srgb, readings = colours_of(self.color_profile(), seen.profile)
        spacing = self.facts.spacing
        if spacing is not None and not spacing.is_square:
            said = f"Pixels are {spacing}, not square; --mpp takes them for square ones."
            readings = (said, *readings)
        self.add_readings(readings)

    def add_readings(self, readings: Iterable[str]) -> None:
        """Put more into ``facts.readings``."""
        self.facts = replace(self.facts, readings=(*self.facts.readings, *readings))

    @abstractmethod
    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        """Return the pixels of ``box``, which lies inside the level, as (height, width, 3)."""

    @abstractmethod
    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return the associated image ``name`` (label, macro, …), (height, width, 3).

        KeyError if absent.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the file; reading afterwards is an error."""

    @property
    def held_bytes(self) -> int:
        """Memory and temporary storage that is held for it while it is open."""
        return 0

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be read of it any more, since the process that read it has ended."""
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        lost = self.let_go()
        if lost:
            _LOG.warning(lost)

    def let_go(self) -> str:
        """Close, whatever the reader raises meanwhile: what was read is right all the same.

        Return what it raised, as a sentence; nothing where nothing went wrong.
        """
        try:
            self.close()
        # What a library raises at a file's end is not ours to know.
        except Exception as error:  # noqa: BLE001
            said = f"{type(error).__name__}: {error}"
            reader = self.facts.reader
            return f"Reader {reader} could not close the file and raised {said}. Nothing is lost."
        return ""

    def _decode_plane(self, level: int, box: LevelBox, plane: int) -> NDArray[np.uint8]:
        """Return the pixels of ``box`` on one plane; a slide has but one."""
        if plane:
            raise IndexError(f"{self.facts.path} has one plane and no plane {plane}")
        return self._decode(level, box)

    def read(
        self, level: int, box: LevelBox, fill: RGB = GLASS, plane: int = 0
    ) -> NDArray[np.uint8]:
        """Return RGB pixels of ``box`` in pixels of ``level``.

        What lies beyond the level is ``fill``.

        Parameters
        ----------
        level, box
            Where.
        fill
            Colour of what lies beyond.
        plane
            Which plane of a volume, from 0; a slide has one.

        Returns
        -------
        ndarray
            uint8, (box.height, box.width, 3).

        Raises
        ------
        RegionReadError
            If the region cannot be decoded. The source stays usable.
        """
        inside = box.clipped(self.facts.levels[level].size)
        if inside == box and box.width and box.height:
            return self._read_plane(level, box, plane)
        pixels = np.full((box.height, box.width, 3), fill, np.uint8)
        if inside.width and inside.height:
            top, left = inside.y - box.y, inside.x - box.x
            pixels[top : top + inside.height, left : left + inside.width] = self._read_plane(
                level, inside, plane
            )
        return pixels

    def _read_plane(self, level: int, box: LevelBox, plane: int) -> NDArray[np.uint8]:
        """Return what `_decode_plane` does, in the colours that are chosen.

        What the system raises says that reading failed.
        """
        try:
            pixels = self._decode_plane(level, box, plane)
        except SlidecamError:
            raise
        except OSError as error:
            problem = f"The slide cannot be read on: {type(error).__name__}: {error}."
            raise ReaderFailedError(self.facts.path, problem, _READABLE) from error
        if self._to_srgb is not None:
            return self._to_srgb(pixels)
        return pixels

    def _is_absent(self, level: int, box: LevelBox) -> bool:  # noqa: ARG002 - for readers to override
        """Whether the file holds nothing of ``box``, and `_decode` would make `GLASS` of it."""
        return False

    def is_absent(self, level: int, box: LevelBox) -> bool:
        """Whether the file holds nothing of ``box``, so that `read` gives `GLASS` there.

        Sparse files leave tiles out. False where nobody knows: it only saves the reading.
        """
        if not self._is_absent(level, box):
            return False
        glass = np.full((1, 1, 3), GLASS, np.uint8)
        return self._to_srgb is None or bool((self._to_srgb(glass) == glass).all())

    @property
    def token(self) -> str:
        """What tells these pixels from any others: the reader, the file, and what is chosen of it.

        Dask keeps blocks by it.
        """
        words = [self.facts.reader, self.facts.fingerprint]
        chosen = self.seen.chosen
        if self._to_srgb is None:
            chosen.pop("profile", None)
        if chosen:
            words.append(hashlib.sha256(repr(chosen).encode()).hexdigest()[:_TOKEN])
        return "-".join(words)

    def chunk_box(self, level: int, row: int, column: int) -> LevelBox:
        """Return the box of one decoding chunk, cut off at the level's edge."""
        chunk = self.facts.chunk[level]
        box = LevelBox(column * chunk.width, row * chunk.height, chunk.width, chunk.height)
        return box.clipped(self.facts.levels[level].size)

    def level_array(self, level: int, least: int = 1) -> da.Array:
        """Return a level as a lazy Dask array, uint8, (height, width, 3).

        Tasks in other processes open the slide again: what travels to them is its path.

        Parameters
        ----------
        level
            Which.
        least
            Pixels that a block should span each way. Blocks are one decoding chunk, or whole chunks
            up to this: viewers pan smoothly over blocks of 512 and stutter over those of 256.
        """
        size, chunk = self.facts.levels[level].size, self.facts.chunk[level]
        height = chunk.height * -(-least // chunk.height)
        width = chunk.width * -(-least // chunk.width)
        array: da.Array = load("dask.array:from_array")(
            LevelView(self, level),
            chunks=(min(height, size.height), min(width, size.width), 3),
            name=f"{self.token}-{level}-{width}x{height}",
            asarray=False,
            fancy=False,
            meta=np.empty((0, 0, 0), np.uint8),
        )
        return array

    def overview(self, longest: int) -> Overview:
        """Return the whole slide, its longest side at most ``longest`` pixels, and its gaps.

        One chunk is decoded at a time, so memory does not grow with the slide.

        Raises
        ------
        RegionReadError
            If no part of the slide can be decoded at all.
        """
        # Tissue is looked for on the picture that is drawn under its classes later.
        longest = min(longest, max(self.facts.size.width, self.facts.size.height))
        before, found = self._last_overview
        if found is None or before != longest:
            found = overview(self, longest)
            self._last_overview = longest, found
        return found

    def thumbnail(self, longest: int) -> NDArray[np.uint8]:
        """Return the pixels of `overview`, uint8, (rows, columns, 3), `GLASS` where it has gaps.

        Each is the mean over exactly the area that it covers; a small slide is never enlarged.
        """
        return self.overview(longest).pixels
