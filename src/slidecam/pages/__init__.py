"""Pages for people: one style, each file complete in itself, to be mailed and printed."""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from slidecam.files import replacing, write_json
from slidecam.parsing import json_in
from slidecam.registry import version_of
from slidecam.settings import counted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PICTURE_WIDTH = 1100
"""Pixels across of the pictures inside a page: readable, and about 100 kB each."""


def write_page(template: str, path: Path, /, **values: object) -> None:
    """Fill the template ``<template>.html.jinja`` and write it to ``path``, whole or not at all.

    Parameters
    ----------
    template
        A file in ``pages/templates`` that extends ``page.html.jinja``.
    path
        The page; missing parent folders are made.
    values
        What the template names; leaving one out is an error.
    """
    page = _environment().get_template(f"{template}.html.jinja")
    with (
        replacing(path) as fresh,
        fresh.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        file.writelines(page.stream(slidecam=version_of("slidecam"), **values))


def picture_uri(
    picture: Path | Image.Image, width: int = PICTURE_WIDTH, *, exact: bool = False
) -> str | None:
    """Return a picture as a data URI, or None where there is no readable one.

    It is at most ``width`` pixels across.

    Parameters
    ----------
    picture
        A file or a picture in memory.
    width
        Longest side; smaller pictures stay as they are.
    exact
        PNG, for maps and curves; else JPEG, a tenth of the size.
    """
    try:
        small = _opened(picture)
    except OSError:
        return None
    small.thumbnail((width, width), Image.Resampling.LANCZOS)
    file, kind = io.BytesIO(), "jpeg"
    if exact:
        kind = "png"
    # PNG knows no quality, and Pillow passes it over there.
    small.save(file, kind, quality=82, optimize=True)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode("ascii")


class KeptPictures:
    """The pictures inside a page, kept beside it: the next page makes those alone that are new.

    A picture that was written anew since is another one.

    Parameters
    ----------
    file
        Where they are kept, as JSON; what cannot be read there is made anew.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before: dict[str, str] = {}
        self._now: dict[str, str] = {}
        try:
            self._before = dict(json_in(file))
        except (OSError, ValueError, TypeError):
            return

    def uri(self, picture: Path, make: Callable[[Path], str | None]) -> str | None:
        """Return a picture as a data URI; ``make`` makes it where it is not kept."""
        try:
            facts = picture.stat()
        except OSError:
            return make(picture)
        key = f"{picture.parent.name}/{picture.name} {facts.st_mtime_ns} {facts.st_size}"
        found = self._before.get(key) or make(picture)
        if found is not None:
            self._now[key] = found
        return found

    def write(self) -> None:
        """Keep the pictures that were wanted, and no others; where it cannot, that costs time."""
        if self._now != self._before:
            with suppress(OSError):
                write_json(self._file, self._now)


def _opened(picture: Path | Image.Image) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    with Image.open(picture) as file:
        return file.convert("RGB")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("slidecam.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    return environment
