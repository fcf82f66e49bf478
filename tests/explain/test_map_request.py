"""Which explanations are computed along with predictions."""

from __future__ import annotations

from dataclasses import replace

import pytest

from slidecam.errors import ExplanationError
from slidecam.explain.map_request import MapRequest, request_maps
from slidecam.models import Card
from slidecam.models.card_parts import MapEvidence, MapJudgement


def card(classes: int) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    return Card("many", "timm/x", names, "softmax", 64, 0.5, 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_a_method_with_a_threshold_shares_the_raw_maps_of_the_one_without() -> None:
    request = MapRequest(("dt-gradcam", "cam", "gradcam"), (0,))
    assert request.raw == ("gradcam", "cam")
    assert [request.place(method) for method in request.methods] == [0, 1, 0]


def test_all_classes_are_mapped_by_default_unless_they_are_many() -> None:
    assert request_maps(card(16), None, (), has_map=True) == MapRequest(
        ("gradcam++",), tuple(range(16))
    )
    assert request_maps(card(17), None, (), has_map=True) is None
    assert request_maps(card(17), None, ("class 3",), has_map=True) == MapRequest(
        ("gradcam++",), (3,)
    )


def test_a_linear_head_is_mapped_by_cam_beside_and_what_was_shown_to_be_faithful_leads() -> None:
    def usual(**judged: tuple[int, int, int]) -> tuple[str, ...]:
        methods = {}
        for name, counts in judged.items():
            methods[name.replace("pp", "++")] = MapJudgement(*counts)
        shown = replace(card(2), heatmap_evidence=MapEvidence("9 tiles", "class A", methods))
        request = request_maps(shown, None, (), has_map=True, linear=True)
        assert request is not None
        return request.methods

    nobody_measured = request_maps(card(2), None, (), has_map=True, linear=True)
    assert nobody_measured == MapRequest(("cam", "gradcam++"), (0, 1))
    assert usual(cam=(7, 7, 0), gradcampp=(7, 0, 2)) == ("cam", "gradcam++")
    assert usual(cam=(7, 2, 0), gradcampp=(7, 5, 0)) == ("gradcam++", "cam")
    # Where neither was shown to be, the one that adds up leads.
    assert usual(cam=(7, 3, 0), gradcampp=(7, 6, 1)) == ("cam", "gradcam++")
    assert usual(gradcampp=(7, 4, 0)) == ("gradcam++", "cam")
    # And it is not made where a head is more than a linear layer.
    other = replace(card(2), heatmap_evidence=MapEvidence("x", "y", {"cam": MapJudgement(7, 7, 0)}))
    assert request_maps(other, None, (), has_map=True) == MapRequest(("gradcam++",), (0, 1))


def test_methods_are_named_with_commas_and_each_is_taken_once() -> None:
    assert request_maps(card(2), "gradcam++, CAM,gradcam++", (), has_map=True) == MapRequest(
        ("gradcam++", "cam"), (0, 1)
    )


def test_none_means_no_maps() -> None:
    assert request_maps(card(3), "none", (), has_map=True) is None


def test_what_was_asked_for_by_name_and_cannot_be_had_is_an_error() -> None:
    with pytest.raises(ExplanationError, match="--heatmap-class"):
        request_maps(card(17), "gradcam++", (), has_map=True)
    with pytest.raises(ExplanationError, match="no activation map"):
        request_maps(card(3), "gradcam++", (), has_map=False)
    with pytest.raises(ExplanationError, match="no class 'Z'"):
        request_maps(card(3), None, ("Z",), has_map=True)
    with pytest.raises(ExplanationError, match="'none' was named beside"):
        request_maps(card(3), "cam,none", (), has_map=True)
    for methods in ("rise", "cam,rise", "cam,", ""):
        with pytest.raises(ExplanationError, match="gradcam\\+\\+"):
            request_maps(card(3), methods, (), has_map=True)


def test_a_class_is_compared_with_the_other_of_two_and_else_with_a_named_one() -> None:
    assert request_maps(card(2), "finer-cam", (), has_map=True) == MapRequest(
        ("finer-cam",), (0, 1)
    )
    named = request_maps(card(3), "finer-cam", (), "class 1", has_map=True)
    assert named == MapRequest(("finer-cam",), (0, 2), 1)
    with pytest.raises(ExplanationError, match="--heatmap-against"):
        request_maps(card(3), "finer-cam", (), has_map=True)
    with pytest.raises(ExplanationError, match="with itself"):
        request_maps(card(3), "finer-cam", ("class 1",), "class 1", has_map=True)
    with pytest.raises(ExplanationError, match="no class 'Z'"):
        request_maps(card(3), "finer-cam", (), "Z", has_map=True)
    with pytest.raises(ExplanationError, match="compares no classes"):
        request_maps(card(3), "cam", (), "class 1", has_map=True)


def test_a_classifier_without_a_map_predicts_by_default() -> None:
    assert request_maps(card(3), None, (), has_map=False) is None
