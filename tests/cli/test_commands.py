"""The commands as they are typed: what they print, write and return."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import signal
import sys
from datetime import datetime
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
import site_pages
import tifffile
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import slidecam as slidecam_package
from slidecam.class_names import listed_names
from slidecam.cli import progress
from slidecam.cli.app import app
from slidecam.cli.progress import EVERY_LINE, EventBars, EventWords
from slidecam.errors import CardError, UsageError
from slidecam.events import BatchDone, Planned, SlideFinished
from slidecam.models import open_bundle
from slidecam.sources import discovery
from slidecam.store import RunStore
from stopping import PATIENCE, stopped_process

if TYPE_CHECKING:
    from collections.abc import Callable

    from typer.testing import Result

COMMIT = "slidecam.store.run_store:RunStore.commit"
"""Where a batch's results are written."""

DECODE = "slidecam.streaming:_Cutter.decode"
"""Where a chunk of a slide is read."""


def slidecam(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def in_fours(slide: Path, bundle: Path, out: Path) -> list[str]:
    """Return the call that classifies a slide, four tiles at a time."""
    return [
        *("predict", str(slide), "--model", str(bundle)),
        *("--batch", "4", "--out", str(out)),
    ]


def json_lines(result: Result) -> list[dict[str, Any]]:
    """Return what was printed; whatever happened is as the site's schema says."""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    for line in lines:
        if "event" in line:
            jsonschema.validate(line, site_pages.event_schema())
    return lines


def test_predict_tells_its_events_as_json_lines(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    result = slidecam(
        "predict", slide, "--model", tiny_bundle, "--out", tmp_path / "out", "--json", "--batch", 32
    )
    told = json_lines(result)
    assert result.exit_code == 0
    assert [line["event"] for line in told] == [
        "Started",
        "Planned",
        "BatchDone",
        "BatchDone",
        "BatchDone",
        "SlideFinished",
        "Finished",
    ]
    assert told[0]["slidecam"] == slidecam_package.__version__
    assert (told[0]["slides"], told[0]["found"], told[0]["command"]) == (1, 1, {"batch": 32})
    assert told[1]["spacing"] == pytest.approx(0.5)
    times = [datetime.fromisoformat(line["time"]) for line in told]
    assert times == sorted(times)
    assert all(each.tzinfo is not None for each in times)
    assert (told[-1]["counts"], told[-1]["tiles"]) == ({"done": 1}, told[1]["tiles"])
    assert told[-1]["manifest"] == str(tmp_path / "out" / "manifest.json")


def test_a_log_has_a_line_with_its_time_for_whatever_happens_and_grows(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide, log = write_slide(tmp_path / "one.tif"), tmp_path / "logs" / "night.log"
    call = ["predict", slide, "--model", tiny_bundle, "--out", tmp_path / "out", "--log", log]
    assert slidecam(*call).exit_code == 0
    lines = log.read_text("utf-8").splitlines()
    assert slidecam(*call).exit_code == 2
    longer = log.read_text("utf-8").splitlines()
    assert longer[: len(lines)] == lines
    assert "Error: There is a run of one here already" in longer[len(lines)]
    for line in longer:
        assert datetime.fromisoformat(line.partition(" ")[0]).tzinfo is not None
    said = [line.partition(" ")[2] for line in lines]
    assert said[0].startswith(f"slidecam {slidecam_package.__version__}: 1 slide by tiny → ")
    assert said[1].startswith("one: ")
    assert said[2].startswith("one done: ")
    assert said[-1].startswith("1 slide, 0 failed.")


def test_a_log_that_cannot_be_written_is_refused_before_the_first_slide(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    for log in (slide / "night.log", tmp_path):
        done = slidecam(
            "predict", slide, "--model", tiny_bundle, "--out", tmp_path / "out", "--log", log
        )
        assert done.exit_code == 2
        assert "--log" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_log_within_what_is_read_is_refused_by_the_options_name(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    masks, bundle, out = tmp_path / "masks", tiny_bundle, tmp_path / "out"
    masks.mkdir()
    call = ["predict", tmp_path, "-m", bundle, "-o", out, "--mask", masks]
    done = slidecam(*call, "--log", masks / "night.log")
    assert done.exit_code == 2
    assert "Pass another --log" in " ".join(done.stderr.split())


def test_predict_shows_people_what_it_did(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    result = slidecam("predict", slide, "--model", tiny_bundle, "--out", tmp_path / "out")
    assert result.exit_code == 0
    assert "one done" in result.stderr
    assert "report.html" in result.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--model", "no-such-bundle"], 2, "no-such-bundle"),
        (["--overlap", "1.0"], 2, "overlap"),
        (["--device", "cuda:7"], 2, "cuda:7"),
        (["--device", "abacus"], 2, "abacus"),
        (["--heatmap-class", "Z"], 2, "no class 'Z'"),
        (["--mask", "no-mask.png"], 2, "no-mask.png"),
        (["--mpp", "0.0001"], 2, "0.0001"),
        (["--mpp-csv", "no.csv"], 2, "no.csv"),
        (["--min-tissue", "nan"], 2, "min_tissue"),
        (["--heatmap", "none", "--heatmap-class", "A"], 2, "--heatmap none"),
        (["--reader", "crystal-ball"], 2, "crystal-ball"),
    ],
)
def test_a_wrong_call_ends_with_a_word_and_no_traceback(
    tmp_path: Path,
    tiny_bundle: Path,
    write_slide: Callable[..., Path],
    arguments: list[str],
    code: int,
    told: str,
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    model = [] if "--model" in arguments else ["--model", str(tiny_bundle)]
    result = slidecam("predict", slide, *model, "--out", tmp_path / "out", "--json", *arguments)
    assert result.exit_code == code
    assert isinstance(result.exception, SystemExit)
    said = " ".join(line.get("problem", "") + line.get("remedy", "") for line in json_lines(result))
    assert told in said


def test_a_second_call_asks_for_resume_or_overwrite(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    call = [
        "predict",
        write_slide(tmp_path / "one.tif"),
        "--model",
        tiny_bundle,
        "--out",
        tmp_path / "out",
    ]
    assert slidecam(*call).exit_code == 0
    refused = slidecam(*call)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    assert slidecam(*call, "--resume").exit_code == 0
    assert slidecam(*call, "--overwrite").exit_code == 0
    both = slidecam(*call, "--resume", "--overwrite")
    assert both.exit_code == 2
    assert "contradict" in both.stderr
    # A folder whose manifest is lost is compared as one, and the remedy is the folder's.
    (tmp_path / "out" / "manifest.json").unlink()
    compared = slidecam("compare", tmp_path / "out", tmp_path / "out")
    assert compared.exit_code == 2
    assert "slidecam report" in " ".join(compared.stderr.split())


def test_a_process_killed_at_once_is_resumed_and_ends_bit_identical(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif", 1200, 900)
    call = ["predict", str(slide), "--model", str(tiny_bundle), "--batch", "8", "--json"]
    call += ["--outputs", "tiles.csv", "--out"]
    assert slidecam(*call, tmp_path / "whole").exit_code == 0
    with stopped_process([*call, str(tmp_path / "parts")], (COMMIT, 4)) as process:
        process.kill()
    assert RunStore.open(tmp_path / "parts" / "one").pending_batches()
    resumed = slidecam(*call, tmp_path / "parts", "--resume")
    assert resumed.exit_code == 0
    planned = json_lines(resumed)[1]
    assert planned["pending"] == planned["tiles"] - 3 * 8
    whole, parts = (RunStore.open(tmp_path / folder / "one") for folder in ("whole", "parts"))
    assert whole.probabilities.tobytes() == parts.probabilities.tobytes()
    assert whole.maps is not None
    assert parts.maps is not None
    assert np.asarray(whole.maps[:]).tobytes() == np.asarray(parts.maps[:]).tobytes()


@pytest.mark.parametrize("name", sorted({"SIGINT", "SIGTERM", "SIGHUP"} & set(dir(signal))))
def test_a_stop_from_outside_is_clean_and_says_how_to_go_on(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], name: str
) -> None:
    call = in_fours(write_slide(tmp_path / "one.tif"), tiny_bundle, tmp_path / "out")
    with stopped_process([*call, "--json"], (COMMIT, 2)) as process:
        process.send_signal(signal.Signals[name])
        rest, errors = process.communicate("go on")
    assert process.returncode == 3
    assert "Traceback" not in errors
    assert json.loads(rest.splitlines()[-1])["event"] == "Stopped"
    assert "--resume" in rest
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["run"]["exit_code"] == 3
    assert [(slide["slide"], slide["status"]) for slide in manifest["slides"]] == [
        ("one", "unfinished")
    ]


def test_a_read_that_never_returns_holds_up_no_stop(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    call = in_fours(write_slide(tmp_path / "one.tif"), tiny_bundle, tmp_path / "out")
    with stopped_process(call, (DECODE, 1)) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [each["status"] for each in manifest["slides"]] == ["unfinished"]


def test_a_second_signal_ends_at_once(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    call = in_fours(write_slide(tmp_path / "one.tif"), tiny_bundle, tmp_path / "out")
    with stopped_process(call, (COMMIT, 2)) as process:
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in {128 + signal.SIGTERM, 128 + signal.SIGINT}


def test_spacings_from_a_csv_are_used(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    (tmp_path / "mpp.csv").write_text("slide,mpp\none,0.25\n")
    result = slidecam(
        "predict",
        slide,
        "--model",
        tiny_bundle,
        "--out",
        tmp_path / "out",
        "--mpp-csv",
        tmp_path / "mpp.csv",
        "--json",
    )
    told = json_lines(result)
    assert told[1]["tile_px"] == 128
    assert told[2]["event"] == "Warned"


def test_info_tells_what_a_slide_is(tmp_path: Path, write_slide: Callable[..., Path]) -> None:
    result = slidecam("info", write_slide(tmp_path / "one.tif"), "--json")
    told = json.loads(result.stdout)
    assert (told["reader"], told["size_px"], len(told["levels"])) == ("tiff", [700, 500], 3)
    assert told["spacing_um_px"] == pytest.approx([0.5, 0.5])


def test_info_tells_of_the_volume_and_the_axis_that_are_named(
    tmp_path: Path, write_volume: Any
) -> None:
    path = write_volume.nifti(tmp_path / "four.nii", np.ones((7, 5, 4, 3), np.uint8))
    result = slidecam("info", path, "--volume", "2", "--axis", "coronal", "--json")
    facts = json.loads(result.stdout)
    assert facts["slices"].startswith("5 coronal")
    assert "It holds 3 volumes: volume 2 is read." in facts["notes"]
    beyond = slidecam("info", path, "--volume", "3")
    assert beyond.exit_code == 1
    assert "There is no volume '3' among its 3" in beyond.stderr


def test_info_reads_all_of_it_only_where_it_is_to_check(
    tmp_path: Path, write_slide: Callable[..., Path], write_volume: Any
) -> None:
    sound = slidecam("info", write_slide(tmp_path / "one.tif"), "--check", "--json")
    assert sound.exit_code == 0
    assert json.loads(sound.stdout)["unreadable"] == []
    voxels = np.random.default_rng(2).integers(0, 900, (20, 18, 9)).astype(np.int16)
    torn = write_volume.nifti(tmp_path / "torn.nii.gz", voxels)
    torn.write_bytes(torn.read_bytes()[:-900])
    assert slidecam("info", torn).exit_code == 0
    found = slidecam("info", torn, "--check", "--json")
    assert found.exit_code == 3
    (said,) = json.loads(found.stdout)["unreadable"]
    assert said.startswith("Slice 0, slice 1, slice 2, slice 3, slice 4 and 4 more: Cannot decode")
    series = write_volume.dicom(tmp_path / "series", voxels)
    (series / "IM0000.dcm").write_bytes((series / "IM0000.dcm").read_bytes()[:-50])
    one = slidecam("info", series, "--check", "--json")
    assert one.exit_code == 3
    assert json.loads(one.stdout)["unreadable"][0].startswith("Slice 0: ")


def test_info_of_no_slide_says_what_the_file_is(tmp_path: Path) -> None:
    (tmp_path / "slide.ndpi").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
    )
    result = slidecam("info", tmp_path / "slide.ndpi")
    assert result.exit_code == 1
    assert "git lfs pull" in result.stderr.replace("\n", " ")


def test_models_lists_bundles_and_what_is_wrong_with_others(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "card.json").write_text("{}")
    told = json.loads(slidecam("models", tiny_bundle.parent, tmp_path, "--json").stdout)["bundles"]
    assert [row["name"] for row in told] == ["tiny", "(unusable)"]
    assert "card.json" in told[1]["problem"]


def test_models_says_what_was_measured_of_each(tmp_path: Path, tiny_bundle: Path) -> None:
    copytree(tiny_bundle, tmp_path / "known")
    path = tmp_path / "known" / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    card["provenance"]["measured"] = {"test": {"accuracy": {"value": 0.9}}}
    path.write_text(json.dumps(card), encoding="utf-8")
    (row,) = json.loads(slidecam("models", tmp_path, "--json").stdout)["bundles"]
    assert row["measured"] == "accuracy 0.900 on the test part"


def test_bundle_makes_a_bundle_that_predicts(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    weights = tiny_bundle / "model.safetensors"
    call = [
        "bundle",
        "--arch",
        "slidecam/pocket_resnet",
        "--weights",
        weights,
        "--classes",
        "X,Y,Z",
        "--mpp",
        0.5,
    ]
    made = slidecam(
        *call, "--tile", 64, "--arch-arg", "widths=[8,12,16]", "--out", tmp_path / "made", "--json"
    )
    assert made.exit_code == 0
    assert open_bundle(tmp_path / "made").card.class_names == ("X", "Y", "Z")
    slide = write_slide(tmp_path / "one.tif")
    assert (
        slidecam(
            "predict", slide, "--model", tmp_path / "made", "--out", tmp_path / "out"
        ).exit_code
        == 0
    )
    with (tmp_path / "out" / "one" / "tiles.csv").open() as lines:
        assert next(csv.reader(lines))[-3:] == ["prob_X", "prob_Y", "prob_Z"]


def test_bundle_takes_class_names_from_a_file(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "names.txt").write_text("one, with a comma\ntwo\nthree\n")
    call = [
        "bundle",
        "--arch",
        "slidecam/pocket_resnet",
        "--weights",
        tiny_bundle / "model.safetensors",
    ]
    call += [
        "--arch-arg",
        "widths=[8,12,16]",
        "--classes",
        f"@{tmp_path / 'names.txt'}",
        "--mpp",
        "0.5",
        "--tile",
        "64",
    ]
    assert slidecam(*call, "--out", tmp_path / "made").exit_code == 0
    assert open_bundle(tmp_path / "made").card.class_names[0] == "one, with a comma"


@pytest.mark.parametrize(
    "change",
    [
        ["--classes", "A,B"],
        ["--arch", "resnet5000"],
        ["--mean", "0.5"],
        ["--arch-arg", "widths"],
        ["--classes", "@none.txt"],
        ["--weights", "none.safetensors"],
        ["--mpp", "400"],
    ],
)
def test_a_bundle_that_cannot_be_is_not_written(
    tmp_path: Path, tiny_bundle: Path, change: list[str]
) -> None:
    options = {
        "--arch": "slidecam/pocket_resnet",
        "--weights": str(tiny_bundle / "model.safetensors"),
        "--classes": "A,B,C",
        "--mpp": "0.5",
        "--tile": "64",
        "--arch-arg": "widths=[8,12,16]",
        change[0]: change[1],
    }
    call = [part for option in options.items() for part in option]
    result = slidecam("bundle", *call, "--out", tmp_path / "made")
    assert result.exit_code in {1, 2}
    assert isinstance(result.exception, SystemExit)
    assert "Remedy" in result.stderr
    assert not (tmp_path / "made").exists()


def test_doctor_finds_this_machine_well() -> None:
    result = slidecam("doctor", "--json")
    checks = {row["check"]: row["state"] for row in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0
    assert {checks[f"reader {name}"] for name in ("openslide", "tiffslide", "picture")} == {"ok"}
    assert checks["device cpu"] == "ok"


def test_doctor_names_the_remedy_for_what_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise ValueError("JPEG 2000 comes back wrong")

    monkeypatch.setattr("slidecam.sources._tiff.check", broken)
    result = slidecam("doctor", "--json")
    row = next(row for row in json.loads(result.stdout)["checks"] if row["check"] == "reader tiff")
    assert (result.exit_code, row["state"]) == (1, "PROBLEM")
    assert "pip install" in row["remedy"]


def test_an_output_whose_extra_is_not_installed_is_absent_and_no_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = slidecam("doctor", "--json")
    rows = {row["check"]: row for row in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0
    for check in ("output tiles.parquet", "extra parquet"):
        assert (rows[check]["state"], rows[check]["remedy"]) == (
            "absent",
            'pip install "slidecam[parquet]"',
        )


def test_an_unusable_bundle_is_listed_and_is_no_success(tmp_path: Path, tiny_bundle: Path) -> None:
    assert slidecam("models", tiny_bundle.parent).exit_code == 0
    copytree(tiny_bundle, tmp_path / "whole")
    copytree(tiny_bundle, tmp_path / "torn")
    (tmp_path / "torn" / "card.json").write_text("{")
    result = slidecam("models", tmp_path, "--json")
    names = {row["name"] for row in json.loads(result.stdout)["bundles"]}
    assert result.exit_code == 3
    assert "(unusable)" in names
    assert len(names) == 2


@pytest.mark.parametrize("outputs", ["", "tiles.csv,", ",", "tiles.csv, ,mask.png"])
def test_an_empty_name_among_the_outputs_is_refused(
    tmp_path: Path, tiny_bundle: Path, sample_data: Path, outputs: str
) -> None:
    call = ["predict", sample_data / "slide.tif", "--model", tiny_bundle, "--out", tmp_path / "out"]
    result = slidecam(*call, "--outputs", outputs)
    assert result.exit_code == 2
    assert "--outputs holds an empty name." in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name",
    ["a\nb", "tab\there", "bell\x07", "line\u2028end", "A\r", "A\u202e", "\u2067B"],
)
def test_a_class_name_that_breaks_a_line_is_refused(
    tmp_path: Path, tiny_bundle: Path, name: str
) -> None:
    card = json.loads((tiny_bundle / "card.json").read_text())
    copytree(tiny_bundle, tmp_path / "bundle")
    card["class_names"][1] = name
    (tmp_path / "bundle" / "card.json").write_text(json.dumps(card))
    with pytest.raises(CardError, match="line break or a control character"):
        open_bundle(tmp_path / "bundle")
    with pytest.raises(UsageError, match="line break or a control character"):
        listed_names(f"A,{name},C")


@pytest.mark.parametrize("which", ["slide", ""])
def test_a_run_is_no_slide_to_explain_and_its_own_slide_is_named(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path], which: str
) -> None:
    slide = write_slide(tmp_path / "slide.tif", 300, 230)
    out = tmp_path / "out"
    call = ["predict", slide, "--model", tiny_bundle, "--out", out, "--min-tissue", "0"]
    assert slidecam(*call, "--heatmap", "none").exit_code == 0
    asked = ["explain", out / which, "--model", tiny_bundle, "--out", tmp_path / "seen"]
    result = slidecam(*asked, "--random", "1")
    assert result.exit_code == 2
    assert "This is a run of slidecam predict" in result.stderr
    assert f"Name its slide: {slide}." in result.stderr.replace("\n", "")
    report = (out / "report.html").read_text()
    assert ": 1 slide<" in report
    assert "1 slides" not in report


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
OF_OTHERS = {"--force-reinstall", "--no-crop", "--pyramid", "--series", "--tile"}
"""Options of pip, of QuPath and its readers, and of vips."""


def options_of(command: Any) -> set[str]:
    """Return the options of a command and of those below it."""
    found: set[str] = set()
    for parameter in command.params:
        found.update(parameter.opts, parameter.secondary_opts)
    for below in getattr(command, "commands", {}).values():
        found |= options_of(below)
    return found


def test_every_option_that_a_text_names_is_one_of_a_command() -> None:
    known = options_of(typer.main.get_command(app)) | OF_OTHERS | {"--help"}
    unknown: dict[str, str] = {}
    for path in sorted(Path(slidecam_package.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for option in set(OPTION.findall(node.value)) - known:
                    unknown[option] = path.name
    assert unknown == {}


def test_the_version_is_told() -> None:
    assert slidecam("--version").stdout.startswith("slidecam 0.")


@pytest.mark.parametrize("shipped", [pytest.param(True, marks=pytest.mark.slow), False])
def test_demo_classifies_the_sample_and_says_where_to_look(
    tmp_path: Path,
    sample_data: Path,
    write_slide: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    *,
    shipped: bool,
) -> None:
    if not shipped:
        copytree(sample_data / "bundle", tmp_path / "sample" / "bundle")
        write_slide(tmp_path / "sample" / "slide.tif")
        monkeypatch.setattr(discovery, "sample_folder", lambda: tmp_path / "sample")
    result = slidecam("demo", "--out", tmp_path / "out")
    assert result.exit_code == 0
    said = result.stdout.replace("\n", "")
    for path in (tmp_path / "out" / "report.html", tmp_path / "out" / "slide" / "overview.png"):
        assert path.exists()
        assert path.name in said


def test_people_are_told_of_failures_and_of_what_was_left_out(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    folder = tmp_path / "slides"
    folder.mkdir()
    damaged = write_slide(folder / "a.tif")
    with tifffile.TiffFile(damaged) as tiff:
        start, length = tiff.pages.first.dataoffsets[7], tiff.pages.first.databytecounts[7]
    content = bytearray(damaged.read_bytes())
    content[start : start + length] = bytes(length)
    damaged.write_bytes(bytes(content))
    (folder / "b.svs").write_text("no slide")
    (folder / "c.txt").write_text("no slide either")
    result = slidecam("predict", folder, "--model", tiny_bundle, "--out", tmp_path / "out")
    assert result.exit_code == 3
    for word in ("tile at", "a partly", "b failed", "c.txt", "2 slides, 1 failed"):
        assert word in result.stderr


def test_models_finds_what_the_environment_names(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIDECAM_MODELS", str(tiny_bundle.parent))
    told = json.loads(slidecam("models", "--json").stdout)["bundles"]
    assert told[0]["name"] == "tiny"
    assert any("Toy" in row["name"] for row in told)


def test_models_and_info_are_told_to_people_in_tables(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    assert "tiny" in slidecam("models", tiny_bundle.parent).stdout
    assert "No bundles found" in slidecam("models", write_slide(tmp_path / "one.tif").parent).stdout
    assert "700, 500" in slidecam("info", tmp_path / "one.tif").stdout


def test_info_of_a_slide_without_spacing_says_what_to_pass(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    told = json.loads(slidecam("info", tmp_path / "a.png", "--json").stdout)
    assert told["spacing_um_px"] is None
    assert "--mpp" in told["spacing_from"]


def test_outputs_are_named_with_commas_and_wrong_names_are_refused(
    sample_data: Path, tmp_path: Path
) -> None:
    call = ["predict", str(sample_data / "slide.tif"), "-m", str(sample_data / "bundle")]
    result = CliRunner().invoke(app, [*call, "-o", str(tmp_path), "--outputs", "tiles.csv,x"])
    assert result.exit_code == 2
    assert "There is no output 'x'" in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        "train recipe.toml --data s3://bucket/data --out trained",
        "train recipe.toml --data data --out s3://bucket/trained",
        "fine-tune s3://bucket/run --out tuned",
        "gather s3://bucket/results",
        "card s3://bucket/bundle",
        "export s3://bucket/run --to qupath",
    ],
)
def test_a_url_where_a_path_belongs_is_refused_and_nothing_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = slidecam(*call.split())
    assert result.exit_code == 2
    words = " ".join(result.output.replace("│", " ").split())
    assert "A URL is given where a path of this machine belongs" in words
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_is_not_at_its_url_is_refused_by_its_whole_name(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    result = slidecam("predict", slide, "-m", "memory://bucket/no-bundle", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "memory://bucket/no-bundle" in result.output
    assert not (tmp_path / "out").exists()


def test_two_bars_are_drawn_however_many_slides_there_are() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, height=24)
    bars = EventBars(console)
    with bars:
        for number in range(1, 41):
            name = f"s{number}"
            bars.show(Planned(name, name, 16, 20, 16, 0.5, "file", 128, 0, 1, (), number, 40))
            bars.show(
                BatchDone(name, 16, 16, np.zeros((16, 4), np.int64), np.zeros((16, 3), np.float32))
            )
            assert len(bars._progress.tasks) == 2
            if number > 2:
                bars.show(SlideFinished(f"s{number - 2}", "out", "done", 16, 0, 1.5))
        assert bars._progress.tasks[0].completed == 38
        assert bars._progress.tasks[0].total == 40
    assert "38/40" in screen.getvalue()


def test_a_call_that_is_piped_says_every_ten_seconds_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now))
    written = io.StringIO()
    words = EventWords(Console(file=written, width=80))
    with words:
        for number in range(1, 13):
            name = f"s{number}"
            words.show(Planned(name, name, 16, 20, 16, 0.5, "file", 128, 0, 1, (), number, 12))
            for done in (8, 16):
                now += 1.5
                empty = np.zeros((8, 4), np.int64), np.zeros((8, 3), np.float32)
                words.show(BatchDone(name, done, 16, *empty))
            words.show(SlideFinished(name, "out", "done", 16, 0, 3.0))
    lines = written.getvalue().splitlines()
    far = [line for line in lines if "tiles/s" in line]
    # 36 seconds in steps of 1.5: after 10.5, 21 and 31.5 of them.
    assert EVERY_LINE == 10.0
    assert [line.split(":")[0] for line in far] == [
        "3 of 12 slides, s4",
        "6 of 12 slides, s7",
        "10 of 12 slides, s11",
    ]
    assert far[0].endswith("8 of 16 tiles, 5.3 tiles/s")
    assert "━" not in written.getvalue()
