"""What a card says of ICC profiles holds wherever its classifier looks at something."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from typer.testing import CliRunner

from profiles import PROFILE, bundle_pair, by_hand, classified, slide_pair
from slidecam.cli.app import app
from slidecam.close_up import TileChoice, choose_tiles
from slidecam.errors import DataSetError
from slidecam.icc import to_srgb_of
from slidecam.learning.data.dataset import dataset_for
from slidecam.learning.data.pictures import read_picture_set
from slidecam.learning.data.pixels import hold_pictures, load_pixels
from slidecam.learning.data.readings import look_at_pictures
from slidecam.learning.evaluation.bundle import BundleEvaluationSpec, dataset_to_evaluate
from slidecam.learning.evaluation.classifying import classify_pictures
from slidecam.learning.recipes.recipe import read_recipe
from slidecam.learning.recipes.tables import DataSpec
from slidecam.learning.training.setup import with_tile_size
from slidecam.models import open_bundle
from slidecam.prediction.choices import view_of
from slidecam.runs.spec import PredictSpec
from slidecam.server.devices import FairLock
from slidecam.server.guard import Limits
from slidecam.server.pictures import PictureRequest, explain_picture
from slidecam.server.slides import SlideCache
from slidecam.steps import result_of
from slidecam.tile_sets import TileSetSpec, write_tile_set
from slidecam.viewing import PictureView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

RECIPE = """
[model]
architecture = "slidecam/pocket_resnet"
licence = "CC0-1.0"

[train]
epochs = 2
batch = 8
lr = 0.01
"""


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return bundle_pair(tiny_bundle, tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def slides(
    write_slide: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("slides")
    return slide_pair(write_slide(folder / "plain.tif"), folder)


def test_predict_shows_a_classifier_what_its_card_says_unless_the_call_says_otherwise(
    tmp_path: Path, bundles: dict[str, Path], slides: dict[str, Path]
) -> None:
    shown = classified(slides["shown"], bundles["ignore"], tmp_path / "1").tiles.probabilities
    stored = classified(slides["stored"], bundles["ignore"], tmp_path / "2").tiles.probabilities
    by_card = classified(slides["stored"], bundles["srgb"], tmp_path / "3")
    by_call = classified(slides["stored"], bundles["ignore"], tmp_path / "4", profile="srgb")
    against = classified(slides["stored"], bundles["srgb"], tmp_path / "5", profile="ignore")
    assert np.abs(stored - shown).max() > 0.003
    np.testing.assert_array_equal(by_card.tiles.probabilities, shown)
    np.testing.assert_array_equal(by_call.tiles.probabilities, shown)
    np.testing.assert_array_equal(against.tiles.probabilities, stored)
    with by_card.open_slide() as again, against.open_slide() as plain:
        assert again.seen == PictureView(profile="srgb")
        assert plain.seen == PictureView()


def test_a_call_that_ignores_profiles_is_one_that_says_nothing(bundles: dict[str, Path]) -> None:
    card = open_bundle(bundles["ignore"]).card
    said, silent = PredictSpec(profile="ignore"), PredictSpec()
    assert view_of(card, said).slide == view_of(card, silent).slide == PictureView()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return two folders of the same pictures: stored with a profile, and shown without."""
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(3)
    for number in range(4):
        pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
        kept: tuple[tuple[str, NDArray[np.uint8], bytes | None], ...] = (
            ("stored", pixels, PROFILE),
            ("shown", by_hand(pixels), None),
        )
        for name, found, profile in kept:
            path = folder / name / "ABAB"[number] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(found).save(path, icc_profile=profile)
    return folder


def test_training_reads_pictures_as_the_card_says(pictures: Path, bundles: dict[str, Path]) -> None:
    paths = {name: sorted((pictures / name).rglob("*.png")) for name in ("stored", "shown")}
    for memory in (0, 99):
        batches = []
        for name, card in (("stored", "srgb"), ("shown", "ignore"), ("stored", "ignore")):
            seen = open_bundle(bundles[card]).card
            held = result_of(hold_pictures(paths[name], seen, memory))
            batches.append(held.batch(np.arange(4)))
        assert torch.equal(batches[0], batches[1])
        assert not torch.equal(batches[0], batches[2])


def test_evaluation_and_close_ups_read_pictures_as_the_card_says(
    pictures: Path, bundles: dict[str, Path]
) -> None:
    logits, tiles = [], []
    for name, card in (("stored", "srgb"), ("shown", "ignore"), ("stored", "ignore")):
        classifier = open_bundle(bundles[card]).classifier()
        found = read_picture_set(pictures / name, fewest=1)
        logits.append(result_of(classify_pictures(classifier, found, 4, 1)).logits)
        tiles.append(result_of(choose_tiles(pictures / name, classifier, TileChoice())).pixels)
    np.testing.assert_array_equal(logits[0], logits[1])
    np.testing.assert_array_equal(tiles[0], tiles[1])
    assert np.abs(logits[0] - logits[2]).max() > 0.01
    assert not np.array_equal(tiles[0], tiles[2])


