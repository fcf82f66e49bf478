"""From what a user names on a command line to the slides meant by it, and our sample slide."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from itertools import chain, filterfalse, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import UsageError
from slidecam.settings import counted
from slidecam.sources._companions import foreign_kind, parts_in
from slidecam.sources._dicom import (
    DICOM_SUFFIXES,
    is_series,
    left_out,
    objects_in,
    others_in,
    series_files,
)
from slidecam.sources._dicom_lost import folders_of_medium, words_on_medium
from slidecam.sources._labels import LabelPictures
from slidecam.sources._probe import ZARR_MARKS, name_of
from slidecam.sources._remote import slides_at
from slidecam.sources.identifiers import hidden_parts, public_name
from slidecam.sources.names import (
    Discovery,
    FindSpec,
    FoundSlide,
    once_each,
    refuse_shared_stems,
    set_apart,
    with_aliases,
)
from slidecam.sources.qupath import PROJECT_SUFFIX, read_project, views_of
from slidecam.sources.readers import is_named_as_native, slide_suffixes
from slidecam.sources.slide_list import matching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from slidecam.sources.qupath import ProjectImage


OF_ALL_SLIDES = ("manifest.json", "report.html", "slides.csv", "slides.parquet")
"""Files that lie beside the folders of the slides' outputs."""

LISTED = 5
"""Files named in the message on what was left out."""

EXCLUDED = "--exclude leaves out"


def find_slides(
    inputs: Sequence[str | Path],
    where: FindSpec | None = None,
    *,
    keep_identifiers: bool = False,
) -> Discovery:
    """Expand files, URLs, folders and patterns into slides.

    A folder that is a slide itself (OME-Zarr, or one DICOM series) is one slide. Any other folder
    gives the slides that lie directly in it, by their suffix, and the folders in it that are
    slides; it is not searched deeper, but for a medium with a DICOMDIR, unless ``where`` says so.
    Of what is called alike in several folders, each has its folder's name before its own. A text
    with ``*``, ``?`` or ``[`` that is no file is a pattern, ``**`` any folders. Files of one DICOM
    series are one slide, named after its first file; or after its content, where a name of the file
    or folder is one of the patient, unless ``keep_identifiers``. A QuPath project (``.qpproj``)
    gives its images.

    Raises
    ------
    UsageError
        If there is no such file, nothing is found, two slides share a stem and so would share an
        output folder, or a URL has no name to call outputs by. A file whose name cannot be one
        is found with that error, and fails alone.
    """
    where = where or FindSpec()
    slides: list[FoundSlide] = []
    ignored: list[str] = []
    images: list[ProjectImage] = []
    empty = 0
    unsearched: list[Path] = []
    for given in chain.from_iterable(map(matching, inputs)):
        if "://" in str(given):
            slides.extend(slides_at(str(given), where, ignored))
        elif Path(given).suffix.lower() == PROJECT_SUFFIX and Path(given).is_file():
            project = read_project(Path(given))
            slides.extend(image.slide for image in project.images)
            images.extend(project.images)
            ignored.extend(project.left_out)
        else:
            found = [*_expand(Path(given), ignored, unsearched)]
            found += _deeper(Path(given), unsearched, ignored, where)
            empty += not found
            slides.extend(found or [_without_any(Path(given))])
    ignored.extend(_unsearched_words(unsearched, set(map(Path, inputs))))
    slides = _without_excluded(slides, where, ignored)
    if not keep_identifiers:
        slides = list(map(_unnamed, slides))
    slides = [replace(each, name=where.names.get(each.path, each.name)) for each in slides]
    slides = set_apart(list(map(_well_named, once_each(slides, ignored))), ignored)
    refuse_shared_stems(slides)
    slides, shared = with_aliases(slides)
    if len(slides) == empty:
        suffixes = " ".join(sorted(slide_suffixes()))
        left_out = "".join(f" {line}" for line in ignored if line.startswith(EXCLUDED))
        raise UsageError(
            f"No slide was found in {', '.join(map(str, inputs)) or 'nothing'}.{left_out}",
            f"Name slides, or a folder that they lie in directly ({suffixes}).",
        )
    spacings, shown = views_of(images, slides)
    return Discovery(tuple(slides), tuple(ignored), spacings, shown, shared)


def _deeper(
    start: Path, unsearched: list[Path], ignored: list[str], where: FindSpec
) -> Iterator[FoundSlide]:
    """Yield the slides in folders that were not searched, and in those within them, if wanted."""
    known = {start.resolve()}
    results: list[Path] = []
    while unsearched and where.recursive:
        folder = unsearched.pop(0)
        # A link may lead back to a folder above it.
        whole = folder.resolve()
        if whole in known or where.leaves_out(folder):
            continue
        known.add(whole)
        if _holds_results(folder):
            results.append(folder)
        else:
            yield from _expand(folder, ignored, unsearched)
    if results:
        ignored.append(f"{start}: folders of outputs, not searched: {_listed(results)}.")


