"""Each tutorial runs from its first block to its last, as it stands on the site."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
import site_pages
from typer.testing import CliRunner

import slidecam.cli  # noqa: F401  (its import registers the commands)
from slidecam.cli.app import app

TUTORIALS = {
    path.stem: path
    for path in sorted((site_pages.DOCS / "tutorials").glob("*.md"))
    if site_pages.FENCED.search(path.read_text(encoding="utf-8"))
}


def run_line(line: str) -> str:
    """Run a line of a terminal in this process, and return what it printed; it must end well."""
    program, *words = shlex.split(line)
    if program == "python":
        sys.argv = words
        with redirect_stdout(StringIO()) as said:
            runpy.run_path(words[0], run_name="__main__")
        return said.getvalue()
    assert program == "slidecam"
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception!r}"
    for option, value in pairwise(words):
        if option in {"-o", "--out", "--zip"}:
            assert Path(value).exists(), f"{line} left no {value}"
    return done.output


def keep(name: str, printed: list[str]) -> None:
    """Leave what a tutorial printed for the site's notebooks, where a folder for it is named."""
    folder = os.environ.get("SLIDECAM_NOTEBOOKS")
    if folder:
        here = f"{Path.cwd()}{os.sep}"
        said = [each.replace(here, "") for each in printed]
        Path(folder).mkdir(parents=True, exist_ok=True)
        Path(folder, f"{name}.json").write_text(json.dumps(said), encoding="utf-8")


@pytest.fixture
def tree(sample_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where a tutorial begins: at the root of a tree, with the sample data."""
    shutil.copytree(sample_data, tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.syspath_prepend(str(tmp_path / "sample_data"))


@pytest.mark.slow
@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_from_its_first_block_to_its_last(name: str) -> None:
    names: dict[str, object] = {}
    printed = []
    for language, code in site_pages.FENCED.findall(TUTORIALS[name].read_text("utf-8")):
        if language == "python":
            with redirect_stdout(StringIO()) as said:
                exec(compile(code, name, "exec"), names)  # noqa: S102  (a page of ours)
            printed.append(said.getvalue())
            continue
        assert language == "sh"
        printed.append("".join(map(run_line, code.replace("\\\n", " ").splitlines())))
    keep(name, printed)
    assert any(printed)


def test_there_is_a_tutorial_of_each_kind() -> None:
    assert set(TUTORIALS) == {"classify", "cluster", "teach", "train", "volume", "why"}


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_is_a_notebook_too(name: str) -> None:
    text = TUTORIALS[name].read_text("utf-8")
    cells = site_pages.notebook(text)["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) == len(site_pages.FENCED.findall(text))
    for cell, (language, block) in zip(code, site_pages.FENCED.findall(text), strict=True):
        written = "".join(cell["source"])
        if language == "python":
            assert written == block.rstrip("\n")
        else:
            assert all(line.startswith("!") for line in written.splitlines())
    assert "".join(cells[0]["source"]).startswith("# ")


def test_a_notebook_has_what_its_blocks_printed_where_they_were_run() -> None:
    text = "# One\n\n```sh\nslidecam methods\n```\n\n```python\nx = 1\n```\n"
    printed, silent = site_pages.notebook(text, ["cam\nlime\n", ""])["cells"][1:]
    assert printed["outputs"] == [
        {"output_type": "stream", "name": "stdout", "text": ["cam\n", "lime\n"]}
    ]
    assert (printed["execution_count"], silent["execution_count"]) == (1, 2)
    assert silent["outputs"] == []
    for stale in ((), ("cam",)):
        cells = site_pages.notebook(text, stale)["cells"][1:]
        assert [cell["outputs"] for cell in cells] == [[], []]
        assert {cell["execution_count"] for cell in cells} == {None}
