"""What the slides of one call are called, and by which names their masks and rows are found."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from slidecam.errors import UsageError, without_secrets
from slidecam.sources._dicom import is_series, series_files, siblings
from slidecam.sources._probe import name_of, stem_of
from slidecam.sources.identifiers import public_name, public_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from slidecam.geometry import Size
    from slidecam.sources.source import SourceFacts
    from slidecam.viewing import PictureView


DATA_FOLDERS = {".mrxs": "{}", ".vsi": "_{}_"}
"""The folder that a slide's pixels lie in, beside its file, by the file's suffix."""


@dataclass(frozen=True)
class FoundSlide:
    """One slide to work on.

    Attributes
    ----------
    name
        What its outputs are called by: the stem of its file, unless that names a patient.
    path
        Its path or URL.
    hidden
        Parts of the path that name a patient.
    error
        What went wrong when that was looked up; None where nothing did. The slide has failed with
        it, and all of its path is hidden.
    aliases
        Other names that its mask or its row of a table may be called by: those that its file or
        folder has by itself, where no other slide of the call has them too.
    mask, group
        Its own mask, and the patient or case that it is of, where a table of slides says so.
    image
        Which of the file's pictures it is, where whoever named it says so; see `PictureView`.
    """

    name: str
    path: str
    hidden: tuple[str, ...] = ()
    error: Exception | None = field(default=None, compare=False)
    aliases: tuple[str, ...] = field(default=(), compare=False)
    mask: Path | None = field(default=None, compare=False)
    group: str = field(default="", compare=False)
    image: str | None = None

    def seen(self, view: PictureView) -> PictureView:
        """Return how a call looks at pictures, for this slide: at its own picture of the file."""
        return replace(view, image=self.image or view.image)

    def named(self, facts: SourceFacts) -> SourceFacts:
        """Return the slide's facts under the names that it has in this call."""
        return replace(facts, name=self.name, aliases=self.aliases)

    @property
    def own_places(self) -> tuple[str | Path, ...]:
        """Its file or folder, and the folder of its pixels where the format keeps them apart."""
        if "://" in self.path:
            return ()
        path = Path(self.path)
        data = DATA_FOLDERS.get(path.suffix.lower())
        if data is None:
            return (path,)
        return path, path.with_name(data.format(path.stem))

    @property
    def row_names(self) -> tuple[str, ...]:
        """What its row of a table may be called by; the first counts."""
        return tuple(dict.fromkeys((self.name, Path(self.path).name, *self.aliases)))

    @property
    def shown(self) -> str:
        """The path as it may be written down.

        Without a patient's name, a URL without password and signed query.
        """
        if self.hidden:
            return public_path(self.path, self.hidden)
        return without_secrets(self.path)

    def public(self, text: str) -> str:
        """Return a text that speaks of the slide without what names a patient or opens a server."""
        text = text.replace(self.path, self.shown)
        if "://" not in self.path:
            return text
        # Libraries word a URL in their own way.
        return without_secrets(text)


@dataclass(frozen=True)
class Discovery:
    """What was found.

    Attributes
    ----------
    slides
        The slides, in order.
    ignored
        A sentence for each folder or project where something was left out.
    spacings
        µm per pixel by slide, where a QuPath project says it.
    shown
        Width and height by slide as QuPath shows it, where a project says it.
    shared
        Names of files or folders that several slides have, and what these slides are called.
    """

    slides: tuple[FoundSlide, ...]
    ignored: tuple[str, ...]
    spacings: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, Size] = field(default_factory=dict)
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class _Finding(Protocol):
    """What of a `PredictSpec` says where slides are looked for."""

    @property
    def recursive(self) -> bool:
        """Whether folders within folders are searched."""

    @property
    def exclude(self) -> tuple[str, ...]:
        """Names or paths that are left out."""


@dataclass(frozen=True)
class FindSpec:
    """Where slides are looked for.

    Attributes
    ----------
    recursive
        Whether the folders within a folder are searched too, but for those of outputs.
    exclude
        Patterns of names or whole paths, as shells write them, that are left out.
    names
        What the outputs of slides are called by, by their paths, where that is given.
    """

    recursive: bool = False
    exclude: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, spec: _Finding, names: Mapping[str, str]) -> FindSpec:
        """Return what a call says."""
        return cls(spec.recursive, spec.exclude, names)

    def leaves_out(self, path: str | Path) -> bool:
        """Whether a file or folder is excluded."""
        whole, name = str(path), Path(path).name
        return any(fnmatch(name, each) or fnmatch(whole, each) for each in self.exclude)


