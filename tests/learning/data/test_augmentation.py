"""Pictures change as they are told to, each in its own way, and by the generator alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import hed2rgb, rgb2hed
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from slidecam.errors import RecipeError
from slidecam.learning.data import augmentation
from slidecam.learning.data.appearance import (
    adjust_contrast,
    adjust_gamma,
    adjust_hue,
    adjust_saturation,
    blur,
    coarsen,
    restain,
)
from slidecam.learning.data.augmentation import AugmentationSpec, affine_maps, augment

if TYPE_CHECKING:
    from torch import Tensor

LYMPHOMA = AugmentationSpec(
    rotation=10,
    shift=0.1,
    shear=10,
    scale=(0.9, 1.1),
    hflip=0.5,
    brightness=(0.2, 1.2),
    fill="nearest",
)
ULTRASOUND = AugmentationSpec(
    hflip=0.9,
    vflip=0.9,
    rotation=15,
    brightness=(0.8, 1.2),
    contrast=(0.8, 1.2),
    saturation=(0.8, 1.2),
    hue=0.05,
)
MRI = AugmentationSpec(rotation=15, hflip=0.5, vflip=0.5, scale=(0.9, 1.1), shift=0.1)
VOLUMES = AugmentationSpec(
    shift=0.1,
    scale=(0.6, 1.2),
    fill="constant",
    gamma=(0.7, 1.4),
    resolution=(0.3, 1.0),
    blur=1.0,
)
TISSUE = AugmentationSpec(quarter_turns=True, hflip=0.5, stain=0.2)

SPECS = [LYMPHOMA, ULTRASOUND, MRI, TISSUE, VOLUMES]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 4, edge: int = 16) -> Tensor:
    return torch.randint(0, 256, (count, edge, edge, 3), dtype=torch.uint8, generator=generator(9))


def smooth(edge: int = 48) -> Tensor:
    """Return one picture, float32 (1, 3, edge, edge), 0 to 255.

    A wrong place shows in it and rounding does not.
    """
    y, x = torch.meshgrid(torch.linspace(0, 3, edge), torch.linspace(0, 2, edge), indexing="ij")
    return 127 + 120 * torch.stack([x.sin() * y.cos(), (x + 2 * y).cos(), (x * y).sin()])[None]


def planes(pixels: Tensor) -> Tensor:
    return pixels.movedim(-1, 1).float()


def test_nothing_asked_is_nothing_done() -> None:
    pixels = noise()
    state = (drawn := generator()).get_state()
    assert torch.equal(augment(pixels, AugmentationSpec(), drawn), pixels)
    assert torch.equal(drawn.get_state(), state)


@pytest.mark.parametrize("fill", ["nearest", "reflect", "constant"])
def test_a_map_that_moves_nothing_gives_every_bit_back(
    monkeypatch: pytest.MonkeyPatch, fill: Any
) -> None:
    monkeypatch.setattr(
        augmentation, "_uniform", lambda count, _generator: torch.full((count,), 0.5).double()
    )
    pixels = noise(3, 37)
    assert torch.equal(
        augment(pixels, replace(LYMPHOMA, hflip=0, brightness=(1, 1), fill=fill), generator()),
        pixels,
    )


@pytest.mark.parametrize("spec", SPECS, ids=["lymphoma", "ultrasound", "mri", "tissue", "volumes"])
def test_the_generators_state_decides_and_nothing_else(spec: AugmentationSpec) -> None:
    pixels, used = noise(), generator(5)
    torch.manual_seed(1)
    first = augment(pixels, spec, used)
    state = used.get_state()
    second = augment(pixels, spec, used)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002  (the global generator is what must not matter)
    assert torch.equal(augment(pixels, spec, generator(5)), first)
    used.set_state(state)
    assert torch.equal(augment(pixels, spec, used), second)
    assert not torch.equal(first, second)
    assert first.dtype == torch.uint8
    assert first.shape == pixels.shape
    assert first.is_contiguous()


@pytest.mark.parametrize("spec", SPECS, ids=["lymphoma", "ultrasound", "mri", "tissue", "volumes"])
def test_every_picture_of_a_batch_changes_in_its_own_way(spec: AugmentationSpec) -> None:
    same = noise(1).repeat(6, 1, 1, 1)
    changed = augment(same, spec, generator(1))
    assert len({bytes(picture.numpy().tobytes()) for picture in changed}) > 1


def test_a_sure_flip_is_numpys_flip() -> None:
    pixels = noise()
    across = augment(pixels, AugmentationSpec(hflip=1), generator())
    assert torch.equal(across, pixels.flip(2))
    assert torch.equal(augment(pixels, AugmentationSpec(vflip=1), generator()), pixels.flip(1))
    assert torch.equal(
        augment(pixels, AugmentationSpec(hflip=1, vflip=1), generator()), pixels.flip(1, 2)
    )


def test_flips_come_as_often_as_asked() -> None:
    pixels = noise(1).repeat(400, 1, 1, 1)
    changed = augment(pixels, AugmentationSpec(hflip=0.9), generator())
    flipped = (changed == pixels.flip(2)).flatten(1).all(1)
    assert ((changed == pixels).flatten(1).all(1) | flipped).all()
    assert 0.84 < flipped.float().mean() < 0.96


def test_quarter_turns_are_the_four_turns_of_torch() -> None:
    pixels = noise(1).repeat(40, 1, 1, 1)
    changed = augment(pixels, AugmentationSpec(quarter_turns=True), generator())
    found = [
        next(turn for turn in range(4) if torch.equal(picture, pixels[0].rot90(turn, (0, 1))))
        for picture in changed
    ]
    assert set(found) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("angle", "shear", "scale", "shift"),
    [
        (30, 0, 1, (0, 0)),
        (0, 0, 1, (5, -3)),
        (0, 0, 1.3, (0, 0)),
        (0, 12, 1, (0, 0)),
        (-20, -9, 0.8, (2, 4)),
    ],
    ids=["rotation", "shift", "scale", "shear", "all"],
)
def test_pixels_go_where_torchvision_takes_them(
    monkeypatch: pytest.MonkeyPatch,
    angle: float,
    shear: float,
    scale: float,
    shift: tuple[int, int],
) -> None:
    edge = 48
    # What is drawn, in its order, as shares of the largest that is allowed.
    drawn = iter([angle / 45, shear / 45, shift[0] / edge, shift[1] / edge])
    monkeypatch.setattr(
        augmentation, "_either_way", lambda _count, _generator: torch.tensor([next(drawn)]).double()
    )
    monkeypatch.setattr(
        augmentation, "_between", lambda _limits, _count, _generator: torch.tensor([scale]).double()
    )
    spec = AugmentationSpec(rotation=45, shear=45, shift=1, scale=(0.5, 2), fill="constant")
    pixels = smooth(edge).round()
    found = planes(augment(pixels.byte().movedim(1, -1), spec, generator()))
    # With ones beside the colours it is seen where the rim shines through, which torchvision treats
    # in its own way.
    marked = torch.cat([pixels, torch.ones(1, 1, edge, edge)], 1)
    moved = reference.affine(
        marked, angle, list(shift), scale, [shear, 0], InterpolationMode.BILINEAR
    )
    inside = moved[:, 3:] > 1 - 1e-6
    assert float(inside.float().mean()) > 0.3
    assert float(((found - moved[:, :3]).abs() * inside).max()) <= 0.51


@pytest.mark.parametrize("shape", [(20, 20), (20, 40)])
def test_a_dot_goes_where_the_map_says(shape: tuple[int, int]) -> None:
    height, width = shape
    for seed in range(12):
        spec = replace(MRI, fill="constant")
        pixels = torch.zeros((1, height, width, 3), dtype=torch.uint8)
        pixels[0, 7:9, width // 2 + 2 : width // 2 + 4] = 255
        maps = affine_maps(1, spec, generator(seed))[0]
        # Places in half edges about the centre; the dot's centre is the corner between its four
        # pixels.
        unit = torch.tensor([width / 2, height / 2], dtype=torch.float64)
        before = torch.tensor([3.0, 8.0 - height / 2], dtype=torch.float64)
        # Turning happens in a common unit, half the height, and shifts are shares of each edge.
        after = (maps[:2, :2] @ before) + maps[:2, 2] * unit
        light = augment(pixels, spec, generator(seed))[0, :, :, 0].double()
        y, x = torch.meshgrid(
            torch.arange(height) + 0.5 - height / 2,
            torch.arange(width) + 0.5 - width / 2,
            indexing="ij",
        )
        centre = torch.stack([(light * x).sum(), (light * y).sum()]) / light.sum()
        assert torch.allclose(centre, after, atol=0.35)


def test_maps_stay_within_their_bounds() -> None:
    maps = affine_maps(500, AugmentationSpec(rotation=10), generator())
    angles = torch.atan2(maps[:, 1, 0], maps[:, 0, 0]).rad2deg()
    assert 9 < float(angles.abs().max()) <= 10
    assert float(angles.min()) < -5
    shifts = affine_maps(500, AugmentationSpec(shift=0.1), generator())[:, :2, 2]
    assert 0.18 < float(shifts.abs().max()) <= 0.2
    scales = torch.linalg.det(
        affine_maps(500, AugmentationSpec(scale=(0.9, 1.1)), generator())[:, :2, :2]
    ).sqrt()
    assert 0.9 <= float(scales.min()) < 0.91
    assert 1.09 < float(scales.max()) <= 1.1
    slants = affine_maps(500, AugmentationSpec(shear=10), generator())[:, 0, 1].atan().rad2deg()
    assert 9 < float(slants.abs().max()) <= 10


@pytest.mark.parametrize(("fill", "value"), [("nearest", 90), ("reflect", 90), ("constant", 7)])
def test_what_comes_in_from_beyond_is_the_fill(fill: Any, value: int) -> None:
    pixels = torch.full((30, 12, 12, 3), 90, dtype=torch.uint8)
    changed = augment(pixels, AugmentationSpec(shift=0.5, fill=fill, fill_value=7), generator())
    assert int(changed.min()) == value
    assert int(changed.max()) == 90


def test_the_nearest_fill_repeats_the_rim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        augmentation, "_either_way", lambda count, _generator: torch.ones(count).double()
    )
    pixels = noise(1, 8)
    changed = augment(pixels, AugmentationSpec(shift=0.25), generator())
    assert torch.equal(changed[0, 2:, 2:], pixels[0, :-2, :-2])
    assert torch.equal(changed[0, :2, 2:], pixels[0, :1, :-2].repeat(2, 1, 1))


def test_brightness_is_a_factor_between_its_limits() -> None:
    pixels = torch.full((300, 4, 4, 3), 100, dtype=torch.uint8)
    values = augment(pixels, AugmentationSpec(brightness=(0.2, 1.2)), generator())[:, 0, 0, 0]
    assert 20 <= int(values.min()) <= 25
    assert 115 <= int(values.max()) <= 120


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.7])
def test_contrast_and_saturation_are_torchvisions(factor: float) -> None:
    pixels, factors = planes(noise(3)), torch.full((3, 1, 1, 1), factor)
    for ours, theirs in (
        (adjust_contrast, reference.adjust_contrast),
        (adjust_saturation, reference.adjust_saturation),
    ):
        assert torch.allclose(ours(pixels, factors), theirs(pixels / 255, factor) * 255, atol=2e-3)


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.05, 0.3, 0.5])
def test_hue_is_torchvisions(shift: float) -> None:
    pixels = planes(noise(3))
    pixels[0, :, 0, :3] = torch.tensor([[0.0, 255, 80], [0, 255, 80], [0, 255, 80]])
    expected = reference.adjust_hue(pixels / 255, shift) * 255
    assert torch.allclose(adjust_hue(pixels, torch.full((3, 1, 1), shift)), expected, atol=2e-2)


@pytest.mark.parametrize("exponent", [0.4, 1.0, 1.9])
def test_tone_is_bent_as_torchvision_bends_it(exponent: float) -> None:
    pixels = planes(noise(3))
    expected = reference.adjust_gamma(pixels / 255, exponent) * 255
    found = adjust_gamma(pixels, torch.full((3, 1, 1, 1), exponent))
    assert torch.allclose(found, expected, atol=2e-3)


def test_each_picture_is_blurred_with_the_gaussian_of_its_own_width() -> None:
    pixels, widths = planes(noise(3, 21)), (0.0, 0.9, 2.4)
    found = blur(pixels, torch.tensor(widths))
    for one, picture, width in zip(found, pixels, widths, strict=True):
        expected = gaussian_filter(picture.numpy(), (0, width, width), mode="nearest", radius=8)
        np.testing.assert_allclose(one.numpy(), expected, atol=2e-3)


def test_a_coarser_picture_is_what_pillow_scales_down_and_up() -> None:
    pixels = planes(noise(2, 20))
    found = coarsen(pixels, torch.tensor([0.35, 1.0]))
    picture = Image.fromarray(pixels[0, 0].numpy(), "F")
    small = picture.resize((7, 7), Image.Resampling.BILINEAR)
    expected = np.asarray(small.resize((20, 20), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=1e-2)
    np.testing.assert_allclose(found[1].numpy(), pixels[1].numpy(), atol=1e-3)


def test_pictures_lose_detail_each_to_its_own_degree() -> None:
    same = noise(1, 32).repeat(6, 1, 1, 1)
    for spec in (AugmentationSpec(blur=3), AugmentationSpec(resolution=(0.2, 0.9))):
        changed = augment(same, spec, generator()).double()
        spreads = changed.flatten(1).std(1)
        assert bool((spreads < same[0].double().std()).all())
        assert len(set(spreads.tolist())) == 6


def test_stains_are_taken_apart_as_scikit_image_does() -> None:
    # Pale pixels only: scikit-image cuts negative stains off, which in dark saturated colours
    # changes the others.
    stains = np.random.default_rng(0).uniform(0.005, 0.04, (5, 8, 3))
    pale = hed2rgb(stains)
    factors = np.array([1.3, 0.8, 1.1])
    expected = hed2rgb(rgb2hed(pale) * factors) * 255
    pixels = torch.from_numpy(pale).movedim(-1, 0)[None].float() * 255
    found = restain(pixels, torch.from_numpy(factors).float()[None], torch.zeros(1, 3))
    np.testing.assert_allclose(found[0].movedim(0, -1).numpy(), expected, atol=0.05)


def test_a_shift_of_the_stain_darkens_by_its_density() -> None:
    white = torch.full((1, 3, 2, 2), 255.0)
    changed = restain(white, torch.ones(1, 3), torch.tensor([[0.1, 0.0, 0.0]]))
    density = -(changed[0, :, 0, 0] / 255).log()
    assert math.isclose(float(density.norm()), 0.1, rel_tol=1e-3)


def test_colours_stay_within_a_byte() -> None:
    spec = AugmentationSpec(brightness=(0, 3), contrast=(0, 4), saturation=(0, 4), hue=0.5, stain=1)
    changed = augment(noise(40), spec, generator())
    assert int(changed.min()) == 0
    assert int(changed.max()) == 255


@pytest.mark.parametrize("name", ["scale", "brightness", "contrast", "saturation"])
def test_limits_the_wrong_way_round_are_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=rf"augment\.{name} is 1\.2 to 0\.8"):
        AugmentationSpec(**{name: (1.2, 0.8)})  # type: ignore[arg-type]  # pairs, as parametrised


def test_an_empty_batch_stays_empty() -> None:
    assert augment(noise(0), LYMPHOMA, generator()).shape == (0, 16, 16, 3)
