"""Convert state dicts of other MedNeXt implementations to our names; infer the network from their shapes."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import torch
from torch import Tensor

from ..errors import IncompatibleCheckpointError, OptionError
from ..model.description import NetworkSpec
from ..network.mednext import VARIANTS, Resampling, Variant
from ..system.json_reading import Fields

logger = logging.getLogger(__name__)

SOURCES = ("nnunet_v1", "monai", "mist")

_PREFIXES = re.compile(r"^(module\.|_orig_mod\.)+")  # left by data parallel training and by torch.compile
_OUR_PARTS = r"stem|enc_block_[0-3]|down_[0-3]|bottleneck|up_[0-3]|dec_block_[0-3]|out_[0-4]"
# MONAI's modules under our names, and the number of its last one where it counts the other way round.
_MONAI_NAMES = {
    "enc_stages": ("enc_block", None),
    "down_blocks": ("down", None),
    "up_blocks": ("up", 3),
    "dec_stages": ("dec_block", 3),
    "out_blocks": ("out", 4),
}
_MONAI_PARTS = "|".join(_MONAI_NAMES)
# Words in the names of modules that only a training uses, and such names as a whole.
_TRAINING_WORDS = (
    r"heads?|aux|auxiliary|classifier|projector|recon|reconstruction|contrast|contrastive|loss|losses|"
    r"criterion|criteria|metrics?|augmentations?|discriminator|teacher|ema|averaged"
)
_TRAINING_NAMES = r"cls|fc|proj|projection|ssl|dice|out_[5-9]"
_ENCODER, _DECODER = (0, 1, 2, 3), (3, 2, 1, 0)
_STAGES = (*(f"enc_block_{i}" for i in _ENCODER), "bottleneck", *(f"dec_block_{i}" for i in _DECODER))


def convert_state_dict(state_dict: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The same weights under the names of `network.MedNeXt`; values and types are left as they are.

    Args:
        state_dict: of the reference implementation as nnU-Net v1 or v2 stores it ("nnunet_v1"), of MONAI's
            `MedNeXt` ("monai"), or of that of MIST from version 2 on ("mist"). It must be of `norm_type`
            "group", the default; that cannot be checked.
        source: one of `SOURCES`.

    Raises:
        OptionError: an unknown source.
        IncompatibleCheckpointError: not a MedNeXt.
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
            f"These are not the weights of a MedNeXt from {source!r}: {listed(unusable)} are not names of "
            "tensors with floating point numbers. Choose the checkpoint of a MedNeXt."
        )
    state = {_PREFIXES.sub("", name): value for name, value in state_dict.items()}
    if len(state) < len(state_dict):
        raise IncompatibleCheckpointError(
            "These weights are there twice, with and without a prefix of their names. Save those of one "
            "network."
        )
    state.pop("dummy_tensor", None)
    if source != "nnunet_v1":
        with _explaining():
            state = _from_monai(state)
    if source == "mist":
        heads = [name for name in state if re.fullmatch(r"out_[0-4]\.conv_out\.weight", name)]
        state |= {name: state[name].transpose(0, 1) for name in heads}
    strange = [name for name in state if not _is_ours(name)]
    if strange or "stem.weight" not in state or "out_0.conv_out.weight" not in state:
        raise IncompatibleCheckpointError(
            f"These are not the weights of a MedNeXt from {source!r}: {listed(strange or list(state))} "
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


def program_of(state_dict: Mapping[str, Tensor]) -> str:
    """Which of `SOURCES` wrote the weights, told from their names and from the shape of their head.

    Raises:
        IncompatibleCheckpointError: MONAI and MIST may have written them.
    """
    if not any(re.match(rf"({_MONAI_PARTS})\.", name) for name in state_dict):
        return "nnunet_v1"
    stem, head = state_dict.get("stem.weight"), state_dict.get("out_0.conv_out.weight")
    if stem is None or head is None or head.ndim < 2:
        return "monai"
    width = stem.shape[0]
    if head.shape[0] == head.shape[1] == width:
        raise IncompatibleCheckpointError(
            f"With {width} classes the weights of MONAI and of MIST look alike, but their networks differ. "
            'Write "program": "monai" or "program": "mist" into the description.'
        )
    return "mist" if head.shape[1] == width else "monai"  # a convolution, not a transposed one


def without_training_parts(
    state_dict: Mapping[str, Tensor], outside: Sequence[str] = ()
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights that belong to a MedNeXt, and the names of those that only its training used.

    Args:
        state_dict: under the names of any of `SOURCES`.
        outside: names of the weights beside the network.

    Raises:
        IncompatibleCheckpointError: others, which may belong to the network: it would answer differently
            without them.
    """
    is_ours = re.compile(rf"({_OUR_PARTS}|{_MONAI_PARTS})\.").match
    lost = [name for name in outside if is_ours(name)]
    if lost:
        raise IncompatibleCheckpointError(
            f"Some weights of the network have a prefix in their names, and others, {listed(lost)}, have "
            "none. Save the network's own state_dict()."
        )
    ours = {name: value for name, value in state_dict.items() if is_ours(name)}
    unused = [name for name in (*state_dict, *outside) if name not in ours and name != "dummy_tensor"]
    dropped = [name for name in unused if serves_training(name)]
    strange = [name for name in unused if not serves_training(name)]
    if strange:
        raise IncompatibleCheckpointError(
            f"Beside the weights of a MedNeXt there are others, {listed(strange)}, whose purpose their "
            "names do not tell. If they change the network's answer, it cannot be computed here; if not, "
            "save the network's own state_dict() without them."
        )
    return ours, dropped


