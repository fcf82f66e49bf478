"""Where the sample slide and its bundle lie."""

from __future__ import annotations

from pathlib import Path

from slidecam.errors import UsageError


def sample_folder() -> Path:
    """Return the folder of the sample slide and bundle, in the package or by the source tree."""
    for folder in sample_folders():
        return folder
    raise UsageError(
        "the sample data are not installed.", "Install slidecam from its repository or its wheel."
    )


def sample_folders() -> list[Path]:
    """Return the folders with the sample slide: in the package, or beside the source tree."""
    package = Path(__file__).parents[1]
    candidates = (package / "sample_data", package.parents[1] / "sample_data")
    return [folder for folder in candidates if (folder / "slide.tif").is_file()]
