"""Which slides lie where.

What the page shows of the folders that the server may read, and of a job's results.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.server.http_errors import RequestError
from slidecam.sources.discovery import slides_in

if TYPE_CHECKING:
    from slidecam.server.job import Job
    from slidecam.server.roots import Roots

MOST = 2000
"""Entries of a folder that are told."""


def folder_told(roots: Roots, folder: str) -> dict[str, Any]:
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
        raise RequestError(400, f"{path} is a file.", "Name its folder.")
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
    return {"folder": str(path), "parent": parent, "folders": folders, "slides": slides[:MOST]}


def _entry(path: Path) -> dict[str, str]:
    return {"name": path.name or str(path), "path": str(path)}


def result_told(job: Job) -> dict[str, Any]:
    """Return what came of a job, with the absolute paths of what lies on disk."""
    told = job.told()
    slides = [
        {**slide, "files": _files(Path(slide["folder"]))}
        for slide in job.slides_told()
        if "folder" in slide
    ]
    manifest, report = job.out / "manifest.json", job.out / "report.html"
    return {
        **{name: told[name] for name in ("id", "status", "exit_code", "out", "error")},
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
        404, f"job {job.id} has no file {inner!r}.", "GET its result for those that it has."
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
    mine = {slide["slide"] for slide in job.slides_told()} | {"manifest.json", "report.html"}
    return path.parts[0] in mine
