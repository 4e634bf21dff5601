"""From volumes to a segmentation: the promises of `segment` to its users."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fixtures.machines import peak_memory
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle
from mednext.errors import (
    Cancelled,
    ChannelError,
    DeviceError,
    GeometryError,
    OptionError,
    OutOfMemoryError,
    SuspectInputError,
)
from mednext.images.geometry import Geometry, Roi, reorient_array
from mednext.images.volume import Volume, handed_over
from mednext.inference import preprocessing
from mednext.inference.progress import Progress
from mednext.inference.segment import segment
from mednext.inference.tiles import count_tiles
from mednext.model.bundle import Bundle, Channel
from mednext.segmentation.result import Segmentation
from scipy.ndimage import gaussian_filter

OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
CHANNELS = (Channel("T1", "MR", "zscore"), Channel("T2", "MR", "zscore"))


def brain(spacing: tuple[float, float, float] = (1.0, 1.1, 1.3), seed: int = 5) -> Volume:
    """Smooth random tissue on an oblique grid of 38x34x30 voxels with a margin of zeros; spacing in mm."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(30, 34, 38)), 1.5) * 800 + 300
    noise[:3], noise[:, :4], noise[..., 33:] = 0, 0, 0
    return Volume(noise[np.newaxis].astype(np.float32), Geometry((38, 34, 30), spacing, (9, -8, 7), OBLIQUE))


def stored_as(volume: Volume, code: str) -> Volume:
    """The same voxels in space, with axes that point elsewhere."""
    return Volume(*reorient_array(volume.array, volume.geometry, code))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", folds=(0, 1), mirror_axes=(0,))


Run = tuple[Segmentation, list[Progress]]


@pytest.fixture(scope="module")
def whole(bundle: Bundle) -> Run:
    """The segmentation of the brain, and its progress."""
    steps: list[Progress] = []
    return segment(brain(), bundle, device="cpu", progress=steps.append), steps


def rounded(kind: type = np.float32) -> Volume:
    """The brain in whole numbers of a type."""
    volume = brain()
    return Volume(volume.array.round().astype(kind), volume.geometry)


@pytest.fixture(scope="module")
def by_one_fold(bundle: Bundle) -> np.ndarray:
    """The labels of the rounded brain."""
    labels = segment(rounded(), bundle, folds=[0], device="cpu").labelmap
    assert len(np.unique(labels)) > 1
    return labels


@pytest.mark.parametrize("code", ["LPS", "PIR", "SAL", "RSA", "ILP"])
def test_a_volume_stored_along_other_axes_gets_the_same_labels_in_space(
    bundle: Bundle, by_one_fold: np.ndarray, code: str
) -> None:
    volume = rounded()
    other = segment(stored_as(volume, code), bundle, folds=[0], device="cpu")
    back, geometry = reorient_array(other.labelmap, other.geometry, volume.geometry.orientation)
    assert geometry.close_to(volume.geometry)
    np.testing.assert_array_equal(back, by_one_fold)


def test_a_volume_that_was_handed_over_is_gone_before_the_networks_run(bundle: Bundle, whole: Run) -> None:
    volumes = [brain()]
    voxels = weakref.ref(volumes[0].array)
    there = []

    def look(progress: Progress) -> None:
        if progress.stage == "network":
            there.append(voxels() is not None)

    found = segment(handed_over(volumes), bundle, device="cpu", progress=look)
    assert there and not any(there)
    np.testing.assert_array_equal(found.labelmap, whole[0].labelmap)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.float64])
def test_voxels_of_another_type_get_the_same_labels(
    bundle: Bundle, by_one_fold: np.ndarray, kind: type
) -> None:
    found = segment(rounded(kind), bundle, folds=[0], device="cpu")
    np.testing.assert_array_equal(found.labelmap, by_one_fold)


