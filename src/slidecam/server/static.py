"""The page's own files, which come with the package.

OpenSeadragon, which is built into it, may be missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGE = Path(__file__).parent / "page"
VIEWER = "openseadragon"
"""Folder of the deep-zoom viewer in the wheel, below the page."""

FROM_NPM = Path("web", "node_modules", "openseadragon")
"""Where ``npm ci`` lays it in a working tree."""

TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}


@dataclass(frozen=True)
class StaticFile:
    """A file's bytes, and what they are."""

    content: bytes
    media_type: str


@cache
def static_files() -> dict[str, StaticFile]:
    """Return all files of the page by their place below ``/page/``."""
    own = {path.name: path for path in PAGE.iterdir() if path.suffix in TYPES}
    paths = own | {f"{VIEWER}/{path.name}": path for path in viewer_files()}
    return {name: StaticFile(path.read_bytes(), TYPES[path.suffix]) for name, path in paths.items()}


def viewer_files() -> list[Path]:
    """Return the viewer's script and licence, of the wheel or of the working tree.

    Nothing where it was not built.
    """
    installed, tree = PAGE / VIEWER, Path(__file__).parents[3] / FROM_NPM
    for script, licence in (
        (installed / "openseadragon.min.js", installed / "LICENSE.txt"),
        (
            tree / "build" / "openseadragon" / "openseadragon.min.js",
            tree / "LICENSE.txt",
        ),
    ):
        if script.is_file() and licence.is_file():
            return [script, licence]
    return []
