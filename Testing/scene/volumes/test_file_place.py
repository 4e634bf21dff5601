"""A volume from a NIfTI file with two places: the panel reports the place that Slicer used."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import slicer
from fixtures.images.refusals import noise
from MedNeXtSegmentationLib.scene.volumes.channels_from_nodes import channels_from_nodes
from MedNeXtSegmentationLib.scene.volumes.nifti_place import nifti_place_warning

MOVED = np.array([[1, 0, 0, 30], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])


def loaded(folder, sform, codes):
    image = nibabel.Nifti1Image(noise().T, np.eye(4))
    image.set_qform(np.eye(4), codes[0])
    image.set_sform(sform, codes[1])
    nibabel.save(image, folder / "T2.nii")
    return slicer.util.loadVolume(str(folder / "T2.nii"))


@pytest.mark.parametrize(("codes", "taken"), [((1, 1), "sform"), ((1, 2), "qform")])
def test_it_is_told_which_of_two_places_slicer_took(scene, tmp_path, codes, taken):
    node = loaded(tmp_path, MOVED, codes)
    said = f'"T2": The qform and the sform of its file lie up to 30 mm apart: its {taken} was taken.'
    assert nifti_place_warning(node) == said
    assert channels_from_nodes([node])[0].warnings == (said,)


@pytest.mark.parametrize(("sform", "codes"), [(np.eye(4), (1, 1)), (MOVED, (1, 0)), (MOVED, (0, 1))])
def test_a_file_that_says_its_place_once_is_not_told_of(scene, tmp_path, sform, codes):
    assert nifti_place_warning(loaded(tmp_path, sform, codes)) == ""


def test_a_volume_that_was_moved_since_or_whose_file_is_gone_is_not_told_of(scene, tmp_path):
    node = loaded(tmp_path, MOVED, (1, 2))
    node.SetOrigin(100, 100, 100)
    assert nifti_place_warning(node) == ""
    node = loaded(tmp_path, MOVED, (1, 2))
    (tmp_path / "T2.nii").unlink()
    assert nifti_place_warning(node) == ""
