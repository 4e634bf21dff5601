"""The model that comes with the extension is complete, and as good as its description says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from mednext import Volume, load_bundle, read_channels, segment


def test_the_default_model_is_complete_and_described() -> None:
    bundle = load_bundle("hippocampus")
    assert sum(parameter.numel() for parameter in bundle.network(0).parameters()) > 5_500_000
    assert [label.name for label in bundle.model.labels] == ["anterior hippocampus", "posterior hippocampus"]
    assert all(label.terminology for label in bundle.model.labels)
    assert bundle.model.licence == "CC BY-SA 4.0"
    assert bundle.model.accuracy is not None
    assert bundle.model.accuracy["dice"]["mean"] >= 0.85


def test_the_default_model_stays_small_enough_for_the_extensions_index() -> None:
    folder = load_bundle("hippocampus").path
    assert sum(path.stat().st_size for path in folder.iterdir()) < 12_000_000


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["hippocampus_034", "hippocampus_057", "hippocampus_387"])
def test_cases_of_its_data_set_are_found(case: str, real_data: Path) -> None:
    folder = real_data / "hippocampus"
    found = segment(read_channels([folder / "images" / f"{case}.nii.gz"]), "hippocampus", mirroring=False)
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels" / f"{case}.nii.gz")))
    for label in found.labels:
        ours, theirs = found.labelmap == label.value, truth == label.value
        assert 2 * np.count_nonzero(ours & theirs) / (ours.sum() + theirs.sum()) > 0.8


@pytest.mark.real_data
def test_a_hippocampus_of_the_other_side_gets_the_mirrored_labels(real_data: Path) -> None:
    """With copies that are mirrored along x alone, a quarter of all."""
    volume = read_channels([real_data / "hippocampus" / "images" / "hippocampus_057.nii.gz"])
    other = Volume(np.ascontiguousarray(volume.array[..., ::-1]), volume.geometry)
    bundle = load_bundle("hippocampus")
    bundle = replace(bundle, model=replace(bundle.model, mirror_axes=(2,)))
    labels = segment(volume, bundle, device="cpu").labelmap
    mirrored = segment(other, bundle, device="cpu").labelmap[..., ::-1]
    assert int((labels != mirrored).sum()) <= 0.001 * int((labels > 0).sum())
