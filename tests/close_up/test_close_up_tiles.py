"""Chosen tiles are those that predict sees, at the places that were asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.close_up import ChosenTiles, TileChoice, choose_tiles
from slidecam.errors import DataSetError, SlidecamError, TilingError, UsageError
from slidecam.foreground import whole_slide
from slidecam.geometry import Spacing
from slidecam.models import Card, Classifier, open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.sources import open_source
from slidecam.steps import result_of
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.tiling import TilingSpec, lay_at, lay_grid

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def classifier(sample_data: Path) -> Classifier:
    return open_bundle(sample_data / "bundle").classifier()


def chosen(source: Path, classifier: Classifier, choice: TileChoice) -> ChosenTiles:
    return result_of(choose_tiles(source, classifier, choice))


def square(x: int, y: int, edge: int, name: str) -> dict[str, object]:
    ring = [[x, y], [x + edge, y], [x + edge, y + edge], [x, y + edge], [x, y]]
    properties = {"objectType": "annotation", "classification": {"name": name}}
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def drawn(path: Path, *features: dict[str, object]) -> Path:
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": list(features)}), encoding="utf-8"
    )
    return path


def test_a_tile_lies_round_its_place_and_holds_the_slides_own_pixels(
    sample_data: Path, classifier: Classifier
) -> None:
    tiles = chosen(
        sample_data / "slide.tif", classifier, TileChoice(at=((1500, 1500), (3000.4, 2000)))
    )
    edge = int(tiles.boxes[0, 2]) if tiles.boxes is not None else 0
    assert tiles.boxes is not None
    np.testing.assert_allclose(tiles.boxes[:, :2] + edge / 2, [[1500, 1500], [3000, 2000]], atol=1)
    with open_source(sample_data / "slide.tif") as source:
        card = classifier.card
        assert card.spacing is not None
        spec = TilingSpec(card.tile_px, card.spacing, card.input_px)
        grid = lay_at(
            source.facts, source.facts.spacing or Spacing(1, 1), np.array([[1500.0, 1500.0]]), spec
        )
        (batch,) = stream_tiles(source, grid, StreamSpec(1, interpolation=card.interpolation))
    np.testing.assert_array_equal(tiles.pixels[0], batch.pixels[0])


def test_a_place_beyond_the_slide_is_refused(sample_data: Path, classifier: Classifier) -> None:
    with pytest.raises(TilingError, match="99999,5 lies beyond"):
        chosen(sample_data / "slide.tif", classifier, TileChoice(at=((99999, 5),)))


def test_a_region_gives_the_grids_tiles_that_lie_in_it(
    sample_data: Path, classifier: Classifier, tmp_path: Path
) -> None:
    region = drawn(tmp_path / "area.geojson", square(1400, 1400, 420, "area"))
    tiles = chosen(sample_data / "slide.tif", classifier, TileChoice(region=region))
    with open_source(sample_data / "slide.tif") as source:
        card = classifier.card
        spec = TilingSpec(card.tile_px, card.spacing or 1.0, card.input_px)
        everything = lay_grid(
            source.facts,
            source.facts.spacing or Spacing(1, 1),
            whole_slide(source.facts.size),
            spec,
        )
    corners = everything.boxes[:, :2]
    covered = np.clip(
        np.minimum(corners + everything.edge, 1820) - np.maximum(corners, 1400), 0, None
    ).prod(1)
    inside = everything.boxes[covered >= 0.5 * everything.edge**2]
    assert tiles.boxes is not None
    assert len(inside) > 0
    np.testing.assert_array_equal(tiles.boxes, inside)


def test_more_tiles_than_allowed_are_refused(
    sample_data: Path, classifier: Classifier, tmp_path: Path
) -> None:
    region = drawn(tmp_path / "area.geojson", square(0, 0, 4000, "area"))
    with pytest.raises(UsageError, match="more than 5"):
        chosen(sample_data / "slide.tif", classifier, TileChoice(region=region, most=5))


def test_the_top_tiles_are_the_likeliest_of_all(sample_data: Path, classifier: Classifier) -> None:
    name = classifier.card.class_names[-1]
    tiles = chosen(sample_data / "slide.tif", classifier, TileChoice(top=3, of=name))
    random = chosen(sample_data / "slide.tif", classifier, TileChoice(random=12))

    def likeliest(some: ChosenTiles) -> list[float]:
        import torch  # noqa: PLC0415  (only here)

        passed = classifier.run(torch.from_numpy(some.pixels), gradients=False)
        return classifier.probabilities(passed.logits)[:, -1].tolist()

    found = likeliest(tiles)
    assert found == sorted(found, reverse=True)
    assert min(found) >= max(likeliest(random)) - 1e-6


def test_random_tiles_repeat_with_their_seed(sample_data: Path, classifier: Classifier) -> None:
    names = [
        chosen(sample_data / "slide.tif", classifier, TileChoice(random=5, seed=seed)).names
        for seed in (1, 1, 2)
    ]
    assert names[0] == names[1]
    assert names[0] != names[2]


def test_a_slide_without_a_choice_is_refused(sample_data: Path, classifier: Classifier) -> None:
    with pytest.raises(UsageError, match="is a slide"):
        chosen(sample_data / "slide.tif", classifier, TileChoice())


def test_masks_lie_where_the_class_was_drawn(
    sample_data: Path, classifier: Classifier, tmp_path: Path
) -> None:
    edge = classifier.card.input_px
    areas = drawn(
        tmp_path / "classes.geojson",
        square(1500, 1500, 2000, "tumour"),
        square(0, 0, 1400, "stroma"),
    )
    choice = TileChoice(at=((1500, 1500),), masks=areas, of="tumour")
    masks = chosen(sample_data / "slide.tif", classifier, choice).masks
    assert masks is not None
    assert masks[0, edge // 2 + 2 :, edge // 2 + 2 :].all()
    assert not masks[0, : edge // 2 - 2].any()
    assert not masks[0, :, : edge // 2 - 2].any()


def test_pictures_of_a_folder_come_from_all_classes_with_their_labels(
    classifier: Classifier, tmp_path: Path
) -> None:
    for number in range(6):
        for name in ("lymphoid", "stroma"):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("RGB", (40, 30), (number * 9, 100, 200)).save(
                tmp_path / name / f"{number}.png"
            )
    tiles = chosen(tmp_path, classifier, TileChoice(random=4))
    assert sorted(label or "" for label in tiles.labels) == [
        "lymphoid",
        "lymphoid",
        "stroma",
        "stroma",
    ]
    assert tiles.pixels.shape == (4, classifier.card.input_px, classifier.card.input_px, 3)
    with pytest.raises(UsageError, match="no places"):
        chosen(tmp_path, classifier, TileChoice(at=((1, 1),)))


def test_pictures_of_one_class_can_be_looked_at_for_nobody_learns_from_them(
    classifier: Classifier, tmp_path: Path
) -> None:
    (tmp_path / "stroma").mkdir()
    with pytest.raises(DataSetError, match=r"There is no picture in this class folder .*stroma"):
        chosen(tmp_path, classifier, TileChoice())
    Image.new("RGB", (40, 30), (90, 100, 200)).save(tmp_path / "stroma" / "1.png")
    assert chosen(tmp_path, classifier, TileChoice()).labels == ("stroma",)


def test_an_area_too_small_for_a_tile_is_named(
    sample_data: Path, classifier: Classifier, tmp_path: Path
) -> None:
    ring = [[[1500, 1500], [1510, 1500], [1510, 1510], [1500, 1510], [1500, 1500]]]
    drawn = {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "Polygon", "coordinates": ring},
    }
    (tmp_path / "small.geojson").write_text(json.dumps(drawn), encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"No tile lies .* in the area of .*small\.geojson\. .*--at X,Y"
    ):
        chosen(sample_data / "slide.tif", classifier, TileChoice(region=tmp_path / "small.geojson"))


def test_a_place_that_is_named_twice_is_one_tile(sample_data: Path, classifier: Classifier) -> None:
    tiles = chosen(
        sample_data / "slide.tif",
        classifier,
        TileChoice(at=((1500, 1500), (3000, 2000), (1500, 1500))),
    )
    assert len(tiles) == 2


def test_a_folder_of_pictures_without_classes_has_no_labels(
    classifier: Classifier, tmp_path: Path
) -> None:
    for number in range(5):
        Image.new("RGB", (40, 30), (number * 9, 100, 200)).save(tmp_path / f"{number}.png")
    assert chosen(tmp_path, classifier, TileChoice()).names == (
        "0.png",
        "1.png",
        "2.png",
        "3.png",
        "4.png",
    )
    some = chosen(tmp_path, classifier, TileChoice(random=2))
    assert some.labels == (None, None)
    assert len(some) == 2


def test_a_whole_picture_is_one_tile(tmp_path: Path) -> None:
    network = build_network("slidecam/pocket_resnet", {"widths": [4, 8, 8]}, 2, tmp_path)
    card = Card(
        "whole", "slidecam/pocket_resnet", ("A", "B"), "softmax", 32, None, 32, (0, 0, 0), (1, 1, 1)
    )
    card = Card(**{**card.__dict__, "architecture_args": {"widths": [4, 8, 8]}, "class_colors": ()})
    classifier = save_bundle(tmp_path / "bundle", card, network).classifier()
    picture = tmp_path / "one.png"
    Image.effect_noise((90, 60), 60).convert("RGB").save(picture)
    tiles = chosen(picture, classifier, TileChoice())
    assert tiles.boxes is not None
    assert tiles.boxes.tolist() == [[0, 0, 90, 60]]
    expected = np.asarray(Image.open(picture).resize((32, 32), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(tiles.pixels[0], expected)
    with pytest.raises(UsageError, match="whole pictures"):
        chosen(picture, classifier, TileChoice(top=1))


@pytest.mark.parametrize("choice", [{"at": ((1, 1),), "top": 2}, {"top": 0}, {"random": 0}])
def test_an_impossible_choice_is_refused(choice: dict[str, object]) -> None:
    with pytest.raises(SlidecamError):
        TileChoice(**choice)  # type: ignore[arg-type]


def test_of_a_volume_whole_slices_are_chosen(
    tmp_path: Path, write_volume: Any, slice_bundle: Path
) -> None:
    voxels = np.zeros((24, 28, 6), np.int16)
    voxels[4:20, 4:24, 1:5] = np.arange(4, dtype=np.int16) * 100 + 200
    voxels[6:9, 5:16, 1:5] += 137
    path = write_volume.nifti(tmp_path / "head.nii.gz", voxels)
    classifier = open_bundle(slice_bundle).classifier("cpu")

    def of(**choice: Any) -> ChosenTiles:
        return chosen(path, classifier, TileChoice(**choice))

    assert of(slices=(2, 4)).names == ("head axial slice 2", "head axial slice 4")
    assert of().slices == (3,)
    both = of(top=4, of="lesion")
    assert sorted(both.slices) == [1, 2, 3, 4]
    alone = of(slices=both.slices[:1])
    np.testing.assert_array_equal(alone.pixels[0], both.pixels[0])
    assert len(of(random=2, axis="coronal")) == 2
    several = write_volume.nifti(
        tmp_path / "four.nii.gz",
        np.stack([voxels, voxels[::-1]], axis=3),
        write_volume.affine(voxels.shape),
    )
    first = chosen(several, classifier, TileChoice(slices=(2,)))
    second = chosen(several, classifier, TileChoice(slices=(2,), volume="1"))
    np.testing.assert_array_equal(first.pixels[0], of(slices=(2,)).pixels[0])
    np.testing.assert_array_equal(second.pixels[0], first.pixels[0][:, ::-1])
    with pytest.raises(UsageError, match=r"Slice 5 of 6 is none or holds no foreground"):
        of(slices=(5,))
    with pytest.raises(UsageError, match=r"whole slices.*--slice"):
        of(at=((3.0, 3.0),))


def test_a_close_up_names_a_patient_only_where_that_is_wanted(
    tmp_path: Path, write_volume: Any, slice_bundle: Path
) -> None:
    voxels = np.zeros((24, 28, 4), np.int16)
    voxels[4:20, 4:24] = 300
    series = write_volume.dicom(tmp_path / "Roe Janet", voxels, PatientName="Roe^Janet")
    classifier = open_bundle(slice_bundle).classifier("cpu")
    (hidden,) = chosen(series, classifier, TileChoice()).names
    (kept,) = chosen(series, classifier, TileChoice(keep_identifiers=True)).names
    assert "Roe" not in hidden
    assert kept.startswith("Roe Janet axial slice")
