"""Cached features are the beginning's output: of plain pictures, copies, in memory, on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from slidecam.errors import RecipeError
from slidecam.learning.data.augmentation import AugmentationSpec
from slidecam.learning.data.inputs import Pictures, generator_of
from slidecam.learning.recipes.tables import FeatureSpec
from slidecam.learning.training.features import FeatureInputs, FeaturePlan, cached_features
from slidecam.models.card import Card
from slidecam.models.classifier import normalised
from slidecam.steps import result_of

if TYPE_CHECKING:
    from collections.abc import Callable

CPU = torch.device("cpu")
CARD = Card(
    name="small",
    architecture="slidecam/pocket_resnet",
    class_names=("a", "b"),
    activation="softmax",
    tile_px=16,
    spacing=None,
    input_px=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.25, 0.25, 0.25),
)


def plan_of(copies: int = 3, **spec: object) -> FeaturePlan:
    held = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (37, 16, 16, 3), np.uint8))
    pictures = Pictures(tuple(Path(f"{number}.png") for number in range(37)), 16, "bilinear", held)
    features = FeatureSpec("cut", copies, **{"dtype": "float32", **spec})  # type: ignore[arg-type]
    return FeaturePlan(
        pictures, CARD, np.arange(1, 37, 2), AugmentationSpec(rotation=20, hflip=0.5), 7, features
    )


def beginning(pixels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(pixels, 4)


def features_of(
    plan: FeaturePlan, folder: Path, begin: Callable[..., torch.Tensor] = beginning
) -> FeatureInputs:
    return result_of(cached_features(begin, plan, CPU, "source", folder))


def chance() -> torch.Generator:
    return generator_of(0)


def test_plain_pictures_have_the_beginning_s_features(tmp_path: Path) -> None:
    plan = plan_of()
    rows = np.array([30, 2, 5])
    expected = beginning(normalised(plan.pictures.batch(rows), CARD))
    assert torch.equal(features_of(plan, tmp_path).plain(rows), expected)


def test_each_epoch_gives_another_copy_until_all_have_come(tmp_path: Path) -> None:
    plan = plan_of(copies=3)
    inputs, rows = features_of(plan, tmp_path), np.array([3, 1, 35])
    epochs = [inputs.training(rows, epoch, chance()) for epoch in range(6)]
    for place in range(3):
        assert len({epoch[place].numpy().tobytes() for epoch in epochs[:3]}) == 3
        assert all(torch.equal(epochs[n][place], epochs[n + 3][place]) for n in range(3))
        plain = inputs.plain(rows)[place]
        assert not any(torch.equal(epoch[place], plain) for epoch in epochs)


def test_copies_of_a_picture_look_like_it_and_like_no_other(tmp_path: Path) -> None:
    gentle = replace(plan_of(), augmentation=AugmentationSpec(brightness=(0.98, 1.02)))
    inputs, rows = features_of(gentle, tmp_path), gentle.trained
    copies, plain = inputs.training(rows, 1, chance()).flatten(1), inputs.plain(rows).flatten(1)
    assert torch.equal(torch.cdist(copies, plain).argmin(1), torch.arange(len(rows)))


def test_without_copies_training_sees_plain_pictures(tmp_path: Path) -> None:
    inputs = features_of(plan_of(copies=0), tmp_path)
    rows = np.array([1, 7])
    assert torch.equal(inputs.training(rows, 4, chance()), inputs.plain(rows))


def test_features_are_the_same_each_time_and_with_another_seed_not(tmp_path: Path) -> None:
    plan = plan_of()
    first, second = (features_of(each, tmp_path).array for each in (plan, plan))
    assert np.array_equal(first, second)
    other = features_of(replace(plan, seed=8), tmp_path).array
    assert np.array_equal(first[:37], other[:37])
    assert not np.array_equal(first[37:], other[37:])


def test_too_much_for_memory_is_mapped_from_disk_and_found_again(tmp_path: Path) -> None:
    small, large = plan_of(memory_mb=0), plan_of()
    mapped = features_of(small, tmp_path)
    assert isinstance(mapped.array, np.memmap)
    assert np.array_equal(mapped.array, features_of(large, tmp_path / "other").array)
    assert not (tmp_path / "other").exists()

    def refuse(_pixels: torch.Tensor) -> torch.Tensor:
        raise AssertionError

    assert np.array_equal(features_of(small, tmp_path, refuse).array, mapped.array)
    with pytest.raises(AssertionError):
        features_of(replace(small, augmentation=AugmentationSpec()), tmp_path, refuse)


def test_features_that_were_not_finished_are_not_found(tmp_path: Path) -> None:
    work = cached_features(beginning, plan_of(memory_mb=0), CPU, "source", tmp_path)
    next(work)
    work.close()
    assert not list(tmp_path.iterdir())


def test_half_precision_halves_the_room_and_moves_little(tmp_path: Path) -> None:
    half, full = (
        features_of(plan_of(dtype="float16"), tmp_path).array,
        features_of(plan_of(), tmp_path).array,
    )
    assert half.nbytes * 2 == full.nbytes
    assert np.abs(half.astype(np.float32) - full).max() <= 1e-3 * np.abs(full).max()


def test_features_too_large_for_half_precision_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="float32"):
        features_of(plan_of(dtype="float16"), tmp_path, lambda pixels: beginning(pixels) * 1e6)
    with pytest.raises(RecipeError, match="not finite"):
        features_of(plan_of(), tmp_path, lambda pixels: beginning(pixels) * torch.nan)
