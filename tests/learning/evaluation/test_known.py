"""What a bundle has learnt from is in no figure of it, whatever it is called and wherever it lies.

Labels are noise, so that an honest figure is one of pictures that nobody has learnt.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.learning.data.duplicates import PicturePrint, prints_of
from slidecam.learning.data.known import (
    LEARNT_FILE,
    Learnt,
    LearntPictures,
    _read,
    learnt_by,
    sift,
)
from slidecam.learning.data.looks import NEAR_BITS
from slidecam.learning.data.pictures import read_picture_set
from slidecam.models import open_bundle, save_bundle
from slidecam.steps import result_of

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = """
[model]
architecture = "slidecam/pocket_resnet"
architecture_args = { widths = [4, 6] }

[data]
input_px = 16
group_pattern = '^(?P<group>P\\d+)_'

[train]
epochs = 1
batch = 16
monitor = "last"
"""
EDGE, PATIENTS = 41, 14


def picture(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((EDGE, EDGE), Image.Resampling.BICUBIC)


def make_data(folder: Path, first: int = 0, patients: int = PATIENTS) -> Path:
    for place, name in enumerate(("alpha", "beta")):
        (folder / name).mkdir(parents=True)
        for patient, shot in product(range(patients), range(2)):
            seed = 10_000 * place + 10 * (first + patient) + shot
            picture(seed).save(folder / name / f"P{first + patient:03d}_{name}_{shot}.png")
    return folder


def slidecam(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    return done.exit_code, " ".join(done.output.split())


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def evaluate(bundle: Path, data: Path, out: Path, *more: object) -> tuple[int, str, dict[str, Any]]:
    """Return exit code and terminal, and what evaluation.json says of the data."""
    code, said = slidecam("evaluate", bundle, "--data", data, "--out", out, *more)
    record = {}
    if (out / "evaluation.json").exists():
        record = json.loads((out / "evaluation.json").read_text())["data"]
    return code, said, record


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "noise.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data") / "noise")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, recipe: Path, data: Path) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    code, said = slidecam("train", recipe, "--data", data, "--out", out)
    assert code == 0, said
    return out


@pytest.fixture
def copies(tmp_path: Path, data: Path) -> Path:
    return shutil.copytree(data, tmp_path / "copies")


@pytest.fixture(scope="module")
def learnt(trained: Path) -> set[str]:
    """Return the names of the pictures that were trained on or chosen by."""
    rows = rows_of(trained / "pictures.csv")
    return {row["path"].rpartition("/")[2] for row in rows if row["split"] != "test"}


def measured_names(out: Path) -> set[str]:
    return {row["path"].rpartition("/")[2] for row in rows_of(out / "predictions.csv")}


def test_its_own_data_are_measured_on_the_test_part_and_the_terminal_says_so(
    trained: Path, data: Path, tmp_path: Path, learnt: set[str]
) -> None:
    code, said, record = evaluate(trained / "bundle", data, tmp_path / "e")
    assert code == 0, said
    part = "the test part of the training's own data, kept from it, none of which the bundle has"
    assert part in said
    assert record["measured"].startswith(part)
    assert record["left_out"] is None
    assert not measured_names(tmp_path / "e") & learnt


@pytest.mark.parametrize("change", ["more", "all", "renamed", "table", "compressed", "parted"])
def test_what_was_learnt_from_is_left_out_and_told_everywhere(
    trained: Path, data: Path, copies: Path, tmp_path: Path, learnt: set[str], change: str
) -> None:
    more: tuple[str, ...] = ()
    new = {path.name for path in data.rglob("*.png")} - learnt
    kind = "to the byte"
    source = copies
    if change == "more":
        picture(77_777).save(copies / "alpha" / "P900_alpha_0.png")
        new |= {"P900_alpha_0.png"}
    elif change == "all":
        more, source = ("--part", "all"), data
    elif change == "renamed":
        for path in copies.rglob("*.png"):
            path.rename(path.with_name(path.name.replace("P0", "P9")))
        new = {name.replace("P0", "P9") for name in new}
    elif change == "table":
        source = tmp_path / "listed.csv"
        lines = [f"{path},{path.parent.name}" for path in copies.rglob("*.png")]
        source.write_text("\n".join(["path,label", *lines]))
    elif change == "compressed":
        kind = "nearly the same"
        for path in copies.rglob("*.png"):
            small = Image.open(path).resize((33, 35))
            small.save(path.with_suffix(".jpg"), quality=80)
            path.unlink()
        new = {name.replace(".png", ".jpg") for name in new}
    else:
        shutil.move(copies, tmp_path / "moved")
        shutil.copytree(tmp_path / "moved", copies / "test")
    code, said, record = evaluate(trained / "bundle", source, tmp_path / "e", *more)
    assert code == 0, said
    count, total = len(learnt), len(learnt) + len(new)
    sentence = f"{count} of {total} pictures are left out, as the bundle has learnt from them:"
    assert sentence in said
    assert f"{count} {kind}" in said
    assert f"without {count} of {total} that the bundle has learnt from" in said
    assert any(note.startswith(sentence) for note in record["notes"])
    assert record["left_out"]["pictures"] == count
    page = re.sub(r"\s+", " ", (tmp_path / "e" / "evaluation.html").read_text())
    assert sentence in page
    assert measured_names(tmp_path / "e") == new


def test_copies_of_the_training_pictures_alone_are_refused(
    trained: Path, copies: Path, tmp_path: Path, learnt: set[str]
) -> None:
    for path in copies.rglob("*.png"):
        if path.name in learnt:
            path.rename(path.with_name(f"P500_{path.name}"))
        else:
            path.unlink()
    code, said, record = evaluate(trained / "bundle", copies, tmp_path / "e")
    assert code == 1
    assert f"The bundle has learnt from all {len(learnt)} pictures" in said
    assert record == {}


def test_new_pictures_of_known_patients_are_left_out(
    trained: Path, data: Path, tmp_path: Path, learnt: set[str]
) -> None:
    known = sorted({name.partition("_")[0] for name in learnt})
    new = make_data(tmp_path / "new", first=700, patients=3)
    for number, patient in enumerate(known[:4]):
        picture(90_000 + number).save(new / "beta" / f"{patient}_beta_9.png")
    code, said, record = evaluate(trained / "bundle", new, tmp_path / "e")
    assert code == 0, said
    assert "4 others of patients or slides that it knows" in said
    assert record["left_out"]["known patient or slide"] == 4
    assert record["pictures"] == 12
    # A patient of a copy is known even where the names say nothing.
    shutil.copy(data / "alpha" / min(learnt), new / "alpha" / "P700_alpha_7.png")
    _code, _said, record = evaluate(trained / "bundle", new, tmp_path / "f")
    assert record["left_out"]["same content"] == 1
    assert record["left_out"]["known patient or slide"] == 4 + 4


def test_its_own_parts_are_measured_where_they_are_named_and_said_to_be_learnt_from(
    trained: Path, data: Path, tmp_path: Path
) -> None:
    code, said, record = evaluate(trained / "bundle", data, tmp_path / "e", "--part", "train")
    assert code == 0, said
    count = record["pictures"]
    sentence = f"The bundle has learnt from {count} of these {count} pictures"
    assert sentence in said
    assert "the train part of the training's own data, learnt from" in said
    assert any(note.startswith(sentence) for note in record["notes"])


def test_other_data_that_are_called_like_its_own_are_not_its_own(
    trained: Path, copies: Path, tmp_path: Path, learnt: set[str]
) -> None:
    for seed, path in enumerate(sorted(copies.rglob("*.png")), 500_000):
        picture(seed).save(path)
    code, said, record = evaluate(trained / "bundle", copies, tmp_path / "e")
    assert code == 0, said
    assert "the training's own data" not in said
    # Its names alone still say that patients are the same.
    assert record["left_out"]["pictures"] == len(learnt)
    assert record["left_out"]["known patient or slide"] == len(learnt)
    code, said, record = evaluate(trained / "bundle", copies, tmp_path / "f", "--part", "train")
    assert code == 1
    assert "in no parts, and the bundle was not trained on them" in said


def test_a_fold_is_measured_on_what_was_kept_from_it(
    recipe: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "folds"
    code, said = slidecam("train", recipe, "--data", data, "--out", out, "--folds", 2)
    assert code == 0, said
    tested = {}
    for number in (1, 2):
        parts = rows_of(out / f"fold-{number}" / "pictures.csv")
        test = {row["path"].rpartition("/")[2] for row in parts if row["split"] == "test"}
        bundle = out / f"fold-{number}" / "bundle"
        code, said, record = evaluate(bundle, data, tmp_path / f"e{number}")
        assert code == 0, said
        assert record["left_out"]["pictures"] == 4 * PATIENTS - len(test)
        tested[number] = measured_names(tmp_path / f"e{number}")
        assert tested[number] == test
    assert not tested[1] & tested[2]


def test_a_bundle_without_digests_says_that_it_cannot_be_known(
    trained: Path, copies: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(trained / "bundle", tmp_path / "old")
    (old / LEARNT_FILE).unlink()
    opened = open_bundle(old)
    provenance: dict[str, Any] = dict(opened.card.provenance)
    provenance["data"] = {**provenance["data"], "learnt_from": None}
    save_bundle(old, replace(opened.card, provenance=provenance), opened.network(), overwrite=True)
    (copies / "alpha" / "P000_alpha_0.png").unlink()
    code, said, record = evaluate(old, copies, tmp_path / "e")
    assert code == 0, said
    assert "whether some of these are among them cannot be known." in said
    assert record["pictures"] == 4 * PATIENTS - 1
    assert "all pictures, of which some may have been learnt from" in said


def test_a_broken_picture_among_its_own_data_is_counted(
    trained: Path, copies: Path, tmp_path: Path, learnt: set[str]
) -> None:
    kept = next(path for path in sorted(copies.rglob("*.png")) if path.name not in learnt)
    kept.write_bytes(b"no picture")
    code, said, record = evaluate(trained / "bundle", copies, tmp_path / "e")
    assert code == 3, said
    assert f"not read: {kept.relative_to(copies).as_posix()}" in said
    assert record["left_out"]["pictures"] == len(learnt)
    assert not measured_names(tmp_path / "e") & learnt


def test_a_bundle_that_begins_from_anothers_weights_knows_what_that_has_learnt(
    trained: Path, recipe: Path, copies: Path, tmp_path: Path
) -> None:
    new = make_data(tmp_path / "new", first=300, patients=6)
    out = tmp_path / "out"
    weights = trained / "bundle" / "model.safetensors"
    code, said = slidecam(
        *("train", recipe, "--data", new, "--out", out, "--weights", weights),
        *("--set", "model.weights=file"),
    )
    assert code == 0, said
    mine, theirs = (
        learnt_by(open_bundle(out / "bundle")),
        learnt_by(open_bundle(trained / "bundle")),
    )
    assert theirs.pictures is not None
    assert mine.pictures is not None
    assert theirs.groups < mine.groups
    assert set(theirs.pictures.content) < set(mine.pictures.content)
    code, said, record = evaluate(out / "bundle", copies, tmp_path / "e")
    assert code == 0, said
    assert record["left_out"]["same content"] == len(theirs.pictures.content)


def some_prints(count: int, seed: int) -> list[PicturePrint]:
    rng = np.random.default_rng(seed)
    prints = []
    for _ in range(count):
        words = rng.integers(0, 2**64, 4, np.uint64)
        turned = rng.integers(0, 2**64, (7, 4), np.uint64)
        prints.append(PicturePrint(rng.bytes(32), words, int(rng.integers(0, 257)), turned))
    return prints


def test_near_pictures_are_those_of_a_plain_count_of_bits() -> None:
    known, others = some_prints(37, 1), some_prints(23, 2)
    for row in range(0, 23, 2):
        # So many bits away from one of them.
        bits = int.from_bytes(known[row].hash.tobytes(), "little")
        for bit in range(row):
            bits ^= 1 << (11 * bit)
        words = np.frombuffer(bits.to_bytes(32, "little"), np.uint64)
        others[row] = replace(others[row], hash=words, informed=200)
    first, second = LearntPictures.of(known), LearntPictures.of(others)
    expected = []
    for other in others:
        near = False
        for each in known:
            away = np.unpackbits((each.hash ^ other.hash).view(np.uint8)).sum()
            informed = min(each.informed, other.informed) >= 4 * NEAR_BITS
            near = near or (informed and away <= NEAR_BITS)
        expected.append(near)
    assert first.near(second).tolist() == expected
    assert 3 < sum(expected) < 8
    assert not first.same(second).any()
    assert first.same(LearntPictures.of([others[3], known[5]])).tolist() == [False, True]
    unreadable = replace(known[0], digest=b"")
    assert not LearntPictures.of([unreadable]).same(LearntPictures.of([unreadable])).any()


def grain(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (19, 19, 3), np.uint8)
    return Image.fromarray(coarse).resize((61, 61), Image.Resampling.BICUBIC)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def test_shifted_and_cropped_copies_are_known_by_their_spots(tmp_path: Path) -> None:
    learnt, others = made(tmp_path / "known" / "a"), made(tmp_path / "others" / "a")
    for seed in range(9):
        grain(seed).save(learnt / f"{seed}.png")
    grain(3).crop((3, 2, 61, 61)).save(others / "00_shifted.png")
    grain(5).crop((0, 9, 61, 61)).save(others / "01_cropped.jpg", quality=90)
    for seed in range(100, 119):
        grain(seed).save(others / f"{seed}_new.png")
    found: list[LearntPictures] = []
    for folder in ("known", "others"):
        grain(200 + len(found)).save(made(tmp_path / folder / "b") / "z.png")
        pictures = read_picture_set(tmp_path / folder)
        prints = result_of(prints_of(pictures, spotted=True))
        found.append(LearntPictures.of(prints))
    known, new = found
    assert known.shown(new).tolist() == [True, True] + 20 * [False]
    said = known.save(tmp_path)
    kept = _read(tmp_path / LEARNT_FILE, {said["sha256"]})
    assert kept is not None
    assert kept.shown(new).tolist() == known.shown(new).tolist()
    assert {each.relief.size for each in kept.spots} == {0}
    doubled = kept.and_those(known).distinct()
    assert len(doubled.spots) == 10
    assert doubled.shown(new).tolist() == known.shown(new).tolist()


@pytest.mark.parametrize("way", list(Image.Transpose))
def test_mirrored_and_turned_copies_are_known(tmp_path: Path, way: Image.Transpose) -> None:
    learnt, others = made(tmp_path / "known" / "a"), made(tmp_path / "others" / "a")
    for seed in range(9):
        grain(seed).save(learnt / f"{seed}.png")
    grain(99).save(made(tmp_path / "known" / "b") / "z.png")
    for seed in (4, 7, 50, 51, 52):
        grain(seed).transpose(way).save(others / f"{seed}.jpg", quality=85)
    grain(98).save(made(tmp_path / "others" / "b") / "z.png")
    known = LearntPictures.of(
        result_of(prints_of(read_picture_set(tmp_path / "known"), spotted=True))
    )
    sifted = result_of(sift(read_picture_set(tmp_path / "others"), Learnt(known)))
    record = sifted.record()
    assert record["pictures"] == record["mirrored or turned"] == 2
    assert sifted.reasons == "2 mirrored or turned copies"
    names = sifted.unknown().names
    assert names == ("a/50.jpg", "a/51.jpg", "a/52.jpg", "b/z.png")


def test_digests_that_were_kept_without_spots_know_no_places(tmp_path: Path) -> None:
    plain = LearntPictures.of(some_prints(7, 4))
    arrays = {"content": plain.content, "hashes": plain.hashes, "informed": plain.content % 2}
    content = save(arrays)
    (tmp_path / LEARNT_FILE).write_bytes(content)
    kept = _read(tmp_path / LEARNT_FILE, {hashlib.sha256(content).hexdigest()})
    assert kept is not None
    assert not kept.shown(kept).any()


def test_digests_of_another_bundle_are_not_believed(trained: Path, tmp_path: Path) -> None:
    other = shutil.copytree(trained / "bundle", tmp_path / "other")
    assert learnt_by(open_bundle(other)).pictures is not None
    LearntPictures.of(some_prints(3, 4)).save(other)
    assert learnt_by(open_bundle(other)).pictures is None
    (other / LEARNT_FILE).write_bytes(b"none")
    assert learnt_by(open_bundle(other)).pictures is None
