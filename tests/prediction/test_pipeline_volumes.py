"""Volumes through the whole way: the same events, store, resume and exit codes as slides.

A slide is one plane.
"""

from __future__ import annotations

import csv
import json
import shutil
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from pydicom import dcmread

from slidecam.errors import UsageError
from slidecam.events import BatchDone, Finished, Planned, SlideFailed, SlideFinished, Warned
from slidecam.exchange.volumes import read_volume_ome_zarr
from slidecam.models import open_bundle, save_bundle
from slidecam.models.ensemble_bundle import ensemble_of
from slidecam.prediction.pipeline import predict
from slidecam.runs.slices import read_slices_csv
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.events import Event

OUTPUTS = {
    *("slices.csv", "heatmap.ome.zarr", "heatmap.plain.nii.gz", "heatmap.lesion.nii.gz"),
    *("montage.png", "mask.nii.gz", "run.json", "run.zarr"),
}
PATIENT = {
    "PatientName": "Ottokar^Wenzeslaus",
    "PatientID": "ZX-90817263",
    "PatientBirthDate": "19371104",
    "InstitutionName": "Sanatorium Quellbrunn",
    "ReferringPhysicianName": "Grimmelshausen^Adelgunde",
    "AccessionNumber": "ACC5566778",
    "StudyInstanceUID": "1.2.826.0.1.4711.99887766",
    "StudyID": "STU443322",
}


def run(inputs: Any, bundle: Path, out: Path, **spec: Any) -> list[Event]:
    return [*predict(inputs, bundle, out, PredictSpec(workers=1, batch=4, device="cpu", **spec))]


