"""What releases are made of agrees with the project: conda's recipe, images, PyPI's README."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
RECIPE = yaml.safe_load((ROOT / "conda/recipe/meta.yaml").read_text("utf-8"))
README = (ROOT / "README.md").read_text("utf-8")
IMAGES = ("Dockerfile", "cluster/Dockerfile")

IN_CONDA = {
    "dask[array]>=2024.12": "dask-core >=2024.12",
    "matplotlib>=3.9": "matplotlib-base >=3.9",
    "openslide-bin>=4.0.0.6": "openslide >=4.0.0",
    "torch>=2.4": "pytorch >=2.4",
}
"""What conda calls otherwise: the last part of openslide-bin's version counts its builds."""


def test_the_conda_recipe_needs_what_the_project_needs() -> None:
    needed = [f"python{PROJECT['requires-python']}", *PROJECT["dependencies"]]
    wanted = [IN_CONDA.get(each, each.replace(">=", " >=")) for each in needed]
    assert sorted(RECIPE["requirements"]["run"]) == sorted(wanted)


def test_the_conda_recipe_is_of_this_version_command_and_licence() -> None:
    assert RECIPE["package"] == {"name": PROJECT["name"], "version": PROJECT["version"]}
    (command, entry), *others = PROJECT["scripts"].items()
    assert RECIPE["build"]["entry_points"] == [f"{command} = {entry}"]
    assert not others
    assert RECIPE["about"]["license"] == PROJECT["license"]
    assert RECIPE["about"]["license_file"] == PROJECT["license-files"]
    assert RECIPE["about"]["summary"] == PROJECT["description"]
    assert RECIPE["build"]["noarch"] == "python"


def instructions(name: str) -> list[tuple[str, str]]:
    """Return the instructions of an image's last stage, each with its words."""
    text = (ROOT / name).read_text("utf-8").replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line and line[0] != "#"]
    said = [(verb, words.strip()) for verb, _, words in lines]
    starts = [place for place, (verb, _) in enumerate(said) if verb == "FROM"]
    return said[starts[-1] :]


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_a_user_of_its_own(name: str) -> None:
    users = [words for verb, words in instructions(name) if verb == "USER"]
    assert users[-1] == "slidecam"
    assert "useradd --create-home slidecam" in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_image_is_the_command_and_the_clusters_stands_on_it() -> None:
    said = dict(instructions("Dockerfile"))
    assert said["ENTRYPOINT"] == '["slidecam"]'
    assert dict(instructions("cluster/Dockerfile"))["FROM"] == "slidecam"


@pytest.mark.parametrize("name", [*IMAGES, "cluster/slidecam.def"])
def test_an_image_takes_extras_that_there_are(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    listed = re.findall(r"EXTRAS=([a-z,]+)", text)
    listed += re.findall(r"(?:/src|slidecam)\[([a-z,]+)\]", text)
    named = {extra for each in listed for extra in each.split(",")}
    assert named
    assert named <= PROJECT["optional-dependencies"].keys()


class Interface:
    """What hatchling's hooks inherit; hatchling itself is in a build's own environment only."""

    def __init__(self, root: str) -> None:
        self.root = root


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the hook that gives PyPI its README."""
    for name, kind in (("builders.hooks", "Build"), ("metadata", "Metadata")):
        stand_in = ModuleType(f"hatchling.{name}.plugin.interface")
        setattr(stand_in, f"{kind}HookInterface", Interface)
        monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ReadmeHook(str(ROOT))


def test_without_an_address_the_readme_is_as_it_stands(hook: Any) -> None:
    metadata: dict[str, Any] = {}
    hook.update(metadata)
    assert metadata == {"readme": {"content-type": "text/markdown", "text": README}}
    assert PROJECT["dynamic"] == ["readme"]


def test_with_an_address_every_link_and_picture_of_the_readme_is_absolute(hook: Any) -> None:
    metadata: dict[str, Any] = {"urls": {"Source": "https://example.org/us/slidecam/"}}
    hook.update(metadata)
    text = metadata["readme"]["text"]
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(targets) == len(re.findall(r"\]\(([^)\s]+)\)", README))
    assert all(each.startswith(("https://", "#")) for each in targets)
    assert "](https://example.org/us/slidecam/raw/main/docs/overview.png)" in text
    assert "[tutorial](https://example.org/us/slidecam/blob/main/docs/tutorials/volume.md)" in text


def test_the_napari_hub_finds_what_it_reads() -> None:
    assert "Framework :: napari" in PROJECT["classifiers"]
    manifest = yaml.safe_load((ROOT / "napari.yaml").read_text("utf-8"))
    assert manifest["name"] == PROJECT["name"]
    assert manifest["visibility"] == "public"
    assert manifest["display_name"]
    assert manifest["categories"]
    assert PROJECT["description"]
