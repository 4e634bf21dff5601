"""A region is a set of labels: its name and its volume never stand for the part beside another region."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model, tiny_regions
from fixtures.models.results_folders import TRAINED_NETWORK, write_v2_folder
from mednext import load_bundle, read_volume, segment
from mednext.checkpoints.import_options import ImportOptions
from mednext.checkpoints.importing import import_checkpoint
from mednext.cli import main
from mednext.errors import CheckpointError, OptionError
from mednext.images.geometry import Geometry
from mednext.inference.labelling.label_writer import LabelWriter
from mednext.inference.labelling.largest_components import keep_largest_components
from mednext.inference.resampling.matrices import axis_weights
from mednext.inference.sliding_window import Block
from mednext.model.description import Model
from mednext.model.labels import Label, Region
from mednext.model.model_file import parse_model
from mednext.segmentation.result import Segmentation
from mednext.system.json_reading import Fields
from mednext.worker.hand_over import HandedOver

GREY = (128, 128, 128)
RAS = ImportOptions(orientation="RAS")
BRATS = {"whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": 3}
WHOLE, CORE, ENHANCING = 4.096, 1.728, 0.512  # mL of cubes with sides of 16, 12 and 8 mm


def cubes(*sides: int) -> np.ndarray:
    """For each side the mask of a cube around the middle of 20 x 20 x 20 voxels."""
    index = np.abs(np.indices((20, 20, 20)) - 9.5).max(axis=0)
    return np.stack([index < side / 2 for side in sides])


def found(model: Model, masks: np.ndarray) -> Segmentation:
    """The segmentation by a network whose output channels are these masks, `(K, Z, Y, X)`."""
    logits = torch.from_numpy(np.where(masks, 4.0, -4.0).astype(np.float32))
    labels = np.zeros(masks.shape[1:], dtype=np.uint8)
    writer = LabelWriter(model, [axis_weights(n, n, 1) for n in labels.shape], labels)
    writer.add(Block(0, 0, logits))
    writer.finish()
    grid = Geometry.from_ijk_to_ras(np.eye(4), labels.shape[::-1])
    return Segmentation(
        labels, grid, model.labels, {"model": model.name}, None, model.regions
    ).telling_regions()


def of_regions(order: Sequence[int], **regions: Sequence[int]) -> Model:
    """A model of these regions, with the labels that an import would give it."""
    from mednext.checkpoints.region_naming import name_regions

    labels, named = name_regions(regions, tuple(order), RAS)
    network = replace(TINY_NETWORK, num_classes=len(regions))
    changes = {"labels": labels, "regions": named, "regions_class_order": tuple(order)}
    return tiny_model(network=network, output="regions", **changes)


def imported(folder: Path, labels: dict[str, Any], order: list[int], options: ImportOptions = RAS) -> Model:
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **labels},
        "regions_class_order": order,
    }
    network = replace(TRAINED_NETWORK, num_classes=len(labels))
    write_v2_folder(folder / "v2", dataset=dataset, network=network)
    return import_checkpoint(folder / "v2", folder / "model", options).model


def test_an_imported_whole_tumor_has_the_volume_of_the_region(tmp_path: Path) -> None:
    result = found(imported(tmp_path, BRATS, [1, 2, 3]), cubes(16, 12, 8))
    assert result.volumes_ml() == pytest.approx(
        {
            "whole tumor": WHOLE,
            "tumor core": CORE,
            "enhancing tumor": ENHANCING,
            "peritumoral edema": WHOLE - CORE,
            "necrotic tumor core": CORE - ENHANCING,
        }
    )


def test_labels_of_regions_that_no_task_knows_are_named_by_their_regions(tmp_path: Path) -> None:
    labels = {"kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2}
    model = imported(tmp_path, labels, [1, 3, 2])
    assert {label.value: label.name for label in model.labels} == {
        1: "kidney without masses",
        2: "tumor",
        3: "masses without tumor",
    }
    assert found(model, cubes(16, 12, 8)).volumes_ml() == pytest.approx(
        {
            "kidney": WHOLE,
            "masses": CORE,
            "tumor": ENHANCING,
            "kidney without masses": WHOLE - CORE,
            "masses without tumor": CORE - ENHANCING,
        }
    )


def test_the_catalog_names_labels_by_their_regions_not_by_their_values(tmp_path: Path) -> None:
    labels = {"Whole_Tumour": [1, 2, 3], "Tumour_Core": [1, 3], "Enhancing_Tumour": [3]}  # BraTS 2023
    model = imported(tmp_path, labels, [2, 1, 3])
    assert {label.value: label.name for label in model.labels} == {
        1: "necrotic tumor core",
        2: "peritumoral edema",
        3: "Enhancing_Tumour",
    }
    assert [region.terminology is not None for region in model.regions] == [True, True, True]


def test_labels_that_only_a_task_distinguishes_get_none_of_its_names(tmp_path: Path) -> None:
    labels = {"whole tumor": [1, 2, 3, 4], "tumor core": [1, 2, 3], "enhancing tumor": [1]}  # BraTS-PED
    model = imported(tmp_path, labels, [4, 2, 1])
    assert {label.value: label.name for label in model.labels} == {
        1: "enhancing tumor",
        2: "tumor core without enhancing tumor",
        4: "peritumoral edema",
    }
    assert found(model, cubes(16, 12, 8)).volumes_ml()["tumor core"] == pytest.approx(CORE)


def test_the_user_may_name_the_labels_but_not_as_a_region(tmp_path: Path) -> None:
    named = replace(RAS, labels={1: "edema", 2: "necrosis", 3: "enhancing"})
    model = imported(tmp_path, BRATS, [1, 2, 3], named)
    assert [label.name for label in model.labels] == ["edema", "necrosis", "enhancing"]
    wrong = replace(RAS, labels={1: "whole tumor", 2: "tumor core", 3: "enhancing tumor"})
    with pytest.raises(Exception, match="'whole tumor' is the name of label 1 and of the region"):
        import_checkpoint(tmp_path / "v2", tmp_path / "other", wrong)


def test_a_region_that_is_painted_with_the_label_of_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'tumor core' with label 1 .* labels are \[2, 3\]"):
        imported(tmp_path, BRATS, [2, 1, 3])


def test_painted_labels_that_are_in_no_region_belong_to_the_region_they_are_painted_for() -> None:
    model = of_regions((4, 5, 6), outer=(1, 2, 3), middle=(2, 3), inner=(3,))
    result = found(model, cubes(16, 12, 8))
    assert set(np.unique(result.labelmap)) == {0, 4, 5, 6}
    volumes = result.volumes_ml()
    assert [volumes[name] for name in ("outer", "middle", "inner")] == pytest.approx([WHOLE, CORE, ENHANCING])


def test_regions_that_share_a_label_both_have_their_whole_volume() -> None:
    left, right = np.zeros((2, 20, 20, 20), dtype=bool)
    left[:, :, :12], right[:, :, 8:] = True, True
    model = of_regions((1, 3), left=(1, 2), right=(2, 3))
    result = found(model, np.stack([left, right]))
    assert [label.name for label in model.labels] == [
        "left without right",
        "both left and right",
        "right without left",
    ]
    assert list(result.volumes_ml().values()) == pytest.approx([4.8, 4.8, 3.2, 1.6, 3.2])


def test_a_label_without_a_region_of_its_own_is_found_where_no_region_is_inside() -> None:
    model = of_regions((2, 3), lobe=(1, 2, 3), nodule=(3,))
    assert [(label.value, label.name) for label in model.labels] == [
        (2, "lobe without nodule"),
        (3, "nodule"),
    ]
    volumes = found(model, cubes(16, 8)).volumes_ml()
    assert volumes == pytest.approx(
        {"lobe": WHOLE, "nodule": ENHANCING, "lobe without nodule": WHOLE - ENHANCING}
    )


def test_a_voxel_of_an_inner_region_alone_belongs_to_the_outer_ones_too() -> None:
    masks = cubes(16, 12, 8)
    masks[:2] = False
    volumes = found(tiny_model(**tiny_regions()), masks).volumes_ml()
    names = ("whole tumor", "tumor core", "enhancing tumor")
    assert [volumes[name] for name in names] == pytest.approx([ENHANCING] * 3)


def test_labels_of_a_softmax_make_up_regions_too() -> None:
    regions = (Region("spleen and liver", (1, 2), GREY),)
    model = tiny_model(regions=regions)
    assert (
        parse_model(Fields({**model.to_json(), "folds": [FOLD]}, "model.json", OptionError)).regions
        == regions
    )
    masks = np.concatenate([~cubes(16), cubes(16) & ~cubes(8), cubes(8)])
    assert found(model, masks).volumes_ml()["spleen and liver"] == pytest.approx(WHOLE)


FOLD = {"index": 0, "file": "fold_0.safetensors", "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("names", "labels", "regions"),
    [
        (
            ("whole tumor", "tumor core", "enhancing tumor"),
            ["whole tumor without tumor core", "tumor core without enhancing tumor", "enhancing tumor"],
            ["whole tumor", "tumor core", "enhancing tumor"],
        ),
        (
            ("tumor with edema", "tumor core", "enhancing tumor"),
            ["tumor with edema without tumor core", "tumor core without enhancing tumor", "enhancing tumor"],
            ["tumor with edema", "tumor core", "enhancing tumor"],
        ),
        (
            ("edema", "necrotic core", "enhancing tumor"),
            ["edema", "necrotic core", "enhancing tumor"],
            ["edema + necrotic core + enhancing tumor", "necrotic core + enhancing tumor", "enhancing tumor"],
        ),
    ],
)
def test_bundles_of_the_first_versions_open_and_are_right(
    names: Sequence[str], labels: list[str], regions: list[str]
) -> None:
    sets = {1: [1, 2, 3], 2: [2, 3], 3: [3]}
    data = tiny_model(**tiny_regions()).to_json()
    del data["regions"]
    data["labels"] = [
        {"value": value, "name": name, "color": list(GREY), "region": sets[value]}
        for value, name in enumerate(names, 1)
    ]
    data["folds"] = [FOLD]
    model = parse_model(Fields(data, "model.json", OptionError))
    assert [label.name for label in model.labels] == labels
    assert [region.name for region in model.regions] == regions
    volumes = found(model, cubes(16, 12, 8)).volumes_ml()
    assert [volumes[name] for name in regions] == pytest.approx([WHOLE, CORE, ENHANCING])
    assert volumes[labels[0]] == pytest.approx(WHOLE - CORE)


def test_the_largest_component_of_a_region_is_that_of_all_its_labels() -> None:
    model = tiny_model(**tiny_regions(keep_largest=(1,)))
    labels = np.zeros((4, 6, 20), dtype=np.uint8)
    labels[1:3, 1:5, 1:5], labels[1:3, 1:5, 5:8], labels[1:3, 1:5, 8:11] = 1, 2, 1
    labels[1:3, 1:3, 15:17] = 3
    expected = labels * (np.arange(20) < 12)
    keep_largest_components(labels, model.kept_largest, fully_connected=True)
    np.testing.assert_array_equal(labels, expected)


def test_a_region_is_chosen_with_its_labels_and_left_out_with_any_of_them() -> None:
    result = found(tiny_model(**tiny_regions()), cubes(16, 12, 8))
    core = result.only(["tumor core"])
    assert list(core.volumes_ml()) == ["tumor core", "enhancing tumor", "necrosis"]
    assert "whole tumor" not in result.only(["edema"]).volumes_ml()
    assert "whole tumor" not in result.only(["edema"]).provenance.get("regions", "")
    with pytest.raises(OptionError, match="choose at least one of whole tumor, tumor core"):
        result.only(["tumour"])


def test_the_provenance_has_labels_and_volume_of_each_region() -> None:
    told = found(tiny_model(**tiny_regions()), cubes(16, 12, 8)).provenance["regions"]
    assert told.startswith("whole tumor = 1 + 2 + 3: 4.0960 mL; tumor core = 2 + 3: 1.7280 mL;")


def test_the_worker_returns_regions(tmp_path: Path) -> None:
    result = found(tiny_model(**tiny_regions()), cubes(16, 12, 8))
    HandedOver.of(result).write(tmp_path)
    assert HandedOver.read(tmp_path).segmentation().volumes_ml() == result.volumes_ml()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_bundle(tmp_path / "brats", mirror_axes=(), **tiny_regions()).path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    array = np.random.default_rng(1).normal(100, 20, (20, 28, 30)).astype(np.float32)
    (tmp_path / "images").mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "images" / "head.nii.gz"))
    return tmp_path / "images" / "head.nii.gz"


@pytest.mark.parametrize("name", ["out.seg.nrrd", "out.nii.gz"])
def test_the_command_line_reports_regions_and_writes_labels(
    bundle: Path, image: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / name
    main(["segment", str(image), "--model", str(bundle), "-o", str(output), "--device", "cpu", "--json"])
    told = json.loads(capsys.readouterr().out)
    labelmap = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))
    assert told["volumes_ml"]["whole tumor"] == pytest.approx(np.count_nonzero(labelmap) / 1000)
    assert told["volumes_ml"]["edema"] == pytest.approx(np.count_nonzero(labelmap == 1) / 1000)
    assert told["regions"]["tumor core"]["labels"] == [2, 3]
    assert told["regions"]["tumor core"]["volume_ml"] == told["volumes_ml"]["tumor core"]
    if name.endswith(".seg.nrrd"):
        words = sitk.ReadImage(str(output))
        keys = [key for key in words.GetMetaDataKeys() if key.startswith("Segment") and key.endswith("_Name")]
        assert {words.GetMetaData(key) for key in keys} == {"edema", "necrosis", "enhancing tumor"}
        assert words.GetMetaData("MedNeXtSegmentation_regions").startswith("whole tumor = 1 + 2 + 3: ")


def test_the_text_of_the_command_line_lists_the_labels_of_a_region(
    bundle: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["segment", str(image), "--model", str(bundle), "-o", str(tmp_path / "a.nrrd"), "--device", "cpu"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("whole tumor ")
    assert lines[0].endswith(" mL  = edema + necrosis + enhancing tumor")


def test_the_report_of_a_batch_has_regions_and_labels_also_of_skipped_cases(
    bundle: Path, image: Path, tmp_path: Path
) -> None:
    options = ["--model", str(bundle), "--device", "cpu", "--quiet"]
    rows = []
    for _ in range(2):
        main(["segment-folder", str(image.parent), str(tmp_path / "out"), *options])
        with (tmp_path / "out" / "report.csv").open(encoding="utf-8-sig", newline="") as file:
            rows += list(csv.DictReader(file))
    result = segment(read_volume(image), load_bundle(bundle), device="cpu").volumes_ml()
    assert {name: float(rows[0][f"{name} (mL)"]) for name in result} == pytest.approx(result, abs=1e-4)
    assert rows[0] == rows[1]


def test_a_bundle_keeps_its_regions(bundle: Path) -> None:
    model = load_bundle(bundle).model
    assert [region.name for region in model.regions] == ["whole tumor", "tumor core", "enhancing tumor"]
    assert all(isinstance(label, Label) and not label.region for label in model.labels)
