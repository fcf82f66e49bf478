"""Every file that a wheel carries is named in NOTICE.md, with whose it is and its licence."""

from __future__ import annotations

import json
import re
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTICE = (ROOT / "NOTICE.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
OURS, VIEWER = "the slidecam founders", "slidecam/server/page/openseadragon/*"


def rows() -> dict[str, list[str]]:
    """Return the cells of each row of the table after its first, by the pattern of its files."""
    found = {}
    for line in NOTICE.splitlines():
        if line.startswith("| `"):
            pattern, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            found[pattern.strip("`")] = cells
    return found


def row_of(place: str) -> str:
    """Return the most exact pattern that a place in the wheel is named by."""
    matching = [pattern for pattern in rows() if fnmatchcase(place, pattern)]
    return max(matching, key=len, default="")


def viewer_files() -> tuple[str, ...]:
    """Return what the build hook takes from npm, which needs hatchling to be loaded as a whole."""
    text = (ROOT / "hatch_build.py").read_text("utf-8")
    listed = re.search(r"^FILES = \(([^)]*)\)", text, re.MULTILINE)
    assert listed is not None
    return tuple(re.findall(r'"([^"]+)"', listed[1]))


def shipped() -> list[str]:
    """Return the places of a wheel's files: the package, what is forced in, the viewer."""
    source = ROOT / "src"
    places = [path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()]
    forced = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for origin, place in forced.items():
        assert (ROOT / origin).exists(), origin
        inside = [path for path in (ROOT / origin).rglob("*") if path.is_file()]
        places += [f"{place}/{path.relative_to(ROOT / origin).as_posix()}" for path in inside]
        if not inside:
            places.append(place)
    places += [f"slidecam/server/page/openseadragon/{Path(each).name}" for each in viewer_files()]
    return [place for place in places if "__pycache__" not in place]


def test_every_file_of_a_wheel_has_a_row_and_each_row_a_file() -> None:
    homes = {place: row_of(place) for place in shipped()}
    assert {place for place, pattern in homes.items() if not pattern} == set()
    assert set(homes.values()) == set(rows())


def test_what_is_not_ours_is_named_with_its_maker_and_the_text_of_its_licence() -> None:
    others = {pattern for pattern, cells in rows().items() if OURS not in cells}
    assert others == {VIEWER}
    lock = json.loads((ROOT / "web/package-lock.json").read_text("utf-8"))["packages"]
    assert set(lock) == {"", "node_modules/openseadragon"}
    locked = lock["node_modules/openseadragon"]
    assert f"OpenSeadragon {locked['version']}" in rows()[VIEWER][0]
    assert locked["license"] in rows()[VIEWER][2]
    assert "Neither the name of CodePlex Foundation" in NOTICE
    assert 'BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"' in NOTICE


def test_the_text_is_that_which_came_with_the_files() -> None:
    text = ROOT / "web/node_modules/openseadragon/LICENSE.txt"
    if not text.is_file():
        pytest.skip("npm ci --prefix web has not been run")
    assert text.read_text("utf-8").strip() in NOTICE


def test_the_notice_is_a_licence_file_of_the_wheel() -> None:
    assert PROJECT["project"]["license-files"] == ["LICENSE", "NOTICE.md"]