@dataclass(frozen=True)
class Shard:
    """One of several parts of the slides, so that processes share them without asking each other.

    A slide's name alone decides its part: what else is found, and in which order, changes nothing.

    Attributes
    ----------
    number, parts
        Which part, from 1, and how many there are.
    """

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``3/8``; UsageError where that is no part of a whole."""
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            problem = f"There is no part {text!r} of the slides."
            raise UsageError(problem, "Pass --shard K/N, with K from 1 to N: --shard 3/8.")
        return cls(int(found[1]), int(found[2]))

    def takes(self, slide: FoundSlide) -> bool:
        """Whether a slide belongs to this part."""
        # In small letters, as Windows and macOS tell folders of outputs apart.
        name = slide.name.casefold().encode(errors="surrogateescape")
        digest = hashlib.sha256(name).digest()
        return int.from_bytes(digest[:8], "big") % self.parts == self.number - 1

    def words(self, taken: int, found: int) -> str:
        """Return how many slides are this part's, as a sentence."""
        return (
            f"--shard {self.number}/{self.parts}: {taken} of {found} slides are this part's, as"
            " their names decide."
        )


def names_of(facts: SourceFacts) -> tuple[str, ...]:
    """Return what a slide's mask or its row of a table may be called by; the first counts."""
    return tuple(dict.fromkeys((facts.name, facts.file_name, *facts.aliases)))


def once_each(slides: Sequence[FoundSlide], ignored: list[str]) -> list[FoundSlide]:
    """Return slides without those that are there already: ``SE1/*.dcm`` names all of a series."""
    # A file's pictures are slides of their own.
    first: dict[tuple[str, str | None], FoundSlide] = {}
    named: defaultdict[str, dict[str, None]] = defaultdict(dict)
    again: Counter[str] = Counter()
    for slide in slides:
        known = first.setdefault((_first_file(slide), slide.image), slide)
        named[known.name][Path(slide.path).name] = None
        again[known.name] += known is not slide
    for name, count in again.items():
        if len(named[name]) > 1:
            ignored.append(f"{name} is named by {count + 1} files of its series, and taken once.")
        elif count:
            ignored.append(f"{name} is named {count + 1} times, and taken once.")
    return list(first.values())


def _first_file(slide: FoundSlide) -> str:
    """Return the first file of a series, and of another slide its own path; links are their own."""
    if "://" in slide.path:
        return slide.path
    return os.path.abspath(_of_series(slide))  # noqa: PTH100  (without the dots, which pathlib keeps)


def _of_series(slide: FoundSlide) -> Path:
    path = Path(slide.path)
    if slide.error is not None:
        return path
    try:
        if not is_series(path):
            return path
        if path.is_dir():
            return next(iter(series_files(path).values()), [path])[0]
        return siblings(path)[0]
    except OSError:  # opening it says what is wrong with it
        return path


def set_apart(slides: Sequence[FoundSlide], said: list[str]) -> list[FoundSlide]:
    """Return slides of one name in several folders, each with its parent's name before it.

    Wards call their slides alike; series of several patients are in folders of one name,
    ``PAT1/SE1`` and ``PAT2/SE1``, or begin with files of one name. ``said`` is added a sentence on
    files that are called so. Where the parents' names are alike too, or may not be written, a
    digest of the path follows the name.
    """
    first = _shared(slides)
    named = [_with_parent(slide) if slide.name.casefold() in first else slide for slide in slides]
    still = _shared(named)
    apart = [_with_digest(slide) if slide.name.casefold() in still else slide for slide in named]
    renamed = [new.name for old, new in zip(slides, apart, strict=True) if _is_renamed(old, new)]
    if renamed:
        more = ""
        if len(renamed) > LISTED:
            more = f" and {len(renamed) - LISTED} more"
        said.append(
            f"Slides of one name in several folders are called {', '.join(renamed[:LISTED])}{more}."
        )
    return apart


