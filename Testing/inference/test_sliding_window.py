"""Tiles lie where nnU-Net puts them, and every voxel gets the weighted mean of its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model, tiny_regions, tiny_weights
from fixtures.models.nnunet_v2_judge import prediction
from hypothesis import given, settings
from hypothesis import strategies as st
from mednext.errors import Cancelled, NumericalError
from mednext.inference import accumulation
from mednext.inference.ensemble import Ensemble
from mednext.inference.sliding_window import Block, slide, tile_shares
from mednext.inference.tiles import count_tiles, streaming_order, tile_starts, unfinished
from torch import Tensor, nn

CPU = torch.device("cpu")


class Constant(nn.Module):
    """A network that answers with one value, whatever it sees."""

    def __init__(self, value: float, classes: int = 3) -> None:
        super().__init__()
        self.value, self.classes = value, classes

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((1, self.classes, *x.shape[2:]), self.value)


def place(block: Block) -> tuple[slice, slice, slice]:
    """Where a block lies in the prediction `(K, Z, Y, X)`."""
    rows, lines = block.values.shape[1:3]
    return slice(None), slice(block.row, block.row + rows), slice(block.line, block.line + lines)


def joined(image: Tensor, predict, patch: tuple[int, int, int], step: float = 0.5) -> Tensor:
    """All blocks of a prediction in one tensor."""
    whole = torch.full((1, *image.shape[1:]), torch.nan)
    for block in slide(image, partial(map, predict), 1, patch, step, CPU):
        whole[place(block)] = block.values
    return whole


@given(st.integers(1, 300), st.integers(1, 64), st.floats(0.1, 1))
def test_tiles_begin_where_nnunet_begins_them(length: int, side: int, step: float) -> None:
    starts = tile_starts(length, side, step)
    if length <= side:
        assert starts == [-((side - length) // 2)]
    elif side * step >= 1:
        assert starts == prediction.compute_steps_for_sliding_window((length,), (side,), step)[0]
    assert all(0 < b - a < max(side * step, 1) + 1 for a, b in pairwise(starts))


@given(st.integers(1, 200), st.integers(2, 48), st.floats(0.2, 1))
def test_the_shares_of_all_tiles_at_a_voxel_sum_to_one(length: int, side: int, step: float) -> None:
    starts = tile_starts(length, side, step)
    total = torch.zeros(max(length, side))
    for start, share in zip(starts, tile_shares(length, side, starts), strict=True):
        total[max(start, 0) : max(start, 0) + side] += share
    torch.testing.assert_close(total, torch.ones_like(total))


def test_shares_follow_nnunets_gaussian() -> None:
    gaussian = prediction.compute_gaussian((16, 16, 16), dtype=torch.float64, device=CPU)[8, 8]
    first, second = tile_shares(24, 16, [0, 8])
    torch.testing.assert_close(
        (first[8:] / second[:8]).double(), gaussian[8:] / gaussian[:8], rtol=1e-4, atol=0
    )


@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.integers(2, 16)] * 3),
    st.sampled_from([0.3, 0.5, 1.0]),
)
@settings(max_examples=30)
def test_a_network_that_repeats_its_input_gives_the_image_back(
    shape: tuple[int, int, int], patch: tuple[int, int, int], step: float
) -> None:
    image = torch.randn(1, *shape)
    torch.testing.assert_close(joined(image, torch.clone, patch, step), image)


@given(
    st.tuples(*[st.integers(1, 25)] * 3),
    st.tuples(*[st.integers(4, 16)] * 3),
    st.sampled_from([0.3, 0.5, 0.7, 1.0]),
)
@settings(max_examples=30)
def test_blocks_overlap_by_the_row_and_the_line_that_interpolation_needs(
    shape: tuple[int, int, int], patch: tuple[int, int, int], step: float
) -> None:
    rows, row_stop, lines_stop = 0, 0, shape[1]
    for block in slide(torch.randn(1, *shape), partial(map, torch.clone), 1, patch, step, CPU):
        if lines_stop == shape[1]:
            rows, row_stop, lines_stop = max(0, row_stop - 1), block.row + block.values.shape[1], 0
        assert block.row == rows
        assert block.row + block.values.shape[1] == row_stop
        assert block.line == max(0, lines_stop - 1)
        lines_stop = block.line + block.values.shape[2]
    assert (row_stop, lines_stop) == shape[:2]


def test_about_half_a_patch_of_rows_is_kept() -> None:
    shape, patch = (600, 400, 400), (128, 128, 128)
    assert unfinished(shape, patch, 0.5).voxels(shape) < 0.7 * 128 * 400 * 400
    assert unfinished(patch, patch, 0.5).voxels(patch) == 128**3


def test_the_axis_that_keeps_least_in_memory_is_streamed() -> None:
    orders = [(200, 64, 64), (64, 200, 64), (64, 64, 200)]
    assert [streaming_order(shape, (32, 32, 32), 0.5)[0] for shape in orders] == [0, 1, 2]


def test_tiles_are_zero_beyond_the_image() -> None:
    seen: list[Tensor] = []
    image = torch.ones(1, 5, 8, 8)
    joined(image, lambda tile: seen.append(tile.clone()) or tile.clone(), (8, 8, 8))
    assert seen[0].sum() == image.sum()
    assert seen[0][:, 1:6].min() == 1


def test_the_number_of_tiles_is_known_before() -> None:
    seen: list[int] = []
    joined(torch.zeros(1, 30, 20, 9), lambda tile: seen.append(1) or tile.clone(), (16, 16, 16))
    assert len(seen) == count_tiles((30, 20, 9), (16, 16, 16), 0.5)


@pytest.mark.parametrize("planes", [7, 100], ids=["in slabs", "at once"])
def test_mirrored_copies_are_averaged_over_all_combinations_of_axes(
    planes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accumulation, "PLANES", planes)
    model = tiny_model(mirror_axes=(0, 2))
    network = TINY_NETWORK.build().eval()
    network.load_state_dict(tiny_weights())
    tile = torch.randn(1, 16, 16, 32)
    with torch.inference_mode():
        copies = [network(tile[None].flip(axes)).flip(axes)[0] for axes in ([], [2], [4], [2, 4])]
    both = [torch.cat([logits, torch.softmax(logits, dim=0)]) for logits in copies]
    mean = Ensemble([network], model, CPU, model.mirror_axes, uncertainty=True)(tile)
    torch.testing.assert_close(mean, torch.stack(both).mean(dim=0))


class Several(nn.Module):
    """Says that it takes several tiles of 16 by 16 by 32 voxels, and notes how many it got."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.network = TINY_NETWORK.build().eval()
        self.network.load_state_dict(tiny_weights())
        self.count = count
        self.got: list[int] = []

    def images_at_once(self, sides: Sequence[int]) -> int:
        return self.count if tuple(sides) == (16, 16, 32) else 1

    def forward(self, x: Tensor) -> Tensor:
        self.got.append(len(x))
        return self.network(x)


