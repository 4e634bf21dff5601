"""Open Slicer's Segment Statistics on a result."""

from __future__ import annotations

import slicer
from mednext.errors import OutputError

from ...scene.result_record import images_of


def openStatistics(node: slicer.vtkMRMLSegmentationNode) -> None:
    """Show the module with this segmentation and its first image, and with a new table.

    A table that was chosen there before may hold the numbers of another segmentation.

    Raises `OutputError` when Slicer runs without the module.
    """
    module = getattr(slicer.modules, "segmentstatistics", None)
    if module is None:
        raise OutputError("Slicer's module Segment Statistics is not loaded: enable it in the settings.")
    slicer.util.selectModule("SegmentStatistics")
    widget = module.widgetRepresentation().self()
    widget.segmentationSelector.setCurrentNode(node)
    widget.scalarSelector.setCurrentNode(next(iter(images_of(node)), None))
    widget.outputTableSelector.setCurrentNode(None)
