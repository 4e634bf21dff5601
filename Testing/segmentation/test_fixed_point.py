"""An uncertainty travels in two bytes per voxel, and keeps its value to 1e-5."""

from __future__ import annotations

import numpy as np
from mednext.segmentation.uncertainty_storage import ONE, to_fixed_point, to_float32


def test_every_number_that_was_kept_comes_back_and_is_kept_as_the_same() -> None:
    kept = np.arange(ONE + 1, dtype=np.uint16)
    values = to_float32(kept)
    assert values.dtype == np.float32
    assert (values[0], values[-1]) == (0, 1)
    np.testing.assert_array_equal(to_fixed_point(values), kept)


def test_kept_values_are_right_to_a_hundred_thousandth() -> None:
    values = np.random.default_rng(0).random(100_000, dtype=np.float32)
    np.testing.assert_allclose(to_float32(to_fixed_point(values)), values, rtol=0, atol=1e-5)


def test_a_view_with_its_axes_in_another_order_becomes_an_array_of_its_own() -> None:
    kept = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    values = to_float32(kept.transpose(2, 0, 1)[::-1])
    assert values.flags.c_contiguous
    np.testing.assert_array_equal(to_fixed_point(values), kept.transpose(2, 0, 1)[::-1])
