"""Scores equal those of cases made by hand; a distance that cannot be measured is left out by name."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fixtures.models.bundles import tiny_bundle, tiny_model, tiny_regions
from mednext import load_bundle
from mednext.errors import GeometryError, OptionError
from mednext.images.formats.image_files import write_image
from mednext.images.geometry import Geometry
from mednext.model.description import Channel, Fold
from mednext.model.labels import Label, Region
from mednext_training import cli
from mednext_training.datasets import Dataset
from mednext_training.evaluation.case_results import (
    CaseResult,
    compare,
    images_of,
    labels_on,
    markdown_table,
    mean_dice,
    structures_of,
    summary,
    write_csv,
)
from mednext_training.evaluation.kept_largest import KeptLargest
from mednext_training.evaluation.metrics import Score, score
from mednext_training.learnt_cases import warn_of_learnt_cases
from mednext_training.publishing.bundle_export import check_same_names, record_accuracy
from mednext_training.run_record import digest
from scipy.ndimage import binary_erosion, distance_transform_edt, gaussian_filter


def box(*sides: slice) -> np.ndarray:
    mask = np.zeros((20, 20, 20), bool)
    mask[sides] = True
    return mask


CUBE = box(slice(5, 15), slice(5, 15), slice(5, 15))


def test_a_structure_that_is_found_exactly_has_the_best_scores() -> None:
    assert score(CUBE, CUBE, (1, 1, 1)) == Score("found", 1.0, 1.0, 0.0)


def test_scores_of_a_cube_that_is_shifted_are_those_that_one_counts() -> None:
    shifted = box(slice(5, 15), slice(5, 15), slice(8, 18))
    found = score(CUBE, shifted, (1, 1, 1))
    assert found.dice == pytest.approx(0.7)  # 2 * 700 / 2000
    assert found.hd95_mm == pytest.approx(3.0)
    assert found.surface_dice is not None
    # Of four faces 8 of 10 lines lie within 1 mm; of the one within the other cube a rim, of the last none.
    assert found.surface_dice == pytest.approx((4 * 0.8 + 0.5) / 6, abs=0.05)


@pytest.mark.parametrize(("axis", "distance"), [(0, 6.0), (1, 2.0), (2, 1.0)])
def test_distances_are_in_mm_along_each_axis(axis: int, distance: float) -> None:
    shifted = np.roll(CUBE, 2, axis)
    found = score(CUBE, shifted, (3.0, 1.0, 0.5))
    assert found.hd95_mm == pytest.approx(distance)


def test_scores_of_irregular_shapes_equal_those_of_other_programs() -> None:
    noise = gaussian_filter(np.random.default_rng(5).normal(size=(2, 24, 30, 36)), (0, 2, 2, 2))
    truth, result = noise[0] > 0.05, (noise[0] + 0.6 * noise[1]) > 0.06
    spacing = (3.0, 1.0, 0.7)
    found = score(truth, result, spacing)

    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(each.astype(np.uint8)) for each in (truth, result)))
    assert found.dice == pytest.approx(overlap.GetDiceCoefficient())
    edges = [mask & ~binary_erosion(mask) for mask in (np.pad(each, 1) for each in (truth, result))]
    there = [distance_transform_edt(~edge, spacing) for edge in edges]
    one, other = (np.percentile(there[1 - n][edges[n]], 95) for n in (0, 1))
    assert found.hd95_mm == pytest.approx(max(one, other))


def test_surfaces_within_a_millimetre_count_as_found() -> None:
    shifted = np.roll(CUBE, 1, 2)
    assert score(CUBE, shifted, (1, 1, 0.5)).surface_dice == pytest.approx(1.0)
    assert (score(CUBE, shifted, (1, 1, 4)).surface_dice or 0) < 0.9


def test_a_structure_at_the_border_of_the_image_has_a_surface_there() -> None:
    everything = np.ones((8, 8, 8), bool)
    half = everything.copy()
    half[4:] = False
    assert score(everything, half, (1, 1, 1)).hd95_mm == pytest.approx(4.0)


def test_missed_invented_and_absent_structures_are_named_and_have_no_distance() -> None:
    nothing = np.zeros_like(CUBE)
    assert score(CUBE, nothing, (1, 1, 1)) == Score("missed", 0.0, 0.0, None)
    assert score(nothing, CUBE, (1, 1, 1)) == Score("invented", 0.0, 0.0, None)
    assert score(nothing, nothing, (1, 1, 1)) == Score("absent", None, None, None)


def test_a_region_is_measured_as_all_of_its_labels_whatever_a_label_is_called() -> None:
    model = tiny_model(**tiny_regions())
    regions = (replace(model.regions[0], name="edema"), *model.regions[1:])
    truth, result = np.zeros((2, 6, 4, 4), np.uint8)
    truth[:, :2], truth[:3, 2] = 1, 2
    result[:, :2] = 3
    scores = compare(truth, result, structures_of(model.labels, regions), (1, 1, 1))
    assert scores["edema"].dice == pytest.approx(2 * 48 / (48 + 60))
    assert scores["tumor core"].dice == 0.0
    assert scores["necrosis"].state == "missed"


def test_a_label_that_regions_leave_over_stands_for_all_values_that_are_painted_with_it() -> None:
    """As in BraTS 2013, where necrosis (1) and the non-enhancing tumour (3) are the rest of the core."""
    grey = (128, 128, 128)
    labels = [Label(1, "rest of the core", grey), Label(2, "oedema", grey), Label(4, "enhancing tumor", grey)]
    regions = [
        Region("whole tumor", (1, 2, 3, 4), grey),
        Region("tumor core", (1, 3, 4), grey),
        Region("enhancing tumor", (4,), grey),
    ]
    assert structures_of(labels, regions) == {
        "whole tumor": (1, 2, 3, 4),
        "tumor core": (1, 3, 4),
        "enhancing tumor": (4,),
        "rest of the core": (1, 3),
        "oedema": (2,),
    }
    every = [*labels, Label(3, "non-enhancing tumor", grey)]
    assert structures_of(every, regions[:1])["rest of the core"] == (1,)


def results() -> list[CaseResult]:
    found, missed = Score("found", 0.5, 0.6, 2.0), Score("missed", 0.0, 0.0, None)
    absent = Score("absent", None, None, None)
    return [
        CaseResult("a", {"anterior": found, "posterior": absent}, 1.0, 0),
        CaseResult("b", {"anterior": missed, "posterior": Score("found", 0.8, 0.9, 1.0)}, 1.0, 1),
    ]


def test_means_leave_out_absent_structures_and_count_missed_ones() -> None:
    assert mean_dice(results()) == pytest.approx({"anterior": 0.25, "posterior": 0.8, "mean": 0.525})
    table = summary(results())
    assert table["anterior"] == {
        "dice": 0.25,
        "surface_dice": 0.3,
        "hd95_mm": 2.0,
        "cases": 2,
        "missed": 1,
        "invented": 0,
    }
    assert table["mean"]["hd95_mm"] == pytest.approx(1.5)


def test_the_tables_have_a_line_per_case_and_per_structure(tmp_path: Path) -> None:
    lines = markdown_table(results()).splitlines()
    assert lines[2] == "| a | 0.5000 | – | 0.5000 |"
    assert lines[4] == "| **mean of 2 cases** | 0.2500 | 0.8000 | 0.5250 |"
    assert "| anterior | 0.2500 | 0.3000 | 2.00 | 2 | 1 | 0 |" in lines
    assert "nan" not in "".join(lines)
    write_csv(tmp_path / "scores.csv", results())
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (rows[2]["case"], rows[2]["fold"], rows[2]["state"], rows[2]["hd95_mm"]) == (
        "b",
        "1",
        "missed",
        "",
    )


def test_a_model_is_measured_on_every_case_that_was_collected_without_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """As `docs/intended_use.md` says it of a model of others, and of corrected cases."""
    folder, grid = tmp_path / "Dataset501_Mine", Geometry((16, 16, 16), (1.0, 1.0, 1.0))
    noise = np.random.default_rng(1).normal(100, 20, (16, 16, 16)).astype(np.float32)
    for number in range(2):
        for name in (f"imagesTr/a{number}_0000", f"labelsTr/a{number}"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_image(folder / f"imagesTr/a{number}_0000.nii.gz", noise + number, grid)
        write_image(folder / f"labelsTr/a{number}.nii.gz", (noise > 110).astype(np.uint8), grid)
    model = tiny_bundle(tmp_path / "tiny").model
    described = {
        "channel_names": {str(n): channel.name for n, channel in enumerate(model.channels)},
        "labels": {"background": 0} | {label.name: label.value for label in model.labels},
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    monkeypatch.setattr("mednext_training.cli.models.restart_tuned", lambda *_: None)
    words = ["evaluate", str(tmp_path / "tiny"), "--dataset", str(folder), "--no-mirror"]
    assert cli.main(["--workspace", str(tmp_path / "runs"), *words]) == 2
    assert "plan first" in capsys.readouterr().err
    assert cli.main(["--workspace", str(tmp_path / "runs"), *words, "--unseen"]) == 0
    assert "**mean of 2 cases**" in capsys.readouterr().out


def test_an_accuracy_that_was_recorded_is_kept_beside_a_new_one(tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "tiny")
    for source in ("first", "second", "third"):
        record_accuracy(load_bundle(tmp_path / "tiny"), results(), source)
    accuracy = load_bundle(tmp_path / "tiny").model.accuracy
    assert accuracy is not None
    assert [accuracy["source"], *(each["source"] for each in accuracy["others"])] == [
        "third",
        "second",
        "first",
    ]
    assert accuracy["missed"] == {"anterior": 1, "mean": 1}


def test_the_largest_component_is_kept_where_that_raises_the_dice_of_the_label() -> None:
    truth = np.zeros((4, 20, 20), np.uint8)
    truth[1:3, 2:8, 2:8] = 1
    truth[1:3, 12:18, 2:6], truth[1:3, 12:18, 14:18] = 2, 2  # two pieces: both are right
    result = truth.copy()
    result[1:3, 2:4, 17:19] = 1  # a false piece
    result[1, 12, 14] = 0
    decision = KeptLargest(tiny_model())
    for _ in range(2):
        decision.judge(truth, result)
    assert decision.decided() == [1]
    assert "| spleen |" in decision.text()
    with pytest.raises(OptionError, match="Regions lie within each other"):
        KeptLargest(tiny_model(**tiny_regions()))


def test_names_in_tables_of_scores_are_neither_formulas_nor_control_sequences(tmp_path: Path) -> None:
    scores = {"=liver\x1b[31m": Score("found", 1.0, 1.0, 0.0)}
    results = [CaseResult("@case", scores, 0.0)]
    write_csv(tmp_path / "scores.csv", results)
    with (tmp_path / "scores.csv").open(newline="") as table:
        [row] = csv.DictReader(table)
    assert (row["case"], row["structure"]) == ("'@case", "'=liver\\x1b[31m")
    assert "\x1b" not in markdown_table(results)


def test_images_of_a_case_are_found_by_all_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    for name in ("scan[1]_0000", "scan[1]_0001", "scan1_0000", "scan[1]_2_0000"):
        (tmp_path / "imagesTr" / f"{name}.nrrd").touch()
    found = images_of(tmp_path, "Tr", "scan[1]", ".nrrd")
    assert [file.name for file in found] == ["scan[1]_0000.nrrd", "scan[1]_0001.nrrd"]


def test_labels_on_another_grid_are_not_compared_voxel_by_voxel(tmp_path: Path) -> None:
    labels = np.zeros((8, 8, 8), np.uint8)
    grid = Geometry((8, 8, 8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    write_image(tmp_path / "labels.nii.gz", labels, grid.reoriented("RPS"))
    assert labels_on(tmp_path / "labels.nii.gz", grid.reoriented("RPS")).shape == labels.shape
    with pytest.raises(GeometryError, match="stored as RPS, not 8 x 8 x 8 voxels"):
        labels_on(tmp_path / "labels.nii.gz", grid)


def test_voxels_that_nobody_annotated_count_for_and_against_nothing() -> None:
    """As nnU-Net counts with its label "ignore": here the result is right wherever the truth is known."""
    truth, result = np.zeros((2, 20, 20, 20), np.uint8)
    truth[CUBE] = result[CUBE] = 1
    truth[:8], result[:5] = 3, 1
    scores = compare(truth, result, {"liver": (1,)}, (1, 1, 1), ignored=3)
    assert scores == {"liver": Score("found", 1.0, 1.0, 0.0)}
    assert compare(truth, result, {"liver": (1,)}, (1, 1, 1))["liver"].dice == pytest.approx(1400 / 3700)


def _dataset(channels: tuple[str, ...], labels: dict[str, int | tuple[int, ...]], **more: Any) -> Dataset:
    return Dataset(501, "Mine", channels, labels, **more)


@pytest.mark.parametrize(
    ("dataset", "why"),
    [
        (_dataset(("CT",), {"Spleen": 1, "liver": 2}), None),
        (_dataset(("CT",), {"spleen": 1}), None),
        (_dataset(("CT",), {"liver": 1, "spleen": 2}), 'the label 1, "spleen" and "liver"'),
        (_dataset(("CT",), {"kidney": 1, "tumor": 2}), 'the label 1, "spleen" and "kidney"'),
        (_dataset(("T1",), {"spleen": 1, "liver": 2}), "a channel, CT and T1"),
        (_dataset(("CT", "PET"), {"spleen": 1, "liver": 2}), "the number of channels, 1 and 2"),
    ],
)
def test_a_model_is_not_measured_by_other_labels_or_on_other_channels(
    dataset: Dataset, why: str | None
) -> None:
    model = tiny_model(channels=(Channel("CT", "CT", "ct"),))
    if why is None:
        check_same_names(model, dataset)
        return
    with pytest.raises(OptionError, match=re.escape(why)):
        check_same_names(model, dataset)


def test_a_model_is_not_measured_on_exchanged_channels_or_other_regions() -> None:
    channels = tuple(Channel(name, "MR", "zscore") for name in ("T1ce", "FLAIR"))
    regions = tiny_model(**tiny_regions()).regions
    model = tiny_model(**tiny_regions(), channels=channels)
    same: dict[str, int | tuple[int, ...]] = {each.name: tuple(each.labels) for each in regions}
    check_same_names(model, _dataset(("T1c", "T2 FLAIR"), same))
    with pytest.raises(OptionError, match="a channel, T1ce and FLAIR"):
        check_same_names(model, _dataset(("FLAIR", "T1ce"), same))
    first, second = sorted(model.labels, key=lambda label: label.value)[:2]
    exchanged: dict[str, int | tuple[int, ...]] = {first.name: second.value, second.name: first.value}
    with pytest.raises(OptionError, match=f'the label {first.value}, "{first.name}"'):
        check_same_names(model, _dataset(("T1ce", "FLAIR"), exchanged))
    other = same | {regions[0].name: (7,)}
    with pytest.raises(OptionError, match=f'the region "{regions[0].name}"'):
        check_same_names(model, _dataset(("T1ce", "FLAIR"), other, regions_class_order=(1, 2)))


def test_an_accuracy_on_cases_that_a_fold_may_have_learnt_is_told(caplog: pytest.LogCaptureFixture) -> None:
    split = {"train": ["a", "b"], "val": ["c"]}
    history = f"4 epochs; folds 10 (split 0123456789ab), 0 (split {digest(split)[:12]})."
    silent = tiny_model(folds=(Fold(0, "", ""), Fold(10, "", "")))
    model = replace(silent, training_data=history)
    warn_of_learnt_cases(model, 0, split)
    warn_of_learnt_cases(silent, 0, split)
    assert not caplog.text
    began = replace(model, training_data=f"4 epochs, fine-tuned from hippocampus 1.1.0, fold 0, {history}")
    for other, fold, cases, why in (
        (model, 0, {"train": ["c", "b"], "val": ["a"]}, "had another split, or other data, for fold 0"),
        (model, 1, split, "has no fold 1"),
        (
            replace(model, training_data=f"4 epochs; folds all (split {'0' * 12})."),
            0,
            split,
            "every case of its",
        ),
        (began, 0, split, "was fine-tuned from a model that may have learnt them"),
    ):
        caplog.clear()
        warn_of_learnt_cases(other, fold, cases)
        assert why in caplog.text
        assert "the accuracy is too good" in caplog.text
