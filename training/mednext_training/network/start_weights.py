"""Weights to begin with: of a trained network with small kernels (UpKern), or of any model (fine-tuning)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mednext import load_bundle
from mednext.checkpoints.pickles.reading import load_torch
from mednext.errors import CheckpointError, OptionError, UnsafeCheckpointError, UpKernError
from mednext.network.upkern import upkern
from torch import Tensor, nn

from ..learnt_cases import FINE_TUNED, warn_of_learnt_cases

_NEEDED = "stem.weight", "bottleneck.0.conv1.weight"


@dataclass(frozen=True)
class StartWeights:
    """Where a training begins.

    Attributes:
        source: their origin, in words.
        digest: SHA-256 of the file.
        read: returns the state dict.
    """

    source: str
    digest: str
    read: Callable[[], Mapping[str, Tensor]]


def weights_of_small_kernel(fold_folder: Path, train_first: str) -> StartWeights:
    """Those of the finished training of the network with kernel 3 on the same fold.

    Args:
        fold_folder: of that training.
        train_first: the command that trains it, for the message.

    Raises:
        OptionError: it is not finished.
        CheckpointError: its checkpoint is damaged.
    """
    file = fold_folder / "checkpoint_final.pth"
    if not file.is_file():
        raise OptionError(f"UpKern needs the finished training with kernel 3: run '{train_first}' first.")

    def read() -> Mapping[str, Tensor]:
        remedy = f"Run '{train_first}' again, which repairs it"
        try:
            state = load_torch(file)
        except UnsafeCheckpointError:
            raise
        except CheckpointError as error:
            raise CheckpointError(f"{error} {remedy}.") from error
        weights: Any = state.get("network_weights") if isinstance(state, dict) else None
        if not isinstance(weights, dict) or not all(isinstance(weights.get(key), Tensor) for key in _NEEDED):
            raise CheckpointError(f"{file} has no weights of a MedNeXt. {remedy}, or begin it --again.")
        return weights

    return StartWeights("UpKern from kernel 3", hashlib.sha256(file.read_bytes()).hexdigest(), read)


def weights_of_model(name: str | Path, fold: int | str, split: object) -> StartWeights:
    """Those of an installed model or of a bundle's folder: of the same fold where it has one, else its first.

    Args:
        split: of the cases of this fold; it is told where the weights may have learnt those that validate.

    Raises:
        UnknownModelError, BundleError: there is no such model, or it is damaged.
    """
    bundle = load_bundle(name)
    folds = bundle.model.folds
    chosen = next((each for each in folds if each.index == fold), folds[0])
    if fold != "all":
        warn_of_learnt_cases(bundle.model, fold, split)
    source = f"{FINE_TUNED} {bundle.model.name} {bundle.model.version}, fold {chosen.index}"
    return StartWeights(source, chosen.sha256, lambda: bundle.network(chosen.index).state_dict())


def begin_with(network: nn.Module, weights: Mapping[str, Tensor]) -> list[str]:
    """Put weights into a network in place; kernels grow by UpKern, heads for other classes stay new.

    Returns:
        The names of the heads that stay new.

    Raises:
        OptionError: the weights are of images with other channels, of a network with larger kernels, or of
            another size of MedNeXt.
    """
    fresh = network.state_dict()
    stem, kernel = _NEEDED
    channels = [state[stem].shape[1] for state in (weights, fresh)]
    if channels[0] != channels[1]:
        raise OptionError(
            f"The weights were trained on {channels[0]} channels, the data set has {channels[1]}: begin with "
            "a model of these channels."
        )
    kernels = [state[kernel].shape[-1] for state in (weights, fresh)]
    if kernels[0] > kernels[1]:
        raise OptionError(
            f"Weights of kernel {kernels[0]} cannot begin one of kernel {kernels[1]}: kernels only grow."
        )
    heads = [name for name in fresh if name.startswith("out_")]
    new = [name for name in heads if name not in weights or weights[name].shape != fresh[name].shape]
    body = {name: value for name, value in weights.items() if not name.startswith("out_")}
    try:
        upkern(network, body | {name: fresh[name] if name in new else weights[name] for name in heads})
    except UpKernError as error:
        raise OptionError(
            f"The weights to begin with are of another MedNeXt: give its --variant. ({error})"
        ) from error
    return sorted({name.split(".")[0] for name in new})
