"""Convert state dicts of other MedNeXt implementations to our names; infer the network from their shapes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace

import torch
from torch import Tensor

from ..errors import IncompatibleCheckpointError, OptionError
from ..model.description import NetworkSpec
from ..network.mednext import VARIANTS, Resampling
from ..system.json_reading import Fields

logger = logging.getLogger(__name__)

SOURCES = ("nnunet_v1", "monai")

_PREFIXES = ("module.", "_orig_mod.")  # left by data parallel training and by torch.compile
_ENCODER, _DECODER = (0, 1, 2, 3), (3, 2, 1, 0)
_STAGES = (*(f"enc_block_{i}" for i in _ENCODER), "bottleneck", *(f"dec_block_{i}" for i in _DECODER))

_MONAI_NAMES = (
    (re.compile(r"enc_stages\.(\d)\."), lambda i: f"enc_block_{i}."),
    (re.compile(r"down_blocks\.(\d)\."), lambda i: f"down_{i}."),
    (re.compile(r"up_blocks\.(\d)\."), lambda i: f"up_{3 - i}."),
    (re.compile(r"dec_stages\.(\d)\."), lambda i: f"dec_block_{3 - i}."),
    (re.compile(r"out_blocks\.(\d)\."), lambda i: f"out_{4 - i}."),
)


def convert_state_dict(state_dict: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The same weights under the names of `network.MedNeXt`; values and types are left as they are.

    Args:
        state_dict: of the reference implementation as nnU-Net v1 or v2 stores it ("nnunet_v1"), or of MONAI's
            `MedNeXt` ("monai"). It must be of `norm_type` "group", the default; that cannot be checked.
        source: one of `SOURCES`.

    Raises:
        OptionError: an unknown source.
        IncompatibleCheckpointError: not a MedNeXt, or one of MONAI's sizes B, M and L, whose down blocks
            are built otherwise.
    """
    if source not in SOURCES:
        raise OptionError(f"There is no source {source!r} of state dicts: choose {' or '.join(SOURCES)}.")
    unusable = [
        repr(name)
        for name, value in state_dict.items()
        if not (isinstance(name, str) and isinstance(value, Tensor) and value.is_floating_point())
    ]
    if unusable:
        raise IncompatibleCheckpointError(
            f"These are not the weights of a MedNeXt from {source!r}: {_listed(unusable)} are not names of "
            "tensors with floating point numbers. Choose the checkpoint of a MedNeXt."
        )
    state = {_without_prefix(name): value for name, value in state_dict.items()}
    if len(state) < len(state_dict):
        raise IncompatibleCheckpointError(
            "These weights are there twice, with and without a prefix of their names. Save those of one "
            "network."
        )
    state.pop("dummy_tensor", None)
    if source == "monai":
        with _explaining():
            state = _from_monai(state)
    strange = [name for name in state if not _is_ours(name)]
    if strange or "stem.weight" not in state or "out_0.conv_out.weight" not in state:
        raise IncompatibleCheckpointError(
            f"These are not the weights of a MedNeXt from {source!r}: {_listed(strange or list(state))} "
            "do not belong to one. Choose the checkpoint of a MedNeXt."
        )
    return state


def infer_network(state_dict: Mapping[str, Tensor]) -> NetworkSpec:
    """The network of a state dict with our names.

    The weights do not show whether its stages have residual paths; these are assumed, as in the paper.

    Raises:
        IncompatibleCheckpointError: a weight is missing, left over, or of a shape that fits no MedNeXt.
    """
    with _explaining():
        spec = _read_off(state_dict)
        _check_sizes(spec)
        with torch.device("meta"):
            wanted = spec.build().state_dict()
    _check_same(state_dict, wanted)
    return spec


