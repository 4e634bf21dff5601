"""A head with skull is told apart from a brain alone, where the model's description makes it matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixtures.models.bundles import tiny_model
from fixtures.models.results_folders import write_v1_folder
from mednext import Geometry, read_volume
from mednext.checkpoints import importing
from mednext.checkpoints.import_options import ImportOptions
from mednext.checkpoints.importing import import_checkpoint
from mednext.images.description.image_description import ImageDescription
from mednext.images.geometry import reorient_array
from mednext.inputs.input_doubts import InputImage, check_inputs, inputs_of
from mednext.inputs.voxel_sample import sample_of
from mednext.library.catalog import Catalog
from mednext.library.catalog_source import load_catalog
from mednext.model.model_file import read_model

STRIPPED = tiny_model(skull="removed")
WHOLE = tiny_model(skull="present")
GRID = Geometry((60, 72, 60), (3.0, 3.0, 3.0))
NOTHING = ""


def ball(litres, noise=0.0, background=0.0):
    """A ball of tissue with this volume in the middle of a field of view of 7 litres."""
    z, y, x = np.indices(GRID.shape) - np.array(GRID.shape).reshape(3, 1, 1, 1) / 2
    inside = z**2 + y**2 + x**2 < (litres * 1e6 / 27 / (4 / 3 * np.pi)) ** (2 / 3)
    random = np.random.default_rng(0)
    air = background + noise * np.abs(random.normal(size=GRID.shape))
    return np.where(inside, 500 + 80 * random.normal(size=GRID.shape), air).astype(np.float32)


def told(model, array, grid=GRID):
    """The sentence about the skull."""
    image = InputImage(ImageDescription("T1"), grid, sample_of(array))
    sentences = [text for text in check_inputs(model, [image]).warnings if "skull" in text]
    return " ".join(sentences)


@pytest.mark.parametrize("noise", [0.0, 12.0], ids=["masked air", "noisy air"])
def test_a_head_with_skull_is_told_with_the_extension_that_removes_it(noise):
    sentence = told(STRIPPED, ball(4.0, noise))
    assert sentence.startswith('"T1" shows a head with its skull')
    assert "HDBrainExtraction" in sentence
    check_inputs(STRIPPED, [InputImage(ImageDescription("T1"), GRID, sample_of(ball(4.0)))]).refuse()


@pytest.mark.parametrize("background", [0.0, -3.5])
@pytest.mark.parametrize("litres", [0.9, 1.5, 1.95])
def test_a_brain_alone_is_right(litres, background):
    assert told(STRIPPED, ball(litres, background=background)) == NOTHING


def test_the_reverse_is_told_only_where_the_description_wants_a_head():
    assert "original images" in told(WHOLE, ball(1.5))
    assert told(WHOLE, ball(4.0)) == told(WHOLE, ball(4.0, 12.0)) == NOTHING
    assert told(tiny_model(), ball(1.5)) == told(tiny_model(), ball(4.0)) == NOTHING


def test_a_small_crop_is_neither():
    crop = ball(4.0)[20:40, 20:40, 20:40]
    grid = Geometry((20, 20, 20), (3.0, 3.0, 3.0))
    assert told(STRIPPED, crop, grid) == told(WHOLE, crop, grid) == NOTHING


def test_every_image_with_skull_is_named():
    from mednext.model.description import Channel

    four = replace(STRIPPED, channels=tuple(Channel(name, "MR", "zscore") for name in ("T1", "T2", "FLAIR")))
    images = [
        InputImage(ImageDescription(name), GRID, sample_of(ball(litres) + number))
        for number, (name, litres) in enumerate((("T1", 4.0), ("T2", 1.5), ("FLAIR", 3.5)))
    ]
    (sentence,) = (text for text in check_inputs(four, images).warnings if "skull" in text)
    assert sentence.startswith('"T1", "FLAIR" show a head with its skull')


def test_the_tasks_of_brats_are_without_skull():
    tasks = [task for task in load_catalog().tasks if "BraTS" in task.name]
    with_skull = [task.name for task in tasks if task.skull != "removed"]
    assert tasks and with_skull == ["BraTS24-meningioma"]  # whose images are those of radiotherapy


def test_an_imported_model_takes_it_from_its_task_or_from_the_user(tmp_path, monkeypatch):
    write_v1_folder(tmp_path / "v1")
    options = ImportOptions(orientation="RAS", labels={1: "edema", 2: "core"})
    source = tmp_path / "v1"
    assert import_checkpoint(source, tmp_path / "unknown", options).model.skull == ""
    told_so = import_checkpoint(source, tmp_path / "model", replace(options, skull="present"))
    assert read_model(told_so.path).skull == "present"
    brats = replace(load_catalog().task("BraTS21"), name="mine")
    monkeypatch.setattr(importing, "load_catalog", lambda: Catalog((brats,), ()))
    assert import_checkpoint(source, tmp_path / "mine", options).model.skull == "removed"


def test_a_description_without_it_has_the_sha256_that_it_had():
    assert "skull" not in tiny_model().to_json()
    assert tiny_model(skull="removed").to_json()["skull"] == "removed"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "skull"),
    [
        ("whole_head/ch2.nii.gz", True),
        *(
            (f"brain_mr_4ch/BraTS-MET-00110-000-{kind}.nii.gz", False)
            for kind in ("t1c", "t1n", "t2f", "t2w")
        ),
        *(
            (f"brain_tumour/brats_2013_pat{number}_1/{kind}_subtrMeanDivStd.nii.gz", False)
            for number in ("0001", "0002", "0005")
            for kind in ("Flair", "T1c")
        ),
    ],
)
def test_real_heads_and_brains_are_told_apart(real_data, file, skull):
    (image,) = inputs_of(read_volume(real_data / file))
    text = " ".join(check_inputs(STRIPPED, [image]).warnings)
    assert ("HDBrainExtraction" in text) == skull
    reverse = " ".join(check_inputs(WHOLE, [image]).warnings)
    assert ("original images" in reverse) == (not skull)


@pytest.mark.real_data
@pytest.mark.parametrize("kept", [(0, 181), (40, 181), (0, 120)], ids=["whole", "no neck", "no vertex"])
def test_a_real_head_is_told_however_it_is_cut_turned_and_stored(real_data, kept):
    volume = read_volume(real_data / "whole_head" / "ch2.nii.gz")
    part = (slice(*kept), slice(None), slice(None))
    array, grid = volume.array[(slice(None), *part)], volume.geometry.cropped(part)
    for code in ("RAS", "PIL", "ASR"):
        turned, there = reorient_array(array, grid, code)
        noise = np.random.default_rng(0).rayleigh(4, turned[0].shape)
        assert "HDBrainExtraction" in told(STRIPPED, turned[0], there)
        assert "HDBrainExtraction" in told(STRIPPED, (turned[0] + noise).astype(np.float32), there)
