"""How much memory a run takes beyond what was there before it: `python peak_memory.py SIDE` prints MiB.

A cube of `SIDE` voxels with twice the model's resolution, fourteen classes, and a network that costs nothing,
so that what remains is what the pipeline itself keeps. A process of its own, since its peak never falls.
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from bundles import TINY_NETWORK, tiny_model
from mednext.bundle import Bundle, Fold
from mednext.geometry import Geometry
from mednext.labels import Label
from mednext.pipeline import segment
from mednext.volume import Volume
from torch import nn

CLASSES = 14


class Pointwise(Bundle):
    """A bundle without weights on disk, whose network is one 1x1x1 convolution."""

    def network(self, fold: int) -> nn.Module:  # type: ignore[override]
        torch.manual_seed(fold)
        return nn.Conv3d(1, CLASSES, 1).eval()


def peak_mib() -> float:
    """Peak of this process in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux `getrusage` begins with the peak of the process that started this one
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))[0]) / 2**10
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts in bytes


def main(side: int) -> None:
    model = tiny_model(
        network=replace(TINY_NETWORK, num_classes=CLASSES),
        labels=tuple(Label(value, f"label {value}", (255, 0, 0)) for value in range(1, CLASSES)),
        folds=(Fold(0, "fold_0.safetensors", "0" * 64),),
        patch=(32, 32, 32),
        spacing=(2.0, 2.0, 2.0),
        mirror_axes=(),
    )
    array = np.random.default_rng(0).normal(size=(1, side, side, side)).astype(np.float32)
    volume = Volume(array, Geometry((side, side, side), (1.0, 1.0, 1.0)))
    before = peak_mib()
    segment(volume, Pointwise(Path(), model), device="cpu", threads=1)
    sys.stdout.write(f"{peak_mib() - before}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
