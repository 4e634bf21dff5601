"""The native kernels bring images and predictions to another grid as torch does."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from mednext.errors import DeviceError
from mednext.inference.labelling.label_decision import entropy
from mednext.inference.labelling.label_writer import LabelWriter
from mednext.inference.resampling import native as native_resampling
from mednext.inference.resampling.matrices import axis_weights, resample_image
from mednext.inference.sliding_window import Block
from mednext.model.description import Model
from mednext.network.native_library import Kernels
from mednext.segmentation.uncertainty_storage import ONE, to_float32
from torch import Tensor

ONE_STEP = 1.01 / ONE  # two numbers that are nearly the same may be rounded up and down

sides = st.integers(1, 40)
shapes = st.tuples(st.integers(1, 20), st.integers(1, 20), sides)

Shape = tuple[int, int, int]


INSTRUCTIONS = ("neon",) if platform.machine() in ("arm64", "aarch64") else ("avx512", "avx2")


@pytest.fixture(scope="module", params=INSTRUCTIONS)
def kernels(request: pytest.FixtureRequest, native_kernels: ctypes.CDLL) -> Kernels:
    try:
        return Kernels(native_kernels, request.param)
    except DeviceError:
        pytest.skip(f"this processor has no {request.param}")


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def some_model(classes: int, output: str, pipeline: str) -> Model:
    """A model of so many classes, or of so many regions that are painted from the last label to the first."""
    network = replace(TINY_NETWORK, num_classes=classes)
    order = tuple(range(classes, 0, -1)) if output == "regions" else ()
    return tiny_model(network=network, output=output, pipeline=pipeline, regions_class_order=order)


def written(
    kernels: Kernels | None,
    model: Model,
    values: Tensor,
    weights: Sequence[Tensor],
    cut: int = 0,
    views: Sequence[int] = (0, 1, 2),
    dtype: type = np.uint8,
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and uncertainty of predictions that come in two pieces, by the kernels or (None) by torch.

    `views` is the order in which the axes of the results lie in memory.
    """
    shape = [len(matrix) for matrix in weights]
    stored = tuple(shape[axis] for axis in views)
    back = np.argsort(views)
    labels = np.full(stored, 99, dtype).transpose(back)
    uncertainty = np.full(stored, 31_000, np.uint16).transpose(back)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_resampling, "resampling_kernels", lambda: kernels)
        writer = LabelWriter(model, weights, labels, uncertainty)
        for first, stop in ((0, cut), (max(0, cut - 1), values.shape[1])):
            writer.add(Block(first, 0, values[:, first:stop]))
    return labels, to_float32(uncertainty)


def interpolated(values: Tensor, weights: Sequence[Tensor]) -> np.ndarray:
    return torch.einsum(
        "kzyx,az,by,cx->kabc", values.double(), *(matrix.double() for matrix in weights)
    ).numpy()


@given(st.lists(st.integers(1, 5), max_size=3), sides, sides, st.integers(1, 300), st.sampled_from([0, 1, 3]))
@settings(max_examples=50)
def test_an_axis_is_multiplied_by_its_weights(
    kernels: Kernels, before: list[int], length: int, new_length: int, after: int, order: int
) -> None:
    image = random(*before, length, after)
    weights = axis_weights(length, new_length, order)
    expected = torch.einsum("oi,bia->boa", weights.double(), image.double().reshape(-1, length, after))
    found = native_resampling.along_axis(kernels, image, weights, len(before))
    assert found.shape == (*before, new_length, after)
    torch.testing.assert_close(found.reshape(expected.shape).double(), expected, atol=2e-6, rtol=0)


@given(shapes, shapes, st.sampled_from([None, 0, 1, 2]), st.sampled_from([1, 3]))
@settings(max_examples=30)
def test_an_image_is_resampled_as_by_torch(
    kernels: Kernels, shape: Shape, wanted: Shape, separate: int | None, order: int
) -> None:
    image = random(*shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_resampling, "resampling_kernels", lambda: None)
        expected = resample_image(image, wanted, separate, order)
        patch.setattr(native_resampling, "resampling_kernels", lambda: kernels)
        found = resample_image(image, wanted, separate, order)
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@given(
    shapes,
    shapes,
    st.integers(2, 15),
    st.integers(0, 19),
    st.permutations([0, 1, 2]),
    st.sampled_from([np.uint8, np.uint16]),
    st.sampled_from([None, 0, 2]),
)
@settings(max_examples=50)
def test_labels_and_uncertainty_are_those_of_torch(
    kernels: Kernels,
    shape: Shape,
    wanted: Shape,
    classes: int,
    cut: int,
    views: list[int],
    dtype: type,
    nearest: int | None,
) -> None:
    logits = 5 * random(classes, *shape)
    values = torch.cat([logits, torch.softmax(logits, dim=0)])
    weights = [axis_weights(shape[axis], wanted[axis], int(axis != nearest)) for axis in range(3)]
    model = some_model(classes, "softmax", "nnunet_v2")
    cut = min(cut, shape[0])
    labels, uncertainty = written(kernels, model, values, weights, cut, views, dtype)
    expected, expected_uncertainty = written(None, model, values, weights, cut)
    best_two = np.sort(interpolated(logits, weights), axis=0)[-2:]
    decided = best_two[1] - best_two[0] > 1e-5
    np.testing.assert_array_equal(labels[decided], expected[decided])
    np.testing.assert_allclose(uncertainty, expected_uncertainty, atol=ONE_STEP)


