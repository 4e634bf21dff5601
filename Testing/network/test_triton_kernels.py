"""The blocks on Triton's kernels give the reference's numbers. Without a card, Triton interprets them."""

from __future__ import annotations

import pytest
import torch
from fixtures.machines.triton_device import DEVICE  # skips all of this where there is no Triton
from mednext.network.blocks import DownBlock, MedNeXtBlock, UpBlock
from torch import Tensor

# isort: split
import triton
import triton.language as tl
from mednext.network.triton_kernels import block_launches
from mednext.network.triton_kernels.block_launches import Answer, TritonBlock, Workspace
from mednext.network.triton_kernels.gelu import gelu
from mednext.network.triton_kernels.stem_and_head_launches import Head, Stem
from mednext.network.triton_kernels.tile_sizes import ColumnTile, PieceTile, PointTile

EXACT = 2e-6  # relative, in float32; 2e-7 was measured
HALF = {torch.float16: 1e-3, torch.bfloat16: 1e-2}  # relative; 4e-4 and 7e-3 were measured
SIDES = {MedNeXtBlock: (5, 3, 9), DownBlock: (4, 6, 10), UpBlock: (3, 2, 5)}
Kind = type[MedNeXtBlock]


def random_block(kind: Kind, k: int = 3, channels: int = 6, **options: bool) -> MedNeXtBlock:
    """A block whose weights and biases all matter."""
    torch.manual_seed(0)
    out = {MedNeXtBlock: channels, DownBlock: 2 * channels, UpBlock: channels // 2}[kind]
    block = kind(channels, out, 3, k, **options).eval()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter))
    return block


def channels_last(x: Tensor, channels: int, dtype: torch.dtype) -> Tensor:
    """`(N, C, Z, Y, X)` as `(N, Z, Y, X, channels)`, zero in the channels that are added."""
    padded = torch.zeros(len(x), *x.shape[2:], channels, dtype=dtype, device=DEVICE)
    padded[..., : x.shape[1]] = x.movedim(1, -1)
    return padded


@torch.no_grad()
def difference(block: MedNeXtBlock, sides: tuple[int, ...], dtype: torch.dtype, offset: float = 0.5) -> float:
    """Largest difference of the kernels from the reference in float64, relative to the largest value."""
    x = torch.randn(2, block.get_parameter("conv1.weight").shape[0], *sides) + offset
    expected = block.double()(x.double())
    fast = TritonBlock(block.float(), dtype, DEVICE)
    source = channels_last(x, fast.channels, dtype)
    if isinstance(block, UpBlock):
        skip = torch.randn(expected.shape)
        expected += skip
        target = channels_last(skip, fast.out, dtype)
    elif isinstance(block, DownBlock):
        target = torch.full((2, *expected.shape[2:], fast.out), torch.nan, dtype=dtype, device=DEVICE)
    else:
        target = source
    fast.run(source, target, Workspace())
    found = target[..., : expected.shape[1]].movedim(-1, 1).double().cpu()
    assert not target[..., expected.shape[1] :].any(), "the channels that were added are not zero"
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("k", "residual"), [(3, True), (3, False), (5, True)])
@pytest.mark.parametrize("kind", SIDES)
def test_a_block_equals_the_reference(kind: Kind, residual: bool, k: int) -> None:
    assert difference(random_block(kind, k, residual=residual), SIDES[kind], torch.float32) < EXACT


