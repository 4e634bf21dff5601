"""The provenance of a segmentation: a record, stored with it, of how it was made."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .. import __version__
from ..model.description import Model
from ..system.devices import device_name

if TYPE_CHECKING:
    import torch


def model_words(model: Model, folds: Sequence[int]) -> dict[str, str]:
    """Model and weights."""
    hashes = {fold.index: fold.sha256 for fold in model.folds}
    return {
        "model": model.name,
        "model_version": model.version,
        "model_sha256": model_sha256(model),
        "task": model.task,
        "folds": " ".join(str(fold) for fold in folds),
        **{f"fold_{fold}_sha256": hashes[fold] for fold in folds if fold in hashes},
        "pipeline": model.pipeline,
    }


def model_sha256(model: Model) -> str:
    """SHA-256 of the values of `model.json`, which include the SHA-256 of the weights."""
    return hashlib.sha256(json.dumps(model.to_json(), sort_keys=True).encode()).hexdigest()


def run_words(device: torch.device, seconds: float) -> dict[str, str]:
    """Device, time and software of a run that ends now."""
    import numpy as np
    import SimpleITK as sitk
    import torch  # never in Slicer's process, which imports this file

    return {
        "device": device_name(device),
        "seconds": f"{seconds:.1f}",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "mednext": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "SimpleITK": sitk.Version_VersionString(),
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
