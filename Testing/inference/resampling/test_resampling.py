"""Resampling equals scikit-image's and nnU-Net's, axis by axis."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mednext.inference.resampling.matrices import (
    along_axis,
    axis_weights,
    coarse_axis,
    resample_image,
    resampled_shape,
)
from scipy.ndimage import gaussian_filter
from skimage.transform import resize

sides = st.integers(1, 70)


def smooth_image(shape: tuple[int, ...]) -> np.ndarray:
    return gaussian_filter(np.random.default_rng(1).normal(size=shape), 0.8).astype(np.float32)


@given(sides, sides, st.sampled_from([0, 1, 3]))
def test_the_weights_of_every_output_voxel_sum_to_one(length: int, new_length: int, order: int) -> None:
    total = axis_weights(length, new_length, order).sum(dim=1)
    torch.testing.assert_close(total, torch.ones(new_length))


@given(sides, sides, st.sampled_from([1, 3]))
def test_an_axis_is_resampled_as_by_skimage(length: int, new_length: int, order: int) -> None:
    signal = smooth_image((length,))
    expected = resize(
        signal.astype(float), (new_length,), order, mode="edge", anti_aliasing=False, clip=False
    )
    found = axis_weights(length, new_length, order) @ torch.from_numpy(signal)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@given(sides, sides)
def test_nearest_neighbours_keep_the_order_of_slices(length: int, new_length: int) -> None:
    slices = axis_weights(length, new_length, 0).argmax(dim=1)
    assert (slices.diff() >= 0).all()
    assert ((slices + 0.5) * new_length / length - torch.arange(new_length) - 0.5).abs().max() <= max(
        1, new_length / length
    )


@pytest.mark.parametrize("shape", [(20, 33, 41), (50, 61, 24), (23, 20, 70), (1, 30, 31)])
@pytest.mark.parametrize("order", [1, 3])
def test_an_image_is_resampled_as_by_skimage(shape: tuple[int, int, int], order: int) -> None:
    image = smooth_image((23, 40, 31))
    expected = resize(image.astype(float), shape, order, mode="edge", anti_aliasing=False)
    np.testing.assert_allclose(
        resample_image(torch.from_numpy(image), shape, None, order), expected, atol=1e-5
    )


def test_a_spline_does_not_leave_the_range_of_the_image() -> None:
    image = torch.zeros(20, 20, 20)
    image[8:12, 8:12, 8:12] = 100
    resampled = resample_image(image, (33, 27, 41), None)
    assert resampled.min() == 0
    assert resampled.max() == 100


def test_a_coarse_axis_is_resampled_by_copying_slices() -> None:
    image = torch.from_numpy(smooth_image((6, 20, 20)))
    resampled = resample_image(image, (18, 20, 20), separate=0)
    torch.testing.assert_close(resampled, image.repeat_interleave(3, dim=0))


def test_an_image_on_the_right_grid_is_left_alone() -> None:
    image = torch.from_numpy(smooth_image((6, 7, 8)))
    assert resample_image(image, (6, 7, 8), None) is image


def test_blocks_that_are_skipped_are_zero() -> None:
    image = torch.from_numpy(smooth_image((3, 150, 4)))
    weights = axis_weights(150, 201, 3)
    torch.testing.assert_close(along_axis(image, weights, 1), torch.einsum("oi,aib->aob", weights, image))


@pytest.mark.parametrize(
    ("spacings", "axis"),
    [
        ([(1.0, 1.0, 1.0)], None),
        ([(3.0, 1.0, 1.0)], None),
        ([(3.1, 1.0, 1.0)], 0),
        ([(1.0, 1.0, 5.0)], 2),
        ([(5.0, 5.0, 1.0)], None),
        ([(1.0, 1.0, 1.0), (1.0, 4.0, 1.0)], 1),
        ([(4.0, 1.0, 1.0), (1.0, 4.0, 1.0)], 0),
        ([(4.0, 4.0, 1.0), (1.0, 4.0, 1.0)], None),
    ],
)
def test_one_axis_is_coarse_when_it_is_over_three_times_the_finest(
    spacings: list[tuple[float, ...]], axis: int | None
) -> None:
    assert coarse_axis(*spacings) == axis


def test_the_new_shape_is_rounded_to_even_halves_and_never_empty() -> None:
    assert resampled_shape((5, 7, 1), (0.5, 0.5, 0.1), (1.0, 1.0, 1.0)) == (2, 4, 1)
