"""The synthetic head is what its script makes.

The toy classifier finds the lesion that was planted in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from make_phantom import synthesise, write
from train_mri_bundle import SEEN, Recipe

from slidecam.evaluation.volumes import evaluate_volume
from slidecam.models import open_bundle
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.store import read_run

FOLDER = Path(__file__).parents[2] / "sample_data"
SEED = 7


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classify the sample head, and its twin without lesion."""
    folder = tmp_path_factory.mktemp("heads")
    twin = synthesise(SEED, lesion=False)
    write(folder / "healthy.nii.gz", twin.voxels, twin.affine)
    heads = [FOLDER / "brain.nii.gz", folder / "healthy.nii.gz"]
    events = predict(heads, FOLDER / "mri-bundle", folder / "out", PredictSpec(workers=1))
    assert len([*events]) > 4
    return folder / "out"


def test_the_files_are_small() -> None:
    for name in ("brain.nii.gz", "brain_lesion.nii.gz", "mri-bundle/model.safetensors"):
        assert (FOLDER / name).stat().st_size < 300_000


def test_the_head_is_what_its_script_makes() -> None:
    made = synthesise(SEED)
    kept: Any = nibabel.load(FOLDER / "brain.nii.gz")
    np.testing.assert_array_equal(np.asarray(kept.dataobj), made.voxels)
    np.testing.assert_allclose(kept.affine, made.affine)
    mask: Any = nibabel.load(FOLDER / "brain_lesion.nii.gz")
    np.testing.assert_array_equal(np.asarray(mask.dataobj) > 0, made.lesion)
    healthy = synthesise(SEED, lesion=False)
    assert not healthy.lesion.any()
    differing = np.abs(made.voxels.astype(int) - healthy.voxels) > 30
    assert (
        made.lesion[differing].mean() > 0.6
    )  # nothing but the lesion, and its soft rim, tells them apart


def test_the_card_tells_the_recipe_that_stands_in_the_code() -> None:
    card = open_bundle(FOLDER / "mri-bundle").card
    assert card.provenance["recipe"] == json.loads(json.dumps(asdict(Recipe())))
    assert card.volume == SEEN
    recipe = Recipe()
    assert SEED not in recipe.train_seeds
    assert not set(recipe.train_seeds) & set(recipe.validation_seeds)


def test_the_lesion_is_called_and_its_twin_is_not(out: Path) -> None:
    calls = {
        name: (read_run(out / name) or {})["volume"]["called"] for name in ("brain", "healthy")
    }
    assert calls == {"brain": "lesion", "healthy": None}


def test_the_heat_lies_on_the_lesion_far_more_than_chance(out: Path) -> None:
    found = evaluate_volume(out / "brain", FOLDER / "brain_lesion.nii.gz", ["lesion"])
    (figures,) = found.figures
    told: dict[str, Any] = asdict(figures)
    assert figures.energy > 5 * figures.chance_in_foreground, told
    assert figures.peak_distance_mm < 25, told  # a cell of the map is 28 mm wide
