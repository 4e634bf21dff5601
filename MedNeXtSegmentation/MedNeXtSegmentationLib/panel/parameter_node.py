"""The choices of the panel, kept in a parameter node and saved with the scene."""

from __future__ import annotations

from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import Choice, parameterNodeWrapper

from ..settings import ALL_FOLDS


@parameterNodeWrapper
class MedNeXtSegmentationParameterNode:
    """The choices and the last result.

    choice: name of the installed model, or of a task without weights.
    roi: limits the run to a box.
    allFrames: segment all frames if a volume is the frame of a sequence.
    device: the device of the network.
    folds: "all", or the number of a single fold.
    mirroring: whether to average over mirrored copies.
    step: distance of tiles as a fraction of the patch; 0 for the model's.
    precision: of the network on the CPU.
    segmentation: the node for the result; None for a new one.
    leftOut: label values of the structures to omit.
    uncertainty: whether to add a volume of the uncertainty.
    result: the panel's last segmentation.
    """

    choice: str = ""
    roi: slicer.vtkMRMLMarkupsROINode | None
    allFrames: bool = False
    device: Annotated[str, Choice(["auto", "cpu", "cuda", "mps"])] = "auto"
    folds: str = ALL_FOLDS
    mirroring: bool = True
    step: float = 0.0
    precision: Annotated[str, Choice(["float32", "bfloat16"])] = "float32"
    segmentation: slicer.vtkMRMLSegmentationNode | None
    leftOut: list[int]
    uncertainty: bool = False
    result: slicer.vtkMRMLSegmentationNode | None


def plainChoices(parameters: MedNeXtSegmentationParameterNode) -> dict[str, object]:
    """The choices without data of a patient, for a report."""
    names = ("choice", "device", "folds", "mirroring", "step", "precision")
    return {name: getattr(parameters, name) for name in names} | {"roi": parameters.roi is not None}


def channelNode(
    parameters: MedNeXtSegmentationParameterNode, index: int
) -> slicer.vtkMRMLScalarVolumeNode | None:
    """The volume chosen for a channel: a reference, since the number of channels depends on the model."""
    return parameters.parameterNode.GetNodeReference(_role(index))


def setChannelNode(
    parameters: MedNeXtSegmentationParameterNode, index: int, node: slicer.vtkMRMLScalarVolumeNode | None
) -> None:
    """Choose the volume of a channel."""
    parameters.parameterNode.SetNodeReferenceID(_role(index), node.GetID() if node else None)


def _role(index: int) -> str:
    return f"channel{index}"
