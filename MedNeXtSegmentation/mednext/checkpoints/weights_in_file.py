"""Find the weights of a MedNeXt in a file, within the containers and prefixes of any training program.

Every implementation calls its first weight `stem.weight`, so the names that end with it tell where networks
lie and which prefix their weights share.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError, IncompatibleCheckpointError, MedNeXtError, OptionError
from ..model.description import NetworkSpec
from ..model.weights_file import LENGTH_BYTES, check_layout, header_length
from ..network.blocks import GrnDenominator
from ..system.file_names import check_regular
from .import_report import ImportNotes
from .pickles.reading import load_torch
from .state_dicts import (
    convert_state_dict,
    infer_network,
    inference_weights,
    listed,
    program_of,
    without_training_parts,
)

logger = logging.getLogger(__name__)

SAFETENSORS = ".safetensors"

TOP = "top"  # the place of weights without container and prefix

_ANCHOR = "stem.weight"
# Wrappers that stand anywhere in a name: of torch.compile, of activation checkpointing, of sharded training.
_WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\.")
_COUNTERS = ("n_averaged", "num_batches_tracked")
_CONTAINERS = (Mapping, list, tuple)
_MANY = 20  # tensors without names, which may be the weights of a network
_OTHER_FILES = {
    b"version https://git-lfs": "is a pointer of Git LFS: fetch the file itself, with 'git lfs pull'",
    b"<": "is a web page: download the file itself",
    b"\x1f\x8b": "is packed by gzip: unpack it first",
    b"\x89HDF": "is a file of HDF5: save the network's state_dict() with torch.save",
}


@dataclass(frozen=True)
class FoundNetwork:
    """A network in a checkpoint.

    Attributes:
        place: the keys of the containers and the prefix of the names, such as "state_dict.model", or `TOP`.
        state: its weights, without the prefix.
        others: names of the other weights in the same container, which are of no network.
    """

    place: str
    state: Mapping[str, Any]
    others: tuple[str, ...]


def load_weights(path: Path, notes: ImportNotes) -> Any:
    """The contents of a file of `torch.save` or of safetensors, see `pickles.reading.load_torch`.

    Entries that are left out, as only the training program knows their classes, become a remark.

    Raises:
        UnsafeCheckpointError, CheckpointError: see `load_torch`.
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as cause:
        raise CheckpointError(f"{path} cannot be read: {cause.strerror or cause}.") from cause
    for mark, sentence in _OTHER_FILES.items():
        if start.startswith(mark):
            raise CheckpointError(f"{path} {sentence}.")
    if path.suffix.lower() == SAFETENSORS or start[LENGTH_BYTES:].startswith(b"{"):
        return _load_safetensors(path)
    removed: list[str] = []
    content = load_torch(path, removed)
    if removed:
        notes.remark(f"Not read, as only the training program knows their classes: {listed(removed)}.")
    return content


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load

    try:
        data = path.read_bytes()
        length = header_length(data[:LENGTH_BYTES])
        header = data[LENGTH_BYTES:][:length]
        check_layout(path, header, len(data) - LENGTH_BYTES - length, floats_only=False)
        return load(data)
    except MedNeXtError as cause:
        raise CheckpointError(str(cause)) from cause
    except Exception as cause:  # boundary: safetensors' reader of a foreign file
        logger.debug("%s cannot be read", path, exc_info=True)
        raise CheckpointError(f"{path} is not a safetensors file: {cause}. Copy it again.") from cause


def read_network(
    checkpoint: Any,
    path: Path,
    part: str | None,
    notes: ImportNotes,
    program: str | None = None,
    container: str | None = None,
    grn_denominator: GrnDenominator | None = None,
) -> tuple[NetworkSpec, dict[str, Tensor]]:
    """The network in the contents of a file, without the heads of deep supervision, and its weights.

    Args:
        checkpoint: the contents.
        path: the file, for messages.
        part: the place of the network, where the file has several.
        notes: get remarks on everything that is left out, and the question for the part.
        program: one of `state_dicts.SOURCES`; None to tell it from the weights.
        container: the key under which the training program keeps the weights that it uses; without `part`
            others in the file do not count if there are some.
        grn_denominator: see `ImportOptions`.

    Raises:
        CheckpointError: there are several networks, and `part` names none of them; or the
            denominator of a MedNeXt-v2 is not given.
        OptionError: the denominator of a network without global response normalisation is given.
        IncompatibleCheckpointError: there is no MedNeXt, or not a whole one.
    """
    found = _found(checkpoint, path, part, container, notes)
    state, dropped = without_training_parts(_without_counters(found.state), found.others)
    program = program or program_of(state)
    weights = inference_weights(convert_state_dict(state, program))
    spec = infer_network(weights)
    # MONAI and MIST have one switch for the residual paths of stages and of resampling blocks.
    residual = program == "nnunet_v1" or spec.resampling == "residual"
    spec = replace(spec, residual=residual, output_padding=program == "mist")
    if program == "mist":
        spec = replace(spec, variant=None)
    spec = _with_denominator(spec, grn_denominator, notes)
    if found.place != TOP:
        notes.sources["weights"] = found.place
    if dropped:
        notes.remark(f"Left out, as only a training uses them: {listed(dropped)}.")
    if program == "nnunet_v1" and spec.resampling != "residual":
        notes.remark("Assumed: the stages have residual paths, which the weights do not show.")
    return spec, weights


