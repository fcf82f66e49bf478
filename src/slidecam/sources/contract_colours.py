"""One table of colours: small TIFFs of every kind that is met, whose RGB is known.

`colour_files` writes them byte by byte, with no library that a reader may use.
`slidecam.sources.contract.colour_faults` says of which of them a reader shows other colours.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

WIDTH, HEIGHT = 83, 70
"""Neither whole tiles, nor whole strips, nor whole blocks of chroma."""

LOSSLESS, LOSSY = 1, 3
"""How far a shown value may lie from the known one, of 255."""

_TILE, _ROWS = 32, 24
_NONE, _LZW, _JPEG, _DEFLATE = 1, 5, 7, 8
_LITTLE, _WORD = 1, 2
_SHORT, _LONG = 3, 4
_CHROMA = 2


@dataclass(frozen=True)
class ColourFile:
    """One TIFF of the table.

    Attributes
    ----------
    name
        What it is: ``palette 4 bit, tiles, deflate``.
    path
        Where it lies, or its URL.
    picture
        What must be shown, uint8, (height, width, 3); None where nothing may be.
    tolerance
        How far a value may lie from it.
    """

    name: str
    path: str
    picture: NDArray[np.uint8] | None
    tolerance: int


@dataclass(frozen=True)
class _Kind:
    """Samples as stored, (height, width, samples), what the tags say, and what they mean."""

    name: str
    samples: NDArray[np.generic]
    picture: NDArray[np.uint8] | None
    photometric: int
    bits: int = 8
    tags: Mapping[int, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    chroma: tuple[int, int] = (1, 1)
    lossy: bool = False


@dataclass(frozen=True)
class _Layout:
    name: str
    tiled: bool
    compression: int
    apart: bool = False


_LAYOUTS = (
    _Layout("tiles, deflate", tiled=True, compression=_DEFLATE),
    _Layout("strips, plain", tiled=False, compression=_NONE),
    _Layout("tiles, plain, planes apart", tiled=True, compression=_NONE, apart=True),
    _Layout("strips, LZW, planes apart", tiled=False, compression=_LZW, apart=True),
    _Layout("tiles, LZW", tiled=True, compression=_LZW),
)


def colour_files(folder: Path) -> tuple[ColourFile, ...]:
    """Write the table into ``folder`` and return it."""
    found = []
    for kind in _kinds():
        for layout in _layouts(kind):
            name = f"{kind.name}, {layout.name}"
            path = folder / f"{name.replace(', ', '-').replace(' ', '_')}.tif"
            path.write_bytes(_tiff(kind, layout))
            tolerance = LOSSY if kind.lossy else LOSSLESS
            found.append(ColourFile(name, str(path), kind.picture, tolerance))
    return tuple(found)


def _picture() -> NDArray[np.uint8]:
    """Return slow waves of colour, light and dark."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [
        np.sin(columns / 19 + band) * 61 + np.cos(rows / (13 + 4 * band)) * 59 for band in range(3)
    ]
    middle = np.array([151, 112, 133])
    picture: NDArray[np.uint8] = np.rint(np.dstack(waves) + middle).clip(0, 255).astype(np.uint8)
    return picture


