"""``train``, ``evaluate`` and ``tiles`` as programs and people call them."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.cli.terminal import Terminal
from slidecam.models import open_bundle
from slidecam.steps import Step
from stopping import stopped_process

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from typer.testing import Result

COLORS = {"blue": (50, 60, 160), "red": (170, 60, 50)}
RECIPE = """
[model]
architecture = "slidecam/pocket_resnet"
architecture_args = { widths = [8, 12] }
[data]
input_px = 32
train = 0.5
val = 0.25
test = 0.25
[train]
epochs = 2
batch = 8
lr = 0.01
"""


def slidecam(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lines_of(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return folders of two classes of 16 pictures that differ in colour."""
    folder = tmp_path_factory.mktemp("data") / "pictures"
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        rng = np.random.default_rng(len(name))
        for number in range(16):
            pixels = np.clip(
                color + rng.integers(-30, 30, (8, 8, 3)).repeat(4, 0).repeat(4, 1), 0, 255
            )
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "quick.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, data: Path, recipe: Path) -> tuple[Result, Path]:
    """Return what a training said, and its folder."""
    out = tmp_path_factory.mktemp("made") / "out"
    return slidecam(
        "train", recipe, "--data", data, "--out", out, "--set", "train.epochs=6", "--json"
    ), out


def test_train_leaves_a_bundle_and_tells_machines_every_figure(made: tuple[Result, Path]) -> None:
    result, out = made
    assert result.exit_code == 0, result.output
    *steps, last = lines_of(result)
    assert {step["event"] for step in steps} == {"Step"}
    assert last["event"] == "Trained"
    assert last["bundle"] == str(out / "bundle")
    assert last["digest"] == open_bundle(out / "bundle").digest
    assert last["test"]["accuracy"]["value"] == 1
    low, high = last["test"]["accuracy"]["ci95"]
    assert 0 < low < high <= 1
    assert "epochs = 6" in (out / "recipe.toml").read_text()


def test_train_tells_people_a_table_and_where_to_look(
    tmp_path: Path, data: Path, recipe: Path
) -> None:
    result = slidecam("train", recipe, "--data", data, "--out", tmp_path / "out", "--device", "cpu")
    assert result.exit_code == 0, result.output
    for words in ("test accuracy", "probabilities", "best_epoch", "evaluation.html"):
        assert words in result.stdout


def test_evaluate_prints_exactly_one_object(made: tuple[Result, Path], data: Path) -> None:
    _result, out = made
    result = slidecam("evaluate", out / "bundle", "--data", data, "--json")
    assert result.exit_code == 0, result.output
    (told,) = lines_of(result)
    assert told["accuracy"]["value"] == 1
    low, high = told["accuracy"]["ci95"]
    assert low < 1 <= high


def test_evaluate_measures_what_was_kept_from_the_training(
    made: tuple[Result, Path], data: Path, tmp_path: Path
) -> None:
    trained, out = made
    result = slidecam(
        "evaluate", out / "bundle", "--data", data, "--out", tmp_path / "report", "--json"
    )
    (told,) = lines_of(result)
    assert told["data"]["pictures"] == 8
    last = lines_of(trained)[-1]["test"]
    assert told["data"]["digest"] == last["data"]["digest"]
    assert told["confusion"] == last["confusion"]
    assert "kept from it" in (tmp_path / "report" / "evaluation.html").read_text()
    assert (tmp_path / "report" / "predictions.csv").is_file()


