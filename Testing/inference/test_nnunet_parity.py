"""Our pipelines against nnU-Net: v2's own code, and v1's written down from its source.

The networks have random weights. Their predictions are rougher than a trained network's, so that small
differences before them would show in the labels all the more.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model, tiny_regions
from fixtures.models.nnunet_v1_judge import preprocess_by_v1, segment_by_v1
from fixtures.models.nnunet_v2_judge import preprocess_by_nnunet, segment_by_nnunet
from mednext.images.geometry import Geometry, reorient_array
from mednext.images.volume import Volume, read_volume
from mednext.inference.preprocessing import preprocess
from mednext.inference.segment import segment
from mednext.library.model_by_name import load_bundle
from mednext.model.bundle import Bundle, Channel
from scipy.ndimage import gaussian_filter

CT = Channel("CT", "CT", "ct", mean=60.0, std=120.0, lower=-900.0, upper=800.0)
T1 = Channel("T1", "MR", "zscore")
RAS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
MASKED = replace(T1, normalization="zscore_masked")


def synthetic(shape: tuple[int, int, int], spacing: tuple[float, float, float], channels: int = 1) -> Volume:
    """Smooth random tissue in a ball with a hole, zero around it; shape and spacing (mm) as (z, y, x)."""
    random = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    tissue = [gaussian_filter(random.normal(size=shape), 1.5) * 900 + 300 for _ in range(channels)]
    array = np.stack(tissue) * ((radius < 0.95) & (radius > 0.15))
    return Volume(array.astype(np.float32), Geometry(shape[::-1], spacing[::-1], direction=RAS))


def cropped(volume: Volume, bundle: Bundle, box: tuple[slice, slice, slice]) -> Volume:
    """A part of a volume in the model's orientation."""
    array, geometry = reorient_array(volume.array, volume.geometry, bundle.model.orientation)
    return Volume(np.ascontiguousarray(array[(slice(None), *box)]), geometry.cropped(box))


def agreement(labels: np.ndarray, others: np.ndarray) -> float:
    """The fraction of voxels with equal labels; no label may cover nearly everything."""
    assert np.bincount(others.ravel()).max() < 0.95 * others.size
    return float((labels == others).mean())