@given(shapes, shapes, st.integers(1, 15), st.integers(0, 19), st.sampled_from(["nnunet_v1", "nnunet_v2"]))
@settings(max_examples=30)
def test_regions_and_their_uncertainty_are_those_of_torch(
    kernels: Kernels, shape: Shape, wanted: Shape, classes: int, cut: int, pipeline: str
) -> None:
    logits = 5 * random(classes, *shape)
    probabilities = torch.sigmoid(logits)
    model, cut = some_model(classes, "regions", pipeline), min(cut, shape[0])
    weights = [axis_weights(a, b, 1) for a, b in zip(shape, wanted, strict=True)]
    deciding, threshold = (logits, 0) if pipeline == "nnunet_v2" else (probabilities, 0.5)
    values = torch.cat([logits, probabilities]) if pipeline == "nnunet_v2" else probabilities
    labels, uncertainty = written(kernels, model, values, weights, cut)
    expected, expected_uncertainty = written(None, model, values, weights, cut)
    decided = (np.abs(interpolated(deciding, weights) - threshold) > 1e-5).all(axis=0)
    np.testing.assert_array_equal(labels[decided], expected[decided])
    np.testing.assert_allclose(uncertainty, expected_uncertainty, atol=ONE_STEP)


@pytest.mark.parametrize("output", ["softmax", "regions"])
@pytest.mark.parametrize("views", [(0, 1, 2), (2, 0, 1)])
def test_the_kernels_uncertainty_is_that_of_interpolated_probabilities(
    kernels: Kernels, output: str, views: tuple[int, ...]
) -> None:
    values = torch.softmax(4 * random(6, 5, 9, 20), dim=0)
    weights = [axis_weights(old, new, 1) for old, new in ((5, 8), (9, 7), (20, 37))]
    labels = np.zeros((8, 7, 37), np.uint8)
    found = np.full([labels.shape[axis] for axis in views], np.nan, np.float32).transpose(np.argsort(views))
    painting = (range(1, 7), 0.5) if output == "regions" else None
    assert native_resampling.write_labels(kernels, values, weights, 6, labels, found, painting)
    expected = entropy(torch.from_numpy(interpolated(values, weights)), output)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_first_of_several_largest_logits_wins(kernels: Kernels) -> None:
    logits = torch.tensor([0.0, 2.0, 1.0, 2.0]).view(4, 1, 1, 1).expand(4, 3, 4, 5).contiguous()
    values = torch.cat([logits, torch.softmax(logits, dim=0)])
    weights = [torch.eye(length) for length in (3, 4, 5)]
    labels, _ = written(kernels, some_model(4, "softmax", "nnunet_v2"), values, weights)
    assert (labels == 1).all()


def test_certainty_is_exactly_zero_and_ignorance_one(kernels: Kernels) -> None:
    probabilities = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.0, 1.0, 0.0, 0.0]]).T.reshape(4, 1, 1, 2)
    weights = [torch.eye(1), torch.eye(1), torch.eye(2)]
    _, uncertainty = written(kernels, some_model(4, "softmax", "nnunet_v1"), probabilities, weights)
    assert uncertainty.ravel().tolist() == pytest.approx([1, 0], abs=1e-7)


def test_the_number_of_threads_changes_nothing(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    image, values = random(5, 31, 33), random(6, 4, 9, 20)
    matrix = axis_weights(31, 47, 3)
    weights = [axis_weights(a, b, 1) for a, b in ((4, 7), (9, 11), (20, 37))]
    model = some_model(3, "softmax", "nnunet_v2")
    results = []
    for count in (1, 2, 3, 200):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        labels, uncertainty = written(kernels, model, values, weights)
        results.append((native_resampling.along_axis(kernels, image, matrix, 1), labels, uncertainty))
    for image, labels, uncertainty in results[1:]:
        assert torch.equal(image, results[0][0])
        np.testing.assert_array_equal(labels, results[0][1])
        np.testing.assert_array_equal(uncertainty, results[0][2])


def test_weights_that_the_kernels_do_not_know_are_left_to_torch(kernels: Kernels) -> None:
    weights = [axis_weights(8, 11, 3), torch.eye(2), torch.eye(3)]
    values = random(6, 8, 2, 3)
    model = some_model(3, "softmax", "nnunet_v2")
    labels, uncertainty = written(kernels, model, values, weights)
    expected, expected_uncertainty = written(None, model, values, weights)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(uncertainty, expected_uncertainty, atol=ONE_STEP)


@pytest.mark.parametrize("status", [0, 1, 2])  # done, but nothing is written; no memory; an exception of C++
@pytest.mark.parametrize("wrong", ["mednext_resample", "mednext_label"])
def test_kernels_that_are_wrong_or_fail_are_noticed_and_left(
    native_kernels: ctypes.CDLL,
    wrong: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            return getattr(native_kernels, name) if name != wrong else lambda *_: status

    monkeypatch.setattr(native_resampling, "native_library", Broken)
    resampling_kernels = native_resampling.resampling_kernels.__wrapped__
    assert resampling_kernels() is None
    assert len(caplog.records) == 1
    assert "continuing with torch" in caplog.text
    monkeypatch.setattr(native_resampling, "native_library", lambda: native_kernels)
    assert resampling_kernels() is not None
