"""How a segmentation was made, in words that are stored with it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import SimpleITK as sitk
import torch

from . import __version__
from .bundle import Bundle
from .devices import device_name
from .geometry import Roi


def provenance(
    bundle: Bundle,
    folds: Sequence[int],
    mirror_axes: Sequence[int],
    step: float,
    roi: Roi | None,
    device: torch.device,
    seconds: float,
) -> dict[str, str]:
    """Model, weights, options, device, time and software of a run."""
    model = bundle.model
    hashes = {fold.index: fold.sha256 for fold in model.folds}
    return {
        "model": model.name,
        "model_version": model.version,
        "task": model.task,
        "folds": " ".join(str(fold) for fold in folds),
        **{f"fold_{fold}_sha256": hashes[fold] for fold in folds},
        "pipeline": model.pipeline,
        "mirror_axes": " ".join(str(axis) for axis in mirror_axes),
        "step": f"{step:g}",
        "roi_ras_mm": " ".join(f"{value:g}" for value in (*roi.lower, *roi.upper)) if roi else "",
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