def serves_training(name: str) -> bool:
    """Whether the name of a weight outside of the network tells that only the training needs it."""
    modules = (name.rpartition(".")[0] or name).split(".")
    words = [word.lower() for module in modules for word in re.split(r"_|(?<=[a-z])(?=[A-Z])", module)]
    return any(re.fullmatch(_TRAINING_NAMES, module) for module in modules) or any(
        re.fullmatch(rf"({_TRAINING_WORDS})\d*", word) for word in words
    )


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
    except Exception as cause:  # boundary: foreign weights
        logger.debug("no network fits the weights", exc_info=True)
        raise IncompatibleCheckpointError(
            f"These are not the weights of a whole MedNeXt ({cause}). Choose the checkpoint of a MedNeXt."
        ) from cause


def _is_ours(name: str) -> bool:
    leaf = r"(conv1|norm|conv2|conv3|res_conv|conv_out)\.(weight|bias)|weight|bias|grn_beta|grn_gamma"
    return re.fullmatch(rf"({_OUR_PARTS})(\.\d+)?\.({leaf})", name) is not None


def _from_monai(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {_monai_name(name): value for name, value in state.items()}
    for level in (1, 2, 3):
        # MONAI leaves global response norm out of its down blocks; with zeros it changes nothing.
        norm, hidden = f"down_{level}.norm.weight", f"down_{level}.conv2.bias"
        if "enc_block_0.0.grn_beta" in renamed and norm in renamed and hidden in renamed:
            shape = (1, len(renamed[hidden])) + (1,) * (renamed["stem.weight"].ndim - 2)
            for name in (f"down_{level}.grn_beta", f"down_{level}.grn_gamma"):
                renamed.setdefault(name, torch.zeros(shape, dtype=renamed[hidden].dtype))
    return renamed


def _monai_name(name: str) -> str:
    found = re.match(rf"({_MONAI_PARTS})\.(\d)\.", name)
    if found:
        ours, last = _MONAI_NAMES[found[1]]
        number = int(found[2]) if last is None else last - int(found[2])
        name = f"{ours}_{number}.{name[found.end() :]}"
    return name.replace("global_resp_", "grn_")


def _ratio(weight: Tensor) -> int:
    return weight.shape[0] // weight.shape[1]


def _read_off(state: Mapping[str, Tensor]) -> NetworkSpec:
    stem = state["stem.weight"]
    blocks = tuple(_count(state, stage) for stage in _STAGES)
    expansion = tuple(_ratio(state[f"{stage}.0.conv2.weight"]) for stage in _STAGES)
    resampling: Resampling = "standard"
    if "down_0.conv1.weight" in state:
        resampling = "residual" if "down_0.res_conv.weight" in state else "bottleneck"
    down = expansion[1:5]
    if resampling != "standard":
        down = tuple(_ratio(state[f"down_{level}.conv2.weight"]) for level in _ENCODER)
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
        down_expansion=None if down == expansion[1:5] else down,
        deep_supervision="out_1.conv_out.weight" in state,
    )
    return replace(spec, variant=_variant(spec))


def _check_sizes(spec: NetworkSpec) -> None:
    """Refuse a network of sizes that `model.json` does not allow, before it is built."""
    sizes = {key: value for key, value in asdict(spec).items() if key != "deep_supervision"}
    NetworkSpec.read(Fields(sizes, "The network of the weights", IncompatibleCheckpointError))


def _variant(spec: NetworkSpec) -> str | None:
    if spec.resampling != "residual" or spec.down_expansion:
        return None
    found = Variant(spec.expansion, spec.blocks, spec.channels, spec.grn_first_down)
    return next((name for name, size in VARIANTS.items() if size == found), None)


def _count(state: Mapping[str, Tensor], stage: str) -> int:
    return len({name.split(".")[1] for name in state if name.startswith(f"{stage}.")})


def _check_same(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in state]
    surplus = [name for name in state if name not in wanted]
    if missing or surplus:
        raise IncompatibleCheckpointError(
            f"These weights do not fit a MedNeXt: {listed(missing)} are missing and {listed(surplus)} too "
            "many. Choose the checkpoint of a MedNeXt."
        )
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            raise IncompatibleCheckpointError(
                f"These weights do not fit a MedNeXt: {name} has the shape {tuple(state[name].shape)}, not "
                f"{tuple(value.shape)}. Choose the checkpoint of a MedNeXt."
            )


def listed(names: Sequence[str]) -> str:
    """The first three of some names, and the number of the others, for messages."""
    if not names:
        return "none"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
