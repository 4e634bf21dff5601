"""Dice of the default model in float32 and in bfloat16, on the cases that its training did not see.

Needs the images of `$MEDNEXT_DATA`, or of `../shared/data`; skipped without them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from mednext import load_bundle, read_channels, segment
from mednext.inference.loaded_networks import LoadedNetworks
from mednext.system.devices import PRECISIONS
from mednext_training.evaluation import CaseResult, dice, mean_dice

from .page import ROOT

_CASE = re.compile(r"^\| (hippocampus_\d+) \|", re.MULTILINE)


def measure() -> str:
    """A table; one line where the images are missing."""
    import SimpleITK as sitk

    folder = Path(os.environ.get("MEDNEXT_DATA", ROOT.parent / "shared" / "data")) / "hippocampus"
    if not folder.is_dir():
        return f"The images of the hippocampus are not in {folder}: Dice in bfloat16 was not measured."
    bundle = load_bundle("hippocampus")
    names = [label.name for label in bundle.model.labels]
    kept = {precision: LoadedNetworks() for precision in PRECISIONS}
    results: dict[str, list[CaseResult]] = {precision: [] for precision in PRECISIONS}
    formulations, equal, found_in_any = {}, 0, 0
    for case in _validation_cases():
        truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels" / f"{case}.nii.gz")))
        labels = {}
        for precision, networks in kept.items():
            image = read_channels([folder / "images" / f"{case}.nii.gz"])
            found = segment(image, bundle, device="cpu", precision=precision, networks=networks)
            labels[precision] = found.labelmap
            formulations[precision] = found.provenance["formulation"]
            scores = {label.name: dice(truth, found.labelmap, label.value) for label in found.labels}
            results[precision].append(CaseResult(case, scores, 0.0))
        full, half = (labels[precision] for precision in PRECISIONS)
        structure = (full > 0) | (half > 0)
        equal += int((full == half)[structure].sum())
        found_in_any += int(structure.sum())
    lines = [f"| | {' | '.join(names)} | mean |", "|---|---|---|---|"]
    for precision, cases in results.items():
        means = " | ".join(f"{value:.4f}" for value in mean_dice(cases).values())
        lines.append(f"| {precision} ({formulations[precision]}) | {means} |")
    full, half = (np.array([case.mean for case in cases]) for cases in results.values())
    largest = float(np.abs(full - half).max())
    lines += [
        "",
        f"Mean Dice over {len(full)} cases. The mean of a single case moved by at most {largest:.4f}; of "
        f"the voxels labelled in either, {100 * equal / found_in_any:.2f} % have the same label in both.",
    ]
    return "\n".join(lines)


def _validation_cases() -> list[str]:
    """Those of fold 0, as the model's page lists them."""
    return _CASE.findall((ROOT / "docs" / "hippocampus.md").read_text(encoding="utf-8"))
