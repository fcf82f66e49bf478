"""The layouts that pictures to learn from come in.

Class folders, parts of class folders, and tables.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from slidecam.errors import DataSetError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

Part = Literal["train", "val", "test", ""]

PARTS: tuple[Part, ...] = ("train", "val", "test")

PART_NAMES: Mapping[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "": "",
}
"""What folders and tables call the parts, in lower case."""

SUFFIXES = frozenset(
    {".bmp", ".gif", ".j2k", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)

PICTURE_TABLE = "pictures.csv"
"""The table that a folder is read by if it lies there."""

TILE_SET_FILE = "tile_set.json"
"""What `slidecam tiles` leaves beside the pictures that it cuts."""

LISTED = 5
"""Files that a message names; it counts the others."""


@dataclass(frozen=True)
class PictureSpec:
    r"""How file names and folders are to be understood.

    Attributes
    ----------
    class_names
        The classes in the order of the logits; empty for all that are found, sorted. A class that
        is found and not named is an error.
    group_pattern
        Regular expression with ``(?P<group>…)`` that finds the patient or slide in the file name
        (``^(?P<group>\d+)_idx``), or in the path below the data's folder if it holds a ``/``.
    group_folder
        Whether the folder right below a class's is the patient or slide.
    label_pattern
        Regular expression with ``(?P<label>…)`` that finds the class in the path below the data's
        folder, for layouts of folders that are none of ours.
    only_pattern
        Regular expression that the path below the data's folder must match somewhere, for data of
        which a part is wanted: ``/40X/``, or ``^(?!.*_mask)``.
    """

    class_names: tuple[str, ...] = ()
    group_pattern: str = ""
    group_folder: bool = False
    label_pattern: str = ""
    only_pattern: str = ""

    def __post_init__(self) -> None:
        for name, group in (
            ("group_pattern", "group"),
            ("label_pattern", "label"),
            ("only_pattern", ""),
        ):
            _check_pattern(name, getattr(self, name), group)
        if self.group_folder and self.group_pattern:
            raise DataSetError(
                "group_folder and group_pattern both say which patient a picture is of.",
                "Keep one of them.",
            )


def compiled(name: str, text: str) -> re.Pattern[str]:
    """Return a setting's regular expression; DataSetError where it is none."""
    try:
        return re.compile(text)
    except re.error as error:
        raise DataSetError(
            f"{name} {text!r} is no regular expression: {error}.", "Mend it."
        ) from error


def _check_pattern(name: str, text: str, group: str) -> None:
    pattern = compiled(name, text)
    if text and group and group not in pattern.groupindex:
        raise DataSetError(
            f"{name} {text!r} has no (?P<{group}>…).",
            f"Put (?P<{group}>…) round what is meant.",
        )


@dataclass(frozen=True)
class FoundPicture:
    """One picture as it was found: its class by name."""

    path: Path
    label: str
    group: str
    part: Part


def from_folders(path: Path, spec: PictureSpec) -> tuple[list[FoundPicture], list[str]]:
    """Return the pictures of class folders, with or without folders of parts above them."""
    rows: list[FoundPicture] = []
    skipped: list[str] = []
    parts = _part_folders(path)
    for folder, part in parts.items() or ((path, PART_NAMES[""]),):
        rows.extend(_of_part(folder, part, spec, path, skipped))
    if not skipped:
        return rows, []
    return rows, [f"Left out, no pictures by their suffix ({len(skipped)}): {some(skipped)}."]


def _part_folders(path: Path) -> dict[Path, Part]:
    parts: dict[Path, Part] = {}
    others: list[Path] = []
    for folder in _folders(path):
        if folder.name.lower() in PART_NAMES:
            parts[folder] = PART_NAMES[folder.name.lower()]
        else:
            others.append(folder)
    if parts and others:
        raise DataSetError(
            f"this folder lies beside {next(iter(parts)).name}, which is a part of the data.",
            "Keep either parts (train, val, test) or classes side by side, or list the pictures in"
            " a table.",
            others[0],
        )
    return parts