def _without_excluded(
    slides: list[FoundSlide], where: FindSpec, ignored: list[str]
) -> list[FoundSlide]:
    kept = [slide for slide in slides if not where.leaves_out(slide.path)]
    if len(kept) < len(slides):
        ignored.append(f"{EXCLUDED} {counted(len(slides) - len(kept), 'slide')}.")
    elif where.exclude:
        ignored.append(f"{EXCLUDED} nothing: no slide is called {', '.join(where.exclude)}.")
    return kept


def slides_in(folder: Path) -> tuple[Path, ...]:
    """Return the slides directly in a folder, to be chosen from.

    Two may share a stem, and there may be none.
    """
    return tuple(Path(slide.path) for slide in _expand(folder, [], []))


def _without_any(folder: Path) -> FoundSlide:
    """Return a folder without slides as one that has failed, beside those of other inputs."""
    problem, remedy = (
        "No slide was found in this folder.",
        "Name slides, or the folder they lie in.",
    )
    return replace(_found(folder), error=UsageError(problem, remedy, folder))


def _expand(path: Path, ignored: list[str], unsearched: list[Path]) -> Iterator[FoundSlide]:
    """Yield what a path means; note what of a folder is left out, and what was not searched."""
    if not path.exists():
        raise UsageError("There is no such file or folder.", "Check the path.", path)
    below = folders_of_medium(path)
    if below:
        ignored.extend(map(f"{path}: ".__add__, words_on_medium(path)))
    for folder in below:
        yield from _expand(folder, ignored, unsearched)
    if below:
        return
    if not path.is_dir():
        yield _found(path)
        return
    objects = left_out(path)
    if objects:
        ignored.append(f"{path}: left out, since they are no pictures: {objects}.")
    if is_slide_folder(path):
        yield _found(path)
        if not _is_zarr(path):
            _note_ignored(path, others_in(path), ignored)
        return
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    taken = list(_in_folder(path, entries))
    yield from map(_found, _without_foreign(path, taken, ignored))
    known = {*taken, *objects_in(path), *parts_in(path)}
    others = sorted({*entries} - known)
    files = filter(Path.is_file, others)
    _note_ignored(path, list(filterfalse(_is_named_like_one, files)), ignored)
    stems = set(map(name_of, filter(Path.is_file, entries)))
    unsearched.extend(filter(partial(_may_hold_slides, stems), others))


def _without_foreign(folder: Path, taken: Sequence[Path], ignored: list[str]) -> list[Path]:
    """Return what may be slides; note the files that are called so and are something else."""
    kept: list[Path] = []
    said: list[str] = []
    labels = LabelPictures(taken)
    for entry in taken:
        kind = entry.is_file() and (foreign_kind(entry) or labels.kind_of(entry))
        if kind:
            said.append(f"{entry.name} is {kind}")
        else:
            kept.append(entry)
    if said:
        listed = ", ".join(said[:LISTED])
        count = counted(len(said), "file")
        ignored.append(f"{folder}: {count} passed over, no slide by its content: {listed}.")
    return kept


def _may_hold_slides(stems: set[str], entry: Path) -> bool:
    """Whether an entry is a folder, and not a slide's own."""
    return entry.is_dir() and entry.name.strip("_") not in stems


def _holds_results(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (*OF_ALL_SLIDES, "run.json"))


def _note_ignored(folder: Path, left: Sequence[Path], ignored: list[str]) -> None:
    if left:
        ignored.append(f"{folder}: not taken for slides: {_listed(left)}.")


def _unsearched_words(left: Sequence[Path], named: set[Path]) -> Iterator[str]:
    """Yield which folders may hold slides that are not taken, folder by folder."""
    wanted = filterfalse(_holds_results, left)
    for folder, inside in groupby(wanted, key=lambda each: each.parent):
        others = list(filterfalse(named.__contains__, inside))
        if others:
            yield (
                f"{folder}: folders in it that were not searched: {_listed(others)}. Name them too,"
                " or pass --recursive, and the slides in them are taken."
            )


def _listed(left: Sequence[Path]) -> str:
    more = ""
    if len(left) > LISTED:
        more = f" and {len(left) - LISTED} more"
    return ", ".join(entry.name for entry in left[:LISTED]) + more


