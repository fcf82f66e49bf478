"""Which files of this machine a client may see: slides under some folders, and a job's results."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import UsageError
from slidecam.server.guard import RequestError
from slidecam.sources.discovery import slides_in

if TYPE_CHECKING:
    from slidecam.server.jobs import Job


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
        if not path.exists():
            raise RequestError(404, f"There is no such file or folder: {text}.", "Check the path.")
        return path

    def allowed(self, text: str) -> Path:
        """Return a path that a client named, which need not be there.

        RequestError as in `existing`.
        """
        path = _absolute(text)
        # Before the disk is looked at: on Windows, merely looking at \\server\share logs on
        # to it.
        self._refuse_outside(path, text, (*self.given, *self.resolved))
        self._refuse_outside(_resolved(path, text), text, self.resolved)
        return path

    def _refuse_outside(self, path: Path, text: str, folders: tuple[Path, ...]) -> None:
        if not any(map(path.is_relative_to, folders)):
            names = ", ".join(map(str, self.given))
            raise RequestError(
                403,
                f"The path lies outside {names}: {text}.",
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
        raise RequestError(
            400, f"The path leads nowhere ({error}): {text}.", "Check its links."
        ) from error


MOST = 2000
"""Entries of a folder that are listed."""


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
        }
    path = roots.existing(folder)
    if not path.is_dir():
        raise RequestError(400, f"A file is no folder: {path}.", "Name its folder.")
    slides = list(map(_entry, slides_in(path)))
    taken = {slide["path"] for slide in slides}
    inner = sorted(
        each for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")
    )
    if path in roots.given:
        parent = None
    else:
        parent = str(path.parent)
    folders = [_entry(each) for each in inner if str(each) not in taken][:MOST]
    return {
        "folder": str(path),
        "parent": parent,
        "folders": folders,
        "slides": slides[:MOST],
    }


def _entry(path: Path) -> dict[str, str]:
    return {"name": path.name or str(path), "path": str(path)}


def result_record(job: Job) -> dict[str, Any]:
    """Return what came of a job, with the absolute paths of what lies on disk."""
    record = job.record()
    slides = [
        {**slide, "files": _files(Path(slide["folder"]))}
        for slide in job.slide_records()
        if "folder" in slide
    ]
    manifest, report = job.out / "manifest.json", job.out / "report.html"
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


def result_file(job: Job, inner: str) -> Path:
    """Return a file of a job's results.

    RequestError 404 if there is none, or the name leads out of them.
    """
    home = job.out.resolve()
    missing = RequestError(
        404,
        f"Job {job.id} has no file {inner!r}.",
        "GET its result for those that it has.",
    )
    if "\0" in inner or any(part.startswith(".") for part in Path(inner).parts):
        raise missing
    path = (home / inner).resolve()
    if (
        not path.is_relative_to(home)
        or not path.is_file()
        or not _is_ours(job, path.relative_to(home))
    ):
        raise missing
    return path


def _is_ours(job: Job, path: Path) -> bool:
    """Whether a file is of this job and not of another that wrote into the same folder."""
    mine = {slide["slide"] for slide in job.slide_records()} | {
        "manifest.json",
        "report.html",
    }
    return path.parts[0] in mine
