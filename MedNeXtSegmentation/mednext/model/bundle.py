"""Bundles: a folder with `model.json` and one `fold_*.safetensors` per fold.

Weights are read only if their SHA-256 is the one in `model.json`, and used only if their names and shapes are
those of the network that it describes.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BundleFormatError, BundleIntegrityError, OptionError, OutputError
from ..system.atomic import explaining, replacing_folder
from ..system.file_names import check_regular, inside
from ..system.json_reading import json_text
from .description import Channel, Fold, Model, NetworkSpec
from .description_consistency import check_model
from .model_file import MODEL_FILE, read_model
from .weights_file import LENGTH_BYTES, changed, check_layout, check_weights, header_length, unreadable

if TYPE_CHECKING:
    from torch import Tensor

    from ..network.mednext import MedNeXt

logger = logging.getLogger(__name__)

_OF_BUNDLES = re.compile(rf"{re.escape(MODEL_FILE)}|fold_\d+\.safetensors|\..*")

__all__ = ["Bundle", "Channel", "Fold", "Model", "NetworkSpec", "check_replaceable", "write_bundle"]


@dataclass(frozen=True)
class Bundle:
    """A model on disk: its folder and the contents of its `model.json`."""

    path: Path
    model: Model

    def fold(self, index: int) -> Fold:
        """The fold of this number. Raises `OptionError` when the model has no such fold."""
        return self.model.fold(index)

    def check(self) -> None:
        """Check the weights of all folds without torch, see `weights_file.check_weights`.

        Raises:
            BundleIntegrityError: a file is missing or changed, or holds no weights.
            UnsafePathError: a file is a link out of the bundle.
        """
        for fold in self.model.folds:
            check_weights(inside(self.path, fold.file), fold.sha256)

    def network(self, fold: int) -> MedNeXt:
        """The network with the weights of one fold, in fp32 on the CPU, in evaluation mode.

        Raises:
            OptionError: the model has no such fold.
            BundleIntegrityError: the file is missing or changed, or does not fit the network.
            UnsafePathError: the file is a link out of the bundle.
        """
        import torch

        state = self._weights(self.fold(fold))
        with torch.device("meta"):
            network = self.model.network.build()
        _check_shapes(state, network.state_dict(), self.model.name, fold)
        network.load_state_dict(state, assign=True)
        network.weights_sha256 = self.fold(fold).sha256
        return network.eval()

    def _weights(self, fold: Fold) -> dict[str, Tensor]:
        import torch
        from safetensors.torch import load

        path = inside(self.path, fold.file)
        try:
            check_regular(path)
            data = path.read_bytes()
        except OSError as cause:
            raise unreadable(path, cause) from cause
        found = hashlib.sha256(data).hexdigest()
        if found != fold.sha256:
            raise changed(path, found, fold.sha256)
        length = header_length(data[:LENGTH_BYTES])
        check_layout(path, data[LENGTH_BYTES:][:length], len(data) - LENGTH_BYTES - length)
        try:
            state = {name: tensor.float() for name, tensor in load(data).items()}
        except Exception as cause:  # boundary: safetensors' reader of a stranger's file
            logger.debug("%s cannot be read", path, exc_info=True)
            raise BundleIntegrityError(f"{path} is not a safetensors file: {cause}.") from cause
        for name, tensor in state.items():
            if not bool(torch.isfinite(tensor).all()):
                raise BundleIntegrityError(f"{path}: {name} has values that are not finite numbers.")
        return state


def write_bundle(
    folder: str | Path, model: Model, weights: Mapping[int, Mapping[str, Tensor]], half: bool = True
) -> Bundle:
    """Write a bundle beside `folder`, read it back, and put it in the place of `folder`.

    Args:
        folder: the bundle's folder; a bundle there is replaced.
        model: description; its folds are filled in here.
        weights: state dict of each fold, with the network's names.
        half: store weights with 16 bits, which halves the files.

    Raises:
        BundleFormatError: the description contradicts itself.
        BundleIntegrityError: weights do not fit the network, are not finite, or too large for 16 bits.
        OptionError: there are no weights.
        OutputError, DiskSpaceError: the folder cannot be written, or holds something else than a bundle.
    """
    check_model(model)
    if not weights:
        raise OptionError(f"Model {model.name!r} has no weights: give those of at least one fold.")
    folder = Path(folder)
    check_replaceable(folder)
    with explaining(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with replacing_folder(folder) as temporary:
        folds = tuple(_write_fold(temporary, index, weights[index], half) for index in sorted(weights))
        (temporary / MODEL_FILE).write_bytes(_description(replace(model, folds=folds)))
        written = Bundle(temporary, read_model(temporary))
        for fold in folds:
            written.network(fold.index)
    return Bundle(folder, written.model)


def check_replaceable(folder: Path) -> None:
    """Refuse to put a bundle in the place of anything but another bundle.

    Raises:
        OutputError: there is a file or a folder that is no model, or it holds files of others as well.
    """
    if not folder.exists():
        return
    if not (folder / MODEL_FILE).is_file():
        raise OutputError(f"{folder} exists and is not a model. Choose another folder.")
    strange = sorted(path.name for path in folder.iterdir() if not _OF_BUNDLES.fullmatch(path.name))
    if strange:
        raise OutputError(
            f"{folder} holds {strange[0]}, which is no part of a model and would be lost. Move it away, or "
            "choose another folder."
        )


def _description(model: Model) -> bytes:
    """The contents of `model.json`."""
    try:
        return f"{json_text(model.to_json())}\n".encode()
    except ValueError as cause:
        raise BundleFormatError(
            f"The description of model {model.name!r} cannot be written ({cause}). Use whole characters and "
            "finite numbers."
        ) from cause


def stored_weights(index: int, state: Mapping[str, Tensor], half: bool) -> dict[str, Tensor]:
    """The weights of a fold as a bundle stores them.

    Raises:
        BundleIntegrityError: some are not finite, or too large for 16 bits.
    """
    import torch

    dtype = torch.float16 if half else torch.float32
    # Copies: safetensors refuses tensors that share memory.
    stored = {name: value.detach().cpu().to(dtype, copy=True).contiguous() for name, value in state.items()}
    for name, value in stored.items():
        if not bool(torch.isfinite(value).all()):
            raise BundleIntegrityError(
                f"Fold {index}: {name} has values that are not finite{' with 16 bits' if half else ''}. "
                "Check the training, or store the weights with 32 bits (half=False)."
            )
    return stored


def _write_fold(folder: Path, index: int, state: Mapping[str, Tensor], half: bool) -> Fold:
    from safetensors.torch import save

    data = save(stored_weights(index, state, half))
    file = f"fold_{index}.safetensors"
    (folder / file).write_bytes(data)
    return Fold(index, file, hashlib.sha256(data).hexdigest())


def _check_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], name: str, fold: int) -> None:
    missing, surplus = sorted(set(wanted) - set(state)), sorted(set(state) - set(wanted))
    if missing or surplus:
        raise BundleIntegrityError(
            f"The weights of model {name!r}, fold {fold}, do not fit its network: {len(missing)} are missing "
            f"{missing[:2]} and {len(surplus)} too many {surplus[:2]}. Get the model again."
        )
    for key, value in wanted.items():
        if state[key].shape != value.shape:
            raise BundleIntegrityError(
                f"The weights of model {name!r}, fold {fold}, do not fit its network: {key} has the shape "
                f"{tuple(state[key].shape)} and must have {tuple(value.shape)}. Get the model again."
            )
