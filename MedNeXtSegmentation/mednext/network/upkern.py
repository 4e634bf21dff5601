"""UpKern: initialise a network with large kernels from a trained one with small ones (paper, section 2.4)."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UpKernError


def upkern(target: nn.Module, source: Mapping[str, Tensor]) -> None:
    """Initialise a large-kernel network in place from a trained small-kernel one.

    Every parameter of equal shape is copied; depthwise kernels are resized trilinearly (bilinearly in 2D),
    without rescaling their magnitude, as the reference does.

    Args:
        target: the large-kernel network.
        source: state dict of the small-kernel network.

    Raises:
        UpKernError: a parameter is missing, or differs in more than its kernel's size, because classes,
            channels or the variant differ.
    """
    state = target.state_dict()
    missing = sorted(set(state) - set(source))
    surplus = sorted(set(source) - set(state) - {"dummy_tensor"})
    if missing or surplus:
        raise UpKernError(
            f"UpKern needs two networks of one variant: the small one lacks {missing[:3]} and has "
            f"{surplus[:3]} too many. Train the small-kernel network with the same variant and heads."
        )
    state.update({name: _upkern_parameter(name, value, source[name]) for name, value in state.items()})
    target.load_state_dict(state)


def _upkern_parameter(name: str, large: Tensor, small: Tensor) -> Tensor:
    if large.shape == small.shape:
        return small
    is_kernel = name.endswith("conv1.weight") and large.shape[:2] == small.shape[:2]
    if not is_kernel:
        raise UpKernError(
            f"UpKern cannot make {name} of shape {tuple(large.shape)} from {tuple(small.shape)}: only "
            "depthwise kernels may differ. Classes and channels must be the same in both networks."
        )
    mode = "trilinear" if large.ndim == 5 else "bilinear"
    return F.interpolate(small, size=large.shape[2:], mode=mode, align_corners=False)
