"""Images and corrected labels of a result, as a case of a training set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import slicer
from mednext.errors import OptionError
from mednext.model import read_model

from .drawn_segments import DrawnSegments
from .found_labels import found_of
from .provenance import provenance_of
from .result_images import images_of
from .segmented_region import segmented_region
from .volume_from_node import channels_from_nodes

if TYPE_CHECKING:
    from mednext.training_case import TrainingCase


def prepare_training_case(node: slicer.vtkMRMLSegmentationNode, folder: Path) -> Callable[[], TrainingCase]:
    """Copy from the scene what is needed; the function that comes back writes the case, in any thread.

    `folder` is a data set of nnU-Net, or the folder in which there is one for the model's task or shall be.
    The images' voxels are read when that function runs.

    Raises `OptionError` for a node that no model made, `UnknownModelError` when that model is no longer
    installed, and the errors of `segmented_region`, `DrawnSegments.take`, `channels_from_nodes` and
    `dataset_folder`.
    """
    from mednext.store import find_model
    from mednext.training_case import add_training_case
    from mednext.training_set import dataset_folder

    name = provenance_of(node).get("model")
    if not name:
        raise OptionError(f'"{node.GetName()}" was made by no model, and nothing says what its labels mean.')
    model = read_model(find_model(name))
    images = images_of(node)
    if not images:
        raise OptionError(f'The images of "{node.GetName()}" are no longer in the scene.')
    channels = channels_from_nodes(images)
    region = segmented_region(node, name, images[0])
    drawn = DrawnSegments.take(node, images[0], model.labels)
    found, target = found_of(node), dataset_folder(folder, model)
    author = _author()
    return lambda: add_training_case(
        target,
        model,
        channels,
        drawn.segmentation(),
        region=region,
        found=found.labelmap() if found else None,
        author=author,
    )


def _author() -> str:
    """The name in Slicer's settings, if the user gave one."""
    logic = slicer.app.applicationLogic()
    person = logic.GetUserInformation() if hasattr(logic, "GetUserInformation") else None
    return person.GetName() or "" if person is not None else ""
