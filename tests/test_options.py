"""One table of options, and every door made from it."""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args

import pytest
import typer
from annotated_types import Ge, Le
from hypothesis import given, settings
from hypothesis import strategies as st

from slidecam import classes
from slidecam.cli import predicting, runs
from slidecam.cli.app import app
from slidecam.cli.evaluating import Part
from slidecam.cli.inventory import Activation, HeadActivation, Interpolation, WeightNames
from slidecam.cli.runs import Tiles
from slidecam.exchange.qupath import TileFormat
from slidecam.explain.catalogue import slide_methods
from slidecam.geometry import AXES
from slidecam.learning.evaluation.bundle import PartChoice
from slidecam.learning.recipes.tables import ModelSpec
from slidecam.models import bundle_maker, card
from slidecam.models.backends import BACKENDS
from slidecam.options import (
    Door,
    PredictOptions,
    command_words,
    option_of,
    options_of,
)
from slidecam.options_page import options_page
from slidecam.reports import run_figure
from slidecam.runs.spec import PredictSpec
from slidecam.server.guard import RequestError
from slidecam.server.job_requests import (
    JOB_OPTIONS,
    json_schema,
    read_request,
    request_schema,
)
from slidecam.settings import hints_of

NAMES = [each.name for each in fields(PredictSpec)]

SAID = [name for name in NAMES if name != "existing"] + ["resume", "overwrite"]
"""What the command line has for them."""


@cache
def command() -> Any:
    return typer.main.get_command(app).commands["predict"]  # type: ignore[attr-defined]


def spec_of(words: list[str]) -> PredictSpec:
    """Return the spec that the command line makes of words."""
    context = command().make_context("predict", ["slide.tif", "-m", "bundle", "-o", "out", *words])
    given_options = {name: context.params[name] for name in SAID}
    return PredictSpec(**predicting._settings(given_options))


def test_the_spec_has_no_field_that_is_no_option() -> None:
    assert [each.name for each in fields(PredictOptions)] == NAMES
    assert [each.name for each in options_of()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_field_is_an_option_of_every_door_or_left_out_with_a_reason(name: str) -> None:
    shown = option_of(name).shown
    assert shown.help.endswith(".")
    assert set(shown.without) <= set(get_args(Door))
    assert all(len(reason.split()) > 4 for reason in shown.without.values())
    flags = {word for each in command().params for word in (*each.opts, *each.secondary_opts)}
    assert ("cli" in shown.without) != (set(option_of(name).flag.split("/")) <= flags)
    assert ("server" in shown.without) != (name in JOB_OPTIONS)


def test_no_door_has_an_option_that_the_spec_lacks() -> None:
    # Where it is done, and where it is written down, is no part of what is done.
    own = {"slides", "model", "out", "cluster", "json", "log", "help"}
    assert {each.name for each in command().params} - own <= set(SAID)
    assert set(JOB_OPTIONS) <= set(NAMES)


@pytest.mark.parametrize("each", options_of("server"), ids=lambda each: each.name)
def test_a_job_says_no_option_as_the_spec_does(each: Any) -> None:
    told = request_schema()["properties"]["options"]["properties"][each.name]
    assert told["description"] == each.shown.help
    default = told["default"]
    assert (tuple(default) if isinstance(default, list) else default) == (
        None if each.name == "device" else each.default
    )


@pytest.mark.parametrize("name", ["workers", "memory_mb", "dry_run", "trust"])
def test_an_option_that_a_job_lacks_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(RequestError, match=rf"options\.{name} is no option of a job\. \w+") as no:
        read_request({"slides": ["a.tif"], "options": {name: 3}})
    assert no.value.status == 400


def test_a_request_is_told_everything_that_is_wrong_with_it_at_once() -> None:
    options = {"overlap": "0.5", "batch": True, "grid": "hexagons", "overlapp": 0.25}
    with pytest.raises(RequestError) as no:
        read_request({"slides": [], "options": options, "modle": "b"})
    for words in (
        "slides is []. Write a list of at least 1",
        'options.overlap is "0.5". Write a number.',
        "options.batch is true. Write a whole number.",
        'options.grid is "hexagons". Write one of "slidecam", "wsinfer".',
        "options.overlapp is not known. Did you mean overlap?",
        "modle is not known. Did you mean model?",
    ):
        assert words in no.value.problem


@settings(deadline=None, max_examples=40)
@given(
    overlap=st.floats(0, 0.999),
    mpp=st.none() | st.floats(0.05, 20),
    low=st.floats(-1e6, 1e6),
    span=st.floats(1e-3, 1e6),
    classes=st.lists(st.text("ab, é=", min_size=1), max_size=3).map(tuple),
    batch=st.none() | st.integers(1, 1_000_000),
    existing=st.sampled_from(["refuse", "resume", "overwrite"]),
    axis=st.none() | st.sampled_from(AXES),
    shown=st.none() | st.tuples(st.integers(1, 99_999), st.integers(1, 99_999)),
)
def test_the_words_of_a_spec_are_read_back_as_that_spec(**drawn: Any) -> None:
    low, span, shown = drawn.pop("low"), drawn.pop("span"), drawn.pop("shown")
    spec = PredictSpec(
        heatmap_classes=drawn.pop("classes"),
        heatmap="cam,finer-cam",
        heatmap_scale={"*": (low, low + span), "cam": (-span, span)},
        shown={} if shown is None else {"*": shown},
        heatmap_threshold_scope="tile",
        mask=Path("a b/mask.png"),
        outputs=("tiles.csv", "qupath"),
        ngff="0.5",
        memory_mb=77,
        dry_run=True,
        trust=True,
        **drawn,
    )
    assert spec_of(command_words(spec)) == spec


def test_a_spec_of_defaults_needs_no_words() -> None:
    assert command_words(PredictSpec()) == []
    assert spec_of([]) == PredictSpec()


def test_help_names_every_heatmap_method() -> None:
    words = option_of("heatmap").shown.help.rstrip(".").replace("or ", "").split(", ")
    assert words == [*slide_methods(), "none"]


def test_help_names_every_backend() -> None:
    words = option_of("backend").shown.help
    assert all(name in words for name in (backend.name for backend in BACKENDS.own))


def test_choices_that_are_written_again_are_those_of_their_owner() -> None:
    assert get_args(WeightNames) == get_args(hints_of(ModelSpec)["weights_format"])
    assert get_args(Part) == get_args(PartChoice)
    assert get_args(Tiles) == get_args(TileFormat)
    assert get_args(runs.Overlaid) == get_args(run_figure.Shown)
    assert get_args(HeadActivation) == get_args(bundle_maker.HeadActivation)
    assert get_args(Interpolation) == get_args(card.Interpolation)
    assert get_args(Activation) == get_args(classes.Activation)


def test_the_page_of_options_is_current() -> None:
    page = Path(__file__).parents[1] / "docs" / "options.md"
    assert page.read_text(encoding="utf-8") == options_page()


def test_a_json_schema_says_the_same() -> None:
    schema = json_schema(
        "Oven",
        {"heat": Annotated[float, Ge(0), Le(1)], "racks": int},
        {"racks": 2},
        {"heat": "Of it."},
    )
    assert schema["required"] == ["heat"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["racks"]["default"] == 2
    assert schema["properties"]["heat"] == {
        "description": "Of it.", "maximum": 1, "minimum": 0, "title": "Heat", "type": "number",
    }  # fmt: skip
