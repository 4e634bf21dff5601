"""Growth of the pipeline's time and memory with image, classes and folds, with a network that costs nothing.

`python -m benchmarks.growth X Y Z CLASSES FOLDS` prints seconds, and MiB beyond the memory before the run.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference.segment import segment
from mednext.library.model_by_name import load_bundle
from mednext.model.bundle import Bundle
from mednext.model.description import Fold, Model
from mednext.model.labels import Label
from torch import nn

from . import Settings
from .children import numbers_of, peak_mib_of
from .report import Row, table

PATCH = (128, 128, 128)
SPACING = (0.8, 0.8, 1.5)  # mm along x, y, z; the model's is 1 mm
BASE = ((192, 192, 128), 14, 1)
CASES = [
    ((128, 128, 96), 14, 1),
    BASE,
    ((256, 256, 192), 14, 1),
    ((192, 192, 128), 2, 1),
    ((192, 192, 128), 56, 1),
    ((192, 192, 128), 14, 5),
]
LARGE = ((512, 512, 400), 14, 1)
TINY = ((24, 24, 24), 2, 1)


class Pointwise(Bundle):
    """A bundle without weights on disk, whose network is one 1x1x1 convolution."""

    def network(self, fold: int) -> nn.Module:  # type: ignore[override]
        torch.manual_seed(fold)
        return nn.Conv3d(1, self.model.network.num_classes, 1).eval()


def measure(settings: Settings) -> str:
    """A table; at the scale "long" also a whole body's CT."""
    rows: list[Row] = []
    for size, classes, folds in settings.pick([TINY], CASES, [*CASES, LARGE]):
        seconds, mib = numbers_of(__name__, *map(str, (*size, classes, folds)))
        rows.append(
            {
                "voxels": "×".join(map(str, size)),
                "classes": classes,
                "folds": folds,
                "seconds": seconds,
                "peak MiB": mib,
                "of it image and labels": 5 * float(np.prod(size)) / 2**20,  # float32 and uint8
            }
        )
    return table("Time and memory of the pipeline, with a network that costs nothing", rows)


def main(size: tuple[int, int, int], classes: int, folds: int) -> None:
    """Measure one case and print."""
    array = np.random.default_rng(0).standard_normal((1, *size[::-1]), np.float32)
    volume = Volume(array, Geometry(size, SPACING))
    bundle = Pointwise(Path(), _model(classes, folds))
    started = time.perf_counter()
    mib = peak_mib_of(lambda: segment(volume, bundle, device="cpu")) + array.nbytes / 2**20
    sys.stdout.write(f"{time.perf_counter() - started} {mib}\n")


def _model(classes: int, folds: int) -> Model:
    model = load_bundle("hippocampus").model
    return replace(
        model,
        network=replace(model.network, num_classes=classes),
        labels=tuple(Label(value, f"label {value}", (255, 0, 0)) for value in range(1, classes)),
        folds=tuple(Fold(index, f"fold_{index}.safetensors", f"{index:064}") for index in range(folds)),
        patch=PATCH,
        mirror_axes=(),
        field_of_view=None,
        location=None,
    )


if __name__ == "__main__":
    *sides, classes, folds = map(int, sys.argv[1:])
    main((sides[0], sides[1], sides[2]), classes, folds)
