"""The base is light, and what an extra brings is missed in words."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

import slidecam
from slidecam.cli.app import app
from slidecam.errors import UsageError
from slidecam.events import SlideFailed, SlideFinished
from slidecam.explain.catalogue import CATALOGUE, slide_methods
from slidecam.extras import EXTRAS, brought, command_for, extra_with, imported, need
from slidecam.objects import Location
from slidecam.runs.spec import PredictSpec
from slidecam.sources import READERS, open_source
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typer.testing import Result

PACKAGE = Path(slidecam.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
MOST_PACKAGES = 20

MODULES = {
    "openslide": "openslide-python",
    "openslide_bin": "openslide-bin",
    "PIL": "pillow",
    "skimage": "scikit-image",
}
"""What is imported of packages that are called otherwise."""

ALONG = {
    "annotated_types": "pydantic",
    "fsspec": "torch",
    "torchvision": "timm",
    "yaml": "timm",
}
"""What is imported and is no package of the base's, with what always brings it."""

DICOM = bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\x00\x00\x00\x00" + bytes(200)


def names_of(requirements: list[str]) -> set[str]:
    """Return the distributions of requirements, without slidecam's own extras."""
    found = {re.split(r"[\[<>=;]", each)[0].strip() for each in requirements}
    return found - {"slidecam"}


def hide(monkeypatch: pytest.MonkeyPatch, extra: str) -> None:
    """Let nothing find an extra's modules, as if it were not installed."""
    for module in EXTRAS[extra].packages:
        if module not in ALONG:
            monkeypatch.setitem(sys.modules, module, None)


def called(*words: object) -> Result:
    return CliRunner().invoke(app, [*map(str, words), "--json"])


def refusal(result: Result) -> dict[str, Any]:
    """Return what a command refused with, in JSON; it exits as for a wrong call."""
    assert result.exit_code == 2, result.output
    said: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return said


def test_the_base_is_of_twenty_packages_at_most() -> None:
    assert len(names_of(PROJECT["dependencies"])) <= MOST_PACKAGES


def test_the_table_of_extras_is_that_of_the_project() -> None:
    extras = PROJECT["optional-dependencies"]
    assert EXTRAS.keys() == extras.keys() - {"all", "docs", "test"}
    for name, extra in EXTRAS.items():
        assert set(extra.packages.values()) == names_of(extras[name]), name
    (everything,) = extras["all"]
    assert set(re.findall(r"[a-z]+", everything)) - {"slidecam"} == EXTRAS.keys()


def at_the_top(tree: ast.Module) -> Iterator[str]:
    """Yield the modules that a module imports when it is itself imported."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{each.name}" for each in node.names)


def homes() -> dict[str, Path]:
    """Return the file of every module of slidecam."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts).removesuffix(".__init__")] = path
    return found


def loaded_by(roots: set[str]) -> dict[str, set[str]]:
    """Return what else than slidecam is imported with some modules, by who imports it."""
    files = homes()
    others: dict[str, set[str]] = {}
    waiting, known = list(roots), set[str]()
    while waiting:
        name = waiting.pop()
        if name in known or name not in files:
            continue
        known.add(name)
        waiting.append(name.rpartition(".")[0])
        wanted = set(at_the_top(ast.parse(files[name].read_text("utf-8"))))
        waiting += [each for each in wanted if each.startswith("slidecam")]
        foreign = {each.partition(".")[0] for each in wanted} - sys.stdlib_module_names
        others[name] = foreign - {"slidecam", "__future__"}
    return others


def test_what_is_public_and_every_command_import_no_more_than_the_base() -> None:
    roots = {f"slidecam.{room}" for room in slidecam._ROOMS.values()}
    roots |= {name for name in homes() if name.startswith("slidecam.cli")}
    roots |= {"slidecam.cli.facts", "slidecam.prediction.outputs", "slidecam.prediction.volumes"}
    loaded = loaded_by(roots)
    base = names_of(PROJECT["dependencies"]) | set(ALONG)
    beyond = {}
    for name, modules in loaded.items():
        more = {each for each in modules if MODULES.get(each, each) not in base}
        if more:
            beyond[name] = more
    assert beyond == {}
    assert {"slidecam.models.bundle", "slidecam.learning.training.trainer"} <= loaded.keys()


