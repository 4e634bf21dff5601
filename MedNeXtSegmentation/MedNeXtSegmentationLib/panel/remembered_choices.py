"""The user's last choices, with which a new scene begins; a saved scene has its own."""

from __future__ import annotations

import contextlib
from collections.abc import Container

import slicer

from .. import settings
from .parameter_node import MedNeXtSegmentationParameterNode

_KEPT = {
    "device": settings.DEVICE,
    "folds": settings.FOLDS,
    "mirroring": settings.MIRRORING,
    "step": settings.STEP,
    "precision": settings.PRECISION,
}


def beginWithLastChoices(
    parameters: MedNeXtSegmentationParameterNode, names: Container[str], first: str
) -> None:
    """Fill a parameter node without choices.

    names: of all models and tasks; if the last one is not among them, `first` is chosen.
    """
    task = settings.TASK.get()
    with slicer.util.NodeModify(parameters.parameterNode):  # the panel updates once, not six times
        for name, setting in _KEPT.items():
            setattr(parameters, name, setting.get())
        parameters.choice = task if task in names else first


def rememberChoices(parameters: MedNeXtSegmentationParameterNode) -> None:
    """Store the choices of a run; merely looking at other tasks or scenes stores nothing."""
    settings.TASK.set(parameters.choice)
    for name, setting in _KEPT.items():
        with contextlib.suppress(ValueError):  # a scene with an invalid value
            setting.set(getattr(parameters, name))