def inference_weights(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the heads of deep supervision, which only training needs."""
    return {name: value for name, value in state_dict.items() if not re.match(r"out_[1-4]\.", name)}


@contextmanager
def _explaining() -> Iterator[None]:
    """Turn any error by strange shapes into an `IncompatibleCheckpointError`."""
    try:
        yield
    except IncompatibleCheckpointError:
        raise
    except Exception as cause:  # boundary: the weights of a stranger
        logger.debug("no network fits the weights", exc_info=True)
        raise IncompatibleCheckpointError(
            f"These are not the weights of a whole MedNeXt ({cause}). Choose the checkpoint of a MedNeXt."
        ) from cause


def _without_prefix(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _is_ours(name: str) -> bool:
    part = r"stem|enc_block_[0-3]\.\d+|down_[0-3]|bottleneck\.\d+|up_[0-3]|dec_block_[0-3]\.\d+|out_[0-4]"
    leaf = r"(conv1|norm|conv2|conv3|res_conv|conv_out)\.(weight|bias)|weight|bias|grn_beta|grn_gamma"
    return re.fullmatch(rf"({part})\.({leaf})", name) is not None


def _from_monai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {_monai_name(name): value for name, value in state.items()}
    _refuse_other_down_blocks(renamed)
    for level in (1, 2, 3):
        # MONAI leaves global response norm out of its down blocks; with zeros it changes nothing.
        norm, hidden = f"down_{level}.norm.weight", f"down_{level}.conv2.bias"
        if "enc_block_0.0.grn_beta" in renamed and norm in renamed and hidden in renamed:
            shape = (1, len(renamed[hidden])) + (1,) * (renamed["stem.weight"].ndim - 2)
            for name in (f"down_{level}.grn_beta", f"down_{level}.grn_gamma"):
                renamed.setdefault(name, torch.zeros(shape, dtype=renamed[hidden].dtype))
    return renamed


def _monai_name(name: str) -> str:
    for pattern, rename in _MONAI_NAMES:
        found = pattern.match(name)
        if found:
            name = rename(int(found[1])) + name[found.end() :]
            break
    return name.replace("global_resp_", "grn_")


def _refuse_other_down_blocks(state: Mapping[str, Tensor]) -> None:
    for level in range(4):
        stage = _STAGES[level + 1]
        down, block = f"down_{level}.conv2.weight", f"{stage}.0.conv2.weight"
        if down not in state or block not in state:
            continue
        ours, theirs = _ratio(state[block]), _ratio(state[down])
        if ours != theirs:
            raise IncompatibleCheckpointError(
                f"This is a MedNeXt of MONAI in the size B, M or L: its down block {level} expands by "
                f"{theirs} where the paper's network expands by {ours}, the ratio of the next stage. The "
                "weights fit MONAI's network only; of MONAI's sizes only S can be imported."
            )


def _ratio(weight: Tensor) -> int:
    return weight.shape[0] // weight.shape[1]


def _read_off(state: Mapping[str, Tensor]) -> NetworkSpec:
    stem = state["stem.weight"]
    blocks = tuple(_count(state, stage) for stage in _STAGES)
    expansion = tuple(_ratio(state[f"{stage}.0.conv2.weight"]) for stage in _STAGES)
    resampling: Resampling = "standard"
    if "down_0.conv1.weight" in state:
        resampling = "residual" if "down_0.res_conv.weight" in state else "bottleneck"
    spec = NetworkSpec(
        variant=None,
        in_channels=stem.shape[1],
        num_classes=state["out_0.conv_out.weight"].shape[1],
        kernel_size=state["enc_block_0.0.conv1.weight"].shape[2],
        expansion=expansion,
        blocks=blocks,
        channels=stem.shape[0],
        dimensions=stem.ndim - 2,
        resampling=resampling,
        grn="enc_block_0.0.grn_gamma" in state,
        grn_first_down="down_0.grn_gamma" in state,
        deep_supervision="out_1.conv_out.weight" in state,
    )
    return replace(spec, variant=_variant(spec))


def _check_sizes(spec: NetworkSpec) -> None:
    """Refuse a network of sizes that `model.json` does not allow, before it is built."""
    sizes = {key: value for key, value in asdict(spec).items() if key != "deep_supervision"}
    NetworkSpec.read(Fields(sizes, "The network of the weights", IncompatibleCheckpointError))


def _variant(spec: NetworkSpec) -> str | None:
    if spec.resampling != "residual":
        return None
    numbers = (spec.expansion, spec.blocks, spec.channels, spec.grn_first_down)
    return next((name for name, size in VARIANTS.items() if size.fits(*numbers)), None)


def _count(state: Mapping[str, Tensor], stage: str) -> int:
    return len({name.split(".")[1] for name in state if name.startswith(f"{stage}.")})


def _check_same(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in state]
    surplus = [name for name in state if name not in wanted]
    if missing or surplus:
        raise IncompatibleCheckpointError(
            f"These weights do not fit a MedNeXt: {_listed(missing)} are missing and {_listed(surplus)} too "
            "many. Choose the checkpoint of a MedNeXt."
        )
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            raise IncompatibleCheckpointError(
                f"These weights do not fit a MedNeXt: {name} has the shape {tuple(state[name].shape)}, not "
                f"{tuple(value.shape)}. Choose the checkpoint of a MedNeXt."
            )


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
