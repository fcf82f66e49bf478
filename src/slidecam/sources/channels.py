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

_RED_GREEN_BLUE, _WITH_ALPHA = [0, 1, 2], [0, 1, 2, 3]
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

_STRONG, _WEAK = 128, 64
"""A colour is red where its red is at least the one and the others at most the other."""

_MOST_NAMED = 16
"""Channels that a sentence names; of more it says how many there are."""

_COLOURS = "red, green and blue"
_CHOOSE = (
    "Pass --channels A,B,C to read three of them as red, green and blue, or --channels A to read"
    " one as grey, by number or name. Or export one plane as RGB and use that."
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
    """

    name: str = ""
    color: RGB | None = None


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
        return (0,), ()
    named = [_role_of_name(each.name) for each in channels]
    if _is_sorted(named):
        return _sorted(channels, named, "names")
    speaking = [each for each in channels if _says_something(each.name)]
    if len(channels) != len(_RED_GREEN_BLUE):
        raise _refusal(path, channels)
    if not speaking:
        coloured = [_role_of_color(each.color) for each in channels]
        if sorted(coloured, key=str) == sorted(_RED_GREEN_BLUE, key=str):
            return _sorted(channels, coloured, "colours")
        if all(_is_grey(each.color) for each in channels):
            return (0, 1, 2), (_by_order(),)
    raise _refusal(path, channels)


def _wanted(
    path: str, channels: Sequence[Channel], wanted: Sequence[str]
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    indices = [_place(path, channels, word) for word in wanted]
    chosen = [(index, channels[index]) for index in indices]
    purpose = f"{_listed(chosen)} of {len(channels)} are taken as {_COLOURS}"
    start = "Channels"
    if len(indices) == 1:
        start, purpose = "Channel", f"{_listed(chosen)} of {len(channels)} is read as grey"
    others = [pair for pair in enumerate(channels) if pair[0] not in indices]
    said = f"{start} {purpose}, as was asked for"
    if not others:
        return tuple(indices), (f"{said}.",)
    return tuple(indices), (f"{said}; --channels takes others: {_listed(others)}.",)


def _place(path: str, channels: Sequence[Channel], word: str) -> int:
    """Return where the channel of a name or number is; a name counts before a number."""
    found: list[int] = []
    for match in (_is_called, _is_called_nearly, _is_number):
        if not found:
            found = [place for place, each in enumerate(channels) if match(place, each, word)]
    if len(found) == 1:
        return found[0]
    problem = f"There is no channel {word!r} in it."
    if found:
        problem = f"{len(found)} of its channels are called {word!r}."
    listed = _listed(list(enumerate(channels)))
    raise UsageError(problem, f"Pass --channels with numbers of these: {listed}.", path)


def _is_called(_: int, channel: Channel, word: str) -> bool:
    return channel.name == word


def _is_called_nearly(_: int, channel: Channel, word: str) -> bool:
    return channel.name.strip().casefold() == word.strip().casefold()


def _is_number(place: int, _: Channel, word: str) -> bool:
    return word.strip() == str(place + 1)


def _is_sorted(roles: Sequence[Role | None]) -> bool:
    """Whether each role is there just once: all of red, green and blue, maybe alpha."""
    known = [role for role in roles if role is not None]
    return len(known) == len(roles) and sorted(known) in (_RED_GREEN_BLUE, _WITH_ALPHA)


def _sorted(
    channels: Sequence[Channel], roles: Sequence[Role | None], by: str
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the channels in the order of their roles; named in that order, they need no word."""
    indices = tuple(roles.index(role) for role in range(len(channels)))
    if by == "names" and indices == tuple(range(len(channels))):
        return indices, ()
    numbers = ", ".join(str(index + 1) for index in indices[:3])
    said = f"Channels {numbers} are taken as {_COLOURS}, by their {by}"
    listed = ""
    if by == "names":
        listed = f" ({_names([channels[index] for index in indices[:3]])})"
    return indices, (f"{said}{listed}; --channels takes them otherwise.",)


def _by_order() -> str:
    said = f"Channels 1, 2, 3 are taken as {_COLOURS}, by their order"
    return f"{said}: the file says nothing else; --channels takes them otherwise."


def _refusal(path: str, channels: Sequence[Channel]) -> RefusedSourceError:
    listed = _listed(list(enumerate(channels)))
    said = f"Which of its {len(channels)} channels are {_COLOURS} is not said: {listed}."
    return RefusedSourceError(path, said, _CHOOSE)


def _listed(numbered: Sequence[tuple[int, Channel]]) -> str:
    """Return numbers and names: ``1 "DAPI", 2 "FITC" and 3``."""
    words: list[str] = []
    for index, channel in numbered[:_MOST_NAMED]:
        name = ""
        if channel.name:
            name = f' "{channel.name}"'
        words.append(f"{index + 1}{name}")
    if len(numbered) > _MOST_NAMED:
        words.append(f"{len(numbered) - _MOST_NAMED} more")
    if len(words) == 1:
        return words[0]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _names(channels: Sequence[Channel]) -> str:
    return ", ".join(f'"{each.name}"' for each in channels)


def _words(name: str) -> list[str]:
    """Return the words of a name that could say something, in small letters."""
    words = re.findall(r"[^\W\d_]+", name.casefold())
    return [word for word in words if word not in _EMPTY_WORDS]


def _says_something(name: str) -> bool:
    return bool(_words(name))


def _role_of_name(name: str) -> Role | None:
    """Return what a name means where it names a colour and nothing else: Texas Red is no red."""
    words = _words(name)
    if len(words) == 1:
        return _ROLES.get(words[0])
    return None


def _role_of_color(color: RGB | None) -> Role | None:
    if color is None:
        return None
    for role, value in enumerate(color):
        rest = [other for place, other in enumerate(color) if place != role]
        if value >= _STRONG and max(rest) <= _WEAK:
            return role
    return None


def _is_grey(color: RGB | None) -> bool:
    """Whether a colour says nothing: none, or white, which is what writers fill in."""
    return color is None or len(set(color)) == 1
