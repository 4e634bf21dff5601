"""Stack DICOM slices; refuse any but an evenly spaced, upright stack of one patient and one technique."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...errors import GeometryError, UnsupportedImageError
from ..geometry import Geometry, shown
from .slice import Slice

# Positions are often written with few decimals; beside a missing slice they are off by half a gap.
_SLICE_TOLERANCE = 0.2  # of the gap between slices
_TILT_TOLERANCE_DEGREES = 0.5
_WIDE = 2.0  # times the thickness: with wider gaps, most of the patient lies between the slices
_WIDEST_MM = 20.0

# Slices that differ in these belong to different patients, or to positions that cannot be compared.
_OF_ONE_PATIENT = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
# Slices that differ in these were made in different ways or at different times.
_MEASURED = (
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "DiffusionBValue",
    "KVP",
    "SliceThickness",
)
_OF_ONE_KIND = (
    *_MEASURED,
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "StackID",
    "ConvolutionKernel",
    "ContrastBolusAgent",
    "ImageType",
    "SeriesNumber",
    "SeriesTime",
    "SeriesDescription",
)
# Acquisition numbers of CT rise from one rotation to the next; MR often measures every other slice first.
_COUNTING = ("AcquisitionNumber",)
_CLOCKS = ("AcquisitionTime", "AcquisitionDateTime", "TriggerTime")
_IN_ORDER_OF_TIME = {"CT", "PT"}
_SAME = 0.02  # relative difference of measured values


def stacked(slices: Sequence[Slice], folder: Path) -> tuple[list[Slice], Geometry, list[str]]:
    """The slices in the order of their positions along the normal, their grid, and the doubts about them.

    Raises `GeometryError` for uneven or wide gaps, slices of several directions and a tilted gantry;
    `UnsupportedImageError` for a single slice, several at one position, and for slices that differ in size,
    patient, time, technique or units.
    """
    _check_alike(slices, folder)
    if len(slices) < 2:
        raise UnsupportedImageError(f"{folder} has a single slice: give the folder of a whole series.")
    normal = slices[0].direction[:, 2]
    ordered = sorted(slices, key=lambda piece: float(piece.position @ normal))
    positions = np.array([piece.position for piece in ordered])
    _check_gaps(positions @ normal, folder)
    _check_upright(positions, normal, max(ordered[0].spacing), folder)
    gap = float((positions[-1] - positions[0]) @ normal) / (len(ordered) - 1)
    warnings = [
        *_doubts_of_gap(ordered, gap, folder),
        *_doubts_of_technique(ordered, folder),
        *_doubts_of_values(ordered, folder),
    ]
    first = ordered[0]
    x, y, z = first.position.tolist()
    geometry = Geometry(
        (*first.size, len(ordered)), (*first.spacing, gap), (x, y, z), tuple(first.direction.ravel())
    )
    return ordered, geometry, warnings


def _check_alike(slices: Sequence[Slice], folder: Path) -> None:
    first = slices[0]
    for other in slices[1:]:
        if other.size != first.size or not np.allclose(other.spacing, first.spacing, rtol=1e-3):
            raise UnsupportedImageError(
                f"{folder} mixes slices of {first.size} voxels at {shown(first.spacing)} mm and {other.size} "
                f"at {shown(other.spacing)} mm: keep one kind."
            )
        if not np.allclose(other.direction, first.direction, atol=1e-3):
            raise GeometryError(
                f"{folder} mixes slices of different directions (localizers?): remove the odd ones."
            )
    for name in _OF_ONE_PATIENT:
        count = len({piece.header.get(name) for piece in slices} - {""})
        if count > 1:
            raise UnsupportedImageError(
                f"{folder} mixes slices of {count} different {name}s in one series (of several patients?): "
                "keep those of one."
            )


def _check_gaps(depths: np.ndarray, folder: Path) -> None:
    """Refuse slices at uneven depths; `depths` ascend, in mm."""
    gaps = np.diff(depths)
    gap = float(np.median(gaps))
    if gaps.min() <= 0.01 * gap:
        raise UnsupportedImageError(
            f"{folder} has several slices at {depths[int(gaps.argmin())]:.2f} mm (a time series, several "
            "echoes, or copies of files?): keep one slice for each position."
        )
    even = np.linspace(depths[0], depths[-1], len(depths))
    if np.abs(depths - even).max() > _SLICE_TOLERANCE * gap:
        raise GeometryError(
            f"{folder} has uneven gaps between slices, {gaps.min():.2f} to {gaps.max():.2f} mm, the widest "
            f"after {depths[int(gaps.argmax())]:.2f} mm: add the missing slices or resample the series."
        )


def _check_upright(positions: np.ndarray, normal: np.ndarray, pixel: float, folder: Path) -> None:
    """Refuse a stack that leans, or has slices beside it: an upright grid would displace these slices.

    `positions` are those of the slices in order, mm; `pixel` is the longer side of a pixel in mm.
    """
    run = positions - positions[0]
    along = run @ normal
    beside = np.linalg.norm(run - np.outer(along, normal), axis=1)
    tilt = math.degrees(math.atan2(beside[-1], along[-1]))
    if tilt > _TILT_TOLERANCE_DEGREES or beside[-1] > pixel:
        raise GeometryError(
            f"{folder} was made with a gantry tilted by {tilt:.1f} degrees, its last slice lies "
            f"{beside[-1]:.1f} mm beside the first: load it in Slicer, which corrects this, harden its "
            "transform, resample it and save it as NRRD."
        )
    if beside.max() > pixel:
        raise GeometryError(
            f"{folder} has slices that are displaced by up to {beside.max():.1f} mm against the first one, "
            "within their plane: give slices of one stack only."
        )


def _doubts_of_gap(slices: Sequence[Slice], gap: float, folder: Path) -> Iterator[str]:
    """Doubts that even gaps do not settle: every second slice missing, or only two slices."""
    thickness, stated = (
        max(_floats(piece.header.get(name) for piece in slices), default=0.0)
        for name in ("SliceThickness", "SpacingBetweenSlices")
    )
    wide = gap > _WIDE * thickness and gap > (1 + _SLICE_TOLERANCE) * stated
    if wide and (gap > _WIDEST_MM or (len(slices) == 2 and thickness + stated > 0)):
        raise GeometryError(
            f"{folder} has {len(slices)} slices {gap:.2f} mm apart, each {_or_unknown(thickness)} thick, "
            "between which nothing was imaged or slices are missing: give a whole series."
        )
    if len(slices) == 2:
        yield (
            f"{folder} has two slices only, {gap:.2f} mm apart: whether one between them is missing "
            "cannot be seen."
        )
    elif stated and abs(gap - stated) > _SLICE_TOLERANCE * stated and gap > _WIDE * thickness:
        yield (
            f"The slices in {folder} lie {gap:.2f} mm apart, but say {stated:.2f} mm (SpacingBetweenSlices): "
            "slices may be missing."
        )
    elif thickness and gap > _WIDE * thickness:
        yield (
            f"The slices in {folder} lie {gap:.2f} mm apart and are {thickness:.2f} mm thick: volumes in mL "
            "count the gaps between them, which were not imaged."
        )


def _or_unknown(thickness: float) -> str:
    return f"{thickness:.2f} mm" if thickness else "an unknown number of mm"


def _doubts_of_technique(slices: Sequence[Slice], folder: Path) -> Iterator[str]:
    """Doubts about slices of two phases or echoes, half a gap apart, that look like one finer stack."""
    headers = [piece.header for piece in slices]
    zigzag = _zigzag(_floats(header.get("InstanceNumber") for header in headers))
    in_order = zigzag or {header.get("Modality") for header in headers} <= _IN_ORDER_OF_TIME
    for name in (*_OF_ONE_KIND, *_COUNTING, *_CLOCKS):
        values = _alike([header.get(name) for header in headers], name in _MEASURED)
        distinct = list(dict.fromkeys(values))
        if len(distinct) < 2:
            continue
        told = f"{name} {_listed(distinct)}"
        woven = 1 + sum(a != b for a, b in pairwise(values)) > len(distinct)
        if woven and (in_order or name in _OF_ONE_KIND):
            raise UnsupportedImageError(
                f"{folder} weaves slices of several stacks together ({told}, to and fro along the stack): "
                "keep the slices of one phase, echo or acquisition."
            )
        if name in _OF_ONE_KIND:
            yield f"The slices in {folder} were not all made in the same way ({told})."
        elif woven and name in _COUNTING:
            yield (
                f"The slices in {folder} alternate between acquisitions ({told}), as where MR measures every "
                "other slice first: look whether they are of one stack."
            )
    if zigzag:
        yield (
            f"The slices in {folder} are numbered to and fro along the stack: two stacks may have been woven "
            "together."
        )
    uids = [header.get("SOPInstanceUID") for header in headers if header.get("SOPInstanceUID")]
    if len(set(uids)) < len(uids):
        yield f"Several slices in {folder} have the same SOPInstanceUID: DICOM programs will mix them up."


def _zigzag(numbers: Sequence[float]) -> bool:
    """True if numbers along the stack are those of two or three stacks that alternate."""

    def runs_on(part: Sequence[float]) -> bool:
        steps = np.sign(np.diff(part))
        return bool(len(steps)) and bool((steps == steps[0]).all()) and steps[0] != 0

    return not runs_on(numbers) and any(
        len(numbers) >= 2 * stacks and all(runs_on(numbers[first::stacks]) for first in range(stacks))
        for stacks in (2, 3)
    )


def _doubts_of_values(slices: Sequence[Slice], folder: Path) -> Iterator[str]:
    """Refuse values that cannot be compared between slices; yield doubts about their unit."""
    headers = [piece.header for piece in slices]
    without = [piece.file.name for piece in slices if piece.rescale is None]
    if 0 < len(without) < len(slices):
        raise UnsupportedImageError(
            f"{folder} mixes slices with and without RescaleSlope and RescaleIntercept ({len(without)} are "
            f"without, {without[0]} for one): their values cannot be compared. Export the series anew."
        )
    for name in ("Modality", "RescaleType", "Units"):
        units = sorted({header.get(name) for header in headers} - {""})
        if len(units) > 1:
            raise UnsupportedImageError(
                f"{folder} mixes slices of several kinds ({name} {_listed(units)}): keep those of one."
            )
        if name == "RescaleType" and units and units[0] not in ("HU", "US") and _is_ct(slices):
            yield f"The values in {folder} are {units[0]} (RescaleType), no HU."
    if without and _is_ct(slices):
        yield (
            f"The CT in {folder} does not say how its values become HU (no RescaleSlope, no "
            "RescaleIntercept): they are taken as they are stored."
        )


def _is_ct(slices: Sequence[Slice]) -> bool:
    return slices[0].header.get("Modality") == "CT"


def _alike(values: Sequence[str], measured: bool) -> list[str]:
    """The different values; of measured ones that differ by rounding only, the first."""
    if not measured:
        return list(values)
    met: list[tuple[str, float]] = []
    found = []
    for value in values:
        number = next(iter(_floats([value])), math.nan)
        same = (old for old, other in met if abs(number - other) <= _SAME * max(abs(number), abs(other)))
        known = next(same, value)
        if known == value:
            met.append((value, number))
        found.append(known)
    return found


def _floats(texts: Iterable[str]) -> list[float]:
    """The numbers among texts."""
    numbers = []
    for text in texts:
        try:
            numbers.append(float(text))
        except ValueError:
            continue
    return [number for number in numbers if math.isfinite(number)]


def _listed(values: Sequence[str], most: int = 4) -> str:
    shown_values = ", ".join(value.replace("\\", "/") or "none" for value in values[:most])
    return shown_values + (f" and {len(values) - most} more" if len(values) > most else "")
