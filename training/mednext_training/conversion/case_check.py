"""One case, read whole: its images, its labels, and everything that is wrong with them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mednext.errors import InputError
from mednext.images.formats.image_files import read_image
from mednext.images.formats.nrrd_header import nrrd_fields
from mednext.images.geometry import Geometry, reorient_array
from mednext.images.volume import read_volume
from mednext.inputs.image_doubts import image_doubts
from mednext.inputs.voxel_sample import sample_of
from mednext.model.description import Channel

from .channel_looks import look_of
from .tree import FoundCase

# Of a voxel. Headers round; nnU-Net itself compares nothing but sizes and spacings.
SAME_PLACE = 0.1
_CANONICAL = "RAS"
_MOST_SHOWN = 5
_AT_ONCE = 2**22


@dataclass
class CheckedCase:
    """A case and the findings on it.

    Attributes:
        grid: of its first image; None where that cannot be read.
        voxels: how many voxels each label value of the file has, the background among them.
        digests: of each image, the same for the same voxels in any orientation, type and format.
        turned_digests: of each image, the same for the same voxels at any places.
        looks: of each image, see `look_of`.
        way: the trained value for each value of its labels.
        label_digest: of its labels; "" where there are none.
        told_names: the name of each label value, where the file of the labels gives them.
        patients: the names of its patient, by DICOM and by names of files.
        notes, problems: sentences; a case with problems cannot be trained on.
    """

    found: FoundCase
    grid: Geometry | None = None
    voxels: dict[int, int] = field(default_factory=dict)
    digests: list[str] = field(default_factory=list)
    turned_digests: list[str] = field(default_factory=list)
    looks: list[Mapping[str, float]] = field(default_factory=list)
    way: Mapping[int, int] = field(default_factory=dict)
    label_digest: str = ""
    told_names: Mapping[int, str] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.found.name

    @property
    def values(self) -> set[int]:
        """The label values that it has, without the background."""
        return set(self.voxels) - {0}


def check_case(
    found: FoundCase, channels: Sequence[Channel | None], allow_empty: bool = False
) -> CheckedCase:
    """Read all files of a case to their ends, one after the other.

    Args:
        channels: the expected values of each image; None where only its voxels can be checked.
        allow_empty: a case without any structure teaches that there is none.
    """
    case = CheckedCase(found, problems=list(found.problems))
    patients: set[str] = set()
    samples: list[np.ndarray] = []
    for path, channel in zip(found.images, channels, strict=True):
        if path is not None:
            patients.add(_check_image(case, path, channel, samples))
    patients.discard("")
    if len(patients) > 1:
        case.problems.append("Its images are of several patients, as their headers say: correct the case.")
    case.patients = patients | found.patients
    if len(set(case.digests)) < len(case.digests):
        case.problems.append("Two of its images have the same voxels: one of them is a copy.")
    labels = None if found.label is None else _check_label(case, found.label, allow_empty)
    case.looks = [look_of(sample, labels) for sample in samples]
    return case


def _check_image(case: CheckedCase, path: Path, channel: Channel | None, samples: list[np.ndarray]) -> str:
    """Check one image and add its sample; returns the patient in its header, "" where there is none."""
    try:
        volume = read_volume(path)
    except InputError as error:
        case.problems.append(str(error))
        return ""
    case.notes += volume.warnings
    case.digests.append(digest_of(volume.array[0], volume.geometry))
    case.turned_digests.append(turned_digest_of(volume.array[0]))
    known = volume.described[0]
    sample = sample_of(volume.array[0])
    samples.append(sample.values)
    if channel is not None:
        for doubt in image_doubts(channel, known, sample):
            (case.problems if doubt.certain else case.notes).append(doubt.sentence)
    if case.grid is None:
        case.grid = volume.geometry
    else:
        _check_place(case, path, volume.geometry)
    return known.patient


def _check_label(case: CheckedCase, path: Path, allow_empty: bool) -> np.ndarray | None:
    """Check the labels; returns a sample at the same places as those of images of their size."""
    if path.is_dir():
        case.problems.append(
            f"{path} holds DICOM, from which labels are not read: load it in Slicer, and save the "
            "segmentation as .seg.nrrd or its labelmap as .nii.gz."
        )
        return None
    try:
        labels = read_image(path)
    except InputError as error:
        case.problems.append(str(error))
        return None
    case.notes += labels.warnings
    case.told_names = _names_in(path)
    if case.grid is not None:
        _check_place(case, path, labels.geometry)
    values, counts = np.unique(labels.array, return_counts=True)
    broken = [
        value for value in values.tolist() if not np.isfinite(value) or value != int(value) or value < 0
    ]
    if broken:
        shown = ", ".join(f"{value:.9g}" for value in broken[:_MOST_SHOWN])
        case.problems.append(f"{path} has the label {shown}: labels are whole numbers from 0 up.")
        return None
    case.voxels = {int(value): int(count) for value, count in zip(values, counts, strict=True)}
    if case.values:
        case.label_digest = digest_of(labels.array, labels.geometry)
    elif not allow_empty:
        case.problems.append(
            f"{path} is empty, no voxel has a label. If that is right, and the case shall teach that "
            "there is nothing, say so with --allow-empty."
        )
    return sample_of(labels.array).values


def _names_in(path: Path) -> dict[int, str]:
    """The name of each label value in a segmentation as Slicer saves it; empty for any other file."""
    words = nrrd_fields(path).words if path.name.lower().endswith(".nrrd") else {}
    found = {}
    for key, text in words.items():
        segment, _, field_name = key.partition("_")
        if field_name == "LabelValue" and re.fullmatch("[0-9]{1,9}", text) and f"{segment}_Name" in words:
            found[int(text)] = words[f"{segment}_Name"]
    return found


def _check_place(case: CheckedCase, path: Path, geometry: Geometry) -> None:
    assert case.grid is not None
    if geometry.close_to(case.grid, SAME_PLACE):
        return
    first = case.found.images[0]
    case.problems.append(
        f"{path} and {first} differ in geometry: {described(geometry)} and {described(case.grid)}. Resample "
        "one of them onto the other's grid, or leave the case out."
    )


def described(geometry: Geometry) -> str:
    """A grid in a few words."""
    size = " x ".join(str(side) for side in geometry.size)
    spacing = " x ".join(f"{side:.4g}" for side in geometry.spacing)
    origin = ", ".join(f"{place:.4g}" for place in geometry.origin)
    return f"{size} voxels of {spacing} mm at ({origin}), stored as {geometry.orientation}"


def digest_of(array: np.ndarray, geometry: Geometry) -> str:
    """The same for the same voxels `(Z, Y, X)`, however they are stored."""
    canonical, _ = reorient_array(array, geometry, _CANONICAL)
    digest = hashlib.blake2b(repr(canonical.shape).encode(), digest_size=16)
    for plane in canonical:
        digest.update(np.ascontiguousarray(plane, np.float32))
    return digest.hexdigest()


def turned_digest_of(array: np.ndarray) -> str:
    """The same for the same voxels `(Z, Y, X)` in any order of places, such as a mirrored copy."""
    digest = hashlib.blake2b(repr(sorted(array.shape)).encode(), digest_size=16)
    ordered = np.sort(array, axis=None)
    for start in range(0, ordered.size, _AT_ONCE):
        digest.update(ordered[start : start + _AT_ONCE].astype(np.float32) + 0.0)  # no -0
    return digest.hexdigest()
