"""What lies beside pictures and says what they are.

The table that lists them, and the record of tiles: their scale, colours and slides.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from slidecam.errors import DataSetError
from slidecam.files import refuse_unnameable
from slidecam.learning.data.picture_files import (
    PART_NAMES,
    PARTS,
    PICTURE_TABLE,
    TILE_SET_FILE,
    FoundPicture,
    PassedOver,
    from_folders,
    group_by_pattern,
    is_wanted,
    named,
    some,
)
from slidecam.parsing import ParseError, json_in, rows_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from slidecam.learning.data.picture_files import PictureSpec
    from slidecam.models.card import Card

COLUMNS = ("path", "label", "group", "split")
"""What is read of a table."""

OF_SETS = frozenset(
    ("slide", "x", "y", "width", "height", "volume", "axis", "slice", "position_mm")
)
"""Columns beside them in the tables of our own tiles and slices, for people."""

MEANT: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("patient", "patients", "subject", "participant", "case", "slide", "wsi", "donor"), "group"
    )
    | dict.fromkeys(("part", "set", "subset", "partition"), "split")
)
"""What other tables call a column that is read, without marks and ``id`` at its end."""

SAME_SCALE = 0.02
"""How far the widths of two tiles may lie apart, relative to one, and be called the same."""


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
    taken, as they would be read alone. A group or split beside it is that of all of them. Where
    the settings find the patient in names, that counts and the column does not, which a note says.
    """
    try:
        columns, cells = rows_in(table)
    except (OSError, ParseError) as error:
        raise DataSetError(
            f"this is no table of text: {error}.", "Save it as CSV in UTF-8.", table
        ) from error
    _check_columns(table, columns)
    unread = _unread(table, columns, spec)
    listed = [_listed(table, line, values) for line, values in enumerate(cells, 2)]
    rows: list[FoundPicture] = []
    passed = PassedOver()
    for row in filter(_has_label, listed):
        if is_wanted(row.path, table.parent, spec):
            rows.append(row)
        else:
            passed.unwanted.append(named(row.path, table.parent))
    _check_filled(table, rows, "group", [row.group for row in rows])
    rows, notes = _by_settings(table, rows, spec)
    notes += [*passed.notes(), *unread]
    for data in listed:
        if not data.label:
            found, said = _joined(table, data, spec)
            rows += found
            notes += said
    _check_table(table, rows)
    return _with_groups(rows, notes)


def _has_label(row: FoundPicture) -> bool:
    return bool(row.label)


def _by_settings(
    table: Path,
    rows: list[FoundPicture],
    spec: PictureSpec,
) -> tuple[list[FoundPicture], list[str]]:
    """Return a table's own pictures with what the settings find, and what the table says against.

    Raises
    ------
    DataSetError
        If the patient is a folder, as no table says where those begin, and there is no column.
    """
    notes: list[str] = []
    if not rows:
        return rows, notes
    if spec.label_pattern:
        notes.append("Classes are those of the table's column label: label_pattern is not heeded.")
    if spec.group_folder and not rows[0].group:
        raise DataSetError(
            "group_folder finds no patient of pictures that a table lists.",
            "Fill the table's column group, or use group_pattern instead.",
            table,
        )
    if spec.group_folder:
        notes.append("Patients are those of the table's column group: group_folder is not heeded.")
    if not spec.group_pattern:
        return rows, notes
    found: list[FoundPicture] = []
    for row in rows:
        group = group_by_pattern(spec, row.path, named(row.path, table.parent))
        found.append(replace(row, group=group))
    return found, notes + _groups_against(rows, found)


def _groups_against(column: list[FoundPicture], found: list[FoundPicture]) -> list[str]:
    """Return in which way a column of groups says otherwise than the pattern that counts."""
    of_column: dict[str, set[str]] = {}
    patients: set[str] = set()
    for row, other in zip(column, found, strict=True):
        of_column.setdefault(row.group, set()).add(other.group)
        patients.add(other.group)
    apart = sum(len(groups) > 1 for groups in of_column.values())
    if not column[0].group or (not apart and len(of_column) == len(patients)):
        return []
    said = (
        f"group_pattern finds {len(patients)} patients or slides, and the table's column group"
        f" names {len(of_column)}: the pattern counts, the column is not heeded"
    )
    if apart:
        said += f", {apart} of whose groups the pattern takes apart"
    return [f"{said} (leave group_pattern out to take the column)."]


def _joined(
    table: Path,
    data: FoundPicture,
    spec: PictureSpec,
) -> tuple[list[FoundPicture], list[str]]:
    if data.path.resolve() in {table.resolve(), table.parent.resolve()}:
        raise DataSetError(
            "this table names itself.", "Name other data, or pictures with labels.", table
        )
    found, notes = from_data(data.path, spec)
    for at, row in enumerate(found):
        group = data.group or row.group
        if spec.group_pattern:
            group = row.group
        found[at] = replace(row, group=group, part=data.part or row.part)
    if spec.group_pattern and data.group:
        name = named(data.path, table.parent)
        notes.append(
            f"group_pattern finds the patients of {name}: the column group beside it is not heeded"
            " (leave group_pattern out to take the column)."
        )
    return found, notes