def _in_squares(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return squares of one colour each, which JPEG keeps but for the rounding of YCbCr."""
    corners = picture[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)
    return corners[:HEIGHT, :WIDTH]


def _layouts(kind: _Kind) -> Iterator[_Layout]:
    if kind.lossy:
        yield _Layout("tiles, JPEG", tiled=True, compression=_JPEG)
        yield _Layout("strips, JPEG", tiled=False, compression=_JPEG)
        return
    for layout in _LAYOUTS:
        one_plane = kind.samples.shape[2] == 1 or kind.chroma != (1, 1)
        if not (layout.apart and one_plane):
            yield layout


def _kinds() -> Iterator[_Kind]:
    picture = _picture()
    yield from _greys(picture[:, :, :1])
    yield from _palettes(picture[:, :, 0])
    yield from _colours(picture)
    yield from _with_alpha(picture)
    yield from _inks(picture)
    yield from _lumas(picture)
    yield from _turned(picture)
    yield from _unknown(picture)


def _greys(grey: NDArray[np.uint8]) -> Iterator[_Kind]:
    for name, photometric in (("grey", 1), ("grey, min is white", 0)):
        for bits in (1, 4, 8, 12, 16):
            largest = 2**bits - 1
            stored = np.rint(grey / 255.0 * largest).astype(np.uint16)
            shown = np.rint(stored * (255.0 / largest)).repeat(3, axis=2)
            if photometric == 0:
                shown = 255 - shown
            yield _Kind(f"{name}, {bits} bit", stored, shown.astype(np.uint8), photometric, bits)
    yield _Kind("grey, kind unsaid", grey, grey.repeat(3, axis=2), -1)


def _palettes(grey: NDArray[np.uint8]) -> Iterator[_Kind]:
    random = np.random.default_rng(13)
    for bits in (1, 2, 4, 8):
        colours = random.integers(0, 256, (2**bits, 3))
        stored = (grey >> (8 - bits)).astype(np.uint16)
        for name, factor in (("palette", 257), ("palette of 8 bit values", 1)):
            values = (colours * factor).astype(np.uint16)
            tags = {320: (_SHORT, tuple(map(int, values.T.ravel())))}
            shown = colours[stored].astype(np.uint8)
            yield _Kind(f"{name}, {bits} bit", stored[:, :, None], shown, 3, bits, tags)


def _colours(picture: NDArray[np.uint8]) -> Iterator[_Kind]:
    yield _Kind("RGB, 8 bit", picture, picture, 2)
    yield _Kind("RGB, kind unsaid", picture, picture, -1)
    wide = picture.astype(np.uint16)
    yield _Kind("RGB, 16 bit", wide * 257, picture, 2, 16)
    narrow = np.rint(wide * (4095 / 255)).astype(np.uint16)
    yield _Kind("RGB, 12 bit", narrow, picture, 2, 12)
    said = {281: (_SHORT, (4095, 4095, 4095))}
    yield _Kind("RGB, 12 of 16 bit", narrow, picture, 2, 16, said)
    soft = _in_squares(picture)
    yield _Kind("RGB in JPEG", soft, soft, 2, lossy=True)


def _with_alpha(picture: NDArray[np.uint8]) -> Iterator[_Kind]:
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    alpha = np.clip((columns + rows) * 3 - 90, 0, 255)[:, :, None]
    straight = np.dstack([picture, alpha]).astype(np.uint8)
    laid = np.rint((picture * alpha + 255.0 * (255 - alpha)) / 255).astype(np.uint8)
    before = np.rint(picture * alpha / 255.0)
    multiplied = np.dstack([before, alpha]).astype(np.uint8)
    for name, stored, extra in (
        ("straight alpha", straight, (2,)),
        ("multiplied alpha", multiplied, (1,)),
        ("alpha of no kind", multiplied, (0,)),
        ("alpha undeclared", multiplied, ()),
    ):
        tags = {338: (_SHORT, extra)} if extra else {}
        yield _Kind(f"RGB, {name}", stored, laid, 2, tags=tags)
    # Colours above a fourth sample were never multiplied by it.
    for name, extra in (("unspecified", (0,)), ("unsaid", ())):
        tags = {338: (_SHORT, extra)} if extra else {}
        yield _Kind(f"RGB, fourth sample {name} below colours", straight, picture, 2, tags=tags)
    wide = straight.astype(np.uint16) * 257
    yield _Kind("RGB, straight alpha, 16 bit", wide, laid, 2, 16, {338: (_SHORT, (2,))})
    grey = laid[:, :, :1].repeat(3, axis=2)
    yield _Kind("grey, straight alpha", straight[:, :, [0, 3]], grey, 1, tags={338: (_SHORT, (2,))})


def _inks(picture: NDArray[np.uint8]) -> Iterator[_Kind]:
    black = np.linspace(0, 200, WIDTH).astype(np.uint8)[None, :, None].repeat(HEIGHT, axis=0)
    shown = np.rint(picture * ((255.0 - black) / 255)).astype(np.uint8)
    stored = np.dstack([255 - picture, black])
    yield _Kind("CMYK, 8 bit", stored, shown, 5)
    yield _Kind("CMYK, 16 bit", stored.astype(np.uint16) * 257, shown, 5, 16)


def _lumas(picture: NDArray[np.uint8]) -> Iterator[_Kind]:
    """YCbCr without JPEG, and with it; of other coefficients, and within 16 to 235."""
    video: tuple[int, ...] = (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)
    full: tuple[int, ...] = (0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1)
    for name, weights, levels in (
        ("YCbCr", (299, 587, 114), full),
        ("YCbCr of BT.709", (2126, 7152, 722), full),
        ("YCbCr of 16 to 235", (299, 587, 114), video),
    ):
        for chroma in ((1, 1), (2, 1), (2, 2), (4, 2)):
            fractions: list[int] = []
            for weight in weights:
                fractions += [weight, sum(weights)]
            tags = {529: (5, tuple(fractions)), 532: (5, levels), 530: (_SHORT, chroma)}
            stored, shown = _in_lumas(picture, np.array(weights) / sum(weights), levels, chroma)
            yield _Kind(f"{name}, chroma {chroma}", stored, shown, 6, tags=tags, chroma=chroma)
    both = {530: (_SHORT, (1, 1))}
    soft = _in_squares(picture)
    yield _Kind("YCbCr in JPEG", soft, soft, 6, tags=both, lossy=True)


def _in_lumas(
    picture: NDArray[np.uint8],
    weights: NDArray[np.float64],
    levels: tuple[int, ...],
    chroma: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return samples in YCbCr, chroma equal within its blocks, and the RGB that they mean."""
    black, white = np.array(levels[::4], float), np.array(levels[2::4], float)
    spans = (white - black) / (255.0, 127.0, 127.0)
    luma = picture @ weights
    blue = (picture[:, :, 2] - luma) / (2 - 2 * weights[2])
    red = (picture[:, :, 0] - luma) / (2 - 2 * weights[0])
    stored = np.rint(np.dstack([luma, blue, red]) * spans + black).clip(0, 255).astype(np.uint8)
    across, down = chroma
    corners = stored[::down, ::across, 1:].repeat(down, axis=0).repeat(across, axis=1)
    stored[:, :, 1:] = corners[:HEIGHT, :WIDTH]
    # libtiff's tables hold whole numbers, and all programs show what libtiff does
    luma, blue, red = np.moveaxis(np.trunc((stored - black) / spans), 2, 0)
    shown = np.empty(stored.shape)
    shown[:, :, 0] = luma + (2 - 2 * weights[0]) * red
    shown[:, :, 2] = luma + (2 - 2 * weights[2]) * blue
    shown[:, :, 1] = (luma - weights[0] * shown[:, :, 0] - weights[2] * shown[:, :, 2]) / weights[1]
    return stored, np.rint(shown).clip(0, 255).astype(np.uint8)


def _turned(picture: NDArray[np.uint8]) -> Iterator[_Kind]:
    """Yield pictures that are stored so that their tag's turn brings them upright."""
    back: tuple[Callable[[NDArray[np.uint8]], NDArray[np.uint8]], ...] = (
        np.fliplr,
        lambda upright: np.rot90(upright, 2),
        np.flipud,
        lambda upright: upright.swapaxes(0, 1),
        lambda upright: np.rot90(upright, 1),
        lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
        lambda upright: np.rot90(upright, -1),
    )
    for orientation, turn in enumerate(back, start=2):
        tags = {274: (_SHORT, (orientation,))}
        yield _Kind(f"RGB, orientation {orientation}", turn(picture), picture, 2, tags=tags)


def _unknown(picture: NDArray[np.uint8]) -> Iterator[_Kind]:
    """Yield what nobody can show as RGB."""
    for name, photometric in (("CIELAB", 8), ("ICCLAB", 9), ("raw mosaic", 32803)):
        yield _Kind(name, picture, None, photometric)
    fractions = (picture / np.float32(255)).astype(np.float32)
    tags: dict[int, tuple[int, tuple[int, ...]]] = {339: (_SHORT, (3, 3, 3))}
    yield _Kind("RGB, fractions", fractions, None, 2, 32, tags)
    signed = {339: (_SHORT, (2,))}
    yield _Kind("grey, with sign", picture[:, :, :1].astype(np.uint16), None, 1, 16, signed)
    five = np.dstack([picture, picture[:, :, :2]])
    yield _Kind("five channels", five, None, 1, tags={338: (_SHORT, (0, 0, 0, 0))})
    two = picture[:, :, :2]
    yield _Kind("two channels", two, None, 1, tags={338: (_SHORT, (0,))})


def _tiff(kind: _Kind, layout: _Layout) -> bytes:
    """Return a classic little-endian TIFF of one page."""
    height, width, samples = kind.samples.shape
    segments = [_compressed(part, kind, layout) for part in _segments(kind, layout)]
    tags: dict[int, tuple[int, tuple[Any, ...]]] = {
        256: (_LONG, (width,)),
        257: (_LONG, (height,)),
        258: (_SHORT, (kind.bits,) * samples),
        259: (_SHORT, (layout.compression,)),
        277: (_SHORT, (samples,)),
        284: (_SHORT, (1 + layout.apart,)),
        **kind.tags,
    }
    if kind.photometric >= 0:
        tags[262] = (_SHORT, (kind.photometric,))
    offsets, counts = 273, 279
    if layout.tiled:
        tags[322], tags[323] = (_LONG, (_TILE,)), (_LONG, (_TILE,))
        offsets, counts = 324, 325
    else:
        tags[278] = (_LONG, (_ROWS,))
    places, body = [], b""
    for segment in segments:
        places.append(8 + len(body))
        body += segment + bytes(len(segment) % 2)
    tags[offsets], tags[counts] = (_LONG, tuple(places)), (_LONG, tuple(map(len, segments)))
    return struct.pack("<2sHL", b"II", 42, 8 + len(body)) + body + _directory(tags, 8 + len(body))


def _directory(tags: dict[int, tuple[int, tuple[Any, ...]]], start: int) -> bytes:
    letters = {_SHORT: "H", _LONG: "L", 5: "L"}
    entries, beyond = b"", b""
    room = start + 2 + 12 * len(tags) + 4
    for code, (kind, values) in sorted(tags.items()):
        data = struct.pack(f"<{len(values)}{letters[kind]}", *values)
        count = len(values) // (2 if kind == 5 else 1)  # noqa: PLR2004 - TIFF's RATIONAL
        if len(data) > 4:  # noqa: PLR2004 - bytes that an entry itself holds
            place, beyond = room + len(beyond), beyond + data
            data = struct.pack("<L", place)
        entries += struct.pack("<HHL", code, kind, count) + data.ljust(4, b"\0")
    return struct.pack("<H", len(tags)) + entries + bytes(4) + beyond


def _segments(kind: _Kind, layout: _Layout) -> Iterator[NDArray[np.generic]]:
    """Yield tiles, padded with the last pixel, or strips."""
    height, width, count = kind.samples.shape
    planes = [kind.samples]
    if layout.apart:
        planes = [kind.samples[:, :, band : band + 1] for band in range(count)]
    for plane in planes:
        for top in range(0, height, _TILE if layout.tiled else _ROWS):
            if not layout.tiled:
                yield plane[top : top + _ROWS]
                continue
            for left in range(0, width, _TILE):
                tile = plane[top : top + _TILE, left : left + _TILE]
                missing = ((0, _TILE - tile.shape[0]), (0, _TILE - tile.shape[1]), (0, 0))
                yield np.pad(tile, missing, mode="edge")


def _compressed(samples: NDArray[np.generic], kind: _Kind, layout: _Layout) -> bytes:
    if layout.compression == _JPEG:
        stored = "YCBCR" if kind.photometric == 6 else "RGB"  # noqa: PLR2004 - TIFF's YCbCr
        data = np.ascontiguousarray(samples)
        return bytes(
            imagecodecs.jpeg8_encode(
                data, level=100, colorspace="RGB", outcolorspace=stored, subsampling="444"
            )
        )
    packed = _packed(samples, kind)
    if layout.compression == _DEFLATE:
        return zlib.compress(packed)
    if layout.compression == _LZW:
        return bytes(imagecodecs.lzw_encode(packed))
    return packed


def _packed(samples: NDArray[np.generic], kind: _Kind) -> bytes:
    """Return the bytes of a segment: blocks of chroma, whole bytes, or bits row by row."""
    if kind.chroma != (1, 1):
        return _in_blocks(samples, kind.chroma)
    if kind.bits % 8 == 0:
        letters = {8: "u1", 16: "<u2", 32: "<f4"}
        return samples.astype(letters[kind.bits]).tobytes()
    values = samples.reshape(len(samples), -1).astype(">u2").view(np.uint8)
    bits = np.unpackbits(values.reshape(*samples.shape[:1], -1, 2), axis=2)[:, :, -kind.bits :]
    return np.packbits(bits.reshape(len(samples), -1), axis=1).tobytes()


def _in_blocks(samples: NDArray[np.generic], chroma: tuple[int, int]) -> bytes:
    """Return lumas block by block, each block's chroma after them."""
    across, down = chroma
    height, width, _ = samples.shape
    data = bytearray()
    padded = np.pad(samples, ((0, -height % down), (0, -width % across), (0, 0)), mode="edge")
    for top in range(0, height, down):
        for left in range(0, width, across):
            block = padded[top : top + down, left : left + across]
            data += block[:, :, 0].tobytes() + block[0, 0, 1:].tobytes()
    return bytes(data)
