"""Preprocessing on a device, which a stand-in is here: the CPU's numbers by other operations; it stays there.

On a real card: test_cuda.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.machines.apple_gpu import MPS, AppleGpu, attempts
from fixtures.models.bundles import tiny_bundle, tiny_model
from hypothesis import given, settings
from hypothesis import strategies as st
from mednext.images.geometry import Geometry, reorient_array
from mednext.images.volume import Volume
from mednext.inference import preprocessing
from mednext.inference.preprocessing import preprocess
from mednext.inference.resampling.matrices import axis_weights, by_whole_matrix, full_precision
from mednext.inference.segment import segment
from mednext.model.bundle import Bundle
from mednext.model.description import Channel

TOLERANCE = 1e-5  # of the largest value; docs/performance.md says it
NORMALIZATIONS = [
    Channel("CT", "CT", "ct", mean=40.0, std=150.0, lower=-400.0, upper=400.0),
    *(Channel("T1", "MR", kind) for kind in ("zscore", "zscore_masked", "rescale", "none")),
]


def patient(shape: tuple[int, int, int], voxels: str, margin: int, channels: int = 1) -> np.ndarray:
    """Noise with a hole in a margin of zeros, `(C, Z, Y, X)`."""
    array = np.random.default_rng(3).integers(10, 250, (channels, *shape))
    array[:, : min(margin, shape[0] - 1)] = 0
    array[..., max(1, shape[2] - margin) :] = 0
    z, y, x = (side // 2 for side in shape)
    array[:, z : z + 2, y : y + 2, x : x + 2] = 0
    return (array - (90 if voxels != "uint8" else 0) * (array > 0)).astype(voxels)


@settings(max_examples=60)
@given(
    st.tuples(*[st.integers(2, 24)] * 3),
    st.tuples(*[st.sampled_from([0.5, 1.0, 1.7, 5.0])] * 3),
    st.sampled_from([None, (1.0, 1.0, 1.0), (0.7, 0.7, 4.0), (2.0, 1.3, 0.9)]),
    st.sampled_from(NORMALIZATIONS),
    st.sampled_from(["nnunet_v1", "nnunet_v2"]),
    st.sampled_from(["int16", "uint8", "float32"]),
    st.sampled_from(["RAS", "LPS", "SAR", "PIL"]),
    st.integers(0, 3),
    st.integers(1, 2),
)
def test_a_device_gives_the_numbers_of_the_cpu(
    shape, spacing, target, channel, kind, voxels, code, margin, channels
) -> None:
    array = patient(shape, voxels, margin, channels)
    volume = Volume(*reorient_array(array, Geometry(shape[::-1], spacing), code))
    network = replace(tiny_model().network, in_channels=channels)
    model = tiny_model(channels=(channel,) * channels, network=network, spacing=target, pipeline=kind)
    expected = preprocess(volume, model)
    with torch.inference_mode(), AppleGpu(float64=True):
        found = preprocess(volume, model, MPS)
        assert found.array.device.type == "mps"
        found.move_to_cpu()
        numbers = found.array
    assert (found.crop, found.spacing) == (expected.crop, expected.spacing)
    largest = float(expected.array.abs().max())
    np.testing.assert_allclose(numbers, expected.array, atol=TOLERANCE * max(largest, 1))


def test_the_device_itself_normalises_and_resamples() -> None:
    volume = Volume(patient((20, 22, 24), "int16", 2), Geometry((24, 22, 20), (1.0, 1.2, 1.5)))
    with torch.inference_mode(), AppleGpu(float64=True) as gpu:
        preprocess(volume, tiny_model(channels=(NORMALIZATIONS[0],)), MPS)
    assert {"aten::clamp_", "aten::sub_", "aten::div_", "aten::bmm"} <= gpu.used


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("models") / "tiny", mirror_axes=())


def volume() -> Volume:
    """Larger than a tile along one axis, to be resampled, and stored along other axes than the model's."""
    array = np.random.default_rng(0).normal(size=(1, 20, 30, 24)).astype(np.float32)
    return Volume(*reorient_array(array, Geometry((24, 30, 20), (1.1, 1.2, 1.0)), "SAR"))


