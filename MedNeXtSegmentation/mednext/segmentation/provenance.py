"""The provenance of a segmentation: a record, stored with it, of how it was made."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import SimpleITK as sitk
import torch

from .. import __version__
from ..images.geometry import Roi
from ..model.bundle import Bundle
from ..system.devices import device_name
from .recipe import recipe


def provenance(
    bundle: Bundle,
    folds: Sequence[int],
    mirror_axes: Sequence[int],
    step: float,
    roi: Roi | None,
    precision: str,
    device: torch.device,
    seconds: float,
) -> dict[str, str]:
    """Model, weights, options, device, time and software of a run."""
    return {
        **recipe(bundle.model, folds, bool(mirror_axes), step, roi, precision),
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
