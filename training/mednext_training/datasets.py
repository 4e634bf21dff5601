"""Bring public data sets into nnU-Net's raw layout: `imagesTr`, `labelsTr`, `dataset.json`.

Images are copied byte by byte; nothing is resampled or reoriented here.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from mednext.errors import GeometryError, UnreadableImageError, UnsupportedImageError

FILE_ENDING = ".nii.gz"


@dataclass(frozen=True)
class Dataset:
    """A data set as nnU-Net names it, and what its files hold.

    Attributes:
        identifier: nnU-Net's number.
        name: nnU-Net's name, without the number.
        channels: channel names in order; nnU-Net takes the normalisation from them ("CT" or anything else).
        labels: label names in the order of their values, background first.
    """

    identifier: int
    name: str
    channels: tuple[str, ...]
    labels: tuple[str, ...]

    @property
    def folder_name(self) -> str:
        return f"Dataset{self.identifier:03d}_{self.name}"


HIPPOCAMPUS = Dataset(4, "Hippocampus", ("T1",), ("background", "anterior", "posterior"))


def convert_hippocampus(source: Path, raw: Path) -> Path:
    """Convert the Medical Segmentation Decathlon's Task04.

    Args:
        source: folder with `images` and `labels` (or `imagesTr` and `labelsTr`), equal file names.
        raw: nnU-Net's raw folder.

    Returns:
        The data set's folder in `raw`.

    Raises:
        UnreadableImageError: a folder is missing, or an image has no labels.
        UnsupportedImageError: a file of labels has other values than the data set.
        GeometryError: an image and its labels differ in size, spacing, origin or direction.
    """
    images = _first_folder(source, "images", "imagesTr")
    labels = _first_folder(source, "labels", "labelsTr")
    cases = sorted(path for path in images.glob(f"*{FILE_ENDING}") if not path.name.startswith("."))
    if not cases:
        raise UnreadableImageError(f"No *{FILE_ENDING} images in {images}: unpack Task04_Hippocampus there.")
    for image in cases:
        label = labels / image.name
        if not label.is_file():
            raise UnreadableImageError(
                f"{image.name} has no labels in {labels}: remove the image or add them."
            )
        _check_same_grid(image, label)
        _check_values(label, HIPPOCAMPUS)
    target = raw / HIPPOCAMPUS.folder_name
    for name in ("imagesTr", "labelsTr"):
        (target / name).mkdir(parents=True, exist_ok=True)
    for image in cases:
        label = labels / image.name
        case = image.name.removesuffix(FILE_ENDING)
        shutil.copyfile(image, target / "imagesTr" / f"{case}_0000{FILE_ENDING}")
        shutil.copyfile(label, target / "labelsTr" / f"{case}{FILE_ENDING}")
    write_dataset_json(target, HIPPOCAMPUS, len(cases))
    return target


def write_dataset_json(folder: Path, dataset: Dataset, cases: int) -> None:
    """Write nnU-Net's description of a raw data set."""
    description = {
        "channel_names": {str(index): name for index, name in enumerate(dataset.channels)},
        "labels": {name: value for value, name in enumerate(dataset.labels)},
        "numTraining": cases,
        "file_ending": FILE_ENDING,
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _first_folder(source: Path, *names: str) -> Path:
    for name in names:
        if (source / name).is_dir():
            return source / name
    raise UnreadableImageError(f"{source} has no folder {' or '.join(names)}: give the unpacked data set.")


def _check_same_grid(image: Path, label: Path) -> None:
    headers = []
    for path in (image, label):
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise UnreadableImageError(f"{path} cannot be read: is the file complete?") from error
        headers.append(
            (reader.GetSize(), *(_rounded(reader, part) for part in ("Spacing", "Origin", "Direction")))
        )
    if headers[0] != headers[1]:
        raise GeometryError(f"{image} and {label} differ in geometry: {headers[0]} and {headers[1]}.")


def read_labels(path: Path) -> np.ndarray:
    """The label values of a file, `(Z, Y, X)`.

    Raises:
        UnreadableImageError: it is missing or damaged.
    """
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise UnreadableImageError(f"{path} cannot be read: is the file there, and complete?") from error


def _check_values(label: Path, dataset: Dataset) -> None:
    found = np.unique(read_labels(label))
    strange = [value for value in found.tolist() if value not in range(len(dataset.labels))]
    if strange:
        known = ", ".join(f"{value} {name}" for value, name in enumerate(dataset.labels))
        raise UnsupportedImageError(
            f"{label} has the label {strange[0]:g}, but the labels of {dataset.name} are {known}. Correct "
            "the file, or leave the case out."
        )


def _rounded(reader: sitk.ImageFileReader, part: str) -> tuple[float, ...]:
    return tuple(round(value, 3) + 0.0 for value in getattr(reader, f"Get{part}")())