def test_the_segmentation_lies_on_the_grid_of_the_volume(bundle: Bundle, whole: Run) -> None:
    segmentation, _ = whole
    assert segmentation.geometry == brain().geometry
    assert segmentation.labelmap.dtype == np.uint8
    assert segmentation.labels == bundle.model.labels
    assert (segmentation.labelmap[:3] == 0).all()


def test_the_same_run_gives_the_same_labels(bundle: Bundle, whole: Run) -> None:
    np.testing.assert_array_equal(segment(brain(), bundle, device="cpu").labelmap, whole[0].labelmap)


def test_channels_given_one_by_one_equal_one_volume_with_all(tmp_path: Path) -> None:
    network = replace(TINY_NETWORK, in_channels=2)
    bundle = tiny_bundle(tmp_path / "two", network=network, channels=CHANNELS, mirror_axes=())
    first, second = brain(seed=1), brain(seed=2)
    both = Volume(np.concatenate([first.array, second.array]), first.geometry)
    apart = segment([first, second], bundle, device="cpu").labelmap
    np.testing.assert_array_equal(apart, segment(both, bundle, device="cpu").labelmap)
    assert (apart != segment([second, first], bundle, device="cpu").labelmap).any()


def test_a_missing_channel_is_an_error_that_names_the_channels(tmp_path: Path) -> None:
    network = replace(TINY_NETWORK, in_channels=2)
    bundle = tiny_bundle(tmp_path / "two", network=network, channels=CHANNELS)
    with pytest.raises(ChannelError, match=r"needs 2 channel\(s\) in this order: T1, T2\. 1 .* given"):
        segment(brain(), bundle, device="cpu")


def test_an_image_of_nan_is_refused(bundle: Bundle) -> None:
    volume = brain()
    volume.array[0, 5, 5, 5] = np.nan
    with pytest.raises(SuspectInputError, match="1 NaN"):
        segment(volume, bundle, device="cpu")


def test_a_region_limits_labels_and_work(bundle: Bundle, whole: Run) -> None:
    volume = brain()
    centre = (volume.geometry.ijk_to_ras @ (18, 17, 15, 1))[:3]
    roi = Roi(tuple(centre - 4), tuple(centre + 4))
    box = roi.box_in(volume.geometry)
    steps: list[Progress] = []
    part = segment(volume, bundle, roi=roi, device="cpu", uncertainty=True, progress=steps.append)
    outside = np.ones(volume.geometry.shape, dtype=bool)
    outside[box] = False
    assert (part.labelmap[outside] == 0).all()
    assert (part.uncertainty[outside] == 0).all()
    assert (part.labelmap[box] == whole[0].labelmap[box]).mean() > 0.9
    assert max(step.total for step in steps if step.stage == "network") < tiles_of(volume, bundle)


def test_a_region_of_everything_changes_nothing(bundle: Bundle, whole: Run) -> None:
    found = segment(brain(), bundle, roi=Roi((-500, -500, -500), (500, 500, 500)), device="cpu")
    np.testing.assert_array_equal(found.labelmap, whole[0].labelmap)


def test_a_region_without_anything_in_it_gets_no_labels(bundle: Bundle) -> None:
    volume = brain()
    corner = (volume.geometry.ijk_to_ras @ (36, 0, 0, 1))[:3]
    roi = Roi(tuple(corner - 0.1), tuple(corner + 0.1))
    assert not segment(volume, bundle, roi=roi, device="cpu").labelmap.any()


def test_a_region_beside_the_image_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(GeometryError):
        segment(brain(), bundle, roi=Roi((900, 900, 900), (950, 950, 950)), device="cpu")


def test_uncertainty_is_of_mean_probabilities_whatever_the_pipeline_averages(tmp_path: Path) -> None:
    both = [
        segment(
            brain(),
            tiny_bundle(tmp_path / name, folds=(0, 1), mirror_axes=(1,), spacing=None, pipeline=name),
            device="cpu",
            uncertainty=True,
        )
        for name in ("nnunet_v1", "nnunet_v2")
    ]
    v1, v2 = (segmentation.uncertainty for segmentation in both)
    assert v1 is not None
    assert v1.dtype == np.float32
    assert 0 <= v1.min() < v1.max() <= 1
    np.testing.assert_allclose(v1, v2, atol=1e-5)
    assert (both[0].labelmap != both[1].labelmap).any()