def _of_part(
    folder: Path, part: Part, spec: PictureSpec, root: Path, skipped: list[str]
) -> Iterator[FoundPicture]:
    if spec.label_pattern:
        yield from _of_class(folder, "", part, spec, root, skipped)
        return
    for class_folder in _folders(folder):
        rows = list(_of_class(class_folder, class_folder.name, part, spec, root, skipped))
        if not rows:
            raise DataSetError(
                "there is no picture in this class folder.",
                f"Fill it ({' '.join(sorted(SUFFIXES))}) or remove it.",
                class_folder,
            )
        yield from rows


def _of_class(
    folder: Path, label: str, part: Part, spec: PictureSpec, root: Path, skipped: list[str]
) -> Iterator[FoundPicture]:
    for path in _files(folder):
        name = named(path, root)
        if not _is_wanted(path, root, spec):
            continue
        if path.suffix.lower() not in SUFFIXES:
            skipped.append(name)
            continue
        _refuse_part_within(path, root, spec)
        found = label or _matched(spec.label_pattern, "label", path, name)
        yield FoundPicture(path, found, _group(path, folder, name, spec), part)


def _refuse_part_within(path: Path, root: Path, spec: PictureSpec) -> None:
    """Refuse a folder of a part that lies in another part, or in a class."""
    above, *inside = path.relative_to(root).parts[:-1]
    for name in inside:
        if name.lower() in PART_NAMES and not spec.label_pattern:
            problem = f"the folder {name!r} within {above!r} is called like a part of the data."
            remedy = "Move it beside the other parts, or rename it, or list pictures in a table."
            raise DataSetError(problem, remedy, path)


def _is_wanted(path: Path, root: Path, spec: PictureSpec) -> bool:
    return re.search(spec.only_pattern, named(path, root)) is not None


def _group(path: Path, folder: Path, name: str, spec: PictureSpec) -> str:
    if spec.group_pattern:
        return _group_by_pattern(spec, path, name)
    below = path.relative_to(folder).parts
    if spec.group_folder and len(below) == 1:
        raise DataSetError(
            "this picture lies in no folder of a patient or slide.",
            f"Put it into {folder.name}/<patient>/.",
            path,
        )
    if spec.group_folder:
        return below[0]
    return ""


def _group_by_pattern(spec: PictureSpec, path: Path, name: str) -> str:
    """Find the patient in a picture's name, or in its path where the pattern holds a ``/``."""
    if "/" not in spec.group_pattern:
        name = path.name
    return _matched(spec.group_pattern, "group", path, name)


def _matched(pattern: str, group: str, path: Path, text: str) -> str:
    match = re.search(pattern, text)
    if match is None or not match.group(group):
        raise DataSetError(
            f"{group}_pattern {pattern!r} finds no {group} in {text!r}.",
            "Mend the pattern.",
            path,
        )
    return match.group(group)


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folders in a folder, sorted."""
    for entry in _entries(path):
        if entry.is_dir():
            yield entry


def _entries(folder: Path) -> Iterator[Path]:
    """Yield what lies in a folder, sorted; what is hidden is passed over."""
    for entry in sorted(folder.iterdir()):
        if not entry.name.startswith("."):
            yield entry


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, sorted, its own before those of its folders."""
    for entry in _entries(folder):
        if entry.is_file():
            yield entry
    for below in _folders(folder):
        yield from _files(below)


def from_data(path: Path, spec: PictureSpec) -> tuple[list[FoundPicture], list[str]]:
    """Return the pictures of a folder or a table, and notes of how they were read."""
    table = path
    if path.is_dir():
        table = path / PICTURE_TABLE
    if table.is_file():
        return from_table(table, spec)
    return from_folders(path, spec)


