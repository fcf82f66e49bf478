"""Which of a picture's channels are red, green and blue: one rule for TIFF, OME-TIFF and OME-Zarr.

What a file calls its channels decides, then their colours, and only where it says nothing at all
their order. DAPI, FITC and Cy5 are three channels and no colours: they are shown as such only where
that was asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.errors import RefusedSourceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.pixels import RGB

Role = int
"""0, 1, 2: red, green, blue; 3: alpha."""

_RED_GREEN_BLUE = {0, 1, 2}
_PALETTES = (_RED_GREEN_BLUE, {0, 1, 2, 3})
_ROLES = {
    "red": 0, "r": 0, "green": 1, "g": 1, "blue": 2, "b": 2,
    "alpha": 3, "a": 3, "opacity": 3, "transparency": 3,
}  # fmt: skip
_EMPTY_WORDS = {
    "c", "ch", "chan", "channel", "channels", "band", "plane", "sample", "component",
    "color", "colour", "image", "rgb", "brightfield", "bright", "field", "bf", "tl", "camera",
    "unknown", "unnamed", "undefined", "none", "default", "he", "h", "e", "wsi", "scan", "rgba",
}  # fmt: skip
"""Words of names that say nothing of a colour; numbers say nothing either."""

_GREY_WORDS = {
    "grey", "gray", "greyscale", "grayscale", "mono", "monochrome", "luminance", "intensity",
    "l", "y", "transmitted", "light", "white",
}  # fmt: skip
"""Words of the name of a single channel that say no more than that it is grey."""

_STRONG, _WEAK = 128, 64
"""A colour is red where its red is at least the one and the others at most the other."""

_DIM = 0.5
"""Parts of the range above which what a file shows as the brightest is bright as stored."""

MOST_CHANNELS = 65_535
"""TIFF counts no further, and each costs memory."""

_MOST_NAMED = 16
"""Channels that a sentence names; of more it says how many there are."""

_WHITE = (255, 255, 255)
_COLOURS = "red, green and blue"
_OTHERWISE = "--channels takes them otherwise."
_CHOOSE = (
    "Pass --channels A,B,C to read three of them as red, green and blue, or --channels A to read"
    " one as grey, by number or name. Export one plane as RGB for anything else."
)


@dataclass(frozen=True)
class Channel:
    """What a file says of one channel.

    Attributes
    ----------
    name
        What the file calls it; empty where it does not.
    color
        In which colour the file wants it shown; None where it does not say.
    inverted
        Whether the file wants it shown with dark and light exchanged.
    brightest
        The value that the file wants shown as the brightest; None where it does not say.
    """

    name: str = ""
    color: RGB | None = None
    inverted: bool = False
    brightest: float | None = None


def color_of_ome(text: str | None) -> RGB | None:
    """Return the colour of OME-XML's Channel: a signed number whose bytes are R, G, B, alpha."""
    try:
        number = int(text or "")
    except ValueError:
        return None
    red, green, blue, _ = (number & 0xFFFFFFFF).to_bytes(4, "big")
    return red, green, blue


def color_of_hex(text: object) -> RGB | None:
    """Return the colour of OME-Zarr's omero channel: six hexadecimal digits."""
    try:
        red, green, blue = bytes.fromhex(str(text).removeprefix("#"))
    except ValueError:
        return None
    return red, green, blue


