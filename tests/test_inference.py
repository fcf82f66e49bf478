"""Where pixels meet the model: devices, requests, batches."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from slidecam.errors import ExplanationError
from slidecam.inference import (
    CPU_BATCH,
    MapRequest,
    classify,
    find_batch_size,
    map_shape,
    request_maps,
)
from slidecam.models import Card, open_bundle
from slidecam.models.card_parts import MapEvidence, MapJudgement
from slidecam.streaming import TileBatch, TileFailure

if TYPE_CHECKING:
    from pathlib import Path


def batch(index: int, tiles: int, failures: tuple[TileFailure, ...] = ()) -> TileBatch:
    pixels = np.random.default_rng(index).integers(0, 256, (tiles, 64, 64, 3), np.uint8)
    return TileBatch(index, np.arange(tiles) + 100 * index, pixels, failures, 0.0)


def card(classes: int) -> Card:
    names = tuple(f"class {index}" for index in range(classes))
    return Card("many", "timm/x", names, "softmax", 64, 0.5, 64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_every_batch_comes_back_in_order_with_its_scores(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    scored = list(
        classify([batch(0, 5), batch(1, 3)], classifier, MapRequest(("gradcam++",), (2, 0)))
    )
    assert [one.batch.index for one in scored] == [0, 1]
    assert scored[0].results.probabilities.shape == (5, 3)
    np.testing.assert_allclose(scored[0].results.probabilities.sum(axis=1), 1, atol=1e-6)
    assert scored[0].results.maps is not None
    assert scored[0].results.maps.shape[:3] == (5, 1, 2)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_two_batches_at_once_give_what_one_after_the_other_gives(
    tiny_bundle: Path, count: int
) -> None:
    classifier, request = open_bundle(tiny_bundle).classifier(), MapRequest(("gradcam++",), (2, 0))
    batches = [batch(index, 1 + index % 3) for index in range(count)]
    plain = list(classify(batches, classifier, request))
    start = time.perf_counter()
    both = list(classify(iter(batches), replace(classifier, overlaps=True), request))
    passed = time.perf_counter() - start
    assert [one.batch for one in both] == batches
    for one, other in zip(plain, both, strict=True):
        np.testing.assert_array_equal(one.results.logits, other.results.logits)
        assert one.results.maps is not None
        assert other.results.maps is not None
        np.testing.assert_array_equal(one.results.maps, other.results.maps)
    # No second is counted twice.
    assert sum(one.model_seconds for one in both) <= passed


def test_what_fails_on_one_of_two_threads_ends_the_run(tiny_bundle: Path) -> None:
    classifier = replace(open_bundle(tiny_bundle).classifier(), overlaps=True)
    wrong = replace(batch(1, 2), pixels=np.zeros((2, 64, 64, 7), np.uint8))
    scores = classify([batch(0, 2), wrong, batch(2, 2)], classifier, None)
    assert next(scores).batch.index == 0
    with pytest.raises(RuntimeError):
        list(scores)


def test_maps_come_in_the_order_of_the_classes_asked_for(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    both, one = (
        next(classify([batch(0, 2)], classifier, MapRequest(("gradcam++",), classes))).results.maps
        for classes in ((0, 2), (2,))
    )
    assert both is not None
    assert one is not None
    np.testing.assert_allclose(both[:, 0, 1], one[:, 0, 0], rtol=1e-5, atol=1e-9)
    assert np.abs(both[:, 0, 0] - one[:, 0, 0]).max() > 1e-3


def test_predictions_do_not_depend_on_whether_maps_are_asked_for(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    with_maps, without = (
        next(classify([batch(0, 4)], classifier, request)).results
        for request in (MapRequest(("gradcam++",), (0,)), None)
    )
    assert without.maps is None
    np.testing.assert_array_equal(with_maps.logits, without.logits)


def test_failures_are_told_by_their_place_in_the_batch(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    scored = next(classify([batch(1, 4, (TileFailure(102, "broken"),))], classifier, None))
    assert scored.results.failures == {2: "broken"}


def test_a_cpu_takes_small_batches(tiny_bundle: Path) -> None:
    assert find_batch_size(open_bundle(tiny_bundle).classifier(), None) == CPU_BATCH


def test_the_shape_of_maps_is_known_before_the_first_tile(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    request = MapRequest(("gradcam++", "cam", "eigencam"), (0, 1))
    scored = next(classify([batch(0, 1)], classifier, request))
    assert scored.results.maps is not None
    assert map_shape(classifier, request) == scored.results.maps.shape[1:]
    assert map_shape(classifier, None) is None


def test_each_method_gives_the_maps_that_it_gives_alone(tiny_bundle: Path) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    methods = ("layercam", "cam", "gradcam")
    together = next(
        classify([batch(0, 3)], classifier, MapRequest(methods, (0, 1, 2)))
    ).results.maps
    assert together is not None
    for place, method in enumerate(methods):
        alone = next(
            classify([batch(0, 3)], classifier, MapRequest((method,), (0, 1, 2)))
        ).results.maps
        assert alone is not None
        np.testing.assert_allclose(together[:, place], alone[:, 0], rtol=1e-5, atol=1e-7)
    assert together[:, 1].min() < 0 <= together[:, [0, 2]].min()


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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_a_cpu_gives(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    request = MapRequest(("gradcam++",), (0, 1, 2))
    batches = [batch(index, 7) for index in range(4)]
    cpu, gpu = (
        list(classify(batches, bundle.classifier(device), request)) for device in ("cpu", "cuda")
    )
    for one, other in zip(cpu, gpu, strict=True):
        np.testing.assert_allclose(
            one.results.probabilities, other.results.probabilities, atol=1e-3
        )
    assert find_batch_size(bundle.classifier("cuda"), request) >= 8
