"""Tiles of nothing but air: the networks are asked once, and nothing of the result changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.models.bundles import TINY_NETWORK, tiny_bundle, tiny_model, tiny_weights
from mednext.errors import Cancelled
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference import prediction
from mednext.inference.ensemble import Ensemble
from mednext.inference.progress import Progress
from mednext.inference.segment import segment
from mednext.model.bundle import Bundle
from mednext.model.description import Channel
from mednext.network import formulation as choosing
from mednext.network import native
from mednext.segmentation.result import Segmentation
from torch import Tensor, nn

CPU = torch.device("cpu")
SIDES = (16, 32, 32)
CT = Channel("CT", "CT", "ct", mean=40.0, std=150.0, lower=-900.0, upper=900.0)


class Counting(nn.Module):
    """A network that counts its passes."""

    def __init__(self) -> None:
        super().__init__()
        self.network = TINY_NETWORK.build().eval()
        self.network.load_state_dict(tiny_weights())
        self.passes = 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += 1
        return self.network(x)


@pytest.fixture
def network() -> Counting:
    return Counting()


def air(value: float = -6.0) -> Tensor:
    return torch.full((1, *SIDES), value)


def test_tiles_of_one_value_get_one_pass_and_equal_predictions(network: Counting) -> None:
    ensemble = Ensemble([network], tiny_model(), CPU, ())
    first, second = ensemble(air()), ensemble(air())
    assert network.passes == 1
    with torch.inference_mode():
        assert torch.equal(first, network.network(air()[None])[0])
    assert torch.equal(first, second)


def test_whoever_gets_a_prediction_may_overwrite_it(network: Counting) -> None:
    ensemble = Ensemble([network], tiny_model(), CPU, ())
    expected = ensemble(air()).clone()
    for _ in range(2):
        prediction = ensemble(air())
        assert torch.equal(prediction, expected)
        with torch.inference_mode():
            prediction.zero_()


def test_predictions_of_air_lie_where_those_of_other_tiles_do(network: Counting) -> None:
    ensemble = Ensemble([network], tiny_model(), CPU, ())
    tiles = (air(), air(), torch.randn(1, *SIDES), air())
    assert len({prediction.data_ptr() for prediction in ensemble.predict(tiles)}) == 1


def test_one_voxel_that_differs_is_no_air(network: Counting) -> None:
    ensemble = Ensemble([network], tiny_model(), CPU, ())
    of_air = ensemble(air())
    tile = air()
    tile[0, 7, 3, 30] = float(np.nextafter(np.float32(-6), np.float32(0)))
    assert not torch.equal(ensemble(tile), of_air)
    assert network.passes == 2


def test_another_value_is_other_air_and_only_the_last_is_kept(network: Counting) -> None:
    ensemble = Ensemble([network], tiny_model(), CPU, ())
    answers = [ensemble(air(value)) for value in (0.0, 1.0, 1.0, 0.0)]
    assert network.passes == 3
    assert torch.equal(answers[0], answers[3])
    assert not torch.equal(answers[0], answers[1])


def test_progress_and_cancel_go_on_in_the_air(network: Counting) -> None:
    folds: list[int] = []
    wanted: list[bool] = []
    ensemble = Ensemble(
        [network, network],
        tiny_model(),
        CPU,
        (),
        on_fold=lambda: folds.append(1),
        cancelled=lambda: bool(wanted),
    )
    for _ in range(3):
        ensemble(air())
    assert (len(folds), network.passes) == (6, 2)
    wanted.append(True)
    with pytest.raises(Cancelled):
        ensemble(air())


def body_in_air() -> Volume:
    """A scan of 24 x 80 x 72 voxels at 1 mm: noise of a body, and of the air around it."""
    noise = np.random.default_rng(0)
    array = noise.normal(-1000, 10, (24, 80, 72)).astype(np.float32)
    array[4:20, 46:70, 8:30] = noise.normal(40, 200, (16, 24, 22))
    return Volume(array[np.newaxis], Geometry((72, 80, 24), (1.0, 1.0, 1.0)))


@pytest.fixture(scope="module", params=["nnunet_v1", "nnunet_v2"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("models") / request.param
    return tiny_bundle(folder, folds=(0, 1), channels=(CT,), mirror_axes=(2,), pipeline=request.param)


def segmented(bundle: Bundle) -> Segmentation:
    return segment(body_in_air(), bundle, device="cpu", uncertainty=True, step=0.8, threads=1)


@pytest.mark.parametrize("formulation", ["plain", "native"])
def test_labels_and_uncertainty_are_the_same_bits_with_and_without(
    formulation: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    library = request.getfixturevalue("native_kernels") if formulation == "native" else None
    monkeypatch.setattr(native, "native_library", lambda: library)
    monkeypatch.setattr(choosing, "is_faster", lambda *_: formulation == "native")
    found = segmented(bundle)
    assert found.provenance["formulation"] == formulation
    predicted: list[Tensor] = []

    class Forgetful(Ensemble):
        """Predicts each tile by an ensemble that has seen no other."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.new = lambda: Ensemble(*arguments, **options)

        def predict(self, tiles: Iterable[Tensor]) -> Iterator[Tensor]:
            for tile in tiles:
                predicted.append(tile)
                yield from self.new().predict([tile])

    monkeypatch.setattr(prediction, "Ensemble", Forgetful)
    expected = segmented(bundle)
    assert len(predicted) == 18
    np.testing.assert_array_equal(found.labelmap, expected.labelmap)
    assert found.uncertainty is not None and expected.uncertainty is not None
    np.testing.assert_array_equal(found.uncertainty, expected.uncertainty)


def test_a_scan_with_air_around_needs_fewer_passes(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = Counting(), list[Progress]()

    class Counted(Bundle):
        def network(self, fold: int) -> nn.Module:  # type: ignore[override]
            return network

    segment(
        body_in_air(),
        Counted(Path(), bundle.model),
        folds=[0],
        mirroring=False,
        device="cpu",
        progress=seen.append,
    )
    tiles = [each for each in seen if each.stage == "network"][-1]
    assert tiles.done == tiles.total
    assert 1 < network.passes < tiles.total