def test_evaluate_takes_other_parts_and_other_data(
    made: tuple[Result, Path], data: Path, tmp_path: Path
) -> None:
    _result, out = made
    bundle = out / "bundle"
    (every,) = lines_of(slidecam("evaluate", bundle, "--data", data, "--part", "all", "--json"))
    assert every["data"]["pictures"] == 8
    assert every["data"]["left_out"]["same content"] == 24
    (val,) = lines_of(slidecam("evaluate", bundle, "--data", data, "--part", "val", "--json"))
    assert val["data"]["pictures"] == 8
    (table,) = lines_of(slidecam("evaluate", bundle, "--data", out / "pictures.csv", "--json"))
    assert table["data"]["pictures"] == 8
    other = tmp_path / "other"
    for name, theirs in (("blue", "azur"), ("red", "rouge")):
        (other / theirs).mkdir(parents=True)
        unlike(data / name / "0.png").save(other / theirs / "0.png")
    assert slidecam("evaluate", bundle, "--data", other).exit_code == 1
    (foreign,) = lines_of(
        slidecam(
            "evaluate",
            bundle,
            "--data",
            other,
            "--map",
            "azur=blue",
            "--map",
            "rouge=red",
            "--json",
        )
    )
    assert foreign["data"]["pictures"] == 2
    refused = slidecam(
        "evaluate",
        bundle,
        "--data",
        other,
        "--map",
        "azur=blue",
        "--map",
        "rouge=red",
        "--part",
        "val",
    )
    assert refused.exit_code == 1
    assert "--part" in refused.stderr


def unlike(path: Path) -> Image.Image:
    """Return a picture of a picture's colours that is no copy of it: its squares, dealt anew."""
    squares = (
        np.asarray(Image.open(path)).reshape(8, 4, 8, 4, 3).swapaxes(1, 2).reshape(64, 4, 4, 3)
    )
    dealt = np.random.default_rng(5).permutation(squares).reshape(8, 8, 4, 4, 3)
    return Image.fromarray(dealt.swapaxes(1, 2).reshape(32, 32, 3))


def test_evaluate_says_which_pictures_it_could_not_read(
    made: tuple[Result, Path], data: Path, tmp_path: Path
) -> None:
    for name in COLORS:
        (tmp_path / "data" / name).mkdir(parents=True)
        unlike(data / name / "0.png").save(tmp_path / "data" / name / "0.png")
    (tmp_path / "data" / "red" / "bad.png").write_bytes(b"no picture")
    result = slidecam("evaluate", made[1] / "bundle", "--data", tmp_path / "data", "--part", "all")
    assert result.exit_code == 3
    assert "bad.png" in result.stdout


def test_folds_are_measured_together(tmp_path: Path, data: Path, recipe: Path) -> None:
    call = [
        "train",
        recipe,
        "--data",
        data,
        "--out",
        tmp_path / "out",
        "--folds",
        2,
        "--set",
        "train.epochs=1",
    ]
    result = slidecam(*call, "--json")
    assert result.exit_code == 0, result.output
    last = lines_of(result)[-1]
    assert last["data"]["pictures"] == 32
    assert len(last["folds"]["accuracy"]["values"]) == 2
    assert slidecam(*call, "--resume").exit_code == 0


def test_folds_and_a_final_training_leave_bundles_that_are_listed(
    tmp_path: Path, data: Path, recipe: Path
) -> None:
    out = tmp_path / "out"
    call = ["train", recipe, "--data", data, "--out", out, "--folds", 2, "--final"]
    result = slidecam(*call, "--set", "train.epochs=1", "--json")
    assert result.exit_code == 0, result.output
    last = lines_of(result)[-1]
    assert last["bundle"] == str(out / "bundle")
    assert last["final"] == str(out / "final" / "bundle")
    assert "is unmeasured: trained on all pictures" in result.stdout
    refused = slidecam("evaluate", out / "bundle", "--data", data)
    assert refused.exit_code == 1
    assert "has learnt from all 32 pictures" in " ".join(refused.stderr.split())


def test_several_values_are_tried_and_the_best_is_said_to_be_chosen(
    tmp_path: Path, data: Path, recipe: Path
) -> None:
    call = ["train", recipe, "--data", data, "--out", tmp_path / "out", "--set"]
    result = slidecam(*call, "train.lr=1e-2,1e-5", "--set", "data.mean=[0.5,0.5,0.5]")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "was chosen among 2 by the NLL of the validation part" in said
    assert "no picture of the test part was looked at" in said
    again = slidecam(
        *call, "train.lr=1e-2,1e-5", "--set", "data.mean=[0.5,0.5,0.5]", "--resume", "--json"
    )
    last = lines_of(again)[-1]
    assert (last["event"], len(last["tried"])) == ("Swept", 2)