def _with_groups(
    rows: list[FoundPicture],
    notes: list[str],
) -> tuple[list[FoundPicture], list[str]]:
    """Make a patient of each picture that has none, where those of other data have one."""
    alone = sum(not row.group for row in rows)
    if alone in {0, len(rows)}:
        return rows, notes
    said = f"{alone} pictures of data that know no patient or slide count as one each."
    return [replace(row, group=row.group or row.path.as_posix()) for row in rows], [*notes, said]


def _check_columns(table: Path, columns: Sequence[str]) -> None:
    for column, count in Counter(columns).items():
        if column in COLUMNS and count > 1:
            raise DataSetError(
                f"the column {column!r} is there {count} times.", "Keep one of them.", table
            )
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


def _unread(table: Path, columns: Sequence[str], spec: PictureSpec) -> list[str]:
    """Return what is to be said of columns that are not read.

    Raises
    ------
    DataSetError
        If one of them is a column that is read, called otherwise: without the patients of a table
        that names them, pictures of one would be learnt from and measured.
    """
    others = [column for column in columns if column not in COLUMNS]
    for column in others:
        plain = column.strip().lower()
        meant = plain if plain in COLUMNS else MEANT.get(re.sub(r"[\W_]|ids?$", "", plain))
        is_settled = meant in columns or (meant == "group" and spec.group_pattern)
        if meant is not None and not is_settled:
            raise DataSetError(
                f"the column {column!r} is not read, and there is no column {meant!r}.",
                f"Call it {meant}; or take it out, if it is something else.",
                table,
            )
    if table.name == PICTURE_TABLE:
        others = [column for column in others if column not in OF_SETS]
    if not others:
        return []
    read = ", ".join(COLUMNS)
    return [f"Columns of {table.name} that are not read: {some(others)} ({read} are)."]


def _listed(table: Path, line: int, values: Mapping[str, str]) -> FoundPicture:
    path, label, group, part = (values.get(key, "").strip() for key in COLUMNS)
    place = table.parent / path
    refuse_unnameable(place)
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
    table: Path,
    rows: Sequence[FoundPicture],
    column: str,
    known: Sequence[str],
) -> None:
    if any(known) and not all(known):
        empty = known.index("")
        raise DataSetError(
            f"{rows[empty].path.name} has no {column}, and others have one.",
            f"Fill the column {column} for all pictures or for none.",
            table,
        )


@dataclass(frozen=True)
class TileSetFacts:
    """How a set's tiles were cut.

    Attributes
    ----------
    tile_px, spacing
        Their edge in pixels at µm per pixel.
    color_profile
        What was done about the slides' ICC profiles; None where the set says nothing of it.
    fingerprints
        Of the slides, by their names.
    """

    tile_px: int
    spacing: float
    color_profile: str | None
    fingerprints: dict[str, str | None]

    @property
    def width_um(self) -> float:
        """How much of the slide a tile shows, in µm."""
        return self.tile_px * self.spacing

    def scale_note(self, card: Card) -> str:
        """Return in a sentence that a classifier was trained on tiles of another scale, if it was.

        Nothing of one that sees whole pictures, at no scale.
        """
        if card.spacing is None:
            return ""
        trained = card.tile_px * card.spacing
        if abs(self.width_um / trained - 1) <= SAME_SCALE:
            return ""
        return (
            f"These tiles are of another scale than the classifier's: {self.tile_px} px at"
            f" {self.spacing:g} µm/px show {self.width_um:g} µm ({TILE_SET_FILE}), and it was"
            f" trained on {card.tile_px} px at {card.spacing:g} µm/px, {trained:g} µm. They are"
            " squeezed or stretched for it, and figures suffer; cut them with slidecam tiles --like"
            " BUNDLE."
        )


def tile_set_facts(data: Path) -> TileSetFacts | None:
    """Return what is known of the tiles in a folder, or in a table's folder; None of others."""
    folder = data if data.is_dir() else data.parent
    try:
        record = json_in(folder / TILE_SET_FILE)
        spec = record["spec"]
        return TileSetFacts(
            tile_px=int(spec["tile_px"]),
            spacing=float(spec["spacing"]),
            color_profile=spec.get("seen", {}).get("profile"),
            fingerprints=_fingerprints(record),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def scale_notes(data: Path, card: Card) -> tuple[str, ...]:
    """Return what a person should know of the scale of pictures that a classifier is shown."""
    facts = tile_set_facts(data)
    if facts is None:
        return ()
    return tuple(filter(None, [facts.scale_note(card)]))


def slides_of(data: Path, names: Iterable[str]) -> list[str]:
    """Return the fingerprints of the slides that pictures of a tile set were cut from."""
    facts = tile_set_facts(data)
    if facts is None:
        return []
    wanted, found = set(names), set()
    try:
        for row in rows_in(data / PICTURE_TABLE)[1]:
            if row["path"] in wanted:
                found.add(facts.fingerprints.get(row["slide"]))
    except (OSError, ValueError, KeyError):
        return []
    return sorted(filter(None, found))


def _fingerprints(record: dict[str, Any]) -> dict[str, str | None]:
    return {one["slide"]: one["facts"].get("fingerprint") for one in record.get("slides", ())}