def from_table(table: Path, spec: PictureSpec) -> tuple[list[FoundPicture], list[str]]:
    """Return the pictures that a table lists, and those of the data that it names.

    A row without a label names data of its own, a folder or a table: all of their pictures are
    taken, as they would be read alone. A group or split beside it is that of all of them.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_columns(table, reader.fieldnames or ())
            listed = [_listed(table, line, values, spec) for line, values in enumerate(reader, 2)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataSetError(
            f"this is no table of text: {error}.", "Save it as CSV in UTF-8.", table
        ) from error
    notes: list[str] = []
    rows = [row for row in listed if row.label and _is_wanted(row.path, table.parent, spec)]
    _check_filled(table, rows, "group", [row.group for row in rows])
    for data in listed:
        if not data.label:
            found, said = _joined(table, data, spec)
            rows += found
            notes += said
    _check_table(table, rows)
    return _with_groups(rows, notes)


def _joined(
    table: Path, data: FoundPicture, spec: PictureSpec
) -> tuple[list[FoundPicture], list[str]]:
    if data.path.resolve() in {table.resolve(), table.parent.resolve()}:
        raise DataSetError(
            "this table names itself.", "Name other data, or pictures with labels.", table
        )
    found, notes = from_data(data.path, spec)
    for at, row in enumerate(found):
        found[at] = replace(row, group=data.group or row.group, part=data.part or row.part)
    return found, notes


def _with_groups(
    rows: list[FoundPicture], notes: list[str]
) -> tuple[list[FoundPicture], list[str]]:
    """Make a patient of each picture that has none, where those of other data have one."""
    alone = sum(not row.group for row in rows)
    if alone in {0, len(rows)}:
        return rows, notes
    said = f"{alone} pictures of data that know no patient or slide count as one each."
    return [replace(row, group=row.group or row.path.as_posix()) for row in rows], [*notes, said]


def _check_columns(table: Path, columns: Sequence[str]) -> None:
    if not columns:
        raise DataSetError(
            "the table is empty.",
            "List a picture a line, below the columns path and label.",
            table,
        )
    for column in ("path", "label"):
        if column not in columns:
            raise DataSetError(
                f"there is no column {column!r} among {', '.join(columns)}.",
                "The first line names the columns path, label and, if known, group and split.",
                table,
            )


def _listed(
    table: Path, line: int, values: Mapping[str, str | None], spec: PictureSpec
) -> FoundPicture:
    path, label, group, part = (
        (values.get(key) or "").strip() for key in ("path", "label", "group", "split")
    )
    place = table.parent / path
    is_data = place.is_dir() or place.suffix.lower() == ".csv"
    if not path or not (label or is_data):
        raise DataSetError(
            f"{table}, line {line}: the path or the label is empty.",
            "Fill both; data of their own (a folder, a table) alone have no label.",
        )
    if part.lower() not in PART_NAMES:
        raise DataSetError(
            f"{table}, line {line}: there is no split {part!r}.",
            f"Write {', '.join(PARTS)}.",
        )
    if spec.group_pattern and label and not group:
        group = _group_by_pattern(spec, table.parent / path, path)
    return FoundPicture(place, label, group, PART_NAMES[part.lower()])


def _check_table(table: Path, rows: Sequence[FoundPicture]) -> None:
    gone = [row.path for row in rows if not row.path.is_file()]
    if gone:
        raise DataSetError(
            f"{len(gone)} of its {len(rows)} pictures are not there, the first is {gone[0]}.",
            "Paths are relative to the table's folder.",
            table,
        )
    for path, count in Counter(row.path for row in rows).items():
        if count > 1:
            raise DataSetError(
                f"{path} is listed more than once.",
                "Keep one line for each picture.",
                table,
            )
    _check_filled(table, rows, "split", [row.part for row in rows])


def _check_filled(
    table: Path, rows: Sequence[FoundPicture], column: str, known: Sequence[str]
) -> None:
    if any(known) and not all(known):
        empty = known.index("")
        raise DataSetError(
            f"{rows[empty].path.name} has no {column}, and others have one.",
            f"Fill the column {column} for all pictures or for none.",
            table,
        )


def some(names: Sequence[str]) -> str:
    """Return the first `LISTED` names, and how many more there are."""
    more = ""
    if len(names) > LISTED:
        more = f" and {len(names) - LISTED} more"
    return ", ".join(names[:LISTED]) + more


def named(path: Path, root: Path) -> str:
    """Return a path below ``root`` with forward slashes; all of it where it lies elsewhere."""
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    return path.as_posix()
