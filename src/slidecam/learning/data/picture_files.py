"""The layouts of folders that pictures to learn from come in.

Class folders, and parts of class folders; what names say of a picture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
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

_OF_MACOS = "__MACOSX"
"""What macOS puts beside what it zips: attributes, and no class."""

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
    passed = PassedOver()
    parts = _part_folders(path)
    for folder, part in parts.items() or ((path, PART_NAMES[""]),):
        rows.extend(_of_part(folder, part, spec, path, passed))
    return rows, passed.notes()


@dataclass
class PassedOver:
    """Files that are passed over, by name: no pictures, and pictures that are not wanted."""

    others: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Return what is to be said of them."""
        notes: list[str] = []
        for reason, names in (
            ("no pictures by their suffix", self.others),
            ("not matched by only_pattern", self.unwanted),
        ):
            if names:
                notes.append(f"Left out, {reason} ({len(names)}): {some(names)}.")
        return notes


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
    folder: Path,
    part: Part,
    spec: PictureSpec,
    root: Path,
    passed: PassedOver,
) -> Iterator[FoundPicture]:
    if spec.label_pattern:
        yield from _of_class(folder, "", part, spec, root, passed)
        return
    for class_folder in _folders(folder):
        unwanted = len(passed.unwanted)
        rows = list(_of_class(class_folder, class_folder.name, part, spec, root, passed))
        if not rows and len(passed.unwanted) > unwanted:
            raise DataSetError(
                f"only_pattern {spec.only_pattern!r} takes no picture of this class folder.",
                "Mend the pattern, or remove the folder.",
                class_folder,
            )
        if not rows:
            raise DataSetError(
                "there is no picture in this class folder.",
                f"Fill it ({' '.join(sorted(SUFFIXES))}) or remove it.",
                class_folder,
            )
        yield from rows


def _of_class(
    folder: Path,
    label: str,
    part: Part,
    spec: PictureSpec,
    root: Path,
    passed: PassedOver,
) -> Iterator[FoundPicture]:
    for path in _files(folder):
        name = named(path, root)
        if path.suffix.lower() not in SUFFIXES:
            if is_wanted(path, root, spec):
                passed.others.append(name)
            continue
        if not is_wanted(path, root, spec):
            passed.unwanted.append(name)
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


def is_wanted(path: Path, root: Path, spec: PictureSpec) -> bool:
    """Whether a picture is one of those that are taken, by its path below the data's folder."""
    return re.search(spec.only_pattern, named(path, root)) is not None


def _group(path: Path, folder: Path, name: str, spec: PictureSpec) -> str:
    if spec.group_pattern:
        return group_by_pattern(spec, path, name)
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


def group_by_pattern(spec: PictureSpec, path: Path, name: str) -> str:
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
        if not entry.name.startswith(".") and entry.name != _OF_MACOS:
            yield entry


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files below a folder, sorted, its own before those of its folders."""
    for entry in _entries(folder):
        if entry.is_file():
            yield entry
    for below in _folders(folder):
        yield from _files(below)


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
