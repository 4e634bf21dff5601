"""Doubts about one image as a channel: by its name, its DICOM attributes and its values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import UnsupportedImageError
from ..images.description.image_description import ImageDescription
from ..images.description.image_kind import OTHER, UNCLEAR
from ..images.plausible_voxels import FEWEST_INTENSITIES
from ..model.description import Channel
from .channel_matching import fits, modality_of
from .voxel_sample import VoxelSample

AIR_HU = -200.0
BONE_HU = 300.0
_TISSUE_HU = 50.0  # of 98 % of the voxels of a CT: soft tissue is above
_BRIGHT_HU = 1000.0  # scanners cut off far above, metal at 3071
_LARGEST_OF_A_PICTURE = 255.0
_LARGEST_OF_A_SCALE = 30.0  # values that were scaled to a unit, or by a standard deviation, stay below


@dataclass(frozen=True)
class Doubt:
    """A sentence about an input; a `certain` doubt is refused unless the user insists."""

    sentence: str
    certain: bool = False


def check_values(name: str, sample: VoxelSample) -> None:
    """Raise `UnsupportedImageError` for values that the engine refuses in any case."""
    if sample.complete and sample.finite and sample.low == sample.high:
        raise UnsupportedImageError(
            f'"{name}" has the value {sample.low:g} everywhere: choose an image with contrast.'
        )


def image_doubts(
    channel: Channel, image: ImageDescription, sample: VoxelSample, speaks_of: str = ""
) -> Iterator[Doubt]:
    """Doubts about an image for a channel; `speaks_of` is another kind that it surely is, or ""."""
    values = _odd_values(channel, sample)
    deformation, much = image.deformation
    if deformation:
        yield Doubt(
            f'"{image.name}" {deformation}: harden the transform in the module Transforms, or take the '
            "image out of it. The network sees the image without it, and measures volumes (mL) there.",
            much,
        )
    if image.is_localizer:
        yield Doubt(
            f'"{image.name}" is a localizer by its DICOM header: give the series that was planned on it.',
            True,
        )
    elif image.modality and image.modality != channel.modality:
        yield Doubt(
            f'"{image.name}" is {image.modality} by its DICOM header, the model takes {channel.modality}.',
            bool(values),
        )
    elif speaks_of:
        sentence = f'"{image.name}" seems to be {speaks_of}, not {channel.name}: check the choice.'
        yield Doubt(sentence, True)
    elif not fits(channel, image):
        # "p01_t2" may be the second examination by CT; with the values of an MR it is not.
        another = modality_of(image.kind) not in ("", channel.modality)
        yield Doubt(_odd_kind(channel, image), another and bool(values))
    if not sample.finite:
        yield Doubt(f'"{image.name}" has NaN or infinite voxels: replace them by background.', True)
    if values:
        yield Doubt(f'"{image.name}" {values}')


def _odd_kind(channel: Channel, image: ImageDescription) -> str:
    if image.kind == UNCLEAR:
        return f'It is not clear whether "{image.name}" is right for the channel {channel.name}: check it.'
    kind = "a map, a mask or another derived image" if image.kind == OTHER else image.kind
    return f'"{image.name}" seems to be {kind}, not {channel.name}: check the choice.'


def _odd_values(channel: Channel, sample: VoxelSample) -> str:
    """A doubt about the values, to follow the image's name in a sentence; or ""."""
    if sample.low == sample.high:
        return f"seems to have the value {sample.low:g} everywhere."
    if sample.whole and sample.distinct < FEWEST_INTENSITIES:
        return f"has only {sample.distinct} different values: is it a mask or a label map?"
    if channel.modality == "CT":
        return _odd_hounsfield(sample)
    if sample.few == sample.many:
        return f"is nearly constant: {sample.few:g} in 98 % of its voxels."
    if sample.few <= -900 and sample.many >= _TISSUE_HU:
        values = f"values from {sample.low:g} to {sample.high:g}"
        return f"has {values}, as a CT has; the model takes {channel.modality}."
    return ""


def _odd_hounsfield(sample: VoxelSample) -> str:
    values = f"values from {sample.low:g} to {sample.high:g}"
    if max(-sample.low, sample.high) <= _LARGEST_OF_A_SCALE:
        return f"has {values}: it was normalised, and has no Hounsfield units. Load the original images."
    if sample.low >= 0 and sample.high <= _LARGEST_OF_A_PICTURE:
        return f"has {values}, as a picture has, and not Hounsfield units: load the original images."
    if sample.few >= 0 and sample.high > 1024 + BONE_HU:
        return (
            f"has {values}: Hounsfield units begin at about -1000. Subtract the offset, usually 1024; give "
            "another image if it is no CT."
        )
    if sample.low > AIR_HU:
        return f"has no air ({values}): right for a crop, otherwise check that they are Hounsfield units."
    if sample.many < -AIR_HU / 4:
        return (
            f"has hardly any values of tissue (98 % lie between {sample.few:g} and {sample.many:g}): check "
            "that they are Hounsfield units."
        )
    if sample.many == sample.high < _BRIGHT_HU:
        return (
            f"has no value above {sample.high:g}, which many voxels have, as in a window: load the original."
        )
    return ""
