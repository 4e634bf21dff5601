"""The runs whose memory is measured, and the model and volume of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mednext.images.geometry import Geometry, Roi
from mednext.inference.memory.plan import MemoryPlan
from mednext.inference.options import Options
from mednext.library.model_by_name import load_bundle
from mednext.locating.memory import plan_of
from mednext.model.bundle import Bundle, write_bundle
from mednext.model.description import Channel, Fold, Model, NetworkSpec
from mednext.model.labels import Label
from mednext.network.mednext import VARIANTS

Sides = tuple[int, int, int]
Spacing = tuple[float, float, float]

CT_CHANNEL = Channel("CT", "CT", "ct", mean=0.0, std=150.0, lower=-400.0, upper=400.0)
LPS = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
_ONE = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Case:
    """A run.

    Attributes:
        name: identifies it.
        network: "S3" is MedNeXt-S with kernel 3.
        size, spacing: of the image along x, y, z, in voxels and mm.
        patch: voxels of a tile along z, y, x.
        classes: of the network, the background counted.
        channels: how many images, all on one grid.
        normalization: of every channel.
        voxels: type of the stored voxels.
        folds: how many networks are averaged.
        model: other fields of `Model`.
        options: fields of `Options`.
        kernels: whether the native kernels are used.
        default: the run is one of the default model, in a head of this size.
    """

    name: str
    network: str = "S3"
    size: Sides = (160, 160, 120)
    spacing: Spacing = (0.8, 0.8, 1.5)
    patch: Sides = (128, 128, 128)
    classes: int = 14
    channels: int = 1
    normalization: str = "ct"
    voxels: str = "int16"
    folds: int = 1
    model: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    kernels: bool = True
    default: bool = False

    @property
    def grid(self) -> Geometry:
        """The grid of the image, whose middle is the origin."""
        corner = tuple(
            -direction * (side - 1) * step / 2
            for direction, side, step in zip(LPS[::4], self.size, self.spacing, strict=True)
        )
        return Geometry(self.size, self.spacing, (corner[0], corner[1], corner[2]), LPS)

    def bundle(self, folder: Path) -> Bundle:
        """The model with random weights, written into a folder, or the default model."""
        if self.default:
            return load_bundle("hippocampus")
        described = self.described()
        torch.manual_seed(0)
        weights = {fold.index: described.network.build().state_dict() for fold in described.folds}
        return write_bundle(folder, described, weights, half=False)

    def described(self) -> Model:
        """The model without weights."""
        if self.default:
            return load_bundle("hippocampus").model
        ratios = VARIANTS[self.network[0]]
        network = NetworkSpec(
            self.network[0],
            self.channels,
            self.classes,
            int(self.network[1:]),
            ratios.expansion,
            ratios.blocks,
        )
        one = CT_CHANNEL if self.normalization == "ct" else Channel("MR", "MR", self.normalization)
        channels = tuple(replace(one, name=f"{one.name}{number or ''}") for number in range(self.channels))
        described = replace(
            load_bundle("hippocampus").model,
            name="measured",
            network=network,
            channels=channels,
            labels=tuple(Label(value, f"label {value}", (255, 0, 0)) for value in range(1, self.classes)),
            orientation="RAS",
            spacing=_ONE,
            patch=self.patch,
            mirror_axes=(),
            field_of_view=None,
            location=None,
            accuracy=None,
            folds=tuple(Fold(fold, f"fold_{fold}.safetensors", "0" * 64) for fold in range(self.folds)),
        )
        return replace(described, **self.model)

    def plan(self) -> MemoryPlan:
        """The plan that the panel shows."""
        voxels = [np.dtype(self.voxels)] * self.channels
        with nullcontext() if self.kernels else patch.dict(os.environ, {"MEDNEXT_NATIVE": "off"}):
            return plan_of(self.described(), self.run_options(), self.grid, voxels, "cpu")

    def run_options(self) -> Options:
        """The options of the run."""
        return Options(**{"device": "cpu", "insist": True, **self.options})

    def array(self, channel: int) -> np.ndarray:
        """Voxels `(Z, Y, X)`: random tissue in a margin of zeros where the normalisation looks for it."""
        shape = self.size[::-1]
        generator = np.random.default_rng(channel)
        array = np.empty(shape, self.voxels)
        for plane in array:
            plane[...] = generator.integers(-300, 900, shape[1:])
        if self.normalization == "zscore_masked":
            array += 301
            margin = [max(1, side // 20) for side in shape]
            inside = tuple(slice(side, -side) for side in margin)
            kept = array[inside].copy()
            array[...] = 0
            array[inside] = kept
            array[0, 0, 0] = array[-1, -1, -1] = 1  # nothing is cropped
        return array


SIZES: dict[Sides, Spacing] = {
    (64, 64, 64): (2.0, 2.0, 2.0),
    (128, 128, 96): (1.5, 1.5, 1.5),
    (192, 192, 128): (0.8, 0.8, 1.5),
    (256, 256, 128): (1.0, 1.0, 1.0),
    (240, 240, 155): (1.0, 1.0, 1.0),
    (256, 256, 256): (1.0, 1.0, 1.0),
    (320, 320, 200): (0.7, 0.7, 1.0),
    (512, 512, 100): (0.7, 0.7, 3.0),
    (512, 512, 300): (0.8, 0.8, 1.5),
    (512, 512, 600): (0.8, 0.8, 1.0),
}
FIRST = ("S3", "B3", "L3")
_SMALL: dict[str, Any] = {"patch": (64, 64, 64)}
_REGION = Roi((-40.0, -40.0, -40.0), (40.0, 40.0, 40.0))
_BOXES = {
    "left": Roi((-45.0, -48.0, -31.0), (-9.0, 4.0, 9.0)),
    "right": Roi((9.0, -48.0, -31.0), (45.0, 4.0, 9.0)),
}


def cases() -> Iterator[Case]:
    """Every size by each of three networks, then the other options that decide over the memory."""
    for size, spacing in SIZES.items():
        for network in FIRST:
            patch = (128, 128, 128) if network == "S3" else (96, 96, 96)
            name = f"{network} {'x'.join(map(str, size))}"
            yield Case(name, network, size, spacing, patch)
    yield from _choices()
    yield from _heads()


def _choices() -> Iterator[Case]:
    spacing = {"spacing": (1.5, 1.5, 1.5)}
    large: dict[str, Any] = {"size": (512, 512, 300)}
    coarse: dict[str, Any] = {**large, "model": spacing}
    masked: dict[str, Any] = {"normalization": "zscore_masked", "size": (320, 320, 240)}
    yield Case("uncertainty", **coarse, options={"uncertainty": True})
    yield Case("mirrored", size=(160, 160, 120), model={"mirror_axes": (0, 1, 2)})
    yield Case("mirrored, uncertainty", model={"mirror_axes": (0, 1, 2)}, options={"uncertainty": True})
    yield Case("five folds", folds=5)
    yield Case("five folds of L", "L3", folds=5, patch=(96, 96, 96))
    yield Case("kernel 5", "L5", **_SMALL)
    yield Case("1 class", classes=2, **coarse)
    yield Case("104 classes", classes=105, **coarse, patch=(96, 96, 96))
    yield Case("104 classes, uncertainty", classes=105, options={"uncertainty": True}, patch=(96, 96, 96))
    yield Case("four channels", channels=4, normalization="zscore", size=(240, 240, 155), spacing=_ONE)
    yield Case("masked, version 1", **masked, model={"pipeline": "nnunet_v1"}, **_SMALL)
    yield Case("masked, version 2", **masked, **_SMALL)
    yield Case("four channels, masked", **masked, channels=4, **_SMALL)
    yield Case("coarser", **large, model={"spacing": (3.0, 3.0, 3.0)})
    yield Case(
        "coarser, uncertainty", **large, model={"spacing": (3.0, 3.0, 3.0)}, options={"uncertainty": True}
    )
    yield Case("finer", size=(200, 200, 100), spacing=(1.5, 1.5, 3.0))
    yield Case(
        "finer, anisotropic", size=(200, 200, 30), spacing=(0.9, 0.9, 6.0), model={"spacing": (3.0, 0.7, 0.7)}
    )
    yield Case("region", **coarse, options={"roi": _REGION})
    yield Case(
        "region, of crops",
        **large,
        options={"roi": _REGION},
        model={**spacing, "field_of_view": (100.0,) * 3},
    )
    yield Case("largest components", **large, model={**spacing, "keep_largest": (1, 2)})
    yield Case("intensities", **coarse, options={"intensities": True})
    yield Case("float voxels", **coarse, voxels="float32")
    yield Case("lean", kernels=False)
    yield Case("lean, B", "B3", kernels=False, patch=(96, 96, 96))
    yield Case("lean, L", "L3", kernels=False, patch=(96, 96, 96))
    yield Case("bfloat16", options={"precision": "bfloat16"})
    yield Case("version 1, probabilities", **large, model={**spacing, "pipeline": "nnunet_v1"})
    yield Case("small network of small tiles", size=(512, 512, 300), **_SMALL, classes=3)


def _heads() -> Iterator[Case]:
    head: dict[str, Any] = {"default": True, "normalization": "zscore", "options": {"boxes": _BOXES}}
    for size, spacing in (((256, 256, 176), _ONE), ((512, 512, 320), (0.5, 0.5, 0.6))):
        yield Case(f"both boxes in a head of {'x'.join(map(str, size))}", size=size, spacing=spacing, **head)
    yield Case(
        "both boxes in a head, uncertainty",
        size=(512, 512, 320),
        spacing=(0.5, 0.5, 0.6),
        **{**head, "options": {"boxes": _BOXES, "uncertainty": True}},
    )
