"""PNG, JPEG, BMP, GIF, WebP and JPEG 2000: one level, decoded whole on the first read, upright.

Of several frames the first, or the one that ``--plane`` names.
"""

from __future__ import annotations

from importlib.metadata import version
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from slidecam.errors import RefusedSourceError, UsageError
from slidecam.geometry import Level, Size
from slidecam.icc import icc_profile
from slidecam.pixels import (
    bits_of,
    deep_samples,
    frame_notes,
    has_transparency,
    is_deep_grey,
    picture_in_rgb,
    reason,
    to_rgb,
    to_uint8,
    upright,
    upright_size,
)
from slidecam.sources._library import DECODING_ERRORS, closed, decoding, opening
from slidecam.sources._probe import fingerprint_of_stream
from slidecam.sources._ranges import BITS, Range, note_on_bits, range_of, with_darkness
from slidecam.sources.overview import CHUNK_EDGE
from slidecam.sources.source import Source, SourceFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import BinaryIO

    from numpy.typing import NDArray

    from slidecam.geometry import LevelBox
    from slidecam.sources._probe import Probe

MOST_PIXELS = 200_000_000
"""600 MB of RGB. A picture must be decoded whole; a slide of that size belongs in a tiled TIFF."""

_TILED = "Convert it to a tiled TIFF, for example with `vips tiffsave IN OUT.tif --tile --pyramid`."
_MARK_BYTES = 4
_DEEP = 16
"""Bits that Pillow brings grey of more than 8 to."""

_PLUGINS: Mapping[bytes, Callable[[BinaryIO], Image.Image]] = {
    b"\x89PNG": PngImageFile,
    b"GIF8": GifImageFile,
    b"RIFF": WebPImageFile,
    b"\x00\x00\x00\x0c": Jpeg2KImageFile,
    b"\xff\x4f\xff\x51": Jpeg2KImageFile,
}
"""By the first bytes; the others are BMP, which has only two, and JPEG."""


def check() -> str:
    """Return Pillow's version, having read a picture, for ``slidecam doctor``.

    Raises
    ------
    ValueError
        If a picture does not come back as it went in.
    """
    pixels = np.full((4, 4, 3), 7, np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    with Image.open(stream) as picture:
        if not np.array_equal(np.asarray(picture), pixels):
            raise ValueError("a PNG comes back wrong")
    return f"Pillow {version('pillow')}"


def open_slide(probe: Probe) -> Source:
    """Open a picture.

    Raises
    ------
    UnreadableSourceError
        If its header is broken.
    RefusedSourceError
        If it is too large to decode.
    UsageError
        If it has no frame of the number that the view wants.
    """
    wanted = probe.view.slide.plane or 1
    with (
        opening(probe.given, "This is a picture", "Copy or download it again."),
        probe.open() as stream,
    ):
        fingerprint = fingerprint_of_stream(stream)
        picture = _header(stream)
        frames = getattr(picture, "n_frames", 1)
        if wanted > frames > 1:
            problem = f"There is no plane {wanted}: it has {frames}."
            raise UsageError(problem, f"Pass --plane 1 to {frames}, or none.", probe.given)
        notes = frame_notes(picture, wanted)
        size, kind = Size(*upright_size(picture)), str(picture.format).lower()
        offers: frozenset[str] = frozenset()
        profile = icc_profile(picture)
        clear, deep = has_transparency(picture), bits_of(picture)
        if is_deep_grey(picture):
            offers |= {"window"}
    if size.width * size.height > MOST_PIXELS:
        pixels = f"{size.width}x{size.height} pixels"
        problem = f"{pixels} are too many to decode a {kind.upper()} whole."
        raise RefusedSourceError(probe.given, problem, _TILED)
    if notes:
        offers |= {"plane"}
    notes += note_on_bits(deep)
    if clear:
        notes += ("What is transparent in it is shown white.",)
    facts = SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="picture",
        format=kind,
        levels=(Level(0, size, 1.0),),
        spacing=None,  # pHYs and JFIF densities are a screen's or printer's, not a microscope's
        spacing_from=None,
        bounds=None,
        chunk=(Size(CHUNK_EDGE, CHUNK_EDGE),),
        associated=(),
        fingerprint=fingerprint,
        readings=notes,
        offers=offers,
    )
    source = PictureSource(facts, probe, profile)
    if deep > BITS:
        source.settle_range()
    return source


class PictureSource(Source):
    """A picture, turned upright as its EXIF orientation says.

    So training reads pictures, and viewers show them.
    """

    def __init__(self, facts: SourceFacts, probe: Probe, profile: bytes | None) -> None:
        super().__init__(facts)
        self._probe = probe
        self._profile = profile
        self._frame = 0
        self._range: Range | None = None
        if "plane" in facts.offers:
            self._frame = (probe.view.slide.plane or 1) - 1
        self._lock = Lock()
        self._pixels: NDArray[np.uint8] | None = None
        self._failure: str | None = None
        self._closed = False

    def settle_range(self) -> None:
        """Put into ``facts`` which samples are black and white, or that the picture is dark.

        All of it is decoded.
        """
        try:
            pixels = self._whole()
        except RefusedSourceError:
            raise
        except DECODING_ERRORS:
            return  # reading it says so
        if self._range is None:
            self.facts = with_darkness(self, int(pixels.max()))
        else:
            self.facts = self._range.put_into(self.facts)

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        with decoding(self.facts.path, level, box):
            pixels = self._whole()
        return pixels[box.y : box.bottom, box.x : box.right].copy()

    def _whole(self) -> NDArray[np.uint8]:
        """Return all pixels, decoded by whoever asks first.

        A picture that failed once is not tried again.
        """
        with self._lock:
            if self._closed:
                raise closed(self.facts.path)
            if self._failure is not None:
                raise ValueError(self._failure)
            if self._pixels is None:
                self._pixels = self._decoded()
            return self._pixels

    def _decoded(self) -> NDArray[np.uint8]:
        try:
            with self._probe.open() as stream:
                picture = _header(stream)
                if self._frame:
                    picture.seek(self._frame)
                picture = upright(picture)
                if is_deep_grey(picture):
                    return self._windowed(deep_samples(picture))
                return np.asarray(picture_in_rgb(picture))
        except DECODING_ERRORS as error:
            self._failure = reason(error)
            raise

    def _windowed(self, samples: NDArray[np.uint16]) -> NDArray[np.uint8]:
        view = self._probe.view
        self._range = range_of(self.facts.path, samples, _DEEP, view, grey=True) or Range()
        return to_rgb(to_uint8(samples, _DEEP, self._range.limits)[:, :, np.newaxis])

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Raise KeyError: a picture has no associated images."""
        raise KeyError(name)

    def color_profile(self) -> bytes | None:
        """Return the picture's ICC profile, or None."""
        return self._profile

    def close(self) -> None:
        """Let the pixels go."""
        with self._lock:
            self._closed, self._pixels = True, None


def _header(stream: BinaryIO) -> Image.Image:
    """Read the header alone. Image.open() would warn of large pictures.

    open_slide() refuses them itself.
    """
    stream.seek(0)
    mark = stream.read(_MARK_BYTES)
    stream.seek(0)
    if mark.startswith(b"BM"):
        return BmpImageFile(stream)
    return _PLUGINS.get(mark, JpegImageFile)(stream)
