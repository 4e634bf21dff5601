"""The public challenges that MedNeXt was measured on: their files, and the meaning of their label values.

Names and codes of the labels are those of the catalog's task.
"""

from __future__ import annotations

import re
from dataclasses import replace

from mednext.library.catalog import Task
from mednext.library.catalog_source import find_task

from ..datasets import Dataset
from .form import Form, channels_of, unchanged
from .tree import Layout

_TEST = "It is a test case, whose labels the challenge keeps."
_HEART = "It is the MR of a heart, of another challenge in Synapse's project: give Abdomen/RawData.zip."
_FOLDER_OF_TESTS = r"(?:images?Ts|testing|test|.*test(?:ing)?[-_ ]?data)/.*"

_BTCV = Layout(
    images=((r"img(?P<case>\d{4})",),),
    labels=(r"label(?P<case>\d{4})",),
    left_out=((_FOLDER_OF_TESTS, _TEST), (r"DET\d+_avg(?:_seg)?", _HEART)),
    name="BTCV_{case}",
    hint="Abdomen/RawData/Training/img/img0001.nii.gz and label/label0001.nii.gz",
)

_AMOS = Layout(
    images=((r"images(?:Tr|Va|Ts)/(?P<case>amos_\d{4})",),),
    labels=(r"labels(?:Tr|Va|Ts)/(?P<case>amos_\d{4})",),
    left_out=(
        (r"(?:images|labels)Va/.*", "It is a validation case; the paper trains on imagesTr."),
        (r"(?:images|labels)Ts/.*", _TEST),
    ),
    hint="imagesTr/amos_0001.nii.gz and labelsTr/amos_0001.nii.gz",
)
_MR = (r"(?:images|labels)Tr/amos_0[5-9]\d\d", "It is an MR image: --with-mr takes them, too.")

_LATER_KITS = "of KiTS 2021 or 2023, which drew all labels anew and have cysts (3), not of KiTS19."
_KITS = Layout(
    images=((r"(?P<case>case_\d{5})/imaging",),),
    labels=(r"(?P<case>case_\d{5})/segmentation",),
    surplus=(
        (r"(?P<case>case_\d{5})/(?:aggregated_[A-Z]+_seg|(?:instances|segmentations)/.*)",),
        f"is {_LATER_KITS}",
    ),
    left_out=((r"case_002[1-9]\d/.*", "It is a test case of KiTS19."),),
    hint="data/case_00000/imaging.nii.gz and segmentation.nii.gz",
)


def _later_kits(name: str, values: set[int]) -> str:
    if int(name[-5:]) >= 300 or 3 in values:
        return f"It is {_LATER_KITS}"
    return ""


def _sequence(*names: str) -> tuple[str, ...]:
    alternatives = "|".join(names)
    return rf"(?P<case>[^/]+?)[_-](?:{alternatives})", rf"(?P<case>[^/]+)/(?:{alternatives})"


_BRATS = Layout(
    images=(
        _sequence("t1n", "t1"),
        _sequence("t1ce", "t1c", "t1gd"),
        _sequence("t2w", "t2"),
        _sequence("t2f", "flair"),
    ),
    # "W39_1998.09.19_Segm" lies in the folder of one case of 2020.
    labels=(*_sequence("seg"), r"(?P<case>UPENN-GBM-\d+_\d+)_segm", r"(?P<case>BraTS20_[^/]+)/[^/]*_Segm"),
    left_out=(
        (r"[^/]*validation[^/]*/.*", "It is a validation case, whose labels the challenge keeps."),
        (_FOLDER_OF_TESTS, _TEST),
    ),
    hint="BraTS2021_00000/BraTS2021_00000_t1.nii.gz, _t1ce, _t2, _flair, _seg, or BraTS-GLI-00000-000-t1n "
    "and so on",
)


def _edition_of_brats(name: str) -> str:
    return "since 2023" if name.upper().startswith("BRATS-") else "until 2021"


def _other_tumors(name: str, values: set[int]) -> str:
    other = re.match(r"BraTS-(?!GLI|SSA)([A-Z]+)-", name, re.IGNORECASE)
    if other:
        return f"It is of BraTS {other[1].upper()}, another task than glioma."
    if {3, 4} <= values or (4 in values and _edition_of_brats(name) == "since 2023"):
        return (
            "It has the label 4 as BraTS 2024 does, the resection cavity after treatment, which this task "
            "does not have."
        )
    return ""


_HIPPOCAMPUS = Layout(
    images=((r"images(?:Tr)?/(?P<case>[^/]+)",),),
    labels=(r"labels(?:Tr)?/(?P<case>[^/]+)",),
    left_out=((_FOLDER_OF_TESTS, _TEST),),
    hint="imagesTr/hippocampus_001.nii.gz and labelsTr/hippocampus_001.nii.gz",
)

LAYOUTS = {"btcv": _BTCV, "amos22": _AMOS, "kits19": _KITS, "brats21": _BRATS, "hippocampus": _HIPPOCAMPUS}


def challenge(name: str, with_mr: bool = False) -> Form:
    """The form of one of `LAYOUTS`; `with_mr` takes the MR images of AMOS22, too.

    The numbers of the data sets are nnU-Net's.
    """
    if name == "btcv":
        return _form(17, "BTCV", _BTCV)
    if name == "amos22":
        if with_mr:
            return _without_modality(_form(219, "AMOS22", _AMOS), "AMOS22withMR")
        return _form(218, "AMOS22", replace(_AMOS, left_out=(*_AMOS.left_out, _MR)))
    if name == "kits19":
        return replace(_form(64, "KiTS19", _KITS), refused=_later_kits)
    if name == "brats21":
        # Until 2021 the enhancing tumour is 4, since 2023 it is 3.
        ways = ({1: 2, 2: 1, 4: 3}, {1: 2, 2: 1, 3: 3})
        form = _form(137, "BraTS21", _BRATS)
        return replace(form, ways=ways, refused=_other_tumors, edition=_edition_of_brats)
    return _form(4, "hippocampus", _HIPPOCAMPUS, "Hippocampus")


def dataset_of(identifier: int, name: str, task: Task) -> Dataset:
    """A data set with the channels and labels of a task."""
    return Dataset(
        identifier,
        name,
        tuple(channel.name for channel in task.channels),
        {label.name: label.value for label in task.labels},
        task=task.name,
        licence=task.dataset.licence,
        reference=task.dataset.url,
    )


def _form(identifier: int, task_name: str, layout: Layout, name: str = "") -> Form:
    task = find_task(task_name)
    dataset = dataset_of(identifier, name or task_name, task)
    return Form(dataset, layout, channels_of(task), unchanged(dataset))


def _without_modality(form: Form, name: str) -> Form:
    """nnU-Net clips a channel named "CT" to Hounsfield units; of any other name it takes z-scores.

    The catalog's task is CT alone, so the data set is of none.
    """
    dataset = replace(form.dataset, name=name, channels=("CT or MR",), task="")
    return replace(form, dataset=dataset, channels=(None,))
