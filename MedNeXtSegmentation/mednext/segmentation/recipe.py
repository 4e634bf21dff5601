"""The recipe of a result: model, weights and options, without the device and the time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from ..images.geometry import Roi
from ..model.description import Model


def recipe(
    model: Model,
    folds: Sequence[int] | None = None,
    mirroring: bool = True,
    step: float | None = None,
    roi: Roi | None = None,
    precision: str = "float32",
) -> dict[str, str]:
    """The entries of a result's provenance for these options; see `inference.segment` for their meaning.

    Two results with the same recipe and the same images are the same up to the device's rounding.
    """
    chosen = [fold.index for fold in model.folds] if folds is None else list(folds)
    hashes = {fold.index: fold.sha256 for fold in model.folds}
    axes = model.mirror_axes if mirroring else ()
    return {
        "model": model.name,
        "model_version": model.version,
        "model_sha256": model_sha256(model),
        "task": model.task,
        "folds": " ".join(str(fold) for fold in chosen),
        **{f"fold_{fold}_sha256": hashes[fold] for fold in chosen if fold in hashes},
        "pipeline": model.pipeline,
        "mirror_axes": " ".join(str(axis) for axis in axes),
        "step": f"{model.step if step is None else step:g}",
        "roi_ras_mm": " ".join(f"{value:g}" for value in (*roi.lower, *roi.upper)) if roi else "",
        "precision": precision,
    }


def model_sha256(model: Model) -> str:
    """SHA-256 of the content of `model.json`, which includes the SHA-256 of the weights."""
    return hashlib.sha256(json.dumps(model.to_json(), sort_keys=True).encode()).hexdigest()
