"""The layouts in which people publish trainings of nnU-Net: found, reported, or refused with a reason."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_weights
from fixtures.models.results_folders import (
    CT_INTENSITIES,
    TRAINED_NETWORK,
    V2_DATASET,
    assert_same_output,
    v1_plans,
    v2_plans,
    write_v1_folder,
    write_v2_folder,
)
from mednext.checkpoints import ImportOptions, examine_checkpoint, import_checkpoint
from mednext.checkpoints.import_report import ImportReport
from mednext.errors import CheckpointError, IncompatibleCheckpointError, OptionError
from safetensors.torch import save_file

RAS = ImportOptions(orientation="RAS", half=False)
NAMED = replace(RAS, labels={1: "spleen", 2: "liver"})


def value_of(report: ImportReport, fact: str) -> str:
    return next(row.value for row in report.rows if row.fact == fact)


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    write_v2_folder(tmp_path / "v2", folds=(0, 1))
    return tmp_path / "v2"


@pytest.mark.parametrize("flat", [False, True], ids=["fold_0", "flat"])
def test_plans_are_taken_out_of_the_file_beside_the_weights(tmp_path: Path, flat: bool) -> None:
    weights = write_v1_folder(tmp_path / "v1")
    (tmp_path / "v1" / "plans.pkl").unlink()
    source = tmp_path / "v1"
    if flat:
        source = (tmp_path / "v1" / "fold_0").rename(tmp_path / "published")
    bundle = import_checkpoint(source, tmp_path / "model", NAMED)
    assert_same_output(bundle, 0, TRAINED_NETWORK, weights[0])
    assert bundle.model.spacing == (1.5, 1.0, 1.0)


@pytest.mark.parametrize("folder", [True, False], ids=["the folder", "the file"])
def test_model_best_alone_is_taken_and_said(tmp_path: Path, folder: bool) -> None:
    write_v1_folder(tmp_path / "v1")
    for file in list((tmp_path / "v1" / "fold_0").iterdir()):
        file.rename(tmp_path / file.name.replace("model_final_checkpoint", "model_best"))
    shutil.rmtree(tmp_path / "v1")
    bundle = import_checkpoint(
        tmp_path if folder else tmp_path / "model_best.model", tmp_path / "out" / "m", NAMED
    )
    assert "model_best.model" in bundle.model.description
    assert folder == ("model_best.model was taken, the only one" in bundle.model.description)


def test_weights_of_v1_without_their_partner_are_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    (tmp_path / "v1" / "fold_0" / "model_final_checkpoint.model.pkl").unlink()
    with pytest.raises(CheckpointError, match=r"model_final_checkpoint\.model\.pkl cannot be read"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED)


def test_folds_of_v1_with_other_intensities_than_the_plans_are_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    plans = v1_plans()
    plans["dataset_properties"]["intensityproperties"][0]["sd"] = 1.0
    (tmp_path / "v1" / "plans.pkl").write_bytes(pickle.dumps(plans))
    with pytest.raises(CheckpointError, match="differ in 'sd of channel 0'"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED)


def test_a_trainer_of_regions_is_refused_as_v1_does_not_record_their_order(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1", trainer="nnUNetTrainerV2BraTSRegions_BN")
    with pytest.raises(IncompatibleCheckpointError, match="does not record"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", NAMED)


def test_a_dataset_json_of_another_training_is_refused(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1")
    labels = {"0": "background", "1": "a", "2": "b", "3": "c"}
    (tmp_path / "v1" / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(CheckpointError, match=r"names the labels \[1, 2, 3\], but the plans have \[1, 2\]"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", RAS)


def test_without_names_orientation_and_mirroring_the_report_asks_for_them(tmp_path: Path) -> None:
    write_v1_folder(tmp_path / "v1", trainer="MyTrainer")
    report = examine_checkpoint(tmp_path / "v1", "model", ImportOptions())
    assert {each.option for each in report.questions} == {"labels", "orientation"}
    assert value_of(report, "labels") == value_of(report, "orientation") == "?"
    sided = examine_checkpoint(tmp_path / "v1", "model", ImportOptions(labels={1: "left lung", 2: "x"}))
    assert {each.option for each in sided.questions} == {"orientation", "mirror_axes"}
    assert value_of(sided, "mirroring") == "?"


@pytest.mark.parametrize("where", ["folder", "fold"])
@pytest.mark.parametrize("name", ["plans.json", "nnUNetPlans.json"])
def test_plans_may_have_their_older_name_and_lie_in_the_fold(v2: Path, name: str, where: str) -> None:
    place = v2 if where == "folder" else v2 / "fold_0"
    (v2 / "plans.json").rename(place / name)
    (v2 / "dataset.json").rename(place / "dataset.json")
    source = v2 if where == "folder" else v2 / "fold_0"
    assert import_checkpoint(source, v2.parent / "model", RAS).model.network == TINY_NETWORK


def test_two_different_plans_are_refused(v2: Path) -> None:
    (v2 / "nnUNetPlans.json").write_text(json.dumps(v2_plans(spacing=[9.0, 1.0, 1.0])))
    with pytest.raises(CheckpointError, match=r"plans\.json and .*nnUNetPlans\.json differ"):
        import_checkpoint(v2, v2.parent / "model", RAS)


def test_a_checkpoint_alone_has_plans_and_data_set_in_itself(v2: Path, tmp_path: Path) -> None:
    file = (v2 / "fold_1" / "checkpoint_final.pth").rename(tmp_path / "brats_fold1.pt")
    bundle = import_checkpoint(file, tmp_path / "model", RAS)
    assert [label.name for label in bundle.model.labels] == ["spleen", "left_lung"]
    assert bundle.model.channels[0].mean == CT_INTENSITIES["mean"]


@pytest.mark.parametrize("file", ["plans.json", "dataset.json"])
def test_a_missing_description_is_named(tmp_path: Path, file: str) -> None:
    write_v2_folder(tmp_path / "v2", told_plans=False)
    path = tmp_path / "v2" / "fold_0" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["init_args"]["dataset_json"]
    torch.save(checkpoint, path)
    (tmp_path / "v2" / file).unlink()
    with pytest.raises(CheckpointError, match=f"There is no {file}"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def write_safetensors(folder: Path, metadata: dict[str, Any] | None, nested: bool = False) -> None:
    (folder / "fold_0").mkdir(parents=True)
    (folder / "nnUNetPlans.json").write_text(json.dumps(v2_plans()))
    (folder / "dataset.json").write_text(json.dumps(V2_DATASET))
    save_file(tiny_weights(TRAINED_NETWORK), folder / "fold_0" / "model.safetensors")
    if metadata is not None:
        place = folder / "fold_0" if nested else folder
        (place / "metadata.json").write_text(json.dumps(metadata))


TOLD = {
    "trainer_name": "nnUNetTrainerMedNeXt_S_k3",
    "configuration": "3d_mednext",
    "inference_allowed_mirroring_axes": [0, 1],
}


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    "metadata",
    [
        TOLD,
        {
            **{k: v for k, v in TOLD.items() if k != "configuration"},
            "init_args": {"configuration": "3d_mednext"},
        },
    ],
    ids=["flat", "init_args"],
)
def test_safetensors_with_metadata_are_imported(
    tmp_path: Path, nested: bool, metadata: dict[str, Any]
) -> None:
    write_safetensors(tmp_path / "published", metadata, nested)
    bundle = import_checkpoint(tmp_path / "published", tmp_path / "model", RAS)
    assert bundle.model.mirror_axes == (0, 1)
    assert_same_output(bundle, 0, TRAINED_NETWORK, tiny_weights(TRAINED_NETWORK))


def test_safetensors_without_metadata_leave_questions(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "published", None)
    report = examine_checkpoint(tmp_path / "published", "model", RAS)
    asked = {each.option: each.choices for each in report.questions}
    assert asked == {"configuration": ("3d_fullres", "3d_mednext"), "mirror_axes": ()}
    told = replace(RAS, configuration="3d_mednext", mirror_axes=())
    assert not examine_checkpoint(tmp_path / "published", "model", told).questions


def test_another_configuration_than_the_checkpoints_is_refused(v2: Path) -> None:
    with pytest.raises(OptionError, match="'3d_mednext', not '3d_fullres'"):
        import_checkpoint(v2, v2.parent / "model", replace(RAS, configuration="3d_fullres"))


def test_checkpoint_best_alone_is_taken_and_said(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", folds=(0, 1), file="checkpoint_best.pth")
    report = examine_checkpoint(tmp_path / "v2", "model", RAS)
    assert any("checkpoint_best.pth was taken, the only one" in remark for remark in report.remarks)
    bundle = import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)
    assert "checkpoint_best.pth was taken" in bundle.model.description


def test_folds_of_which_some_have_the_best_weights_only_are_refused(v2: Path) -> None:
    fold = v2 / "fold_1"
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")
    with pytest.raises(CheckpointError, match=r"Fold 1 of .* has no checkpoint_final\.pth"):
        import_checkpoint(v2, v2.parent / "model", RAS)


def test_an_unfinished_training_is_refused(v2: Path) -> None:
    for fold in ("fold_0", "fold_1"):
        (v2 / fold / "checkpoint_final.pth").rename(v2 / fold / "checkpoint_latest.pth")
    with pytest.raises(CheckpointError, match=r"no checkpoint_final"):
        import_checkpoint(v2, v2.parent / "model", RAS)
    with pytest.raises(CheckpointError, match="of an unfinished training"):
        import_checkpoint(v2 / "fold_0" / "checkpoint_latest.pth", v2.parent / "model", RAS)
    write_v1_folder(v2.parent / "v1")
    for file in sorted((v2.parent / "v1" / "fold_0").iterdir()):
        file.rename(file.with_name(file.name.replace("final_checkpoint", "ep_050")))
    with pytest.raises(CheckpointError, match="of an unfinished training"):
        import_checkpoint(v2.parent / "v1" / "fold_0" / "model_ep_050.model", v2.parent / "model", NAMED)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"labels": {"background": 0, "left_lung": 1, "spleen": 2}}, "labels"),
        ({"channel_names": {"0": "MR"}}, "channel_names"),
    ],
)
def test_a_data_set_that_is_not_that_of_the_training_is_refused(
    v2: Path, changes: dict[str, Any], field: str
) -> None:
    (v2 / "dataset.json").write_text(json.dumps({**V2_DATASET, **changes}))
    with pytest.raises(CheckpointError, match=f"another data set than .* differ in '{field}'"):
        import_checkpoint(v2, v2.parent / "model", RAS)


REGIONS = {
    "channel_names": {"0": "CT"},
    "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3},
    "regions_class_order": [1, 2, 3],
}


def test_regions_in_another_order_than_the_trainings_are_refused(tmp_path: Path) -> None:
    """Their order is that of the output channels."""
    write_v2_folder(tmp_path / "v2", dataset=REGIONS)
    labels = dict(reversed(REGIONS["labels"].items()))  # type: ignore[attr-defined]
    (tmp_path / "v2" / "dataset.json").write_text(json.dumps({**REGIONS, "labels": labels}))
    with pytest.raises(CheckpointError, match="differ in 'labels'"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_labels_in_lists_of_one_are_labels_and_not_regions(tmp_path: Path) -> None:
    labels = {"background": 0, "spleen": [1], "left_lung": "2"}
    write_v2_folder(tmp_path / "v2", dataset={**V2_DATASET, "labels": labels})
    model = import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model
    assert model.output == "softmax"
    assert [(label.value, label.name) for label in model.labels] == [(1, "spleen"), (2, "left_lung")]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"background": 1, "liver": 0, "x": 2}, "the background is 0"),
        ({"0": "background", "1": "spleen", "2": "x"}, "a number from 0 to 255"),
        ({"background": 0, "spleen": 1, "ignore": 2, "x": 3}, "the label values are"),
        ({"background": 0, "a": 1, "b": 3}, "the label values are"),
        ({"background": 0, "whole": [1, 2], "core": 2, "x": 3}, "regions_class_order"),
        ({"background": 0, "whole": [0, 1], "core": 2, "x": 3}, "regions without the background"),
    ],
    ids=["background", "v1", "ignore", "gap", "no order", "background in a region"],
)
def test_labels_that_nnunet_could_not_have_trained_are_refused(
    tmp_path: Path, labels: dict[str, Any], message: str
) -> None:
    write_v2_folder(tmp_path / "v2", dataset={**V2_DATASET, "labels": labels})
    with pytest.raises(Exception, match=message) as refused:
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)
    assert type(refused.value).__module__ == "mednext.errors"


@pytest.mark.parametrize("missing", ["mean", "std", "percentile_00_5", "percentile_99_5"])
def test_a_ct_without_its_statistics_is_refused(tmp_path: Path, missing: str) -> None:
    plans = v2_plans()
    del plans["foreground_intensity_properties_per_channel"]["0"][missing]
    write_v2_folder(tmp_path / "v2", plans=plans)
    with pytest.raises(CheckpointError, match=f"'{missing}' is missing"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_other_intensities_than_the_trainings_are_refused(v2: Path) -> None:
    plans = v2_plans()
    plans["foreground_intensity_properties_per_channel"]["0"]["mean"] = 0.0
    (v2 / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(CheckpointError, match="foreground_intensity_properties_per_channel"):
        import_checkpoint(v2, v2.parent / "model", RAS)


def test_a_label_manager_of_ones_own_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", plans={**v2_plans(), "label_manager": "MyLabelManager"})
    with pytest.raises(CheckpointError, match="MyLabelManager"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_transposed_axes_change_the_orientation(tmp_path: Path) -> None:
    plans = {**v2_plans(), "transpose_forward": [2, 0, 1], "transpose_backward": [1, 2, 0]}
    write_v2_folder(tmp_path / "v2", plans=plans)
    assert import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS).model.orientation == "ASR"
    told = {row.fact: row.source for row in examine_checkpoint(tmp_path / "v2", "model", RAS).rows}
    assert told["orientation"] == "given: RAS, axes transposed as in the plans"


def test_an_orientation_against_nnunets_reader_is_refused(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", plans={**v2_plans(), "image_reader_writer": "NibabelIOWithReorient"})
    with pytest.raises(OptionError, match="brought the training images to RAS"):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", replace(RAS, orientation="LPS"))
    report = examine_checkpoint(tmp_path / "v2", "model", ImportOptions())
    assert value_of(report, "orientation") == "RAS"


@pytest.mark.parametrize("options", [{"folds": (1,)}, {"checkpoint": "best"}], ids=["fold", "best"])
def test_an_option_that_chooses_another_file_than_the_given_one_is_refused(
    v2: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match=r"other folds are chosen|best weights are chosen"):
        import_checkpoint(
            v2 / "fold_0" / "checkpoint_final.pth", v2.parent / "model", replace(RAS, **options)
        )


def test_folds_of_different_networks_are_named_in_words(v2: Path) -> None:
    path = v2 / "fold_1" / "checkpoint_final.pth"
    checkpoint = torch.load(path, weights_only=False)
    checkpoint["network_weights"] = tiny_weights(replace(TRAINED_NETWORK, kernel_size=5))
    torch.save(checkpoint, path)
    with pytest.raises(IncompatibleCheckpointError, match=r"fold 1 is MedNeXt, kernel 5.*kernel 3"):
        import_checkpoint(v2, v2.parent / "model", RAS)


def test_a_model_is_not_imported_but_installed(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    with pytest.raises(CheckpointError, match="a model already"):
        import_checkpoint(tmp_path / "tiny", tmp_path / "model", RAS)


def test_the_only_training_in_a_folder_is_found(v2: Path, tmp_path: Path) -> None:
    (tmp_path / "outer" / "Dataset999_Tiny").mkdir(parents=True)
    v2.rename(tmp_path / "outer" / "Dataset999_Tiny" / "trainer__plans__3d_fullres")
    assert import_checkpoint(tmp_path / "outer", tmp_path / "model", RAS).model.network == TINY_NETWORK


def test_of_several_trainings_the_user_chooses(v2: Path, tmp_path: Path) -> None:
    for name in ("a__p__3d_fullres", "b__p__3d_lowres"):
        shutil.copytree(v2, tmp_path / "outer" / name)
    with pytest.raises(CheckpointError, match="several trainings: a__p__3d_fullres, b__p__3d_lowres"):
        import_checkpoint(tmp_path / "outer", tmp_path / "model", RAS)


def test_a_zip_file_with_nested_folders_is_imported(v2: Path, tmp_path: Path, models: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in v2.rglob("*.*"):
            if file.is_file():
                archive.write(file, f"Dataset999_Tiny/trainer__plans__3d/{file.relative_to(v2)}")
    bundle = import_checkpoint(tmp_path / "export.zip", tmp_path / "model", RAS)
    assert [fold.index for fold in bundle.model.folds] == [0, 1]
    assert not any(models.iterdir()), "nothing unpacked stays"


def test_a_zip_bomb_is_refused(tmp_path: Path, models: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("fold_0/checkpoint_final.pth", bytes(200 * 2**20))
    with pytest.raises(CheckpointError, match="which no model does"):
        import_checkpoint(tmp_path / "bomb.zip", tmp_path / "model", RAS)


def test_a_zip_file_that_leaves_its_folder_is_refused(tmp_path: Path, models: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../plans.json", "{}")
    with pytest.raises(CheckpointError, match="does not stay in its folder"):
        import_checkpoint(tmp_path / "evil.zip", tmp_path / "model", RAS)


def test_links_to_the_files_are_followed(v2: Path, tmp_path: Path) -> None:
    """A download cache of others has links to its files."""
    (tmp_path / "cache" / "fold_0").mkdir(parents=True)
    for name in ("plans.json", "dataset.json", "fold_0/checkpoint_final.pth"):
        (tmp_path / "cache" / name).symlink_to(v2 / name)
    assert import_checkpoint(tmp_path / "cache", tmp_path / "model", RAS).model.network == TINY_NETWORK


def test_a_link_to_itself_is_an_explained_error(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2")
    (tmp_path / "v2" / "fold_0" / "checkpoint_final.pth").unlink()
    (tmp_path / "v2" / "fold_0" / "checkpoint_final.pth").symlink_to("checkpoint_final.pth")
    with pytest.raises(CheckpointError):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", RAS)


def test_the_report_tells_every_fact_and_its_source(v2: Path) -> None:
    report = examine_checkpoint(v2, "model", RAS)
    told = {row.fact: (row.value, row.source) for row in report.rows}
    assert told["weights"][0] == "fold 0: fold_0/checkpoint_final.pth, fold 1: fold_1/checkpoint_final.pth"
    assert told["channels"] == ("0 CT (CT)", "dataset.json")
    assert told["labels"] == ("1 spleen, 2 left_lung", "dataset.json")
    assert told["orientation"] == ("RAS", "given")
    assert told["mirroring"] == ("axes 0, 1, 2", "checkpoint")
    assert told["normalisation"][0] == "CT: clipped to -150 to 310, minus 101.5, divided by 77.25"
    assert told["patch"] == ("16 × 32 × 48 voxels (z, y, x)", "plans, configuration 3d_mednext")
    assert told["pipeline"][0] == "nnU-Net v2"
    assert not report.remarks and not report.questions
    json.dumps(report.to_json())
    assert any(line.startswith("  orientation") and "[given]" in line for line in report.lines())


@pytest.mark.parametrize(
    ("file", "message"),
    [("config.json", "results folder of MIST, which normalises"), ("metadata.json", r"models/fold_0\.pt")],
    ids=["MIST", "MONAI"],
)
def test_a_folder_of_another_program_is_refused_with_the_way_to_import_its_weights(
    tmp_path: Path, file: str, message: str
) -> None:
    (tmp_path / "other" / "models").mkdir(parents=True)
    (tmp_path / "other" / file).write_text("{}")
    torch.save({}, tmp_path / "other" / "models" / "fold_0.pt")
    with pytest.raises(CheckpointError, match=message):
        import_checkpoint(tmp_path / "other", tmp_path / "model", RAS)
