"""Stain normalisation: equal to the papers, tile by tile, and the same behind every door."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from slidecam.errors import CardError, RecipeError
from slidecam.learning.data.augmentation import AugmentationSpec, augment
from slidecam.learning.data.pixels import Pictures
from slidecam.learning.recipes.recipe import read_recipe
from slidecam.learning.recipes.tables import FeatureSpec
from slidecam.learning.training.features import FeaturePlan
from slidecam.learning.training.setup import PixelInputs, card_for
from slidecam.models import save_bundle
from slidecam.models.architectures import build_network
from slidecam.models.card import Card, read_card
from slidecam.models.classifier import normalised, scaled
from slidecam.models.stain import (
    Stain,
    StainMethod,
    percentiles,
    recoloured_macenko,
    recoloured_reinhard,
    restained,
    sight_notes,
    stain_of,
    stains_of,
)

if TYPE_CHECKING:
    from slidecam.models import Bundle

Colours = NDArray[np.float64]

HAEMATOXYLIN = np.array([0.6443, 0.7166, 0.2668])
EOSIN = np.array([0.0928, 0.9541, 0.2831])


def stained_tile(seed: int = 7, edge: int = 61, white: float = 0.0) -> NDArray[np.uint8]:
    """Return a tile of two stains by Beer and Lambert's law, some of it glass."""
    draw = np.random.default_rng(seed)
    amounts = draw.gamma((1.9, 1.3), (0.37, 0.51), (edge, edge, 2))
    amounts[draw.random((edge, edge)) < white] = 0
    density = amounts @ np.stack([HAEMATOXYLIN, EOSIN])
    noise = draw.normal(0, 0.7, (edge, edge, 3))
    found: NDArray[np.uint8] = np.clip(np.rint(240 * np.exp(-density) + noise), 0, 255).astype("u1")
    return found


def macenko_by_the_paper(tile: NDArray[np.uint8], stain: Stain) -> Colours:
    """Return a tile as Macenko et al. (2009) recolour it, step by step, by singular vectors.

    1. RGB to OD. 2. Remove data with OD below beta. 3. SVD on the OD tuples. 4. A plane of the two
    largest singular values. 5. Project, 6. the angle of each point. 7. Robust extremes (alpha, 100
    - alpha). 8. Back to OD space.
    """
    density = -np.log((tile.reshape(-1, 3).astype(np.float64) + 1) / 240)
    kept = density[~np.any(density < 0.15, axis=1)]
    centred = kept - kept.mean(0)
    _left, _values, right = np.linalg.svd(centred, full_matrices=False)
    first, second = right[0], right[1]
    if first.sum() < 0:
        first = -first
    angles = np.arctan2(kept @ second, kept @ first)
    ends = [np.cos(x) * first + np.sin(x) * second for x in np.percentile(angles, (1, 99))]
    ends.sort(key=lambda vector: -vector[0])
    mixing = np.stack(ends, axis=1)
    amounts = np.linalg.lstsq(mixing, density.T, rcond=None)[0]
    top = np.percentile(amounts, 99, axis=1)
    amounts *= (np.array(stain.maxima) / top)[:, None]
    shown = 240 * np.exp(-(np.array(stain.stains).T @ amounts))
    found: Colours = shown.T.reshape(tile.shape)
    return found


def reinhard_by_the_paper(tile: NDArray[np.uint8], stain: Stain) -> Colours:
    """Return a tile as Reinhard et al. (2001) recolour it, pixel by pixel of eqs 4-11."""
    rgb_to_lms = np.array(
        [[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]]
    )
    to_axes = np.diag([1 / 3**0.5, 1 / 6**0.5, 1 / 2**0.5]) @ [[1, 1, 1], [1, 1, -2], [1, -1, 0]]
    pixels = np.maximum(tile.reshape(-1, 3).astype(np.float64), 1)
    axes = np.log(pixels @ rgb_to_lms.T) @ to_axes.T
    shown = (axes - axes.mean(0)) / axes.std(0) * stain.deviation + stain.mean
    cones = np.exp(shown @ np.linalg.inv(to_axes).T)
    found: Colours = cones @ np.linalg.inv(rgb_to_lms).T
    return found.reshape(tile.shape)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("white", [0.0, 0.43])
def test_macenko_equals_the_paper(seed: int, white: float) -> None:
    tile = stained_tile(seed, white=white)
    stain = Stain("macenko", ((0.61, 0.69, 0.39), (0.19, 0.83, 0.52)), (1.83, 1.17))
    found = recoloured_macenko(torch.from_numpy(tile), stain)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), macenko_by_the_paper(tile, stain), rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("white", [0.0, 0.43])
def test_reinhard_equals_the_paper(seed: int, white: float) -> None:
    tile = stained_tile(seed, white=white)
    stain = Stain("reinhard", mean=(8.31, -0.123, 0.041), deviation=(0.61, 0.097, 0.0171))
    found = recoloured_reinhard(torch.from_numpy(tile), stain)
    assert found is not None
    expected = reinhard_by_the_paper(tile, stain)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6)


