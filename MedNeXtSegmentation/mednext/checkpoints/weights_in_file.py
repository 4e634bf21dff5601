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
_MAX_DEPTH = 6  # of dictionaries in each other


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
    if path.suffix.lower() != SAFETENSORS:
        removed: list[str] = []
        content = load_torch(path, removed)
        if removed:
            notes.remark(f"Not read, as only the training program knows their classes: {_listed(removed)}.")
        return content
    from safetensors.torch import load

    try:
        check_regular(path)
        data = path.read_bytes()
        length = header_length(data[:LENGTH_BYTES])
        check_layout(path, data[LENGTH_BYTES:][:length], len(data) - LENGTH_BYTES - length)
        return load(data)
    except MedNeXtError as cause:
        raise CheckpointError(str(cause)) from cause
    except OSError as cause:
        raise CheckpointError(f"{path} cannot be read: {cause.strerror or cause}.") from cause
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
        CheckpointError: there are several networks, and `part` names none of them; or nobody has told the
            denominator of MedNeXt-v2.
        OptionError: the denominator of a network without global response normalisation is given.
        IncompatibleCheckpointError: there is no MedNeXt, or not a whole one.
    """
    networks = list(_networks(checkpoint))
    usual = [each for each in networks if container and each.place.split(".")[0] == container]
    if usual and part is None and len(networks) > len(usual):
        others = [each for each in networks if each not in usual]
        notes.remark(f"{path.name} has other weights too, {_places(others)}; its program uses {container}.")
        networks = usual
    found = _chosen(networks, path, part, notes)
    if found is None:
        raise IncompatibleCheckpointError(
            f"{path} holds no weights of a MedNeXt: {_contents(checkpoint)}. Choose the checkpoint of a "
            "MedNeXt, or save its state_dict()."
        )
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
        notes.remark(f"Left out, as only a training uses them: {_listed(dropped)}.")
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


def _networks(value: Any, path: tuple[str, ...] = ()) -> Iterator[FoundNetwork]:
    """Every network in a tree of dictionaries."""
    if not isinstance(value, Mapping) or len(path) > _MAX_DEPTH:
        return
    yield from _networks_of_container(value, path)
    for key, item in value.items():
        if isinstance(key, str) and isinstance(item, Mapping):
            yield from _networks(item, (*path, key))


def _networks_of_container(container: Mapping[Any, Any], path: tuple[str, ...]) -> Iterator[FoundNetwork]:
    named = {
        key: item for key, item in container.items() if isinstance(key, str) and isinstance(item, Tensor)
    }
    weights = {_WRAPPERS.sub("", key): item for key, item in named.items()}
    if len(weights) < len(named):
        raise IncompatibleCheckpointError(
            "These weights are there twice, with and without the wrapper of a compiled network in their "
            "names. Save those of one network."
        )
    prefixes = [key.removesuffix(_ANCHOR) for key in weights if re.fullmatch(rf"(.*\.)?{_ANCHOR}", key)]
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
    return f"it has {_listed(names)}" if names else "it is empty"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
