"""What of a DICOM series is lost: as the names of files tell, or the list of their medium."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import filterfalse
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.registry import load
from slidecam.sources._dicom import (
    files_of,
    first_dicom,
    identity_of,
    is_named_as_dicom,
    others_in,
    series_files,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from pydicom.dataset import Dataset

_DIRECTORY = "DICOMDIR"
_LEVELS = 6
"""Folders above a file in which the list of its medium is looked for."""

_NAMED = 3
"""Missing files that a sentence names."""

_FILE_ID = re.compile(r"[A-Z0-9_]{1,8}")
"""A name as media have them, which is no patient's."""


@dataclass(frozen=True)
class MediumList:
    """What the directory file of a medium (DICOMDIR) lists.

    Attributes
    ----------
    root
        The folder that its names count from.
    files
        The SeriesInstanceUID of each file by its path.
    """

    root: Path
    files: tuple[tuple[Path, str], ...]

    def missing(self, series: str | None = None) -> list[Path]:
        """Return the files of a series, or of all, that are not where the list says."""
        found: list[Path] = []
        for path, of_series in self.files:
            if series in {None, of_series} and not self._is_there(path):
                found.append(path)
        return found

    def _is_there(self, path: Path) -> bool:
        """Whether there is a file of a name, parts of which a copy may have written small."""
        place = self.root
        for part in path.relative_to(self.root).parts:
            below = place / part
            place = below if below.exists() else place / part.lower()
        return place.is_file()

    def unlisted(self, paths: Iterable[Path]) -> list[Path]:
        """Return those of some files that it does not list."""
        listed = set(map(_folded, dict(self.files)))
        return list(filterfalse(lambda path: _folded(path) in listed, paths))


def _folded(path: Path) -> str:
    return str(path).casefold()


def list_of_medium(path: Path) -> MediumList | None:
    """Return what the medium lists that a file or folder lies on; None where there is no list."""
    folder = path if path.is_dir() else path.parent
    for root in [folder, *folder.parents][:_LEVELS]:
        for file in (root / _DIRECTORY, root / _DIRECTORY.lower()):
            if file.is_file():
                return _listed(file)
    return None


def _listed(file: Path) -> MediumList | None:
    found = identity_of(file)
    if found is None or not found.is_directory:
        return None
    try:
        # lazy on purpose: pydicom is loaded for media alone
        records = load("pydicom.filereader:dcmread")(file, force=True).DirectoryRecordSequence
        files = tuple(_files_in(file.parent, records))
    except Exception:  # noqa: BLE001  (a list that cannot be read is none: what lies there is read)
        return None
    return MediumList(file.parent, files)


def _files_in(root: Path, records: Any) -> Iterator[tuple[Path, str]]:  # noqa: ANN401
    """Yield the pictures that records name, and the series whose record stands before theirs."""
    series = ""
    for record in records:
        if record.get("DirectoryRecordType") == "SERIES":
            series = str(record.get("SeriesInstanceUID", ""))
        name = record.get("ReferencedFileID")
        if name:
            parts = [name] if isinstance(name, str) else [*name]
            yield root.joinpath(*map(str, parts)), series


def words_on_medium(path: Path) -> Iterator[str]:
    """Yield what of a medium is not as its list (DICOMDIR) says, where it has one."""
    medium = list_of_medium(path)
    if medium is None:
        return
    lost = medium.missing()
    if lost:
        yield f"The list of its medium (DICOMDIR) names {len(medium.files)} files: {_named(lost)}."
    pictures = filter(_is_picture, filter(Path.is_file, medium.root.rglob("*")))
    beside = medium.unlisted(pictures)
    if beside:
        yield f"{len(beside)} DICOM files of the medium are not in its list (DICOMDIR)."


def words_on_series(own: Collection[Path], lost: Collection[Path]) -> Iterator[str]:
    """Yield what of a series is not as the list of its medium says.

    Parameters
    ----------
    own
        Its files.
    lost
        What `missing_of_series` returns of them.
    """
    if lost:
        yield f"Of the files that the list of its medium (DICOMDIR) names {_named(lost)}."
    medium = list_of_medium(next(iter(own)))
    if medium is not None and medium.unlisted(own):
        beside = len(medium.unlisted(own))
        yield f"{beside} of its files are not in the list of its medium (DICOMDIR): they are read."


def missing_of_series(own: Collection[Path]) -> list[Path]:
    """Return the files of a series that the list of its medium names, and that are not there."""
    first = next(iter(own))
    medium, found = list_of_medium(first), identity_of(first)
    if medium is None or found is None or not found.series:
        return []
    return medium.missing(found.series)


def _named(lost: Collection[Path]) -> str:
    called = list(filter(_FILE_ID.fullmatch, map(attrgetter("name"), lost)))
    verb = "are missing"
    if len(lost) == 1:
        verb = "is missing"
    listed = ", ".join(called[:_NAMED])
    if len(called) < len(lost) or len(called) > _NAMED:
        listed = f"{listed}, …".removeprefix(", ")
    return f"{len(lost)} {verb} ({listed})"


