"""Which files and folders of a command may lie at URLs: fetched before it, put there after it.

Every other one is refused by its name. Slides and models are no paths here but texts: what opens
them reads URLs itself, and so does the ``--out`` of predict, which is put there as it grows.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from itertools import filterfalse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slidecam.cli.terminal import EXIT_PARTLY
from slidecam.errors import UsageError
from slidecam.files import refuse_url
from slidecam.objects import (
    Location,
    all_at_once,
    fetched,
    let_go_of,
    put_folder,
    url_of,
    working_folder,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LAST = ("zarr.json", "model.safetensors", "card.json", "tile_set.json")
"""Files that say that a folder is whole, in the order in which they are put after all others."""

REPLACED = ("card.json", "tile_set.json")
"""Those of bundles and tile sets, of which nothing stays that is replaced."""


@dataclass(frozen=True)
class AtUrls:
    """What of a command may be at a URL.

    Attributes
    ----------
    read
        Parameters that are fetched.
    written
        Parameters that are put, whole and in the end.
    into
        Parameters that say that it writes into what it reads, which is at no URL then; with a ``!``
        before the name, if they are not given.
    """

    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()
    into: tuple[str, ...] = ()


AT_URLS: Mapping[str, AtUrls] = {
    "predict": AtUrls(("spacings", "mask", "table")),
    "models": AtUrls(("folders",)),
    "bundle": AtUrls(("checkpoint", "weights"), ("out",)),
    "card": AtUrls(("bundle",), ("out",), into=("!out",)),
    "export_onnx": AtUrls(("bundle",), ("out",)),
    "evaluate": AtUrls(("bundles", "data", "runs", "annotations", "mask"), ("out",)),
    "explain": AtUrls(("region",), ("out",)),
    "faithfulness": AtUrls(("region", "masks"), ("out",), into=("card",)),
    "export": AtUrls(
        ("run", "annotations", "corrections", "bundle"), ("out", "zip_"), into=("!out", "!zip_")
    ),
    "legend": AtUrls(("run", "bundle")),
    "compare": AtUrls(("before", "after")),
    "summary": AtUrls(("out",), ("csv",)),
    "figure": AtUrls(("run", "bundle"), ("out",)),
    "tiles": AtUrls(("annotations", "like", "mpp_csv"), ("out",)),
}
"""By the commands' functions."""


@contextmanager
def on_this_machine(command: str, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give a command's parameters as they are on this machine.

    What it wrote is put where it belongs in the end, unless it was ended by an error.
    """
    allowed = AT_URLS.get(command, AtUrls())
    here = dict(given)
    puts: list[tuple[Path, Location]] = []
    try:
        for name, value in given.items():
            if name in allowed.written:
                here[name] = _made_here(value, puts, anew=bool(given.get("overwrite")))
            elif name in allowed.read and not _writes_into(allowed, given):
                here[name] = _fetched(value)
            else:
                _refuse(value)
        try:
            yield here
        except typer.Exit as ended:
            if ended.exit_code in {0, EXIT_PARTLY}:
                _put(puts)
            raise
        _put(puts)
    finally:
        for local, _place in puts:
            let_go_of(local)


def _writes_into(allowed: AtUrls, given: Mapping[str, Any]) -> bool:
    flags = [each for each in allowed.into if not each.startswith("!")]
    outs = [each[1:] for each in allowed.into if each.startswith("!")]
    if outs and not any(given.get(each) for each in outs):
        return True
    return any(given.get(each) for each in flags)


def _refuse(value: object) -> None:
    paths = value if isinstance(value, list) else [value]
    for path in paths:
        if isinstance(path, Path):
            refuse_url(path)


def _fetched(value: object) -> object:
    if isinstance(value, list):
        return list(map(_fetched, value))
    if not isinstance(value, Path):
        return value
    url = url_of(value)
    return value if url is None else fetched(url)


def _made_here(value: object, puts: list[tuple[Path, Location]], *, anew: bool) -> object:
    url = url_of(value) if isinstance(value, Path) else None
    if url is None:
        return value
    place = Location.of(url)
    if place.children() and place.identity() is None and not anew:
        problem = "There are files in this folder already."
        raise UsageError(problem, "Name another one.", str(place))
    local = working_folder(url)
    local.rmdir()  # the command makes a file or a folder of it
    puts.append((local, place))
    return local


def _put(puts: list[tuple[Path, Location]]) -> None:
    for local, place in puts:
        if local.is_dir():
            _remove_replaced(local, place)
            put_folder(local, place, LAST)
        elif local.exists():
            place.put(local)


def _remove_replaced(local: Path, place: Location) -> None:
    """Remove what an earlier bundle or tile set has at a URL and the new one has not.

    Its record goes first: what is half removed is none.
    """
    there = place.files()
    records = [name for name in REPLACED if name in there and (local / name).is_file()]
    if not records:
        return
    for name in records:
        (place / name).remove()
    left = filterfalse(lambda name: (local / name).exists(), there.keys() - {"", *records})
    all_at_once((place / name).remove for name in left)