def _with_denominator(spec: NetworkSpec, given: GrnDenominator | None, notes: ImportNotes) -> NetworkSpec:
    """The network with the denominator of its global response normalisation, which its weights do not show.

    Version 1 and MONAI, without the normalisation in `down_0`, take the mean. For version 2 its paper has the
    sum, and no code of its authors was public when this was written.
    """
    if given is not None and not spec.grn:
        raise OptionError("The network has no global response normalisation. Leave its denominator out.")
    if given is None and spec.grn_first_down:
        notes.ask(
            "grn_denominator",
            CheckpointError(
                "This is a MedNeXt-v2, and its weights do not tell whether its global response normalisation "
                "divides by the mean over the channels (the code of MedNeXt-v1 and ConvNeXt-v2) or by their "
                "sum (the formula of MedNeXt-v2's paper). Ask its authors, and say it (--grn mean|sum)."
            ),
            ("mean", "sum"),
        )
    return replace(spec, grn_denominator=given or "mean")


def _found(
    checkpoint: Any, path: Path, part: str | None, container: str | None, notes: ImportNotes
) -> FoundNetwork:
    """The network to import; see `read_network`."""
    containers = list(_containers(checkpoint))
    networks = [network for keys, each in containers for network in _networks(each, keys)]
    usual = [each for each in networks if container and each.place.split(".")[0] == container]
    if usual and part is None and len(networks) > len(usual):
        others = [each for each in networks if each not in usual]
        notes.remark(f"{path.name} has other weights too, {_places(others)}; its program uses {container}.")
        networks = usual
    unnamed = [".".join(keys) or TOP for keys, each in containers if _is_many_tensors(each)]
    if unnamed:
        notes.remark(
            f"{path.name} has tensors without names too, in {listed(unnamed)}. If its program uses these as "
            "weights, such as a running average, save the state_dict() of that network, and import it."
        )
    found = _chosen(networks, path, part, notes)
    if found is None:
        raise IncompatibleCheckpointError(
            f"{path} holds no weights of a MedNeXt: {_contents(checkpoint)}. Choose the checkpoint of a "
            "MedNeXt, or save its state_dict()."
        )
    return found


def _containers(root: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every dictionary, list and tuple of a tree, once, after the keys that lead to it; outer ones first."""
    waiting: list[tuple[tuple[str, ...], Any]] = [((), root)] if isinstance(root, _CONTAINERS) else []
    seen = set()
    for keys, value in waiting:
        if id(value) not in seen:
            seen.add(id(value))
            yield keys, value
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            waiting += [((*keys, str(key)), each) for key, each in items if isinstance(each, _CONTAINERS)]


def _is_many_tensors(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and len(value) > _MANY
    return is_list and all(isinstance(each, Tensor) for each in value)


def _networks(container: Any, path: tuple[str, ...]) -> Iterator[FoundNetwork]:
    """The networks whose weights lie directly in a container."""
    items = container.items() if isinstance(container, Mapping) else ()
    named = {key: _tensor(item) for key, item in items if isinstance(key, str) and _is_weight(item)}
    weights = {_WRAPPERS.sub("", key): item for key, item in named.items()}
    if len(weights) < len(named):
        raise IncompatibleCheckpointError(
            "These weights are there twice, with and without the wrapper of a compiled network in their "
            "names. Save those of one network."
        )
    prefixes = [key.removesuffix(_ANCHOR) for key in weights if f".{key}".endswith(f".{_ANCHOR}")]
    states: dict[str, dict[str, Tensor]] = {prefix: {} for prefix in prefixes}
    others = []
    for key, item in weights.items():
        owner = max((prefix for prefix in prefixes if key.startswith(prefix)), key=len, default=None)
        if owner is None:
            others.append(key)
        else:
            states[owner][key.removeprefix(owner)] = item
    for prefix, state in states.items():
        yield FoundNetwork(".".join((*path, prefix)).strip(".") or TOP, state, tuple(others))


def _is_weight(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind == "f")


def _tensor(value: Tensor | np.ndarray) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return torch.from_numpy(value.astype(value.dtype.newbyteorder("=")))


def _chosen(
    found: Sequence[FoundNetwork], path: Path, part: str | None, notes: ImportNotes
) -> FoundNetwork | None:
    if part is not None:
        matching = [each for each in found if part == each.place] or [
            each for each in found if part in each.place.split(".")
        ]
        if len(matching) != 1:
            raise CheckpointError(
                f"{path} has no single network {part!r}; it has {_places(found)}. Choose one of these."
            )
        return matching[0]
    if len(found) > 1 and not all(_same(each, found[0]) for each in found[1:]):
        notes.ask(
            "part",
            CheckpointError(
                f"{path} holds several networks, {_places(found)}, such as the trained weights and their "
                "running average (EMA). Say which of them shall be imported (--part NAME)."
            ),
            tuple(each.place for each in found),
        )
    return found[0] if found else None


def _same(one: FoundNetwork, other: FoundNetwork) -> bool:
    return one.state.keys() == other.state.keys() and all(
        torch.equal(value, other.state[name]) for name, value in one.state.items()
    )


def _without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.rpartition(".")[2] not in _COUNTERS}


def _places(found: Sequence[FoundNetwork]) -> str:
    return ", ".join(repr(each.place) for each in found) or "none"


def _contents(checkpoint: Any) -> str:
    if not isinstance(checkpoint, Mapping):
        return f"its content is a {type(checkpoint).__name__}"
    names = [str(key) for key in checkpoint]
    return f"it has {listed(names)}" if names else "it is empty"
