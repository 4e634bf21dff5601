"""Copies and tiles are added by one kernel as they are by torch. Without a card, Triton interprets it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
import torch
from fixtures.machines.triton_device import DEVICE, INTERPRETED  # skips all of this where there is no Triton
from fixtures.models.bundles import tiny_model, tiny_regions
from mednext.errors import NumericalError
from mednext.inference import accumulation
from mednext.inference.accumulation import Adding
from mednext.inference.ensemble import Ensemble
from mednext.inference.sliding_window import slide
from mednext.inference.tile_sums import Averaged, Copies, Target
from torch import Tensor, nn

# isort: split
from mednext.inference.triton_kernels import accumulation_launches as kernels
from triton.runtime.errors import OutOfResources

FLIPS = [axes for count in range(4) for axes in combinations((1, 2, 3), count)]
NEAR = {"rtol": 2e-6, "atol": 2e-6}  # exp and division round


@pytest.fixture(autouse=True)
def _by_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use the kernels also on the interpreter, which is far too slow for users."""
    accumulation.right_kernels.cache_clear()
    if INTERPRETED:
        monkeypatch.setattr(accumulation, "runs_triton", lambda _: True)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def both_means(
    logits: Tensor, averaged: Averaged, runs: Sequence[tuple[Sequence[tuple[int, ...]], bool, int]]
) -> list[Tensor]:
    """Means of all tiles, by the kernel and by torch; those that go on begin with 0.5."""
    found = []
    for add in (lambda *given: not bool(kernels.add_copies(*given)), accumulation.add_copies):
        means = [
            torch.full((averaged.outputs, *logits.shape[2:]), torch.nan if first else 0.5, device=DEVICE)
            for _, first, _ in runs
        ]
        batch = [
            Copies(mean, flips, first, divisor)
            for mean, (flips, first, divisor) in zip(means, runs, strict=True)
        ]
        assert add(logits, batch, averaged)
        found.append(torch.stack(means))
    return found


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize(("logits", "probabilities"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("classes", [1, 2, 14, 60])
def test_all_mirrored_copies_are_added_as_by_torch(
    classes: int, logits: bool, probabilities: bool, regions: bool
) -> None:
    averaged = Averaged(classes, logits, probabilities, regions)
    values = 4 * random(8, classes, 3, 5, 7)
    by_kernel, by_torch = both_means(values, averaged, [(FLIPS, True, 8)])
    torch.testing.assert_close(by_kernel, by_torch, **NEAR)
    if logits and DEVICE.type == "cpu":  # a card's torch multiplies by the reciprocal
        assert torch.equal(by_kernel[:, :classes], by_torch[:, :classes])


def test_a_batch_goes_to_the_means_of_its_tiles_and_goes_on_where_the_one_before_ended() -> None:
    """Three images of the first tile, all of the second, the first of the third."""
    runs = [(FLIPS[5:], False, 24), (FLIPS, True, 8), (FLIPS[:1], True, 1)]
    averaged = Averaged(3, True, True, False)
    by_kernel, by_torch = both_means(random(12, 3, 4, 2, 6), averaged, runs)
    torch.testing.assert_close(by_kernel, by_torch, **NEAR)


def test_logits_in_another_order_of_memory_are_the_same() -> None:
    values = random(2, 3, 4, 6, 5).contiguous(memory_format=torch.channels_last_3d)
    by_kernel, by_torch = both_means(values, Averaged(3, True, False, False), [(FLIPS[:2], True, 2)])
    torch.testing.assert_close(by_kernel, by_torch, **NEAR)


@pytest.mark.parametrize("size", [32, 64])  # voxels of a program
def test_the_voxels_of_a_program_change_no_bit(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values, averaged = random(8, 14, 3, 5, 7), Averaged(14, True, True, False)
    whole, _ = both_means(values, averaged, [(FLIPS, True, 8)])
    monkeypatch.setattr(kernels, "BLOCK", size * 16)
    parts, _ = both_means(values, averaged, [(FLIPS, True, 8)])
    assert torch.equal(whole, parts)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("logits", "probabilities"), [(True, False), (False, True)])
@pytest.mark.parametrize("regions", [False, True])
def test_one_number_that_is_not_finite_is_noticed(
    regions: bool, logits: bool, probabilities: bool, value: float
) -> None:
    values = random(8, 3, 3, 5, 7)
    values[6, 2, 2, 4, 6] = value
    averaged = Averaged(3, logits, probabilities, regions)
    mean = torch.empty(averaged.outputs, 3, 5, 7, device=DEVICE)
    batch = [Copies(mean, FLIPS, True, 8)]
    assert bool(kernels.add_copies(values, batch, averaged))
    assert not accumulation.add_copies(values, batch, averaged)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 3, 1, 2)])
