"""Rules of pooling are tried on volumes whose class is known, and the best comes first."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from typer.testing import CliRunner

from slidecam.classes import ClassSet
from slidecam.cli.app import app
from slidecam.errors import DataSetError, UsageError
from slidecam.evaluation.pooling import KnownVolume, compare_poolings, read_known_volumes
from slidecam.models.card_parts import Pooling

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NAMES = ("cyst", "mass", "nothing")


def volume(name: str, label: str, *slices: tuple[float, float, float]) -> KnownVolume:
    return KnownVolume(name, label, np.array(slices, np.float32), ClassSet(NAMES))


CLEAR = (0.04, 0.01, 0.95)
SICK = volume("sick", "mass", *[CLEAR] * 17, (0.1, 0.8, 0.1), (0.2, 0.7, 0.1))
FLICKER = volume("healthy", "nothing", *[CLEAR] * 40, (0.52, 0.2, 0.28), (np.nan,) * 3)


def test_a_rule_that_bears_one_odd_slice_and_sees_few_sick_ones_comes_first() -> None:
    tried = compare_poolings([SICK, FLICKER], "nothing", ks=(1, 2, 3, 30))
    best = tried[0]
    assert (best.pooling, best.right) == (Pooling("top-k", 2, "nothing"), 2)
    expected_calls: dict[str, Any] = {
        "1 sick": ("mass", pytest.approx(0.75, abs=1e-4)),
        "2 healthy": ("nothing", pytest.approx((0.28 + 0.95) / 2, abs=1e-4)),
    }
    assert best.called == expected_calls
    expected = -(math.log(0.75) + math.log((0.28 + 0.95) / 2)) / 2
    assert best.log_loss == pytest.approx(expected, abs=1e-5)
    by_rule = {str(each.pooling): each for each in tried}
    assert by_rule["mean over the classified slices"].called["1 sick"][0] == "nothing"
    assert by_rule["the slice that is least nothing"].called["2 healthy"][0] == "cyst"
    assert by_rule["mean over the classified slices"].wrong([SICK, FLICKER]) == [
        "1 sick is called nothing (0.86)"
    ]
    assert len(tried) == 6
    assert [each.right for each in tried] == sorted((each.right for each in tried), reverse=True)


def test_volumes_are_called_by_the_cards_biases_as_predict_calls_them() -> None:
    slices = np.array([[0.33, 0.23, 0.44], [0.35, 0.24, 0.41]], np.float32)
    biased = KnownVolume("one", "cyst", slices, ClassSet(NAMES, biases=(-0.7, 0.1, 0.3)))
    (found, *_others) = compare_poolings([biased])
    # exp(0.7) * 0.34 = 0.685 is more than exp(-0.3) * 0.425 = 0.315.
    assert found.right == 1
    called, share = found.called["1 one"]
    assert called == "cyst"
    assert share == pytest.approx(0.34, abs=0.02)
    plain = KnownVolume("one", "cyst", slices, ClassSet(NAMES))
    assert {figures.right for figures in compare_poolings([plain])} == {0}


def test_a_class_that_is_none_of_theirs_is_refused() -> None:
    with pytest.raises(UsageError, match="no class 'none'"):
        compare_poolings([SICK], "none")


@pytest.fixture
def run(tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path) -> Path:
    path = tmp_path / "brain.nii"
    write_volume.nifti(path, head)
    call = ["predict", str(path), "-m", str(slice_bundle), "-o", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*call, "--outputs", "slices.csv", "--heatmap", "none"])
    assert done.exit_code == 0, done.output
    return tmp_path / "out" / "brain"


def test_runs_are_read_from_a_table_and_tried_by_the_command(tmp_path: Path, run: Path) -> None:
    table = tmp_path / "known.csv"
    table.write_text("run,label\nout/brain,lesion\n")
    (known,) = read_known_volumes(table)
    record = json.loads((run / "run.json").read_text())
    mean = Pooling().pool(known.probabilities, known.class_names, exclusive=True)
    for name, value in zip(known.class_names, mean, strict=True):
        assert record["volume"]["probabilities"][name] == pytest.approx(value, abs=1e-5)
    done = CliRunner().invoke(app, ["pooling", str(table), "--negative", "plain", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["volumes"] == 1
    assert {each["pooling"]["negative"] for each in found["poolings"]} == {"plain"}
    shown = CliRunner().invoke(app, ["pooling", str(table)])
    assert "mean over the classified slices" in shown.output
    for text, says in (
        ("run,label\nout/brain,tumour\n", "no class 'tumour'"),
        ("run\nout/brain\n", "columns run and label"),
        ("run,label\n", "lists no run"),
    ):
        table.write_text(text)
        with pytest.raises(DataSetError, match=says):
            read_known_volumes(table)


def test_a_run_without_a_classified_slice_is_refused(tmp_path: Path, run: Path) -> None:
    rows = (run / "slices.csv").read_text().splitlines()
    head = rows[0].split(",")
    place = head.index("status")
    lost = [row.split(",") for row in rows[1:]]
    for row in lost:
        row[place:] = ["skipped", *[""] * (len(head) - place - 1)]
    (run / "slices.csv").write_text("\n".join([rows[0], *map(",".join, lost)]) + "\n")
    table = tmp_path / "known.csv"
    table.write_text("run,label\nout/brain,lesion\n")
    with pytest.raises(DataSetError, match="No slice of this run was classified"):
        read_known_volumes(table)
