"""UpKern starts a large-kernel network from a trained small-kernel one (paper, section 2.4)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from mednext.errors import UpKernError
from mednext.network.mednext import MedNeXt
from mednext.network.upkern import upkern


def tiny(kernel_size: int, **changes: Any) -> MedNeXt:
    arguments = {"in_channels": 1, "num_classes": 3, "expansion": (2,) * 9, "blocks": (1,) * 9, "channels": 4}
    torch.manual_seed(kernel_size)
    return MedNeXt(**{**arguments, "kernel_size": kernel_size, **changes})


@pytest.mark.parametrize(("dimensions", "mode"), [(3, "trilinear"), (2, "bilinear")])
@pytest.mark.parametrize("large", [5, 7])
def test_kernels_are_resized_and_all_else_is_copied(dimensions: int, mode: str, large: int) -> None:
    small = tiny(3, dimensions=dimensions).state_dict()
    network = tiny(large, dimensions=dimensions)
    upkern(network, small)
    changed = set()
    for name, value in network.state_dict().items():
        if value.shape == small[name].shape:
            assert torch.equal(value, small[name]), name
        else:
            size = (large,) * dimensions
            expected = F.interpolate(small[name], size=size, mode=mode, align_corners=False)
            assert torch.equal(value, expected), name
            changed.add(name.rsplit(".", 2)[-2] + "." + name.rsplit(".", 1)[-1])
    assert changed == {"conv1.weight"}


def test_a_constant_kernel_keeps_its_value_not_its_sum() -> None:
    small = tiny(3).state_dict()
    small["enc_block_0.0.conv1.weight"].fill_(2.0)
    network = tiny(5)
    upkern(network, small)
    assert torch.all(network.get_parameter("enc_block_0.0.conv1.weight") == 2.0)


def test_the_references_dummy_tensor_is_ignored() -> None:
    small = {**tiny(3).state_dict(), "dummy_tensor": torch.ones(1)}
    network = tiny(5)
    upkern(network, small)
    assert torch.equal(network.get_parameter("stem.weight"), small["stem.weight"])


def test_equal_kernels_are_copied() -> None:
    source = tiny(3)
    target = tiny(3)
    with torch.no_grad():
        target.get_parameter("stem.weight").zero_()
    upkern(target, source.state_dict())
    assert torch.equal(target.get_parameter("stem.weight"), source.get_parameter("stem.weight"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 4}, r"out_0\.conv_out\.weight"),
        ({"in_channels": 2}, r"stem\.weight"),
        ({"channels": 8}, "only depthwise kernels may differ"),
        ({"blocks": (2,) * 9}, "one variant"),
        ({"deep_supervision": True}, r"out_1\.conv_out"),
        ({"grn": True}, "one variant"),
    ],
)
def test_networks_that_differ_in_more_than_the_kernel_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    network = tiny(5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UpKernError, match=message):
        upkern(network, tiny(3, **changes).state_dict())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
