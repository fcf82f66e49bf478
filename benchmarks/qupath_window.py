"""How long many tiles keep our QuPath extension, and its window's thread at a stretch.

The extension is built and run against stand-ins of QuPath, so that QuPath's own work with a tile is
not in it; JavaFX, Gson and JTS are real ones. It needs a screen.

    xvfb-run -a python benchmarks/qupath_window.py [TILES]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from qupath_export import make_table

from slidecam.exchange.qupath import QuPathExport, write_for_qupath

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "qupath-extension"))

import build_extension  # noqa: E402  (its folder is on the path since the line above)

SLIDE = "many.tif"


def main() -> None:
    """Print a table: what is done, seconds, the longest stall of the window's thread."""
    tiles = int(sys.argv[1]) if sys.argv[1:] else 100_000
    table = make_table(tiles)
    left, top, width, height = table.boxes.T
    edges = int((left + width).max()), int((top + height).max())
    with TemporaryDirectory() as folder:
        places = Path(folder)
        slide = places / "results" / Path(SLIDE).stem
        slide.mkdir(parents=True)
        export = QuPathExport(table, slide=SLIDE, model="random", size_px=edges)
        write_for_qupath(export, slide / "qupath")
        jar = build_extension.build(places / "extension")
        beside = [jar, jar.parent / "standins"]
        build_extension.compile_java(HERE / "qupath", places / "classes", beside)
        path = os.pathsep.join(
            map(str, [places / "classes", *beside, *build_extension.libraries()])
        )
        command = ["java", "-Dprism.order=sw", "-cp", path, "qupath.ext.slidecam.Rates"]
        print(f"{tiles} tiles\n\n| what | seconds | longest stall, ms |\n|---|---|---|", flush=True)
        words = (slide, places / SLIDE, *edges)
        subprocess.run([*command, *map(str, words)], check=True)


if __name__ == "__main__":
    main()