def test_uncertainty_does_not_change_the_labels(bundle: Bundle, whole: Run) -> None:
    found = segment(brain(), bundle, device="cpu", uncertainty=True)
    np.testing.assert_array_equal(found.labelmap, whole[0].labelmap)


def test_only_the_largest_component_stays_where_the_model_says_so(tmp_path: Path) -> None:
    def components(name: str, **changes: object) -> int:
        bundle = tiny_bundle(tmp_path / name, mirror_axes=(), **changes)
        labels = segment(brain(), bundle, device="cpu").labelmap
        mask = sitk.GetImageFromArray((labels == 2).astype(np.uint8))
        return int(sitk.GetArrayFromImage(sitk.ConnectedComponent(mask, True)).max())

    assert components("all") > 1
    assert components("largest", keep_largest=(2,)) == 1


def test_progress_counts_every_tile_once_per_fold_and_estimates_the_rest(bundle: Bundle, whole: Run) -> None:
    steps = whole[1]
    stages = list(dict.fromkeys(step.stage for step in steps))
    network = [step for step in steps if step.stage == "network"]
    assert stages == ["loading", "preprocessing", "network", "postprocessing"]
    assert [step.done for step in network] == list(range(tiles_of(brain(), bundle) + 1))
    assert network[0].remaining_s is None
    assert all(step.remaining_s is not None and step.remaining_s > 0 for step in network[1:-1])
    assert network[-1].remaining_s == 0


def tiles_of(volume: Volume, bundle: Bundle) -> int:
    """Tiles of the whole volume, counted once per fold."""
    array, geometry = reorient_array(volume.array, volume.geometry, bundle.model.orientation)
    image = preprocessing.preprocess(Volume(array, geometry), bundle.model)
    return count_tiles(image.array.shape[1:], bundle.model.patch, bundle.model.step) * 2


def test_cancelling_ends_the_run(bundle: Bundle) -> None:
    steps: list[Progress] = []
    with pytest.raises(Cancelled):
        segment(
            brain(),
            bundle,
            device="cpu",
            progress=steps.append,
            cancelled=lambda: steps[-1:] and steps[-1].done == 3,
        )
    assert steps[-1].stage == "network"
    assert steps[-1].done == 3


def test_the_segmentation_says_how_it_was_made(bundle: Bundle) -> None:
    origin = segment(brain(), bundle, folds=[1], mirroring=False, device="cpu", step=0.8).provenance
    assert origin["model"] == bundle.model.name
    assert origin["folds"] == "1"
    assert origin["fold_1_sha256"] == bundle.model.folds[1].sha256
    assert "fold_0_sha256" not in origin
    assert (origin["mirror_axes"], origin["step"], origin["device"]) == ("", "0.8", "cpu")
    assert origin["torch"] == torch.__version__
    assert float(origin["seconds"]) >= 0


def test_a_fold_that_the_model_lacks_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(OptionError, match="7"):
        segment(brain(), bundle, device="cpu", folds=[7])


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_an_error(bundle: Bundle) -> None:
    with pytest.raises(DeviceError, match="'cuda' is not available here, only"):
        segment(brain(), bundle, device="cuda")


def test_running_out_of_memory_is_an_error_with_a_remedy(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(preprocessing, "preprocess", exhausted)
    with pytest.raises(OutOfMemoryError, match=r"\(38, 34, 30\) voxels"):
        segment(brain(), bundle, device="cpu")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell the peak of a process this way")
def test_predictions_never_exist_as_a_whole_at_full_resolution() -> None:
    side, classes = 192, peak_memory.CLASSES
    command = [sys.executable, peak_memory.__file__, str(side)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    whole_mib = classes * side**3 * 4 / 2**20
    assert float(answer.stdout) < whole_mib / 3