GRIDS = {
    "isotropic": ((34, 40, 36), (1.3, 0.9, 1.1), (1.0, 1.0, 1.0)),
    "coarser model": ((50, 60, 50), (0.8, 0.7, 0.9), (1.5, 1.0, 1.3)),
    "thick slices": ((12, 50, 52), (5.0, 0.8, 0.8), (2.0, 1.0, 1.0)),
    "thick slices in both": ((14, 50, 52), (5.0, 0.8, 0.8), (4.0, 1.0, 1.1)),
    "thick slices along x": ((36, 44, 12), (1.0, 1.0, 4.5), (1.2, 0.8, 1.5)),
    "two coarse axes": ((12, 14, 50), (4.0, 4.0, 1.0), (3.0, 3.0, 1.2)),
    "thick along different axes": ((16, 40, 40), (4.0, 1.0, 1.0), (1.5, 5.0, 1.5)),
    "same grid": ((20, 40, 36), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "smaller than the patch": ((14, 20, 30), (1.0, 1.0, 1.0), (1.0, 1.1, 1.0)),
}


@pytest.fixture(params=GRIDS)
def grid(request: pytest.FixtureRequest) -> tuple[Volume, tuple[float, float, float]]:
    shape, spacing, target = GRIDS[request.param]
    return synthetic(shape, spacing), target


@pytest.mark.parametrize("channel", [CT, T1, MASKED, replace(T1, normalization="rescale")])
def test_preprocessing_equals_nnunet_v2(grid, channel: Channel) -> None:
    volume, spacing = grid
    model = tiny_model(spacing=spacing, channels=(channel,))
    image, _ = preprocess_by_nnunet(volume, model)
    np.testing.assert_allclose(preprocess(volume, model).array, image, atol=1e-3)


@pytest.mark.parametrize("channel", [CT, T1, MASKED])
def test_preprocessing_equals_nnunet_v1(grid, channel: Channel) -> None:
    volume, spacing = grid
    model = tiny_model(spacing=spacing, channels=(channel,), pipeline="nnunet_v1")
    image, _ = preprocess_by_v1(volume, model)
    np.testing.assert_allclose(preprocess(volume, model).array, image, atol=1e-3)


def test_labels_equal_nnunet_v2(grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume, spacing = grid
    bundle = tiny_bundle(tmp_path / "model", spacing=spacing)
    judged = segment_by_nnunet(volume, bundle, False, monkeypatch).labels
    assert agreement(segment(volume, bundle, mirroring=False, device="cpu").labelmap, judged) >= 0.999


def test_labels_equal_nnunet_v1(grid, tmp_path: Path) -> None:
    volume, spacing = grid
    bundle = tiny_bundle(tmp_path / "model", spacing=spacing, pipeline="nnunet_v1")
    judged = segment_by_v1(volume, bundle, mirroring=False)
    assert agreement(segment(volume, bundle, mirroring=False, device="cpu").labelmap, judged) >= 0.999


def test_folds_and_mirrored_copies_are_averaged_as_in_nnunet_v2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = synthetic((30, 44, 36), (1.2, 0.9, 1.1))
    bundle = tiny_bundle(tmp_path / "model", folds=(0, 1), mirror_axes=(0, 2))
    judged = segment_by_nnunet(volume, bundle, True, monkeypatch).labels
    assert agreement(segment(volume, bundle, device="cpu").labelmap, judged) >= 0.999


def test_folds_and_mirrored_copies_are_averaged_as_in_nnunet_v1(tmp_path: Path) -> None:
    volume = synthetic((30, 44, 36), (1.2, 0.9, 1.1))
    bundle = tiny_bundle(tmp_path / "model", folds=(0, 1), mirror_axes=(0, 2), pipeline="nnunet_v1")
    judged = segment_by_v1(volume, bundle, mirroring=True)
    assert agreement(segment(volume, bundle, device="cpu").labelmap, judged) >= 0.999


def test_regions_of_several_channels_equal_nnunet_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = synthetic((30, 44, 36), (1.2, 0.9, 1.1), channels=2)
    bundle = tiny_bundle(tmp_path / "model", **two_channel_regions())
    judged = segment_by_nnunet(volume, bundle, False, monkeypatch).labels
    assert agreement(segment(volume, bundle, mirroring=False, device="cpu").labelmap, judged) >= 0.999


def test_regions_of_several_channels_equal_nnunet_v1(tmp_path: Path) -> None:
    volume = synthetic((30, 44, 36), (1.2, 0.9, 1.1), channels=2)
    bundle = tiny_bundle(tmp_path / "model", **two_channel_regions(), pipeline="nnunet_v1")
    judged = segment_by_v1(volume, bundle, mirroring=False)
    assert agreement(segment(volume, bundle, mirroring=False, device="cpu").labelmap, judged) >= 0.999


def two_channel_regions() -> dict[str, object]:
    return tiny_regions(
        network=replace(TINY_NETWORK, in_channels=2),
        channels=(MASKED, replace(MASKED, name="T2")),
    )


@pytest.mark.real_data
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.3, 0.8, 1.1)])
def test_labels_of_a_real_hippocampus_equal_nnunet_v2(
    spacing: tuple[float, float, float], real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle(tmp_path / "model", spacing=spacing)
    image = next((real_data / "hippocampus" / "images").glob("*.nii.gz"))
    volume = cropped(read_volume(image), bundle, (slice(None),) * 3)
    judged = segment_by_nnunet(volume, bundle, False, monkeypatch)
    np.testing.assert_allclose(preprocess(volume, bundle.model).array, judged.image, atol=1e-3)
    assert agreement(segment(volume, bundle, mirroring=False, device="cpu").labelmap, judged.labels) >= 0.999


@pytest.mark.real_data
@pytest.mark.parametrize("pipeline", ["nnunet_v1", "nnunet_v2"])
def test_labels_of_a_real_abdomen_equal_nnunet(
    pipeline: str, real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tiny_bundle(tmp_path / "model", spacing=(2.5, 2.0, 2.0), channels=(CT,), pipeline=pipeline)
    box = (slice(30, 66), slice(20, 66), slice(30, 80))
    volume = cropped(read_volume(real_data / "abdomen_ct" / "ct.nii.gz"), bundle, box)
    ours = segment(volume, bundle, mirroring=False, device="cpu").labelmap
    if pipeline == "nnunet_v2":
        judged = segment_by_nnunet(volume, bundle, False, monkeypatch).labels
    else:
        judged = segment_by_v1(volume, bundle, mirroring=False)
    assert agreement(ours, judged) >= 0.999


@pytest.mark.real_data
def test_the_default_models_labels_of_a_real_hippocampus_equal_nnunet_v2(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle("hippocampus")
    image = min((real_data / "hippocampus" / "images").glob("*.nii.gz"))
    volume = read_volume(image)
    judged = segment_by_nnunet(volume, bundle, False, monkeypatch).labels
    ours = segment(volume, bundle, mirroring=False, device="cpu").labelmap
    assert set(np.unique(ours)) == {0, 1, 2}
    # of the structure's voxels, not of the image's: the background alone would make 95 %
    different = int((ours != judged).sum())
    assert different <= 0.001 * int((judged > 0).sum())
