"""What `predict` may be set to is checked before anything is read, and all at once."""

from __future__ import annotations

import pytest

from slidecam.errors import ExplanationError, UsageError
from slidecam.runs.spec import PredictSpec


def test_everything_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(UsageError, match="6 settings are wrong") as caught:
        PredictSpec(
            overlap=1.7,
            min_tissue=-0.3,
            reader="lamp",
            axis="depth",  # type: ignore[arg-type]
            heatmap="cam,gradcan",
            outputs=("tiles.cvs",),
        )
    for word in ("overlap 1.7", "min_tissue -0.3", "'lamp'", "'depth'", "'gradcan'", "'tiles.cvs'"):
        assert word in caught.value.problem


def test_one_fault_alone_keeps_its_own_error_and_remedy() -> None:
    with pytest.raises(ExplanationError, match=r"'gradcan' for whole slides\. Use none, or some"):
        PredictSpec(heatmap="gradcan")
