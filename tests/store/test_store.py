"""A run on disk: committed batch by batch, resumable at any moment."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from slidecam.errors import RunExistsError, RunMismatchError, StoreError
from slidecam.foreground.mask import mask_digest
from slidecam.geometry import Size
from slidecam.store import (
    RunStore,
    Status,
    StorePlan,
    TileResults,
    kept_tissue,
    lock_run,
    open_or_create,
    read_run,
    write_run,
)

if TYPE_CHECKING:
    from pathlib import Path

BOXES = np.array([[10 * i, 0, 10, 10] for i in range(5)], np.int64)
BATCHES = [np.array([4, 0], np.int64), np.array([2, 1], np.int64), np.array([3], np.int64)]
PLAN = StorePlan(BOXES, BATCHES, step=10, classes=2, map_shape=(1, 1, 3, 3))


def results(first: float, rows: int, failures: dict[int, str] | None = None) -> TileResults:
    logits = np.arange(first, first + 2 * rows, dtype=np.float32).reshape(rows, 2)
    maps = np.full((rows, 1, 1, 3, 3), np.float32(first))
    return TileResults(logits, logits / np.float32(100), maps, failures or {})


def test_results_come_back_in_grid_order(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, PLAN)
    store.commit(0, results(0, 2))
    store.commit(1, results(10, 2))
    assert store.boxes.tolist() == BOXES.tolist()
    assert store.status.tolist() == [1, 1, 1, 0, 1]
    assert store.logits[[4, 0, 2, 1]].tolist() == [[0, 1], [2, 3], [10, 11], [12, 13]]
    assert np.isnan(store.logits[3]).all()


def test_a_killed_run_knows_exactly_the_batches_it_lacks(tmp_path: Path) -> None:
    RunStore.create(tmp_path, PLAN).commit(1, results(0, 2))
    assert RunStore.open(tmp_path).pending_batches() == [0, 2]


def test_a_batch_without_its_status_counts_as_never_written(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, PLAN)
    store._arrays["logits"][0:2] = 7
    assert store.pending_batches() == [0, 1, 2]


def test_failed_tiles_keep_their_reason_and_no_numbers(tmp_path: Path) -> None:
    RunStore.create(tmp_path, PLAN).commit(0, results(0, 2, {1: "corrupt JPEG"}))
    store = RunStore.open(tmp_path)
    assert store.failures == {0: "corrupt JPEG"}
    assert store.status[0] == Status.FAILED
    assert np.isnan(store.probabilities[0]).all()
    assert store.maps is not None
    assert np.isnan(np.asarray(store.maps[1])).all()
    assert store.pending_batches() == [0, 1, 2]


def test_a_run_without_maps_keeps_none(tmp_path: Path) -> None:
    plan = StorePlan(BOXES, BATCHES, 10, 2, None)
    assert RunStore.create(tmp_path, plan).maps is None


def test_a_slide_without_tiles_is_a_run_with_nothing_pending(tmp_path: Path) -> None:
    store = RunStore.create(
        tmp_path, StorePlan(np.zeros((0, 4), np.int64), [], 10, 2, (1, 1, 3, 3))
    )
    assert (len(store), store.pending_batches(), store.boxes.shape) == (0, [], (0, 4))


def test_many_batches_share_a_file_and_stay_apart(tmp_path: Path) -> None:
    batches = [np.arange(i, i + 4) for i in range(0, 4000, 4)]
    boxes = np.zeros((4000, 4), np.int64)
    store = RunStore.create(tmp_path, StorePlan(boxes, batches, 10, 2, (1, 1, 3, 3)))
    store.commit(3, results(0, 4))
    store.commit(1, results(50, 4))
    assert len(list((tmp_path / "run.zarr" / "logits").glob("c*"))) == 1
    assert store.logits[12:16].tolist() == results(0, 4).logits.tolist()
    assert store.logits[4:8].tolist() == results(50, 4).logits.tolist()
    assert np.flatnonzero(store.status).tolist() == [4, 5, 6, 7, 12, 13, 14, 15]


def test_an_existing_run_is_refused_by_default(tmp_path: Path) -> None:
    open_or_create(tmp_path, PLAN, "refuse")
    with pytest.raises(RunExistsError, match="--resume"):
        open_or_create(tmp_path, PLAN, "refuse")


def test_resuming_continues_and_overwriting_begins_anew(tmp_path: Path) -> None:
    open_or_create(tmp_path, PLAN, "resume").commit(0, results(0, 2))
    assert open_or_create(tmp_path, PLAN, "resume").pending_batches() == [1, 2]
    assert open_or_create(tmp_path, PLAN, "overwrite").pending_batches() == [0, 1, 2]


def test_a_batch_that_comes_late_touches_no_run_that_was_begun_anew(tmp_path: Path) -> None:
    late = open_or_create(tmp_path, PLAN, "resume")
    late.commit(0, results(3, 2))
    anew = open_or_create(tmp_path, PLAN, "overwrite")
    with pytest.raises(StoreError, match="another one than this batch is of"):
        late.commit(1, results(5, 2))
    assert anew.pending_batches() == [0, 1, 2]
    anew.commit(1, results(7, 2))
    assert anew.logits[2].tolist() == [7, 8]


def test_a_batch_of_a_run_that_was_removed_is_refused(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, PLAN)
    shutil.rmtree(tmp_path / "run.zarr")
    with pytest.raises(StoreError, match="another one than this batch is of"):
        store.commit(0, results(0, 2))
    assert not (tmp_path / "run.zarr").exists()


def test_a_run_of_another_plan_is_not_continued(tmp_path: Path) -> None:
    open_or_create(tmp_path, replace(PLAN, digest={"overlap": 0.0, "mask": "x"}), "resume")
    with pytest.raises(RunMismatchError, match=r"overlap was 0\.0, is 0\.5"):
        open_or_create(tmp_path, replace(PLAN, digest={"overlap": 0.5, "mask": "x"}), "resume")


def test_a_run_whose_tiles_come_in_another_order_is_not_continued(tmp_path: Path) -> None:
    open_or_create(tmp_path, PLAN, "resume")
    with pytest.raises(RunMismatchError, match="other tiles"):
        open_or_create(tmp_path, replace(PLAN, batches=BATCHES[::-1]), "resume")


@pytest.mark.parametrize("name", ["zarr.json", "status/zarr.json"])
def test_a_damaged_run_is_neither_continued_nor_wiped_unasked(tmp_path: Path, name: str) -> None:
    open_or_create(tmp_path, PLAN, "resume").commit(0, results(0, 2))
    (tmp_path / "run.zarr" / name).write_text("{broken")
    for existing in ("resume", "refuse"):
        with pytest.raises((StoreError, RunExistsError)):
            open_or_create(tmp_path, PLAN, existing)
    assert (tmp_path / "run.zarr" / "logits" / "c.0.0").exists()
    assert open_or_create(tmp_path, PLAN, "overwrite").pending_batches() == [0, 1, 2]


def lose_files(array: Path) -> None:
    lost = list(array.glob("c*"))
    assert lost
    for path in lost:
        path.unlink()


@pytest.mark.parametrize("name", ["probabilities", "maps"])
def test_a_lost_file_of_results_is_noticed_and_computed_again(tmp_path: Path, name: str) -> None:
    store = RunStore.create(tmp_path, PLAN)
    for batch, rows in enumerate((2, 2, 1)):
        store.commit(batch, results(0, rows))
    assert RunStore.open(tmp_path).pending_batches() == []
    lose_files(tmp_path / "run.zarr" / name)
    assert RunStore.open(tmp_path).pending_batches() == [0, 1, 2]


def chunk_of(folder: Path, name: str) -> Path:
    return min(path for path in (folder / "run.zarr" / name).iterdir() if path.name != "zarr.json")


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    changed = {
        "empty": b"",
        "cut": content[:middle],
        "foreign": b"not what zstd packs",
        "flipped": content[:-1] + bytes([content[-1] ^ 0x55]),
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize("how", ["empty", "cut", "foreign", "flipped"])
@pytest.mark.parametrize("name", ["status", "logits", "probabilities", "maps", "disagreement"])
def test_a_damaged_file_of_results_is_computed_again_by_whoever_goes_on(
    tmp_path: Path, name: str, how: str
) -> None:
    plan = replace(PLAN, disagrees=True)
    store = RunStore.create(tmp_path, plan)
    whole = [
        replace(results(first, rows), disagreement=np.full(rows, 0.37, np.float32))
        for first, rows in ((3, 2), (17, 2), (29, 1))
    ]
    for batch, each in enumerate(whole):
        store.commit(batch, each)
    before = (store.status, store.logits, store.probabilities, store.disagreement)
    damage(chunk_of(tmp_path, name), how)
    with pytest.raises(StoreError, match=rf"of {name} in run.zarr is damaged.*--resume"):
        RunStore.open(tmp_path).pending_batches()
    store = open_or_create(tmp_path, plan, "resume")
    assert store.pending_batches() == [0, 1, 2]
    for batch, each in enumerate(whole):
        store.commit(batch, each)
    again = RunStore.open(tmp_path)
    after = (again.status, again.logits, again.probabilities, again.disagreement)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("name", ["boxes", "grid_row", "batch_starts"])
def test_a_damaged_file_of_places_is_told_with_what_to_do(tmp_path: Path, name: str) -> None:
    RunStore.create(tmp_path, PLAN).commit(0, results(0, 2))
    damage(chunk_of(tmp_path, name), "empty")
    with pytest.raises(StoreError, match=r"run\.zarr.*--overwrite"):
        open_or_create(tmp_path, PLAN, "resume")


@pytest.mark.parametrize("name", ["boxes", "grid_row"])
def test_a_lost_file_of_places_is_noticed(tmp_path: Path, name: str) -> None:
    open_or_create(tmp_path, PLAN, "resume")
    lose_files(tmp_path / "run.zarr" / name)
    with pytest.raises((RunMismatchError, StoreError), match="damaged"):
        open_or_create(tmp_path, PLAN, "resume")


def test_failed_tiles_are_tried_again_when_a_run_is_continued(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, PLAN)
    for batch, rows in enumerate((2, 2, 1)):
        store.commit(batch, results(0, rows, {0: "network drive was away"} if batch == 1 else None))
    assert RunStore.open(tmp_path).pending_batches() == [1]
    store.commit(1, results(0, 2))
    assert (store.pending_batches(), store.failures) == ([], {})


def test_a_reader_that_meets_a_batch_in_the_making_sees_no_status_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore.create(tmp_path, PLAN)
    monkeypatch.setattr(store, "_write_failures", _raise_full)
    with pytest.raises(OSError, match="full"):
        store.commit(0, results(0, 2))
    assert store.pending_batches() == [0, 1, 2]
    assert store.logits[4].tolist() == [0, 1]


def _raise_full(*_anything: object) -> None:
    raise OSError("full")


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    lock = lock_run(tmp_path)
    with pytest.raises(RunExistsError, match="Another slidecam"):
        lock_run(tmp_path)
    lock.release()
    lock_run(tmp_path).release()


def test_a_run_killed_while_it_was_laid_out_begins_anew(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, PLAN)
    del store._group.attrs["complete"]
    with pytest.raises(StoreError, match="cut off"):
        RunStore.open(tmp_path)
    assert open_or_create(tmp_path, PLAN, "refuse").pending_batches() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]"])
def test_a_run_json_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "run.json").write_bytes(content)
    assert read_run(tmp_path) is None


def test_run_json_is_replaced_whole(tmp_path: Path) -> None:
    assert read_run(tmp_path) is None
    write_run(tmp_path, {"status": "running"})
    write_run(tmp_path, {"status": "done"})
    assert read_run(tmp_path) == {"status": "done"}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_an_exploding_map_is_cut_off_and_not_infinite(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, PLAN)
    zeros, huge = np.zeros((1, 2), np.float32), np.full((1, 1, 1, 3, 3), 1e9, np.float32)
    huge[..., 0] = -1e9
    store.commit(2, TileResults(zeros, zeros, huge, {}))
    assert store.maps is not None
    kept, largest = np.asarray(store.maps[4]), np.finfo(np.float16).max
    assert (kept.min(), kept.max()) == (-largest, largest)


MASK = np.arange(35).reshape(5, 7) % 3 == 0
PICTURE = {"slide": "f1", "reader": "tiff", "picture": None}


def laid_on_found_tissue(folder: Path, **changed: object) -> None:
    digest = {"slide": "f1", "reader": "tiff", "tissue mask": mask_digest(MASK), **changed}
    found = {"from": "otsu on saturation", "by": "slidecam 1.7"}
    RunStore.create(folder, replace(PLAN, digest=digest, tissue=MASK, found=found))


def test_found_tissue_is_kept_for_whoever_would_find_the_same(tmp_path: Path) -> None:
    laid_on_found_tissue(tmp_path)
    kept = kept_tissue(tmp_path, Size(70, 50), PICTURE, "slidecam 1.7")
    assert kept is not None
    assert np.array_equal(kept.mask, MASK)
    assert (kept.size, kept.origin) == (Size(70, 50), "otsu on saturation")


@pytest.mark.parametrize(
    ("changed", "finder"),
    [
        ({}, "slidecam 1.8"),
        ({"slide": "f2"}, "slidecam 1.7"),
        ({"picture": {"image": "2"}}, "slidecam 1.7"),
        ({"tissue mask": "of another mask"}, "slidecam 1.7"),
    ],
)
def test_tissue_is_found_anew_where_it_may_be_another(
    tmp_path: Path, changed: dict[str, object], finder: str
) -> None:
    laid_on_found_tissue(tmp_path, **changed)
    assert kept_tissue(tmp_path, Size(70, 50), PICTURE, finder) is None


def test_tissue_of_a_mask_that_was_given_is_not_taken_for_found(tmp_path: Path) -> None:
    RunStore.create(tmp_path, replace(PLAN, digest=PICTURE, tissue=MASK))
    assert kept_tissue(tmp_path, Size(70, 50), PICTURE, "slidecam 1.7") is None
    assert kept_tissue(tmp_path / "nothing", Size(70, 50), PICTURE, "slidecam 1.7") is None


def test_an_array_is_a_folder_of_files_alone_and_older_stores_are_read(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path / "now", PLAN)
    store.commit(0, results(0, 2))
    arrays = tmp_path / "now" / "run.zarr"
    assert {path.parent.parent for path in arrays.rglob("*") if path.is_dir()} == {arrays.parent}
    before = zarr.open_group(tmp_path / "before" / "run.zarr", mode="w", zarr_format=3)
    now = zarr.open_group(arrays, mode="r")
    for name, array in now.arrays():
        before.create_array(name, data=np.asarray(array[...]), chunks=array.chunks)
    before.attrs.update(now.attrs.asdict())
    assert (tmp_path / "before" / "run.zarr" / "logits" / "c" / "0" / "0").is_file()
    older = RunStore.open(tmp_path / "before")
    assert older.pending_batches() == store.pending_batches() == [1, 2]
    older.commit(1, results(10, 2))
    assert older.pending_batches() == [2]
    assert older.logits[[2, 1]].tolist() == [[10, 11], [12, 13]]


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("status", "shape", [3]),
        ("status", "shape", [5, 2]),
        ("status", "data_type", "float32"),
        ("boxes", "shape", [5, 3]),
        ("logits", "shape", [5, 7]),
        ("logits", "shape", [4, 2]),
        ("maps", "shape", [5, 1, 1, 3]),
        ("grid_row", "fill_value", 10**30),
        ("grid_row", "shape", [10**30]),
    ],
)
def test_an_array_that_is_not_as_it_was_laid_out_is_damage(
    tmp_path: Path, name: str, key: str, value: object
) -> None:
    RunStore.create(tmp_path, PLAN).commit(0, results(0, 2))
    path = tmp_path / "run.zarr" / name / "zarr.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(StoreError, match=r"run\.zarr") as caught:
        RunStore.open(tmp_path)
    assert "--overwrite" in str(caught.value)


def test_rows_of_a_grid_that_are_named_twice_are_damage(tmp_path: Path) -> None:
    store = RunStore.create(tmp_path, PLAN)
    store._arrays["grid_row"][0] = 3
    with pytest.raises(StoreError, match="each row of the grid once"):
        RunStore.open(tmp_path)


def test_numbers_that_zarr_takes_and_no_run_writes_are_damage(tmp_path: Path) -> None:
    RunStore.create(tmp_path, PLAN)
    path = tmp_path / "run.zarr" / "zarr.json"
    said = json.loads(path.read_text())
    said["attributes"]["step"] = 10**40
    path.write_text(json.dumps(said))
    with pytest.raises(StoreError, match="too large"):
        RunStore.open(tmp_path)
