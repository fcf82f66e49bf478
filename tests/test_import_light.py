"""What merely importing slidecam loads."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import slidecam

TESTS = str(Path(__file__).parent)

EVENTS = (
    "BatchDone",
    "Finished",
    "Planned",
    "SlideFailed",
    "SlideFinished",
    "Started",
    "TileFailed",
    "Waiting",
    "Warned",
)


def loaded_after(statement: str) -> set[str]:
    code = (
        f"import sys; {statement}; print(' '.join(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  (our own interpreter)
    return set(done.stdout.split())


def test_importing_slidecam_loads_neither_torch_nor_qt() -> None:
    heavy = {"torch", "timm", "PyQt6", "PySide6", "qtpy", "napari", "zarr", "dask", "numpy"}
    assert not heavy & loaded_after("import slidecam")


def test_the_pixel_wing_loads_no_torch() -> None:
    rooms = (
        "slidecam.sources, slidecam.foreground, slidecam.tiling, slidecam.streaming,"
        " slidecam.store, slidecam.heatmap"
    )
    assert not {"torch", "timm"} & loaded_after(f"import {rooms}")


def test_the_fixtures_of_all_rooms_load_no_torch() -> None:
    assert "torch" not in loaded_after(f"sys.path.insert(0, {TESTS!r}); import conftest")


def test_help_loads_no_torch() -> None:
    assert not {"torch", "zarr", "dask", "numpy"} & loaded_after("import slidecam.cli")


def test_naparis_dock_is_opened_before_what_computes_is_loaded() -> None:
    heavy = {"torch", "timm", "sklearn", "matplotlib"}
    assert not heavy & loaded_after("import slidecam.plugin.dock")


COMMAND = """
import sys
from slidecam.cli import main
sys.argv = ["slidecam", *sys.argv[1:]]
try:
    main()
finally:
    print(*sys.modules, file=sys.stderr)
"""

HEAVY = {"torch", "timm", "sklearn", "matplotlib", "pandas", "dask", "skimage", "scipy"}
"""What no answer without a network is worth waiting for."""

SLIDES = {"zarr", "pydicom", "nibabel", "fsspec"}
"""What opens slides and runs, and is not waited for where none is opened."""


def answered(command: str, tmp_path: Path) -> tuple[str, set[str]]:
    """Return what a command says, and the packages that it has loaded by then."""
    sample = Path(slidecam.__file__).parents[2] / "sample_data"
    words = command.format(slide=sample / "slide.tif", sample=sample, tmp=tmp_path).split()
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, check=False
    )
    *said, loaded = done.stderr.rstrip().split("\n")
    return done.stdout + "\n".join(said), {name.partition(".")[0] for name in loaded.split()}


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("models {sample}", "Toy"),
        ("methods", "gradcam++"),
        ("legend {tmp}", "There is no slide's run here"),
        ("compare {tmp} {tmp}", "There is no slide's run here"),
        ("summary {tmp}", "There is no manifest.json here"),
        ("fine-tune {tmp} -o {tmp}/out", "There is no slide's run here"),
        ("predict {tmp}/no.tif -m {sample}/bundle -o {tmp}/out", "There is no such file"),
        ("predict {slide} -m {tmp}/none -o {tmp}/out", "none"),
        ("predict {slide} -m {sample}/bundle -o {tmp}/out --overlap 1.5", "overlap"),
        ("predict {slide} -m {sample}/bundle -o {tmp}/out --mask {tmp}/none", "--mask"),
        ("predict {slide} -m {sample}/bundle -o {slide}", "is a file"),
        ("predict {tmp} -m {sample}/bundle -o {tmp}/out --recursive", "No slide was found"),
        ("explain {tmp}/no.tif -m {sample}/bundle -o {tmp}/out", "There is no such file"),
        ("explain {slide} -m {tmp} -o {tmp}/out", "no card.json"),
        ("explain {slide} -m {sample}/bundle -o {tmp}/out --methods foo", "called 'foo'"),
        ("explain {slide} -m {sample}/bundle -o {tmp}/out --at 1,x", "--at '1,x'"),
        ("explain {tmp} -m {sample}/bundle -o {tmp}/out", "would lie in what is read"),
        ("faithfulness {tmp}/no -m {sample}/bundle -o {tmp}/out", "There is no such file"),
        ("evaluate {sample}/bundle --data {tmp}/no", "There is no such file"),
        ("evaluate {tmp} --data {sample}", "no card.json"),
        ("evaluate {sample}/bundle --data {tmp} -o {tmp}/out", "would lie in what is read"),
        ("train {tmp}/no.toml --data {tmp} -o {tmp}/out", "There is no such file"),
        ("bundle {tmp}/no.pth -o {tmp}/out --classes a,b", "There is no such file"),
    ],
)
def test_what_opens_nothing_is_answered_without_what_opens_and_computes(
    command: str, said: str, tmp_path: Path
) -> None:
    words, loaded = answered(command, tmp_path)
    assert said in words
    assert not loaded & (HEAVY | SLIDES)


def test_a_slide_is_described_without_what_computes(tmp_path: Path) -> None:
    words, loaded = answered("info {slide}", tmp_path)
    assert "TIFF" in words
    assert not loaded & (HEAVY | {"zarr"})


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("card {sample}/bundle -o {tmp}/card.html", "Toy"),
        ("export {tmp} --to qupath", "slidecam predict"),
        ("info {sample}/brain.nii.gz", "voxels"),
        ("tiles {tmp}/no.tif --annotations {sample} -o {tmp}/out", "There is no such file"),
    ],
)
def test_what_needs_no_network_is_answered_without_torch(
    command: str, said: str, tmp_path: Path
) -> None:
    words, loaded = answered(command, tmp_path)
    assert said in words
    assert not loaded & {"torch", "timm"}


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert slidecam.__all__ == sorted(slidecam.__all__)
    assert set(slidecam.__all__) == {*slidecam._ROOMS, "events", "__version__"}


@pytest.mark.parametrize("name", slidecam.__all__)
def test_every_public_name_imports_and_says_what_it_is(name: str) -> None:
    assert inspect.getdoc(getattr(slidecam, name))


def test_what_the_readme_uses_is_public() -> None:
    verbs = {"evaluate", "explain_tiles", "fine_tune", "predict", "train"}
    assert verbs | {"Run", "events", *EVENTS} <= set(slidecam.__all__)
    assert slidecam.__version__ == version("slidecam")
    assert {name: getattr(slidecam, name) for name in EVENTS} == {
        name: getattr(slidecam.events, name) for name in EVENTS
    }


def test_a_public_name_is_looked_up_when_it_is_used() -> None:
    assert "torch" not in loaded_after("import slidecam; slidecam.__version__, slidecam.Planned")


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(slidecam, "no_such_name")


PROMISED = """
import torch
from slidecam.models.light_timm import timm
timm.create_model("test_resnet", num_classes=2)(torch.zeros(1, 3, 64, 64))
assert "torch._dynamo" not in sys.modules
assert torch.compiler.disable.__module__ == "torch.compiler"
from torchvision.ops import roi_align
box = torch.tensor([[0.0, 0, 0, 4, 4]])
assert roi_align(torch.ones(1, 1, 8, 8), box, 1).item() == 1
from timm.layers.typing import disable_compiler
assert disable_compiler(lambda value, times=2: value * times)(3, times=4) == 12
assert "torch._dynamo" in sys.modules"""


def test_a_network_is_run_without_torchs_compiler_and_what_was_promised_is_kept() -> None:
    assert {"timm", "torchvision"} <= loaded_after(PROMISED)
