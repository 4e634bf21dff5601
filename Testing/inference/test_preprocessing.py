"""Cropping, holes and normalisation; nnU-Net's own numbers are in test_nnunet_parity.py."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.models.bundles import tiny_model
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference.preprocessing import fill_holes, nonzero_box, normalize, preprocess
from mednext.model.bundle import Channel
from scipy.ndimage import binary_fill_holes

masks = arrays(bool, st.tuples(*[st.integers(1, 7)] * 3))


def head(channels: int = 1) -> np.ndarray:
    """A bright block with noise in a field of zeros, `(C, 12, 14, 16)`."""
    array = np.zeros((channels, 12, 14, 16), dtype=np.float32)
    array[:, 2:9, 3:12, 4:10] = np.random.default_rng(2).uniform(50, 150, (channels, 7, 9, 6))
    return array


def volume(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    return Volume(array, Geometry(array.shape[:0:-1], spacing))


@given(masks)
def test_holes_are_filled_as_by_scipy(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(fill_holes(mask), binary_fill_holes(mask))


@given(masks)
def test_the_box_holds_everything_and_is_tight(mask: np.ndarray) -> None:
    box = nonzero_box(mask[np.newaxis])
    assert mask[box].sum() == mask.sum()
    for axis in range(3):
        if mask.any():
            assert mask[box].take(0, axis).any()
            assert mask[box].take(-1, axis).any()


def test_the_crop_holds_all_voxels_that_are_not_zero_in_any_channel() -> None:
    array = head(channels=2)
    array[1] = 0
    array[1, 1, 2, 15] = 7
    model = tiny_model(channels=(Channel("T1", "MR", "none"), Channel("T2", "MR", "none")))
    image = preprocess(volume(array), model)
    assert image.crop == (slice(1, 9), slice(2, 12), slice(4, 16))
    assert image.cropped_shape == (8, 10, 12)
    np.testing.assert_array_equal(image.array, array[(slice(None), *image.crop)])


def test_the_given_volume_is_not_changed() -> None:
    array = head()
    before = array.copy()
    preprocess(volume(array), tiny_model())
    np.testing.assert_array_equal(array, before)


def test_a_model_without_spacing_keeps_that_of_the_volume() -> None:
    image = preprocess(volume(head(), (1.5, 2.0, 3.0)), tiny_model(spacing=None))
    assert image.spacing == image.source_spacing == (3.0, 2.0, 1.5)
    assert image.array.shape[1:] == image.cropped_shape


def test_a_flat_network_keeps_the_distance_of_slices() -> None:
    model = tiny_model(network=replace(tiny_model().network, dimensions=2), spacing=(9.0, 1.0, 1.0))
    image = preprocess(volume(head(), (1.0, 2.0, 3.0)), model)
    assert image.spacing == (3.0, 1.0, 1.0)
    assert image.array.shape[1:] == (7, 18, 6)


@pytest.mark.parametrize("pipeline", ["nnunet_v1", "nnunet_v2"])
def test_the_surroundings_of_the_patient_are_zero_after_masked_normalisation(pipeline: str) -> None:
    array = head()
    array[:, 2:5, 3:6, 4:7] = 0
    model = tiny_model(pipeline=pipeline, channels=(Channel("T1", "MR", "zscore_masked"),))
    image = preprocess(volume(array), model).array[0].numpy()
    assert (image[:3, :3, :3] == 0).all()
    inside = image[array[0, 2:9, 3:12, 4:10] > 0]
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("pipeline", "clipped_first"), [("nnunet_v1", False), ("nnunet_v2", True)])
def test_v2_normalises_before_it_resamples_and_v1_after(pipeline: str, clipped_first: bool) -> None:
    array = np.full((1, 4, 4, 4), 50.0, dtype=np.float32)
    array[0, :, :, 2:] = 1000
    channel = Channel("CT", "CT", "ct", mean=0.0, std=1.0, lower=0.0, upper=100.0)
    model = tiny_model(pipeline=pipeline, channels=(channel,), spacing=(1.0, 1.0, 0.5))
    edge = preprocess(volume(array), model).array[0, 0, 0, 3:5]
    # A quarter of the way from one voxel to the next: clipped at 100 before, it is still below 100.
    assert (edge.max() < 100) == clipped_first


def test_ct_is_clipped_shifted_and_scaled_by_the_training_sets_intensities() -> None:
    image = torch.tensor([[[-2000.0, 40.0, 3000.0]]])
    channel = Channel("CT", "CT", "ct", mean=40.0, std=20.0, lower=-160.0, upper=240.0)
    normalize(image, channel, image > 0)
    np.testing.assert_allclose(image, [[[-10, 0, 10]]])


def test_a_constant_part_does_not_divide_by_zero() -> None:
    image = torch.full((2, 2, 2), 5.0)
    normalize(image, Channel("T1", "MR", "zscore"), image > 0)
    assert (image == 0).all()