def test_a_range_test_suggests_a_rate(tmp_path: Path, data: Path, recipe: Path) -> None:
    out = tmp_path / "out"
    result = slidecam("train", recipe, "--data", data, "--out", out, "--lr-range", "--json")
    assert result.exit_code == 0, result.output
    last = lines_of(result)[-1]
    assert last["event"] == "LearningRates"
    assert "four times its lowest" in last["rule"]
    assert not (out / "bundle").exists()


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (["--set", "train.lr=-1"], 2, "train.lr is -1"),
        (["--set", "trian.lr=1"], 2, "Did you mean [train]"),
        (["--data", "nowhere"], 2, "nowhere"),
        (["--weights", "w.safetensors"], 2, "--weights"),
        (["--device", "cuda:77"], 2, "cuda:77"),
        (["--folds", "17"], 1, "too few for 17 folds"),
        (["--final"], 2, "--final is for --folds"),
        (["--repeats", "2"], 2, "--repeats is for --folds"),
        (["--set", "train.lr=1e-2,1e-3", "--folds", "2"], 2, "do not go together"),
        (["--lr-range", "--folds", "2"], 2, "do not go together"),
        (["--set", "train.optimizer=adam,adma"], 2, "adma"),
        (["--lr-range", "--resume"], 2, "have no meaning beside --lr-range"),
        (["--overwrite", "--resume"], 2, "contradict each other"),
    ],
)
def test_what_is_wrong_is_told_with_a_remedy_and_nothing_is_left(
    tmp_path: Path, data: Path, recipe: Path, change: list[str], code: int, words: str
) -> None:
    call = ["train", recipe, "--data", data, "--out", tmp_path / "out", *change]
    result = slidecam(*call)
    assert result.exit_code == code
    assert words in " ".join(result.stderr.split())
    assert "Remedy" in result.stderr
    assert not (tmp_path / "out").exists()
    told = lines_of(slidecam(*call, "--json"))[-1]
    assert (told["event"], bool(told["remedy"])) == ("Error", True)


def test_resuming_nothing_begins_and_the_terminal_counts_the_classes(
    tmp_path: Path, data: Path, recipe: Path
) -> None:
    out = tmp_path / "out"
    call = ["train", recipe, "--data", data, "--out", out, "--set", "train.epochs=1", "--resume"]
    result = slidecam(*call)
    assert result.exit_code == 0, result.output
    counts = "32 pictures of 2 classes: blue 16 (8 train, 4 val, 4 test); red 16 (8 train,"
    assert counts in " ".join(result.output.split())
    assert (out / "bundle" / "card.json").is_file()


def test_help_is_given_by_its_short_name_too() -> None:
    result = slidecam("train", "-h")
    assert (result.exit_code, "--data" in result.stdout) == (0, True)


def test_a_folder_in_use_is_refused(made: tuple[Result, Path], data: Path, recipe: Path) -> None:
    result = slidecam("train", recipe, "--data", data, "--out", made[1])
    assert result.exit_code == 2
    assert "--resume" in result.stderr


def test_what_was_stopped_is_called_safe_only_where_there_is_a_checkpoint(
    tmp_path: Path, data: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Terminal, "walk", stopped)
    early = slidecam("train", recipe, "--data", data, "--out", tmp_path / "out")
    assert "safe" not in early.stderr
    assert "begin anew" in " ".join(early.stderr.split())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoint.safetensors").touch()
    assert (
        "safe in --out"
        in slidecam("train", recipe, "--data", data, "--out", tmp_path / "out").stderr
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, data: Path, recipe: Path
) -> None:
    call = ["train", str(recipe), "--data", str(data), "--out", str(tmp_path / "out")]
    written = ("slidecam.learning.training.trainer:write_checkpoint", 1)
    in_the_midst = ("slidecam.learning.training.loop:train_step", 1)
    with stopped_process(call, written, in_the_midst) as process:
        process.send_signal(signal.SIGINT)
        _out, said = process.communicate("go on")
    assert process.returncode == 3
    assert "--resume" in said
    assert not (tmp_path / "out" / "bundle").exists()
    resumed = slidecam(*call, "--set", "train.lr=0.5", "--resume")
    assert "another recipe" in " ".join(resumed.stderr.split())