def of(events: list[Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def heat(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    image: Any = nibabel.load(path)
    return image.get_fdata(), image.affine


@pytest.fixture
def with_air(head: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the head with three slices of air above it."""
    return np.concatenate([head, np.zeros((*head.shape[:2], 3), np.int16)], axis=2)


def test_voxels_that_are_no_numbers_are_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    values = head.astype(np.float32)
    values[:, :, 0] = np.nan
    path = write_volume.nifti(tmp_path / "holed.nii.gz", values)
    told = [warned.message for warned in of(run(path, slice_bundle, tmp_path / "out"), Warned)]
    share = f"{100 / head.shape[2]:.2g}"
    assert (
        f"About {share} % of its voxels are no numbers (NaN or infinite); they are shown as air."
        in told
    )


def test_what_is_assumed_of_a_mask_is_a_reading_of_the_run(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    image: Any = nibabel.Nifti1Image(np.ones(head.shape, np.uint8), None)
    image.header.set_zooms((0.8, 0.8, 2.0))
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(image, tmp_path / "mask.nii")
    events = run(
        write_volume.nifti(tmp_path / "brain.nii", head),
        slice_bundle,
        tmp_path / "out",
        mask=tmp_path / "mask.nii",
        heatmap="none",
    )
    start = "The mask mask.nii: Neither matrix of its header has a code"
    record = json.loads((tmp_path / "out" / "brain" / "run.json").read_text())
    for told in (
        [warned.message for warned in of(events, Warned)],
        of(events, Planned)[0].readings,
        record["input"]["readings"],
    ):
        assert any(said.startswith(start) for said in told)


def test_a_volume_without_a_number_says_so_and_is_skipped(
    tmp_path: Path, write_volume: Any, slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "none.nii", np.full((9, 8, 5), np.nan, np.float32))
    events = run(path, slice_bundle, tmp_path / "out")
    said = "All of its voxels are no numbers (NaN or infinite); they are shown as air."
    record = json.loads((tmp_path / "out" / "none" / "run.json").read_text())
    assert record["input"]["readings"].count(said) == 1
    assert [warned.message for warned in of(events, Warned)].count(said) == 1
    assert of(events, SlideFinished)[0].status == "skipped"


@pytest.mark.parametrize("caveat", [None, "", "3 of 7 volumes were called wrongly."])
def test_a_volume_s_call_comes_with_what_its_classifier_was_measured_on(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    slice_bundle: Path,
    caveat: str | None,
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(slice_bundle, bundle)
    card = json.loads((bundle / "card.json").read_text())
    if caveat is not None:
        card["volume"] = {"caveat": caveat, "pooling": {"kind": "noisy-or", "negative": "plain"}}
    (bundle / "card.json").write_text(json.dumps(card))
    events = run(write_volume.nifti(tmp_path / "brain.nii", head), bundle, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "brain" / "run.json").read_text())
    said = [warned.message for warned in of(events, Warned)]
    unmeasured = any("on whole ones was not measured" in message for message in said)
    assert unmeasured == (caveat is None)
    if caveat:
        assert caveat in said
        assert caveat in record["input"]["readings"]
        assert record["volume"]["pooling"] == "noisy-or over the classified slices"
        assert sum(record["volume"]["probabilities"].values()) == pytest.approx(1, abs=2e-6)


def test_heat_and_mask_of_a_nifti_without_codes_have_none(
    tmp_path: Path, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    header = nibabel.Nifti1Image(head, np.diag([-0.83, 1.37, 3.1, 1])).header
    header["sform_code"] = 0
    nibabel.Nifti1Image(head, None, header).to_filename(tmp_path / "bare.nii")
    said = [
        warned.message
        for warned in of(run(tmp_path / "bare.nii", slice_bundle, tmp_path / "out"), Warned)
    ]
    assert any("left and right are a guess" in message for message in said)
    for name in ("heatmap.plain.nii.gz", "heatmap.lesion.nii.gz", "mask.nii.gz"):
        written = nibabel.nifti1.load(tmp_path / "out" / "bare" / name).header
        assert (int(written["qform_code"]), int(written["sform_code"])) == (0, 0)
        np.testing.assert_array_equal(written["pixdim"][:4], header["pixdim"][:4])


def test_a_volume_gives_its_outputs_and_the_same_events(
    tmp_path: Path, write_volume: Any, with_air: NDArray[np.int16], slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", with_air)
    events = run(path, slice_bundle, tmp_path / "out")
    (planned,), (finished,) = of(events, Planned), of(events, SlideFinished)
    assert (planned.slide, planned.planes, planned.candidates) == ("brain", 15, 15)
    assert finished.status == "done"
    assert of(events, Finished)[0].exit_code == 0
    batches = of(events, BatchDone)
    planes = np.concatenate([batch.planes for batch in batches])
    assert planes.tolist() == sorted(planes.tolist())
    assert planned.tiles == len(planes) == batches[-1].total
    folder = tmp_path / "out" / "brain"
    assert {entry.name for entry in folder.iterdir()} - {".lock"} == OUTPUTS
    table = read_slices_csv(folder / "slices.csv")
    assert table.status[-3:] == ("skipped",) * 3
    assert np.flatnonzero(table.done).tolist() == planes.tolist()
    np.testing.assert_allclose(table.positions, (np.arange(15) - 7) * 2.0)
    np.testing.assert_allclose(
        table.probabilities[planes], np.concatenate([b.probabilities for b in batches]), atol=1e-6
    )
    told = json.loads((folder / "run.json").read_text())["volume"]
    mean = table.probabilities[planes].mean(axis=0)
    assert told["probabilities"] == pytest.approx(
        dict(zip(table.class_names, mean.tolist(), strict=True)), abs=1e-5
    )
    assert told["called"] == table.class_names[int(mean.argmax())]
    assert told["slices"] == {
        "done": len(planes),
        "skipped": 15 - len(planes),
        "failed": 0,
        "missing": 0,
    }


def test_the_heatmap_lies_on_the_anatomy(
    tmp_path: Path, write_volume: Any, with_air: NDArray[np.int16], slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", with_air)
    run(path, slice_bundle, tmp_path / "out")
    folder = tmp_path / "out" / "brain"
    values, affine = heat(folder / "heatmap.lesion.nii.gz")
    np.testing.assert_array_equal(affine, heat(path)[1])
    assert values.shape == with_air.shape
    assert -1 <= values.min() < 0 < values.max() <= 1
    saved = read_volume_ome_zarr(folder / "heatmap.ome.zarr")
    assert saved.scale == pytest.approx((2.0, 0.8, 0.8))
    assert saved.translate == pytest.approx((-14.0, -47 / 2 * 0.8, -39 / 2 * 0.8), abs=1e-5)
    spl = np.asarray(saved.array[1])
    np.testing.assert_array_equal(
        np.nan_to_num(spl), values[::-1, ::-1].transpose(2, 1, 0).astype(np.float32)
    )
    assert np.isnan(spl[-3:]).all()  # air was not classified, which is not the same as no heat
    mask, affine = heat(folder / "mask.nii.gz")
    np.testing.assert_array_equal(affine, heat(path)[1])
    inside = with_air > 250
    assert mask[inside].mean() > 0.99
    assert mask[..., -2:].max() == 0


@pytest.mark.parametrize(
    ("axis", "codes"), [("axial", "LPI"), ("coronal", "AIL"), ("sagittal", "SRA")]
)
def test_however_a_volume_is_stored_its_physical_heatmap_is_the_same(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    slice_bundle: Path,
    axis: Any,
    codes: str,
) -> None:
    affine = write_volume.affine(head.shape)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(codes)))
    turned = apply_orientation(head, turn), affine @ inv_ornt_aff(turn, head.shape)
    one = write_volume.nifti(tmp_path / "one.nii", head)
    other = write_volume.nifti(tmp_path / "other.nii", *turned)
    run([one, other], slice_bundle, tmp_path / "out", axis=axis)
    plain, _affine = heat(tmp_path / "out" / "one" / "heatmap.lesion.nii.gz")
    found, placed = heat(tmp_path / "out" / "other" / "heatmap.lesion.nii.gz")
    np.testing.assert_allclose(placed, turned[1], atol=1e-5)
    assert plain.max() > 0.5
    np.testing.assert_array_equal(apply_orientation(plain, turn), found)


def test_every_format_gives_the_same_probabilities(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    paths = [
        write_volume.nifti(tmp_path / "a.nii", head),
        write_volume.mgh(tmp_path / "b.mgz", head),
        write_volume.nrrd(tmp_path / "c.nrrd", head),
        write_volume.dicom(tmp_path / "d", head),
    ]
    run(paths, slice_bundle, tmp_path / "out", heatmap="none")
    tables = [read_slices_csv(tmp_path / "out" / name / "slices.csv") for name in "abcd"]
    for table in tables[1:]:
        np.testing.assert_array_equal(table.probabilities, tables[0].probabilities)
        np.testing.assert_allclose(table.positions, tables[0].positions, atol=1e-3)


def test_a_stopped_volume_resumes_to_the_same_bits(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", head)
    run(path, slice_bundle, tmp_path / "whole")
    stopped = predict(
        path, slice_bundle, tmp_path / "cut", PredictSpec(workers=1, batch=4, device="cpu")
    )
    for event in stopped:
        if isinstance(event, BatchDone):
            break
    stopped.close()
    events = run(path, slice_bundle, tmp_path / "cut", existing="resume")
    assert 0 < of(events, Planned)[0].pending < of(events, Planned)[0].tiles
    for name in ("slices.csv", "heatmap.lesion.nii.gz", "mask.nii.gz"):
        assert (tmp_path / "cut" / "brain" / name).read_bytes() == (
            tmp_path / "whole" / "brain" / name
        ).read_bytes()
    one, other = (RunStore.open(tmp_path / which / "brain") for which in ("whole", "cut"))
    np.testing.assert_array_equal(one.logits, other.logits)
    np.testing.assert_array_equal(one.planes, other.planes)
    again = run(path, slice_bundle, tmp_path / "cut", existing="resume", axis="axial")
    assert of(again, Planned)[0].pending == 0
    (failed,) = of(
        run(path, slice_bundle, tmp_path / "cut", existing="resume", axis="coronal"), SlideFailed
    )
    assert "axis was 'axial', is 'coronal'" in failed.problem


def test_the_window_of_a_volume_is_said_and_may_be_chosen(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", head)
    run(path, slice_bundle, tmp_path / "plain")
    record = json.loads((tmp_path / "plain" / "brain" / "run.json").read_text(encoding="utf-8"))
    (said,) = [each for each in record["input"]["readings"] if each.startswith("Window ")]
    assert "of its voxels above air; --window sets another." in said
    run(path, slice_bundle, tmp_path / "own", window="7%,83%")
    store = RunStore.open(tmp_path / "own" / "brain")
    assert store.digest["window"] == ["percentile", 7.0, 83.0]
    assert not np.array_equal(store.logits, RunStore.open(tmp_path / "plain" / "brain").logits)
    (failed,) = of(run(path, slice_bundle, tmp_path / "full", window="full"), SlideFailed)
    assert "have no full range" in failed.problem


def test_heat_that_itk_cannot_open_is_said_where_it_is_written(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    lean = np.array([[0.93, 0, 0, 0], [0, 0.93, 1.17, 0], [0, 0, 4.3, 0], [0, 0, 0, 1]])
    path = write_volume.nifti(tmp_path / "tilted.nii.gz", head, lean)
    image: Any = nibabel.load(path)
    image.header["qform_code"] = 0
    nibabel.Nifti1Image(image.get_fdata(), None, image.header).to_filename(path)
    run(path, slice_bundle, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "tilted" / "run.json").read_text(encoding="utf-8"))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for words in (f"Gantry tilt of {np.degrees(np.arctan2(1.17, 4.3)):.1f} degrees", "ITK ("):
        assert any(each.startswith(words) for each in record["input"]["readings"])
        assert words in page


def test_of_a_volume_what_says_where_tiles_lie_in_its_slices_is_said_to_be_without_effect(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", head)
    run(path, slice_bundle, tmp_path / "out", min_tissue=0.03, overlap=0.5)
    record = json.loads((tmp_path / "out" / "brain" / "run.json").read_text(encoding="utf-8"))
    (said,) = [each for each in record["input"]["readings"] if "whole pictures" in each]
    assert said.endswith(" sees whole pictures: --overlap without effect.")


@pytest.mark.parametrize("lost", [1, 12])
def test_a_series_whose_first_or_last_slice_is_lost_is_done_in_part(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path, lost: int
) -> None:
    folder = write_volume.dicom(tmp_path / "series", head)
    (file,) = (path for path in folder.iterdir() if dcmread(path).InstanceNumber == lost)
    file.write_bytes(b"")
    events = run(folder, slice_bundle, tmp_path / "out")
    (finished,) = of(events, SlideFinished)
    assert finished.status == "partly"
    assert finished.reason == "1 file was a slice of its series and cannot be read"
    (end,) = of(events, Finished)
    assert end.exit_code == 3
    record = json.loads((tmp_path / "out" / "series" / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "partly"
    again = run(folder, slice_bundle, tmp_path / "out", existing="resume")
    assert of(again, Finished)[0].exit_code == 3


def test_a_damaged_volume_fails_with_a_word_and_its_neighbour_goes_on(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    good, bad = (
        write_volume.nifti(tmp_path / name, head) for name in ("good.nii.gz", "bad.nii.gz")
    )
    bad.write_bytes(bad.read_bytes()[:9000])
    events = run([bad, good], slice_bundle, tmp_path / "out")
    (failed,) = of(events, SlideFailed)
    assert failed.slide == "bad"
    assert failed.remedy
    assert of(events, Finished)[0].exit_code == 3
    assert (tmp_path / "out" / "good" / "montage.png").exists()


def test_air_alone_is_skipped(tmp_path: Path, write_volume: Any, slice_bundle: Path) -> None:
    path = write_volume.nifti(tmp_path / "air.nii", np.zeros((20, 20, 6), np.int16))
    events = run(path, slice_bundle, tmp_path / "out")
    (finished,) = of(events, SlideFinished)
    assert finished.status == "skipped"
    assert "none of 6 slices" in finished.reason
    assert set(read_slices_csv(tmp_path / "out" / "air" / "slices.csv").status) == {"skipped"}


def test_a_mask_says_which_slices_count(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii", head)
    drawn = np.zeros(head.shape, np.uint8)
    drawn[10:30, 10:30, 5:7] = 1
    mask = write_volume.nrrd(tmp_path / "drawn.nrrd", drawn)
    run(path, slice_bundle, tmp_path / "out", mask=mask)
    table = read_slices_csv(tmp_path / "out" / "brain" / "slices.csv")
    assert np.flatnonzero(table.done).tolist() == [5, 6]
    elsewhere = np.diag([1.0, 1, 1, 1])
    elsewhere[:3, 3] = 900
    far = write_volume.nifti(tmp_path / "far.nii", drawn, elsewhere)
    (failed,) = of(run(path, slice_bundle, tmp_path / "far", mask=far), SlideFailed)
    assert "Nothing in this mask is above 0" in failed.problem


def test_one_volume_of_several_is_chosen_by_its_number(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    both = write_volume.nifti(tmp_path / "both.nii.gz", np.stack([head, head[::-1]], axis=3))
    alone = write_volume.nifti(tmp_path / "alone.nii.gz", np.ascontiguousarray(head[::-1]))
    events = run(both, slice_bundle, tmp_path / "first", heatmap="none")
    assert any("volume 0 is read; pass --volume" in event.message for event in of(events, Warned))
    run(both, slice_bundle, tmp_path / "second", heatmap="none", volume="1")
    run(alone, slice_bundle, tmp_path / "third", heatmap="none")
    one = read_slices_csv(tmp_path / "second" / "both" / "slices.csv")
    other = read_slices_csv(tmp_path / "third" / "alone" / "slices.csv")
    np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_tiles_lie_on_planes_where_the_card_has_a_spacing(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    bundle = tmp_path / "tiles"
    bundle.mkdir()
    for file in slice_bundle.iterdir():
        (bundle / file.name).write_bytes(file.read_bytes())
    card = json.loads((bundle / "card.json").read_text())
    card |= {
        "spacing_um_px": 800.0,
        "tile_px": 16,
        "volume": {"axis": "coronal", "pooling": {"kind": "max"}},
    }
    (bundle / "card.json").write_text(json.dumps(card))
    path = write_volume.nifti(tmp_path / "brain.nii", head)
    events = run(path, bundle, tmp_path / "out")
    boxes = np.concatenate([batch.boxes for batch in of(events, BatchDone)])
    assert set(map(tuple, boxes[:, 2:].tolist())) == {
        (16, 6)
    }  # 12.8 mm: 16 voxels of 0.8 mm, 6 of 2 mm
    store = RunStore.open(tmp_path / "out" / "brain")
    table = read_slices_csv(tmp_path / "out" / "brain" / "slices.csv")
    assert len(table) == 48
    plane = int(store.planes[len(store) // 2])
    expected = store.probabilities[store.planes == plane].mean(axis=0)
    np.testing.assert_allclose(table.probabilities[plane], expected, atol=1e-6)
    assert (
        "most probable slice"
        in json.loads((tmp_path / "out" / "brain" / "run.json").read_text())["volume"]["pooling"]
    )


def written_under(folder: Path) -> dict[Path, bytes]:
    """Return everything that was written, packed streams unpacked: gzip, and the chunks of PNG."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found[path] = content + (_unpacked(content) if content.startswith(b"\x1f\x8b") else b"")
    return found


def _unpacked(content: bytes) -> bytes:
    return zlib.decompress(content, zlib.MAX_WBITS | 16)


@pytest.mark.parametrize("keep", [False, True], ids=["hidden", "kept"])
def test_no_identifier_of_a_patient_reaches_an_output(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path, *, keep: bool
) -> None:
    folder = write_volume.dicom(
        tmp_path / "in" / "Wenzeslaus" / "ZX-90817263", head, skip=(5,), **PATIENT
    )
    masks = tmp_path / "in" / "Wenzeslaus" / "mask.nii"
    write_volume.nifti(masks, (head > 200).astype(np.uint8))
    out = tmp_path / "out"
    events = run(folder, slice_bundle, out, mask=masks, keep_identifiers=keep)
    assert of(events, SlideFinished)[0].status == "done"
    words = {
        part for value in PATIENT.values() for part in (value, *value.split("^"), *value.split())
    }
    words |= {"1.2.826.77", "ZX_90817263", "90817263"}
    told = written_under(out)
    assert len(told) > 10
    names = " ".join(str(path.relative_to(out)) for path in told).lower().encode()
    everything = (
        names
        + b"\n".join(told.values()).lower()
        + repr(events).replace(str(out), "").lower().encode()
    )
    leaked = sorted(word for word in words if word.lower().encode() in everything)
    if keep:
        assert {"ZX-90817263", "Wenzeslaus"} <= set(leaked)
        assert not {"Sanatorium Quellbrunn", "19371104"} & set(leaked)  # headers are never copied
    else:
        assert leaked == []


def test_a_damaged_series_tells_no_identifier_either(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    folder = write_volume.dicom(tmp_path / "in" / "ZX-90817263", head, **PATIENT)
    for file in sorted(folder.iterdir()):
        file.write_bytes(file.read_bytes()[:-2000])
    events = run(folder, slice_bundle, tmp_path / "out")
    assert of(events, Finished)[0].exit_code == 1
    told = repr(events).replace(str(tmp_path / "out"), "")
    assert "90817263" not in told
    assert not any(b"90817263" in content for content in written_under(tmp_path / "out").values())


def test_an_axis_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="axial, coronal, sagittal"):
        PredictSpec(axis="oblique")  # type: ignore[arg-type]  # on purpose


def test_the_slices_table_opens_in_a_spreadsheet(
    tmp_path: Path, write_volume: Any, with_air: NDArray[np.int16], slice_bundle: Path
) -> None:
    run(
        write_volume.nifti(tmp_path / "a.nii", with_air),
        slice_bundle,
        tmp_path / "out",
        heatmap="none",
    )
    with (tmp_path / "out" / "a" / "slices.csv").open() as stream:
        rows = [*csv.DictReader(stream)]
    assert [*rows[0]] == [
        "slice",
        "position_mm",
        "file_index",
        "status",
        "prob_plain",
        "prob_lesion",
    ]
    assert rows[-1]["prob_lesion"] == ""
    assert not (tmp_path / "out" / "a" / "heatmap.ome.zarr").exists()


def test_slices_that_cannot_be_read_fail_alone(
    tmp_path: Path, write_volume: Any, slice_bundle: Path, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    files = {int(dcmread(path).InstanceNumber) - 1: path for path in series.iterdir()}
    cut, bare = 7, 10
    files[cut].write_bytes(files[cut].read_bytes()[:-333])
    made = dcmread(files[bare])
    made.PixelData = b""
    made.save_as(files[bare])
    events = run([series], slice_bundle, tmp_path / "out")
    (finished,) = of(events, SlideFinished)
    table = read_slices_csv(tmp_path / "out" / "series" / "slices.csv")
    assert [plane for plane, word in enumerate(table.status) if word == "failed"] == [cut, bare]
    assert finished.status == "partly"
    assert finished.failed == 2
    assert np.isfinite(table.probabilities[table.done]).all()
    (planned,) = of(events, Planned)
    assert any("2 of its slices cannot be read, such as 7" in note for note in planned.readings)
    assert of(events, Finished)[0].exit_code == 3
    assert (tmp_path / "out" / "series" / "montage.png").exists()


def test_of_a_mixed_batch_every_input_has_its_fate_whatever_a_library_raises(
    tmp_path: Path,
    write_volume: Any,
    slice_bundle: Path,
    head: NDArray[np.int16],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class NobodyKnowsThis(Exception):  # noqa: N818  (another library's name)
        pass

    def raising(*_arguments: Any, **_named: Any) -> Any:
        raise NobodyKnowsThis("a kind of its own")

    inputs = [write_volume.nrrd(tmp_path / f"good{number}.nrrd", head) for number in range(2)]
    short = tmp_path / "short.nhdr"
    short.write_text(
        "NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nencoding: raw\nendian: little\n"
        "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        "space origin: (0,0,0)\ndata file: short.raw\n",
        encoding="ascii",
    )
    (tmp_path / "short.raw").write_bytes(b"\0" * 700)
    torn = write_volume.nifti(tmp_path / "torn.nii.gz", head)
    torn.write_bytes(torn.read_bytes()[:5000])
    nothing = tmp_path / "nothing.nii"
    nothing.write_bytes(b"")
    strange = write_volume.mgh(tmp_path / "strange.mgz", head)
    monkeypatch.setattr("slidecam.sources._nifti._unpacked", raising)
    events = run(
        [short, torn, inputs[0], nothing, strange, inputs[1]], slice_bundle, tmp_path / "o"
    )
    failed = {event.slide: event.problem for event in of(events, SlideFailed)}
    done = {event.slide for event in of(events, SlideFinished)}
    assert set(failed) == {"short", "torn", "nothing", "strange"}
    assert done == {"good0", "good1"}
    assert "a kind of its own" in failed["strange"]
    assert of(events, Finished)[0].exit_code == 3
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    assert len(manifest["slides"]) == len(failed | dict.fromkeys(done))


def test_slices_say_how_far_the_members_of_an_ensemble_disagree(
    tmp_path: Path, write_volume: Any, with_air: NDArray[np.int16], slice_bundle: Path
) -> None:
    path = write_volume.nifti(tmp_path / "brain.nii.gz", with_air)
    first = open_bundle(slice_bundle)
    other = replace(first.card, temperature=first.card.temperature * 5.75)
    second = save_bundle(tmp_path / "second", other, first.network())
    card, weights = ensemble_of([first, second], "two")
    bundle = save_bundle(tmp_path / "two", card, dict(weights)).path
    run(path, bundle, tmp_path / "out", heatmap="none")
    store = RunStore.open(tmp_path / "out" / "brain")
    assert store.disagreement is not None
    assert store.disagreement.min() > 0.002
    table = read_slices_csv(tmp_path / "out" / "brain" / "slices.csv")
    assert table.disagreement is not None
    np.testing.assert_allclose(table.disagreement[store.planes], store.disagreement, atol=1e-6)
    assert np.isnan(table.disagreement[~table.done]).all()
