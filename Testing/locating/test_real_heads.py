"""Real heads: Colin27 with its drawn hippocampi, and a patient without skull and with a large tumour."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from mednext import load_bundle, read_volume
from mednext.locating.boxes import find_boxes

pytestmark = pytest.mark.real_data

MODEL = load_bundle("hippocampus").model


def middles(file: Path) -> dict[str, np.ndarray]:
    """The middles of the boxes, mm RAS, found without any doubt."""
    boxes = find_boxes(read_volume(file), MODEL, insist=False)
    assert boxes.warnings == ()
    return {side: (np.array(roi.lower) + roi.upper) / 2 for side, roi in boxes.of_side.items()}


def test_the_boxes_of_a_real_head_lie_around_its_drawn_hippocampi(real_data: Path) -> None:
    folder = real_data / "whole_head"
    drawn = sitk.ReadImage(str(folder / "aal.nii.gz"))
    found = middles(folder / "ch2.nii.gz")
    for side, value in (("left", 37), ("right", 38)):
        middle = np.argwhere(sitk.GetArrayViewFromImage(drawn) == value).mean(axis=0)[::-1]
        x, y, z = drawn.TransformContinuousIndexToPhysicalPoint(middle.tolist())
        assert np.linalg.norm(found[side] - (-x, -y, z)) < 6


def test_two_sequences_of_a_patient_with_a_tumour_lead_to_the_same_boxes(real_data: Path) -> None:
    """Nobody drew these hippocampi; the boxes were looked at once."""
    folder = real_data / "brain_tumour" / "brats_2013_pat0001_1"
    contrast, flair = (middles(folder / f"{name}_subtrMeanDivStd.nii.gz") for name in ("T1c", "Flair"))
    for side in ("left", "right"):
        assert np.linalg.norm(contrast[side] - flair[side]) < 5
