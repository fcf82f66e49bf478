"""The manifest: what is installed stands at the top level, and everything in it is there."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import npe2
import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest

from slidecam.plugin import reading
from slidecam.plugin.areas import shapes_layer
from slidecam.plugin.overlays import class_layer, heat_layers
from slidecam.plugin.placing import Placing
from slidecam.plugin.reading import with_patterns

if TYPE_CHECKING:
    from slidecam.plugin.open_run import ShownRun

TOP = Path(__file__).parents[2] / "napari.yaml"


def manifest() -> PluginManifest:
    return PluginManifest.from_file(TOP)


def test_npe2_finds_the_installed_manifest_and_it_is_the_top_level_one() -> None:
    (entry,) = entry_points(group="napari.manifest", name="slidecam")
    module, _, name = entry.value.partition(":")
    spec = find_spec(module)
    assert spec is not None
    (installed,) = [Path(folder) / name for folder in spec.submodule_search_locations or []]
    assert installed.read_text(encoding="utf-8") == TOP.read_text(encoding="utf-8"), (
        "install again: pip install -e ."
    )
    found = PluginManifest.from_distribution("slidecam")
    assert found.contributions == manifest().contributions


def test_the_manifest_is_valid_and_named_as_the_distribution() -> None:
    found = manifest()
    found.validate_imports()
    assert found.name == "slidecam"


@pytest.mark.parametrize(
    "command", manifest().contributions.commands or [], ids=lambda command: command.id
)
def test_every_command_leads_to_something_callable(command: object) -> None:
    module, _, name = str(getattr(command, "python_name", "")).partition(":")
    assert callable(getattr(import_module(module), name))


def test_napari_asks_for_what_the_readers_read_and_leaves_pictures_to_others() -> None:
    text = TOP.read_text(encoding="utf-8")
    assert with_patterns(text) == text, "make manifest"
    (reader,) = manifest().contributions.readers or []
    assert {"*.svs", "*.nii.gz", "*.zarr", "run.json"} < set(reader.filename_patterns)
    assert not {"*.png", "*.jpg"} & set(reader.filename_patterns)


def test_a_reader_that_comes_and_one_that_goes_change_one_line_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = TOP.read_text(encoding="utf-8")
    without = text.replace("        - '*.ndpi'\n", "        - '*.gone'\n")
    assert sorted(with_patterns(without).splitlines()) == sorted(text.splitlines())
    monkeypatch.setattr(reading, "suffixes_for_viewers", lambda: (".czi",))
    changed = with_patterns(text)
    assert "        - '*.czi'\n" in changed
    assert "*.svs" not in changed


def test_every_command_is_contributed_somewhere() -> None:
    found = manifest().contributions
    listed = [
        *(found.readers or []),
        *(found.writers or []),
        *(found.widgets or []),
        *(found.sample_data or []),
    ]
    used = {getattr(each, "command", None) for each in listed}
    assert {command.id for command in found.commands or []} == used


@pytest.fixture
def manager() -> PluginManager:
    """Return npe2's manager, which knows what is installed."""
    found = PluginManager.instance()
    found.discover()
    return found


def test_napari_opens_slides_runs_and_folders_through_the_manifest(
    manager: PluginManager, small_slide: Path, small_run: ShownRun
) -> None:
    assert "slidecam" in manager
    for path, layers in ((small_slide, 1), (small_run.folder, 3), (small_run.heatmaps[0], 3)):
        assert len(npe2.read([str(path)], plugin_name="slidecam", stack=False)) == layers


def test_the_menus_samples_open(manager: PluginManager) -> None:
    samples = {
        each.key: each
        for name, found in manager.iter_sample_data()
        if name == "slidecam"
        for each in found
    }
    assert set(samples) == {"slide", "run"}
    assert len(samples["slide"].open()) == 1
    names = [meta["name"] for _data, meta, _kind in samples["run"].open()]
    assert names[:2] == ["slide", "slide: class"]
    assert names[2:] == ["slide: CAM tumour"]


@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".png"])
def test_napari_saves_the_classes_through_the_manifest(
    manager: PluginManager, small_run: ShownRun, tmp_path: Path, suffix: str
) -> None:
    assert "slidecam" in manager
    path = tmp_path / f"saved{suffix}"
    assert npe2.write(str(path), [class_layer(small_run)], plugin_name="slidecam") == [str(path)]
    assert path.stat().st_size > 100


def test_napari_saves_heatmaps_and_annotations_through_the_manifest(
    manager: PluginManager, small_run: ShownRun, tmp_path: Path
) -> None:
    assert "slidecam" in manager
    npe2.write(
        str(tmp_path / "heat.zarr"),
        [heat_layers(small_run.heatmaps[0], small_run)[0]],
        plugin_name="slidecam",
    )
    assert (tmp_path / "heat.zarr" / ".zattrs").exists()
    ring = np.array([[10.0, 20], [10, 60], [40, 60]])
    drawn = shapes_layer("drawn", [ring], ["tumour"], {}, Placing(None))
    npe2.write(str(tmp_path / "drawn.geojson"), [drawn], plugin_name="slidecam")
    assert "tumour" in (tmp_path / "drawn.geojson").read_text()
