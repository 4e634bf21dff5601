"""Check the images of a run against the model, for the panel, the logic, the command line and batches alike.

The check reads headers, names, grids and a sample of the voxels, in milliseconds. Images that are certainly
wrong are refused unless the user insists; every other doubt is a warning, since the user may know better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import INSIST, SuspectInputError
from ..images.description.image_description import ImageDescription
from ..images.geometry import Geometry, reorient_array
from ..images.plausible_grids import tilt_degrees
from ..model.description import Model
from .image_doubts import Doubt, image_doubts
from .name_doubts import misnamed, name_doubts
from .skull_doubt import skull_doubts
from .spacing_doubt import spacing_warning
from .voxel_sample import VoxelSample, sample_of

if TYPE_CHECKING:
    from ..images.volume import Volume

_TILTED_DEGREES = 25.0


@dataclass(frozen=True, eq=False)
class InputImage:
    """The facts about one channel that the checks need; `grid` is that of the channel's own file or node."""

    image: ImageDescription
    grid: Geometry
    sample: VoxelSample


@dataclass(frozen=True)
class Findings:
    """The doubts about the images, in the order in which they should be read."""

    doubts: tuple[Doubt, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """The sentences of all doubts, each once."""
        return tuple(dict.fromkeys(doubt.sentence for doubt in self.doubts))

    def refuse(self) -> None:
        """Raise `SuspectInputError` if an image is certainly wrong."""
        certain = dict.fromkeys(doubt.sentence for doubt in self.doubts if doubt.certain)
        if certain:
            raise SuspectInputError(" ".join([*certain, INSIST]))


def inputs_of(volume: Volume) -> list[InputImage]:
    """The facts about each channel of a volume."""
    grid = volume.geometry
    return [
        InputImage(image, grid, sample_of(_oriented(array, grid)))
        for image, array in zip(volume.described, volume.array, strict=True)
    ]


def _oriented(array: np.ndarray, grid: Geometry) -> np.ndarray:
    """A view in one orientation, so that copies of an image are recognised however their axes are stored."""
    return reorient_array(array[np.newaxis], grid, "RAS")[0][0]


def check_inputs(model: Model, inputs: Sequence[InputImage]) -> Findings:
    """Compare images with the model's channels, in the same order, and with each other."""
    channels, images = model.channels, [each.image for each in inputs]
    wrong = misnamed(channels, images)
    doubts = [
        doubt
        for index, (channel, each) in enumerate(zip(channels, inputs, strict=True))
        for doubt in image_doubts(channel, each.image, each.sample, wrong.get(index, ""))
    ]
    if wrong and len(channels) > 1:
        names = ", ".join(channel.name for channel in channels)
        doubts.append(Doubt(f"The model takes {names}, in this order.", True))
    doubts += [*_examinations(images), *name_doubts(channels, images), *_apart(inputs)]
    doubts += skull_doubts(model, [(each.image.name, each.grid, each.sample) for each in inputs])
    doubts.append(Doubt(spacing_warning(inputs[0].grid, model, f'"{images[0].name}"')))
    return Findings(tuple(doubt for doubt in doubts if doubt.sentence))


def _examinations(images: Sequence[ImageDescription]) -> Iterator[Doubt]:
    """Doubts about headers of different patients, studies or positions of the patient."""
    if len({image.patient for image in images} - {""}) > 1:
        yield Doubt("The images are of different patients.", True)
    elif len({image.study for image in images} - {""}) > 1:
        yield Doubt("The images are of different studies: the network expects them to be of one day.")
    elif len({image.frame for image in images} - {""}) > 1:
        yield Doubt("The images have different frames of reference: are they registered to each other?")


def _apart(inputs: Sequence[InputImage]) -> Iterator[Doubt]:
    """Doubts about images that are tilted against each other, or are the same image."""
    first = inputs[0]
    for index, each in enumerate(inputs[1:], start=1):
        name = f'"{each.image.name}"'
        tilt = tilt_degrees(each.grid, first.grid)
        if tilt > _TILTED_DEGREES:
            yield Doubt(f'{name} is tilted by {tilt:.0f}° against "{first.image.name}": are they registered?')
        for earlier in inputs[:index]:
            both = f'{name} and "{earlier.image.name}"'
            if each.image.file and each.image.file == earlier.image.file:
                yield Doubt(f"{both} are one file: choose one image for each.", True)
            elif each.sample.same_as(earlier.sample):
                yield Doubt(f"{both} have the same voxels: choose one image for each.", True)
