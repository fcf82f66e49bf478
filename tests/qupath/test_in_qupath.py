"""The scripts in a QuPath that is installed.

Where the environment variable ``QUPATH_HOME`` names one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from slidecam.foreground.annotations import tissue_of
from slidecam.store import RunStore

SCRIPTS = Path(__file__).parents[2] / "qupath-scripts"
PLACES = ("bin/QuPath", "Contents/MacOS/QuPath", "QuPath.sh")
"""Where QuPath's command lies in its folder; on Windows ``QuPath-<version> (console).exe``."""

# What a script leaves is not saved without a project, so that all happens in one: classify, merge,
# write, take away.
TOGETHER = """
import static qupath.lib.gui.scripting.QPEx.*
def run = {{ String name, List told ->
    def binding = new Binding([args: told as String[], 'qupath.script.file': '{scripts}/' + name])
    new GroovyShell(getClass().classLoader, binding).evaluate(new File('{scripts}/' + name))
}}
run('1_classify_slide.groovy', ['engine=process', 'model={model}', 'out={out}', 'python={python}'])
run('3_show_heatmap.groovy', [])
run('4_merge_regions.groovy', ['threshold=0.5'])
exportObjectsToGeoJson(getTileObjects(), '{out}/tiles.geojson', 'FEATURE_COLLECTION')
exportObjectsToGeoJson(getAnnotationObjects(), '{out}/regions.geojson', 'FEATURE_COLLECTION')
run('6_remove_slidecam.groovy', [])
assert getTileObjects().isEmpty() && getAnnotationObjects().isEmpty()
"""


@pytest.fixture
def qupath() -> Path:
    home = os.environ.get("QUPATH_HOME")
    if not home:
        pytest.skip("QUPATH_HOME names no QuPath")
    found = [path for place in PLACES if (path := Path(home) / place).exists()]
    found += sorted(Path(home).glob("QuPath* (console).exe"))
    assert found, f"there is no QuPath in {home}"
    return found[0]


def test_tiles_and_regions_land_where_predict_says(
    qupath: Path, sample_data: Path, tmp_path: Path
) -> None:
    python = Path(sys.executable)
    told = {
        "scripts": SCRIPTS,
        "model": sample_data / "bundle",
        "out": tmp_path / "out",
        "python": python,
    }
    script = tmp_path / "together.groovy"
    script.write_text(
        TOGETHER.format(**{name: path.as_posix() for name, path in told.items()}), encoding="utf-8"
    )
    call = [str(qupath), "script", str(script), "-i", str(sample_data / "slide.tif")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)  # noqa: S603  (the user's own QuPath)
    assert done.returncode == 0, done.stdout + done.stderr
    path = tmp_path / "out" / "tiles.geojson"
    corners = [
        tuple(area[0].min(axis=0))
        for area in tissue_of(path, path.read_text(encoding="utf-8")).areas
    ]
    boxes = RunStore.open(tmp_path / "out" / "slide").boxes
    assert sorted(corners) == sorted(
        (float(x), float(y)) for x, y, _width, _height in boxes.tolist()
    )
    regions = json.loads((tmp_path / "out" / "regions.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    assert {each["properties"]["classification"]["name"] for each in regions} <= {
        "lymphoid",
        "stroma",
        "tumour",
    }