@pytest.mark.usefixtures("_card")
def test_the_image_stays_on_the_device_that_made_it(bundle: Bundle, monkeypatch) -> None:
    expected = segment(volume(), bundle, device="cpu")
    tried = attempts(monkeypatch)
    found = segment(volume(), bundle)
    assert tried == [("mps", ("mps", "mps"))]
    assert found.provenance["device"] == "mps"
    assert "warning" not in found.provenance
    assert len(np.unique(expected.labelmap)) > 1
    assert (found.labelmap != expected.labelmap).mean() < 1e-3  # other orders of the same sums


@pytest.mark.usefixtures("_card")
def test_other_errors_of_the_device_are_not_taken_for_a_lack_of_memory(bundle: Bundle, monkeypatch) -> None:
    def broken(*_):
        raise RuntimeError("an illegal instruction")

    monkeypatch.setattr(preprocessing, "preprocess", broken)
    with pytest.raises(RuntimeError, match="illegal instruction"):
        segment(volume(), bundle)


ON_CARD, SUMS_ON_CPU = ("mps", "mps"), ("mps", "cpu")


@pytest.mark.usefixtures("_card")
@pytest.mark.parametrize(
    ("full", "places", "device"),
    [
        ((ON_CARD,), [("mps", ON_CARD), ("cpu", SUMS_ON_CPU)], "mps"),
        (
            (ON_CARD, SUMS_ON_CPU),
            [("mps", ON_CARD), ("cpu", SUMS_ON_CPU), ("cpu", ("cpu", "cpu"))],
            "cpu",
        ),
    ],
    ids=["for all", "for the networks"],
)
def test_an_image_leaves_a_device_that_is_too_small(
    bundle: Bundle, monkeypatch, full, places, device
) -> None:
    """The remarks and labels of this are tested in test_degrading.py."""
    tried = attempts(monkeypatch, full)
    found = segment(volume(), bundle)
    assert tried == places
    assert found.provenance["device"] == device


def settings_of_a_user() -> list[object]:
    """The ways in which a user lets torch round products, each with the way back."""
    matmul = torch.backends.cuda.matmul

    def old(value: str):
        return lambda: torch.set_float32_matmul_precision(value)

    def new(value: str):
        return lambda: setattr(matmul, "fp32_precision", value)

    pairs = [(old("high"), old("highest")), (old("medium"), old("highest"))]
    if hasattr(matmul, "fp32_precision"):  # torch 2.9
        pairs.append((new("tf32"), new("ieee")))
    return pairs


@pytest.fixture(params=settings_of_a_user(), ids=["high", "medium", "tf32"][: len(settings_of_a_user())])
def _allowed(request: pytest.FixtureRequest) -> Iterator[None]:
    allow, forbid = request.param
    allow()
    yield
    forbid()


def precision() -> tuple[str, bool | None]:
    matmul = torch.backends.cuda.matmul
    try:
        return torch.get_float32_matmul_precision(), matmul.allow_tf32
    except RuntimeError:  # the newer interface was used
        return matmul.fp32_precision, None


@pytest.mark.usefixtures("_allowed")
def test_products_are_not_rounded_whatever_the_user_allowed_and_that_stays_allowed() -> None:
    before = precision()
    assert before[0] in ("high", "medium", "tf32")
    with full_precision():
        assert precision() in [("highest", False), ("ieee", None)]
    assert precision() == before
    with pytest.raises(KeyError), full_precision():
        raise KeyError
    assert precision() == before


@pytest.mark.usefixtures("_allowed")
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_device_resamples_in_full_precision(axis: int) -> None:
    """Processors with bfloat16 products would round by "medium", cards by the others."""
    weights = axis_weights(96, 75, 3)
    image = 1000 * torch.rand((96, 96, 96), generator=torch.Generator().manual_seed(0))
    moved = image.double().movedim(axis, -1) @ weights.double().T
    found = by_whole_matrix(image, weights, axis).double()
    torch.testing.assert_close(found, moved.movedim(-1, axis), rtol=0, atol=1000 * TOLERANCE)
