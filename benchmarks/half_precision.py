"""Dice of the default model in float32 and in bfloat16, on the validation cases of its training.

It reads images from `$MEDNEXT_DATA` or `../shared/data`, and is skipped without them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from mednext import load_bundle, read_channels, segment
from mednext.inference.loaded_networks import LoadedNetworks
from mednext.system.devices import PRECISIONS
from mednext_training.metrics import dice

from . import ROOT, Settings
from .report import Row, table

_CASE = re.compile(r"^\| (hippocampus_\d+) \|", re.MULTILINE)


def measure(settings: Settings) -> str:
    """A table of mean Dice; one sentence if the images are missing."""
    import SimpleITK as sitk

    folder = Path(os.environ.get("MEDNEXT_DATA", ROOT.parent / "shared" / "data")) / "hippocampus"
    if not folder.is_dir():
        return f"The images of the hippocampus are not in {folder}: Dice in bfloat16 was not measured."
    bundle = load_bundle("hippocampus")
    kept = {precision: LoadedNetworks() for precision in PRECISIONS}
    results: dict[str, list[dict[str, float]]] = {precision: [] for precision in PRECISIONS}
    formulations, equal, found_in_any = {}, 0, 0
    cases = _validation_cases()
    for case in cases[: settings.pick(1, len(cases), len(cases))]:
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels" / f"{case}.nii.gz")))
        labels = {}
        for precision, networks in kept.items():
            image = read_channels([folder / "images" / f"{case}.nii.gz"])
            found = segment(image, bundle, device="cpu", precision=precision, networks=networks)
            labels[precision] = found.labelmap
            formulations[precision] = found.provenance["formulation"]
            scores = {
                label.name: dice(truth == label.value, found.labelmap == label.value)
                for label in found.labels
            }
            results[precision].append(scores | {"mean": float(np.mean(list(scores.values())))})
        full, half = (labels[precision] for precision in PRECISIONS)
        structure = (full > 0) | (half > 0)
        equal += int((full == half)[structure].sum())
        found_in_any += int(structure.sum())
    rows: list[Row] = [
        {
            "": f"{precision} ({formulations[precision]})",
            **{name: float(np.mean([scores[name] for scores in cases])) for name in cases[0]},
        }
        for precision, cases in results.items()
    ]
    full, half = (np.array([scores["mean"] for scores in cases]) for cases in results.values())
    return (
        f"{table(f'Mean Dice over {len(full)} cases', rows)}\n"
        f"The mean of a single case moved by at most {float(np.abs(full - half).max()):.4f}. Of the voxels "
        f"labelled in either, {100 * equal / found_in_any:.2f} % have the same label in both.\n"
    )


def _validation_cases() -> list[str]:
    """The cases of fold 0, listed on the model's page."""
    return _CASE.findall((ROOT / "docs" / "hippocampus.md").read_text(encoding="utf-8"))
