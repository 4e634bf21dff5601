"""A new scene begins with what the user chose last; a saved scene keeps its own choices."""

from __future__ import annotations

import contextlib
from collections.abc import Container

import slicer

from .. import settings
from .parameter_node import MedNeXtSegmentationParameterNode


def beginWithLastChoices(
    parameters: MedNeXtSegmentationParameterNode, names: Container[str], first: str
) -> None:
    """Fill a parameter node in which nothing was chosen.

    names: of the models and tasks that there are; the last one may be gone, then it is `first`.
    """
    task = settings.TASK.get()
    with slicer.util.NodeModify(parameters.parameterNode):  # the panel follows once, not four times
        parameters.device = settings.DEVICE.get()
        parameters.folds = settings.FOLDS.get()
        parameters.mirroring = settings.MIRRORING.get()
        parameters.choice = task if task in names else first


def rememberChoices(parameters: MedNeXtSegmentationParameterNode) -> None:
    """Keep what the user is about to run with: looking at other tasks or at a scene changes no habit."""
    settings.TASK.set(parameters.choice)
    settings.DEVICE.set(parameters.device)
    settings.MIRRORING.set(parameters.mirroring)
    with contextlib.suppress(ValueError):  # somebody wrote nonsense into a scene
        settings.FOLDS.set(parameters.folds)
