"""The choice between the shown frame of a sequence and all frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from ...sequences.frames import sequenceShownBy
from ...sequences.sequence_place import shownSegmentation
from ..parameter_node import MedNeXtSegmentationParameterNode

Volume = slicer.vtkMRMLScalarVolumeNode


class FramesChoice:
    """The check box, which is visible when a chosen volume is the frame of a sequence."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._parameters: MedNeXtSegmentationParameterNode | None = None
        self._nodes: list[Volume | None] = []

    def show(self, nodes: Sequence[Volume | None], parameters: MedNeXtSegmentationParameterNode) -> None:
        """Show or hide the check box for these volumes."""
        self._nodes, self._parameters = list(nodes), parameters
        sequence = self._sequence
        box = self._ui.allFramesBox
        box.visible = self._ui.Frames.visible = sequence is not None  # an empty section would leave a gap
        if sequence is not None:
            box.text = _("All {count} frames of the se&quence").format(count=sequence.GetNumberOfDataNodes())
        self._ui.segmentationSelector.enabled = not self.all

    @property
    def all(self) -> bool:
        """Whether all frames of a sequence are segmented, into a new sequence."""
        return bool(self._sequence and self._parameters and self._parameters.allFrames)

    @property
    def count(self) -> int:
        """The number of frames to segment."""
        return self._sequence.GetNumberOfDataNodes() if self.all else 1

    @property
    def _sequence(self) -> slicer.vtkMRMLSequenceNode | None:
        return next(filter(None, map(sequenceShownBy, self._nodes)), None)

    def inputs(self) -> list[Any]:
        """The nodes to segment: the volumes, or the sequences of which they are frames."""
        if not self.all:
            return list(self._nodes)
        return [sequenceShownBy(node) or node for node in self._nodes]

    def options(self, options: dict[str, Any], onDone: Callable[[Any], None]) -> dict[str, Any]:
        """The options of the run; `onDone` gets a segmentation node, also for a sequence."""
        done = (lambda sequence: onDone(shownSegmentation(sequence))) if self.all else onDone
        return {**options, "onDone": done}
