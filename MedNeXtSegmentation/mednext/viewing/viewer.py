"""The files of the viewer's page: script, voxels, and the list of segments."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..images.formats.nifti_writing import write_nifti
from ..images.geometry import Geometry
from ..images.volume import read_volume
from ..library.folder_locations import resources_folder
from .niivue import viewer_script
from .shown_result import ShownResult, ShownSegment, check_same_place, read_result

__all__ = ["viewer_files"]

_PAGE = {"index.html": "text/html", "view.js": "text/javascript", "view.css": "text/css"}


def viewer_files(
    result: Path, image: Path | None = None, library: Path | None = None
) -> dict[str, tuple[str, bytes]]:
    """The files of a page that shows a result, on its image if that is given: name to type and bytes.

    Raises:
        UnsupportedImageError, UnreadableImageError, GeometryError: result or image cannot be shown.
        DownloadError, DownloadIntegrityError: as `viewer_script`.
    """
    shown = read_result(result)
    voxels, grid = np.zeros_like(shown.labelmap), shown.geometry
    if image is not None:
        volume = read_volume(image, insist=True)
        check_same_place(volume.geometry, shown, (image.name, result.name))
        voxels, grid = volume.array[0], volume.geometry
    files = {name: (kind, _resource(name)) for name, kind in _PAGE.items()}
    files["niivue.js"] = ("text/javascript", viewer_script(library))
    files["image.nii"] = ("application/octet-stream", _nifti(voxels, grid))
    files["labels.nii"] = ("application/octet-stream", _nifti(shown.labelmap, shown.geometry))
    files["result.json"] = ("application/json", _description(shown, result.name, image))
    return files


def _resource(name: str) -> bytes:
    return (resources_folder() / "View" / name).read_bytes()


def _nifti(array: np.ndarray, geometry: Geometry) -> bytes:
    with tempfile.TemporaryDirectory(prefix="mednext-view-") as folder:  # readable by its user only
        file = Path(folder, "voxels.nii")
        write_nifti(file, array, geometry, level=0)
        return file.read_bytes()


def _description(shown: ShownResult, name: str, image: Path | None) -> bytes:
    segments = [
        {
            "name": segment.name,
            "color": segment.color,
            "volumeMl": segment.volume_ml,
            "centreRas": segment.centre_ras,
        }
        for segment in shown.segments
    ]
    drawn = _drawn(shown.segments)
    document = {
        "result": name,
        "image": image.name if image else None,
        "segments": segments,
        "drawn": drawn,
    }
    return json.dumps(document, ensure_ascii=True).encode()


def _drawn(segments: Sequence[ShownSegment]) -> list[tuple[int, list[int]]]:
    """For each value of the labelmap the numbers of its segments, the smallest first: it is drawn on top."""
    owners: dict[int, list[int]] = {}
    for number in sorted(range(len(segments)), key=lambda number: segments[number].volume_ml):
        for value in segments[number].values:
            owners.setdefault(value, []).append(number)
    return sorted(owners.items())