@pytest.mark.parametrize(
    "corners", [[(0, 0, 0)], [(-2, 3, -1), (2, -3, 5)], [(0, 0, 0), (40, 0, 0)], [(4, 7, 9), (-3, 0, 0)]]
)
def test_a_tile_is_weighted_and_added_as_by_torch(
    corners: list[tuple[int, int, int]], order: tuple[int, ...]
) -> None:
    """Where it lies within the sums, wholly, in part or not at all; in any order of memory."""
    tile = random(3, 5, 7, 9).permute(0, *(1 + order.index(axis) - 1 for axis in (1, 2, 3)))
    shares = [random(side, seed=side).abs() for side in tile.shape[1:]]
    found = []
    for add in (kernels.add_tile, accumulation.add_tile):
        sums = [random(3, 6, 8, 11, seed=number) for number in range(len(corners))]
        add([Target(each, corner) for each, corner in zip(sums, corners, strict=True)], tile.clone(), shares)
        found.append(torch.stack(sums))
    assert torch.equal(*found)


class Convolution(nn.Module):
    """Several images at once; nothing in it is symmetric."""

    def __init__(self, together: int = 8) -> None:
        super().__init__()
        self.images_at_once = lambda sides: together
        self.network = nn.Conv3d(1, 3, 3, padding=1).requires_grad_(False)
        self.network.weight.copy_(random(3, 1, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


@pytest.mark.parametrize(
    ("together", "changes"),
    [
        (1, {}),
        (3, {"pipeline": "nnunet_v1"}),
        (8, tiny_regions()),
        (5, tiny_regions(pipeline="nnunet_v1")),
    ],
)
@torch.inference_mode()
def test_a_whole_image_is_predicted_as_by_torch(
    together: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, networks = random(1, 8, 5, 4), [Convolution(together), Convolution(together)]

    def predicted() -> Tensor:
        ensemble = Ensemble(networks, tiny_model(**changes), DEVICE, (0, 1, 2), uncertainty=True)
        blocks = slide(image, ensemble.predict, ensemble.outputs, (6, 4, 4), 0.5, DEVICE)
        return torch.cat([block.values.flatten() for block in blocks])

    by_kernels = predicted()
    monkeypatch.setattr(accumulation, "right_kernels", lambda _: None)
    torch.testing.assert_close(by_kernels, predicted(), **NEAR)


def test_answers_that_are_not_finite_are_an_error() -> None:
    network = Convolution()
    network.network.bias.fill_(float("inf"))
    with pytest.raises(NumericalError):
        Ensemble([network], tiny_model(), DEVICE, (0,))(random(1, 4, 4, 4))


@pytest.mark.parametrize("by_kernels", [True, False])
def test_an_overflow_in_half_precision_makes_the_tiles_be_computed_again(
    by_kernels: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All of it in full precision, and no step of the progress is counted twice."""

    class Overflowing(Convolution):
        overflows = True

        def forward(self, x: Tensor) -> Tensor:
            logits = super().forward(x)
            if self.overflows:
                logits[-1, 0, 0, 0, 0] = float("-inf")
            self.overflows = False
            return logits

    if not by_kernels:
        monkeypatch.setattr(accumulation, "right_kernels", lambda _: None)
    tiles, counted = [random(1, 4, 4, 4, seed=seed) for seed in (1, 2)], []
    good, bad = Convolution(4), Overflowing(4)
    bad.network = good.network
    ensemble = Ensemble([good, bad], tiny_model(), DEVICE, (0, 1), on_fold=lambda: counted.append(1))
    ensemble.mixed_precision = True
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: torch.no_grad())
    found = torch.stack([prediction.clone() for prediction in ensemble.predict(tiles)])
    expected = Ensemble([good], tiny_model(), DEVICE, (0, 1))
    torch.testing.assert_close(found, torch.stack([expected(tile) for tile in tiles]), **NEAR)
    assert caplog.text.count("overflowed in half precision") == 1
    assert len(counted) == 4


class Broken:
    """Kernels that are right at first."""

    def __init__(self, wrong: float = 0.0, error: Exception | None = None) -> None:
        self.wrong, self.error = wrong, error
        self.calls = 0

    def add_copies(self, *given: Any) -> Tensor:
        self.calls += 1
        if self.error and self.calls > 1:
            raise self.error
        return kernels.add_copies(*given)

    def add_tile(self, targets: Sequence[Target], tile: Tensor, shares: Sequence[Tensor]) -> None:
        kernels.add_tile(targets, tile + self.wrong, shares)


def test_kernels_that_are_wrong_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert accumulation.difference_of(kernels, DEVICE) < 1e-6  # type: ignore[arg-type]
    monkeypatch.setattr(
        accumulation, "difference_of", lambda _, device: difference(Broken(wrong=0.1), device)
    )
    assert accumulation.right_kernels(DEVICE) is None
    assert "are wrong by" in caplog.text


difference: Any = accumulation.difference_of


def test_kernels_that_fail_later_are_left_and_the_result_is_right(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(error=RuntimeError("no kernel image is available"))
    monkeypatch.setattr(accumulation, "right_kernels", lambda _: broken)
    ensemble = Ensemble([Convolution()], tiny_model(), DEVICE, (0, 1))
    tile = random(1, 4, 4, 4)
    with caplog.at_level(logging.WARNING):
        first, second = ensemble(tile), ensemble(tile)
    torch.testing.assert_close(first, second, **NEAR)
    assert caplog.text.count("continuing without them") == 1


def test_memory_that_runs_out_is_for_the_pipeline_to_deal_with(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Broken(error=torch.OutOfMemoryError("CUDA out of memory"))
    monkeypatch.setattr(accumulation, "right_kernels", lambda _: broken)
    ensemble = Ensemble([Convolution()], tiny_model(), DEVICE, (0, 1))
    ensemble(random(1, 4, 4, 4))
    with pytest.raises(torch.OutOfMemoryError):
        ensemble(random(1, 4, 4, 4))


def test_memory_that_was_full_once_does_not_bar_the_kernels_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as broken:
        broken.setattr(accumulation, "difference_of", full)
        with pytest.raises(torch.OutOfMemoryError):
            Adding(DEVICE)
    assert accumulation.right_kernels(DEVICE) is kernels


def test_a_refusal_of_tritons_compiler_is_a_failure_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's own errors are no `RuntimeError`s."""

    class Refused:
        def __getitem__(self, grid: tuple[int, ...]) -> Any:
            raise OutOfResources(300000, 232448, "shared memory")

    monkeypatch.setattr(kernels, "copies_to_mean", Refused())
    assert accumulation.right_kernels(DEVICE) is None
    assert Adding(DEVICE).add_copies(
        random(1, 3, 2, 2, 2),
        [Copies(torch.empty(3, 2, 2, 2, device=DEVICE), [()])],
        Averaged(3, True, False, False),
    )
