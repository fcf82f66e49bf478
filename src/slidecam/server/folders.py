"""Which files of this machine a client may see: slides under some folders, and a job's results."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import UsageError
from slidecam.exchange.manifest import MANIFEST_NAME
from slidecam.server.guard import RequestError
from slidecam.server.job import REPORT
from slidecam.sources.discovery import slides_in

if TYPE_CHECKING:
    from slidecam.server.job import SeenRun


@dataclass(frozen=True)
class Roots:
    """Folders under which paths may lie.

    Attributes
    ----------
    given, resolved
        As they were named, and with every link followed.
    """

    given: tuple[Path, ...]
    resolved: tuple[Path, ...]

    @classmethod
    def of(cls, folders: tuple[Path, ...]) -> Roots:
        """Return roots of some folders; UsageError if one is none."""
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(
                    f"There is no folder for --root: {folder}.",
                    "Name a folder that holds slides.",
                )
        absolute = tuple(Path(os.path.abspath(folder)) for folder in folders)  # noqa: PTH100  (resolve() follows links)
        return cls(absolute, tuple(folder.resolve() for folder in folders))

    def with_folder(self, folder: Path) -> Roots:
        """Return the same roots and one more folder, which need not be there yet."""
        return Roots((*self.given, folder.absolute()), (*self.resolved, folder.resolve()))

    def existing(self, text: str) -> Path:
        """Return a path that a client named and that is there.

        Raises
        ------
        RequestError
            400 if it is no absolute path, 403 if it leads out of the roots, 404 if there is
            nothing.
        """
        path = self.allowed(text)
        try:
            found = path.exists()
        except OSError as error:  # a name that is too long for any file
            raise _nowhere(text, error) from error
        if not found:
            problem = f"There is no such file or folder: {_shortened(text)}."
            raise RequestError(404, problem, "Check the path.")
        return path

    def allowed(self, text: str) -> Path:
        """Return a path that a client named, which need not be there.

        RequestError as in `existing`.
        """
        path = _absolute(text)
        # Before the disk is looked at: on Windows, merely looking at \\server\share logs on
        # to it.
        shown = _shortened(text)
        self._refuse_outside(path, f"The path {shown} lies", (*self.given, *self.resolved))
        led = _resolved(path, text)
        self._refuse_outside(led, f"{shown} is a link to {led}, which lies", self.resolved)
        return path

    def _refuse_outside(self, path: Path, subject: str, folders: tuple[Path, ...]) -> None:
        if not any(map(path.is_relative_to, folders)):
            names = ", ".join(map(str, self.given))
            raise RequestError(
                403,
                f"{subject} outside {names}.",
                "Start the server with --root FOLDER for it.",
            )


def _absolute(text: str) -> Path:
    if "://" in text:
        raise RequestError(
            403,
            f"A URL is no file of this machine: {text}.",
            "Name a file on this machine.",
        )
    if "\0" in text or not Path(text).is_absolute():
        raise RequestError(400, f"The path is not absolute: {text!r}.", "Write the whole path.")
    return Path(os.path.normpath(text))


def _resolved(path: Path, text: str) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise _nowhere(text, error) from error


def _nowhere(text: str, error: Exception) -> RequestError:
    cause = getattr(error, "strerror", None) or error
    problem = f"The path leads nowhere ({cause}): {_shortened(text)}."
    return RequestError(400, problem, "Check it.")


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


SHOWN = 200
"""Letters of a path that are repeated where it is refused."""

MOST = 2000
"""Slides, and folders, of a folder that are listed; how many more there are is said."""


def folder_listing(roots: Roots, folder: str) -> dict[str, Any]:
    """Return the folders and slides in a folder; of no folder, the roots themselves.

    Raises
    ------
    RequestError
        If it is none, or lies outside the roots.
    """
    if not folder:
        return {
            "folder": None,
            "parent": None,
            "folders": list(map(_entry, roots.given)),
            "slides": [],
            "left_out": {"folders": 0, "slides": 0},
        }
    path = roots.existing(folder)
    if not path.is_dir():
        raise RequestError(400, f"A file is no folder: {path}.", "Name its folder.")
    slides = list(map(_entry, slides_in(path)))
    taken = {slide["path"] for slide in slides}
    inner = sorted(
        each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")
    )
    folders = [_entry(each) for each in inner if str(each) not in taken]
    if path in roots.given:
        parent = None
    else:
        parent = str(path.parent)
    return {
        "folder": str(path),
        "parent": parent,
        "folders": folders[:MOST],
        "slides": slides[:MOST],
        "left_out": {
            "folders": max(0, len(folders) - MOST),
            "slides": max(0, len(slides) - MOST),
        },
    }


def _entry(path: Path) -> dict[str, str]:
    return {"name": path.name or str(path), "path": str(path)}


def result_record(job: SeenRun) -> dict[str, Any]:
    """Return what came of a job, with the absolute paths of what lies on disk."""
    record = job.record()
    slides = [
        {**slide, "files": _files(Path(slide["folder"]))}
        for slide in job.slide_records()
        if "folder" in slide
    ]
    place = job.place()
    manifest, report = place / MANIFEST_NAME, place / REPORT
    return {
        **{name: record[name] for name in ("id", "status", "exit_code", "out", "error")},
        "manifest": str(manifest) if manifest.is_file() else None,
        "report": str(report) if report.is_file() else None,
        "slides": slides,
    }


def _files(folder: Path) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {
        path.name: str(path) for path in sorted(folder.iterdir()) if not path.name.startswith(".")
    }


def result_file(job: SeenRun, inner: str) -> Path:
    """Return a file of a job's results.

    RequestError 404 if there is none, or the name leads out of them.
    """
    home = job.place()
    missing = RequestError(
        404,
        f"Job {job.id} has no file {inner!r}.",
        "GET its result for those that it has.",
    )
    if "\0" in inner or any(part.startswith(".") for part in Path(inner).parts):
        raise missing
    try:
        path = (home / inner).resolve()
        found = path.is_relative_to(home) and path.is_file()
    except OSError as error:  # a name that is too long for any file
        raise missing from error
    if not found or not _is_ours(job, path.relative_to(home)):
        raise missing
    return path


def _is_ours(job: SeenRun, path: Path) -> bool:
    """Whether a file is of this job and not of another that wrote into the same folder."""
    mine = {slide["slide"] for slide in job.slide_records()}
    return path.parts[0] in mine | {MANIFEST_NAME, REPORT}
