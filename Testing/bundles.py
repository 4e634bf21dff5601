"""Small models with random weights, for tests of everything that needs some model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mednext.bundle import Bundle, write_bundle
from mednext.labels import Code, Label, Region, Terminology
from mednext.model import Channel, Model, NetworkSpec

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
SPLEEN = Terminology(ANATOMY, Code("78961009", "SCT", "Spleen"))

TINY_NETWORK = NetworkSpec(
    variant=None, in_channels=1, num_classes=3, kernel_size=3, expansion=(1,) * 9, blocks=(1,) * 9, channels=4
)

TINY_MODEL = Model(
    name="tiny",
    version="1.0.0",
    task="test",
    title="Tiny",
    description="Random weights, for tests.",
    network=TINY_NETWORK,
    channels=(Channel("T1", "MR", "zscore"),),
    labels=(Label(1, "spleen", (157, 108, 162), SPLEEN), Label(2, "liver", (221, 130, 101))),
    orientation="RAS",
    spacing=(1.0, 1.0, 1.0),
    patch=(16, 32, 32),
    pipeline="nnunet_v2",
    output="softmax",
    mirror_axes=(0, 1, 2),
    licence="CC0-1.0",
    citation="none",
    training_data="none",
)


def tiny_model(**changes: Any) -> Model:
    """A model's description without weights; `changes` are fields of `Model`."""
    return replace(TINY_MODEL, **changes)


def tiny_weights(network: NetworkSpec = TINY_NETWORK, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights of a network, the same for the same seed, with biases that are not small."""
    generator = torch.Generator().manual_seed(seed)
    state = network.build().state_dict()
    return {name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in state.items()}


def tiny_bundle(folder: Path, folds: Sequence[int] = (0,), half: bool = False, **changes: Any) -> Bundle:
    """A bundle with random weights in `folder`, with different weights in each fold.

    `changes` are fields of `Model`, such as `spacing=(3.0, 1.0, 1.0)`, `output="regions"`, `network=...`.
    """
    model = tiny_model(**{"name": folder.name, **changes})
    weights = {fold: tiny_weights(model.network, seed=fold) for fold in folds}
    return write_bundle(folder, model, weights, half=half)


def tiny_regions(**changes: Any) -> dict[str, Any]:
    """The fields that make the tiny model one of three overlapping regions, as in BraTS."""
    return {
        "network": replace(TINY_NETWORK, num_classes=3),
        "output": "regions",
        "labels": (
            Label(1, "edema", (140, 224, 228)),
            Label(2, "necrosis", (216, 191, 216)),
            Label(3, "enhancing tumor", (255, 0, 0)),
        ),
        "regions": (
            Region("whole tumor", (1, 2, 3), (200, 170, 60)),
            Region("tumor core", (2, 3), (90, 140, 60)),
            Region("enhancing tumor", (3,), (255, 0, 0)),
        ),
        "regions_class_order": (1, 2, 3),
        **changes,
    }
