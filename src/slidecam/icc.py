"""A slide's colours by the ICC profile in its file: from the scanner's to those of sRGB.

The rendering intent is the relative colorimetric one, without black point compensation: what the
profile calls white becomes 255, 255, 255, so that glass stays glass, and every colour that sRGB has
is met exactly. For profiles of a matrix, as nearly all of scanners are, the perceptual intent is
the same.
"""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms

from slidecam.pixels import reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.viewing import Profile

ICC_TAG = 34675
_RGB = "RGB"
_LONGEST_NAME = 60
LATTICE = np.arange(0, 256, 5).astype(np.uint8)
"""Values of a channel, all combinations of which tell a profile from that of sRGB."""

KEPT = 32
"""Transforms that are kept, one for each profile that was met last."""

_BROKEN = (ImageCms.PyCMSError, OSError, ValueError, TypeError, ImportError)
"""What Pillow raises of a profile; the last where it was built without lcms2."""

LEFT_AS_STORED = "--profile ignore leaves them as stored."
NO_PROFILE = "The file has no ICC profile; its pixels are taken for sRGB."


def profile_of_page(page: Any) -> bytes | None:  # noqa: ANN401 - tifffile's page
    """Return the ICC profile that a TIFF's page holds, or None."""
    found = page.tags.valueof(ICC_TAG)
    if found is None:
        return None
    return bytes(found)


def icc_profile(picture: Image.Image) -> bytes | None:
    """Return the ICC profile of a picture of Pillow's, or None; empty where it is broken."""
    if "icc_profile" not in picture.info:
        return None
    # Pillow keeps None of one that it cannot put together.
    return picture.info["icc_profile"] or b""


class ToSrgb:
    """Pixels as stored, shown in sRGB.

    The transform is made once and used by every decoding thread at a time: lcms2 copies the one
    pixel that it remembers onto the stack of each call, and writes to nothing else.

    Parameters
    ----------
    profile
        What the file holds.

    Raises
    ------
    ValueError
        If it is broken, or none of RGB; the message says so.
    """

    def __init__(self, profile: bytes) -> None:
        try:
            opened = ImageCms.getOpenProfile(BytesIO(profile))
            self.name = _name(opened)
            space = opened.profile.xcolor_space.strip()
        except _BROKEN as error:
            raise ValueError(f"cannot be read ({reason(error)})") from error
        if space != _RGB:
            raise ValueError(f"{self.name} is one of {space} and not of RGB")
        try:
            self._transform = ImageCms.buildTransform(
                opened,
                ImageCms.createProfile("sRGB"),
                _RGB,
                _RGB,
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
            )
        except _BROKEN as error:
            raise ValueError(f"{self.name} leads to no colours ({reason(error)})") from error

        colours = np.stack(np.meshgrid(*[LATTICE] * 3), axis=-1)
        lattice = colours.reshape(len(LATTICE), -1, 3)
        # Many slides' profiles are that of sRGB itself, but for a value that is rounded otherwise:
        # nothing is to be done for them.
        changes = self._shown(lattice).astype(np.int16) - lattice
        self._is_srgb = bool(np.abs(changes).max() <= 1)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return pixels, uint8 (height, width, 3), in sRGB."""
        if self._is_srgb:
            return pixels
        return self._shown(pixels)

    def _shown(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        picture = Image.fromarray(pixels)
        self._transform.apply(picture, picture)
        return np.array(picture)


def _name(profile: ImageCms.ImageCmsProfile) -> str:
    """Return what a profile calls itself, in quotes, as part of a line."""
    words = " ".join(ImageCms.getProfileDescription(profile).split())
    shown = "".join(filter(str.isprintable, words))[:_LONGEST_NAME]
    return f'"{shown}"'


@lru_cache(maxsize=KEPT)
def to_srgb_of(profile: bytes) -> ToSrgb:
    """Return a profile's transform, made once for all pictures of one scanner.

    Raises
    ------
    ValueError
        As `ToSrgb` does.
    """
    return ToSrgb(profile)


def in_colours(picture: Image.Image, profile: bytes | None, wanted: Profile | None) -> Image.Image:
    """Return a picture of RGB in the colours that are wanted; see `colours_of`."""
    to_srgb, _readings = colours_of(profile, wanted)
    if to_srgb is None:
        return picture
    return Image.fromarray(to_srgb(np.asarray(picture)))


def colours_of(
    profile: bytes | None,
    wanted: Profile | None,
) -> tuple[ToSrgb | None, tuple[str, ...]]:
    """Return what shows a slide's pixels in sRGB, where that is wanted, and what to say of it.

    Parameters
    ----------
    profile
        What the file holds; None for nothing.
    wanted
        As in `PictureView`: None leaves pixels as they are stored.
    """
    applies = wanted == "srgb"
    if profile is None:
        return None, (NO_PROFILE,) if applies else ()
    try:
        to_srgb = to_srgb_of(profile)
    except ValueError as error:
        return None, (f"The file's ICC profile {error}, and is not applied.",)
    if applies:
        said = f"The ICC profile {to_srgb.name} is applied, and colours are those of sRGB;"
        return to_srgb, (f"{said} {LEFT_AS_STORED}",)
    said = f"An ICC profile ({to_srgb.name}) is there and not applied;"
    return None, (f"{said} --profile srgb applies it.",)
