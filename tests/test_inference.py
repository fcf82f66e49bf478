"""Where pixels meet the model: devices and batches."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from slidecam.errors import DeviceError
from slidecam.explain.map_request import MapRequest
from slidecam.inference import CPU_BATCH, classify, find_batch_size, map_shape
from slidecam.models import open_bundle
from slidecam.streaming import TileBatch, TileFailure

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.models import Classifier
    from slidecam.models.splits import ClassifierPass


def batch(index: int, tiles: int, failures: tuple[TileFailure, ...] = ()) -> TileBatch:
    pixels = np.random.default_rng(index).integers(0, 256, (tiles, 64, 64, 3), np.uint8)
    return TileBatch(index, np.arange(tiles) + 100 * index, pixels, failures, 0.0)


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


def short_of_memory(classifier: Classifier, most: int) -> Classifier:
    """Return a classifier whose device holds so many tiles at once."""

    def run(pixels: torch.Tensor, *, gradients: bool) -> ClassifierPass:
        if len(pixels) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return classifier.run(pixels, gradients=gradients)

    short = replace(classifier)
    object.__setattr__(short, "run", run)
    return short


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_a_batch_that_does_not_fit_is_computed_in_parts_and_so_are_those_after_it(
    tiny_bundle: Path, most: int
) -> None:
    classifier = open_bundle(tiny_bundle).classifier()
    request = MapRequest(("gradcam++",), (2, 0))
    batches = [batch(0, 7), batch(1, 3, (TileFailure(101, "broken"),)), batch(2, 7)]
    whole = list(classify(batches, classifier, request))
    parts = list(classify(batches, short_of_memory(classifier, most), request))
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one.results.logits, other.results.logits, atol=1e-5)
        assert one.results.maps is not None
        assert other.results.maps is not None
        np.testing.assert_allclose(one.results.maps, other.results.maps, atol=1e-5)
        assert one.results.failures == other.results.failures
    fits = 3 if most >= 3 else 1
    assert [one.fitted for one in parts] == [fits, fits if fits < 3 else None, fits]
    assert [one.fitted for one in whole] == [None, None, None]


def test_where_not_one_tile_fits_the_remedy_is_another_device(tiny_bundle: Path) -> None:
    classifier = short_of_memory(open_bundle(tiny_bundle).classifier(), 0)
    with pytest.raises(DeviceError, match="One tile of 64 px does not fit") as caught:
        list(classify([batch(0, 7)], classifier, None))
    assert "--device cpu" in str(caught.value)


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
