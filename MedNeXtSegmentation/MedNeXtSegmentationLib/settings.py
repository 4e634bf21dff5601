"""The user's choices for the next session, in Slicer's settings under "MedNeXtSegmentation/".

    settings.DEVICE.get()  # "auto"
    settings.DEVICE.set("cpu")

`panel/parameter_node.py` has the choices of a scene, which take precedence in a saved scene.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import slicer
from mednext.inference.options import MIN_STEP
from mednext.system.devices import DEVICES, PRECISIONS
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
        default: the value before the user's choice, and for an invalid entry of the file.
        read: returns the value of a text; raises ValueError for an invalid one.
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
        """Store a choice. Raises ValueError for an invalid one."""
        self.read(str(value))
        slicer.app.userSettings().setValue(f"{_GROUP}/{self.key}", str(value))


@dataclass(frozen=True)
class SecretSetting(Setting[str]):
    """A setting that other users of the computer must not read, in a file that Qt would let them read."""

    def set(self, value: str) -> None:
        """Store a secret, and make the file of the settings private. Raises ValueError for an invalid one."""
        super().set(value)
        stored = slicer.app.userSettings()
        stored.sync()
        with suppress(OSError):  # another user's file, or none: settings may lie elsewhere
            Path(stored.fileName()).chmod(0o600)


def _one_of(values: Collection[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in values:
            raise ValueError(f"none of {', '.join(values)}: {text!r}")
        return text

    return read


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


def _step(text: str) -> float:
    step = float(text)
    if step and not MIN_STEP <= step <= 1:
        raise ValueError(f"neither 0 nor {MIN_STEP} to 1: {text}")
    return step


def _minutes(text: str) -> float:
    minutes = float(text)
    if not math.isfinite(minutes) or not 0 <= minutes <= _LONGEST_IDLE_MINUTES:
        raise ValueError(f"not between 0 and {_LONGEST_IDLE_MINUTES:g} minutes: {text}")
    return minutes


TASK = Setting("task", "", str)
"""Name of the model or task chosen last; "" before the first choice."""

DEVICE = Setting("device", "auto", _one_of(DEVICES))
"""The device of the network: one of `mednext.system.devices.DEVICES`."""

FOLDS = Setting("folds", ALL_FOLDS, _folds)
"""`ALL_FOLDS`, or the index of a single fold; a model without that fold uses all its folds."""

MIRRORING = Setting("mirroring", True, _flag)
"""Whether to average over mirrored copies."""

STEP = Setting("step", 0.0, _step)
"""The distance of tiles as a fraction of the patch; 0 for the model's."""

PRECISION = Setting("precision", "float32", _one_of(PRECISIONS))
"""The precision of the network on the CPU: one of `mednext.system.devices.PRECISIONS`."""

MODELS_FOLDER = Setting("modelsFolder", "", str)
"""The folder of installed models; "" for that of `mednext.library.store`."""

ACCEPTED_TERMS = Setting("acceptedTerms", "", str)
"""The models whose terms of use were accepted, see `terms_of_use.py`, with spaces between."""

TRAINING_SET_FOLDER = Setting("trainingSetFolder", "", str)
"""The last training set; "" before the first corrected case."""

EXPORT_FOLDER = Setting("exportFolder", "", str)
"""The folder of the last export; "" before the first one."""

SERVER_CHOSEN = Setting("serverChosen", False, _flag)
"""Whether the panel lets a server compute. Not in the scene: that of a colleague must send no images away."""

SERVER_ADDRESS = Setting("serverAddress", "", str)
"""The address of the server; "" before the first one."""

SERVER_KEY = SecretSetting("serverKey", "", str)
"""The key for the server."""

SERVER_CERTIFICATE = Setting("serverCertificate", "", str)
"""PEM file to trust for the server; "" for the usual authorities."""

IDLE_MINUTES = Setting("idleMinutes", RELEASE_AFTER_S / 60, _minutes)
"""Minutes without a run after which the engine frees the device."""
