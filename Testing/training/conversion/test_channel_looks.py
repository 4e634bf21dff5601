"""Two channels of a case that were exchanged are noted by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixtures.training import challenge_trees as trees
from fixtures.training.converted_data import report
from mednext_training.conversion.channel_looks import FEWEST_CASES, exchanged_channels, look_of

EXCHANGED = "check whether the two files are exchanged"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return trees.write_brats(tmp_path / "source", FEWEST_CASES)


def test_a_case_whose_t1ce_and_t2_were_exchanged_is_noted(
    tmp_path: Path, source: Path, convert: Callable[..., int]
) -> None:
    case = source / "BraTS2021_00002"
    one, other = case / f"{case.name}_t1ce.nii.gz", case / f"{case.name}_t2.nii.gz"
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert convert("brats21", source) == 0
    rows = report(tmp_path, "brats21")
    assert {name for name, row in rows.items() if EXCHANGED in row["remarks"]} == {case.name}
    assert "Its T1ce looks as T2 does in the other cases" in rows[case.name]["remarks"]


def test_sound_cases_are_not_noted(tmp_path: Path, source: Path, convert: Callable[..., int]) -> None:
    assert convert("brats21", source) == 0
    assert not any(EXCHANGED in row["remarks"] for row in report(tmp_path, "brats21").values())


def test_the_scale_of_an_image_does_not_change_its_look() -> None:
    phantom = trees.glioma_phantom(0)
    image, labels = phantom.images[0].ravel(), phantom.labels.ravel()
    assert look_of(image.astype(np.float32) * 0.37, labels) == pytest.approx(look_of(image, labels), abs=1e-4)


def test_images_of_one_contrast_are_never_told_apart() -> None:
    random = np.random.default_rng(0)
    looks = [[look_of(random.normal(5, 1, 5000), None) for _ in range(2)] for _ in range(12)]
    assert exchanged_channels({str(number): pair for number, pair in enumerate(looks)}) == {}