def test_what_slides_are_mapped_by_and_score_cam_need_no_extra() -> None:
    ours = {**slide_methods(), **{name: CATALOGUE[name] for name in ("score-cam", "ablation-cam")}}
    assert {name for name, method in ours.items() if method.packages} == set()


@pytest.mark.parametrize(
    ("name", "content", "extra", "words"),
    [
        ("a.dcm", DICOM, "dicom", "This DICOM cannot be read: pydicom"),
        ("IM0001", DICOM[132:], "dicom", "This DICOM cannot be read: pydicom"),
        ("a.nrrd", b"NRRD0004\ntype: short\n\n", "volumes", "This NRRD cannot be read: pynrrd"),
    ],
)
def test_a_file_whose_extra_is_missing_is_refused_in_words(
    tmp_path: Path,
    name: str,
    content: bytes,
    extra: str,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, extra)
    path = tmp_path / name
    path.write_bytes(content)
    said = refusal(called("info", path))
    assert said["problem"].startswith(words)
    assert str(path) in said["problem"]
    assert said["remedy"] == f'Run `pip install "slidecam[{extra}]"`.'


def test_a_nifti_is_refused_by_info_and_by_predict(
    tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "volumes")
    brain, out = sample_data / "brain.nii.gz", tmp_path / "out"
    said = refusal(called("info", brain))
    assert said["problem"].startswith("This NIfTI or MGZ cannot be read: nibabel is not installed")
    assert said["remedy"] == 'Run `pip install "slidecam[volumes]"`.'
    result = called("predict", brain, "-m", sample_data / "mri-bundle", "-o", out)
    failed = [line for line in result.stdout.splitlines() if '"SlideFailed"' in line]
    assert result.exit_code == 1
    assert "nibabel is not installed" in failed[0]
    assert "slidecam[volumes]" in failed[0]


def test_a_folder_is_classified_but_for_what_an_extra_would_read(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "dicom")
    folder = tmp_path / "ward 3"
    folder.mkdir()
    write_slide(folder / "one.tif", 360, 300)
    (folder / "Doe_Jane.dcm").write_bytes(DICOM)
    found = find_slides([folder])
    assert [slide.name == "one" for slide in found.slides].count(True) == 1
    spec = PredictSpec(batch=8, workers=1, heatmap="none")
    events = list(slidecam.predict(folder, tiny_bundle, tmp_path / "out", spec))
    assert [each.slide for each in events if isinstance(each, SlideFinished)] == ["one"]
    (failed,) = [each for each in events if isinstance(each, SlideFailed)]
    # Without pydicom nobody knows which part of the path names a patient.
    assert "Doe" not in f"{failed.slide} {failed.path}"
    assert failed.problem.startswith("DICOM cannot be read: pydicom is not installed")
    assert 'pip install "slidecam[dicom]"' in failed.remedy


