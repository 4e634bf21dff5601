"""The tasks that ship: label tables as the data sets define them, coded in SNOMED CT, in distinct colours.

Codes come from Slicer's DICOM master list; "Portal vein and splenic vein" from the table of the
SlicerTotalSegmentator extension; "Anterior" and "Posterior" from DICOM's context group 2.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from mednext.library.catalog import Catalog, Task, read_catalog
from mednext.library.folder_locations import shipped_models_folder
from mednext.model.labels import Code, Label

ABDOMEN = [
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
]
LABELS = {
    "hippocampus": ["anterior hippocampus", "posterior hippocampus"],
    "BTCV": [
        *ABDOMEN,
        "portal and splenic vein",
        "pancreas",
        "right adrenal gland",
        "left adrenal gland",
    ],
    "AMOS22": [
        *ABDOMEN,
        "pancreas",
        "right adrenal gland",
        "left adrenal gland",
        "duodenum",
        "urinary bladder",
        "prostate or uterus",
    ],
    "KiTS19": ["kidney", "kidney tumor"],
    "BraTS21": ["peritumoral edema", "necrotic tumor core", "enhancing tumor"],
    "BraTS23-glioma": ["necrotic tumor core", "peritumoral edema", "enhancing tumor"],
    "BraTS24-glioma": [
        "FLAIR hyperintensity",
        "non-enhancing tumor core",
        "enhancing tumor",
        "resection cavity",
    ],
    "BraTS24-meningioma": ["meningioma"],
    "BraTS26-metastases": [
        "non-enhancing tumor core",
        "FLAIR hyperintensity",
        "enhancing tumor",
        "resection cavity",
    ],
}
SLICERS_OWN_WORDS = {"49755003", "123037004", "85756007", "12921003"}  # worded differently in DICOM
NOT_IN_SLICERS_LIST = {"110765007", "255549009", "255551008"}

CATALOG_FILE = shipped_models_folder() / "catalog.json"
CATALOG = read_catalog(CATALOG_FILE)
ALL_LABELS = [(task.name, label) for task in CATALOG.tasks for label in task.labels]

each_task = pytest.mark.parametrize("task", CATALOG.tasks, ids=[task.name for task in CATALOG.tasks])


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return CATALOG


def codes_of(label: Label) -> dict[str, Code]:
    assert label.terminology is not None
    return {role: code for role, code in vars(label.terminology).items() if code is not None}


CHANNELS = {  # in the order of the publishers' own code, where it differs from that of their plans
    "brats23-glioma-b": ["T1", "T1ce", "T2", "FLAIR"],
    "brats24-glioma-l5": ["T1ce", "T1", "FLAIR", "T2"],
    "brats24-meningioma-l5": ["T1ce"],
    "brats26-metastases-l5": ["T1", "T1ce", "T2", "FLAIR"],
}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_model_of_others_has_its_images_in_the_order_of_its_training(name: str, catalog: Catalog) -> None:
    model = catalog.model(name)
    assert model is not None
    task = catalog.task(model.task)
    assert task is not None
    assert [image.name for image in task.channels] == CHANNELS[name]


@pytest.mark.parametrize("name", CHANNELS)
def test_a_model_of_others_says_whence_it_comes_and_what_was_tried(name: str, catalog: Catalog) -> None:
    model = catalog.model(name)
    assert model is not None and model.elsewhere is not None
    place = model.elsewhere
    assert place.page.startswith("https://") and place.citation and model.licence
    assert "no accuracy was measured" in place.untested
    assert "No file of the weights tells" in place.orientation_source


def test_whole_tumor_and_core_have_the_labels_of_their_own_order(catalog: Catalog) -> None:
    core = {}
    for task in catalog.tasks:
        names = {label.value: label.name for label in task.labels}
        for region in task.regions:
            if region.name == "tumor core":
                core[task.name] = {names[value] for value in region.labels}
    assert core["BraTS21"] == core["BraTS23-glioma"] == {"necrotic tumor core", "enhancing tumor"}
    assert core["BraTS24-glioma"] == core["BraTS26-metastases"]
    assert core["BraTS24-glioma"] == {"non-enhancing tumor core", "enhancing tumor"}


@pytest.mark.parametrize("name", ["BTCV", "AMOS22", "KiTS19", "BraTS21"])
def test_a_task_without_public_weights_says_so_and_names_the_ways_out(name: str, catalog: Catalog) -> None:
    task = catalog.task(name)
    assert task is not None
    assert "No MedNeXt weights for this task are public" in task.weights
    assert f"mednext-train reproduce {name.lower()}" in task.weights
    assert "mednext models import" in task.weights
    assert ("TotalSegmentator" in task.weights) == (name != "BraTS21")
    assert bool(task.see) == (name == "BraTS21")


def test_the_tasks_are_there(catalog: Catalog) -> None:
    assert {task.name for task in catalog.tasks} == set(LABELS)


@each_task
def test_labels_have_the_values_of_the_data_set(task: Task) -> None:
    assert [(label.value, label.name) for label in task.labels] == list(enumerate(LABELS[task.name], 1))


def test_brats_takes_its_four_images_in_the_order_of_the_reference(catalog: Catalog) -> None:
    task = catalog.task("BraTS21")
    assert task is not None
    assert [image.name for image in task.channels] == ["T1", "T1ce", "T2", "FLAIR"]
    assert [(region.name, region.labels) for region in task.regions] == [
        ("whole tumor", (1, 2, 3)),
        ("tumor core", (2, 3)),
        ("enhancing tumor", (3,)),
    ]


@each_task
def test_every_task_has_images_licence_citation_and_a_hint_at_weights(task: Task) -> None:
    assert task.channels and task.citations and task.weights
    assert task.dataset.licence and task.dataset.url
    assert any("2303.09975" in citation for citation in task.citations)


def test_the_shipped_model_is_listed_without_a_download(catalog: Catalog) -> None:
    model = catalog.model("hippocampus")
    assert model is not None and model.task == "hippocampus" and model.download is None
    assert model.licence == "CC BY-SA 4.0"


def test_every_label_is_coded_in_snomed_ct() -> None:
    for task, label in ALL_LABELS:
        codes = codes_of(label)
        assert {"category", "type"} <= codes.keys(), (task, label)
        for code in codes.values():
            assert code.scheme == "SCT" and has_valid_check_digit(code.value), (task, code)


def test_sides_are_coded_as_they_are_named() -> None:
    expected = {"right": "24028007", "left": "7771000", "anterior": "255549009", "posterior": "255551008"}
    for task, label in ALL_LABELS:
        modifier = codes_of(label).get("type_modifier")
        assert (modifier.value if modifier else None) == expected.get(label.name.split()[0]), (task, label)


def test_lesions_are_coded_with_their_place() -> None:
    for task, label in ALL_LABELS:
        codes = codes_of(label)
        if codes["category"].meaning == "Morphologically Altered Structure":
            assert "region" in codes, (task, label)


def test_the_same_structure_has_the_same_colour_and_code_in_every_task() -> None:
    for (_, one), (_, other) in itertools.combinations(ALL_LABELS, 2):
        if one.name == other.name:
            assert (one.color, one.terminology) == (other.color, other.terminology)


@each_task
def test_colours_and_codes_of_a_task_are_distinct(task: Task) -> None:
    for one, other in itertools.combinations(task.labels, 2):
        assert math.dist(one.color, other.color) > 25, (one.name, other.name)
        assert one.terminology != other.terminology


def test_the_entry_has_the_parts_that_slicer_splits_it_into() -> None:
    for task, label in ALL_LABELS:
        assert label.terminology is not None, (task, label)
        parts = label.terminology.entry().split("~")
        assert len(parts) == 7, (task, label)
        assert parts[0] == "Segmentation category and type - DICOM master list"
        assert parts[4] == "Anatomic codes - DICOM master list"
        assert all(len(parts[index].split("^")) == 3 for index in (1, 2, 3, 5, 6)), (task, label)


def test_the_entry_of_the_right_kidney_is_as_slicer_writes_it(catalog: Catalog) -> None:
    task = catalog.task("BTCV")
    assert task is not None and task.labels[1].terminology is not None
    assert task.labels[1].terminology.entry() == (
        "Segmentation category and type - DICOM master list"
        "~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^24028007^Right"
        "~Anatomic codes - DICOM master list~^^~^^"
    )


def test_every_code_is_in_slicers_dicom_list() -> None:
    source = os.environ.get("SLICER_SOURCE")
    if not source:
        pytest.skip("set SLICER_SOURCE to a checkout of Slicer to compare with its terminology")
    known = slicer_meanings(Path(source) / "Modules/Loadable/Terminologies/Resources")
    for code in [code for _, label in ALL_LABELS for code in codes_of(label).values()]:
        if code.value not in NOT_IN_SLICERS_LIST:
            assert code.meaning in known.get(code.value, set()), code


def test_codes_have_the_meanings_of_dicom() -> None:
    from pydicom.sr._concepts_dict import concepts

    dicom: dict[str, set[str]] = {}
    entries: Any
    for entries in concepts["SCT"].values():
        for value, (meaning, _) in entries.items():
            dicom.setdefault(value, set()).add(meaning.casefold())
    for code in [code for _, label in ALL_LABELS for code in codes_of(label).values()]:
        if code.value in dicom and code.value not in SLICERS_OWN_WORDS:
            assert any(code.meaning.casefold() in meaning for meaning in dicom[code.value]), code


def slicer_meanings(folder: Path) -> dict[str, set[str]]:
    """The meanings that Slicer's DICOM lists give to each code."""
    found: dict[str, set[str]] = {}

    def collect(value: Any) -> None:
        if isinstance(value, dict):
            if "CodeValue" in value:
                found.setdefault(value["CodeValue"], set()).add(value["CodeMeaning"])
            for item in value.values():
                collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    for name in (
        "SegmentationCategoryTypeModifier-DICOM-Master.json",
        "AnatomicRegionAndModifier-DICOM-Master.json",
    ):
        collect(json.loads((folder / name).read_text(encoding="utf-8")))
    return found


def has_valid_check_digit(identifier: str) -> bool:
    """Verhoeff's check, which every SNOMED CT identifier passes."""
    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    rows = [list(range(10))]
    for _ in range(7):
        rows.append([permutation[digit] for digit in rows[-1]])
    check = 0
    for place, digit in enumerate(reversed(identifier)):
        check = _dihedral(check, rows[place % 8][int(digit)])
    return check == 0


def _dihedral(a: int, b: int) -> int:
    """The product in the dihedral group of order ten."""
    if a < 5:
        return (a + b) % 5 if b < 5 else (a + b) % 5 + 5
    return (a - b) % 5 + 5 if b < 5 else (a - b) % 5
