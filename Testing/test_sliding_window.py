"""Tiles lie where nnU-Net puts them, and every voxel gets the weighted mean of what was said about it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import TINY_NETWORK, tiny_bundle, tiny_model, tiny_regions, tiny_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from mednext.ensemble import Ensemble
from mednext.errors import Cancelled, NumericalError
from mednext.sliding_window import count_tiles, slide, tile_shares, tile_starts
from nnunet_v2_judge import prediction
from torch import Tensor, nn

CPU = torch.device("cpu")


class Constant(nn.Module):
    """A network that answers with one value, whatever it sees."""

    def __init__(self, value: float, classes: int = 3) -> None:
        super().__init__()
        self.value, self.classes = value, classes

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((1, self.classes, *x.shape[2:]), self.value)


def joined(image: Tensor, predict, patch: tuple[int, int, int], step: float = 0.5) -> Tensor:
    """All rows of a prediction in one tensor."""
    whole = torch.full((1, *image.shape[1:]), torch.nan)
    for rows in slide(image, predict, 1, patch, step, CPU):
        whole[:, rows.start : rows.start + rows.values.shape[1]] = rows.values
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


def test_rows_overlap_by_the_one_that_interpolation_needs() -> None:
    image = torch.randn(1, 50, 8, 8)
    spans = [
        (rows.start, rows.start + rows.values.shape[1])
        for rows in slide(image, torch.clone, 1, (16, 8, 8), 0.5, CPU)
    ]
    assert spans[0][0] == 0
    assert spans[-1][1] == 50
    assert all(following[0] == before[1] - 1 for before, following in pairwise(spans))


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


def test_mirrored_copies_are_averaged_over_all_combinations_of_axes() -> None:
    model = tiny_model(mirror_axes=(0, 2))
    network = TINY_NETWORK.build().eval()
    network.load_state_dict(tiny_weights())
    tile = torch.randn(1, 16, 16, 32)
    with torch.inference_mode():
        copies = [network(tile[None].flip(axes)).flip(axes)[0] for axes in ([], [2], [4], [2, 4])]
    mean = Ensemble([network], model, CPU, model.mirror_axes)(tile)
    torch.testing.assert_close(mean, torch.stack(copies).mean(dim=0))


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
        rows = [rows.values[:, -1].clone() for rows in slide(image, ensemble, 3, (1, 32, 32), 0.5, CPU)]
        expected = [network(image[:, index][None])[0] for index in range(3)]
    np.testing.assert_allclose(torch.stack(rows), torch.stack(expected), atol=1e-5)
