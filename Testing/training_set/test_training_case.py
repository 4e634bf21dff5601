"""A corrected result as a training case: nnU-Net reads the same voxels, and nothing is overwritten."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fixtures.images.geometries import rotation
from fixtures.models.bundles import TINY_MODEL, TINY_NETWORK, tiny_model, tiny_regions
from mednext.errors import ChannelError, GeometryError, OptionError, OutputError, SuspectInputError
from mednext.images.formats.image_files import read_image
from mednext.images.geometry import Geometry
from mednext.images.source_image import SourceImage
from mednext.images.volume import read_volume
from mednext.model.description import Channel as ModelChannel
from mednext.model.labels import Label
from mednext.segmentation.result import Segmentation
from mednext.training_set.case import add_training_case
from mednext.training_set.dataset import dataset_folder

SHAPE = (8, 10, 12)
GRID = Geometry(tuple(reversed(SHAPE)), (0.9, 1.1, 2.0), (5.0, -7.0, 11.0))


def image(seed=0, geometry=GRID, name="T1", dtype=np.int16):
    voxels = np.random.default_rng(seed).normal(500, 200, geometry.shape)
    return SourceImage(name, voxels.astype(dtype), geometry)


def labels(seed=1, top=2):
    return np.random.default_rng(seed).integers(0, top + 1, SHAPE).astype(np.uint8)


def truth(labelmap=None, model=TINY_MODEL, geometry=GRID, **provenance):
    labelmap = labels() if labelmap is None else labelmap
    return Segmentation(labelmap, geometry, model.labels, {"model": model.name, "time": "now", **provenance})


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_nnunet_finds_the_data_set_in_order_and_reads_equal_arrays(tmp_path, nnunet_in_threads):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    folder = tmp_path / "Dataset501_Test"
    cases = [(image(seed), labels(seed)) for seed in (1, 2)]
    for channel, labelmap in cases:
        add_training_case(folder, TINY_MODEL, [channel], truth(labelmap))
    verify_dataset_integrity(str(folder), num_processes=1)
    for number, (channel, labelmap) in enumerate(cases, start=1):
        read, properties = SimpleITKIO().read_images(
            [str(folder / "imagesTr" / f"tiny_{number:04d}_0000.nii.gz")]
        )
        assert np.array_equal(read[0], channel.array)
        assert properties["sitk_stuff"]["origin"] == pytest.approx(GRID.origin)
        assert properties["sitk_stuff"]["spacing"] == pytest.approx(GRID.spacing)
        seg, _ = SimpleITKIO().read_seg(str(folder / "labelsTr" / f"tiny_{number:04d}.nii.gz"))
        assert np.array_equal(seg[0], labelmap)
    description = json.loads((folder / "dataset.json").read_text())
    assert description == {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "spleen": 1, "liver": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }


def test_several_channels_are_resampled_to_the_grid_of_the_first_and_reported(tmp_path):
    two = tiny_model(
        channels=(ModelChannel("T1", "MR", "zscore"), ModelChannel("FLAIR", "MR", "zscore")),
        network=replace(TINY_NETWORK, in_channels=2),
    )
    other = Geometry((11, 9, 9), (1.0, 1.2, 1.9), (4.0, -8.0, 10.0))
    case = add_training_case(tmp_path / "Dataset501_A", two, [image(), image(1, other, "FLAIR")], truth())
    assert case.resampled == ("FLAIR",)
    written = read_volume(case.folder / "imagesTr" / f"{case.name}_0001.nii.gz")
    assert written.geometry.close_to(GRID)
    record = json.loads((case.folder / "provenanceTr" / f"{case.name}.json").read_text())
    assert (record["images"], record["resampled"]) == (["T1", "FLAIR"], ["FLAIR"])


def test_the_record_holds_the_origin_of_a_case_and_its_corrections(tmp_path):
    found = labels()
    corrected = found.copy()
    corrected[found == 1] = 0
    corrected[0, 0, :3] = 2
    case = add_training_case(
        tmp_path / "Dataset501_A", TINY_MODEL, [image()], truth(corrected), found=found, author="Dr. Who"
    )
    record = json.loads((case.folder / "provenanceTr" / f"{case.name}.json").read_text())
    assert (record["model"], record["model_version"], record["author"]) == ("tiny", "1.0.0", "Dr. Who")
    assert record["run"]["time"] == "now"
    spleen, liver = record["labels"]
    assert spleen["removed"] == np.count_nonzero((found == 1) & (corrected != 1))
    assert spleen["added"] == 0
    assert liver["added"] == np.count_nonzero((found != 2) & (corrected == 2))


def test_regions_are_described_in_nnunets_form(tmp_path, nnunet_in_threads):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    model = tiny_model(**tiny_regions())
    folder = tmp_path / "Dataset501_A"
    add_training_case(folder, model, [image()], truth(labels(top=3), model))
    description = json.loads((folder / "dataset.json").read_text())
    assert description["labels"]["whole tumor"] == [1, 2, 3]
    assert "edema" not in description["labels"]
    assert description["regions_class_order"] == [1, 2, 3]
    verify_dataset_integrity(str(folder), num_processes=1)


def test_ct_is_named_so_that_nnunet_normalises_it_as_ct(tmp_path):
    channel = ModelChannel("abdomen", "CT", "ct", mean=0, std=1, lower=-1, upper=1)
    add_training_case(tmp_path / "Dataset501_A", tiny_model(channels=(channel,)), [image()], truth())
    assert json.loads((tmp_path / "Dataset501_A" / "dataset.json").read_text())["channel_names"] == {
        "0": "CT"
    }


def test_a_case_never_takes_the_name_of_another_even_of_one_half_removed(tmp_path):
    folder = tmp_path / "Dataset501_A"
    add_training_case(folder, TINY_MODEL, [image()], truth())
    before = everything(folder)
    (folder / "labelsTr" / "tiny_0007.nii.gz").write_bytes(b"theirs")
    case = add_training_case(folder, TINY_MODEL, [image(3)], truth())
    assert case.name == "tiny_0008"
    after = everything(folder)
    assert {name: after[name] for name in before if name != "dataset.json"} == {
        name: content for name, content in before.items() if name != "dataset.json"
    }


UNKNOWN = Label(3, "my lesion", (1, 2, 3))


@pytest.mark.parametrize(
    ("segmentation", "error", "words"),
    [
        (Segmentation(labels(top=3), GRID, (*TINY_MODEL.labels, UNKNOWN)), OptionError, '"my lesion"'),
        (Segmentation(labels(top=1), GRID, TINY_MODEL.labels[:1]), OptionError, 'no segments of "liver"'),
        (truth(0 * labels()), OptionError, "nothing to learn"),
        (truth(roi_ras_mm="0 0 0 9 9 9"), OptionError, "Only a region"),
        (truth(geometry=replace(GRID, origin=(0.0, 0.0, 0.0))), GeometryError, "not on the grid"),
    ],
)
def test_wrong_labels_are_refused_and_nothing_is_written(tmp_path, segmentation, error, words):
    with pytest.raises(error, match=words):
        add_training_case(tmp_path / "Dataset501_A", TINY_MODEL, [image()], segmentation)
    assert not list(tmp_path.iterdir())


def test_a_run_limited_to_a_region_makes_a_case_of_that_region(tmp_path):
    box = (slice(2, 7), slice(0, 6), slice(3, 12))
    flair = image(1, Geometry((11, 9, 9), (1.0, 1.2, 1.9), (4.0, -8.0, 10.0)), "FLAIR")
    two = tiny_model(
        channels=(ModelChannel("T1", "MR", "zscore"), ModelChannel("FLAIR", "MR", "zscore")),
        network=replace(TINY_NETWORK, in_channels=2),
    )
    segmentation = truth(roi_ras_mm="0 0 0 9 9 9")
    folder, whole = tmp_path / "Dataset501_A", tmp_path / "Dataset502_B"
    channels = [image(), flair]
    case = add_training_case(folder, two, channels, segmentation, region=box, found=0 * labels())
    read = read_image(folder / "labelsTr" / "tiny_0001.nii.gz")
    written, grid = read.array, read.geometry
    assert np.array_equal(written, labels()[box])
    assert grid.close_to(GRID.cropped(box))
    assert np.array_equal(read_image(folder / "imagesTr" / "tiny_0001_0000.nii.gz").array, image().array[box])
    add_training_case(whole, two, channels, truth())
    second = read_image(whole / "imagesTr" / "tiny_0001_0001.nii.gz").array
    assert np.array_equal(read_image(folder / "imagesTr" / "tiny_0001_0001.nii.gz").array, second[box])
    assert case.left_out == np.count_nonzero(labels()) - np.count_nonzero(labels()[box]) > 0
    record = json.loads((folder / "provenanceTr" / "tiny_0001.json").read_text())
    assert record["voxels_left_out"] == case.left_out
    assert [row["added"] for row in record["labels"]] == [row["voxels"] for row in record["labels"]]


def test_a_region_that_is_the_whole_image_leaves_nothing_out(tmp_path):
    everywhere = tuple(slice(0, n) for n in SHAPE)
    case = add_training_case(tmp_path / "Dataset501_A", TINY_MODEL, [image()], truth(), region=everywhere)
    assert case.left_out is None


def test_a_region_without_any_structure_teaches_nothing(tmp_path):
    labelmap = labels()
    labelmap[:2] = 0
    with pytest.raises(OptionError, match="nothing to learn"):
        add_training_case(
            tmp_path / "Dataset501_A",
            TINY_MODEL,
            [image()],
            truth(labelmap),
            region=(slice(0, 2), slice(0, 10), slice(0, 12)),
        )
    assert not list(tmp_path.iterdir())


def test_an_unknown_segment_without_voxels_does_no_harm(tmp_path):
    segmentation = Segmentation(labels(), GRID, (*TINY_MODEL.labels, UNKNOWN))
    assert add_training_case(tmp_path / "Dataset501_A", TINY_MODEL, [image()], segmentation)


def test_wrong_images_are_refused(tmp_path):
    voxels = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    voxels[0, 0, 0] = np.nan
    nan = SourceImage("T1", voxels, GRID)
    with pytest.raises(SuspectInputError, match="NaN"):
        add_training_case(tmp_path / "Dataset501_A", TINY_MODEL, [nan], truth())
    with pytest.raises(ChannelError, match="1 channels"):
        add_training_case(tmp_path / "Dataset501_A", TINY_MODEL, [image(), image(1)], truth())
    assert not list(tmp_path.iterdir())


def test_a_data_set_of_another_task_is_refused_and_stays_as_it_is(tmp_path):
    folder = tmp_path / "Dataset501_A"
    add_training_case(folder, TINY_MODEL, [image()], truth())
    before = everything(folder)
    other = tiny_model(labels=(Label(1, "heart", (1, 1, 1)), Label(2, "lung", (2, 2, 2))))
    with pytest.raises(OptionError, match=r"another task.*heart"):
        add_training_case(folder, other, [image()], truth(model=other))
    assert everything(folder) == before


def test_other_entries_of_a_dataset_json_are_kept(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    description = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "spleen": 1, "liver": 2},
        "numTraining": 0,
        "file_ending": ".nrrd",
        "licence": "ours",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    case = add_training_case(folder, TINY_MODEL, [image()], truth())
    assert (folder / "imagesTr" / f"{case.name}_0000.nrrd").is_file()
    assert json.loads((folder / "dataset.json").read_text()) == {**description, "numTraining": 1}


def test_a_left_handed_oblique_grid_is_written_as_it_is_or_refused(tmp_path):
    flipped = replace(GRID, direction=tuple((rotation(12, -7, 30) * [1, 1, -1]).ravel()))
    labelmap = np.random.default_rng(0).integers(0, 3, flipped.shape).astype(np.uint8)
    channel = image(0, flipped)
    case = add_training_case(
        tmp_path / "Dataset501_A", TINY_MODEL, [channel], truth(labelmap, geometry=flipped)
    )
    written = read_volume(case.folder / "imagesTr" / f"{case.name}_0000.nii.gz")
    assert written.geometry.close_to(flipped)
    assert np.array_equal(written.array[0], channel.array)


@pytest.mark.parametrize("failing", ["write_image", "write_description", "rename"])
def test_a_failure_leaves_no_file_of_the_case(tmp_path, monkeypatch, failing):
    folder = tmp_path / "Dataset501_A"
    add_training_case(folder, TINY_MODEL, [image()], truth())
    before = everything(folder)

    def fail(*_arguments, **_named):
        raise OutputError("no")

    target = {
        "write_image": "mednext.images.formats.image_files.write_image",
        "write_description": "mednext.training_set.case.write_description",
        "rename": "pathlib.Path.rename",
    }[failing]
    monkeypatch.setattr(target, fail)
    with pytest.raises(OutputError):
        add_training_case(folder, TINY_MODEL, [image()], truth())
    monkeypatch.undo()
    assert everything(folder) == before


def test_the_folder_is_a_data_set_or_has_one_for_the_task(tmp_path):
    assert dataset_folder(tmp_path, TINY_MODEL).name == "Dataset501_Test"
    (tmp_path / "Dataset507_Other").mkdir()
    assert dataset_folder(tmp_path, TINY_MODEL).name == "Dataset508_Test"
    (tmp_path / "Dataset612_Test").mkdir()
    assert dataset_folder(tmp_path, TINY_MODEL) == tmp_path / "Dataset612_Test"
    assert dataset_folder(tmp_path / "Dataset612_Test", TINY_MODEL) == tmp_path / "Dataset612_Test"
    with pytest.raises(OutputError, match="does not exist"):
        dataset_folder(tmp_path / "gone", TINY_MODEL)


def test_label_values_with_gaps_are_refused(tmp_path):
    model = tiny_model(labels=(Label(1, "spleen", (1, 1, 1)), Label(5, "liver", (2, 2, 2))))
    with pytest.raises(OptionError, match=r"\[1, 5\]"):
        add_training_case(tmp_path / "Dataset501_A", model, [image()], truth(labels(top=1), model))
    assert not list(tmp_path.iterdir())


def test_a_data_set_with_voxels_that_nobody_annotated_takes_cases_of_its_model(tmp_path):
    folder = tmp_path / "Dataset501_A"
    add_training_case(folder, TINY_MODEL, [image()], truth())
    said = json.loads((folder / "dataset.json").read_text())
    said["labels"]["ignore"] = len(said["labels"])
    (folder / "dataset.json").write_text(json.dumps(said))
    add_training_case(folder, TINY_MODEL, [image()], truth())
    kept = json.loads((folder / "dataset.json").read_text())
    assert kept == said | {"numTraining": 2}
