"""The extension's windows under Xvfb, against stand-ins of QuPath, with a real slidecam behind.

One walk by menu, buttons and a click on the slide; what it saw is held against what it must see.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import build_extension
import pytest

from slidecam.store import RunStore

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (700, 500)
PICTURES = os.environ.get("SLIDECAM_EXTENSION_PICTURES")
"""A folder to leave the walk's pictures in, for people to look at."""


slow = pytest.mark.slow
"""The walk starts slidecam a dozen times."""


@pytest.fixture(scope="module")
def seen(
    built: Path,
    jvm_path: Callable[..., str],
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """Return what a walk through all windows saw."""
    if not os.environ.get("DISPLAY") and sys.platform == "linux":
        assert not os.environ.get("SLIDECAM_REQUIRE_GUI"), "there is no screen"
        pytest.skip("there is no screen; run it under xvfb-run")
    folder = tmp_path_factory.mktemp("walk")
    slide = write_slide(folder / "größe 1.tif")
    shutil.copytree(tiny_bundle, folder / "models" / "tiny")
    build_extension.compile_java(
        Path(__file__).parent / "windows", folder / "classes", [built, built.parent / "standins"]
    )
    path = jvm_path(folder / "classes", built, built.parent / "standins")
    command = ["java", "-Dprism.order=sw", "-Djava.awt.headless=true", "-XX:TieredStopAtLevel=1"]
    command.append(f"-Djava.io.tmpdir={tmp_path_factory.mktemp('java')}")
    places = (folder / "models", folder / "out", Path(PICTURES or folder / "pictures"))
    words = (slide, *SIZE, sys.executable, *places)
    done = subprocess.run(  # noqa: S603  (our own command)
        [*command, "-cp", path, "qupath.ext.slidecam.Tour", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SLIDECAM_SERVER_FILE": str(folder / "server.json")},
    )
    assert done.returncode == 0, done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "folder": folder, "slide": slide}


def test_the_jar_holds_our_classes_its_licence_and_nothing_of_qupath(built: Path) -> None:
    with zipfile.ZipFile(built) as jar:
        names = set(jar.namelist())
    assert "META-INF/LICENSE" in names
    assert "META-INF/services/qupath.lib.gui.extensions.QuPathExtension" in names
    classes = {name for name in names if name.endswith(".class")}
    assert classes
    assert all(name.startswith("qupath/ext/slidecam/") for name in classes)


def test_the_catalogue_names_the_version_that_is_built(built: Path) -> None:
    catalogue = json.loads((build_extension.HERE / "catalog.json").read_text(encoding="utf-8"))
    (extension,) = catalogue["extensions"]
    (release, *_older) = extension["versions"]
    assert release["name"] == f"v{build_extension.version()}"
    assert release["main_url"].endswith(f"/{built.name}")
    assert release["version_range"] == {"min": "v0.5.1"}


@slow
def test_the_extension_is_found_and_has_its_menu_once(seen: dict[str, Any]) -> None:
    assert seen["extension"] == f"slidecam {build_extension.version()}"
    assert [name for name in seen["menu"] if name] == [
        "Classify...",
        "Show...",
        "Explain this place...",
        "Regions...",
        "Teach...",
        "Export for training...",
        "Remove slidecam's objects...",
        "Preferences...",
        "Help",
    ]


@slow
def test_help_names_every_command_of_the_menu(seen: dict[str, Any]) -> None:
    commands = {name for name in seen["menu"] if name} - {"Preferences...", "Help"}
    assert {name for name in commands if name not in seen["help"]} == set()
    assert "Not for diagnosis" in seen["help"]


@slow
def test_without_slidecam_a_window_says_what_to_install(seen: dict[str, Any]) -> None:
    assert "/nowhere/python cannot be started" in seen["not installed"]
    assert 'pip install "slidecam[server,explain,train]"' in seen["not installed"]
    assert "torch" in seen["doctor"]


@slow
def test_a_model_is_shown_with_its_card(seen: dict[str, Any]) -> None:
    assert seen["card"].startswith("Classes: A, B, C. Tiles: 64 px at 0.5 µm/px. Licence: ")
    assert "Measured: " in seen["card"]


@slow
def test_cancel_ends_slidecam_and_the_next_run_brings_the_tiles(seen: dict[str, Any]) -> None:
    assert seen["cancelled"].startswith("Cancelled")
    assert seen["tiles after cancel"] == 0
    store = RunStore.open(seen["folder"] / "out" / seen["slide"].stem)
    assert seen["tiles"] == len(store.boxes)
    assert seen["classified"].startswith(f"{len(store.boxes)} tiles")
    assert seen["steps"] == 1
    assert seen["display"] == [True, pytest.approx(0.6), True, False]


@slow
def test_a_selection_replaces_its_own_tiles_and_no_run_of_the_slide(seen: dict[str, Any]) -> None:
    assert "Nothing with an area is selected" in seen["nothing selected"]
    whole = RunStore.open(seen["folder"] / "out" / seen["slide"].stem)
    part = RunStore.open(seen["folder"] / "out" / "slidecam-selection" / seen["slide"].stem)
    assert seen["selection"].startswith(f"{len(part.boxes)} tiles")
    left, top, width, height = whole.boxes.T
    inside = (abs(left + width / 2 - 320) <= 128) & (abs(top + height / 2 - 224) <= 96)
    assert seen["tiles after selection"] == len(whole.boxes) - inside.sum() + len(part.boxes)


@slow
def test_the_window_shows_and_gives_back_on_leaving(seen: dict[str, Any]) -> None:
    assert seen["choices"][:4] == [
        "Classes",
        "Probability of A",
        "Probability of B",
        "Probability of C",
    ]
    assert seen["map"] == ["prob_B", pytest.approx(0.4), 1, True]
    assert f"of {seen['tiles']} tiles have a probability of 0.40 or more" in seen["map words"]
    assert seen["the same map"], "a slider counts no tile again"
    assert seen["opacity"] == pytest.approx(0.3)
    assert seen["overlays"] == 1
    assert (seen["display after show"], seen["overlays after show"]) == ([False, 1, True, False], 0)


@slow
def test_a_click_on_the_slide_is_explained(seen: dict[str, Any]) -> None:
    width, height = seen["panel"]
    assert width > height > 50
    assert seen["left of panels"] == []


@slow
def test_annotations_teach_a_new_model_that_is_chosen(seen: dict[str, Any]) -> None:
    model = Path(seen["model"])
    assert str(model) in seen["taught"]
    assert "Of its own labels" in seen["taught"]
    card = json.loads((model / "card.json").read_text(encoding="utf-8"))
    assert card["class_names"] == ["A", "B", "C", "fat"]


@slow
def test_a_project_counts_what_failed_and_saves_the_rest(seen: dict[str, Any]) -> None:
    assert seen["project"] == "1 of 3 images failed: gone"
    assert seen["saved"] == ["open", "closed"]
    assert seen["tiles of the closed one"] == seen["tiles"]
    assert seen["servers"] == 1, "one that stays warm, and is stopped"


@slow
def test_regions_are_merged_and_all_of_ours_is_removed_alone(seen: dict[str, Any]) -> None:
    assert "'a third' is no number" in seen["no threshold"]
    assert seen["regions"] > 0
    assert f"{seen['regions']} regions" in seen["merged"]
    assert "Undo does not bring them back" in seen["remove"]
    assert seen["left"] == 2, "what the person drew"
    assert seen["display at the end"] == [False, 1, True, False]
    assert "größe 1.geojson" in seen["exported"]
