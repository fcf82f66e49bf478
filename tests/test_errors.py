"""The tree of errors: what it draws is what the doors do."""

from __future__ import annotations

import ast
import asyncio
import importlib
import json
import pickle
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from fastapi import FastAPI

import slidecam
from slidecam import errors
from slidecam.cli.terminal import Terminal
from slidecam.errors import BundleError, MaskError, SlidecamError, SourceError, StoreError
from slidecam.server.guard import RequestError, body_of, handle_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = {400, 403, 404, 409}
"""HTTP's words for a call that must be changed: bad, forbidden, not there, in conflict."""

LINE = re.compile(r"^[│├└─ ]*(\w+Error)\b.*\s(2|-)  (\d{3})$", re.MULTILINE)


def family(parent: type[SlidecamError] = SlidecamError) -> Iterator[type[SlidecamError]]:
    yield parent
    for child in parent.__subclasses__():
        yield from family(child)


TREE = sorted(set(family()) - {RequestError}, key=lambda kind: kind.__name__)


def an_error(kind: type[SlidecamError]) -> SlidecamError:
    error = kind.__new__(kind)
    SlidecamError.__init__(error, "the lamp is off.", "Switch it on.")
    return error


def test_the_drawn_tree_names_every_error_with_its_exit_code_and_status() -> None:
    drawn = {name: (two == "2", int(status)) for name, two, status in LINE.findall(errors.__doc__)}
    assert drawn == {kind.__name__: (kind.usage, kind.status) for kind in TREE}
    assert len(drawn) == 29


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_an_error_comes_whole_from_another_process(kind: type[SlidecamError]) -> None:
    error = an_error(kind)
    error.path = "lamp.svs"  # type: ignore[attr-defined]  # some have one
    come = pickle.loads(pickle.dumps(error))  # noqa: S301  (our own)
    assert type(come) is kind
    assert str(come) == str(error) == "The lamp is off. Switch it on."
    assert vars(come) == vars(error)


def test_every_error_of_slidecam_is_in_the_tree() -> None:
    for module in pkgutil.walk_packages(slidecam.__path__, "slidecam."):
        if not module.name.startswith(("slidecam.plugin", "slidecam.__main__")):
            importlib.import_module(module.name)
    assert {kind.__module__ for kind in family()} == {"slidecam.errors", RequestError.__module__}


@pytest.mark.parametrize("kind", TREE)
def test_a_wrong_call_is_one_in_every_door(kind: type[SlidecamError]) -> None:
    assert kind.usage == (kind.status in CALLS)
    with pytest.raises(typer.Exit) as end, Terminal(json=True).errors():
        raise an_error(kind)
    assert end.value.exit_code == (2 if kind.usage else 1)


@pytest.mark.parametrize("kind", TREE)
def test_the_server_answers_with_the_errors_own_status(kind: type[SlidecamError]) -> None:
    app = FastAPI()
    handle_errors(app)
    error = an_error(kind)
    handler: Any = app.exception_handlers[SlidecamError]
    answer = asyncio.run(handler(None, error))
    assert answer.status_code == kind.status
    assert json.loads(answer.body) == body_of(error)


@pytest.mark.parametrize(
    "error",
    [
        SourceError("ward 3/slide.svs", "The lamp is off.", "Switch it on."),
        BundleError("ward 3/slide.svs", "The lamp is off.", "Switch it on."),
        StoreError("ward 3/slide.svs", "The lamp is off.", "Switch it on."),
        MaskError("The lamp is off.", "Switch it on.", "ward 3/slide.svs"),
    ],
)
def test_a_message_begins_with_what_is_wrong_and_names_the_file_behind_it(
    error: SlidecamError,
) -> None:
    # A viewer's notice shows some 40 characters: with the path first, none of them said anything.
    assert error.problem == "The lamp is off (ward 3/slide.svs)."
    assert str(error) == "The lamp is off (ward 3/slide.svs). Switch it on."


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("there is no lamp.", "There is no lamp."),
        ("train, val and test are lamps.", "Train, val and test are lamps."),
        ("a lamp is off.", "A lamp is off."),
        ("The lamp is off.", "The lamp is off."),
        ("µm are missing.", "µm are missing."),
    ],
)
def test_a_plain_first_word_gets_the_capital_of_a_sentence(written: str, shown: str) -> None:
    error = SlidecamError(written, "Switch it on.")
    assert error.problem == shown
    assert str(error) == f"{shown} Switch it on."