LISTED = 5
"""Names in the message on how slides are called."""


def _is_renamed(old: FoundSlide, new: FoundSlide) -> bool:
    return old.name != new.name and not _is_counted(old)


def _shared(slides: Sequence[FoundSlide]) -> set[str]:
    """Return the names, in small letters, that several series or folders of other paths have."""
    paths: defaultdict[str, set[str]] = defaultdict(set)
    folders: set[str] = set()
    for slide in slides:
        if "://" in slide.path:
            continue
        key = slide.name.casefold()
        paths[key].add(str(Path(slide.path).resolve()))
        if _is_counted(slide):
            folders.add(key)
    for key, found in paths.items():
        if len({Path(path).parent for path in found}) == len(found):
            folders.add(key)
    return {key for key in folders if len(paths[key]) > 1}


def _is_counted(slide: FoundSlide) -> bool:
    """Whether a slide is called as others are by custom: a folder, or a file of a series."""
    path = Path(slide.path)
    try:
        return path.is_dir() or is_series(path)
    except OSError:  # opening it says what is wrong with it
        return False


def _with_parent(slide: FoundSlide) -> FoundSlide:
    parent = Path(slide.path).resolve().parent.name
    if "://" in slide.path or not parent or parent in slide.hidden:
        return slide
    return replace(slide, name=f"{parent}-{slide.name}")


def _with_digest(slide: FoundSlide) -> FoundSlide:
    if "://" in slide.path:
        return slide
    if slide.hidden:
        return replace(slide, name=public_name(Path(slide.path)))
    whole = str(Path(slide.path).resolve())
    digest = hashlib.sha256(whole.encode(errors="surrogateescape")).hexdigest()
    return replace(slide, name=f"{slide.name}-{digest[:8]}")


def refuse_shared_stems(slides: Sequence[FoundSlide]) -> None:
    """Refuse two slides whose outputs would lie in one folder, with `UsageError`."""
    first: dict[str, str] = {}
    for slide in slides:
        key = slide.name.casefold()  # Windows and macOS do not tell Slide from slide
        other = first.pop(key, None)
        first[key] = slide.path
        if other is not None:
            raise UsageError(
                f"Two inputs share the stem {slide.name!r}, and so one output folder: {other} and"
                f" {slide.path}.",
                "Rename one of them, name them apart in a list (--slides, column name), or call"
                " slidecam once for each with another --out.",
            )


def with_aliases(
    slides: Sequence[FoundSlide],
) -> tuple[list[FoundSlide], dict[str, tuple[str, ...]]]:
    """Return slides with the names that their files or folders have by themselves.

    Those that several have are no names of any, but returned beside with what these are called.
    """
    owners: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for slide in slides:
        for name in _own_names(slide):
            owners[name][slide.name] = None
    called = {slide.name for slide in slides}
    named: list[FoundSlide] = []
    for slide in slides:
        names = _own_names(slide)
        own = [name for name in names if name not in called and len(owners[name]) == 1]
        named.append(replace(slide, aliases=tuple(own)))
    shared: dict[str, tuple[str, ...]] = {}
    for name, of in owners.items():
        if name not in called and len(of) > 1:
            shared[name] = tuple(of)
    return named, shared


def _own_names(slide: FoundSlide) -> tuple[str, ...]:
    """Return what a slide's file or folder is called, with its suffix and without."""
    if "://" in slide.path:
        return ()
    path = Path(slide.path)
    if path.name in {"", ".."}:
        path = path.resolve()
    return tuple(dict.fromkeys((path.name, name_of(path), stem_of(path))))


def refuse_shared_names(found: Discovery, is_used: Callable[[str], bool], what: str) -> None:
    """Refuse what is called after several slides, of which one has nothing of its own.

    Parameters
    ----------
    found
        The slides.
    is_used
        Whether there is something of a name.
    what
        What there is, as a sentence begins: ``"The mask"``.

    Raises
    ------
    UsageError
        If nobody knows whose it is.
    """
    for name, slides in found.shared.items():
        if is_used(name) and not all(map(is_used, slides)):
            problem = f"{what} called {name} may be of {' or of '.join(slides)}."
            raise UsageError(problem, "Call each as the folder of its slide's outputs is called.")
