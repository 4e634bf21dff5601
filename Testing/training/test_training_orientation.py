"""The orientation of the training images is read from them or asked for, never assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.models.results_folders import (
    v2_plans,
    write_v1_folder,
    write_v2_folder,
)
from mednext.checkpoints import ImportOptions, import_checkpoint
from mednext.checkpoints.orientation import transposed_orientation
from mednext.errors import CheckpointError, OptionError
from mednext.images.geometry import Geometry, reorient_array

RAS = ImportOptions(orientation="RAS")
NAMED = replace(RAS, labels={1: "spleen", 2: "left lung"}, half=False)


def test_a_transposed_training_means_another_orientation(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1", transpose_forward=[2, 0, 1], transpose_backward=[1, 2, 0])
    model = import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED).model
    assert (model.orientation, model.spacing, model.patch) == ("ASR", (1.5, 1.0, 1.0), (16, 32, 48))


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("code", ["RAS", "LPS", "PIR"])
def test_reorienting_to_the_transposed_orientation_gives_nnunets_array(
    code: str, transpose: tuple[int, int, int]
) -> None:
    stored = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    geometry = Geometry((4, 3, 2), (1, 1, 1), (0, 0, 0), (1, 0, 0, 0, 1, 0, 0, 0, 1)).reoriented(code)
    geometry = replace(geometry, size=(4, 3, 2))
    found, _ = reorient_array(stored, geometry, transposed_orientation(code, transpose))
    assert np.array_equal(found, stored.transpose(transpose))


def test_an_unknown_orientation_is_refused_not_guessed(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    with pytest.raises(CheckpointError, match="swap left and right"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model")


def test_an_impossible_orientation_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    with pytest.raises(OptionError, match="'RAR'"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", ImportOptions(orientation="RAR"))


@pytest.mark.parametrize("reader", ["NibabelIOWithReorient", "SimpleITKIOWithReorient"])
def test_a_reader_that_reorients_determines_the_orientation(tmp_path: Path, reader: str) -> None:
    write_v2_folder(tmp_path / "v2", plans={**v2_plans(), "image_reader_writer": reader})
    assert import_checkpoint(tmp_path / "v2", tmp_path / "model").model.orientation == "RAS"


def test_nnunets_reorienting_reader_gives_arrays_in_ras(tmp_path: Path) -> None:
    """The judge of the table in `orientation.py` is nnU-Net's own reader."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIOWithReorient

    image = sitk.GetImageFromArray(np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4))  # LPS
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    array, _ = SimpleITKIOWithReorient().read_images([str(tmp_path / "a.nii.gz")])
    ours, _ = reorient_array(sitk.GetArrayFromImage(image), Geometry.from_image(image), "RAS")
    assert np.array_equal(array[0], ours)


def test_the_training_images_determine_the_orientation(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    write_images(tmp_path / "imagesTr", ["RAS", "RAS"])
    options = ImportOptions(images=tmp_path / "imagesTr")
    assert import_checkpoint(tmp_path / "v2", tmp_path / "model", options).model.orientation == "RAS"


def test_training_images_that_are_not_stored_alike_are_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    write_images(tmp_path / "imagesTr", ["RAS", "LPS"])
    with pytest.raises(CheckpointError, match=r"RAS in case0\.nii\.gz, LPS in case1\.nii\.gz"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", ImportOptions(images=tmp_path / "imagesTr"))


def write_images(folder: Path, codes: list[str]) -> None:
    folder.mkdir()
    for number, code in enumerate(codes):
        image = sitk.DICOMOrient(sitk.Image(4, 3, 2, sitk.sitkFloat32), code)
        sitk.WriteImage(image, str(folder / f"case{number}.nii.gz"))
