"""The job that adds images and corrected labels of a result to a training set."""

from __future__ import annotations

from pathlib import Path

import slicer
from mednext.errors import OptionError
from mednext.model.model_file import read_model
from mednext.model.sides import has_sides
from mednext.worker.scene.jobs import TrainingJob

from ..result_record import found_labels_of, images_of, provenance_of
from ..segments.segmented_region import segmented_region
from ..volumes.voxel_feed import channelsForRun
from .drawn_segments import drawn_segments_of


def training_job(node: slicer.vtkMRMLSegmentationNode, folder: Path) -> TrainingJob:
    """Copy images and labels of a segmentation from the scene, for `engine.scene_job.start_job`.

    `folder` is a data set of nnU-Net, or the folder that has or gets one for the model's task.

    Raises `OptionError` for a node that no model made or that has both sides of a whole head,
    `UnknownModelError` when that model is no longer installed, and the errors of `segmented_region`,
    `drawn_segments_of`, `channels_from_nodes` and `dataset_folder`.
    """
    from mednext.library.store import find_model
    from mednext.training_set.dataset import dataset_folder

    if has_sides(provenance_of(node)):
        raise OptionError(
            f'"{node.GetName()}" has both sides of a whole head, but its model learns from images around one '
            "side: crop the image around a side, segment the crop, and add that."
        )
    name = provenance_of(node).get("model")
    if not name:
        raise OptionError(f'"{node.GetName()}" was made by no model: its labels have no known meaning.')
    place = find_model(name)
    model = read_model(place)
    images = images_of(node)
    if not images:
        raise OptionError(f'The images of "{node.GetName()}" are no longer in the scene.')
    region = segmented_region(node, name, images[0])
    channels = channelsForRun(images)
    drawn = drawn_segments_of(node, images[0], model.labels)
    target = dataset_folder(folder, model)
    return TrainingJob(target, place, channels, drawn, region, found_labels_of(node), _author())


def _author() -> str:
    """The user's name in Slicer's settings; "" if there is none."""
    logic = slicer.app.applicationLogic()
    person = logic.GetUserInformation() if hasattr(logic, "GetUserInformation") else None
    return person.GetName() or "" if person is not None else ""
