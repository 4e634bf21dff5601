"""What a user chose and what the next session starts with, in Slicer's settings under "MedNeXtSegmentation/".

    settings.DEVICE.get()  # "auto"
    settings.DEVICE.set("cpu")

Choices that belong to a scene are in `panel/parameters.py`; those of a saved scene win over these.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import slicer
from mednext.system.devices import DEVICES
from mednext.worker.protocol import RELEASE_AFTER_S

T = TypeVar("T")

ALL_FOLDS = "all"

_GROUP = "MedNeXtSegmentation"
_LONGEST_IDLE_MINUTES = 24 * 60.0


@dataclass(frozen=True)
class Setting(Generic[T]):
    """One setting of the user.

    Attributes:
        key: its name below "MedNeXtSegmentation/".
        default: what it is before the user chose, and where somebody has put nonsense into the file.
        read: the value in a text; raises ValueError for nonsense.
    """

    key: str
    default: T
    read: Callable[[str], T]

    def get(self) -> T:
        """The user's choice, or the default."""
        stored = slicer.app.userSettings().value(f"{_GROUP}/{self.key}")
        if stored is None:
            return self.default
        try:
            return self.read(str(stored))
        except ValueError:
            return self.default

    def set(self, value: T) -> None:
        """Remember a choice. Raises ValueError for one that could not be read again."""
        self.read(str(value))
        slicer.app.userSettings().setValue(f"{_GROUP}/{self.key}", str(value))

    def reset(self) -> None:
        """Forget the choice: the default is used again."""
        slicer.app.userSettings().remove(f"{_GROUP}/{self.key}")


def _device(text: str) -> str:
    if text not in DEVICES:
        raise ValueError(f"no device: {text!r}")
    return text


def _flag(text: str) -> bool:
    values = {"true": True, "false": False}
    try:
        return values[text.casefold()]
    except KeyError:
        raise ValueError(f"neither true nor false: {text!r}") from None


def _folds(text: str) -> str:
    if text != ALL_FOLDS and not (text.isascii() and text.isdecimal()):
        raise ValueError(f"no fold: {text!r}")
    return text


def _minutes(text: str) -> float:
    minutes = float(text)
    if not math.isfinite(minutes) or not 0 <= minutes <= _LONGEST_IDLE_MINUTES:
        raise ValueError(f"not between 0 and {_LONGEST_IDLE_MINUTES:g} minutes: {text}")
    return minutes


TASK = Setting("task", "", str)
"""Name of the model or task chosen last; "" before the first choice."""

DEVICE = Setting("device", "auto", _device)
"""Where the network runs: one of `mednext.system.devices.DEVICES`."""

FOLDS = Setting("folds", ALL_FOLDS, _folds)
"""`ALL_FOLDS`, or the index of a single fold; a model without that fold uses all of its own."""

MIRRORING = Setting("mirroring", True, _flag)
"""Whether to average over mirrored copies."""

MODELS_FOLDER = Setting("modelsFolder", "", str)
"""Where models are installed; "" for the folder of `mednext.library.store`."""

ACCEPTED_TERMS = Setting("acceptedTerms", "", str)
"""Names of the models whose terms of use were accepted, with spaces between."""

TRAINING_SET_FOLDER = Setting("trainingSetFolder", "", str)
"""Where corrected cases were put last; "" before the first one."""

EXPORT_FOLDER = Setting("exportFolder", "", str)
"""Where results were exported to last; "" before the first one."""

IDLE_MINUTES = Setting("idleMinutes", RELEASE_AFTER_S / 60, _minutes)
"""After so many minutes without a run the engine frees the device."""