def _is_picture(path: Path) -> bool:
    try:
        found = identity_of(path)
    except OSError:
        return False
    return found is not None and not found.is_directory


def folders_of_medium(path: Path) -> list[Path]:
    """Return the folders below a medium's directory file (DICOMDIR) that hold series.

    Parameters
    ----------
    path
        That file, or the folder that it lies in; of others there is nothing.
    """
    folder = path
    if path.is_file():
        folder = path.parent
    if not any(found.is_directory for found in files_of(folder).values()):
        return []
    if path.is_file() and first_dicom(path) is not None:
        return []
    if series_files(folder):
        return [folder][: path.is_file()]
    return sorted(filter(series_files, filter(Path.is_dir, folder.rglob("*"))))


def lost_files(own: Collection[Path]) -> list[Path]:
    """Return the files beside those of a series that were its slices, as far as names tell.

    Parameters
    ----------
    own
        The files of one series, all in one folder.

    Returns
    -------
    list
        What says that it is of the series and has no pixels; and what says nothing that can be
        read but is named like the files of this series alone, or ends as DICOM does where there
        is no other series.
    """
    folder = next(iter(own)).parent
    known = files_of(folder)
    series = series_files(folder)
    mine = {known[path].series for path in own if path in known}
    names = set(map(_pattern, own))
    names_of_others: set[str] = set()
    for files in series.values():
        names_of_others.update(_pattern(path) for path in files if path not in own)

    def is_named_alike(path: Path) -> bool:
        if len(series) == 1 and is_named_as_dicom(path):
            return True
        return _pattern(path) in names - names_of_others

    found = [path for path in others_in(folder) if is_named_alike(path)]
    for path, said in known.items():
        if path in own:
            continue
        begun = said.series and any(each.startswith(said.series) for each in mine)
        if (said.is_bare_header and begun) or (said.is_cut_off and is_named_alike(path)):
            found.append(path)
    return found


def _pattern(path: Path) -> str:
    """Return a file's name without its numbers."""
    return re.sub(r"\d+", "#", path.name)


def words_on_unread(failures: Sequence[Exception]) -> Iterator[str]:
    """Yield the sentence on files whose headers are damaged, where there are such."""
    if failures:
        said = f"{len(failures)} of its files cannot be read and are left out"
        if len(failures) == 1:
            said = "1 of its files cannot be read and is left out"
        # No more of an error than its kind: its words may be the header's, and name a patient.
        yield f"{said} ({type(failures[0]).__name__})."


def words_on_lost(count: int, gaps: int) -> Iterator[str]:
    """Yield the sentence on files that were slices, where there are such.

    Parameters
    ----------
    count
        How many there are.
    gaps
        Slices that are missing within the volume.
    """
    if not count:
        return
    said = f"{count} files of its folder were slices, as it seems, and are"
    if count == 1:
        said = "1 file of its folder was a slice, as it seems, and is"
    said += " empty, cut off or no DICOM (packed, or not fetched)"
    if gaps:
        yield f"{said}: what is missing within the volume is taken for slices that failed."
    if count > gaps:
        if gaps:
            said = f"{count - gaps} more were slices than there are gaps"
        yield f"{said}: nothing says at which place, and an end of the volume may be lost."


def words_on_uncounted(count: int) -> Iterator[str]:
    """Yield the sentence on frames that headers do not count, where there are such."""
    if count:
        yield (
            f"Its files hold pixels for {count} more frames than their headers say"
            " (NumberOfFrames): those are left out."
        )


def words_on_counts(header: Dataset, volumes: Sequence[int], files: int) -> Iterator[str]:
    """Yield where a series holds fewer than its header counts: an end of it may be lost.

    Parameters
    ----------
    header
        Of one of its files.
    volumes
        The slices of each of its volumes.
    files
        How many it has.
    """
    parts = _count(header, "InConcatenationTotalNumber")
    if files < parts:
        yield f"Its header says that it is one of {parts} parts, and {files} are here."
    slices = _count(header, "NumberOfSlices")
    if max(volumes) < slices:
        yield f"Its header says that it has {slices} slices (NumberOfSlices), and not all are here."
    images = _count(header, "ImagesInAcquisition")
    if sum(volumes) < images:
        said = f"Its header says that its acquisition has {images} images (ImagesInAcquisition)"
        yield f"{said}, and {sum(volumes)} are here: others may be missing."
    times = _count(header, "NumberOfTemporalPositions")
    if len(volumes) < times:
        said = f"Its header says that it has {times} positions in time"
        yield f"{said} (NumberOfTemporalPositions), and the volumes here are {len(volumes)}."


def _count(header: Dataset, name: str) -> int:
    value = header.get(name)
    if isinstance(value, int):
        return int(value)
    return 0