def test_macenko_finds_the_stains_that_a_tile_was_painted_with() -> None:
    found = stains_of(torch.from_numpy(stained_tile(edge=181)))
    assert found is not None
    cosines = (found.numpy() * np.stack([HAEMATOXYLIN, EOSIN])).sum(1)
    assert np.degrees(np.arccos(np.minimum(cosines, 1))).max() < 4


def test_percentiles_are_numpys() -> None:
    values = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 1237)))
    found = percentiles(values, 1, 37.3, 99).numpy()
    expected = np.percentile(values.numpy(), (1, 37.3, 99), axis=1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-14)


METHODS: tuple[StainMethod, ...] = ("macenko", "reinhard")


@pytest.mark.parametrize("method", METHODS)
def test_a_tile_looks_the_same_in_whatever_batch_it_comes(method: StainMethod) -> None:
    tiles = torch.from_numpy(np.stack([stained_tile(seed, white=seed / 20) for seed in range(17)]))
    stain = Stain(method)
    together = restained(tiles, stain)
    assert together.dtype == torch.uint8
    assert not torch.equal(together, tiles)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            for place, tile in enumerate(tiles):
                assert torch.equal(restained(tile[None], stain)[0], together[place])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "kind", ["white", "black", "grey", "glass", "grey noise", "one stain", "one pixel"]
)
def test_a_tile_of_which_nothing_can_be_told_is_seen_as_it_is(
    method: StainMethod, kind: str
) -> None:
    draw = np.random.default_rng(5)
    tile = {
        "white": np.full((32, 32, 3), 255, np.uint8),
        "black": np.zeros((32, 32, 3), np.uint8),
        "grey": np.full((32, 32, 3), 117, np.uint8),
        "glass": draw.integers(231, 256, (32, 32, 3)).astype(np.uint8),
        "grey noise": np.repeat(draw.integers(0, 230, (32, 32, 1)), 3, 2).astype(np.uint8),
        "one stain": np.clip(
            240 * np.exp(-draw.gamma(2, 0.4, (32, 32, 1)) * HAEMATOXYLIN), 0, 255
        ).astype(np.uint8),
        "one pixel": stained_tile(edge=1),
    }[kind]
    seen = restained(torch.from_numpy(tile)[None], Stain(method))[0]
    if method == "reinhard" and kind == "one stain":
        assert not torch.equal(seen, torch.from_numpy(tile))
    else:
        assert torch.equal(seen, torch.from_numpy(tile))


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_is_its_own_reference(method: StainMethod) -> None:
    tile = torch.from_numpy(stained_tile(edge=97))
    stain = stain_of(tile, method)
    assert stain is not None
    off = (restained(tile[None], stain)[0].int() - tile.int()).abs()
    assert float(off.double().mean()) < 1
    assert stain_of(torch.full((9, 9, 3), 255, dtype=torch.uint8), method) is None


@pytest.mark.parametrize("method", METHODS)
def test_two_scanners_of_one_tile_become_one(method: StainMethod) -> None:
    tile = stained_tile(edge=97)
    light = -np.log((tile.astype(np.float64) + 1) / 240)
    other = np.clip(240 * np.exp(-light * 1.31) - 1, 0, 255).astype(np.uint8)
    first, second = restained(torch.from_numpy(np.stack([tile, other])), Stain(method)).double()
    apart = np.abs(tile.astype(float) - other).mean()
    assert float((first - second).abs().mean()) < apart / 5


def card(**values: Any) -> Card:
    plain = Card(
        name="stained",
        architecture="timm/test_resnet",
        class_names=("a", "b"),
        activation="softmax",
        tile_px=64,
        spacing=0.5,
        input_px=64,
        mean=(0.71, 0.52, 0.68),
        std=(0.17, 0.22, 0.19),
    )
    return replace(plain, **values)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    network = build_network("timm/test_resnet", {}, 2, tmp_path)
    return save_bundle(tmp_path / "bundle", card(stain=Stain("macenko")), network)


def test_a_card_keeps_its_stain_and_every_number_of_it(bundle: Bundle, tmp_path: Path) -> None:
    table = json.loads(bundle.card_path.read_text())
    assert table["stain"]["maxima"] == [1.9705, 1.0308]
    assert read_card(bundle.card_path).stain == Stain("macenko")
    assert "Macenko, 2009" in sight_notes(bundle.card.channels, bundle.card.stain)[0]
    plain = save_bundle(tmp_path / "plain", card(), bundle.network())
    assert "stain" not in json.loads(plain.card_path.read_text())
    assert plain.digest != bundle.digest
    assert sight_notes(plain.card.channels, plain.card.stain) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stain": {"method": "vahadane"}}, r'stain\.method.*"vahadane".*macenko.*reinhard'),
        ({"stain": {}}, r"stain\.method"),
        ({"stain": {"method": "macenko", "maxima": [0, 1]}}, r"stain\.maxima"),
        ({"stain": {"method": "reinhard", "mean": [8.1, 0.2]}}, r"stain\.mean"),
        ({"stain": {"method": "macenko", "radius": 3}}, r"stain\.radius"),
    ],
)
def test_a_stain_that_is_none_is_refused(
    bundle: Bundle, change: dict[str, object], said: str
) -> None:
    table = json.loads(bundle.card_path.read_text())
    bundle.card_path.write_text(json.dumps({**table, **change}))
    with pytest.raises(CardError, match=said):
        read_card(bundle.card_path)


