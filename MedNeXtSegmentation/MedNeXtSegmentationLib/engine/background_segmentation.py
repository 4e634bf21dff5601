"""A segmentation in the background: when it is done its result goes into the scene."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from mednext.segmentation import Segmentation

from .background_run import BackgroundRun
from .run import ProgressCallback, Run


class BackgroundSegmentation(BackgroundRun):
    """Follows a segmentation from Slicer's main thread.

    add: puts the segmentation into the scene.
    onProgress: gets dictionaries with stage, done, total and remaining_s.
    onDone: gets the segmentation node.
    onError: see `BackgroundRun`; `cancel` leaves the scene as it is.
    """

    def __init__(
        self,
        run: Run[Segmentation],
        add: Callable[[Segmentation], slicer.vtkMRMLSegmentationNode],
        onProgress: ProgressCallback | None = None,
        onDone: Callable[[slicer.vtkMRMLSegmentationNode], Any] | None = None,
        onError: Callable[[Exception], Any] | None = None,
    ) -> None:
        self._add = add
        BackgroundRun.__init__(self, run, onProgress, onDone, onError)

    def _outcome(self) -> slicer.vtkMRMLSegmentationNode:
        return self._add(BackgroundRun._outcome(self))