def test_a_better_reader_that_is_missing_is_named_beside_what_another_one_reads(
    tmp_path: Path, write_slide: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_slide(tmp_path / "one.tif", 360, 300)
    first = replace(READERS["tiffslide"], rank=lambda _probe: 90)
    monkeypatch.setitem(READERS.__dict__, "_entries", {**READERS, "tiffslide": first})
    hide(monkeypatch, "remote")
    with open_source(path) as source:
        (said,) = [each for each in source.facts.readings if "tiffslide" in each]
    assert said.startswith("Reader tiffslide would be tried for this file too, and is not in")
    assert 'pip install "slidecam[remote]"' in said


def test_explanations_of_an_extra_are_refused_before_anything_is_read(
    tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "explain")
    theirs = [name for name, method in CATALOGUE.items() if method.extra == "explain"]
    assert {"lime", "occlusion", "kpca-cam"} <= set(theirs)
    slide, bundle = sample_data / "slide.tif", sample_data / "bundle"
    for name in theirs:
        call = ("explain", slide, "-m", bundle, "-o", tmp_path / "o", "--methods", name)
        said = refusal(called(*call))
        assert said["problem"].startswith(f"Method {name} cannot be used: ")
        assert said["remedy"] == 'Run `pip install "slidecam[explain]"`.'
    assert not (tmp_path / "o").exists()


def test_what_ends_with_figures_is_refused_before_it_begins(
    tmp_path: Path, sample_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "train")
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    said = refusal(called("evaluate", sample_data / "bundle", "--data", data))
    assert said["problem"].startswith("Nothing can be trained or evaluated: scikit-learn and imb")
    assert said["remedy"] == 'Run `pip install "slidecam[train]"`.'
    trained = called("train", "busi-simple-cnn", "--data", data, "-o", out)
    assert refusal(trained)["remedy"] == said["remedy"]
    assert not out.exists()


@pytest.mark.parametrize(
    ("extra", "words", "call"),
    [
        ("server", "Nothing can be served", ("serve",)),
        (
            "cluster",
            "A cluster cannot be used",
            ("predict", "{slide}", "-m", "{bundle}", "-o", "{out}", "--cluster", "local:1"),
        ),
        (
            "parquet",
            "tiles.parquet cannot be written",
            ("predict", "{slide}", "-m", "{bundle}", "-o", "{out}", "--outputs", "tiles.parquet"),
        ),
        (
            "openvino",
            "Backend openvino cannot be used",
            ("predict", "{slide}", "-m", "{bundle}", "-o", "{out}", "--backend", "openvino"),
        ),
        (
            "onnx",
            "Nothing can be exported to ONNX",
            ("export-onnx", "{bundle}", "-o", "{out}"),
        ),
    ],
)
def test_a_command_whose_extra_is_missing_says_what_installs_it(
    extra: str,
    words: str,
    call: tuple[str, ...],
    tmp_path: Path,
    sample_data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, extra)
    places = {
        "slide": sample_data / "slide.tif",
        "bundle": sample_data / "bundle",
        "out": tmp_path / "out",
    }
    said = refusal(called(*(word.format(**places) for word in call)))
    assert said["problem"].startswith(f"{words}: ")
    assert f'`pip install "slidecam[{extra}]"`' in said["remedy"]
    assert not (tmp_path / "out").exists()


def test_a_url_whose_package_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(UsageError, match=r"^This URL cannot be reached: .*gcsfs") as refused:
        Location("gs://bucket/x").files()
    assert refused.value.remedy.startswith('Run `pip install "slidecam[remote]"`')


def test_doctor_says_what_each_extra_is_for_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for each in EXTRAS:
        hide(monkeypatch, each)
    result = called("doctor")
    rows = {row["check"]: row for row in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0, [row for row in rows.values() if row["state"] == "PROBLEM"]
    for name, extra in EXTRAS.items():
        row = rows[f"extra {name}"]
        assert (row["state"], row["remedy"]) == ("absent", f'pip install "slidecam[{name}]"')
        assert row["detail"].startswith(extra.help)
    assert rows["reader dicom"]["state"] == "absent"


def test_a_module_of_an_extra_is_imported_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert brought("nibabel.orientations", "volumes").aff2axcodes is not None
    hide(monkeypatch, "volumes")
    later = brought("nibabel.orientations", "volumes")
    with pytest.raises(UsageError, match=r"^Volumes cannot be read or written: nibabel is"):
        later.aff2axcodes  # noqa: B018  (it is looked up)
    with pytest.raises(UsageError, match=r"nowhere_at_all is not .*`pip install nowhere_at_all`"):
        imported("nowhere_at_all.room")


def test_what_is_missing_is_counted_and_the_first_extra_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide(monkeypatch, "dicom")
    with pytest.raises(UsageError, match="pydicom, python-gdcm and nibabel are not installed"):
        need("dicom")
    assert extra_with(["nibabel"]) == "volumes"
    assert extra_with(["numpy"]) == ""
    assert command_for(["numpy", "scipy"]) == "pip install numpy scipy"


BASE_ALONE = """
import sys
sys.modules.update(dict.fromkeys({hidden}))
from slidecam.cli import main
sys.argv = ["slidecam", "demo", "--out", {out!r}]
main()
"""


@pytest.mark.slow
def test_the_demo_runs_where_no_extra_is_installed(tmp_path: Path) -> None:
    modules = {module for extra in EXTRAS.values() for module in extra.packages}
    code = BASE_ALONE.format(hidden=sorted(modules - ALONG.keys()), out=str(tmp_path / "demo"))
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "demo" / "slide" / "overview.png").is_file()
