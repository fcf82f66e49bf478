"""Training and evaluating say how picture files are read, and read alike."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.errors import DataSetError, RecipeError, UsageError
from slidecam.learning.data.dataset import dataset_for
from slidecam.learning.data.picture_files import PictureSpec
from slidecam.learning.data.pictures import read_picture_set
from slidecam.learning.data.pixels import load_pixels, read_picture
from slidecam.learning.data.readings import (
    OpenedPicture,
    fitted_to,
    format_tells,
    grouped_readings,
)
from slidecam.learning.recipes.recipe import read_recipe
from slidecam.learning.recipes.tables import DataSpec
from slidecam.steps import result_of
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RECIPE = """
[model]
architecture = "slidecam/pocket_resnet"
architecture_args = { widths = [4, 6] }

[data]
input_px = 16
train = 0.5
val = 0.25
test = 0.25

[train]
epochs = 1
batch = 8
monitor = "last"
"""
EDGE, PLANES, EACH = 27, 3, 6


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (EDGE, EDGE, 3), np.uint8)


def write_stack(path: Path, seed: int) -> NDArray[np.uint8]:
    planes = np.stack([noise(seed * PLANES + plane) for plane in range(PLANES)])
    tifffile.imwrite(path, planes, photometric="rgb", metadata={"axes": "ZYXS"})
    return planes


def made(folder: Path, name: str, count: int = EACH) -> list[Path]:
    (folder / name).mkdir(parents=True)
    return [folder / name / f"{number}.tif" for number in range(count)]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stacks")
    for place, name in enumerate("AB"):
        for number, path in enumerate(made(folder, name)):
            write_stack(path, 10 * place + number)
    return folder


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, " ".join(done.output.split())


def test_several_images_in_some_files_are_counted_and_told_with_the_option(tmp_path: Path) -> None:
    for name in "AB":
        for number, path in enumerate(made(tmp_path, name, 5)):
            tifffile.imwrite(path, noise(number), photometric="rgb")
    for number in range(3):
        with tifffile.TiffWriter(tmp_path / "A" / f"{number}.tif") as file:
            file.write(noise(number)[:, :11], photometric="rgb", metadata=None)
            file.write(noise(90 + number), photometric="rgb", metadata=None)
    found = result_of(dataset_for(tmp_path, DataSpec()))
    (said,) = [note for note in found.pictures.notes if "--image" in note]
    assert said.startswith("Of 10 pictures 3 (A/0.tif for one): Image 2 of 2 is read, the largest")
    np.testing.assert_array_equal(load_pixels(tmp_path / "A" / "1.tif", EDGE), noise(91))
    first = PictureView(image="1")
    narrow = np.asarray(read_picture(tmp_path / "A" / "1.tif", seen=first))
    np.testing.assert_array_equal(narrow, noise(1)[:, :11])


def test_a_folder_of_stacks_is_refused_with_an_option_of_the_command(
    stacks: Path, recipe: Path, tmp_path: Path
) -> None:
    code, said = run("train", recipe, "--data", stacks, "--out", tmp_path / "out")
    assert code == 1
    assert "12 of 12 pictures cannot be read: this TIFF is a stack of planes (Z=3)" in said
    assert said.count("Pass --plane N (1 to 3)") == 1


def test_a_plane_is_learnt_from_and_measured_on_and_told_everywhere(
    stacks: Path, recipe: Path, tmp_path: Path
) -> None:
    out, bundle = tmp_path / "out", tmp_path / "out" / "bundle"
    said = "Of 12 pictures all (A/0.tif for one): Plane 2 of 3 is read; --plane reads another."
    code, text = run("train", recipe, "--data", stacks, "--out", out, "--plane", 2)
    assert code == 0, text
    assert said in text
    assert said in (out / "evaluation" / "test" / "evaluation.html").read_text()
    record = json.loads((out / "evaluation" / "test" / "evaluation.json").read_text())
    assert said in record["data"]["notes"]
    flat = tmp_path / "flat" / "A"
    flat.mkdir(parents=True)
    for number, path in enumerate(made(tmp_path / "n", "A")):
        planes = write_stack(path, 50 + number)
        Image.fromarray(planes[1]).save(flat / f"{number}.png")
        Image.fromarray(planes[2]).save(flat / f"{number}.webp", lossless=True)
    for folder in ("n", "flat"):
        (tmp_path / folder / "B").mkdir()
        Image.fromarray(noise(7)).save(tmp_path / folder / "B" / "b.png")

    code, text = run("evaluate", bundle, "--data", tmp_path / "n", "--out", tmp_path / "e")
    assert code == 0, text
    assert "Of 7 pictures 6 (A/0.tif for one): Plane 2 of 3 is read" in text
    assert "Of 7 pictures 1 (B/b.png for one): It leaves nothing to choose by --plane" in text
    code, text = run("evaluate", bundle, "--data", flat.parent, "--out", tmp_path / "f")
    assert code == 0, text
    assert "It leaves nothing to choose by --plane, and is read as it is." in text
    code, text = run(
        "evaluate", bundle, "--data", tmp_path / "n", "--out", tmp_path / "g", "--plane", 3
    )
    assert code == 0, text
    read = {}
    for place in "efg":
        with (tmp_path / place / "predictions.csv").open() as file:
            read[place] = {row["path"]: row["prob_A"] for row in csv.DictReader(file)}
    for number in range(EACH):
        tiff = f"A/{number}.tif"
        assert read["e"][tiff] == read["f"][f"A/{number}.png"] != read["g"][tiff]
        assert read["g"][tiff] == read["f"][f"A/{number}.webp"]


def test_a_choice_that_no_picture_leaves_is_refused(recipe: Path, tmp_path: Path) -> None:
    for name in "AB":
        for number, path in enumerate(made(tmp_path / "data", name)):
            Image.fromarray(noise(number)).save(path.with_suffix(".png"))
    with pytest.raises(UsageError, match=r"None of 12 pictures leaves .* by --plane .*Leave"):
        result_of(dataset_for(tmp_path / "data", DataSpec(plane=2)))
    with pytest.raises(DataSetError, match=r"12 of 12 pictures cannot be read.*--image"):
        result_of(dataset_for(tmp_path / "data", DataSpec(image="2")))
    with pytest.raises(RecipeError, match=r"--plane stands beside --set data\.plane"):
        read_recipe(recipe, ["data.plane=1"], PictureView(plane=2))
    seen = PictureView(channels=("1", "2", "3"), profile="srgb")
    assert read_recipe(recipe, (), seen).data.seen == seen
    with pytest.raises(RecipeError, match=r"2 channels are no colour"):
        read_recipe(recipe, ['data.channels=["1", "2"]'])


def test_what_cannot_be_classified_is_told_with_its_remedy(
    stacks: Path, recipe: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for name in "AB":
        for number, path in enumerate(made(data, name)):
            Image.fromarray(noise(number + 20 * ord(name))).save(path.with_suffix(".png"))
    out = tmp_path / "out"
    code, text = run("train", recipe, "--data", data, "--out", out)
    assert code == 0, text
    code, text = run("evaluate", out / "bundle", "--data", stacks)
    assert code == 1
    assert "None of 12 pictures could be classified; A/0.tif: this picture cannot" in text
    assert "Pass --plane N (1 to 3) to read one of them." in text
    write_stack(data / "A" / "stack.tif", 3)
    code, text = run("evaluate", out / "bundle", "--data", data, "--part", "all")
    assert code == 3, text
    assert "not read: A/stack.tif" in text
    assert "what to do Pass --plane N (1 to 3) to read one of them." in text


def test_deep_dark_and_clear_pictures_are_told_by_kind(tmp_path: Path) -> None:
    for number, path in enumerate(made(tmp_path, "A", 4)):
        deep = np.full((9, 11), 300 + number, np.uint16)
        Image.fromarray(deep).save(path.with_suffix(".png"))
    for number, path in enumerate(made(tmp_path, "B", 3)):
        Image.fromarray(noise(number)).convert("RGBA").save(path.with_suffix(".png"))
    notes = result_of(dataset_for(tmp_path, DataSpec(duplicates="ignore"))).pictures.notes
    assert [note.partition(": ")[0] for note in notes] == [
        "Of 7 pictures 4 (A/0.png for one)",
        "Of 7 pictures 4 (A/0.png for one)",
        "Of 7 pictures 3 (B/0.png for one)",
    ]
    assert notes[1].partition(": ")[2].startswith("It is dark: its brightest pixel is 1 of 255")


def test_sentences_that_differ_in_numbers_and_names_are_one_kind() -> None:
    said = [
        'Image 2 "x" of 3 is read, the largest; --image reads another: 1 (3x4 px).',
        'Image 1 "y" of 2 is read, the largest; --image reads another: 2; 3; and 1 more.',
        "What is transparent in it is shown white.",
    ]
    found = [OpenedPicture((sentence,)) for sentence in said]
    notes = grouped_readings(["a", "b", "c"], found)
    assert [note.partition(": ")[0] for note in notes] == [
        "Of 3 pictures 2 (a for one)",
        "Of 3 pictures 1 (c for one)",
    ]
    assert grouped_readings([], []) == ()


def test_pictures_that_are_cut_off_are_named_all_at_once(tmp_path: Path) -> None:
    for name in "AB":
        for number, path in enumerate(made(tmp_path, name, 9)):
            file = path.with_suffix(".jpg")
            Image.fromarray(noise(number)).resize((200, 160)).save(file)
            if number < 4:
                file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(DataSetError, match=r"8 of 18 pictures cannot be read: ") as caught:
        result_of(dataset_for(tmp_path, DataSpec()))
    said = str(caught.value)
    assert said.count(".jpg") == 5
    assert "(and 3 more)" in said
    assert said.count("Copy it again, or take it out of the data.") == 1


def foreign(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


OWN = PictureSpec(
    group_pattern="^(?P<group>P[0-9]+)-",
    label_pattern="(?P<label>all|hem)/",
    only_pattern="/40X/",
)


def test_settings_for_other_data_that_find_nothing_here_are_not_heeded_and_said(
    tmp_path: Path,
) -> None:
    data = foreign(tmp_path, "a/1.png", "b/2.png", "b/3.png")
    spec, notes = fitted_to(data, OWN, ())
    assert spec == PictureSpec()
    assert len(notes) == 3
    assert notes[0] == (
        "The bundle's recipe has a setting only_pattern (/40X/) that finds nothing in the names of"
        " these 3 pictures: it is not heeded, all are taken (--only-pattern REGEX takes some)."
    )
    assert fitted_to(data, OWN, ("only_pattern",))[0] == PictureSpec(only_pattern="/40X/")
    assert fitted_to(data, PictureSpec(group_folder=True), ())[0] == PictureSpec()


def test_settings_that_mean_these_data_stay_without_a_word(tmp_path: Path) -> None:
    data = foreign(tmp_path, "all/40X/P1-1.png", "hem/40X/P2-1.png")
    assert fitted_to(data, OWN, ()) == (OWN, ())
    folders = PictureSpec(group_folder=True)
    assert fitted_to(data, folders, ()) == (folders, ())


def test_patients_that_a_pattern_finds_in_some_names_only_are_refused(tmp_path: Path) -> None:
    data = foreign(tmp_path, "a/P1-1.png", "b/other.png")
    spec = PictureSpec(group_pattern="^(?P<group>P[0-9]+)-")
    with pytest.raises(DataSetError, match=r"in 1 of 2 names.*'b/other\.png'.*--group-pattern"):
        fitted_to(data, spec, ())
    assert fitted_to(data, replace(spec, only_pattern="/P"), ()) == (
        replace(spec, only_pattern="/P"),
        (),
    )


def test_classes_that_can_be_told_from_format_and_size_alone_are_told_with_a_figure(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(3)
    for place, name in enumerate(("ill", "well")):
        (tmp_path / name).mkdir()
        for number in range(31):
            grey = random.random() < (0.85, 0.1)[place]  # most of one class come from elsewhere
            pixels = random.integers(0, 256, (15, 14, 3), np.uint8)
            picture = Image.fromarray(pixels).convert("L" if grey else "RGB")
            picture.save(tmp_path / name / f"{number}.png")
    pictures = read_picture_set(tmp_path)
    (said,) = format_tells(pictures)
    right: list[bool] = []
    for path, label in zip(pictures.paths, pictures.labels, strict=True):
        with Image.open(path) as picture:
            right.append((picture.mode == "L") == (label == 0))
    shares = [np.mean([right[row] for row in np.flatnonzero(pictures.labels == k)]) for k in (0, 1)]
    assert f"balanced accuracy {np.mean(shares):.2f}, by chance 0.50" in said
    notes = result_of(dataset_for(tmp_path, DataSpec(duplicates="ignore"))).pictures.notes
    assert said in notes


def test_formats_that_classes_share_are_no_tell(tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    for name in ("ill", "well"):
        (tmp_path / name).mkdir()
        for number in range(31):
            edge = int(random.integers(11, 19))
            picture = Image.fromarray(random.integers(0, 256, (edge, 15, 3), np.uint8))
            picture.save(tmp_path / name / f"{number}.{('png', 'jpg')[number % 2]}")
    assert format_tells(read_picture_set(tmp_path)) == ()
