"""The user's last choices, with which a new scene begins; a saved scene has its own."""

from __future__ import annotations

import contextlib
from collections.abc import Container

import slicer

from .. import settings
from .parameter_node import MedNeXtSegmentationParameterNode


def beginWithLastChoices(
    parameters: MedNeXtSegmentationParameterNode, names: Container[str], first: str
) -> None:
    """Fill a parameter node without choices.

    names: of all models and tasks; if the last one is not among them, `first` is chosen.
    """
    task = settings.TASK.get()
    with slicer.util.NodeModify(parameters.parameterNode):  # the panel updates once, not six times
        parameters.device = settings.DEVICE.get()
        parameters.folds = settings.FOLDS.get()
        parameters.mirroring = settings.MIRRORING.get()
        parameters.step = settings.STEP.get()
        parameters.precision = settings.PRECISION.get()
        parameters.choice = task if task in names else first


def rememberChoices(parameters: MedNeXtSegmentationParameterNode) -> None:
    """Store the choices of a run; merely looking at other tasks or scenes stores nothing."""
    settings.TASK.set(parameters.choice)
    settings.DEVICE.set(parameters.device)
    settings.MIRRORING.set(parameters.mirroring)
    settings.PRECISION.set(parameters.precision)
    with contextlib.suppress(ValueError):  # a scene with an invalid value
        settings.FOLDS.set(parameters.folds)
        settings.STEP.set(parameters.step)
