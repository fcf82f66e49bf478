"""A close-up is written whole, says what it is, and nothing is written where something is wrong."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from slidecam.close_up import (
    CloseUpSpec,
    MeasureSpec,
    TileChoice,
    compare_models,
    explain_tiles,
    measure_tiles,
    methods,
)
from slidecam.close_up.explaining import wanted_classes
from slidecam.errors import ExplanationError, SlidecamError, UsageError
from slidecam.explain.activation_maps import cheap_map, grad_cam, plan_maps
from slidecam.explain.catalogue import CATALOGUE
from slidecam.explain.map_methods import MapExplainer
from slidecam.faithfulness import FaithfulnessSpec
from slidecam.models import Card, open_bundle, save_bundle
from slidecam.steps import Step, result_of

# Of several models.
BOTH = CloseUpSpec(methods=("gradcam++", "cam"), tiles=TileChoice(at=((3000, 2000), (1500, 1500))))
QUICK = ("lime.samples=20", "lime.seeds=1")


def test_a_close_up_holds_raw_maps_probabilities_and_curves(
    sample_data: Path, tmp_path: Path
) -> None:
    spec = CloseUpSpec(
        methods=("gradcam++", "cam", "lime"),
        settings=QUICK,
        classes=("stroma", "tumour"),
        tiles=TileChoice(at=((3000, 2000), (1500, 1500))),
    )
    found = result_of(
        explain_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
    )
    classifier = open_bundle(sample_data / "bundle").classifier()
    indices = [classifier.card.class_names.index(name) for name in spec.classes]
    passed = classifier.run(torch.from_numpy(found.tiles.pixels), gradients=True)
    expected = plan_maps(classifier, ["gradcam++"], indices)(passed)[:, 0].detach().numpy()
    with np.load(tmp_path / "out/maps.npz") as maps:
        for tile in range(2):
            np.testing.assert_allclose(
                maps[f"gradcam++/{tile}"], expected[tile], rtol=1e-4, atol=1e-5
            )
        assert maps["lime/0"].shape[0] == 2
    record = json.loads((tmp_path / "out/explanation.json").read_text(encoding="utf-8"))
    assert [tile["explained"] for tile in record["tiles"]] == [["stroma", "tumour"]] * 2
    assert sum(record["tiles"][0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert len(record["curves"]) == 2 * 2 * 3 * 2
    assert all(0 <= curve["deletion AUC"] <= 1 for curve in record["curves"])
    assert record["methods"]["lime"]["samples"] == 20
    told = {name: facts["unit"] for name, facts in record["methods"].items()}
    assert told == {"gradcam++": "no unit", "cam": "logits", "lime": "logits"}
    assert "mostly activation" in record["methods"]["gradcam++"]["shows"]
    with Image.open(tmp_path / "out/panel.png") as panel:
        assert panel.size[0] > 1000
    page = (tmp_path / "out/panel.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 4 * (4 + 1)
    assert "Research use only" in page


def test_a_saturated_probability_that_lime_is_of_is_called_almost_nothing(
    sample_data: Path, tmp_path: Path
) -> None:
    spec = CloseUpSpec(
        methods=("usual", "lime"),
        settings=("lime.samples=30", "lime.target=probability"),
        classes=("lesion",),
        tiles=TileChoice(top=1, of="lesion"),
        curves=None,
        backend="eager",
    )
    brain, bundle = sample_data / "brain.nii.gz", sample_data / "mri-bundle"
    found = result_of(explain_tiles(brain, bundle, tmp_path / "out", spec))
    assert list(found.maps) == ["cam", "gradcam++", "lime"]
    assert found.probabilities[0, 0] > 0.999
    record = json.loads((tmp_path / "out/explanation.json").read_text(encoding="utf-8"))
    assert record["methods"]["lime"]["unit"] == "probability"
    assert record["runs by"] == ["torch, eager, fp32"]
    (note,) = [note for note in record["notes"] if "almost nothing" in note]
    assert note.startswith("LIME of lesion on brain axial slice ")


def test_a_close_up_shows_what_was_chosen_of_the_file(sample_data: Path, tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
        for part in (slice(0, 900), slice(900, 1700)):
            pixels = tifffile.imread(sample_data / "slide.tif")[part, :1100]
            writer.write(pixels, photometric="rgb", tile=(256, 256), metadata=None)
    choice = TileChoice(at=((300, 300), (600, 500)), mpp=0.53)
    spec = CloseUpSpec(methods=("cam",), tiles=choice, curves=None)
    result_of(explain_tiles(tmp_path / "two.tif", sample_data / "bundle", tmp_path / "a", spec))
    measured = MeasureSpec(methods=("cam",), tiles=choice, randomisation=None)
    measured = replace(measured, faithfulness=FaithfulnessSpec(measures=("road",), seeds=(0,)))
    result_of(measure_tiles(tmp_path / "two.tif", sample_data / "bundle", tmp_path / "b", measured))
    for name in (
        "a/panel.html",
        "b/faithfulness.html",
        "a/explanation.json",
        "b/faithfulness.json",
    ):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "Image 1 of 2 is read" in page, name


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_what_is_told_of_a_method_is_told_of_every_tile(
    sample_data: Path, tmp_path: Path, order: tuple[int, int]
) -> None:
    places = ((1980, 2240), (300, 300))
    of_each: list[dict[str, Any]] = []
    for number, at in enumerate((*((place,) for place in places), [places[i] for i in order])):
        spec = CloseUpSpec(
            methods=("dt-gradcam", "lime", "score-cam"),
            settings=QUICK,
            tiles=TileChoice(at=tuple(at)),
            curves=None,
        )
        out = tmp_path / str(number)
        result_of(explain_tiles(sample_data / "slide.tif", sample_data / "bundle", out, spec))
        of_each.append(json.loads((out / "explanation.json").read_text(encoding="utf-8")))
    alone, both = of_each[:2], of_each[2]
    for method, facts in both["facts"].items():
        assert facts == [alone[place]["facts"][method][0] for place in order]
    variances = [each["methods"]["lime"]["explained variance"] for each in alone]
    assert variances[0] != variances[1]
    told = both["methods"]["lime"]
    assert told["explained variance"] == min(variances)
    assert told["typical explained variance"] == pytest.approx(sum(variances) / 2)
    assert both["methods"]["dt-gradcam"]["thresholds"] == [
        alone[place]["methods"]["dt-gradcam"]["thresholds"] for place in order
    ]
    page = (tmp_path / "2" / "panel.html").read_text(encoding="utf-8")
    assert f"explained variance: {min(variances):.4g} at worst" in page


def test_without_a_class_each_tile_is_explained_for_what_it_was_predicted_as(
    sample_data: Path, tmp_path: Path
) -> None:
    spec = CloseUpSpec(
        methods=("gradcam",), tiles=TileChoice(at=((3000, 2000), (1500, 1500))), curves=None
    )
    found = result_of(
        explain_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
    )
    assert found.classes == tuple((int(row.argmax()),) for row in found.probabilities)


@pytest.mark.parametrize(
    "spec",
    [
        CloseUpSpec(methods=("nothing",), tiles=TileChoice(at=((9, 9),))),
        CloseUpSpec(settings=("lime.samples=3",), tiles=TileChoice(at=((9, 9),))),
        CloseUpSpec(classes=("bone",), tiles=TileChoice(at=((9, 9),))),
        CloseUpSpec(tiles=TileChoice()),
        CloseUpSpec(
            methods=("occlusion",), settings=("occlusion.window=7",), tiles=TileChoice(at=((9, 9),))
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_written(
    sample_data: Path, tmp_path: Path, spec: CloseUpSpec
) -> None:
    with pytest.raises(SlidecamError):
        result_of(
            explain_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
        )
    assert not (tmp_path / "out").exists()


def test_an_earlier_close_up_is_not_replaced_unasked(sample_data: Path, tmp_path: Path) -> None:
    (tmp_path / "panel.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        result_of(explain_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path))
    assert (tmp_path / "panel.png").read_bytes() == b"mine"


def test_faithfulness_is_measured_on_a_slide_and_written(sample_data: Path, tmp_path: Path) -> None:
    spec = MeasureSpec(
        methods=("gradcam++",),
        tiles=TileChoice(random=3),
        faithfulness=FaithfulnessSpec(measures=("deletion", "insertion"), seeds=(0,)),
        randomisation=None,
    )
    report = result_of(
        measure_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
    )
    assert report.tiles == 3
    assert {"faithfulness.html", "faithfulness.json", "faithfulness.csv"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


def test_a_slides_tiles_have_no_labels(sample_data: Path, tmp_path: Path) -> None:
    spec = MeasureSpec(
        methods=("gradcam",), explained="labelled", tiles=TileChoice(random=2), randomisation=None
    )
    with pytest.raises(UsageError, match="no labels"):
        next(
            measure_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("explained", "choice", "word"),
    [
        ("nope", TileChoice(random=2), "no class 'nope'"),
        (
            "predicted",
            TileChoice(random=2, masks=Path("gone.geojson")),
            "There is no such file or folder: --masks gone.geojson",
        ),
        (
            "predicted",
            TileChoice(random=2, masks=Path(__file__)),
            "--masks was given without a class",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_read(
    sample_data: Path, tmp_path: Path, explained: str, choice: TileChoice, word: str
) -> None:
    spec = MeasureSpec(methods=("gradcam",), explained=explained, tiles=choice, randomisation=None)
    with pytest.raises(UsageError, match=word):
        next(
            measure_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
        )


def test_a_chosen_measure_that_needs_masks_is_refused_without_them(
    sample_data: Path, tmp_path: Path
) -> None:
    measures = FaithfulnessSpec(measures=("deletion", "pointing"), seeds=(0,))
    spec = MeasureSpec(methods=("gradcam",), tiles=TileChoice(random=2), faithfulness=measures)
    with pytest.raises(UsageError, match=r"pointing.*--masks"):
        next(
            measure_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
        )


def test_torchscript_is_told_of_the_randomisation_before_anything_is_read(
    wsinfer_torchscript: Path, sample_data: Path, tmp_path: Path
) -> None:
    """The check stood after the measuring, and threw minutes of it away."""
    spec = MeasureSpec(methods=("occlusion",), tiles=TileChoice(random=2), trust=True)
    with pytest.raises(ExplanationError, match="--no-randomisation"):
        next(measure_tiles(sample_data / "slide.tif", wsinfer_torchscript, tmp_path / "out", spec))


def test_a_map_that_is_no_number_is_not_written(
    sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(cheap_map("gradcam"), compute=lambda given: grad_cam(given) * torch.nan)
    method = replace(
        CATALOGUE["gradcam"],
        explainer=lambda classifier, _spec: MapExplainer(classifier, "gradcam", broken),
    )
    monkeypatch.setattr(methods, "method_for", lambda _name: method)
    spec = CloseUpSpec(methods=("gradcam",), tiles=TileChoice(at=((3000, 2000),)), curves=None)
    with pytest.raises(
        ExplanationError, match=r"gradcam gave a map with values that are no numbers for tile 0"
    ):
        result_of(
            explain_tiles(sample_data / "slide.tif", sample_data / "bundle", tmp_path / "out", spec)
        )
    assert not (tmp_path / "out").exists()


def test_a_class_that_is_named_twice_is_explained_once(sample_data: Path) -> None:
    classifier = open_bundle(sample_data / "bundle").classifier(torch.device("cpu"))
    assert wanted_classes(classifier, torch.zeros(2, 3), (2, 0, 2)) == ((2, 0), (2, 0))


def copied(sample_data: Path, folder: Path, **changes: object) -> Path:
    """Save the toy bundle anew with another card."""
    bundle = open_bundle(sample_data / "bundle")
    card: Card = replace(bundle.card, **changes)  # type: ignore[arg-type]
    return save_bundle(folder, card, bundle.network()).path


def test_each_model_shows_what_it_shows_alone(sample_data: Path, tmp_path: Path) -> None:
    slide, first = sample_data / "slide.tif", sample_data / "bundle"
    other = copied(sample_data, tmp_path / "coarse", name="coarse", spacing=1.0)
    found = result_of(compare_models(slide, [first, other], tmp_path / "both", BOTH))
    name = open_bundle(first).card.name
    assert list(found) == [name, "coarse"]
    wanted = [found[name].classes[number] for number in range(2)]
    with np.load(tmp_path / "both" / "maps.npz") as both:
        for model, path in ((name, first), ("coarse", other)):
            classes = tuple(
                dict.fromkeys(
                    open_bundle(path).card.class_names[index] for row in wanted for index in row
                )
            )
            spec = replace(BOTH, classes=classes, curves=None)
            alone = result_of(explain_tiles(slide, path, tmp_path / model.replace(" ", "_"), spec))
            for number, (index,) in enumerate(wanted):
                place = alone.classes[number].index(index)
                expected = alone.maps["cam"][number][place]
                np.testing.assert_allclose(
                    both[f"{model}/cam/{number}"][0], expected, rtol=1e-4, atol=1e-4
                )
    record = json.loads((tmp_path / "both" / "explanation.json").read_text(encoding="utf-8"))
    assert list(record["models"]) == [name, "coarse"]
    assert {curve["method"].partition("/")[0] for curve in record["curves"]} == {name, "coarse"}
    one, other_boxes = (
        np.array([tile["box"] for tile in record["models"][model]["tiles"]])
        for model in (name, "coarse")
    )
    np.testing.assert_allclose(
        one[:, :2] + one[:, 2:] / 2, other_boxes[:, :2] + other_boxes[:, 2:] / 2, atol=1
    )


def test_a_class_that_one_model_does_not_know_is_refused_before_anything_is_written(
    sample_data: Path, tmp_path: Path
) -> None:
    names = tuple(
        f"other {number}"
        for number in range(len(open_bundle(sample_data / "bundle").card.class_names))
    )
    other = copied(sample_data, tmp_path / "other", name="other", class_names=names)
    with pytest.raises(UsageError, match="other has no class"):
        result_of(
            compare_models(
                sample_data / "slide.tif", [sample_data / "bundle", other], tmp_path / "out", BOTH
            )
        )
    assert not (tmp_path / "out").exists()


def test_one_bundle_named_twice_is_refused(sample_data: Path, tmp_path: Path) -> None:
    bundle = sample_data / "bundle"
    with pytest.raises(UsageError, match="named twice"):
        result_of(
            compare_models(sample_data / "slide.tif", [bundle, bundle], tmp_path / "out", BOTH)
        )


def test_what_was_assumed_of_a_volume_is_told_once_while_it_is_explained_and_measured(
    tmp_path: Path, write_volume: Any, slice_bundle: Path, head: Any
) -> None:
    path = write_volume.nifti(tmp_path / "head.nii", np.stack([head, head], 3))
    tiles = TileChoice(slices=(6,))
    closer = CloseUpSpec(methods=("cam",), tiles=tiles, curves=None)
    quick = FaithfulnessSpec(("deletion",), seeds=(0,))
    measured = MeasureSpec(("cam",), tiles=tiles, faithfulness=quick, randomisation=None)
    for work in (
        explain_tiles(path, slice_bundle, tmp_path / "one", closer),
        compare_models(path, _two_of(slice_bundle, tmp_path), tmp_path / "two", closer),
        measure_tiles(path, slice_bundle, tmp_path / "three", measured),
    ):
        steps: list[Step] = list(work)
        said = [step.message for step in steps if "It holds 2 volumes" in step.message]
        assert len(said) == 1
        assert said[0].startswith("Note: It holds 2 volumes: volume 0 is read; pass --volume")


def _two_of(bundle: Path, folder: Path) -> list[Path]:
    shutil.copytree(bundle, folder / "other")
    return [bundle, folder / "other"]


def test_a_close_up_of_an_ensemble_says_how_far_its_members_disagree(
    sample_data: Path, pair_bundle: Path, tmp_path: Path
) -> None:
    spec = CloseUpSpec(methods=("gradcam++",), tiles=TileChoice(at=((3000, 2000), (1500, 1500))))
    found = result_of(explain_tiles(sample_data / "slide.tif", pair_bundle, tmp_path / "out", spec))
    classifier = open_bundle(pair_bundle).classifier()
    apart = classifier.disagreement(
        classifier.run(torch.from_numpy(found.tiles.pixels), gradients=False)
    )
    assert apart is not None
    assert found.disagreement is not None
    np.testing.assert_allclose(found.disagreement, apart.numpy(), atol=1e-6)
    record = json.loads((tmp_path / "out/explanation.json").read_text())
    written = [tile["disagreement"] for tile in record["tiles"]]
    assert written == pytest.approx(apart.tolist(), abs=1e-6)