@pytest.mark.parametrize(
    "problem",
    [
        "--lamp is off.",
        "'lamp' is off.",
        '"lamp" is off.',
        "tile_px is off.",
        "train.epochs is off.",
        "ward/lamp.svs is off.",
        "lamp.svs is off.",
        "4 lamps are off.",
        "resnet18 is off.",
        "timm's lamp is off.",
        "off-lamp is off.",
        "slidecam is off.",
        "lamp: off.",
        "",
    ],
)
def test_an_option_a_key_a_file_and_a_quotation_stay_as_they_are_written(problem: str) -> None:
    error = SlidecamError(problem, "Switch it on.")
    assert error.problem == problem
    assert error.clause == problem.removesuffix(".")


def test_within_a_sentence_a_problem_has_no_capital_and_no_full_stop() -> None:
    assert SlidecamError("The lamp is off.", "Switch it on.").clause == "the lamp is off"
    assert SlidecamError("a lamp is off.", "", "ward/3").clause == "a lamp is off (ward/3)"
    assert SlidecamError("QuPath is off.", "").clause == "QuPath is off"
    assert SlidecamError("LIME is off.", "").clause == "LIME is off"


def test_no_error_is_raised_without_a_remedy() -> None:
    bare: list[str] = []
    for path in sorted(Path(slidecam.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Error"):
                given = [one.value for one in node.args if isinstance(one, ast.Constant)]
                if "" in given:
                    bare.append(f"{path.name}:{node.lineno}")
    assert bare == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("https://me:secret@host/a.tif?sig=1%2F2&se=3", "https://host/a.tif"),
        ("s3://bucket/a.svs?versionId=1", "s3://bucket/a.svs"),
        ("a?b@c.tif", "a?b@c.tif"),
    ],
)
def test_a_message_names_a_url_without_what_opens_its_server(path: str, shown: str) -> None:
    assert SlidecamError("Gone.", "Come.", path).problem == f"Gone ({shown})."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://h/a.tif?token=1", "https://h/a.tif"),
        ("no (https://h/a.tif?token=1).", "no (https://h/a.tif)."),
        ("https://me:p@ss@h/a?token=a(b)c. No", "https://h/a. No"),
        ("url=URL('https://h/a?token=x%2By'), b", "url=URL('https://h/a'), b"),
        ("https://h/a?sig=O'Neil&x=1 and", "https://h/a and"),
        (
            '{"url": "https://h/a?t=1", "b": "s3://k:s@c/d"}',
            '{"url": "https://h/a", "b": "s3://c/d"}',
        ),
        ("why? https://h/a: no", "why? https://h/a: no"),
        ("a?b=c", "a?b=c"),
    ],
)
def test_what_opens_a_server_is_no_part_of_what_is_shown(text: str, shown: str) -> None:
    assert errors.without_secrets(text) == shown
    error = errors.UnreadableSourceError("https://h/c?token=2", text, text)
    assert error.remedy == shown
    assert "token" not in str(error)


def test_a_remedy_that_is_added_is_part_of_the_message() -> None:
    error = errors.RefusedSourceError("a.tif", "It is float.", "Export it.")
    error.add_remedy("Or pass --image 2.")
    assert str(error) == "It is float (a.tif). Export it. Or pass --image 2."
    assert error.remedy == "Export it. Or pass --image 2."