def test_grey_has_no_stains(bundle: Bundle) -> None:
    table = json.loads(bundle.card_path.read_text())
    grey = {**table, "channels": 1, "mean": [0.5], "std": [0.5]}
    bundle.card_path.write_text(json.dumps(grey))
    with pytest.raises(CardError, match=r"stain.*of grey, which has no stains"):
        read_card(bundle.card_path)


def test_a_classifier_sees_recoloured_tiles(bundle: Bundle) -> None:
    tiles = torch.from_numpy(np.stack([stained_tile(seed, 64) for seed in range(3)]))
    by_hand = scaled(restained(tiles, Stain("macenko")), bundle.card)
    assert torch.equal(normalised(tiles, bundle.card), by_hand)
    with torch.no_grad():
        expected = bundle.network()(by_hand)
    found = bundle.classifier(backend="eager").run(tiles, gradients=False).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def recipe(folder: Path, extra: str) -> Path:
    path = folder / "r.toml"
    path.write_text(f'[model]\narchitecture = "test_resnet"\n[data]\ninput_px = 64\n{extra}\n')
    return path


def test_a_recipe_says_the_stain_and_its_reference(tmp_path: Path) -> None:
    network = build_network("timm/test_resnet", {}, 2, tmp_path)
    plain = read_recipe(recipe(tmp_path, 'stain = "reinhard"'))
    assert card_for(plain, network, ("a", "b")).stain == Stain("reinhard")
    picture = tmp_path / "reference.png"
    Image.fromarray(stained_tile()).save(picture)
    said = f'stain = "macenko"\nstain_reference = "{picture.as_posix()}"'
    made = card_for(read_recipe(recipe(tmp_path, said)), network, ("a", "b")).stain
    assert made == stain_of(torch.from_numpy(stained_tile()), "macenko")


def test_a_recipe_is_refused_where_its_stain_is_of_no_use(tmp_path: Path) -> None:
    network = build_network("timm/test_resnet", {}, 2, tmp_path)
    unseen = np.dstack([stained_tile(), np.zeros(stained_tile().shape[:2], np.uint8)])
    pictures = {
        "white": (Image.new("RGB", (32, 32), "white"), "no two stains"),
        "transparent": (Image.fromarray(unseen), "no two stains"),
        "tiny": (Image.fromarray(stained_tile()[:9, :11]), "11 x 9 pixels, and 100 to 16,777,216"),
        "huge": (Image.new("L", (4097, 4096)), "4097 x 4096 pixels, and 100 to 16,777,216"),
    }
    refused = [('stain_reference = "x.png"', "changes nothing without")]
    for name, (picture, problem) in pictures.items():
        path = tmp_path / f"{name}.png"
        picture.save(path)
        refused.append((f'stain = "macenko"\nstain_reference = "{path.as_posix()}"', problem))
    for said, problem in (
        *refused,
        ('stain = "macenko"\nstain_reference = "gone.png"', "cannot be read"),
    ):
        with pytest.raises(RecipeError, match=problem):
            card_for(read_recipe(recipe(tmp_path, said)), network, ("a", "b"))
    with pytest.raises(RecipeError, match=r"vahadane.*macenko"):
        read_recipe(recipe(tmp_path, 'stain = "vahadane"'))


@pytest.mark.parametrize("method", METHODS)
def test_training_recolours_before_it_augments(method: StainMethod) -> None:
    held = torch.from_numpy(np.stack([stained_tile(seed, 64) for seed in range(4)]))
    pictures = Pictures((Path("a"),) * 4, 64, "bilinear", held)
    rows, draw, own = np.array([2, 0]), torch.Generator(), card(stain=Stain(method))
    plain = PixelInputs(pictures, own, AugmentationSpec(), torch.device("cpu"))
    seen = plain.training(rows, 0, draw)
    assert torch.equal(seen, plain.plain(rows))
    assert torch.equal(seen, normalised(held[rows], own))
    darker = AugmentationSpec(brightness=(0.41, 0.41))
    inputs = PixelInputs(pictures, own, darker, torch.device("cpu"))
    expected = augment(restained(held[rows], own.stain), darker, draw)
    assert torch.equal(inputs.training(rows, 0, draw), scaled(expected, own))
    assert not torch.equal(inputs.training(rows, 0, draw), normalised(held[rows], own))


def test_features_of_another_stain_are_others() -> None:
    digests = set()
    for stain in (None, Stain("macenko"), Stain("macenko", maxima=(1.5, 1.0)), Stain("reinhard")):
        pictures = Pictures((Path("a"),), 64, "bilinear", torch.zeros(1, 64, 64, 3))
        plan = FeaturePlan(
            pictures,
            card(stain=stain),
            np.array([0]),
            AugmentationSpec(),
            0,
            FeatureSpec("layer3"),
        )
        digests.add(plan.digest("network"))
    assert len(digests) == 4
