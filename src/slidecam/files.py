"""Files and folders that appear whole or not at all.

What is written lies beside its place until it is whole, and is moved there then.
"""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from slidecam.errors import UsageError, without_secrets
from slidecam.objects import url_of
from slidecam.parsing import ParseError, bytes_in, cells_of, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

DELIMITERS = (",", ";", "\t")

SHOWN_LENGTH = 60
"""Letters of an impossible name that are repeated."""

_Identity = tuple[int, int]
"""A file system and a file in it."""


Mark = tuple[int, int]
"""Bytes of a file, and when it was written last, in nanoseconds."""

MOST_MARKS = 20_000
"""Files of one folder whose marks are kept: the chunks of a store may be millions."""


def table_rows(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table as people and spreadsheets leave it: line number, cells by column.

    Columns are separated by commas, semicolons or tabs: whichever makes the ``needed`` ones out of
    the first line, or what a line ``sep=;`` above it says. Names of columns are read in small
    letters, cells without space around them, and empty rows are passed over.

    Raises
    ------
    UsageError
        If it cannot be read as text, lacks a column, or a row has more cells than columns; without
        the path, which the caller adds.
    """
    try:
        yield from _table_rows(text_of(bytes_in(path)).splitlines(), needed)
    except (OSError, ParseError) as error:
        problem = f"This is no readable CSV file: {error}."
        raise UsageError(problem, "Save it as CSV in UTF-8.") from error


def _table_rows(
    lines: Sequence[str], needed: Sequence[str]
) -> Iterator[tuple[int, dict[str, str]]]:
    above = 0
    delimiters: tuple[str, ...] = DELIMITERS
    if lines and lines[0].strip().strip('"').lower().startswith("sep="):
        above, delimiters = 1, (lines[0].strip().strip('"')[len("sep=") :] or "\t",)
    heads = [_head(lines[above : above + 1], each) for each in delimiters]
    whole = [head for head in heads if set(needed) <= set(head)]
    if not whole:
        lacking = [sorted(set(needed) - set(head)) for head in heads]
        fewest = min(lacking, key=len)
        missing = " and ".join(fewest)
        remedy = f"The first line names the columns: {', '.join(needed)}."
        raise UsageError(f"The column {missing} is missing.", remedy)
    delimiter = delimiters[heads.index(whole[0])]
    for place, cells in cells_of(lines[above + 1 :], delimiter):
        number = above + 1 + place
        values = [cell.strip() for cell in cells]
        if not any(values):
            continue
        if any(values[len(whole[0]) :]):
            problem = f"Line {number} has more cells than columns."
            hint = "Write decimals with a point, as in 0.25, or put cells with commas in quotes."
            raise UsageError(problem, hint)
        padded = [*values, *[""] * len(whole[0])]
        yield number, dict(zip(whole[0], padded, strict=False))


def _head(lines: Sequence[str], delimiter: str) -> list[str]:
    _place, names = next(cells_of(lines, delimiter), (0, []))
    return [name.strip().lower() for name in names]


def refuse_url(path: Path) -> None:
    """Refuse a path that was a URL, and would be made or looked for as a folder called ``s3:``.

    UsageError.
    """
    url = url_of(path)
    if url is None:
        return
    raise UsageError(
        f"A URL is given where a path of this machine belongs: {without_secrets(url)}.",
        "Copy or mount what lies there, and copy results there when they are written.",
    )


def refuse_unnameable(path: Path) -> None:
    """Refuse a path that no file here can have: too long, or with a null in it; UsageError."""
    try:
        path.lstat()
    except ValueError as error:
        raise _unnameable(path, error) from error
    except OSError as error:
        if error.errno in {errno.ENAMETOOLONG, errno.EINVAL}:
            raise _unnameable(path, error) from error


def _unnameable(path: Path, error: Exception) -> UsageError:
    name = repr(path.name[:SHOWN_LENGTH])
    return UsageError(f"No file can be called {name} ({error.args[-1]}).", "Correct the path.")


def refuse_missing(given: str | Path) -> None:
    """Refuse a file or folder that is not there; UsageError. A URL is not looked at."""
    if "://" not in str(given) and not Path(given).exists():
        raise UsageError("There is no such file or folder.", "Check the path.", given)


def refuse_inputs(
    outputs: Iterable[Path],
    inputs: Iterable[str | Path],
    *,
    whole: bool = False,
    option: str = "--out",
) -> None:
    """Refuse an output that is what is read, or lies in it; UsageError.

    Files and folders are known by what they are and not by what they are called: links, and names
    in other letters where a file system takes them for one, change nothing.

    Parameters
    ----------
    outputs
        Files and folders that are to be written; they need not be there.
    inputs
        Files and folders that are read; URLs are passed over.
    whole
        Whether outputs are replaced as a whole, so that they may hold nothing that is read either.
    option
        What names the output.
    """
    remedy = f"Pass another {option}, beside what is read."
    read: set[_Identity] = set()
    held: dict[_Identity, str] = {}
    for given in inputs:
        if "://" in str(given) or not Path(given).exists():
            continue
        real = Path(given).resolve()
        read.add(_identity(real))
        if whole:
            held.update(dict.fromkeys(map(_identity, real.parents), str(given)))
    for output in outputs:
        there = [each for each in (output.resolve(), *output.resolve().parents) if each.exists()]
        if not read.isdisjoint(map(_identity, there)):
            problem = f"The output would lie in what is read, or take its place: {output}."
            raise UsageError(problem, remedy)
        if output.exists() and _identity(output) in held:
            inside = held[_identity(output)]
            problem = f"The output would take the place of {output}, in which {inside} is read."
            raise UsageError(problem, remedy)


def refuse_other_kind(path: Path, is_kind: Callable[[Path], bool], option: str) -> None:
    """Refuse a file that an output would take the place of, where it is of another kind.

    UsageError; ``option`` names the output.
    """
    if path.exists() and not is_kind(path):
        problem = f"The output would take the place of another kind of file: {path}."
        raise UsageError(problem, f"Pass another {option}, or move the file away.")


def _identity(path: Path) -> _Identity:
    """Return what the file system knows a file or folder by, whatever it is called."""
    found = path.stat()
    return found.st_dev, found.st_ino


def marks_of(places: Iterable[str | Path]) -> dict[Path, Mark]:
    """Return the marks of files, and of those in folders, by which a change shows.

    At most `MOST_MARKS` of a folder; those whose names begin with a point are programs' own notes.
    What is not there, or is at a URL, has none.
    """
    marks: dict[Path, Mark] = {}
    for place in places:
        path = Path(place)
        found: Iterable[Path] = (path,)
        if path.is_dir():
            found = islice(path.rglob("[!.]*"), MOST_MARKS)
        for file in found:
            mark = _mark(file)
            if mark is not None:
                marks[file] = mark
    return marks


def changed_since(marks: Mapping[Path, Mark]) -> list[Path]:
    """Return the files that are there and have another size or time than when marks were taken.

    What was taken away meanwhile is read on, where it is open, or fails by itself.
    """
    return [path for path, mark in marks.items() if _mark(path) not in {None, mark}]


def _mark(path: Path) -> Mark | None:
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_size, found.st_mtime_ns


def check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made or written in: before hours of work, not after.

    UsageError, also of a URL.
    """
    refuse_url(path)
    there = next((each for each in (path, *path.absolute().parents) if each.exists()), path)
    if not there.is_dir():
        raise UsageError(
            f"The path {there} is a file, and the output goes into a folder.",
            "Pass another --out.",
        )
    if not os.access(there, os.W_OK):
        raise UsageError(
            f"The folder {there} may not be written in.", "Pass another --out, or allow it."
        )


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a fresh path beside ``path`` to write a file to.

    It takes the place of ``path`` in the end.

    Missing parent folders are made. After an error the old file is untouched and nothing else is
    left.
    """
    fresh = _beside(path)
    try:
        yield fresh
        flush(fresh)
        fresh.replace(path)
        _flush_names(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a table, its heading first, as CSV in UTF-8 in place of what is there."""
    with replacing(path) as fresh, fresh.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a fresh path beside ``path`` to write a folder to.

    It takes the place of ``path`` in the end. The files in it are not waited for, as there may be a
    hundred thousand: what a power cut left of them is found by their sizes.
    """
    fresh = _beside(path)
    try:
        yield fresh
        _swap(fresh, path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


NO_FLUSH = frozenset({errno.EINVAL, errno.ENOTSUP, errno.ENOSYS})
"""What file systems answer that know no such thing."""


def flush(path: Path) -> None:
    """Have the disk hold a file, or a folder with all files in it, before it gets its name.

    A power cut would otherwise leave the name and not the content.
    """
    if path.is_dir():
        for entry in path.iterdir():
            flush(entry)
        _flush_names(path)
    elif path.is_file():
        # Windows flushes what may be written alone.
        _flush(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)


def _flush_names(folder: Path) -> None:
    """Have the disk hold which files are in a folder; Windows has no call for it."""
    if os.name != "nt":
        _flush(folder, os.O_RDONLY)


def _flush(path: Path, mode: int) -> None:
    opened = os.open(path, mode)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
    finally:
        os.close(opened)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 whose lines end alike on every system, whole or not at all."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")


def write_json(
    path: Path,
    record: object,
    *,
    indent: int = 2,
    ascii_only: bool = False,
) -> None:
    """Write JSON that every program reads, whole or not at all.

    Parameters
    ----------
    path
        The file.
    record
        Plain values.
    indent
        Spaces of each depth.
    ascii_only
        Whether letters beyond ASCII are written as escapes.

    Raises
    ------
    ValueError
        If a number is not finite: JSON has no word for it.
    """
    text = json.dumps(record, indent=indent, ensure_ascii=ascii_only, allow_nan=False) + "\n"
    with replacing(path) as fresh:
        # A file name that is no text in UTF-8 is written as the escape that JSON has for it.
        fresh.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def strict_json(value: object) -> object:
    """Return ``value`` with null for every number that JSON cannot write."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): strict_json(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list(map(strict_json, value))
    return value


def _swap(fresh: Path, path: Path) -> None:
    # A folder cannot be replaced in one step: the old one is moved aside, and back if the new one
    # stays out.
    old = _beside(path)
    had_one = path.exists()
    if had_one:
        path.rename(old)
    try:
        fresh.rename(path)
    except OSError:
        if had_one:
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _beside(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{uuid4().hex[:8]}.partial")
