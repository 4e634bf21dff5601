"""An imported model is mirrored along the axes along which its training mirrored, and along no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.models.results_folders import V2_DATASET, write_v1_folder, write_v2_folder
from mednext.checkpoints import ImportOptions, import_checkpoint
from mednext.checkpoints.nnunet.mirroring import axes_of_trainer
from mednext.errors import CheckpointError, OptionError

NO_SIDES = ImportOptions(orientation="RAS", labels={1: "spleen", 2: "liver"})
SIDES = replace(NO_SIDES, labels={1: "spleen", 2: "left lung"})
WITHOUT_SIDES: dict[str, Any] = {**V2_DATASET, "labels": {"background": 0, "spleen": 1, "liver": 2}}


def imported_v1(folder: Path, trainer: str, options: ImportOptions = NO_SIDES) -> tuple[int, ...]:
    """The axes of a model imported from this trainer of nnU-Net v1."""
    write_v1_folder(folder / "v1", trainer=trainer)
    return import_checkpoint(folder / "v1", folder / "model", options).model.mirror_axes


@pytest.mark.parametrize(
    ("trainer", "axes"),
    [
        ("nnUNetTrainerV2", (0, 1, 2)),
        ("nnUNetTrainerV2_MedNeXt_S_kernel3", (0, 1, 2)),
        ("nnUNetTrainerV2_MedNeXt_L_kernel5", (0, 1, 2)),
        ("nnUNetTrainerV2_MedNeXt_B_kernel5_lr_25e_5", (0, 1, 2)),
        ("nnUNetTrainerV2_insaneDA", (0, 1, 2)),
        ("nnUNetTrainerV2_DA5", (0, 1, 2)),
        ("nnUNetTrainerV2_noDeepSupervision", (0, 1, 2)),
        ("nnUNetTrainerDA5", (0, 1, 2)),
        ("nnUNetTrainer_noDummy2DDA", (0, 1, 2)),
        ("nnUNetTrainerBenchmark_5epochs_noDataLoading", (0, 1, 2)),
        ("nnUNetTrainerMedNeXt_L_k5", (0, 1, 2)),
        ("nnUNetTrainerV2_noMirroring", ()),
        ("nnUNetTrainerV2_noDataAugmentation", ()),
        ("nnUNetTrainerNoDA", ()),
        ("nnUNetTrainerNoMirroring", ()),
        ("nnUNetTrainer_DASegOrd0_NoMirroring", ()),
        ("nnUNetTrainer_onlyMirror01", (0, 1)),
        ("nnUNetTrainer_onlyMirror01_DA5", (0, 1)),
        ("nnUNetTrainerV2_MedNeXt_S_kernel3_nomirror", ()),
        ("nnUNetTrainerV2_MedNeXt_S_kernel3_no_mirroring", ()),
        ("nnUNetTrainerV2_MedNeXt_S_kernel3_onlyMirror2", (2,)),
        ("nnUNetTrainerV2_MedNeXt_S_kernel3_myLoss", None),
        ("nnUNetTrainerV2_MedNeXt_S_kernel7", None),
        ("nnUNetTrainerInsaneDA_ours", None),
        ("MyTrainer", None),
        ("", None),
    ],
)
def test_the_axes_of_known_trainers_are_found_by_their_names(
    trainer: str, axes: tuple[int, ...] | None
) -> None:
    assert axes_of_trainer(trainer) == axes


def test_a_known_trainer_of_v1_decides(tmp_path: Path) -> None:
    assert imported_v1(tmp_path / "all", "nnUNetTrainerV2_MedNeXt_S_kernel3", SIDES) == (0, 1, 2)
    assert imported_v1(tmp_path / "none", "nnUNetTrainerV2_noDataAugmentation", SIDES) == ()


@pytest.mark.parametrize("label", ["left lung", "Kidney_R", "lungLeft", "linke Niere", "kidneyL"])
def test_an_unknown_trainer_of_a_model_that_tells_sides_is_refused(tmp_path: Path, label: str) -> None:
    options = replace(NO_SIDES, labels={1: "spleen", 2: label})
    with pytest.raises(
        CheckpointError, match=r"'MyTrainer' is not known .* left and right.*--mirror-axes none"
    ):
        imported_v1(tmp_path, "MyTrainer", options)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("axes", [(), (0, 1), (0, 1, 2)])
def test_the_users_answer_decides_for_an_unknown_trainer(tmp_path: Path, axes: tuple[int, ...]) -> None:
    assert imported_v1(tmp_path, "MyTrainer", replace(SIDES, mirror_axes=axes)) == axes


def test_without_an_answer_a_model_without_sides_is_not_mirrored_with_a_remark(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert imported_v1(tmp_path, "MyTrainer") == ()
    assert "'MyTrainer' is not known" in caplog.text
    write_v1_folder(tmp_path / "again", trainer="MyTrainer")
    model = import_checkpoint(tmp_path / "again", tmp_path / "other", NO_SIDES).model
    assert "not mirrored" in model.description


def test_an_answer_against_the_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"axes \[0, 1\], so .* along \[2\]"):
        imported_v1(tmp_path, "nnUNetTrainer_onlyMirror01", replace(SIDES, mirror_axes=(0, 1, 2)))


def test_an_answer_may_leave_axes_out(tmp_path: Path) -> None:
    assert imported_v1(tmp_path, "nnUNetTrainerV2", replace(SIDES, mirror_axes=(1,))) == (1,)


@pytest.mark.parametrize("axes", [(3,), (0, 0), (-1,), (True,)])
def test_an_answer_with_impossible_axes_is_refused(tmp_path: Path, axes: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="must be among 0, 1 and 2"):
        imported_v1(tmp_path, "MyTrainer", replace(SIDES, mirror_axes=axes))


@pytest.mark.parametrize(("said", "axes"), [((0, 1), (0, 1)), (None, ()), ([2], (2,)), ((), ())])
def test_the_field_of_a_v2_checkpoint_takes_precedence_over_its_trainers_name(
    tmp_path: Path, said: Any, axes: tuple[int, ...]
) -> None:
    write_v2_folder(tmp_path / "v2", mirror_axes=said, trainer="nnUNetTrainer")
    assert import_checkpoint(tmp_path / "v2", tmp_path / "model", NO_SIDES).model.mirror_axes == axes


@pytest.mark.parametrize("said", ["012", 1, [3], [0, 0], [0.0], [True], {0: 1}, [[0]]])
def test_impossible_axes_of_a_v2_checkpoint_are_refused(tmp_path: Path, said: Any) -> None:
    write_v2_folder(tmp_path / "v2", mirror_axes=said)
    with pytest.raises(
        CheckpointError, match=r"'inference_allowed_mirroring_axes' must be a list of the axes"
    ):
        import_checkpoint(tmp_path / "v2", tmp_path / "model", NO_SIDES)


def test_a_v2_checkpoint_without_axes_is_judged_by_its_trainer(tmp_path: Path) -> None:
    write_v2_folder(tmp_path / "v2", mirror_axes="unsaid", trainer="nnUNetTrainer_onlyMirror01")
    assert import_checkpoint(tmp_path / "v2", tmp_path / "model", NO_SIDES).model.mirror_axes == (0, 1)
    write_v2_folder(tmp_path / "own", mirror_axes="unsaid", trainer="OurTrainer")
    with pytest.raises(CheckpointError, match="'OurTrainer' is not known"):
        import_checkpoint(tmp_path / "own", tmp_path / "model", ImportOptions(orientation="RAS"))
    write_v2_folder(tmp_path / "other", mirror_axes="unsaid", trainer="OurTrainer", dataset=WITHOUT_SIDES)
    assert import_checkpoint(tmp_path / "other", tmp_path / "model", NO_SIDES).model.mirror_axes == ()


def test_folds_of_different_trainers_are_refused(tmp_path: Path) -> None:
    import pickle

    write_v1_folder(tmp_path / "v1", folds=(0, 1))
    file = tmp_path / "v1" / "fold_1" / "model_final_checkpoint.model.pkl"
    told = pickle.loads(file.read_bytes())  # noqa: S301
    file.write_bytes(pickle.dumps({**told, "name": "nnUNetTrainerV2_noMirroring"}))
    with pytest.raises(CheckpointError, match=r"trained differently .*noMirroring"):
        import_checkpoint(tmp_path / "v1", tmp_path / "model", SIDES)
