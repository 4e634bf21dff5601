"""The frames of a sequence: one volume, or one for each channel, at every index value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import slicer
import vtk
from mednext.errors import GeometryError, InputError
from mednext.images.source_image import SourceImage

from ..scene.volumes.parent_transform import deformation_of
from ..scene.volumes.voxel_feed import channelsForRun

if TYPE_CHECKING:
    Volume = slicer.vtkMRMLScalarVolumeNode
    SequenceNode = slicer.vtkMRMLSequenceNode
    BrowserNode = slicer.vtkMRMLSequenceBrowserNode


def isSequence(node: slicer.vtkMRMLNode | None) -> bool:
    """Whether a node is a sequence, or a browser of sequences."""
    return node is not None and (node.IsA("vtkMRMLSequenceNode") or node.IsA("vtkMRMLSequenceBrowserNode"))


def sequenceShownBy(volume: Volume | None) -> SequenceNode | None:
    """The sequence whose current frame a volume shows; None for another volume."""
    if volume is None or volume.GetScene() is None:
        return None
    for browser in _browsers(volume.GetScene()):
        sequence = browser.GetSequenceNode(volume)
        if sequence is not None and sequence.GetNumberOfDataNodes() > 1:
            return sequence
    return None


class Frames:
    """The volumes to segment at every index value of a sequence.

    nodes: for each channel a sequence of volumes, its browser, or a volume for all frames; at least one
        sequence.

    Raises:
        InputError: no frames, frames that are not volumes, or a channel without one of the frames.
        GeometryError: channels under different transforms.
    """

    def __init__(self, nodes: Sequence[slicer.vtkMRMLNode]) -> None:
        self._channels = [_sequenceIn(node) if isSequence(node) else node for node in nodes]
        self.master = next(node for node in self._channels if isSequence(node))
        count = self.master.GetNumberOfDataNodes()
        self.values = tuple(self.master.GetNthIndexValue(index) for index in range(count))
        if not self.values:
            raise InputError(
                f'The sequence "{self.master.GetName()}" has no frames: record or load them first.'
            )
        for sequence in filter(isSequence, self._channels):
            self._checkComplete(sequence)
        self._checkTransforms()
        self._deformation = deformation_of(self.shown)  # frames themselves are in no scene

    @property
    def browser(self) -> BrowserNode | None:
        """The browser of the sequence, if it has one."""
        return _browserOf(self.master)

    @property
    def shown(self) -> Volume:
        """The volume that shows the first channel in the scene; without one, its first frame."""
        first = self._channels[0]
        if not isSequence(first):
            return first
        browser = _browserOf(first)
        return (browser and browser.GetProxyNode(first)) or first.GetNthDataNode(0)

    def volumes(self, index: int) -> list[Volume]:
        """The volumes of one frame. Raises `InputError` when it was removed."""
        value = self.values[index]
        nodes = self._channels
        found = [node.GetDataNodeAtValue(value, True) if isSequence(node) else node for node in nodes]
        if None in found:
            raise InputError(
                f'A frame was removed from the sequence "{self.master.GetName()}": segment it again.'
            )
        return found

    def channels(self, index: int) -> list[SourceImage]:
        """The channels of one frame, all in one space. Raises the errors of `channelsForRun`."""
        channels = [channelsForRun([volume])[0] for volume in self.volumes(index)]
        return [
            replace(channel, image=channel.image and replace(channel.image, deformation=self._deformation))
            for channel in channels
        ]

    def checkPlace(self) -> None:
        """Raise `GeometryError` when the images were deformed, or moved against each other, since the run
        began."""
        self._checkTransforms()
        if deformation_of(self.shown) != self._deformation:
            raise GeometryError(
                f'"{self.master.GetName()}" was put under a transform that deforms it, or out of one, while '
                "it was segmented: segment it again."
            )

    def title(self, index: int) -> str:
        """The name of a frame in messages."""
        told = f"{self.master.GetIndexName()} {self.values[index]} {self.master.GetIndexUnit()}"
        return f"Frame {index + 1} of {len(self.values)} ({told.strip()})"

    def _checkComplete(self, sequence: SequenceNode) -> None:
        for value in self.values:
            frame = sequence.GetDataNodeAtValue(value, True)
            if frame is None or not frame.IsA("vtkMRMLScalarVolumeNode"):
                what = "has no frame" if frame is None else "has no volume, but other data,"
                raise InputError(
                    f'The sequence "{sequence.GetName()}" {what} at the index {value} of '
                    f'"{self.master.GetName()}": give sequences of volumes with the same index values.'
                )

    def _checkTransforms(self) -> None:
        places = []
        for node in self._channels:
            browser = _browserOf(node) if isSequence(node) else None
            shown = browser.GetProxyNode(node) if browser else None if isSequence(node) else node
            places.append(shown.GetParentTransformNode() if shown else None)
        if any(place is not places[0] for place in places):
            raise GeometryError(
                "The channels are under different transforms: put all of them under the same one, or harden "
                "the transforms."
            )


def _sequenceIn(node: SequenceNode | BrowserNode) -> SequenceNode:
    """The sequence itself, or the only one of volumes that a browser has."""
    if node.IsA("vtkMRMLSequenceNode"):
        return node
    sequences = vtk.vtkCollection()
    node.GetSynchronizedSequenceNodes(sequences, True)
    ofVolumes = [each for each in sequences if each.GetDataNodeClassName() == "vtkMRMLScalarVolumeNode"]
    if len(ofVolumes) != 1:
        names = ", ".join(f'"{each.GetName()}"' for each in ofVolumes) or "none"
        raise InputError(
            f'The browser "{node.GetName()}" has {len(ofVolumes)} sequences of volumes ({names}): give the '
            "sequence."
        )
    return ofVolumes[0]


def _browserOf(sequence: SequenceNode) -> BrowserNode | None:
    scene = sequence.GetScene()
    browsers = _browsers(scene) if scene else []
    return next((each for each in browsers if each.IsSynchronizedSequenceNode(sequence, True)), None)


def _browsers(scene: slicer.vtkMRMLScene) -> list[BrowserNode]:
    count = scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")
    return [scene.GetNthNodeByClass(index, "vtkMRMLSequenceBrowserNode") for index in range(count)]
