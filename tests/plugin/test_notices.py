"""Remedies and commands are worded as they can be used."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import slidecam
from slidecam.errors import SpacingError, UsageError
from slidecam.files import check_folder
from slidecam.plugin.run_request import quoted
from slidecam.plugin.tasks import VIEWER_WORDS, in_viewer_words
from slidecam.sources import settle_spacing


def test_remedies_are_worded_as_they_are_had_in_the_viewer(
    tmp_path: Path, array_source: Any, noise: Any
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as blocked:
        check_folder(tmp_path / "file" / "out")
    assert in_viewer_words(str(blocked.value)).endswith("Choose another folder in “Results”.")
    with pytest.raises(SpacingError) as unknown:
        settle_spacing(replace(array_source(noise(64, 64)).facts, spacing=None))
    assert in_viewer_words(str(unknown.value)).endswith("Set “µm/px”.")


def test_the_shown_command_is_taken_by_a_shell_whatever_its_paths_hold() -> None:
    words = ["slidecam", "predict", "my slides/it's <1> & 2.svs"]
    if sys.platform != "win32":
        assert shlex.split(quoted(words)) == words
    assert quoted(["slidecam", "--resume"]) == "slidecam --resume"


def test_a_remedy_that_is_said_otherwise_in_the_viewer_is_one_that_the_pipeline_has() -> None:
    source = Path(slidecam.__file__).parent
    outside = [
        path for path in source.rglob("*.py") if "plugin" not in path.relative_to(source).parts
    ]
    words = "".join(path.read_text(encoding="utf-8") for path in outside)
    assert [typed for typed, _clicked in VIEWER_WORDS if typed not in words] == []
