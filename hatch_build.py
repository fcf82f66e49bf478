"""What a build adds: the page's viewer, and a README whose links lead somewhere on PyPI.

The viewer is put in where ``npm ci --prefix web`` has brought it. Nothing is fetched here: a build
needs no network, and one without the viewer says so and works for pictures.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

VIEWER = Path("web", "node_modules", "openseadragon")
FILES = ("build/openseadragon/openseadragon.min.js", "LICENSE.txt")


class ViewerHook(BuildHookInterface):  # type: ignore[misc]  # hatchling is in the build's own environment only
    """Adds OpenSeadragon and its licence to wheels and source archives."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files, as hatchling asks before it builds.

        An editable install reads them where they are.
        """
        if version == "editable":
            return
        found = {name: Path(self.root, VIEWER, name) for name in FILES}
        if not all(path.is_file() for path in found.values()):
            self.app.display_warning(
                "OpenSeadragon is missing: run `npm ci --prefix web` for a page that shows slides."
            )
            return
        for name, path in found.items():
            build_data["force_include"][str(path)] = self._place(name)

    def _place(self, name: str) -> str:
        if self.target_name == "wheel":
            return f"slidecam/server/page/openseadragon/{Path(name).name}"
        return (VIEWER / name).as_posix()


LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^)\s]+)\)")
ELSEWHERE = ("http:", "https:", "mailto:", "#")


class ReadmeHook(MetadataHookInterface):  # type: ignore[misc]  # as above
    """Takes README.md, its links made absolute where ``[project.urls]`` has a ``Source``."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the README, as hatchling asks once it has read the project's table."""
        text = Path(self.root, "README.md").read_text("utf-8")
        source = metadata.get("urls", {}).get("Source", "")
        if source:
            text = LINK.sub(partial(_absolute, source.rstrip("/")), text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def _absolute(source: str, link: re.Match[str]) -> str:
    """Return a link into the repository as one to where GitHub shows it, or gives its bytes."""
    mark, words, target = link.groups()
    if target.startswith(ELSEWHERE):
        return link[0]
    shown = "raw" if mark else "blob"
    return f"{mark}[{words}]({source}/{shown}/main/{target})"
