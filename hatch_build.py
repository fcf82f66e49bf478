"""Puts the page's viewer into what is built, where ``npm ci --prefix web`` has brought it.

Nothing is fetched here: a build needs no network, and one without the viewer says so and works for
pictures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

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