@pytest.mark.parametrize(
    ("kind", "denominator"), [*((kind, "mean") for kind in SIDES), (MedNeXtBlock, "sum")]
)
def test_the_global_response_norm_equals_the_reference(
    kind: Kind, denominator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With hidden channels and voxels in several programs."""
    monkeypatch.setattr(
        block_launches, "point_tiles", lambda *_: [PointTile(16, 16, splits=2, warps=4, stages=1)]
    )
    block = random_block(kind, grn=True, grn_denominator=denominator)
    assert difference(block, (2, 4, 2), torch.float32) < EXACT


@pytest.mark.parametrize("kind", SIDES)
def test_a_kernel_of_seven_equals_the_reference(kind: Kind) -> None:
    assert difference(random_block(kind, 7), (2, 2, 4), torch.float32) < EXACT


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("kind", SIDES)
def test_half_precision_is_as_near_as_its_rounding_allows(kind: Kind, dtype: torch.dtype) -> None:
    assert difference(random_block(kind), SIDES[kind], dtype) < HALF[dtype]


@pytest.mark.parametrize("channels", [4, 16, 24])
def test_any_number_of_channels_is_supported(channels: int) -> None:
    assert difference(random_block(DownBlock, channels=channels), (2, 4, 2), torch.float32) < EXACT


@pytest.mark.parametrize(("kind", "sides"), [(DownBlock, (2, 4, 2)), (UpBlock, (1, 2, 1))])
def test_the_smallest_grids_are_normalised_rightly(kind: Kind, sides: tuple[int, ...]) -> None:
    assert difference(random_block(kind), sides, torch.float32) < EXACT


def test_a_mean_far_from_zero_does_not_spoil_the_norm() -> None:
    """The sum of squares alone would keep no digit of the variance."""
    assert difference(random_block(MedNeXtBlock), (5, 4, 6), torch.float32, offset=1e3) < 1e-3


@pytest.mark.parametrize("kind", SIDES)
def test_the_size_of_the_tiles_changes_nothing(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many programs a launch, tiles that reach beyond the grid, hidden channels in parts."""
    monkeypatch.setattr(block_launches, "column_tiles", lambda *_: [ColumnTile(16, 2, 4, rows=2, planes=2)])
    monkeypatch.setattr(block_launches, "piece_tiles", lambda *_: [PieceTile(16, 4, rounds=2)])
    monkeypatch.setattr(
        block_launches, "point_tiles", lambda *_: [PointTile(16, 16, splits=2, warps=4, stages=1)]
    )
    assert difference(random_block(kind, channels=10), SIDES[kind], torch.float32) < EXACT


def test_the_first_layer_equals_the_reference() -> None:
    weights, bias, x = torch.randn(10, 3), torch.randn(10), torch.randn(2, 3, 5, 3, 9)
    stem = Stem(weights, bias, DEVICE)
    found = torch.full((2, 5, 3, 9, stem.channels), torch.nan, device=DEVICE)
    stem.run(x.to(DEVICE), found)
    expected = torch.einsum("oc,nczyx->nzyxo", weights.double(), x.double()) + bias
    assert float((found[..., :10].cpu() - expected).abs().max() / expected.abs().max()) < EXACT
    assert not found[..., 10:].any(), "the channels that were added are not zero"


@pytest.mark.parametrize(
    ("classes", "splits", "dtype"),
    [
        (1, 1, torch.float32),
        (14, 1, torch.float16),
        (60, 1, torch.float32),
        (14, 2, torch.float32),
        (70, 1, torch.float16),
    ],
)
def test_the_last_block_gives_the_same_logits_as_the_head_behind_it(
    classes: int, splits: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it cannot have the head in it: parts of the hidden channels, many classes.

    To rounding: the interpreter leaves products to numpy, whose order of sums differs between processors.
    """
    monkeypatch.setattr(
        block_launches, "point_tiles", lambda *_: [PointTile(64, 16, splits, warps=4, stages=1)]
    )
    block = TritonBlock(random_block(MedNeXtBlock, channels=10), dtype, DEVICE)
    head = Head(torch.randn(10, classes), torch.randn(classes), block.channels, dtype, DEVICE)
    x = channels_last(torch.randn(2, 10, 5, 3, 9), block.channels, dtype)
    last = x.clone()
    expected, found = (torch.full((2, classes, 5, 3, 9), torch.nan, device=DEVICE) for _ in range(2))
    block.run(x, x, Workspace())
    head.run(x, expected)
    workspace = Workspace()
    block.first_pass(last, last, workspace)
    block.second_pass(last, last, workspace, Answer(head, found))
    assert float((found - expected).abs().max() / expected.abs().max()) < EXACT


@triton.jit
def _gelu_kernel(x, y, EXACT: tl.constexpr, SIZE: tl.constexpr):  # noqa: N803
    i = tl.arange(0, SIZE)
    tl.store(y + i, gelu(tl.load(x + i), EXACT))


@pytest.mark.parametrize(("exact", "tolerance"), [(True, 3e-7), (False, 3.3e-5)])
def test_gelu_is_the_one_with_erf(exact: bool, tolerance: float) -> None:
    x = torch.linspace(-12, 12, 2**14)
    y = torch.empty_like(x, device=DEVICE)
    _gelu_kernel[(1,)](x.to(DEVICE), y, EXACT=exact, SIZE=len(x))
    expected = torch.nn.functional.gelu(x.double())
    assert float(((y.cpu() - expected).abs() / x.abs().clamp(min=1)).max()) < tolerance