def geojson(path: Path, areas: dict[str, tuple[int, int, int, int]]) -> Path:
    features = [
        {
            "type": "Feature",
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[x, y], [x + w, y], [x + w, y + h], [x, y + h], [x, y]]],
            },
            "properties": {"classification": {"name": name}},
        }
        for name, (x, y, w, h) in areas.items()
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def test_tiles_of_an_annotated_slide_are_trained_on_and_know_their_spacing(
    tmp_path: Path, write_slide: Callable[..., Path], recipe: Path
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    drawn = geojson(
        tmp_path / "one.geojson", {"tumour": (50, 40, 260, 400), "stroma": (310, 40, 300, 400)}
    )
    call = [
        "tiles",
        slide,
        "--annotations",
        drawn,
        "--out",
        tmp_path / "tiles",
        "--tile",
        32,
        "--json",
    ]
    result = slidecam(*call)
    assert result.exit_code == 0, result.output
    told = lines_of(result)[-1]
    assert told["tiles"] == told["stroma"] + told["tumour"] > 100
    assert slidecam(*call).exit_code == 2
    trained = slidecam(
        "train", recipe, "--data", tmp_path / "tiles", "--out", tmp_path / "out", *LIMITED
    )
    assert trained.exit_code == 0, trained.output
    card = open_bundle(tmp_path / "out" / "bundle").card
    assert (card.spacing, card.tile_px, card.class_names) == (0.5, 32, ("stroma", "tumour"))
    again = [
        *call[:5],
        tmp_path / "more",
        "--like",
        tmp_path / "out" / "bundle",
        "--class",
        "tumour",
        "--json",
    ]
    assert "stroma" not in lines_of(slidecam(*again))[-1]


LIMITED = ["--set", "data.limit=6", "--set", "train.epochs=1"]


def test_tiles_without_an_annotation_are_an_error(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "one.tif")
    empty = geojson(tmp_path / "one.geojson", {})
    result = slidecam("tiles", slide, "--annotations", empty, "--out", tmp_path / "tiles")
    assert result.exit_code in {1, 2}
    assert "Remedy" in result.stderr
    assert not (tmp_path / "tiles").exists()


def steps(count: int) -> Generator[Step, None, int]:
    for number in range(count):
        yield Step("batch", number + 1, count, {"loss": 0.5})
    yield Step("data", 0, 0, message="two [odd] files")
    yield Step("epoch", 1, 3)
    return 7


def test_machines_are_told_of_ends_and_messages_and_not_of_every_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Terminal(json=True).walk(steps(1000)) == 7
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(told) < 50
    assert {"phase": "batch", "done": 1000} in [
        {"phase": each["phase"], "done": each["done"]} for each in told
    ]
    assert [each["message"] for each in told if each["message"]] == ["two [odd] files"]


def test_a_silent_walk_tells_machines_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert Terminal(json=True).walk(steps(3), silent=True) == 7
    assert capsys.readouterr().out == ""


def test_people_are_told_messages_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert Terminal(json=False).walk(steps(3)) == 7
    said = capsys.readouterr()
    assert "two [odd] files" in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    ("option", "said"),
    [(("--repeats", "2"), "--repeats is for --folds"), (("--cache", "c"), "no [features]")],
)
def test_an_option_that_a_training_would_pass_over_is_refused(
    tmp_path: Path, option: tuple[str, str], said: str
) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('[model]\narchitecture = "slidecam/pocket_resnet"\n')
    (tmp_path / "data").mkdir()
    words = ["train", recipe, "--data", tmp_path / "data", "--out", tmp_path / "o", *option]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
