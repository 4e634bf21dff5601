"""The choices of the panel, kept in a parameter node and saved with the scene."""

from __future__ import annotations

from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

from ..settings import ALL_FOLDS


@parameterNodeWrapper
class MedNeXtSegmentationParameterNode:
    """What was chosen, and what came of it.

    choice: name of the installed model, or of a task without weights.
    roi: limits the work to a box.
    allFrames: segment all frames of a sequence, where a volume is one of them.
    device: where the network runs.
    folds: "all", or the number of the only fold to use.
    mirroring: whether to average over mirrored copies.
    segmentation: what the result goes into; None for a new one.
    leftOut: label values of the chosen model's structures that are not made.
    uncertainty: whether to make a volume of the uncertainty too.
    result: the last segmentation that the panel made.
    """

    choice: str = ""
    roi: slicer.vtkMRMLMarkupsROINode | None
    allFrames: bool = False
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    folds: str = ALL_FOLDS
    mirroring: bool = True
    segmentation: slicer.vtkMRMLSegmentationNode | None
    leftOut: list[int]
    uncertainty: bool = False
    result: slicer.vtkMRMLSegmentationNode | None


def plainChoices(parameters: MedNeXtSegmentationParameterNode) -> dict[str, object]:
    """The choices that are no images of a patient, for a report."""
    names = ("choice", "device", "folds", "mirroring")
    return {name: getattr(parameters, name) for name in names} | {"roi": parameters.roi is not None}


def channelNode(
    parameters: MedNeXtSegmentationParameterNode, index: int
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume chosen for a channel. A model has as many as it wants, a wrapper's fields are fixed."""
    return parameters.parameterNode.GetNodeReference(_role(index))


def setChannelNode(
    parameters: MedNeXtSegmentationParameterNode, index: int, node: slicer.vtkMRMLScalarVolumeNode | None
) -> None:
    """Choose the volume of a channel."""
    parameters.parameterNode.SetNodeReferenceID(_role(index), node.GetID() if node else None)


def _role(index: int) -> str:
    return f"channel{index}"