def test_a_network_may_take_several_tiles_at_once() -> None:
    """In their order, also where one of them is of air and answered by itself; each is counted."""
    several, counted = Several(3), []
    tiles = [torch.randn(1, 16, 16, 32) for _ in range(6)]
    tiles[4] = torch.zeros(1, 16, 16, 32)
    ensemble = Ensemble([several], tiny_model(), CPU, (), on_fold=lambda: counted.append(1))
    found = [answer.clone() for answer in ensemble.predict(iter(tiles))]
    assert several.got == [3, 1, 1, 1]
    assert len(counted) == 6
    alone = Ensemble([several.network], tiny_model(), CPU, ())
    for tile, answer in zip(tiles, found, strict=True):
        torch.testing.assert_close(answer, alone(tile))


def test_tiles_are_taken_together_with_all_their_mirrored_copies() -> None:
    several = Several(8)
    tiles = [torch.randn(1, 16, 16, 32) for _ in range(3)]
    together = Ensemble([several], tiny_model(), CPU, (0, 1))
    found = [answer.clone() for answer in together.predict(tiles)]
    assert several.got == [8, 4]
    alone = Ensemble([several.network], tiny_model(), CPU, (0, 1))
    for tile, answer in zip(tiles, found, strict=True):
        torch.testing.assert_close(answer, alone(tile))


def test_a_network_may_take_several_mirrored_copies_at_once() -> None:
    several = Several(3)
    tile = torch.randn(1, 16, 16, 32)
    together = Ensemble([several], tiny_model(), CPU, (0, 1, 2))(tile)
    assert several.got == [3, 3, 2]
    torch.testing.assert_close(together, Ensemble([several.network], tiny_model(), CPU, (0, 1, 2))(tile))


def test_v1_averages_probabilities_and_v2_logits() -> None:
    tile = torch.zeros(1, 16, 16, 16)
    networks = [Constant(1.0), Constant(3.0)]
    regions = tiny_regions()
    logits = Ensemble(networks, tiny_model(**regions), CPU, ())(tile)
    probabilities = Ensemble(networks, tiny_model(**regions, pipeline="nnunet_v1"), CPU, ())(tile)
    assert logits.unique().item() == 2
    assert probabilities.unique().item() == pytest.approx(torch.tensor([1.0, 3.0]).sigmoid().mean().item())


def test_uncertainty_adds_mean_probabilities_to_logits() -> None:
    ensemble = Ensemble([Constant(1.0)], tiny_model(), CPU, (), uncertainty=True)
    answer = ensemble(torch.zeros(1, 16, 16, 16))
    assert answer.shape == (ensemble.outputs, 16, 16, 16)
    assert answer[:3].unique().item() == 1
    torch.testing.assert_close(answer[3:], torch.full((3, 16, 16, 16), 1 / 3))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_without_finite_answers_is_an_error(value: float) -> None:
    with pytest.raises(NumericalError, match="NaN or infinite"):
        Ensemble([Constant(value)], tiny_model(), CPU, ())(torch.zeros(1, 16, 16, 16))


def test_cancelling_ends_the_work_before_the_next_pass() -> None:
    passes: list[bool] = []
    ensemble = Ensemble(
        [Constant(0.0)], tiny_model(), CPU, (0, 1), cancelled=lambda: passes.append(True) or len(passes) > 2
    )
    with pytest.raises(Cancelled):
        ensemble(torch.zeros(1, 16, 16, 16))
    assert len(passes) == 3


def test_a_flat_network_sees_one_slice_at_a_time(tmp_path: Path) -> None:
    flat = replace(TINY_NETWORK, dimensions=2)
    bundle = tiny_bundle(tmp_path / "flat", network=flat, patch=(1, 32, 32), mirror_axes=(1, 2))
    network = bundle.network(0)
    image = torch.randn(1, 3, 32, 32)
    ensemble = Ensemble([network], bundle.model, CPU, ())
    with torch.inference_mode():
        blocks = slide(image, ensemble.predict, 3, (1, 32, 32), 0.5, CPU)
        rows = [block.values[:, -1].clone() for block in blocks]
        expected = [network(image[:, index][None])[0] for index in range(3)]
    np.testing.assert_allclose(torch.stack(rows), torch.stack(expected), atol=1e-5)
