"""A run on a stand-in of an Apple GPU uses only its operators, and falls back to the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.machines.apple_gpu import MPS, AppleGpu
from fixtures.models.bundles import tiny_bundle
from mednext.images.geometry import Geometry
from mednext.images.volume import Volume
from mednext.inference import segment as pipeline
from mednext.inference.segment import segment
from mednext.model.bundle import Bundle
from mednext.segmentation.result import Segmentation


@pytest.fixture(scope="module", params=["nnunet_v1", "nnunet_v2"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("models") / request.param
    return tiny_bundle(folder, mirror_axes=(0,), pipeline=request.param)


def volume() -> Volume:
    """Larger than a tile along one axis, and to be resampled."""
    array = np.random.default_rng(0).normal(size=(1, 20, 30, 24)).astype(np.float32)
    return Volume(array, Geometry((24, 30, 20), (1.1, 1.2, 1.0)))


def segmented(bundle: Bundle, device: str) -> Segmentation:
    return segment(volume(), bundle, device=device, uncertainty=True)


@pytest.fixture
def _apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "choose_device", lambda name: MPS if name == "mps" else torch.device(name))


@pytest.mark.usefixtures("_apple")
def test_labels_and_uncertainty_are_those_of_the_cpu(bundle: Bundle) -> None:
    expected = segmented(bundle, "cpu")
    with AppleGpu() as gpu:
        found = segmented(bundle, "mps")
    assert "aten::conv3d" in gpu.used or "aten::convolution" in gpu.used
    assert found.provenance["device"] == "mps"
    assert "warning" not in found.provenance
    assert (found.labelmap != expected.labelmap).mean() < 1e-3  # other orders of the same sums
    assert found.uncertainty is not None and expected.uncertainty is not None
    np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=1e-4)


TRANSPOSED = ("aten::conv_transpose3d.input", "aten::conv_transpose3d", "aten::convolution")


@pytest.mark.usefixtures("_apple")
@pytest.mark.parametrize(
    ("gpu", "reason"),
    [
        (AppleGpu(without=TRANSPOSED), "not currently implemented"),
        (AppleGpu(wrong=TRANSPOSED), "numbers are wrong"),
    ],
    ids=["an operator is missing", "an operator is wrong"],
)
def test_the_cpu_replaces_a_device_that_cannot_compute_the_network(
    gpu: AppleGpu, reason: str, bundle: Bundle
) -> None:
    """torch before 2.8 has no transposed convolution there."""
    expected = segmented(bundle, "cpu")
    with gpu:
        found = segmented(bundle, "mps")
    assert found.provenance["device"] == "cpu"
    assert reason in found.provenance["warning"]
    np.testing.assert_array_equal(found.labelmap, expected.labelmap)


def test_the_stand_in_refuses_the_same_operations_as_the_device() -> None:
    with torch.inference_mode(), AppleGpu():
        on_device = torch.zeros(2).to(MPS)
        assert on_device.device == MPS and (on_device + 1).cpu().tolist() == [1.0, 1.0]
        with pytest.raises(TypeError, match="float64"):
            on_device.double()
        with pytest.raises(RuntimeError, match="same device"):
            _ = on_device + torch.ones(2)