def _in_folder(folder: Path, entries: Sequence[Path]) -> Iterator[Path]:
    first: set[Path] = set()
    repeated = {*objects_in(folder), *parts_in(folder)}
    for files in series_files(folder).values():
        first.add(files[0])
        repeated.update(files[1:])
    for entry in entries:
        if entry.is_dir():
            if _may_be_slide(entry):
                yield entry
        elif entry in first or (_is_named_like_one(entry) and entry not in repeated):
            yield entry


def _may_be_slide(folder: Path) -> bool:
    try:
        return is_slide_folder(folder)
    except PermissionError:
        # What may not be looked into (lost+found) is none of the user's slides, and no reason to
        # stop.
        return False
    except Exception:  # noqa: BLE001  (one folder: taken for a slide, it fails by name when it is opened)
        return True


def _is_named_like_one(entry: Path) -> bool:
    return entry.name.lower().endswith(slide_suffixes())


def is_slide_folder(folder: Path) -> bool:
    """Whether a folder is one slide or volume.

    Zarr, or the files of one DICOM series, where no other file and no folder in it is a slide.
    """
    if _is_zarr(folder):
        return True
    if len(series_files(folder)) != 1:
        return False
    for other in others_in(folder):
        # What is called DICOM and is none is a slice that was lost.
        if _is_named_like_one(other) and other.suffix.lower() not in DICOM_SUFFIXES:
            return False
    folders = filter(Path.is_dir, folder.iterdir())
    return not any(_may_be_slide(each) for each in folders if not each.name.startswith("."))


def _is_zarr(folder: Path) -> bool:
    return any((folder / mark).is_file() for mark in ZARR_MARKS)


def _found(path: Path) -> FoundSlide:
    # A link is called what the user calls it, not what it leads to.
    named = path
    if path.name in {"", ".."}:
        named = path.resolve()
    return FoundSlide(name_of(named), str(path))


def _unnamed(slide: FoundSlide) -> FoundSlide:
    """Return a slide under a name that no patient is known by."""
    try:
        return _publicly_named(slide)
    except Exception as error:  # noqa: BLE001  (the boundary of a slide: it fails when its turn comes)
        # Nobody knows which part of its path names a patient.
        parts = [part for part in Path(slide.path).parts if part != Path(slide.path).anchor]
        digest = hashlib.sha256(slide.path.encode(errors="surrogateescape")).hexdigest()
        return FoundSlide(f"unnamed-{digest[:8]}", slide.path, tuple(parts), error)


def _publicly_named(slide: FoundSlide) -> FoundSlide:
    path = Path(slide.path)
    if "://" in slide.path:
        return slide
    try:
        in_series = is_series(path)
    except OSError:
        # Called as no DICOM file is, it keeps its name, and fails under it.
        if not is_named_as_native(path):
            raise
        in_series = False
    if not in_series:
        return slide
    hidden, name = hidden_parts(path), slide.name
    if path.name in hidden:
        name = public_name(path)
    return replace(slide, name=name, hidden=hidden)


def _well_named(slide: FoundSlide) -> FoundSlide:
    """Return a slide whose name leads to a folder of its own, within the output folder.

    UsageError for a URL without such a name. A file's may hold a backslash, which is a folder to
    Windows, or be that of a file of all slides: it fails when its turn comes, and the other files
    of its folder do not.
    """
    if slide.name.casefold() in OF_ALL_SLIDES:
        return _failing(slide, f"{slide.name} is the name of a file on all slides")
    if slide.name not in {"", ".", ".."} and not set(slide.name) & set("/\\"):
        return slide
    if "://" in slide.path:
        raise UsageError(
            "The slide has no name to call its outputs by.",
            "Pass a URL that ends in a file name.",
            slide.path,
        )
    return _failing(slide, "The file's name holds a backslash")


def _failing(slide: FoundSlide, problem: str) -> FoundSlide:
    """Return a slide that fails for its name, under another one."""
    problem = f"{problem}, and no folder of outputs can be called so."
    error = UsageError(problem, "Rename the file.", slide.path)
    digest = hashlib.sha256(slide.path.encode(errors="surrogateescape")).hexdigest()
    # With a digest, since the name that is left may be another slide's.
    name = slide.name.replace("\\", "_")
    return replace(slide, name=f"{name}-{digest[:8]}", error=slide.error or error)


def sample_folder() -> Path:
    """Return the folder of the sample slide and bundle, in the package or by the source tree."""
    folders = sample_folders()
    if folders:
        return folders[0]
    raise UsageError(
        "The sample data are not installed.",
        "Install slidecam from its repository or its wheel.",
    )


def sample_folders() -> list[Path]:
    """Return the folders with the sample slide: in the package, or beside the source tree."""
    package = Path(__file__).parents[1]
    candidates = (package / "sample_data", package.parents[1] / "sample_data")
    return [folder for folder in candidates if (folder / "slide.tif").is_file()]
