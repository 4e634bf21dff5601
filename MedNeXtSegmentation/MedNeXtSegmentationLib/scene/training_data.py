"""Images and corrected labels of a result, as a case of a training set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import slicer
from mednext.errors import OptionError
from mednext.geometry import Box
from mednext.model import Model, read_model
from mednext.protocol import Channel

from .drawn_segments import DrawnSegments
from .found_labels import FoundLabels, found_of
from .provenance import provenance_of
from .result_images import images_of
from .segmented_region import segmented_region
from .voxels_for_run import channelsForRun

if TYPE_CHECKING:
    from mednext.training_case import TrainingCase


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A training case that any thread can write while the main thread copies the images' voxels for it."""

    _folder: Path
    _model: Model
    _channels: Sequence[Channel]
    _drawn: DrawnSegments
    _region: Box | None
    _found: FoundLabels | None
    _author: str

    def provide(self, until: float) -> None:
        """Copy voxels until that moment of `time.monotonic`; see `VoxelFeed`. For the main thread."""
        all(channel.array.copy(until) for channel in self._channels)

    def write(self) -> TrainingCase:
        """Wait for the voxels and write the case. Raises `InputError` when they were changed meanwhile, and
        the errors of `DrawnSegments.segmentation` and `add_training_case`."""
        from mednext.training_case import add_training_case

        return add_training_case(
            self._folder,
            self._model,
            [replace(channel, array=np.stack(list(channel.array))) for channel in self._channels],
            self._drawn.segmentation(),
            region=self._region,
            found=self._found.labelmap() if self._found else None,
            author=self._author,
        )


def prepare_training_case(node: slicer.vtkMRMLSegmentationNode, folder: Path) -> PreparedCase:
    """Take from the scene what is needed for a training case of a segmentation.

    `folder` is a data set of nnU-Net, or the folder in which there is one for the model's task or shall be.

    Raises `OptionError` for a node that no model made, `UnknownModelError` when that model is no longer
    installed, and the errors of `segmented_region`, `DrawnSegments.take`, `channels_from_nodes` and
    `dataset_folder`.
    """
    from mednext.store import find_model
    from mednext.training_set import dataset_folder

    name = provenance_of(node).get("model")
    if not name:
        raise OptionError(f'"{node.GetName()}" was made by no model, and nothing says what its labels mean.')
    model = read_model(find_model(name))
    images = images_of(node)
    if not images:
        raise OptionError(f'The images of "{node.GetName()}" are no longer in the scene.')
    region = segmented_region(node, name, images[0])
    channels = channelsForRun(images)
    drawn = DrawnSegments.take(node, images[0], model.labels)
    target = dataset_folder(folder, model)
    return PreparedCase(target, model, channels, drawn, region, found_of(node), _author())


def _author() -> str:
    """The name in Slicer's settings, if the user gave one."""
    logic = slicer.app.applicationLogic()
    person = logic.GetUserInformation() if hasattr(logic, "GetUserInformation") else None
    return person.GetName() or "" if person is not None else ""
