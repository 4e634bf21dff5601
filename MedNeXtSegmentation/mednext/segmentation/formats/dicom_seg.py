"""Write DICOM Segmentation objects with highdicom: coded segments that refer to a patient's series."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ... import __version__
from ...errors import GeometryError, MissingPackageError, OutputError
from ...images.dicom.series import Series, find_series, series_of, series_of_files
from ...images.geometry import Geometry, reorient_array, shown
from ...model.labels import Code, Label, Region, Terminology
from ...system.atomic import replacing
from ..result import Segmentation
from .cielab import cielab
from .dicom_seg_source import quietly, source_images

if TYPE_CHECKING:
    import highdicom
    import pydicom

BINARY, LABELMAP = "binary", "labelmap"
MOST_BINARY = 20  # segments, beyond which the type LABELMAP is chosen
SEG_UID = "dicom_seg_uid"  # in the provenance: the SOPInstanceUID to write

_SOFTWARE = "MedNeXtSegmentation"
_SERIES_NUMBER = 300
_LONGEST_TEXT = 64
_TISSUE = Code("85756007", "SCT", "Tissue")
_UNCODED = Terminology(category=_TISSUE, type=_TISSUE)  # as Slicer codes a new segment

_log = logging.getLogger(__name__)


def write_dicom_seg(
    path: Path, segmentation: Segmentation, source: str | Path | Sequence[Path], kind: str | None = None
) -> None:
    """Write the labels that were found as a DICOM SEG of a series, given as a folder or its files.

    Segments are numbered from 1 in the order of the labels, as the standard requires; a label without
    terminology is coded as Tissue. The log reports labels that were not found. Where the provenance has
    "corrected", the segments are marked semi-automatic.

    Args:
        kind: `BINARY` has a bit for each voxel of each segment; regions of several found labels are further
            segments, over those of their labels. `LABELMAP` has a number for each voxel, compressed without
            loss, and is far smaller for many segments; Slicer reads it since 5.12. By default BINARY up to
            `MOST_BINARY` labels, and with regions.

    Raises `MissingPackageError` without highdicom, `GeometryError` when the labelmap is not on the grid of
    the series, `OutputError` when nothing was found, a LABELMAP would have to hold overlapping regions, or
    the series lacks an element that a DICOM SEG repeats, and the errors of `find_series`.
    """
    labels = _found(segmentation)
    regions = _united(segmentation.regions, labels)
    if kind is None:
        kind = LABELMAP if len(labels) > MOST_BINARY and not regions else BINARY
    if kind == LABELMAP:
        check_apart_in_labelmap(segmentation.regions, labels)
    series, place = _series(source)
    pixels = _numbered(_on_series(segmentation, series, place), labels)
    described = [*labels, *(Label(0, each.name, each.color, each.terminology) for each in regions)]
    if regions:
        pixels = _stacked(pixels, labels, regions)
    content = _made(series, place, pixels, described, segmentation.provenance, kind)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
        if not _holds(temporary, int(np.count_nonzero(pixels))):
            raise OutputError(f"{path} was not written completely: check the disk's free space.")


def check_apart_in_labelmap(regions: Sequence[Region], labels: Sequence[Label]) -> None:
    """Raise `OutputError` for regions that a DICOM SEG of type LABELMAP cannot hold beside their labels."""
    for region in _united(regions, labels):
        raise OutputError(
            f'The region "{region.name}" overlaps the structures in it, and a DICOM SEG of type LABELMAP has '
            "one segment in each voxel: choose the type BINARY, or write .seg.nrrd."
        )


def check_dicom_seg(source: str | Path) -> None:
    """Check before a long run that a DICOM SEG of this series can be made, by making one of one voxel.

    Raises as `write_dicom_seg` does.
    """
    series, place = _series(source)
    pixels = np.zeros(series.geometry.shape, np.uint8)
    pixels[0, 0, 0] = 1
    _made(series, place, pixels, [Label(1, "one voxel", (255, 255, 255))], {}, BINARY)


def _series(source: str | Path | Sequence[Path]) -> tuple[Series, str | Path]:
    """The series, and its name for messages."""
    if isinstance(source, str | Path):
        return find_series(*series_of(source)), source
    return series_of_files(source), source[0].parent


def _made(
    series: Series,
    place: object,
    pixels: np.ndarray,
    labels: list[Label],
    provenance: Mapping[str, str],
    kind: str,
) -> bytes:
    """The bytes of the file."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            "Writing DICOM SEG needs highdicom: pip install 'slicer-mednext-segmentation[dicom]'."
        ) from error
    with quietly():
        try:
            dataset = _dataset(source_images(series, place), pixels, labels, provenance, kind)
            content = BytesIO()  # pydicom does not tell a full disk from other errors of writing
            dataset.save_as(content)
        except (OutputError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # boundary: highdicom raises anything
            _log.debug("highdicom refused %s.", place, exc_info=True)
            raise OutputError(
                f"{place} has headers of which no DICOM SEG can be made ({type(error).__name__}): write "
                ".seg.nrrd instead."
            ) from None
    return content.getvalue()  # a view of its buffer crashes CPython 3.12 after a full disk


def _holds(file: Path, count: int) -> bool:
    """Whether a DICOM SEG has this many voxels in its segments."""
    import highdicom

    with quietly():
        try:
            return int(np.count_nonzero(highdicom.seg.segread(file).pixel_array)) == count
        except Exception:  # noqa: BLE001  # boundary: half a file may raise anything
            _log.debug("%s cannot be read back.", file, exc_info=True)
            return False


def _dataset(
    images: Sequence[pydicom.Dataset],
    pixels: np.ndarray,
    labels: list[Label],
    provenance: Mapping[str, str],
    kind: str,
) -> highdicom.seg.Segmentation:
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian, RLELossless

    # The library that reads DICOM SEG in Slicer, dcmqi, knows no other compression; of bits there is none.
    labelmap = kind == LABELMAP
    dataset = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind.upper(),
        transfer_syntax_uid=RLELossless if labelmap else ExplicitVRLittleEndian,
        omit_empty_frames=not labelmap,  # a compressed empty plane takes next to nothing
        segment_descriptions=_descriptions(labels, provenance),
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        series_description=_short(provenance.get("task", "Segmentation")),
        sop_instance_uid=provenance.get(SEG_UID) or highdicom.UID(),
        instance_number=1,
        manufacturer=_SOFTWARE,
        manufacturer_model_name=_short(provenance.get("model", _SOFTWARE)),
        software_versions=__version__,
        device_serial_number="0",  # required by the standard, though software has none
    )
    dataset.SpecificCharacterSet = "ISO_IR 192"  # UTF-8; by default names lose all but Latin letters
    return dataset


