"""What speaks against one image as a channel: what it is said to be, its values, its voxels' size."""

from __future__ import annotations

from collections.abc import Iterator

import slicer
from mednext.errors import UnsupportedImageError
from mednext.image_kind import T1_CONTRAST, UNCLEAR
from mednext.model import Channel
from slicer.i18n import tr as _

from ...scene.image_description import ImageDescription
from ...scene.voxel_sample import VoxelSample
from .channel_matching import fits

AIR_HU = -200.0
BONE_HU = 300.0
FEWEST_VALUES = 8  # as in mednext.volume: images of fewer values are masks
_LARGEST_OF_A_PICTURE = 255.0


def checkValues(volume: slicer.vtkMRMLScalarVolumeNode, sample: VoxelSample) -> None:
    """Raise `UnsupportedImageError` for values that the engine will surely refuse."""
    name = volume.GetName()
    if not sample.finite:
        raise UnsupportedImageError(
            _('"{name}" has NaN or infinite voxels: replace them by background.').format(name=name)
        )
    if sample.complete and sample.low == sample.high:
        raise UnsupportedImageError(
            _('"{name}" has the value {value:g} everywhere: choose an image with contrast.').format(
                name=name, value=sample.low
            )
        )


def imageWarnings(channel: Channel, image: ImageDescription, sample: VoxelSample) -> Iterator[str]:
    """Sentences on what the image is said to be, and what values it has."""
    if image.modality and image.modality != channel.modality:
        yield _('"{name}" is {modality} by its DICOM header, the model takes {wanted}.').format(
            name=image.name, modality=image.modality, wanted=channel.modality
        )
    elif not fits(channel, image):
        yield _kindWarning(channel, image)
    values = _valuesWarning(channel, sample)
    if values:
        yield _('"{name}" {what}').format(name=image.name, what=values)


def _kindWarning(channel: Channel, image: ImageDescription) -> str:
    if image.kind == UNCLEAR:
        return _('It is not clear whether "{name}" is what the model takes as {channel}: check it.').format(
            name=image.name, channel=channel.name
        )
    # "T1 without contrast agent" says what is wrong; the constants are English for all.
    return _('"{name}" seems to be {kind}, not {channel}: check the choice.').format(
        name=image.name,
        kind=_("T1 with contrast agent") if image.kind == T1_CONTRAST else image.kind,
        channel=channel.name,
    )


def _valuesWarning(channel: Channel, sample: VoxelSample) -> str:
    """What is odd about the values, as the rest of a sentence that begins with the image's name; or ""."""
    if sample.low == sample.high:
        return _("seems to have the value {value:g} everywhere.").format(value=sample.low)
    if sample.whole and sample.distinct < FEWEST_VALUES:
        return _("has only {count} different values: is it a mask or a label map?").format(
            count=sample.distinct
        )
    if channel.modality == "CT":
        return _hounsfieldWarning(sample)
    if sample.few == sample.many:
        return _("is nearly constant: {value:g} in 98 % of its voxels.").format(value=sample.few)
    if sample.few <= -900 and sample.many >= BONE_HU and channel.modality == "MR":
        return _("has values from {low:g} to {high:g}, as a CT has; the model takes MR.").format(
            low=sample.low, high=sample.high
        )
    return ""


def _hounsfieldWarning(sample: VoxelSample) -> str:
    shown = {"low": sample.low, "high": sample.high}
    if sample.low >= 0 and sample.high <= _LARGEST_OF_A_PICTURE:
        return _(
            "has values from {low:g} to {high:g}, as a picture has, and not Hounsfield units: load the "
            "original images."
        ).format(**shown)
    if sample.few >= 0 and sample.high > 1024 + BONE_HU:
        return _(
            "has values from {low:g} to {high:g}: Hounsfield units begin at about -1000. Subtract the "
            "offset, usually 1024."
        ).format(**shown)
    if sample.low > AIR_HU:
        return _(
            "has no air (values from {low:g} to {high:g}): right for a crop, otherwise check that they are "
            "Hounsfield units."
        ).format(**shown)
    if sample.many < -AIR_HU / 4:
        return _(
            "has hardly any values of tissue (98 % lie between {few:g} and {many:g}): check that they are "
            "Hounsfield units."
        ).format(few=sample.few, many=sample.many)
    return ""
