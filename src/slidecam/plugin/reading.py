"""What napari opens through slidecam: slides, runs, heatmaps, and areas drawn in QuPath."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.errors import SlidecamError
from slidecam.plugin.opening import read_slide
from slidecam.plugin.slide import is_annotations, is_heatmap, run_folder
from slidecam.plugin.tasks import warn
from slidecam.sources import suffixes_for_viewers
from slidecam.sources.apart import open_apart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from slidecam.plugin.slide import LayerData

    Reader = Callable[[str | Sequence[str]], list[LayerData]]

RESULTS = ("*.geojson", "*.geojson.gz", "run.json")
"""Names of what is made of slides, beside the slides' own."""


def get_reader(path: str | Sequence[str]) -> Reader | None:
    """Return a reader of what lies at ``path``, or None where it is nothing that slidecam knows.

    Parameters
    ----------
    path
        A slide, a run's folder (or its ``run.json``), a ``heatmap.ome.zarr``, or a GeoJSON of
        annotations. A stack of files is none of these.
    """
    if not isinstance(path, str) or not path:
        return None
    where = Path(path)
    if is_annotations(where) or is_heatmap(where) or run_folder(where) is not None:
        return _reading(_read_result)
    if _opens(path):
        return _reading(read_slide)
    return None


def _reading(read: Callable[[Path], list[LayerData]]) -> Reader:
    def reader(path: str | Sequence[str]) -> list[LayerData]:
        return read(Path(path if isinstance(path, str) else path[0]))

    return reader


def _read_result(path: Path) -> list[LayerData]:
    """Open what slidecam or QuPath has made of a slide, for which torch is loaded only now."""
    from slidecam.plugin.results import read_result  # noqa: PLC0415  (loads torch: slides do without)

    return read_result(path)


def _opens(path: str) -> bool:
    """Whether some reader of slidecam's opens it; napari asks the next plugin if none does."""
    try:
        open_apart(path).close()
    except SlidecamError as error:
        # A file that is ours and broken is worth a word: the next plugin's message would be about
        # something else.
        if not Path(path).is_dir():
            warn(str(error))
        return False
    return True


def filename_patterns() -> list[str]:
    """Return the names of the files that napari asks us for, as `napari.yaml` lists them."""
    return [*(f"*{suffix}" for suffix in suffixes_for_viewers()), *RESULTS]


def with_patterns(manifest: str) -> str:
    """Return the text of `napari.yaml` with the patterns that the readers call for.

    Those that are there keep their order. ``make manifest`` writes it; a test compares.
    """
    head, mark, rest = manifest.partition("      filename_patterns:\n")
    lines = rest.splitlines(keepends=True)
    count = next(number for number, line in enumerate(lines) if not line.startswith("        - "))
    wanted = [f"        - '{pattern}'\n" for pattern in filename_patterns()]
    kept = [line for line in lines[:count] if line in wanted]
    return "".join([head, mark, *dict.fromkeys([*kept, *wanted]), *lines[count:]])
