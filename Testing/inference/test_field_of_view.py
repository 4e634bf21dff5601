"""A model that was trained on crops says so when it gets a whole head, and takes a region for a crop."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from fixtures.models.bundles import tiny_bundle
from mednext import Geometry, Roi, Volume, segment
from mednext.model.bundle import Bundle

SIZE = (40, 44, 36)


def a_volume(seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).normal(100, 20, (1, *SIZE[::-1])).astype(np.float32)
    return Volume(array, Geometry(SIZE, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1)))


@pytest.fixture
def trained_on_crops(tmp_path: Path) -> Bundle:
    return tiny_bundle(tmp_path / "crops", field_of_view=(24.0, 28.0, 26.0))


def test_an_image_much_larger_than_the_training_images_is_warned_of(
    trained_on_crops: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = segment(a_volume(), trained_on_crops, mirroring=False, device="cpu")
    assert "shows 40 × 44 × 36 mm" in caplog.text
    assert "at most 26 × 28 × 24 mm" in found.provenance["warning"]


def test_a_region_of_the_size_of_the_training_images_is_not_warned_of(trained_on_crops: Bundle) -> None:
    roi = Roi((-30.0, -30.0, 5.0), (-5.0, -5.0, 29.0))
    found = segment(a_volume(), trained_on_crops, mirroring=False, device="cpu", roi=roi)
    assert "warning" not in found.provenance


def test_a_region_is_segmented_as_if_it_were_the_whole_image(trained_on_crops: Bundle) -> None:
    volume, roi = a_volume(), Roi((-30.0, -30.0, 5.0), (-5.0, -5.0, 29.0))
    box = roi.box_in(volume.geometry)
    crop = Volume(volume.array[(slice(None), *box)], volume.geometry.cropped(box))

    whole = segment(volume, trained_on_crops, device="cpu", roi=roi, uncertainty=True)
    part = segment(crop, trained_on_crops, device="cpu", uncertainty=True)

    assert part.labelmap.any()
    np.testing.assert_array_equal(whole.labelmap[box], part.labelmap)
    np.testing.assert_array_equal(whole.uncertainty[box], part.uncertainty)
    outside = np.ones(volume.geometry.shape, bool)
    outside[box] = False
    assert not whole.labelmap[outside].any()
    assert whole.geometry == volume.geometry


def test_a_model_that_does_not_know_its_field_of_view_says_nothing(tmp_path: Path) -> None:
    found = segment(a_volume(), tiny_bundle(tmp_path / "any"), mirroring=False, device="cpu")
    assert "warning" not in found.provenance