def _found(segmentation: Segmentation) -> list[Label]:
    values = set(np.unique(segmentation.labelmap).tolist())
    missing = [label.name for label in segmentation.labels if label.value not in values]
    labels = [label for label in segmentation.labels if label.value in values]
    if not labels:
        raise OutputError("Nothing was found, and a DICOM SEG cannot be empty: write .seg.nrrd instead.")
    if missing:
        _log.info("Not found, so not in the DICOM SEG: %s.", ", ".join(missing))
    return labels


def _united(regions: Sequence[Region], labels: Sequence[Label]) -> list[Region]:
    """The regions that have several of these labels; others have the voxels of a label, or none."""
    values = {label.value for label in labels}
    return [region for region in regions if len(values & set(region.labels)) > 1]


def _stacked(pixels: np.ndarray, labels: Sequence[Label], regions: Sequence[Region]) -> np.ndarray:
    """Segment numbers `(Z, Y, X)` as a mask for each label and region, `(Z, Y, X, segments)`."""
    masks = np.zeros((*pixels.shape, len(labels) + len(regions)), np.uint8)
    for number, label in enumerate(labels, start=1):
        members = [n for n, region in enumerate(regions, start=len(labels)) if label.value in region.labels]
        for segment in (number - 1, *members):
            masks[..., segment] |= pixels == number
    return masks


def _on_series(segmentation: Segmentation, series: Series, source: str | Path) -> np.ndarray:
    """The labelmap `(Z, Y, X)` with its axes in the order and direction of the series."""
    labelmap, geometry = reorient_array(
        segmentation.labelmap, segmentation.geometry, series.geometry.orientation
    )
    if not geometry.close_to(series.geometry):
        raise GeometryError(
            f"The segmentation ({_place(geometry)}) is not on the grid of {source} "
            f"({_place(series.geometry)}): segment that series itself."
        )
    return labelmap


def _place(geometry: Geometry) -> str:
    return f"{geometry.size} voxels, {shown(geometry.spacing)} mm, origin {shown(geometry.origin)} mm"


def _numbered(labelmap: np.ndarray, labels: list[Label]) -> np.ndarray:
    """The labelmap with segment numbers, 1 for the first label."""
    numbers = np.zeros(np.iinfo(labelmap.dtype).max + 1, dtype=np.uint8 if len(labels) < 256 else np.uint16)
    for number, label in enumerate(labels, start=1):
        numbers[label.value] = number
    return numbers[labelmap]


def _descriptions(
    labels: list[Label], provenance: Mapping[str, str]
) -> list[highdicom.seg.SegmentDescription]:
    import highdicom
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=_short(provenance.get("model", _SOFTWARE)),
        version=_short(provenance.get("model_version", __version__)),
        family=codes.cid7162.ArtificialIntelligence,
    )
    kinds = highdicom.seg.SegmentAlgorithmTypeValues
    made = kinds.SEMIAUTOMATIC if provenance.get("corrected") else kinds.AUTOMATIC
    return [_description(number, label, algorithm, made) for number, label in enumerate(labels, start=1)]


def _description(
    number: int,
    label: Label,
    algorithm: highdicom.AlgorithmIdentificationSequence,
    made: highdicom.seg.SegmentAlgorithmTypeValues,
) -> highdicom.seg.SegmentDescription:
    import highdicom

    meaning = label.terminology or _UNCODED
    description = highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=_short(label.name),
        segmented_property_category=_concept(meaning.category),
        segmented_property_type=_concept(meaning.type),
        algorithm_type=made,
        algorithm_identification=algorithm,
        anatomic_regions=[_concept(meaning.region)] if meaning.region else None,
        display_color=highdicom.color.CIELabColor(*cielab(label.color)),
    )
    # highdicom has no arguments for modifiers, and without them a left kidney would be coded as a kidney.
    if meaning.type_modifier:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(meaning.type_modifier)]
    if meaning.region and meaning.region_modifier:
        region = description.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [_concept(meaning.region_modifier)]
    return description


def _concept(code: Code) -> highdicom.sr.CodedConcept:
    import highdicom

    return highdicom.sr.CodedConcept(code.value, code.scheme, _short(code.meaning))


def _short(text: str) -> str:
    """A text cut to a DICOM long string: 64 characters, without the backslash that separates values."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    return clean.replace("\\", "/")[:_LONGEST_TEXT].strip() or "-"