def choose_channels(
    path: str, channels: Sequence[Channel], wanted: Sequence[str] = ()
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Choose the channels of a picture that are shown as red, green and blue.

    Parameters
    ----------
    path
        The file, for messages.
    channels
        Its channels in the file's order, at least one.
    wanted
        Numbers (from 1) or names of three to take as red, green and blue, or of one to take as
        grey; empty for what the file says.

    Returns
    -------
    indices
        Places of the channels, from 0: one (grey), three (red, green, blue), or four, of which the
        last is straight alpha. Four come only of four that are called red, green, blue and alpha.
    readings
        What to say of the choice: nothing where there was none.

    Raises
    ------
    UsageError
        If ``wanted`` names one that is not there, or several at once.
    RefusedSourceError
        If nothing was wanted, and the file says that its channels are other than red, green and
        blue, or there are neither one nor three.
    """
    if wanted:
        return _wanted(path, channels, wanted)
    if len(channels) == 1:
        return (0,), _note_on_one(channels[0])
    named = list(map(_role_of_name, channels))
    if _is_whole(named):
        return _sorted(channels, named, "names")
    if len(channels) != len(_RED_GREEN_BLUE) or any(map(_says_something, channels)):
        raise _refusal(path, channels)
    coloured = list(map(_role_of_color, channels))
    if _is_whole(coloured):
        return _sorted(channels, coloured, "colours")
    if all(map(_is_colourless, channels)):
        return (0, 1, 2), (_by_order(),)
    raise _refusal(path, channels)


def note_on_display(
    channels: Sequence[Channel], indices: Sequence[int], bits: int
) -> tuple[str, ...]:
    """Return what a file wants done to channels on a screen, which is not done to their pixels.

    Parameters
    ----------
    channels
        Of the file.
    indices
        Those that are read.
    bits
        Of a sample.
    """
    notes: list[str] = []
    inverted: list[int] = []
    brightest = 0.0
    for index in sorted(set(indices)):
        brightest = max(brightest, channels[index].brightest or 0.0)
        if channels[index].inverted:
            inverted.append(index)
    if inverted:
        listed = _listed(channels, inverted)
        said = f"The file wants {_counted(inverted)} {listed} shown inverted"
        notes.append(f"{said}: as stored they are read all the same.")
    if 0 < brightest <= _DIM * (2**bits - 1):
        said = f"The file shows values up to {brightest:g} of {2**bits - 1} as the brightest"
        notes.append(f"{said}: that is not heeded.")
    return tuple(notes)


def _counted(indices: Sequence[int]) -> str:
    if len(indices) == 1:
        return "channel"
    return "channels"


def _note_on_one(channel: Channel) -> tuple[str, ...]:
    """Return what is said of a picture's only channel, where that is more than grey."""
    said: list[str] = []
    if _words(channel) - _GREY_WORDS:
        said.append(f'is called "{channel.name}"')
    if not _is_colourless(channel):
        said.append(f"is shown as #{bytes(channel.color or _WHITE).hex()} by the file")
    if not said:
        return ()
    return (f"Its only channel {' and '.join(said)}: it is read as grey.",)


def _wanted(
    path: str, channels: Sequence[Channel], wanted: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    indices = [_place(path, channels, word) for word in wanted]
    chosen = f"{_listed(channels, indices)} of {len(channels)}"
    said = f"Channels {chosen} are taken as {_COLOURS}, as was asked for"
    if len(indices) == 1:
        said = f"Channel {chosen} is read as grey, as was asked for"
    others = sorted(set(range(len(channels))) - set(indices))
    if others:
        said = f"{said}; --channels takes others: {_listed(channels, others)}"
    return tuple(indices), (f"{said}.",)


def _place(path: str, channels: Sequence[Channel], word: str) -> int:
    """Return where the channel of a name or number is; a name counts before a number."""
    found: list[int] = []
    for match in (_is_called, _is_called_nearly, _is_number):
        for place, channel in enumerate(channels):
            if match(place, channel, word):
                found.append(place)
        if found:
            break
    if len(found) == 1:
        return found[0]
    problem = f"There is no channel {word!r} in it."
    if found:
        problem = f"{len(found)} of its channels are called {word!r}."
    listed = _listed(channels, range(len(channels)))
    raise UsageError(problem, f"Pass --channels with numbers of these: {listed}.", path)


def _is_called(_: int, channel: Channel, word: str) -> bool:
    return channel.name == word


def _is_called_nearly(_: int, channel: Channel, word: str) -> bool:
    return channel.name.strip().casefold() == word.strip().casefold()


def _is_number(place: int, _: Channel, word: str) -> bool:
    return word.strip() == str(place + 1)


def _is_whole(roles: Sequence[Role | None]) -> bool:
    """Whether each role is there just once: all of red, green and blue, maybe alpha."""
    return set(roles) in _PALETTES and len(set(roles)) == len(roles)


def _sorted(
    channels: Sequence[Channel], roles: Sequence[Role | None], by: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the channels in the order of their roles; named in that order, they need no word."""
    indices = tuple(roles.index(role) for role in range(len(channels)))
    contradicted = by == "names" and any(map(_is_contradicted, channels))
    if by == "names" and indices == tuple(range(len(channels))) and not contradicted:
        return indices, ()
    said = f"are taken as {_COLOURS}, by their {by}"
    if by == "names":
        said = f"{said} ({', '.join(channels[index].name for index in indices[:3])})"
    if contradicted:
        said = f"{said}, which their colours in the file contradict"
    numbers = ", ".join(str(index + 1) for index in indices[:3])
    return indices, (f"Channels {numbers} {said}; {_OTHERWISE}",)


def _is_contradicted(channel: Channel) -> bool:
    """Whether a channel's colour is red, green or blue, and not the one that its name says."""
    return _role_of_color(channel) not in {None, _role_of_name(channel)}


def _by_order() -> str:
    said = f"Channels 1, 2, 3 are taken as {_COLOURS}, by their order"
    return f"{said}: the file says nothing else; {_OTHERWISE}"


def _refusal(path: str, channels: Sequence[Channel]) -> RefusedSourceError:
    listed = _listed(channels, range(len(channels)))
    said = f"Which of its {len(channels)} channels are {_COLOURS} is not said: {listed}."
    return RefusedSourceError(path, said, _CHOOSE)


def _listed(channels: Sequence[Channel], indices: Sequence[int]) -> str:
    """Return numbers and names: ``1 "DAPI", 2 "FITC" and 3``."""
    words: list[str] = []
    for index in indices[:_MOST_NAMED]:
        word = str(index + 1)
        if channels[index].name:
            word = f'{word} "{channels[index].name}"'
        words.append(word)
    left = len(indices) - _MOST_NAMED
    if left > 0:
        words.append(f"{left} more")
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _words(channel: Channel) -> set[str]:
    """Return the words of a name that could say something, in small letters."""
    return set(re.findall(r"[^\W\d_]+", channel.name.casefold())) - _EMPTY_WORDS


def _says_something(channel: Channel) -> bool:
    return bool(_words(channel))


def _role_of_name(channel: Channel) -> Role | None:
    """Return what a name means where it names a colour and nothing else: Texas Red is no red."""
    words = _words(channel)
    if len(words) == 1:
        return _ROLES.get(words.pop())
    return None


def _role_of_color(channel: Channel) -> Role | None:
    color = channel.color or _WHITE
    second, strongest = sorted(color)[1:]
    if strongest >= _STRONG and second <= _WEAK:
        return color.index(strongest)
    return None


def _is_colourless(channel: Channel) -> bool:
    """Whether a colour says nothing: none, or white, which is what writers fill in."""
    return len(set(channel.color or _WHITE)) == 1