def test_training_and_evaluation_say_what_becomes_of_profiles(
    pictures: Path, bundles: dict[str, Path]
) -> None:
    named = to_srgb_of(PROFILE).name
    says = {
        "ignore": f"An ICC profile ({named}) is there and not applied; --profile srgb applies it.",
        "srgb": f"The ICC profile {named} is applied, and colours are those of sRGB; --profile"
        " ignore leaves them as stored.",
    }
    for name, sentence in says.items():
        said = f"Of 4 pictures all (A/0.png for one): {sentence}"
        card = open_bundle(bundles[name]).card
        work = dataset_to_evaluate(pictures / "stored", card, BundleEvaluationSpec(part="all"))
        dataset = result_of(work).dataset
        assert said in dataset.pictures.notes
        spec = DataSpec(color_profile=card.color_profile, train=1.0, val=0.0, test=0.0)
        learnt = result_of(dataset_for(pictures / "stored", spec))
        assert said in learnt.pictures.notes
    plain = read_picture_set(pictures / "shown", fewest=1)
    assert result_of(look_at_pictures(plain)).noted().notes == ()


def test_a_close_up_of_a_slide_sees_what_the_card_says(
    slides: dict[str, Path], bundles: dict[str, Path]
) -> None:
    choice = TileChoice(at=((200.0, 220.0),))
    srgb, plain = (open_bundle(bundles[card]).classifier() for card in ("srgb", "ignore"))
    shown = result_of(choose_tiles(slides["shown"], plain, choice)).pixels
    np.testing.assert_array_equal(
        result_of(choose_tiles(slides["stored"], srgb, choice)).pixels, shown
    )
    stored = result_of(choose_tiles(slides["stored"], plain, choice))
    assert not np.array_equal(stored.pixels, shown)
    assert any("not applied" in note for note in stored.notes)


def test_an_uploaded_picture_is_classified_as_the_card_says_and_shown_in_srgb(
    pictures: Path, bundles: dict[str, Path]
) -> None:
    limits = Limits(body_bytes=10**6, pixels=10**6)
    request = PictureRequest((), (), shown=64)
    answers = []
    for name, card in (("stored", "srgb"), ("shown", "ignore"), ("stored", "ignore")):
        content = (pictures / name / "A" / "0.png").read_bytes()
        classifier = open_bundle(bundles[card]).classifier()
        answers.append(explain_picture(content, classifier, request, limits, FairLock()))
    assert answers[0]["classes"] == answers[1]["classes"] != answers[2]["classes"]
    assert answers[0]["shown"] == answers[1]["shown"] == answers[2]["shown"]
    assert any("is applied" in note for note in answers[0]["notes"])
    assert not any("ICC" in note for note in answers[1]["notes"])
    assert any("not applied" in note for note in answers[2]["notes"])


def test_tiles_cut_in_srgb_make_a_card_that_says_so(
    tmp_path: Path, slides: dict[str, Path], bundles: dict[str, Path]
) -> None:
    ring = [[60, 60], [560, 60], [560, 400], [60, 400], [60, 60]]
    area = {
        "type": "Feature",
        "properties": {"objectType": "annotation", "classification": {"name": "A"}},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    drawn = tmp_path / "drawn.geojson"
    drawn.write_text(json.dumps({"type": "FeatureCollection", "features": [area]}))
    like = TileSetSpec(min_tissue=0).like(open_bundle(bundles["srgb"]).card)
    assert like.seen.profile == "srgb"
    made = result_of(write_tile_set([slides["stored"]], drawn, tmp_path / "set", like))
    tile = next(made.folder.rglob("*.png"))
    x, y = (int(part[1:]) for part in tile.stem.split("_")[-2:])
    shown = tifffile.imread(slides["shown"])[y : y + 64, x : x + 64]
    # They hold no profile of their own: what is in them is sRGB, applied once and not twice.
    np.testing.assert_array_equal(load_pixels(tile, 64, seen=like.seen), shown)

    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    fitted = with_tile_size(read_recipe(recipe), made.folder)
    assert fitted.data.color_profile == "srgb"
    against = read_recipe(recipe, ['data.color_profile="ignore"'])
    with pytest.raises(DataSetError, match=r"color_profile of srgb, and .* says ignore"):
        with_tile_size(against, made.folder)


def test_bundle_takes_a_profile(tmp_path: Path, tiny_bundle: Path) -> None:
    weights, out = tiny_bundle / "model.safetensors", tmp_path / "b"
    call = "bundle --arch slidecam/pocket_resnet --arch-arg widths=[8,12,16] --tile 64 --mpp 0.5"
    call += f" --weights {weights} --out {out} --profile srgb"
    done = CliRunner().invoke(app, [*call.split(), "--classes", "A,B,C"])
    assert done.exit_code == 0, done.output
    assert open_bundle(out).card.color_profile == "srgb"


def test_the_page_shows_srgb_whatever_the_server_classifies_with(
    slides: dict[str, Path], bundles: dict[str, Path]
) -> None:
    stored, shown = SlideCache(2), SlideCache(2)
    try:
        first, second = (
            cache.open(slides[name]) for cache, name in ((stored, "stored"), (shown, "shown"))
        )
        deepest = int(np.ceil(np.log2(max(first["width"], first["height"]))))
        tile = stored.tile(first["id"], deepest, 0, 0)
        assert tile == shown.tile(second["id"], deepest, 0, 0)
        assert any(
            note.endswith("classifiers see what their cards say.") for note in first["notes"]
        )
        assert not any("ICC" in note for note in second["notes"])
    finally:
        stored.close()
        shown.close()
    assert open_bundle(bundles["ignore"]).card.color_profile == "ignore"
